"""Which images a person should look at: the least and most realistic, the never reached, the nearest to a copy."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.decode import decode
from genmetrics_rt.features import Features
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.metrics.precision_recall import realism
from genmetrics_rt.render.names import prose
from genmetrics_rt.report import Gallery, Thumbnail
from genmetrics_rt.sources import ImageSource, Undecodable
from genmetrics_rt.texts import TextSource

PICTURES = 12  # per gallery
PAIRS = 6
_LONG_SIDE = 128  # pixels of a thumbnail
_QUOTED = 280  # characters of a text

Source: TypeAlias = "ImageSource | TextSource"


def build_galleries(comparison: Comparison, generated: Source | None, reference: Source | None) -> tuple[Gallery, ...]:
    """The galleries for the sides whose pictures can be read again."""
    few = min(len(comparison.generated.values), len(comparison.reference.values))
    galleries: list[Gallery] = []
    # Each gallery has its own k, and with few images only the smaller one can be answered.
    if generated is not None and few > comparison.settings["precision"]["nearest_k"]:
        galleries += _by_realism(comparison, generated)
    if reference is not None and few > comparison.settings["density"]["nearest_k"]:
        galleries += _uncovered(comparison, reference)
    if generated is not None and reference is not None and few > 1:
        galleries += _nearest_pairs(comparison, generated, reference)
    return tuple(galleries)


def _by_realism(comparison: Comparison, source: Source) -> list[Gallery]:
    """Both ends of the order by realism."""
    score = realism(
        comparison.generated.values,
        comparison.reference.values,
        nearest_k=comparison.settings["precision"]["nearest_k"],
        manifold=comparison.manifold,
    )
    order = _distinct(source, comparison.generated, np.argsort(score, kind="stable"))

    def pictures(rows: NDArray[np.intp]) -> tuple[Thumbnail, ...]:
        return _pictures(source, comparison.generated, rows, score[rows], _realism_of)

    return [
        Gallery(
            key="least_realistic",
            title="Least realistic generated images",
            explanation="Furthest outside what the reference looks like. Realism below 1 means outside the smaller "
            "half of the balls around reference images; the larger half does not count.",
            thumbnails=pictures(order[:PICTURES]),
        ),
        Gallery(
            key="most_realistic",
            title="Most realistic generated images",
            explanation="Deepest inside what the reference looks like.",
            thumbnails=pictures(order[::-1][:PICTURES]),
        ),
    ]


def _realism_of(value: float) -> str:
    return f"realism {value:.2f}" if np.isfinite(value) else "an exact copy"


def _uncovered(comparison: Comparison, source: Source) -> list[Gallery]:
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
    order = uncovered[np.argsort(-ratio[uncovered], kind="stable")]
    order = _distinct(source, comparison.reference, order)[:PICTURES]
    nearer = "as near as" if border_counts else "nearer than"
    return [
        Gallery(
            key="uncovered",
            title="Reference images that no generated image comes near",
            explanation=f"{len(uncovered):,} of {len(distance):,} reference images have no generated image {nearer} "
            f"their {nearest_k} nearest reference neighbours. The furthest left out come first.",
            thumbnails=_pictures(source, comparison.reference, order, ratio[order], _radii_away),
        )
    ]


def _radii_away(ratio: float) -> str:
    return f"{ratio:.2f} × its radius away" if np.isfinite(ratio) else "its neighbours are copies"


def _nearest_pairs(comparison: Comparison, generated: Source, reference: Source) -> list[Gallery]:
    """Generated images by distance to the nearest reference image, over that one's distance to its nearest other.

    Where a reference image has a twin there is no such scale: an image on it has the ratio 0, one beside it has none
    and is not shown.
    """
    manifold = comparison.manifold
    nearest, distance = manifold.generated_nearest, manifold.generated_nearest_distance
    radius = manifold.reference_radii[nearest, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distance == 0, 0.0, distance / radius)
    order = np.argsort(ratio, kind="stable")
    order = _distinct(generated, comparison.generated, order[np.isfinite(ratio[order])])[:PAIRS]
    if not len(order):
        return []
    left = _pictures(generated, comparison.generated, order, ratio[order], _next_distances_away)
    right = _pictures(
        reference, comparison.reference, nearest[order], ratio[order], lambda _: "the reference image closest to it"
    )
    return [
        Gallery(
            key="nearest_pairs",
            title="Nearest pairs: generated image and the reference image closest to it",
            explanation="The distance is told as a multiple of how far that reference image lies from the reference "
            "image next to it. About half of all fresh images lie nearer than that, and a copy much nearer. Near in "
            "features need not look alike: compare the pictures.",
            thumbnails=tuple(picture for pair in zip(left, right, strict=True) for picture in pair),
        )
    ]


def _next_distances_away(ratio: float) -> str:
    return f"{ratio:.2f} × the distance to the next reference image" if ratio else "the same features"


def _distinct(source: Source, features: Features, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Some rows, each text once: a list of twelve equal texts says no more than one. Images stay as they are."""
    if not isinstance(source, TextSource):
        return order
    texts = [source.text(position) for position in features.index[order].tolist()]
    return order[np.sort(np.unique(np.array(texts, dtype=object), return_index=True)[1])]


def _pictures(
    source: Source,
    features: Features,
    rows: NDArray[np.intp],
    values: NDArray[np.float64],
    caption: Callable[[float], str],
) -> tuple[Thumbnail, ...]:
    """The pictures of some feature rows, each with its value."""
    return tuple(
        shown(source, position, value, caption(value))
        for position, value in zip(features.index[rows].tolist(), values.tolist(), strict=True)
    )


def shown(source: Source, position: int, value: float, caption: str) -> Thumbnail:
    """What a person is to look at: a small picture, or the beginning of a text."""
    name = source.entry_name(position)
    if isinstance(source, TextSource):
        return Thumbnail(name, None, value, caption, text=quoted(source.text(position)))
    return Thumbnail(name, thumbnail(source, position), value, caption)


def quoted(text: str, limit: int = _QUOTED) -> str:
    """The beginning of a text in one line, what has no shape in it written out: no control character, no override of
    the reading direction, gets further.
    """
    told = prose(text[: 2 * limit])
    return told if len(told) <= limit and len(text) <= 2 * limit else f"{told[: limit - 1]}…"


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
