"""Sides computed by Ray Data: an actor pool runs leaves, this process joins them, a worker that dies is replaced.

    numbers of leaves → map_batches (actors: open the side, run a leaf) → AggregateFnV2 (tree of moments) → `Reference`

What travels is one state per leaf, never images and never rows that the sample does not need. Leaves are joined here,
in order and as they arrive: memory holds a few states, while ``Dataset.aggregate`` would hold those of all leaves in
one task. Ray computes the leaves of a dead worker again; each leaf enters the tree once, and the end refuses to go on
unless all of them did. The result has the same bits as `merge_shards`, whatever worker did what.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genmetrics_rt.bundle import Bundle, list_bundles
from genmetrics_rt.datasets import names_dataset
from genmetrics_rt.errors import FeatureMismatch, GenmetricsError, InputError, MissingPackage
from genmetrics_rt.evaluation import evaluate
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.preparation import MAX_DEFAULT_SAMPLES, Preparation
from genmetrics_rt.progress import Meter, ProgressCallback
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import Report, SkippedImage
from genmetrics_rt.scale.leaves import (
    Job,
    Leaf,
    MomentTree,
    Rows,
    Unread,
    reference_of,
    run_leaf,
    unread,
    unread_error,
)
from genmetrics_rt.scale.sharding import open_source
from genmetrics_rt.sides import FeatureRows, open_side

_RETRIES = 5  # of a leaf whose worker died; without a bound, one that always ends its worker would go round for ever


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
    cache: bool | None = None,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int = 1,
    progress: ProgressCallback | None = None,
) -> Report:
    """`evaluate`, with the images of both sides computed by Ray.

    Uses the Ray cluster that the process is connected to, or that ``RAY_ADDRESS`` names; else it starts one on this
    machine. Every worker opens the sides itself, so they must lie where all of them can read: a shared file system or
    a URL. The report shows no pictures, and makes no findings from them. Whether workers use GPUs is settled by this
    process: with ``device="auto"`` they do if it has one.

    Parameters
    ----------
    workers
        Actors in the pool; None is as many as the cluster has room for. Of more, some wait for room.
    threads
        Threads, and CPUs that Ray sets aside, for each worker.
    cache
        True: workers store the features of every image too, each in its own ``GENMETRICS_HOME`` (12 kB an image for
        Inception). None: they do not. False: this process reads and stores nothing either.
    num_images
        For a generator; stored sides are taken whole.

    The others are those of `evaluate`.

    Raises
    ------
    MissingPackage
        Ray is not installed.
    InputError
        As `evaluate`; also when a worker sees other files than this process, when no node has as many CPUs as
        ``threads``, and when images could not be read just now.
    GenmetricsError
        Ray gave up, for instance on a leaf whose worker died again and again.
    """
    ray = _ray()
    opened = [open_side(reference), open_side(generated)]
    if num_images is not None and not any(isinstance(side, Generator) for side in opened):
        raise InputError(
            "--num-images says how many a generator makes, and with Ray stored sides are taken whole. Leave it out, or "
            "use --engine local."
        )
    chosen = Preparation(
        extractor, protocol, tap, device, backend, precision, num_images, seed, bool(cache), strict, batch_size,
        threads, progress,
    )  # fmt: skip
    chosen.choose_extractor(opened[1], opened[0])
    options: dict[str, Any] = {
        "extractor": chosen.extractor, "protocol": chosen.protocol, "tap": chosen.tap, "device": device,
        "backend": backend, "precision": precision, "cache": bool(cache), "strict": strict, "batch_size": batch_size,
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
        sides[1], sides[0], metrics=metrics, intervals=intervals, training_log=training_log, seed=seed,
        cache=cache is not False, progress=progress, **named,
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
    job = mine.job
    meter = Meter(stage, job.num_entries, progress, unit=f"{mine.network.modality}s")
    with _connected(ray):
        joined, pool = _computed_by_ray(ray, given.from_anywhere(), job, workers, threads, mine.network.device, meter)
    if joined.unread:
        raise unread_error(job, joined.unread, "The features of the others are in the cache: start it again.")
    if sorted(joined.skipped) != list(range(job.num_leaves)):
        raise GenmetricsError(
            f"Ray gave back {len(joined.skipped):,} of {job.num_leaves:,} leaves of {job.source}. Nothing is scored on "
            "part of the images: start it again."
        )
    return reference_of(
        job,
        joined.moments,
        joined.spatial,
        joined.rows,
        (*mine.source.skipped, *(entry for number in sorted(joined.skipped) for entry in joined.skipped[number])),
        f"Computed by {pool} Ray workers in {job.num_leaves:,} leaves.",
        *joined.notes,
    )


def _computed_by_ray(
    ray: Any, given: _Given, job: Job, workers: int | None, threads: int, device: str, meter: Meter
) -> tuple[_Joined, str]:
    """All leaves of a side joined, and how many workers there were, in words. Raises the first error of a worker."""
    on_gpu = device != "cpu"
    room = _room(ray, threads, on_gpu=on_gpu)
    workers = min(workers or max(1, room), job.num_leaves)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    numbers = ray.data.from_items([{"leaf": number} for number in range(job.num_leaves)],
                                  override_num_blocks=job.num_leaves)  # fmt: skip
    numbers.context.execution_options.preserve_order = True
    leaves = numbers.map_batches(
        _LeafWorker,
        fn_constructor_kwargs={"given": given, "job": job},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
        num_gpus=1 if on_gpu else None,
        max_task_retries=_RETRIES,
    )
    join, joined, counted = _join_leaves(), _Joined(), _Counts()
    blocks = iter(leaves.iter_batches(batch_size=None, batch_format="pyarrow"))
    try:
        for block in blocks:
            joined = join.combine(joined, join.aggregate_block(block))
            if joined.error is not None:
                raise joined.error
            new = joined.counts.since(counted)
            counted = joined.counts
            meter.advance(computed=new.computed, cached=new.cached, skipped=new.skipped)
    except ray.exceptions.RayError as error:
        raise GenmetricsError(
            f"Ray gave up: {str(error).strip().splitlines()[0]}. Its log, in /tmp/ray, has more. A worker that dies "
            "again and again often lacks memory: try fewer --workers, or a smaller --batch-size. With genmetrics shard "
            "and merge the same images are computed without Ray."
        ) from error
    finally:
        del blocks  # ends the pool where leaves are left
    return joined, str(workers) if workers <= room else f"at most {workers}"


def _room(ray: Any, threads: int, *, on_gpu: bool) -> int:
    """How many workers the nodes have room for; 0 where nodes of the kind are still to come (an autoscaler).

    Raises `InputError` where all of them are too small: Ray would wait for ever, without a word.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = [node for node in nodes if node.get("CPU", 0) >= 1 and (node.get("GPU", 0) >= 1 or not on_gpu)]
    largest = max((int(node["CPU"]) for node in fitting), default=0)
    if fitting and largest < threads:
        kind = "node with a GPU" if on_gpu else "node"
        raise InputError(
            f"A worker asks for {threads} CPUs, and no {kind} of the Ray cluster has more than {largest}: none would "
            f"ever start. Use --threads {largest}."
        )
    return sum(min(int(node["CPU"]) // threads, int(node["GPU"]) if on_gpu else 10**9) for node in fitting)


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

    def from_anywhere(self) -> _Given:
        """The same for a process in another folder."""
        extractor = _absolute(self.options.get("extractor"), list_bundles())
        return replace(self, side=_absolute(self.side), options={**self.options, "extractor": extractor})

    def open(self) -> _Opened:
        defaults = {
            "extractor": None, "protocol": None, "tap": None, "backend": "onnx", "precision": "fp32", "cache": False,
            "strict": False, "batch_size": None, "progress": None,
        }  # fmt: skip
        preparation = Preparation(**{**defaults, **self.options})
        source = open_source(self.side, preparation, sample_seed=self.sample_seed)
        network = preparation.open_extractor()
        job = Job.of(source, network, preparation.overrides(), seed=preparation.seed, leaf_size=self.leaf_size)
        return _Opened(source, network, preparation, job)


def _absolute(value: Any, names: Container[str] = ()) -> Any:
    """A path with its folder; what is no path of this machine (a URL, a name, an array) as it is."""
    if not isinstance(value, str | os.PathLike):
        return value
    text = os.path.expanduser(os.fspath(value))
    if "://" in text or value in names or not (os.path.exists(text) or names_dataset(text)):
        return value
    return os.path.abspath(text)


@dataclass(frozen=True)
class _Counts:
    """Images that went through the network, came from the cache, or cannot be used."""

    computed: int = 0
    cached: int = 0
    skipped: int = 0

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.computed + other.computed, self.cached + other.cached, self.skipped + other.skipped)

    def since(self, before: _Counts) -> _Counts:
        return _Counts(self.computed - before.computed, self.cached - before.cached, self.skipped - before.skipped)


@dataclass(frozen=True)
class _Outcome:
    """What a worker answers. An error travels as a value: Ray would wrap it, and print its own stack trace first."""

    leaf: Leaf | None = None
    counts: _Counts = _Counts()
    unread: Unread | None = None
    error: GenmetricsError | None = None
    notes: tuple[str, ...] = ()  # of its cache


class _LeafWorker:
    """An actor of the pool: opens side and network once, then runs the leaves that it is handed."""

    def __init__(self, given: _Given, job: Job) -> None:
        self._given, self._job = given, job
        self._opened: _Opened | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        return {"leaf": [pickle.dumps(self._outcome(int(number))) for number in batch["leaf"]]}

    def _outcome(self, number: int) -> _Outcome:
        try:
            return self._computed(number)
        except GenmetricsError as error:
            return _Outcome(error=error)

    def _computed(self, number: int) -> _Outcome:
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
        store = opened.preparation.store
        leaf, run = run_leaf(
            self._job, number, opened.source, opened.network, cache=store, strict=opened.preparation.strict
        )
        missing = unread(number, run)
        if missing is not None:
            if store.root is None:  # what the others would compute is lost with the job
                raise unread_error(
                    self._job, [missing], "Nothing is scored on part of the images: start it again, or use genmetrics "
                    "shard, which keeps what it has."
                )  # fmt: skip
            return _Outcome(unread=missing, notes=tuple(store.notes))
        skipped = len(run.skipped)
        cached = len(self._job.positions(number)) - run.computed - skipped
        return _Outcome(leaf, _Counts(run.computed, cached, skipped), notes=tuple(store.notes))


@dataclass
class _Joined:
    """Leaves joined so far."""

    moments: MomentTree = field(default_factory=MomentTree)
    spatial: MomentTree = field(default_factory=MomentTree)
    rows: list[Rows] = field(default_factory=list)
    skipped: dict[int, tuple[SkippedImage, ...]] = field(default_factory=dict)  # of each leaf that is in
    counts: _Counts = _Counts()
    unread: list[Unread] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    error: GenmetricsError | None = None  # the first that a worker met

    def add(self, outcome: _Outcome) -> None:
        if outcome.leaf is not None:
            leaf = outcome.leaf
            self._require_new([leaf.number])
            self.moments.add(leaf.moments, (0, leaf.number))
            self.spatial.add(leaf.spatial, (0, leaf.number))
            self.rows.append(leaf.rows)
            self.skipped[leaf.number] = leaf.skipped
        if outcome.unread is not None:
            self.unread.append(outcome.unread)
        self._add_told(outcome.counts, outcome.notes, outcome.error)

    def merge(self, other: _Joined) -> None:
        self._require_new(other.skipped)
        self.moments.merge(other.moments)
        self.spatial.merge(other.spatial)
        self.rows += other.rows
        self.skipped |= other.skipped
        self.unread += other.unread
        self._add_told(other.counts, other.notes, other.error)

    def _add_told(self, counts: _Counts, notes: tuple[str, ...], error: GenmetricsError | None) -> None:
        self.counts += counts
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))
        self.error = self.error or error

    def _require_new(self, leaves: Iterable[int]) -> None:
        twice = sorted(set(leaves) & set(self.skipped))
        if twice:
            raise GenmetricsError(f"Ray handed over leaf {twice[0]} twice. Nothing is scored on images counted twice.")


def _join_leaves() -> Any:
    """The aggregation, as a class that can only be made where Ray is."""
    from ray.data.aggregate import AggregateFnV2

    class JoinLeaves(AggregateFnV2):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__("joined", _Joined, on="leaf", ignore_nulls=True)

        def aggregate_block(self, block: Any) -> _Joined:
            joined = _Joined()
            for leaf in block.column("leaf"):
                joined.add(pickle.loads(leaf.as_buffer()))
            return joined

        def combine(self, current_accumulator: _Joined, new: _Joined) -> _Joined:
            current_accumulator.merge(new)
            return current_accumulator

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
