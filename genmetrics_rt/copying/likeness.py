"""Whether two pictures show the same: small grey thumbnails, correlated after the best small shift, crop and flip.

Features say which pairs to look at; this says whether they are one picture. How alike two different pictures are
depends on the data (two handwritten ones correlate at 0.996), so a pair is judged beside other pictures that are near.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray

# Correlations of one picture with itself, shifted by 1–2 px, cropped by up to 8 %, mirrored or as a JPEG of quality 50:
# 0.98 and more, but for a few. The most alike different pictures: 0.996 (digits), 0.998 (Fashion-MNIST, doubtful).
SURELY_THE_SAME = 0.999
MAYBE_THE_SAME = 0.985
SHARE_OF_OTHERS = 1 / 8  # of what others lack to 1, a copy in doubt lacks at most this much

_OTHERS = 4  # pictures beside a pair in doubt
_SIDE = 64  # of a thumbnail, in half-pixels of the 32 × 32 picture that is compared
_WINDOW = 26  # pixels of 32 that are compared, so that shifts of 3 pixels fit
_SPAN = 2 * _WINDOW - 1  # of the window in half-pixels
_CENTRE = 6  # half-pixels from the corner to the middle window
_CROPS = (1.0, 0.97, 0.94, 0.91, 0.88)  # side of what is kept of a picture
_PROMISING = 0.85  # correlation at whole pixels from which half-pixels are tried
_FLAT = 2.0  # standard deviation, in grey levels, below which a picture shows nothing to compare

Views = NDArray[np.float32]


class Thumbnail:
    """A picture made ready to be compared. ``image`` is uint8 (H, W, 3)."""

    def __init__(self, image: ImageArray) -> None:
        from PIL import Image

        grey = Image.fromarray(image).convert("L")
        # Larger pictures are shrunk once; small ones keep their pixels until they are compared.
        shrunk = grey.resize((_SIDE, _SIDE), Image.Resampling.BOX) if min(grey.size) > 2 * _SIDE else grey
        self._grey: NDArray[np.uint8] = np.asarray(shrunk)

    @functools.cached_property
    def middle(self) -> Views:
        """(676,) the middle of the whole picture, centred and of length 1."""
        middle: Views = _directions(self._windows(0, _CENTRE, _CENTRE))[0, 0]
        return middle

    @functools.cached_property
    def _crops(self) -> Views:
        """(crops, 63, 63) pixels of every crop, at steps of half a pixel."""
        from PIL import Image

        grey = Image.fromarray(self._grey)
        width, height = grey.size
        crops = []
        for kept in _CROPS:
            x, y = width * (1 - kept) / 2, height * (1 - kept) / 2
            box = (x, y, width - x, height - y)
            fine = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=box), np.float32)
            crops.append((fine[1:, 1:] + fine[:-1, 1:] + fine[1:, :-1] + fine[:-1, :-1]) / 4)
        return np.stack(crops)

    @functools.cached_property
    def _coarse(self) -> Views:
        """(crops, 7, 7, 676): every crop at every shift by whole pixels, as directions."""
        windows = np.lib.stride_tricks.sliding_window_view(self._crops, (_SPAN, _SPAN), axis=(1, 2))
        return _directions(windows[:, ::2, ::2, ::2, ::2])

    def _windows(self, crop: int, y: int, x: int, reach: int = 0) -> Views:
        """Windows of one crop around a shift by half-pixels."""
        top, left = max(0, y - reach), max(0, x - reach)
        pixels = self._crops[crop, top : y + reach + _SPAN, left : x + reach + _SPAN]
        return np.lib.stride_tricks.sliding_window_view(pixels, (_SPAN, _SPAN))[..., ::2, ::2]

    def best_match(self, middle: Views) -> float:
        """Largest correlation of another picture's `middle` with a crop of this one, shifted by at most 3 pixels."""
        correlation = self._coarse @ middle
        crop, y, x = (int(place) for place in np.unravel_index(np.argmax(correlation), correlation.shape))
        best = float(correlation[crop, y, x])
        if best < _PROMISING:
            return best
        near = [self._windows(c, 2 * y, 2 * x, reach=1) for c in range(max(0, crop - 1), min(len(_CROPS), crop + 2))]
        return max(best, *(float((_directions(windows) @ middle).max()) for windows in near))


def likeness(a: Thumbnail, b: Thumbnail) -> float:
    """Largest correlation, at most 1, of one picture with a shifted crop of the other, mirrored or not."""
    best = -1.0
    for one, other in ((a, b), (b, a)):
        mirrored = np.ascontiguousarray(one.middle.reshape(_WINDOW, _WINDOW)[:, ::-1]).ravel()
        best = max(best, other.best_match(one.middle), other.best_match(mirrored))
    return min(best, 1.0)


def are_the_same(alike: float, others: Sequence[float]) -> bool:
    """Whether a pair of this likeness is one picture, given the likeness of one of them to other pictures near it.

    In doubt it must lack at most an eighth of what the four most alike others lack in the median, so that one or two
    further duplicates among them do no harm. Without others, doubt means no.
    """
    if alike >= SURELY_THE_SAME or alike < MAYBE_THE_SAME or not others:
        return alike >= SURELY_THE_SAME
    most_alike = sorted(others, reverse=True)[:_OTHERS]
    return 1 - alike <= SHARE_OF_OTHERS * (1 - float(np.median(most_alike)))


def _directions(windows: NDArray[np.float32]) -> Views:
    """(…, 676) windows centred and of length 1; one that shows hardly anything is shorter: it is like nothing."""
    flat = windows.reshape(*windows.shape[:-2], -1)
    centred = flat - flat.mean(axis=-1, keepdims=True)
    norms = np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), _FLAT * _WINDOW)
    directions: Views = (centred / norms).astype(np.float32)
    return directions
