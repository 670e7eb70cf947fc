"""Sides computed by Ray Data: an actor pool runs leaves, an aggregation joins them, a worker that dies is replaced.

    numbers of leaves → map_batches (actors: open the side, run a leaf) → AggregateFnV2 (tree of moments) → `Reference`

What travels is one state per leaf, never images and never rows that the sample does not need. Ray computes the leaves
of a dead worker again; each leaf enters the tree once, and the end refuses to go on unless all of them did. The
result has the same bits as `merge_shards`, whatever worker did what.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import FeatureMismatch, GenmetricsError, InputError, MissingPackage
from genmetrics_rt.evaluation import evaluate
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.preparation import MAX_DEFAULT_SAMPLES, Preparation
from genmetrics_rt.progress import Meter, ProgressCallback
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import Report, SkippedImage
from genmetrics_rt.scale.leaves import Job, Leaf, MomentTree, Rows, reference_of, run_leaf
from genmetrics_rt.scale.sharding import open_source
from genmetrics_rt.sides import FeatureRows, open_side

_TOLD_EVERY = 0.5  # seconds


def evaluate_with_ray(
    generated: Any,
    reference: Any,
    *,
    workers: int | None = None,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    metrics: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    intervals: bool = True,
    training_log: str | os.PathLike[str] | None = None,
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int = 1,
    progress: ProgressCallback | None = None,
) -> Report:
    """`evaluate`, with the images of both sides computed by Ray.

    Uses the Ray cluster that the process is connected to, or that ``RAY_ADDRESS`` names; else it starts one on this
    machine. Every worker opens the sides itself, so they must lie where all of them can read: a shared file system or
    a URL. The report shows no pictures, and makes no findings from them.

    Parameters
    ----------
    workers
        Actors in the pool; None is as many as the cluster has room for.
    threads
        Threads, and CPUs that Ray sets aside, for each worker.
    num_images
        For a generator; stored sides are taken whole.

    The others are those of `evaluate`.

    Raises
    ------
    MissingPackage
        Ray is not installed.
    InputError
        As `evaluate`; also when a worker sees other files than this process.
    """
    ray = _ray()
    opened = [open_side(reference), open_side(generated)]
    if num_images is not None and not any(isinstance(side, Generator) for side in opened):
        raise InputError(
            "--num-images says how many a generator makes, and with Ray stored sides are taken whole. Leave it out, or "
            "use --engine local."
        )
    chosen = Preparation(
        extractor, protocol, tap, device, backend, precision, num_images, seed, cache, strict, batch_size, threads,
        progress,
    )  # fmt: skip
    chosen.choose_extractor(opened[1], opened[0])
    options: dict[str, Any] = {
        "extractor": chosen.extractor, "protocol": chosen.protocol, "tap": chosen.tap, "device": device,
        "backend": backend, "precision": precision, "cache": cache, "strict": strict, "batch_size": batch_size,
        "threads": threads,
    }  # fmt: skip
    sides: list[Any] = []
    with _connected(ray):
        for what, given, side in zip(("reference", "generated"), (reference, generated), opened, strict=True):
            if isinstance(side, Reference | FeatureRows):
                sides.append(side)
                continue
            count = None
            if isinstance(side, Generator):
                known = sides[0].summary.num_images if sides and isinstance(sides[0], Reference) else None
                count = num_images or min(known or MAX_DEFAULT_SAMPLES, MAX_DEFAULT_SAMPLES)
            sides.append(
                reference_with_ray(
                    given if isinstance(given, str | os.PathLike) else side,
                    workers=workers,
                    num_images=count,
                    seed=seed,
                    # As in `evaluate`: a generator never meets its own samples on the reference side.
                    sample_seed=seed + (what == "reference"),
                    stage=what,
                    progress=progress,
                    **options,
                )
            )
    # Where both sides were features already, only the user knows whose they are.
    computed = any(side is not given for side, given in zip(sides, opened, strict=True))
    named: dict[str, Any] = {} if computed else {"extractor": extractor, "protocol": protocol}
    return evaluate(
        sides[1], sides[0], metrics=metrics, intervals=intervals, training_log=training_log, seed=seed, cache=cache,
        progress=progress, **named,
    )  # fmt: skip


def reference_with_ray(
    side: Any,
    *,
    workers: int | None = None,
    seed: int = 0,
    sample_seed: int | None = None,
    num_images: int | None = None,
    leaf_size: int | None = None,
    device: str = "auto",
    threads: int = 1,
    stage: str = "reference",
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Reference:
    """One side as a `Reference`. Options as `make_reference`; see `evaluate_with_ray`."""
    ray = _ray()
    extractor = options.get("extractor")
    if isinstance(extractor, Bundle):
        options["extractor"] = extractor.path
    given = _Given(side, {"seed": seed, "num_images": num_images, "device": device, "threads": threads, **options},
                   sample_seed, leaf_size)  # fmt: skip
    mine = given.open()
    job, source = mine.job, mine.source
    on_gpu = mine.network.device != "cpu"
    meter = Meter(stage, job.num_entries, progress, unit=f"{mine.network.modality}s")
    with _connected(ray), _watched(ray, meter, progress) as board:
        joined, workers = _computed_by_ray(ray, given, job, workers, threads, on_gpu=on_gpu, board=board)
    if joined.error is not None:
        raise joined.error
    if sorted(joined.content) != list(range(job.num_leaves)):
        raise GenmetricsError(
            f"Ray gave back {len(joined.content):,} of {job.num_leaves:,} leaves of {job.source}. Nothing is scored on "
            "part of the images: start it again."
        )
    numbers = range(job.num_leaves)
    return reference_of(
        job,
        joined.moments,
        joined.spatial,
        joined.rows,
        [joined.content[number] for number in numbers],
        (*source.skipped, *(entry for number in numbers for entry in joined.skipped[number])),
        f"Computed by {workers} Ray workers in {job.num_leaves:,} leaves.",
    )


def _computed_by_ray(
    ray: Any, given: _Given, job: Job, workers: int | None, threads: int, *, on_gpu: bool, board: Any
) -> tuple[_Joined, int]:
    """All leaves of a side joined, and how many workers there were."""
    room = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1)) // (1 if on_gpu else threads)
    workers = min(workers or max(1, room), job.num_leaves)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    numbers = ray.data.from_items([{"leaf": number} for number in range(job.num_leaves)],
                                  override_num_blocks=job.num_leaves)  # fmt: skip
    try:
        (joined_bytes,) = (
            numbers.map_batches(
                _LeafWorker,
                fn_constructor_kwargs={"given": given, "job": job, "board": board},
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=threads,
                num_gpus=1 if on_gpu else None,
            )
            .aggregate(_join_leaves())
            .values()
        )
    except ray.exceptions.RayError as error:
        raise GenmetricsError(
            f"Ray gave up: {str(error).strip().splitlines()[0]}. Its log, in /tmp/ray, has more; with genmetrics shard "
            "and merge the same images are computed without Ray."
        ) from error
    joined: _Joined = pickle.loads(joined_bytes)
    return joined, workers


@dataclass(frozen=True)
class _Opened:
    source: Any
    network: Any
    preparation: Preparation
    job: Job


@dataclass(frozen=True)
class _Given:
    """What the user gave: each process opens it for itself."""

    side: Any
    options: Mapping[str, Any]
    sample_seed: int | None
    leaf_size: int | None

    def open(self) -> _Opened:
        defaults = {
            "extractor": None, "protocol": None, "tap": None, "backend": "onnx", "precision": "fp32", "cache": True,
            "strict": False, "batch_size": None, "progress": None,
        }  # fmt: skip
        preparation = Preparation(**{**defaults, **self.options})
        source = open_source(self.side, preparation, sample_seed=self.sample_seed)
        network = preparation.open_extractor()
        job = Job.of(source, network, preparation.overrides(), seed=preparation.seed, leaf_size=self.leaf_size)
        return _Opened(source, network, preparation, job)


class _LeafWorker:
    """An actor of the pool: opens side and network once, then runs the leaves that it is handed."""

    def __init__(self, given: _Given, job: Job, board: Any) -> None:
        self._given, self._job, self._board = given, job, board
        self._opened: _Opened | None = None
        self._error: GenmetricsError | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        return {"leaf": [pickle.dumps(self._leaf(int(number))) for number in batch["leaf"]]}

    def _leaf(self, number: int) -> Leaf | GenmetricsError:
        # An error travels as a value: Ray would wrap it, and print its own stack trace first.
        if self._error is None:
            try:
                return self._computed(number)
            except GenmetricsError as error:
                self._error = error
        return self._error

    def _computed(self, number: int) -> Leaf:
        if self._opened is None:
            self._opened = self._given.open()
            differences = self._job.differences(self._opened.job)
            if differences:
                raise FeatureMismatch(
                    f"A worker sees another {self._job.source} than the process that started it: "
                    f"{', '.join(differences)} differ. Put the side where all workers read the same, and install the "
                    "same versions everywhere."
                )
        opened = self._opened
        leaf, computed = run_leaf(
            self._job, number, opened.source, opened.network, cache=opened.preparation.store,
            strict=opened.preparation.strict,
        )  # fmt: skip
        if self._board is not None:
            self._board.tell.remote(number, computed, len(self._job.positions(number)))
        return leaf


class _Board:
    """An actor where workers write which leaves are done; a leaf that was computed again stands there once."""

    def __init__(self) -> None:
        self._leaves: dict[int, tuple[int, int]] = {}

    def tell(self, number: int, computed: int, images: int) -> None:
        self._leaves.setdefault(number, (computed, images))

    def done(self) -> tuple[int, int]:
        """Images that went through the network, and images in all."""
        return sum(computed for computed, _ in self._leaves.values()), sum(
            images for _, images in self._leaves.values()
        )


@contextlib.contextmanager
def _watched(ray: Any, meter: Meter, progress: ProgressCallback | None) -> Iterator[Any]:
    """The board, whose state goes on to the callback twice a second; None where nobody wants to know.

    The callback runs in a thread of its own. What it raises ends the telling at once, and the job when it is done.
    """
    if progress is None:
        yield None
        return
    board = ray.remote(num_cpus=0)(_Board).remote()
    over, raised = threading.Event(), queue.SimpleQueue[BaseException]()

    def tell() -> None:
        told = (0, 0)
        try:
            while True:
                last = over.wait(_TOLD_EVERY)
                computed, images = ray.get(board.done.remote())
                if images > told[1]:
                    new = computed - told[0]
                    meter.advance(computed=new, cached=images - told[1] - new)
                told = (computed, images)
                if last:
                    return
        except BaseException as error:
            raised.put(error)

    teller = threading.Thread(target=tell, name="genmetrics-progress", daemon=True)
    teller.start()
    try:
        yield board
    finally:
        over.set()
        teller.join()
        ray.kill(board)
    if not raised.empty():
        raise raised.get()


@dataclass
class _Joined:
    """Leaves joined so far."""

    moments: MomentTree = field(default_factory=MomentTree)
    spatial: MomentTree = field(default_factory=MomentTree)
    rows: list[Rows] = field(default_factory=list)
    content: dict[int, str] = field(default_factory=dict)
    skipped: dict[int, tuple[SkippedImage, ...]] = field(default_factory=dict)
    error: GenmetricsError | None = None  # the first that a worker met

    def add(self, leaf: Leaf | GenmetricsError) -> None:
        if isinstance(leaf, GenmetricsError):
            self.error = self.error or leaf
            return
        self._require_new({leaf.number: leaf.content_hash})
        self.moments.add(leaf.moments, (0, leaf.number))
        self.spatial.add(leaf.spatial, (0, leaf.number))
        self.rows.append(leaf.rows)
        self.content[leaf.number], self.skipped[leaf.number] = leaf.content_hash, leaf.skipped

    def merge(self, other: _Joined) -> None:
        self._require_new(other.content)
        self.moments.merge(other.moments)
        self.spatial.merge(other.spatial)
        self.rows += other.rows
        self.content |= other.content
        self.skipped |= other.skipped
        self.error = self.error or other.error

    def _require_new(self, content: Mapping[int, str]) -> None:
        twice = sorted(set(content) & set(self.content))
        if twice:
            raise GenmetricsError(f"Ray handed over leaf {twice[0]} twice. Nothing is scored on images counted twice.")


def _join_leaves() -> Any:
    """The aggregation, as a class that can only be made where Ray is."""
    from ray.data.aggregate import AggregateFnV2

    class JoinLeaves(AggregateFnV2):  # type: ignore[misc, unused-ignore]
        """Accumulators are bytes, since they travel as values of a table."""

        def __init__(self) -> None:
            zero: Callable[[], bytes] = lambda: pickle.dumps(_Joined())  # noqa: E731
            super().__init__("joined", zero, on="leaf", ignore_nulls=True)

        def aggregate_block(self, block: Any) -> bytes:
            joined = _Joined()
            for leaf in block.column("leaf").to_pylist():
                joined.add(pickle.loads(leaf))
            return pickle.dumps(joined)

        def combine(self, current_accumulator: bytes, new: bytes) -> bytes:
            joined: _Joined = pickle.loads(current_accumulator)
            joined.merge(pickle.loads(new))
            return pickle.dumps(joined)

    return JoinLeaves()


@contextlib.contextmanager
def _connected(ray: Any) -> Iterator[None]:
    """The cluster that is there already or that ``RAY_ADDRESS`` names; else one on this machine, for as long."""
    if ray.is_initialized():
        yield
        return
    own = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **own)
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    # Before the import: Ray reports its use unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackage(
            "--engine ray needs Ray Data, which is not installed. Install it: pip install 'genmetrics-rt[ray]', or use "
            "genmetrics shard and merge, which need nothing more."
        ) from error
    return ray
