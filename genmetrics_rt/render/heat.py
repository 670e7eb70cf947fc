"""A map of numbers as colours: from black over red to pale yellow, in even steps of lightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray

# Nine stops of the colour map "inferno" (S. van der Walt and N. Smith, CC0), which is as clear in grey as in colour.
_STOPS = ("#000004", "#210c4a", "#57106e", "#8a226a", "#bc3754", "#e45a31", "#f98e09", "#f9cb35", "#fcffa4")


def heat_map(values: NDArray[np.floating], highest: float) -> ImageArray:
    """(H, W) numbers → (H, W, 3) uint8: 0 is black, ``highest`` and above pale yellow."""
    stops = np.array([[int(stop[at : at + 2], 16) for at in (1, 3, 5)] for stop in _STOPS], np.float64)
    share = np.clip(values / highest, 0, 1) if highest > 0 else np.zeros(values.shape)
    at = share * (len(stops) - 1)
    colours = [np.interp(at, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    pixels: ImageArray = np.rint(np.stack(colours, axis=-1)).astype(np.uint8)
    return pixels
