"""Perceptual path length: how far a picture moves when its latent moves a little (Karras, Laine, Aila 2019).

    PPL = E[ d(G(I(t)), G(I(t + ε))) / ε² ]

with ``d`` a perceptual distance that grows with the square of a small change, as LPIPS does, and ``I`` the path
between two latents. The hundredth with the smallest and that with the largest distances are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.latent.interpolation import interpolation

Distance = Callable[[Any, Any], Any]  # images, images → (N,) distances
Generate = Callable[[Any, Any], Any]  # latents (N, L), labels (N,) or None → images
DrawLatents = Callable[[np.random.RandomState, int], FloatArray]

SEED = 2020
EPSILON = 1e-4  # of the published figures
EPSILON_OF_BYTES = 0.1  # where the images are rounded to 8 bits, whose steps would drown a smaller one
TRIM = (1.0, 99.0)  # percentiles
_BATCH = 64
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Paths:
    """Pairs of latents (N, L), the place (N,) on each path, and the class (N,) of each pair or None."""

    start: FloatArray
    end: FloatArray
    place: FloatArray
    labels: NDArray[np.int64] | None

    def rows(self, rows: slice) -> Paths:
        """Some of the paths."""
        labels = None if self.labels is None else self.labels[rows]
        return Paths(self.start[rows], self.end[rows], self.place[rows], labels)


@dataclass(frozen=True)
class PathLength:
    """A perceptual path length, and the distances (N,) that it is the trimmed mean of."""

    value: float
    std: float  # of the kept distances, ddof 0
    standard_error: float
    interval: tuple[float, float]
    num_paths: int
    num_kept: int
    percentiles: Mapping[str, float]  # "1" … "99" of all distances
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    distances: FloatArray = field(repr=False)  # d / ε² of every path
    paths: Paths = field(repr=False)

    @property
    def worst(self) -> NDArray[np.intp]:
        """The paths by falling distance."""
        return np.argsort(-self.distances, kind="stable")


def draw_paths(
    draw: DrawLatents, num_paths: int, *, seed: int = SEED, num_classes: int = 0, sampling: str = "end"
) -> Paths:
    """Latents of both ends, then the classes, then the places, from ``RandomState(seed)`` in that order.

    Both ends of a path have one class. ``sampling`` is ``"end"``: every place is 0, or ``"full"``: uniform on [0, 1).
    """
    if sampling not in ("end", "full"):
        raise InputError(f"sampling is {sampling!r}; use end or full.")
    rng = np.random.RandomState(seed)
    start, end = draw(rng, num_paths), draw(rng, num_paths)
    labels = rng.randint(0, num_classes, (num_paths,)).astype(np.int64) if num_classes else None
    place = rng.uniform(size=num_paths) if sampling == "full" else np.zeros(num_paths)
    return Paths(start, end, place, labels)


def path_distances(
    generate: Generate,
    distance: Distance,
    paths: Paths,
    *,
    epsilon: float = EPSILON,
    interpolate: str = "lerp",
    batch_size: int = _BATCH,
    progress: Callable[[int], None] | None = None,
) -> FloatArray:
    """``d(G(I(t)), G(I(t + ε))) / ε²`` of every path, (N,) float64. Raises `InputError` for one that is not finite."""
    between = interpolation(interpolate)
    found = []
    for start in range(0, len(paths.start), batch_size):
        part = paths.rows(slice(start, start + batch_size))
        here, there = (
            generate(between(part.start, part.end, part.place + step), part.labels) for step in (0.0, epsilon)
        )
        found.append(np.asarray(distance(here, there), dtype=np.float64).reshape(-1) / epsilon**2)
        if progress is not None:
            progress(min(start + batch_size, len(paths.start)))
    distances = np.concatenate(found)
    if not np.isfinite(distances).all():
        raise InputError(
            f"The perceptual distance is not finite on {int((~np.isfinite(distances)).sum())} of {len(distances)} "
            "paths. Look at the distance: the images themselves are finite."
        )
    return distances


def trimmed(distances: FloatArray, lower: float | None = TRIM[0], upper: float | None = TRIM[1]) -> NDArray[np.bool_]:
    """Which distances are kept: those from the lower percentile, taken as 'lower', to the upper, taken as 'higher'.

    Of 1, 2, …, 1000 the values 10 to 991.
    """
    kept = np.ones(len(distances), dtype=bool)
    if lower is not None:
        kept &= distances >= np.percentile(distances, lower, method="lower")
    if upper is not None:
        kept &= distances <= np.percentile(distances, upper, method="higher")
    return kept


def summarise(
    distances: FloatArray,
    paths: Paths,
    *,
    lower: float | None = TRIM[0],
    upper: float | None = TRIM[1],
    settings: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> PathLength:
    """The trimmed mean with its standard error (of Tukey and McLaughlin, by the winsorised variance) over paths."""
    count = len(distances)
    if count < 2:
        raise TooFewImages(f"{count} path says nothing about the others. Ask for at least 100: -n 100.")
    kept = trimmed(distances, lower, upper)
    inside = distances[kept]
    winsorised = np.clip(distances, inside.min(), inside.max())
    error = float(winsorised.std(ddof=1)) / (kept.mean() * math.sqrt(count))
    value = float(inside.mean())
    half = _NORMAL_95 * error
    places = (1, 5, 25, 50, 75, 95, 99)
    return PathLength(
        value=value,
        std=float(inside.std()),
        standard_error=error,
        interval=(max(0.0, value - half), value + half),
        num_paths=count,
        num_kept=int(kept.sum()),
        percentiles={
            str(place): float(found) for place, found in zip(places, np.percentile(distances, places), strict=True)
        },
        settings=settings,
        notes=notes,
        distances=distances,
        paths=paths,
    )


def resized(images: Any, size: int) -> NDArray[np.float32]:
    """Images (N, H, W, C) brought to ``size`` × ``size`` as torch-fidelity's LPIPS does: the mean over areas where both
    sides are larger, else bilinear between the centres of pixels without antialias. Float32, not rounded.
    """
    pixels = np.asarray(images, dtype=np.float32)
    height, width = pixels.shape[1:3]
    weights = _areas if height > size and width > size else _bilinear
    rows, columns = weights(height, size), weights(width, size)
    result: NDArray[np.float32] = np.einsum("ih,nhwc,jw->nijc", rows, pixels, columns, optimize=True).astype(np.float32)
    return result


def _areas(old: int, new: int) -> FloatArray:
    weights = np.zeros((new, old))
    for place in range(new):
        first, end = place * old // new, -((-(place + 1) * old) // new)
        weights[place, first:end] = 1 / (end - first)
    return weights


def _bilinear(old: int, new: int) -> FloatArray:
    weights = np.zeros((new, old))
    source = np.maximum((np.arange(new) + 0.5) * old / new - 0.5, 0)
    first = np.minimum(source.astype(int), old - 1)
    second = np.minimum(first + 1, old - 1)
    share = source - first
    np.add.at(weights, (np.arange(new), first), 1 - share)
    np.add.at(weights, (np.arange(new), second), share)
    return weights
