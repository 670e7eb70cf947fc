"""Batch norm folded into the convolution before it: one rounding from float64, as the runtime's assembly does it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def fold(unit: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a `BasicConv2d` (convolution without bias, batch norm in eval mode).

    ``w·γ/√(σ² + ε)`` and ``β − μ·γ/√(σ² + ε)``, computed in float64 and rounded once to float32.
    """
    norm = unit.bn
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    weight = unit.conv.weight.double() * scale[:, None, None, None]
    bias = norm.bias.double() - norm.running_mean.double() * scale
    return weight.float(), bias.float()


class FoldedConv2d(nn.Conv2d):
    """A convolution with bias, then ReLU."""

    def __init__(self, like: nn.Conv2d, parameters: tuple[Tensor, Tensor]) -> None:
        super().__init__(
            like.in_channels, like.out_channels, like.kernel_size, stride=like.stride, padding=like.padding
        )
        self.weight, self.bias = (nn.Parameter(tensor, requires_grad=False) for tensor in parameters)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(x))
