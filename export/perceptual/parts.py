"""What every perceptual distance here shares: the map of where two pictures differ, and the inputs of the proofs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from export.blueprint import Arrays
from genmetrics_rt.manifest import TensorSpec

IMAGES = tuple(
    TensorSpec(name, "float32", ("N", 3, "H", "W"), "RGB pixels", "0..255, not rounded") for name in ("first", "second")
)


def summed_map(maps: Sequence[Tensor], like: Tensor) -> Tensor:
    """Maps (N, h, w) of several layers, each brought to the size of ``like`` (N, C, H, W) and added: (N, H, W).

    Bilinear with half-pixel centres, as in LPIPS with ``spatial=True``. Its mean is near the distance, not equal to it.
    """
    size = (like.shape[2], like.shape[3])
    resized = [F.interpolate(one[:, None], size=size, mode="bilinear", align_corners=False) for one in maps]
    return torch.cat(resized, dim=1).sum(1)


def example(height: int, width: int) -> dict[str, Tensor]:
    """Three pairs of noise."""
    stream = torch.Generator().manual_seed(0)
    return {name: torch.rand(3, 3, height, width, generator=stream) * 255 for name in ("first", "second")}


def probes(sizes: Sequence[tuple[int, int]]) -> dict[str, Arrays]:
    """Pairs of noise, of a picture and its noisy copy, and of equal, black, white and striped pictures, by turns."""
    stream = np.random.RandomState(7)
    found = {}
    for number, (height, width) in enumerate(sizes):
        shape = (3, height, width)
        stripes = np.zeros(shape, np.float32)
        stripes[:, :, ::2] = 255
        blocks = stream.uniform(0, 255, (3, -(-height // 8), -(-width // 8)))
        smooth = blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
        noisy = np.clip(smooth + stream.normal(0, 8, shape), 0, 255)
        black, white = np.zeros(shape), np.full(shape, 255.0)
        kinds = {
            "noise": [(stream.uniform(0, 255, shape), stream.uniform(0, 255, shape))],
            "noisy copies": [(smooth, noisy), (noisy, smooth)],
            "edges": [(smooth, smooth), (black, white), (stripes, black)],
        }
        name = list(kinds)[number % len(kinds)]
        firsts, seconds = zip(*kinds[name], strict=True)
        pair = {"first": np.stack(firsts).astype(np.float32), "second": np.stack(seconds).astype(np.float32)}
        found[f"{name} {height} × {width}"] = pair
    return found
