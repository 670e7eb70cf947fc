"""Pictures that occur twice: the same bytes, or the same picture after a small shift, crop, flip or compression.

Features propose, pixels decide. Looked at are the images whose nearest neighbours lie no farther than small changes of
one picture reach in this feature space (`reach_of_changes`, measured on a sample of the training images themselves);
`likeness.are_the_same` then looks at the pixels, so that two pictures of one class are not called duplicates.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genmetrics_rt.arrays import FeatureArray, FloatArray, ImageArray
from genmetrics_rt.copying.closeness import nearest_rows
from genmetrics_rt.copying.likeness import MAYBE_THE_SAME, are_the_same, likeness
from genmetrics_rt.copying.pictures import Pictures
from genmetrics_rt.distances import IntArray, PointSet, neighbours
from genmetrics_rt.sources import Undecodable

NEAREST_K = 5  # neighbours that are looked at: one may be the duplicate, the others show what different pictures do
MAX_LOOKED_AT = 20_000  # images whose pixels are compared, nearest first
_SAMPLE = 32  # training images that are changed to measure the reach
_REACH = 0.95  # quantile of the distances that changes make

Extract = Callable[[Sequence[ImageArray]], tuple[FeatureArray, FeatureArray | None]]


@dataclass(frozen=True)
class Duplicate:
    """Two rows that show one picture; of ``first`` in one side, of ``second`` in the other or in the same."""

    first: int
    second: int
    exact: bool  # the same bytes
    likeness: float  # correlation of their pixels after the best shift, crop and flip


@dataclass(frozen=True)
class Candidates:
    """Near neighbours of some rows, nearest first."""

    rows: IntArray  # (n,)
    others: IntArray  # (n, k); −1 where there is none


def reach_of_changes(pictures: Pictures, extract: Extract, *, seed: int = 0) -> float:
    """How far small changes move a picture in the space of features: the 95 % quantile over a sample and all changes.

    Changes: a shift by 1–2 pixels, a crop of 4 % a side, a JPEG of quality 80. (Mirroring has features of its own.)
    """
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(pictures), min(_SAMPLE, len(pictures)), replace=False)
    images = []
    for row in rows:
        try:
            images.append(pictures.image(int(row)))
        except (Undecodable, OSError):
            continue
    if not images:
        return 0.0
    original = extract(images)[0].astype(np.float64)
    distances = [
        np.linalg.norm(extract([change(image) for image in images])[0] - original, axis=1)
        for change in (_shifted, _cropped, _compressed)
    ]
    return float(np.quantile(distances, _REACH))


def across(
    points: PointSet, others: PointSet, reach: float, mirrored: PointSet | None = None, *, same_side: bool = False
) -> Candidates:
    """Near neighbours of ``points`` among ``others`` and, where given, among the mirror images of ``others``.

    With ``same_side`` both are one set: a row is no candidate for itself, nor is its own mirror image.
    """
    count = min(NEAREST_K, len(others.inverse) - same_side, len(others))
    found: list[tuple[FloatArray, IntArray]] = []
    if count > 0:
        squared, column = neighbours(points, count) if same_side else nearest_rows(points, others, count)
        if same_side:  # a twin counts as another row there
            squared = np.where(column == np.arange(len(points))[:, None], np.inf, squared)
        found.append((squared, others.first[column]))
    if mirrored is not None:
        squared, column = nearest_rows(points, mirrored, min(NEAREST_K, len(mirrored)))
        if same_side:  # a symmetric picture is its own mirror image, which is no second picture
            squared = np.where(column == mirrored.inverse[points.first][:, None], np.inf, squared)
        found.append((squared, mirrored.first[column]))
    if not found:
        return Candidates(np.empty(0, np.intp), np.empty((0, 0), np.intp))
    distance = np.sqrt(np.concatenate([squared for squared, _ in found], axis=1))
    other = np.concatenate([column for _, column in found], axis=1)
    order = np.argsort(distance, axis=1, kind="stable")
    distance, other = np.take_along_axis(distance, order, axis=1), np.take_along_axis(other, order, axis=1)
    close = np.flatnonzero(distance[:, 0] <= reach)
    close = close[np.argsort(distance[close, 0], kind="stable")][:MAX_LOOKED_AT]
    return Candidates(points.first[close], np.where(np.isfinite(distance[close]), other[close], -1))


def twins(points: PointSet) -> list[Duplicate]:
    """Rows whose features are equal: the same pixels to the network, whatever the bytes of their files."""
    found = []
    for row in np.flatnonzero(points.first[points.inverse] != np.arange(len(points.inverse))).tolist():
        found.append(Duplicate(int(points.first[points.inverse[row]]), row, False, 1.0))
    return found


def confirm(candidates: Candidates, own: Pictures, others: Pictures, *, same_side: bool = False) -> list[Duplicate]:
    """The candidates whose pixels show one picture: for each row its most alike neighbour, if that is the same."""
    duplicates: dict[tuple[int, int], Duplicate] = {}
    for row, near in zip(candidates.rows.tolist(), candidates.others.tolist(), strict=True):
        picture = own.thumbnail(row)
        if picture is None:
            continue
        alike: dict[int, float] = {}
        for other in dict.fromkeys(near):
            thumbnail = others.thumbnail(other) if other >= 0 else None
            if thumbnail is None:
                continue
            alike[other] = likeness(picture, thumbnail)
            if len(alike) == 2 and max(alike.values()) < MAYBE_THE_SAME:
                break  # most rows end here
        if not alike:
            continue
        best = max(alike, key=alike.__getitem__)
        if are_the_same(alike[best], [value for other, value in alike.items() if other != best]):
            pair = (min(row, best), max(row, best)) if same_side else (row, best)
            duplicates.setdefault(pair, Duplicate(pair[0], pair[1], False, alike[best]))
    return list(duplicates.values())


def same_bytes(digests: Sequence[str], others: Sequence[str] | None = None) -> list[Duplicate]:
    """Rows whose content hash occurs among ``others``, with the first that has it; without, of one side itself."""
    first: dict[str, int] = {}
    if others is not None:
        for row, digest in enumerate(others):
            first.setdefault(digest, row)
        return [Duplicate(row, first[digest], True, 1.0) for row, digest in enumerate(digests) if digest in first]
    found = []
    for row, digest in enumerate(digests):
        if first.setdefault(digest, row) != row:
            found.append(Duplicate(first[digest], row, True, 1.0))
    return found


def joined(exact: Sequence[Duplicate], near: Sequence[Duplicate]) -> tuple[Duplicate, ...]:
    """Exact pairs first, then the others, the most alike first; each pair once."""
    known = {(pair.first, pair.second) for pair in exact}
    rest = [pair for pair in near if (pair.first, pair.second) not in known]
    rest.sort(key=lambda pair: (-pair.likeness, pair.first, pair.second))
    return (*exact, *rest)


def _shifted(image: ImageArray) -> ImageArray:
    padded = np.pad(image, ((0, 1), (0, 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded[1:, 2:])


def _cropped(image: ImageArray) -> ImageArray:
    from PIL import Image

    height, width = image.shape[:2]
    box = (0.04 * width, 0.04 * height, 0.96 * width, 0.96 * height)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box))


def _compressed(image: ImageArray) -> ImageArray:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=80)
    return np.asarray(Image.open(buffer).convert("RGB"))
