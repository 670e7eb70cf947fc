"""Frames along a path or a factor as one picture: what a number about the latent space looks like."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray

FRAMES = 9
_SHOWN_SIDE = 64  # pixels: smaller frames are enlarged pixel by pixel, larger ones shrunk to twice that
_GAP = 2
_LABEL_HEIGHT = 18


@dataclass(frozen=True)
class Strip:
    """Frames (F, H, W, 3) side by side."""

    key: str  # "worst_path" | "jump" | "median_path" | "factor"
    title: str
    caption: str
    frames: ImageArray = field(repr=False)

    def png(self) -> bytes:
        """The strip alone."""
        return _encoded(_row(self.frames))


def sheet(strips: Sequence[Strip]) -> bytes:
    """All strips below each other, each under its title and caption, as one PNG."""
    from PIL import Image, ImageDraw

    rows = [_row(strip.frames) for strip in strips]
    texts = [f"{strip.title}: {strip.caption}" for strip in strips]
    longest = max((6 * len(text) + 8 for text in texts), default=1)  # Pillow's own font is 6 pixels wide
    width = max([longest, *(row.shape[1] for row in rows)], default=1)
    height = sum(row.shape[0] + _LABEL_HEIGHT + 6 for row in rows) or 1
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    top = 0
    for row, text in zip(rows, texts, strict=True):
        draw.text((4, top + 3), text.encode("ascii", "replace").decode(), fill="black")
        canvas.paste(Image.fromarray(row), (0, top + _LABEL_HEIGHT))
        top += row.shape[0] + _LABEL_HEIGHT + 6
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def as_frames(pixels: Any) -> ImageArray:
    """Images on 0..255, floats or bytes → uint8."""
    frames: ImageArray = np.clip(np.rint(np.asarray(pixels, dtype=np.float64)), 0, 255).astype(np.uint8)
    return frames


def _row(frames: ImageArray) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = frames.shape[1:3]
    longer = max(height, width)
    if longer < _SHOWN_SIDE:
        factor = -(-_SHOWN_SIDE // longer)
        frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    elif longer > 2 * _SHOWN_SIDE:
        scale = 2 * _SHOWN_SIDE / longer
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames]
        frames = np.stack(small)
    gap = np.full((frames.shape[1], _GAP, 3), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _encoded(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
