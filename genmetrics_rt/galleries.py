"""Which images a person should look at: the least and most realistic, and what the generator never reaches."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.decode import decode
from genmetrics_rt.features import Features
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.metrics.precision_recall import realism
from genmetrics_rt.report import Gallery, Thumbnail
from genmetrics_rt.sources import ImageSource, Undecodable

PICTURES = 12  # per gallery
_LONG_SIDE = 128  # pixels of a thumbnail


def build_galleries(
    comparison: Comparison, generated: ImageSource | None, reference: ImageSource | None
) -> tuple[Gallery, ...]:
    """The galleries for the sides whose pictures can be read again."""
    few = min(len(comparison.generated.values), len(comparison.reference.values))
    galleries: list[Gallery] = []
    # Each gallery has its own k, and with few images only the smaller one can be answered.
    if generated is not None and few > comparison.settings["precision"]["nearest_k"]:
        galleries += _by_realism(comparison, generated)
    if reference is not None and few > comparison.settings["density"]["nearest_k"]:
        galleries += _uncovered(comparison, reference)
    return tuple(galleries)


def _by_realism(comparison: Comparison, source: ImageSource) -> list[Gallery]:
    """Both ends of the order by realism."""
    score = realism(
        comparison.generated.values,
        comparison.reference.values,
        nearest_k=comparison.settings["precision"]["nearest_k"],
        manifold=comparison.manifold,
    )
    order = np.argsort(score, kind="stable")

    def pictures(rows: NDArray[np.intp]) -> tuple[Thumbnail, ...]:
        return _pictures(source, comparison.generated, rows[:PICTURES], score, "realism {:.2f}", "an exact copy")

    return [
        Gallery(
            key="least_realistic",
            title="Least realistic generated images",
            explanation="Furthest outside what the reference looks like. Realism below 1 means outside the smaller "
            "half of the balls around reference images; the larger half does not count.",
            thumbnails=pictures(order),
        ),
        Gallery(
            key="most_realistic",
            title="Most realistic generated images",
            explanation="Deepest inside what the reference looks like.",
            thumbnails=pictures(order[::-1]),
        ),
    ]


def _uncovered(comparison: Comparison, source: ImageSource) -> list[Gallery]:
    """The reference images that coverage does not count; no gallery where there are none."""
    settings, manifold = comparison.settings["density"], comparison.manifold
    nearest_k, border_counts = settings["nearest_k"], settings["border_counts"]
    uncovered = np.flatnonzero(~manifold.reference_covered(nearest_k, border_counts=border_counts))
    if not len(uncovered):
        return []
    radius = manifold.reference_radii[:, nearest_k - 1]
    distance = manifold.reference_nearest_distance
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(radius > 0, distance / radius, np.where(distance > 0, np.inf, 0.0))
    order = uncovered[np.argsort(-ratio[uncovered], kind="stable")][:PICTURES]
    nearer = "as near as" if border_counts else "nearer than"
    return [
        Gallery(
            key="uncovered",
            title="Reference images that no generated image comes near",
            explanation=f"{len(uncovered):,} of {len(distance):,} reference images have no generated image {nearer} "
            f"their {nearest_k} nearest reference neighbours. The furthest left out come first.",
            thumbnails=_pictures(
                source, comparison.reference, order, ratio, "{:.2f} × its radius away", "its neighbours are copies"
            ),
        )
    ]


def _pictures(
    source: ImageSource,
    features: Features,
    rows: NDArray[np.intp],
    value: NDArray[np.float64],
    caption: str,
    beyond: str,
) -> tuple[Thumbnail, ...]:
    pictures = []
    for row in rows:
        position = int(features.index[row])
        pictures.append(
            Thumbnail(
                name=source.entry_name(position),
                jpeg=thumbnail(source, position),
                value=float(value[row]),
                caption=caption.format(float(value[row])) if np.isfinite(value[row]) else beyond,
            )
        )
    return tuple(pictures)


def thumbnail(source: ImageSource, position: int) -> bytes | None:
    """A small JPEG of what lies there now, or None when it can no longer be read."""
    from PIL import Image

    try:
        image = Image.fromarray(decode(source.read(position), alpha="white"))
    except (Undecodable, OSError):
        return None
    scale = _LONG_SIDE / max(image.size)
    if scale < 1:
        image.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.LANCZOS)
    elif scale >= 2:  # tiny pictures are shown larger, pixel by pixel, never smoothed
        image = image.resize((image.width * int(scale), image.height * int(scale)), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
