"""Distances between rows of features: the torch modules.

Both centre the features first: |a|² + |b|² − 2 ab loses the digits that the common offset takes up.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 1 << 23  # values of the largest array in a block of rows: 64 MiB of float64
SPARE = 8  # more candidates than neighbours, as rounding errors of the products may order near-duplicates wrongly


class PairwiseSquaredDistances(torch.nn.Module):
    """a (N, D), b (M, D) float64 → (N, M) squared Euclidean distances, at least 0.

    Errors are about 1e-15 · (|a|² + |b|²) of the centred rows, so near-duplicates carry few digits.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        mean = b.mean(dim=0, keepdim=True)
        a, b = a - mean, b - mean
        products = torch.addmm((b * b).sum(dim=1)[None], a, b.T, alpha=-2)  # (N, M) |b|² − 2 ab
        return torch.clamp((a * a).sum(dim=1, keepdim=True) + products, min=0.0)


class KnnRadii(torch.nn.Module):
    """features (N, D) float64, nearest_k an int64 in [1, N − 1] → (N,) distance to the k-th nearest other row.

    A row is never its own neighbour, by index; a duplicate of it is, at distance exactly 0. Blocks of rows bound the
    memory. Matrix products pick k + 8 candidates, whose distances are then computed from differences.
    """

    def __init__(self) -> None:
        super().__init__()
        self.block, self.spare = BLOCK, SPARE  # TorchScript sees attributes, not globals

    def forward(self, features: Tensor, nearest_k: Tensor) -> Tensor:
        rows, dimension = features.shape[0], features.shape[1]
        k = int(nearest_k)
        candidates = min(k + self.spare, rows - 1)
        step = max(self.block // max(rows, candidates * dimension), 1)

        features = features - features.mean(dim=0, keepdim=True)
        norms = (features * features).sum(dim=1)[None]  # (1, N)
        index = torch.arange(rows, device=features.device)
        radii = norms[0, :0]
        for start in range(0, rows, step):
            block = features[start : start + step]  # (B, D)
            own = index[start : start + step, None] == index  # (B, N)
            order = torch.addmm(norms, block, features.T, alpha=-2).masked_fill(own, float("inf"))
            nearest = torch.topk(order, candidates, dim=1, largest=False)[1]  # (B, candidates)
            difference = features[nearest] - block[:, None]  # (B, candidates, D)
            squared = (difference * difference).sum(dim=2)
            kth = torch.topk(squared, k, dim=1, largest=False)[0][:, -1]
            radii = torch.cat([radii, torch.sqrt(kth)])
        return radii
