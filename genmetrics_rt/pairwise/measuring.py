"""Pairs of images through a perceptual distance: streamed, a batch of one size at a time, and put into a report."""

from __future__ import annotations

import datetime
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, ImageArray
from genmetrics_rt.decode import decode
from genmetrics_rt.errors import EmptySide, InputError, UnreadableInput
from genmetrics_rt.pairwise.matching import Matching
from genmetrics_rt.pairwise.report import (
    BETWEEN,
    WITHIN,
    DistanceSummary,
    ImagePair,
    PairReport,
    Rung,
    ShownPair,
)
from genmetrics_rt.pairwise.scale import scale_of
from genmetrics_rt.perceptual import PerceptualDistance
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.provenance import library_versions, peak_memory
from genmetrics_rt.render.heat import heat_map
from genmetrics_rt.report import Runtime, SkippedImage
from genmetrics_rt.resize import resize as resized_to
from genmetrics_rt.sources import ImageSource, Undecodable
from genmetrics_rt.version import __version__

# From which an interval of the mean is given: of exponential distances it then holds the mean 92 times in 100, of
# normal ones 94 times. At 10 pairs these are 86 and 90.
MIN_PAIRS = 40
NUM_RESAMPLES = 2000
_WORST, _MEDIAN = 6, 3  # pairs whose pictures are shown
_LONG_SIDE = 256  # pixels of a picture that is shown
_RESIZE = "triangle-antialias"
_BATCH_PIXELS = 1 << 17
_MOST_PAIRS = 64
_ON_SCALE = 5  # images that the scale is the mean of
_BRIGHTEST = 99.5  # percentile of the maps that the brightest colour stands for


