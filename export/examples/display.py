"""How example pictures are shown: native pixels in [0, 1] → 32 × 32 RGB, uint8.

One rule for data and generators, so that no metric can tell them apart by the resizing alone: triangle ("bilinear")
upscaling, pixel centres at i + 1/2, edges repeated; times 255; rounded half to even; grey repeated to RGB. Upscaling
is one constant matrix on each side, so every runtime computes it alike. Pillow's ``resize((32, 32), BILINEAR)`` of a
float image gives the same pixels. `NativeLevels` goes the other way.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHOWN = 32  # pixels on a side of every shown picture


def shown_centres(native: int) -> Tensor:
    """``(32,)`` where the centres of the shown pixels lie on the native grid, in native pixels."""
    return (torch.arange(SHOWN) + 0.5) * (native / SHOWN) - 0.5


def triangle_weights(centres: Tensor, native: int) -> Tensor:
    """``(…, 32, native)`` weights that read a native line at ``centres`` (…, 32) by linear interpolation."""
    inside = centres.clamp(0.0, native - 1.0)  # edges repeated
    return torch.relu(1.0 - torch.abs(inside[..., None] - torch.arange(native, dtype=torch.float32)))


def to_rgb(shown: Tensor) -> tuple[Tensor, Tensor]:
    """``(N, C, H, W)`` in [0, 1] → ``(N, H, W, 3)`` uint8, and the same on 0…255 unrounded, float32.

    `torch.round` and ONNX `Round` both round half to even.
    """
    unrounded = (shown * 255.0).clamp(0.0, 255.0)
    return _channels_last(torch.round(unrounded).to(torch.uint8)), _channels_last(unrounded)


def _channels_last(pixels: Tensor) -> Tensor:
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()


class Display(nn.Module):
    """Native pixels ``(N, C, S, S)`` in [0, 1], C 1 or 3 → `to_rgb` of the shown picture ``(N, 32, 32, 3)``."""

    def __init__(self, native: int) -> None:
        super().__init__()
        self.register_buffer("upscale", triangle_weights(shown_centres(native), native))  # (32, S)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return to_rgb(self.upscale @ pixels @ self.upscale.T)


class NativeLevels(nn.Module):
    """Shown pictures ``(N, 32, 32, 3)`` uint8 → native grey levels ``(N, S·S)``, whole numbers 0…levels as float32.

    Least squares undoes the upscaling, and rounding undoes the rounding: exact for pictures that `Display` made of
    whole levels. Any other picture is taken to the nearest levels. Colours are averaged.
    """

    downscale: Tensor  # (S, 32)

    def __init__(self, native: int, levels: int) -> None:
        super().__init__()
        upscale = triangle_weights(shown_centres(native), native)
        self.register_buffer("downscale", torch.linalg.pinv(upscale.to(torch.float64)).to(torch.float32))
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        grey = images.to(torch.float32).mean(dim=3) * (self.levels / 255.0)
        native = self.downscale @ grey @ self.downscale.T
        return torch.round(native).clamp(0.0, float(self.levels)).flatten(1)
