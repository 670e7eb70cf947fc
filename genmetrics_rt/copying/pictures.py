"""The pictures behind feature rows: read again, mirrored, made small."""

from __future__ import annotations

import functools
import hashlib
import io

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.copying.likeness import Thumbnail
from genmetrics_rt.decode import decode
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import Entries, ImageSource, RawImage, Undecodable

_LONG_SIDE = 128  # pixels of a thumbnail on a page
_KEPT = 256  # thumbnails ready to be compared


class MirroredSource:
    """The images of a source, mirrored left to right after decoding. Cached features are those of the mirror image."""

    def __init__(self, source: ImageSource, *, alpha: str, orientation: str) -> None:
        self.name = f"{source.name}, mirrored"
        self.skipped: tuple[SkippedImage, ...] = ()
        self._source, self._alpha, self._orientation = source, alpha, orientation

    def __len__(self) -> int:
        return len(self._source)

    def entry_name(self, index: int) -> str:
        return self._source.entry_name(index)

    def digest(self, index: int) -> str:
        """Of the content and of what makes it another image."""
        made_by = f"mirrored {self._alpha} {self._orientation} {self._source.digest(index)}"
        return hashlib.sha256(made_by.encode()).hexdigest()

    def read(self, index: int) -> RawImage:
        pixels = decode(self._source.read(index), alpha=self._alpha, orientation=self._orientation)
        return RawImage(self.entry_name(index), pixels=np.ascontiguousarray(pixels[:, ::-1]))


class Pictures:
    """The pictures of feature rows. ``index`` (N,): the position of each row in ``source``."""

    def __init__(self, source: ImageSource, index: NDArray[np.int64]) -> None:
        self._source, self._index = source, index
        self.thumbnail = functools.lru_cache(_KEPT)(self._thumbnail)

    def __len__(self) -> int:
        return len(self._index)

    def name(self, row: int) -> str:
        return self._source.entry_name(int(self._index[row]))

    def digest(self, row: int) -> str:
        """Content hash. That of a generated image is of its pixels, so that a repeated sample is found."""
        position = int(self._index[row])
        if isinstance(self._source, Entries):
            return self._source.digest(position)
        return self._source.read(position).digest

    def image(self, row: int) -> ImageArray:
        """uint8 (H, W, 3). Raises `Undecodable` or `OSError` where it can no longer be read."""
        return decode(self._source.read(int(self._index[row])), alpha="white")

    def jpeg(self, row: int) -> bytes | None:
        """A small JPEG to show, or None when the picture can no longer be read."""
        from PIL import Image

        try:
            picture = Image.fromarray(self.image(row))
        except (Undecodable, OSError):
            return None
        scale = _LONG_SIDE / max(picture.size)
        if scale < 1:
            picture.thumbnail((_LONG_SIDE, _LONG_SIDE), Image.Resampling.LANCZOS)
        elif scale >= 2:  # tiny pictures are shown larger, pixel by pixel, never smoothed
            size = picture.width * int(scale), picture.height * int(scale)
            picture = picture.resize(size, Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    def _thumbnail(self, row: int) -> Thumbnail | None:
        try:
            return Thumbnail(self.image(row))
        except (Undecodable, OSError):
            return None
