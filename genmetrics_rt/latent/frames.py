"""Which frames to show: along the worst paths, across jumps, and along each factor."""

from __future__ import annotations

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.generator_files import Factor
from genmetrics_rt.latent.disentanglement import LABEL
from genmetrics_rt.latent.interpolation import interpolation, lerp
from genmetrics_rt.latent.path_length import PathLength, Paths
from genmetrics_rt.latent.smoothness import Smoothness
from genmetrics_rt.latent.space import LatentSpace
from genmetrics_rt.latent.strips import FRAMES, Strip, as_frames

_WORST, _JUMPS = 3, 2  # strips
_REACH = 2.0  # of a traversal: from minus to plus so many standard deviations


def path_strips(
    latents: LatentSpace, length: PathLength, smooth: Smoothness, walked: Paths, interpolate: str
) -> list[Strip]:
    order = length.worst
    strips = [
        _strip(
            latents, length.paths, int(row), interpolate, "worst_path", f"Path {int(row)}",
            _told(float(length.distances[row]), length.percentiles["50"]),
        )
        for row in order[:_WORST]
    ]  # fmt: skip
    row = int(order[len(order) // 2])
    strips.append(
        _strip(
            latents, length.paths, row, interpolate, "median_path", f"Path {row}",
            f"distance {length.distances[row]:.3g}, the median",
        )
    )  # fmt: skip
    for row in smooth.worst[:_JUMPS]:
        if smooth.jumps[row] <= smooth.threshold:
            break
        width = 1 / (smooth.steps * 2**smooth.halvings)
        places = smooth.places[row] + width * (np.arange(FRAMES) - FRAMES // 2 + 0.5)
        strips.append(
            _strip(
                latents, walked, int(row), interpolate, "jump", f"Path {int(row)} across a jump",
                f"frames 1/{1 / width:,.0f} of the path apart, at {100 * smooth.places[row]:.1f} % of it", places,
            )
        )  # fmt: skip
    return strips


def _told(distance: float, median: float) -> str:
    return f"distance {distance:.3g}" + (f", {distance / median:,.3g} x the median" if median > 0 else "")


def _strip(
    latents: LatentSpace, paths: Paths, row: int, interpolate: str, key: str, title: str, caption: str,
    places: FloatArray | None = None,
) -> Strip:  # fmt: skip
    places = np.linspace(0, 1, FRAMES) if places is None else np.clip(places, 0, 1)
    start, end = (np.repeat(end[row : row + 1], len(places), axis=0) for end in (paths.start, paths.end))
    labels = None if paths.labels is None else np.repeat(paths.labels[row : row + 1], len(places))
    return Strip(key, title, caption, as_frames(latents.images(interpolation(interpolate)(start, end, places), labels)))


def factor_strip(latents: LatentSpace, factor: Factor, seed: int) -> Strip:
    """One latent, with the factor's dimensions moved together from one side to the other, or its class exchanged."""
    generator = latents.opened.generator
    rng = np.random.RandomState(seed)
    base = latents.draw(rng, 1)
    labels = None
    if LABEL in factor.dims:
        count = min(generator.num_classes, FRAMES)
        frames = latents.images(base.repeat(count, axis=0), np.arange(count, dtype=np.int64))
        return Strip("factor", factor.name, f"classes 0 to {count - 1}, the rest unchanged", as_frames(frames))
    if generator.num_classes:
        labels = np.zeros(FRAMES, dtype=np.int64)
    reach = min(_REACH, 1.0 if generator.distribution == "uniform" else generator.truncation or _REACH)
    moved = base.repeat(FRAMES, axis=0)
    dims = list(factor.dims)
    if len(dims) == 1:
        moved[:, dims[0]] = np.linspace(-reach, reach, FRAMES)
        caption = f"its dimension from {-reach:g} to {reach:g}, the rest unchanged"
    else:
        other = latents.draw(rng, 1)
        near, far = (end[:, dims].repeat(FRAMES, axis=0) for end in (base, other))
        moved[:, dims] = lerp(near, far, np.linspace(0, 1, FRAMES))
        caption = f"its {len(dims)} dimensions drawn again, the rest unchanged"
    return Strip("factor", factor.name, caption, as_frames(latents.images(moved, labels)))
