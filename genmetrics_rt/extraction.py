"""From images to features: decode and resize in threads ahead of the network, fixed batches, cache by content.

    source → chunks of 128 positions → digests → cached? → its features
                                                  else    → decode + resize (threads) → batches → frozen graph

On a GPU several batches are under way at a time: while one computes, the next is gathered and copied to the device.
Texts go the same way, with a tokeniser in the place of decoding.

A chunk is the unit of the cache, so a run that was interrupted resumes at the last whole chunk, and images added to
the end of a folder cost only themselves. Batches never cross chunks, so features do not depend on what was cached.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FeatureArray, ImageArray, as_image, as_image_batch
from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.cache import FeatureCache
from genmetrics_rt.decode import decode, rules_in_force
from genmetrics_rt.errors import DamagedBundle, InputError, NonFiniteFeatures, UnreadableInput
from genmetrics_rt.features import Collector
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.manifest import Manifest, Protocol
from genmetrics_rt.report import ExtractorSummary, SkippedImage
from genmetrics_rt.resize import resize, to_tensor
from genmetrics_rt.sources import Entries, ImageSource, RawImage, Undecodable, unreadable_digest
from genmetrics_rt.staging import Rows
from genmetrics_rt.texts import RawText, TextSource
from genmetrics_rt.threads import threads_or_default
from genmetrics_rt.wordpiece import WordPiece

CHUNK = 128  # images per cache entry; two chunks of tensors are in memory at a time, on a GPU one more for each call
# Images per call of the network. On a CPU more is not faster, and takes memory; a GPU wants a whole chunk.
BATCH_SIZE_ON_CPU, BATCH_SIZE_ON_GPU = 8, CHUNK
BATCH_SIZE_OF_TEXTS = 16  # on a CPU
TOKENS_STEP = 16  # texts are filled up to a multiple of it

_Tensors: TypeAlias = NDArray[Any] | Sequence[NDArray[Any]]  # prepared images, stacked or not; or the tokens of texts


@dataclass(frozen=True)
class Progress:
    """How far a side has come. ``images_per_second`` is over this side so far; ``seconds_left`` None until known."""

    stage: str  # "reference" | "generated" | "weights of …"
    done: int
    total: int
    images_per_second: float
    seconds_left: float | None
    from_cache: int
    unit: str = "images"  # or "texts"; "bytes", of a download


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class Extraction:
    """What running a source through an extractor left behind, beside the features in the collector."""

    content_hash: str
    skipped: tuple[SkippedImage, ...]
    computed: int  # images that went through the network, the others came from the cache
    seconds: float


class FeatureExtractor:
    """A frozen feature network with one protocol. Thread-safe.

    Parameters
    ----------
    extractor
        Name of a shipped extractor, or the path of a bundle.
    protocol
        One of the protocols of its manifest by name, or a `Protocol` of your own; None is its default.
    tap
        Which of the network's feature taps (``"64"``, ``"192"``, ``"768"``, ``"2048"`` of the Inception); None is that
        of the published scores.
    device, backend, precision
        As in `genmetrics_rt.frozen.open_graph`.
    threads
        Threads that decode, and threads inside one call of the network; None is `available_threads`.
    batch_size
        Images per call of the network, at most 128, the size of a chunk: more is taken as 128. None is 8 on a CPU and
        128 on a GPU. Every call has this
        size (the last of a chunk is padded), so features do not depend on how many images there are; they do not
        depend on ``batch_size`` beyond 1e-5.
    spinning
        As in `genmetrics_rt.frozen.open_graph`: idle threads of the network spin for the next call. Worth it only for
        a job that has the machine to itself; `evaluate` leaves it off.

    Opens no socket.
    """

    def __init__(
        self,
        extractor: str | os.PathLike[str] | Bundle,
        *,
        protocol: str | Protocol | None = None,
        tap: str | None = None,
        device: str = "auto",
        backend: str = "onnx",
        precision: str = "fp32",
        threads: int | None = None,
        batch_size: int | None = None,
        spinning: bool = False,
    ) -> None:
        bundle = extractor if isinstance(extractor, Bundle) else load_bundle(extractor)
        if bundle.kind != "extractor":
            raise InputError(
                f"{bundle.name!r} is a {bundle.kind}, not an extractor. `genmetrics bundles list` names the extractors."
            )
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
        manifest = bundle.manifest
        self.bundle = bundle
        self.protocol: Protocol = protocol if isinstance(protocol, Protocol) else manifest.protocol(protocol)
        self.threads = threads_or_default(threads)
        self._graph = open_graph(
            bundle, backend=backend, device=device, precision=precision, threads=self.threads, spinning=spinning
        )
        self._tokeniser = WordPiece.of_bundle(bundle) if manifest.modality == "text" else None
        on_cpu = BATCH_SIZE_ON_CPU if self._tokeniser is None else BATCH_SIZE_OF_TEXTS
        self.batch_size = batch_size or (on_cpu if self._graph.device == "cpu" else BATCH_SIZE_ON_GPU)
        self.batch_size = min(self.batch_size, CHUNK)  # a batch never crosses chunks: more would only be padding
        # Calls that are under way while the next is gathered: none on a CPU, where gathering takes the same cores.
        self._ahead = self._graph.calls_at_once - 1
        self._pool = ThreadPoolExecutor(self._ahead + 1, "genmetrics-network") if self._ahead else None
        self._inputs = [spec.name for spec in manifest.inputs]
        self._taps = _chosen_taps(manifest, tap, spatial=self.protocol.spatial)
        dimension = next(spec.shape[-1] for spec in manifest.outputs if spec.name == self._taps["features"])
        if not isinstance(dimension, int):
            raise DamagedBundle(f"The manifest of {bundle.name!r} does not say how many features there are.")
        self.summary = ExtractorSummary(
            name=manifest.name,
            title=manifest.title,
            label=manifest.label,
            numeric_id=manifest.numeric_id(self.protocol, tap or "features", precision),
            protocol=self.protocol.name,
            dimension=dimension,
            published=self._taps["features"] == manifest.taps["features"] and manifest.published_by(self.protocol),
            recipe=_recipe_lines(manifest, self.protocol, tap or "features", precision),
            modality=manifest.modality,
        )

    @property
    def device(self) -> str:
        """Where the graph really runs: ``"cpu"``, ``"cuda:0"`` or ``"cuda:0,cuda:1"``."""
        return self._graph.device

    @property
    def backend(self) -> str:
        """What runs it: ``"onnx"`` or ``"torchscript"``."""
        return self._graph.backend

    def prepare(self, image: ImageArray) -> NDArray[np.float32]:
        """One uint8 image (H, W, 3), or grey (H, W) or (H, W, 1) → the tensor that the graph takes, by the protocol."""
        return to_tensor(resize(as_image(image), self.protocol), self.protocol)

    @property
    def modality(self) -> str:
        """What it looks at: ``"image"`` or ``"text"``."""
        return self.summary.modality

    def tokens(self, text: str) -> NDArray[np.int64]:
        """(T,) the tokens of one text, of an extractor of texts."""
        if self._tokeniser is None:
            raise InputError(f"{self.summary.name} looks at images and has no tokeniser. For texts there is minilm.")
        return np.array(self._tokeniser(text), dtype=np.int64)

    def is_cut(self, text: str) -> bool:
        """Whether a text is longer than the network sees: what is behind its last token counts for nothing."""
        return self._tokeniser is not None and self._tokeniser.is_longer(text)

    def pieces_per_word(self, text: str) -> tuple[int, int]:
        """Pieces of the vocabulary in a text, and words."""
        return (0, 0) if self._tokeniser is None else self._tokeniser.pieces_per_word(text)

    def __call__(self, images: Iterable[Any]) -> tuple[FeatureArray, FeatureArray | None]:
        """uint8 images as for `prepare`, of any and even unlike sizes → features (N, D) and logits (N, C) or None.

        One array is a batch, as in `Evaluation.update`: (N, H, W, 3), (N, H, W) or a single (H, W, 3). An extractor of
        texts takes str instead.
        """
        if self._tokeniser is not None:
            images = images if isinstance(images, str) else list(images)
            if isinstance(images, str) or not all(isinstance(text, str) for text in images):
                raise InputError(f"{self.summary.name} takes a list of str. For images there are other extractors.")
            tokens = [self.tokens(text) for text in images]
            return self.run(tokens) if tokens else self._nothing()
        if hasattr(images, "shape"):
            images = as_image_batch(images)
        tensors = [self.prepare(image) for image in images]
        return self.run(np.stack(tensors)) if tensors else self._nothing()

    def run(
        self, tensors: NDArray[np.float32] | Sequence[NDArray[np.int64]]
    ) -> tuple[FeatureArray, FeatureArray | None]:
        """Prepared tensors (N, …) → features (N, D) and logits (N, C) or None, in calls of ``batch_size``.

        Of texts, the tokens (T,) of each.
        """
        outputs = self.run_taps(tensors)
        return outputs["features"], outputs.get("logits")

    def run_taps(self, tensors: NDArray[np.float32] | Sequence[NDArray[np.int64]]) -> dict[str, FeatureArray]:
        """Prepared tensors (N, …) → what the taps in use give: ``features``, and ``logits`` and ``spatial`` if any."""
        if len(tensors) == 0:
            return self._empty()
        return self._run(tensors, map if self._pool is None else self._pool.map)

    def _run(self, tensors: _Tensors, each: Callable[..., Iterable[Any]] = map) -> dict[str, FeatureArray]:
        """As `run_taps`, of one row or more. ``each`` is how the batches are gone through: one by one, or in a pool."""
        if self._tokeniser is None:
            return self._in_batches(tensors, each)
        # Texts of one width together, so that the features of a text do not depend on those beside it.
        widths = np.array([self._width(tokens) for tokens in tensors])
        rows = [np.flatnonzero(widths == width) for width in np.unique(widths)]
        blocks = [self._in_batches([tensors[row] for row in own.tolist()], each) for own in rows]
        back = np.argsort(np.concatenate(rows))
        return {role: np.concatenate([block[role] for block in blocks])[back] for role in self._taps}

    def _in_batches(self, tensors: _Tensors, each: Callable[..., Iterable[Any]]) -> dict[str, FeatureArray]:
        batches = [tensors[start : start + self.batch_size] for start in range(0, len(tensors), self.batch_size)]
        gathered: dict[str, list[FeatureArray]] = {role: [] for role in self._taps}
        for batch, outputs in zip(batches, each(self._one_call, batches), strict=True):
            for role, output in self._taps.items():
                gathered[role].append(outputs[output][: len(batch)])
        return {role: np.concatenate(blocks) for role, blocks in gathered.items()}

    def _one_call(self, batch: _Tensors) -> dict[str, NDArray[Any]]:
        return self._graph.run(self._call(batch))

    def _width(self, tokens: NDArray[np.int64]) -> int:
        """Tokens that a text takes in a batch: its own, filled up to the next of a few widths."""
        assert self._tokeniser is not None
        return min(-(-len(tokens) // TOKENS_STEP) * TOKENS_STEP, self._tokeniser.max_length)

    def _call(self, batch: _Tensors) -> dict[str, Rows]:
        """The inputs of one call of ``batch_size`` rows, those that are missing filled up with zeros."""
        if self._tokeniser is None:
            missing = self.batch_size - len(batch)
            return {self._inputs[0]: [*batch, *[np.zeros_like(batch[0])] * missing] if missing else batch}
        shape = (self.batch_size, max(self._width(tokens) for tokens in batch))
        tokens, counts = np.full(shape, self._tokeniser.padding, np.int64), np.zeros(shape, np.int64)
        for row, own in enumerate(batch):
            tokens[row, : len(own)] = own
            counts[row, : len(own)] = 1
        return {self._inputs[0]: tokens, self._inputs[1]: counts}

    def _empty(self) -> dict[str, FeatureArray]:
        sizes = {"features": self.summary.dimension}
        return {role: np.empty((0, sizes.get(role, 0)), np.float32) for role in self._taps}

    def _nothing(self) -> tuple[FeatureArray, FeatureArray | None]:
        empty = self._empty()
        return empty["features"], empty.get("logits")

    def extract(
        self,
        source: ImageSource | TextSource,
        collector: Collector,
        *,
        positions: Sequence[int] | None = None,
        cache: FeatureCache | None = None,
        strict: bool = False,
        stage: str = "images",
        progress: ProgressCallback | None = None,
    ) -> Extraction:
        """Run a source (or some positions of it) through the network, into a collector.

        Raises
        ------
        UnreadableInput
            With ``strict``, when an image cannot be used; without it, such images are listed in ``skipped``.
        NonFiniteFeatures
            The network answers NaN or infinity; the message names the images.
        """
        positions = range(len(source)) if positions is None else positions
        cache = cache or FeatureCache(None)
        meter = _Meter(stage, len(positions), progress, unit=f"{self.modality}s")
        content = hashlib.sha256()
        skipped: list[SkippedImage] = []
        # Two pools, so that hashing the next chunk never waits behind the decoding of this one.
        hashing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="genmetrics-hash")
        decoding = ThreadPoolExecutor(max_workers=self.threads, thread_name_prefix="genmetrics-decode")
        _refuse_skipped(strict, source, source.skipped)
        try:
            coming = _one_ahead(self._chunks(source, positions, cache, hashing, decoding))
            for chunk, block in self._blocks(coming, source, meter):
                if chunk.stored is not None:
                    meter.advance(cached=len(chunk.positions))
                elif not chunk.transient:
                    # Under the digests of what was decoded, which those of the look-up are not if a file changed since.
                    cache.put(self._key(chunk.digests), block.arrays())
                not_used = chunk.named(block.skipped, source)
                _refuse_skipped(strict, source, not_used)
                skipped.extend(not_used)
                content.update("".join(chunk.digests).encode())
                kept = np.asarray(chunk.positions, dtype=np.int64)[block.used]
                collector.update(block.values, block.logits, kept, spatial=block.spatial, what=source.name)
        finally:
            # Also on Ctrl-C: what is stored stays stored, and the next run goes on from there.
            hashing.shutdown(wait=True, cancel_futures=True)
            decoding.shutdown(wait=True, cancel_futures=True)
        return Extraction(
            content_hash=content.hexdigest(),
            skipped=tuple(skipped),
            computed=meter.computed,
            seconds=meter.seconds(),
        )

    def _chunks(
        self,
        source: ImageSource | TextSource,
        positions: Sequence[int],
        cache: FeatureCache,
        hashing: ThreadPoolExecutor,
        decoding: ThreadPoolExecutor,
    ) -> Iterator[_Chunk]:
        def digests_of(start: int) -> list[str]:
            return [source.digest(position) for position in positions[start : start + CHUNK]]

        coming = hashing.submit(digests_of, 0)
        for start in range(0, len(positions), CHUNK):
            digests = coming.result()
            coming = hashing.submit(digests_of, start + CHUNK)
            stored = _Block.from_arrays(cache.get(self._key(digests)))
            some = positions[start : start + CHUNK]
            jobs = []
            if stored is None:
                pairs = zip(some, digests, strict=True)
                jobs = [decoding.submit(self._prepare_entry, source, *pair) for pair in pairs]
            yield _Chunk(some, digests, stored, jobs)

    def _key(self, digests: Sequence[str]) -> str:
        """What the features depend on: content, decoding, numeric id (which holds the protocol), graph and its backend.

        Left out on purpose, since they move features by rounding only: batch size, threads, and the versions of
        onnxruntime and torch.
        """
        graph = self.bundle.file_of_form(self.backend)  # by its form; the numeric id only holds that of onnx
        content = self.bundle.manifest.record["files"][graph]["sha256"]
        # What a character is, Python's own tables say.
        rules = rules_in_force() if self._tokeniser is None else f"unicode {unicodedata.unidata_version}"
        made_by = [self.summary.numeric_id, self.backend, content, self.device, rules]
        if "spatial" in self._taps:
            made_by.append("with the spatial tap")
        text = "\n".join(["genmetrics.features/2", *made_by, *digests])
        return hashlib.sha256(text.encode()).hexdigest()

    def _prepare_entry(self, source: ImageSource | TextSource, position: int, digest: str) -> _Prepared:
        """The tensor of one image, or why it cannot be used, with the digest of what was really read."""
        # Stored images are read a second time here, after their digest was taken, and may have changed between. The
        # digest of a generated image is that of its recipe, which gives the same image every time.
        is_stored = isinstance(source, Entries)
        try:
            raw = source.read(position)
        except Undecodable as error:
            return _Prepared(unreadable_digest(error), reason=str(error), transient=error.transient)
        found = raw.digest if is_stored else digest
        try:
            if isinstance(raw, RawText):
                return _Prepared(found, self._tokens_of(raw))
            return _Prepared(found, self.prepare(self._decode(raw)))
        except Undecodable as error:
            return _Prepared(found, reason=str(error), transient=error.transient)

    def _decode(self, raw: RawImage) -> ImageArray:
        return decode(raw, alpha=self.protocol.alpha, orientation=self.protocol.orientation)

    def _tokens_of(self, raw: RawText) -> NDArray[np.int64]:
        tokens = self.tokens(raw.text)
        if len(tokens) <= 2:
            raise Undecodable("nothing but white space and characters without a shape")
        return tokens

    def _blocks(
        self, chunks: Iterable[_Chunk], source: ImageSource | TextSource, meter: _Meter
    ) -> Iterator[tuple[_Chunk, _Block]]:
        """Chunks with their blocks, in order; as many more as there may be calls ahead are begun before."""
        begun: deque[tuple[_Chunk, Callable[[], _Block]]] = deque()
        for chunk in chunks:
            begun.append((chunk, self._begin(chunk, source, meter)))
            if len(begun) > self._ahead:
                first, finish = begun.popleft()
                yield first, finish()
        for first, finish in begun:
            yield first, finish()

    def _begin(self, chunk: _Chunk, source: ImageSource | TextSource, meter: _Meter) -> Callable[[], _Block]:
        """Hand the images of a chunk to the network. What is returned waits for the features."""
        if chunk.stored is not None:
            stored = chunk.stored
            return lambda: stored
        gathered: dict[str, list[FeatureArray]] = {role: [] for role in self._taps}
        used, skipped = np.zeros(len(chunk.positions), bool), []
        batch: list[NDArray[Any]] = []
        at_once = self.batch_size if self._tokeniser is None else CHUNK  # texts are sorted by width first
        calls: deque[tuple[int, Future[dict[str, FeatureArray]]]] = deque()

        def flush() -> None:
            calls.append((len(batch), self._called(batch.copy())))
            batch.clear()
            settle(self._ahead)

        def settle(most: int) -> None:
            """Wait until at most so many calls are under way."""
            while len(calls) > most:
                count, call = calls.popleft()
                for role, values in call.result().items():
                    gathered[role].append(values)
                meter.advance(computed=count)

        for row, job in enumerate(chunk.jobs):
            image = job.result()
            chunk.jobs[row] = _DONE  # lets go of the tensor as soon as it is in a batch
            chunk.digests[row] = image.digest
            if image.tensor is None:
                skipped.append((row, image.reason))
                chunk.transient |= image.transient
                meter.advance(skipped=1)
                continue
            used[row] = True
            batch.append(image.tensor)
            if len(batch) == at_once:
                flush()
        if batch:
            flush()

        def finish() -> _Block:
            settle(0)
            taps = {role: np.concatenate(blocks) for role, blocks in gathered.items()} if used.any() else self._empty()
            block = _Block(
                values=taps["features"],
                logits=taps.get("logits"),
                spatial=taps.get("spatial"),
                used=used,
                skipped=tuple(skipped),
            )
            _require_finite_block(block, chunk, source)
            return block

        return finish

    def _called(self, rows: list[NDArray[Any]]) -> Future[dict[str, FeatureArray]]:
        """The network on these rows: done on return, or on a GPU under way."""
        if self._pool is not None:
            return self._pool.submit(self._run, rows)
        done: Future[dict[str, FeatureArray]] = Future()
        done.set_result(self._run(rows))
        return done


@dataclass(frozen=True)
class _Prepared:
    """One image after reading and decoding: a tensor, or the reason why there is none."""

    digest: str  # of the bytes that were decoded
    tensor: NDArray[Any] | None = None
    reason: str = ""
    transient: bool = False  # see `Undecodable`


@dataclass
class _Chunk:
    """Consecutive positions of a source: already in the cache, or on their way through the decoding threads."""

    positions: Sequence[int]
    digests: list[str]
    stored: _Block | None
    jobs: list[Future[_Prepared]]
    transient: bool = False  # an image is missing that may be there the next time: nothing to store

    def named(self, skipped: Sequence[tuple[int, str]], source: ImageSource | TextSource) -> list[SkippedImage]:
        """The images of this chunk that were not used, by the names that they have today."""
        return [SkippedImage(source.entry_name(self.positions[row]), reason) for row, reason in skipped]


_DONE: Future[Any] = Future()


@dataclass(frozen=True)
class _Block:
    """The features of one chunk: rows of the images that could be used, and the others with their reasons."""

    values: FeatureArray
    logits: FeatureArray | None
    spatial: FeatureArray | None
    used: NDArray[np.bool_]
    skipped: tuple[tuple[int, str], ...]  # row in the chunk, reason; no names: a file may be renamed

    def arrays(self) -> dict[str, NDArray[Any]]:
        reasons = json.dumps(self.skipped)
        arrays: dict[str, NDArray[Any]] = {
            "values": self.values,
            "used": self.used,
            "skipped": np.frombuffer(reasons.encode(), dtype=np.uint8),
        }
        if self.logits is not None:
            arrays["logits"] = self.logits
        if self.spatial is not None:
            arrays["spatial"] = self.spatial
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]] | None) -> _Block | None:
        if arrays is None:
            return None
        reasons = json.loads(bytes(arrays["skipped"]))
        return cls(
            values=arrays["values"],
            logits=arrays.get("logits"),
            spatial=arrays.get("spatial"),
            used=arrays["used"],
            skipped=tuple((int(row), str(reason)) for row, reason in reasons),
        )


class _Meter:
    """Counts images and tells the progress callback, at most ten times a second."""

    def __init__(self, stage: str, total: int, callback: ProgressCallback | None, *, unit: str) -> None:
        self._stage, self._total, self._callback, self._unit = stage, total, callback, unit
        self._start = time.perf_counter()
        self._last = 0.0
        self._done = self._cached = self.computed = 0

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def advance(self, *, computed: int = 0, cached: int = 0, skipped: int = 0) -> None:
        self._done += computed + cached + skipped
        self._cached += cached
        self.computed += computed
        now = self.seconds()
        if self._callback is None or (now - self._last < 0.1 and self._done < self._total):
            return
        self._last = now
        # The other images take no time worth counting; the rate that matters is that of the network.
        rate = self.computed / now if now > 0 and self.computed else 0.0
        left = (self._total - self._done) / rate if rate else None
        self._callback(Progress(self._stage, self._done, self._total, rate, left, self._cached, self._unit))


def _chosen_taps(manifest: Manifest, tap: str | None, *, spatial: bool) -> dict[str, str]:
    """Role → output for the roles in use: features, logits where there are any, spatial where the protocol wants it."""
    taps = manifest.taps
    if tap is not None and tap not in taps:
        raise InputError(f"Extractor {manifest.name!r} has no tap {tap!r}. It has: {', '.join(sorted(taps))}.")
    if spatial and "spatial" not in taps:
        raise DamagedBundle(f"A protocol of {manifest.name!r} collects a spatial tap that its manifest does not name.")
    wanted = {"features": taps[tap or "features"]}
    for role in ("logits", *(["spatial"] if spatial else [])):
        if role in taps:
            wanted[role] = taps[role]
    return wanted


def _recipe_lines(manifest: Manifest, protocol: Protocol, tap: str, precision: str) -> dict[str, Any]:
    """Every line of the recipe that features depend on, by its name: what `explain` compares."""
    lines = manifest.numeric_lines(protocol)
    graph, weights = (", ".join(lines[part] or ()) or None for part in ("graph", "weights"))
    of_protocol = protocol.numeric_part()
    if manifest.modality == "image":
        of_protocol |= {"size": list(protocol.size), "orientation": protocol.orientation}
    return {
        "graph": graph,
        "weights": weights,
        "tap": "features" if manifest.taps[tap] == manifest.taps["features"] else tap,
        "precision": precision,
        **of_protocol,
    }


def _one_ahead(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """Pull one chunk more than the consumer asks for, so that its images are decoded meanwhile."""
    current = next(chunks, None)
    while current is not None:
        following = next(chunks, None)
        yield current
        current = following


def _refuse_skipped(strict: bool, source: ImageSource | TextSource, skipped: Sequence[SkippedImage]) -> None:
    if strict and skipped:
        raise UnreadableInput(
            f"{source.name}: {skipped[0].name} cannot be used: {skipped[0].reason}. With strict every file must be "
            "usable; without it, this one is skipped and listed."
        )


def _require_finite_block(block: _Block, chunk: _Chunk, source: ImageSource | TextSource) -> None:
    finite = np.isfinite(block.values).all(axis=1)
    if finite.all():
        return
    positions = np.asarray(chunk.positions)[block.used][~finite]
    names = ", ".join(source.entry_name(int(position)) for position in positions[:5])
    raise NonFiniteFeatures(
        f"{source.name}: the network answers NaN or infinity for {len(positions)} of {len(chunk.positions)} images, "
        f"for instance {names}. Look at these files, or run `genmetrics bundles verify` to test the network itself."
    )
