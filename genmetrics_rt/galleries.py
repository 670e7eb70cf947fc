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
    nearest_k = comparison.settings["density"]["nearest_k"]
    if min(len(comparison.generated.values), len(comparison.reference.values)) <= nearest_k:
        return ()
    galleries = []
    if generated is not None:
        score = realism(
            comparison.generated.values,
            comparison.reference.values,
            nearest_k=comparison.settings["precision"]["nearest_k"],
            manifold=comparison.manifold,
        )
        order = np.argsort(score, kind="stable")
        galleries.append(
            Gallery(
                key="least_realistic",
                title="Least realistic generated images",
                explanation="Furthest outside what the reference looks like. Realism below 1 means outside every ball "
                "around a reference image.",
                thumbnails=_pictures(
                    generated, comparison.generated, order[:PICTURES], score, "realism {:.2f}", "an exact copy"
                ),
            )
        )
        galleries.append(
            Gallery(
                key="most_realistic",
                title="Most realistic generated images",
                explanation="Deepest inside what the reference looks like.",
                thumbnails=_pictures(
                    generated, comparison.generated, order[::-1][:PICTURES], score, "realism {:.2f}", "an exact copy"
                ),
            )
        )
    if reference is not None:
        manifold = comparison.manifold
        radius = manifold.reference_radii[:, nearest_k - 1]
        distance = manifold.reference_nearest_distance
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(radius > 0, distance / radius, np.where(distance > 0, np.inf, 0.0))
        uncovered = np.flatnonzero(distance >= radius)
        order = uncovered[np.argsort(-ratio[uncovered], kind="stable")][:PICTURES]
        if len(order):
            galleries.append(
                Gallery(
                    key="uncovered",
                    title="Reference images that no generated image comes near",
                    explanation=f"{len(uncovered):,} of {len(distance):,} reference images have no generated image "
                    f"nearer than their {nearest_k} nearest reference neighbours. The furthest left out come first.",
                    thumbnails=_pictures(
                        reference,
                        comparison.reference,
                        order,
                        ratio,
                        "{:.2f} × its radius away",
                        "its neighbours are copies",
                    ),
                )
            )
    return tuple(galleries)


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
                jpeg=_thumbnail(source, position),
                value=float(value[row]),
                caption=caption.format(float(value[row])) if np.isfinite(value[row]) else beyond,
            )
        )
    return tuple(pictures)


def _thumbnail(source: ImageSource, position: int) -> bytes | None:
    """A small JPEG, or None when the image is no longer what it was."""
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