@dataclass
class Run:
    """One report in the making."""

    distance: PerceptualDistance
    resize: bool
    seed: int
    strict: bool
    pictures: bool
    progress: ProgressCallback | None

    def __post_init__(self) -> None:
        if type(self.seed) is not int or self.seed < 0:
            raise InputError(f"seed is {self.seed!r}; it must be a whole number of at least 0.")

    def report(self, kind: str, first: ImageSource, second: ImageSource, matching: Matching) -> PairReport:
        start = time.perf_counter()
        self.skipped: list[SkippedImage] = []
        values = np.full(len(matching.couples), np.nan)
        is_resized = np.zeros(len(values), bool)
        for batch in _batches(self._loaded(first, second, matching.couples)):
            at = [entry.number for entry in batch]
            pair = np.stack([entry.first for entry in batch]), np.stack([entry.second for entry in batch])
            values[at], _ = self.distance.measure(*pair, known_range=True)
            is_resized[at] = [entry.resized for entry in batch]
            self._advance(at[-1] + 1, len(values), start)
        self._advance(len(values), len(values), start)
        used = np.flatnonzero(~np.isnan(values))
        if not len(used):
            what = f" The first: {self.skipped[0].name}: {self.skipped[0].reason}." if self.skipped else ""
            raise EmptySide(f"None of {len(values):,} pairs could be read.{what}")
        order = used[np.argsort(-values[used], kind="stable")]
        pairs = tuple(
            ImagePair(first.entry_name(i), second.entry_name(j), float(values[k]), bool(is_resized[k]))
            for k in order.tolist()
            for i, j in (matching.couples[k],)
        )
        couples = [matching.couples[k] for k in order.tolist()]
        shown, heat = self._pictures(kind, first, second, couples, pairs)
        error, interval = mean_interval(values[used], seed=self.seed)
        distance = self.distance
        seconds = time.perf_counter() - start
        return PairReport(
            kind=kind,
            distance=DistanceSummary(distance.name, distance.title, distance.label, distance.numeric_id),
            mean=float(values[used].mean()),
            median=float(np.median(values[used])),
            standard_error=error,
            interval=interval,
            pairs=pairs,
            shown=shown,
            scale=self._scale_of(first, couples) if self.pictures and kind == BETWEEN else (),
            first=first.name,
            second=second.name,
            only_first=matching.only_first,
            only_second=matching.only_second,
            skipped=(*first.skipped, *(() if kind == WITHIN else second.skipped), *self.skipped),
            settings={
                "seed": self.seed,
                "resize": _RESIZE if self.resize else "none",
                "resamples": NUM_RESAMPLES,
                **({"matched": "by order" if matching.by_order else "by name"} if kind == BETWEEN else {}),
            },
            runtime=Runtime(
                distance.device, distance.backend, library_versions(), seconds, peak_memory(), len(values) / seconds
            ),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            version=__version__,
            distances=values[used],
            heat=heat,
        )

    def _loaded(self, first: ImageSource, second: ImageSource, couples: Sequence[tuple[int, int]]) -> Iterator[_Loaded]:
        for number, (i, j) in enumerate(couples):
            try:
                images = [_decoded(source, index) for source, index in ((first, i), (second, j))]
            except _Unusable as reason:
                if self.strict:
                    raise UnreadableInput(
                        f"{reason.name} cannot be used: {reason}. With strict every image must be usable; without it, "
                        "its pair is skipped and listed."
                    ) from reason
                self.skipped.append(SkippedImage(reason.name, str(reason)))
                continue
            yield self._fitted(number, f"{first.entry_name(i)} and {second.entry_name(j)}", *images)

    def _fitted(self, number: int, names: str, a: ImageArray, b: ImageArray) -> _Loaded:
        """Both images of a pair at one size that the network takes."""
        self.distance.require_size(a.shape[0], a.shape[1], names)
        if a.shape == b.shape:
            return _Loaded(number, a, b, False)
        if not self.resize:
            raise UnreadableInput(
                f"{names} differ in size: {a.shape[1]} × {a.shape[0]} and {b.shape[1]} × {b.shape[0]} pixels. A pair "
                "is compared place by place. With --resize (in Python: resize=True) the second is brought to the size "
                "of the first, which changes it a little."
            )
        height, width = a.shape[:2]
        return _Loaded(number, a, resized_to(b, ((height, width), _RESIZE, "none")), True)

    def _advance(self, done: int, total: int, start: float) -> None:
        if self.progress is not None:
            rate = done / max(time.perf_counter() - start, 1e-9)
            self.progress(Progress("pairs", done, total, rate, (total - done) / rate, 0))

    def _pictures(
        self,
        kind: str,
        first: ImageSource,
        second: ImageSource,
        couples: Sequence[tuple[int, int]],
        pairs: Sequence[ImagePair],
    ) -> tuple[tuple[ShownPair, ...], ImageArray | None]:
        """The pairs to look at, and the map of a single pair."""
        shown: list[ShownPair] = []
        heat = None
        for why, ranks in _chosen(kind, len(pairs)).items() if self.pictures else ():
            loaded = [next(self._loaded(first, second, [couples[rank]]), None) for rank in ranks]
            maps = [self._map(entry) for entry in loaded]
            values = [found.ravel() for found in maps if found is not None]
            highest = float(np.percentile(np.concatenate(values), _BRIGHTEST)) if values else 0.0
            for rank, entry, found in zip(ranks, loaded, maps, strict=True):
                heat = None if found is None else heat_map(found, highest)
                pair = ShownPair(
                    pairs[rank],
                    why,
                    first_jpeg=None if entry is None else _jpeg(entry.first),
                    second_jpeg=None if entry is None else _jpeg(entry.second),
                    highest=highest,
                    map_jpeg=None if heat is None else _jpeg(heat),
                )
                shown.append(pair)
        return tuple(shown), heat if len(pairs) == 1 else None

    def _map(self, entry: _Loaded | None) -> NDArray[np.float32] | None:
        """None for a pair that can no longer be read, and for a distance without maps."""
        if entry is None or not self.distance.has_maps:
            return None
        found: NDArray[np.float32] = self.distance.maps(entry.first[None], entry.second[None], known_range=True)[0]
        return found

    def _scale_of(self, first: ImageSource, couples: Sequence[tuple[int, int]]) -> tuple[Rung, ...]:
        step = max(1, len(couples) // _ON_SCALE)
        images = []
        for i, _ in couples[::step][:_ON_SCALE]:
            try:
                images.append(_decoded(first, i))
            except _Unusable:
                continue
        return scale_of(self.distance, images)


@dataclass(frozen=True)
class _Loaded:
    number: int
    first: NDArray[Any]  # (H, W, 3) uint8, or float32 on 0…255 after resizing
    second: NDArray[Any]
    resized: bool


class _Unusable(Exception):
    """An image of a pair that cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


def _decoded(source: ImageSource, index: int) -> ImageArray:
    try:
        return decode(source.read(index), alpha="white")
    except Undecodable as reason:
        raise _Unusable(source.entry_name(index), str(reason)) from reason


def _batches(loaded: Iterator[_Loaded]) -> Iterator[list[_Loaded]]:
    """Runs of pairs of one size and kind, few enough for the memory."""
    batch: list[_Loaded] = []
    for entry in loaded:
        height, width = entry.first.shape[:2]
        most = max(1, min(_MOST_PAIRS, _BATCH_PIXELS // (height * width)))
        if batch and (entry.first.shape != batch[0].first.shape or entry.resized != batch[0].resized):
            yield batch
            batch = []
        batch.append(entry)
        if len(batch) >= most:
            yield batch
            batch = []
    if batch:
        yield batch


def mean_interval(values: FloatArray, *, seed: int = 0) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    """Standard error and 95 % percentile interval of a mean by the bootstrap; None with fewer than `MIN_PAIRS`."""
    count = len(values)
    if count < MIN_PAIRS:
        return None, None
    stream = np.random.default_rng([seed, count])
    rows = max(1, (1 << 20) // count)
    means = np.concatenate(
        [
            values[stream.integers(0, count, (min(rows, NUM_RESAMPLES - at), count))].mean(axis=1)
            for at in range(0, NUM_RESAMPLES, rows)
        ]
    )
    low, high = np.percentile(means, (2.5, 97.5))
    return float(means.std(ddof=1)), (float(low), float(high))


def _chosen(kind: str, count: int) -> dict[str, list[int]]:
    """Ranks of the pairs to look at, the most different being 0, by why."""
    ranks = list(range(count))
    if count <= _WORST:
        return {"worst": ranks}
    if kind == WITHIN:  # what a model without diversity shows are pairs that look alike
        return {"nearest": ranks[: _WORST - 1 : -1][:_WORST], "worst": ranks[:_WORST]}
    middle = max(_WORST, count // 2 - _MEDIAN // 2)
    return {"worst": ranks[:_WORST], "median": ranks[middle : middle + _MEDIAN]}


def _jpeg(image: NDArray[Any]) -> bytes:
    """A small JPEG for a page; tiny pictures larger, pixel by pixel."""
    from PIL import Image

    picture = Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8))
    factor = _LONG_SIDE / max(picture.size)
    if factor < 1:
        picture.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.LANCZOS)
    elif factor >= 2:
        picture = picture.resize((picture.width * int(factor), picture.height * int(factor)), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
