"""The memoriser: returns training pictures, slightly moved and dimmed. Perfect by most metrics, and worthless.

The latent decides everything: coordinate 0 which picture, 1 and 2 the shift, 3 the brightness. Which picture is
found by comparing coordinate 0 with the quantiles of the normal distribution: comparisons are exact, so every
runtime picks the same picture and picks all of them equally often.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from export.examples.display import SHOWN, shown_centres, to_rgb, triangle_weights

LATENT_DIM = 4
SHIFT = 0.3  # standard deviation of the shift along each axis, in shown pixels
DIMMING = 0.03  # standard deviation of the relative brightness


class Memoriser(nn.Module):
    """Standard normal latent ``(N, 4)`` → jittered training pictures ``(N, 32, 32, 3)`` uint8, and unrounded."""

    pictures: Tensor  # (M, C, S, S) uint8, 0…levels
    thresholds: Tensor  # (M - 1,)
    levels: Tensor  # (), the value that means white
    centres: Tensor  # (32,)

    def __init__(self, pictures: Tensor, levels: int) -> None:
        super().__init__()
        from scipy.special import ndtri

        self.register_buffer("pictures", pictures)
        quantiles = ndtri(np.arange(1, len(pictures)) / len(pictures))
        self.register_buffer("thresholds", torch.from_numpy(quantiles.astype(np.float32)))
        self.register_buffer("levels", torch.tensor(float(levels)))
        self.register_buffer("centres", shown_centres(pictures.shape[-1]))

    @property
    def latent_dim(self) -> int:
        return LATENT_DIM

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        chosen = (latent[:, :1] >= self.thresholds).to(torch.int64).sum(dim=1)
        pixels = self.pictures[chosen].to(torch.float32) / self.levels
        native = self.pictures.shape[-1]
        shift = latent[:, 1:3, None] * (SHIFT * native / SHOWN)  # (N, 2, 1) native pixels
        weights = triangle_weights(self.centres + shift, native)[:, :, None]  # (N, 2, 1, 32, S): rows, columns
        shown = weights[:, 0] @ pixels @ weights[:, 1].transpose(-1, -2)
        return to_rgb(shown * (1.0 + DIMMING * latent[:, 3, None, None, None]))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Memoriser:
        """Rebuild the memoriser whose `state_dict` this is."""
        memoriser = cls(state["pictures"], int(state["levels"]))
        memoriser.load_state_dict(dict(state))
        return memoriser.eval()
