"""What the frozen vision transformers share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer over tokens (N, T, D), computed on rows (N·T, D).

    ONNX has a product for matrices that takes the weight as it is published. For three axes the exporter would
    transpose the weight and store the result, which no published tensor fills.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows = super().forward(x.reshape(-1, self.in_features))
        return rows.reshape(-1, x.shape[1], self.out_features)


def attend(query_key_value: Tensor, heads: int) -> Tensor:
    """Softmax attention: (N, T, 3·D) queries, keys and values → (N, T, D)."""
    tokens, width = query_key_value.shape[1], query_key_value.shape[2] // 3
    size = width // heads
    parts = query_key_value.reshape(-1, tokens, 3, heads, size).permute(2, 0, 3, 1, 4)
    query, key, value = parts[0], parts[1], parts[2]
    weights = torch.softmax((query * size**-0.5) @ key.transpose(-2, -1), dim=-1)
    return (weights @ value).transpose(1, 2).reshape(-1, tokens, width)
