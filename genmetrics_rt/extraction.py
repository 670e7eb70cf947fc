"""From a source to features: decode and resize in threads ahead of the network, fixed batches, cache by content.

    source → chunks of 128 positions → digests → cached? → its features
                                                  else    → decode + resize (threads) → batches → `FeatureExtractor`

On a GPU several batches are under way at a time: while one computes, the next is gathered and copied to the device.
Texts go the same way, with a tokeniser in the place of decoding.

A chunk is the unit of the cache, so a run that was interrupted resumes at the last whole chunk, and images added to
the end of a folder cost only themselves. Batches never cross chunks, so features do not depend on what was cached.
Two chunks of tensors are in memory at a time, on a GPU one more for each call.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FeatureArray, ImageArray
from genmetrics_rt.cache import FeatureCache
from genmetrics_rt.decode import decode, rules_in_force
from genmetrics_rt.errors import NonFiniteFeatures, UnreadableInput
from genmetrics_rt.extractor import CHUNK, FeatureExtractor
from genmetrics_rt.features import Collector
from genmetrics_rt.progress import Meter, ProgressCallback
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import Entries, ImageSource, RawImage, Undecodable, unreadable_digest
from genmetrics_rt.texts import RawText, TextSource

_REMOTE_READS = 16  # at a time, of a source behind a network


@dataclass(frozen=True)
class Extraction:
    """What running a source through an extractor left behind, beside the features in the collector."""

    content_hash: str
    skipped: tuple[SkippedImage, ...]
    computed: int  # images that went through the network, the others came from the cache
    seconds: float
    transient: int = 0  # of the skipped ones, those that could not be read just now and may be there the next time


def extract(
    extractor: FeatureExtractor,
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
    meter = Meter(stage, len(positions), progress, unit=f"{extractor.modality}s")
    content = hashlib.sha256()
    skipped: list[SkippedImage] = []
    transient = 0
    _refuse_skipped(strict, source, source.skipped)
    with _Pass(extractor, source, cache, meter) as run:
        for chunk, block in run.blocks(positions):
            if chunk.stored is not None:
                meter.advance(cached=len(chunk.positions))
            elif chunk.transient == 0:
                # Under the digests of what was decoded, which those of the look-up are not if a file changed since.
                cache.put(key_of(extractor, chunk.digests), block.arrays())
            not_used = chunk.named(block.skipped, source)
            _refuse_skipped(strict, source, not_used)
            skipped.extend(not_used)
            transient += chunk.transient
            content.update("".join(chunk.digests).encode())
            kept = np.asarray(chunk.positions, dtype=np.int64)[block.used]
            collector.update(block.values, block.logits, kept, spatial=block.spatial, what=source.name)
    return Extraction(
        content_hash=content.hexdigest(),
        skipped=tuple(skipped),
        computed=meter.computed,
        seconds=meter.seconds(),
        transient=transient,
    )


def key_of(extractor: FeatureExtractor, digests: Sequence[str]) -> str:
    """What the features depend on: content, decoding, numeric id (which holds the protocol), graph and its backend.

    Left out on purpose, since they move features by rounding only: batch size, threads, and the versions of
    onnxruntime and torch.
    """
    graph = extractor.bundle.file_of_form(extractor.backend)  # by its form; the numeric id only holds that of onnx
    content = extractor.bundle.manifest.record["files"][graph]["sha256"]
    # What a character is, Python's own tables say.
    rules = rules_in_force() if extractor.modality == "image" else f"unicode {unicodedata.unidata_version}"
    made_by = [extractor.summary.numeric_id, extractor.backend, content, extractor.device, rules]
    if "spatial" in extractor.taps:
        made_by.append("with the spatial tap")
    text = "\n".join(["genmetrics.features/2", *made_by, *digests])
    return hashlib.sha256(text.encode()).hexdigest()


class _Pass:
    """One pass over a source: its threads, and its chunks on their way to the network."""

    def __init__(
        self, extractor: FeatureExtractor, source: ImageSource | TextSource, cache: FeatureCache, meter: Meter
    ) -> None:
        self._extractor, self._source, self._cache, self._meter = extractor, source, cache, meter
        # Two pools, so that hashing the next chunk never waits behind the decoding of this one.
        hashing = _REMOTE_READS if isinstance(source, Entries) and source.is_remote else 1
        self._hashing = ThreadPoolExecutor(max_workers=hashing, thread_name_prefix="genmetrics-hash")
        self._decoding = ThreadPoolExecutor(max_workers=extractor.threads, thread_name_prefix="genmetrics-decode")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Also on Ctrl-C: what is stored stays stored, and the next run goes on from there.
        self._hashing.shutdown(wait=True, cancel_futures=True)
        self._decoding.shutdown(wait=True, cancel_futures=True)

    def blocks(self, positions: Sequence[int]) -> Iterator[tuple[_Chunk, _Block]]:
        """Chunks with their blocks, in order; as many more as there may be calls ahead are begun before."""
        begun: deque[tuple[_Chunk, Callable[[], _Block]]] = deque()
        for chunk in _one_ahead(self._chunks(positions)):
            begun.append((chunk, self._begin(chunk)))
            if len(begun) > self._extractor.calls_ahead:
                first, finish = begun.popleft()
                yield first, finish()
        for first, finish in begun:
            yield first, finish()

    def _chunks(self, positions: Sequence[int]) -> Iterator[_Chunk]:
        def digests_from(start: int) -> list[Future[str]]:
            return [self._hashing.submit(self._source.digest, each) for each in positions[start : start + CHUNK]]

        coming = digests_from(0)
        for start in range(0, len(positions), CHUNK):
            following = digests_from(start + CHUNK)
            digests = [job.result() for job in coming]
            coming = following
            stored = _Block.from_arrays(self._cache.get(key_of(self._extractor, digests)))
            some = positions[start : start + CHUNK]
            jobs = []
            if stored is None:
                pairs = zip(some, digests, strict=True)
                jobs = [self._decoding.submit(self._prepare_entry, *pair) for pair in pairs]
            yield _Chunk(some, digests, stored, jobs)

    def _prepare_entry(self, position: int, digest: str) -> _Prepared:
        """The tensor of one image, or why it cannot be used, with the digest of what was really read."""
        # Stored images are read a second time here, after their digest was taken, and may have changed between. The
        # digest of a generated image is that of its recipe, which gives the same image every time.
        is_stored = isinstance(self._source, Entries)
        try:
            raw = self._source.read(position)
        except Undecodable as error:
            return _Prepared(unreadable_digest(error), reason=str(error), transient=error.transient)
        found = raw.digest if is_stored else digest
        try:
            if isinstance(raw, RawText):
                return _Prepared(found, self._tokens_of(raw))
            return _Prepared(found, self._extractor.prepare(self._decoded(raw)))
        except Undecodable as error:
            return _Prepared(found, reason=str(error), transient=error.transient)

    def _decoded(self, raw: RawImage) -> ImageArray:
        protocol = self._extractor.protocol
        return decode(raw, alpha=protocol.alpha, orientation=protocol.orientation)

    def _tokens_of(self, raw: RawText) -> NDArray[np.int64]:
        tokens = self._extractor.tokens(raw.text)
        if len(tokens) <= 2:
            raise Undecodable("nothing but white space and characters without a shape")
        return tokens

    def _begin(self, chunk: _Chunk) -> Callable[[], _Block]:
        """Hand the images of a chunk to the network. What is returned waits for the features."""
        if chunk.stored is not None:
            stored = chunk.stored
            return lambda: stored
        extractor, meter = self._extractor, self._meter
        gathered: dict[str, list[FeatureArray]] = {role: [] for role in extractor.taps}
        used, skipped = np.zeros(len(chunk.positions), bool), []
        batch: list[NDArray[Any]] = []
        at_once = extractor.batch_size if extractor.modality == "image" else CHUNK  # texts are sorted by width first
        calls: deque[tuple[int, Future[dict[str, FeatureArray]]]] = deque()

        def flush() -> None:
            calls.append((len(batch), extractor.begin(batch.copy())))
            batch.clear()
            settle(extractor.calls_ahead)

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
                chunk.transient += image.transient
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
            taps = (
                {role: np.concatenate(blocks) for role, blocks in gathered.items()}
                if used.any()
                else extractor.no_rows()
            )
            block = _Block(
                values=taps["features"],
                logits=taps.get("logits"),
                spatial=taps.get("spatial"),
                used=used,
                skipped=tuple(skipped),
            )
            _require_finite_block(block, chunk, self._source)
            return block

        return finish


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
    transient: int = 0  # images that are missing and may be there the next time: then there is nothing to store

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
