"""How example pictures are shown: native pixels in [0, 1] → 32 × 32 RGB, uint8.

One rule for data and generators, so that no metric can tell them apart by the resizing alone: triangle ("bilinear")
upscaling, pixel centres at i + 1/2, edges repeated; times 255; rounded half to even; grey repeated to RGB. Upscaling
is one constant matrix on each side, so every runtime computes it alike. Pillow's ``resize((32, 32), BILINEAR)`` of a
float image gives the same pixels.
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


def to_uint8_rgb(shown: Tensor) -> Tensor:
    """``(N, C, H, W)`` in [0, 1] → ``(N, H, W, 3)`` uint8. `torch.round` and ONNX `Round` both round half to even."""
    grey_levels = torch.round(shown * 255.0).clamp(0.0, 255.0).to(torch.uint8)
    return grey_levels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()


class Display(nn.Module):
    """Native pixels ``(N, C, S, S)`` in [0, 1], C 1 or 3 → shown picture ``(N, 32, 32, 3)`` uint8."""

    upscale: Tensor

    def __init__(self, native: int) -> None:
        super().__init__()
        self.register_buffer("upscale", triangle_weights(shown_centres(native), native))

    def forward(self, pixels: Tensor) -> Tensor:
        return to_uint8_rgb(self.upscale @ pixels @ self.upscale.T)
