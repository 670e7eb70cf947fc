"""A perceptual distance that needs no trained weights: two pictures compared on the maps of the built-in extractor.

Built like LPIPS (R. Zhang et al. 2018), on wavelet energies in place of a trained network. On level j of a binomial
pyramid, with x_c the luma and the two opponent colours (`export.embedded.scattering`), ψ_l its Morlet wavelets and b
the binomial 5 × 5 window:

    E_j,c,l  = log(|x_j,c * ψ_l| * b + 0.01)                     how much of each band is where
    map_j(p) = (2/3) mean_l ΔE_j,luma,l(p)² + (1/3) mean_c,l ΔE_j,colour,l(p)²
               + Σ_c Δx_j,c(p)²  for j ≥ 2                       colour and brightness of the coarse levels
    distance = Σ_j mean_p map_j(p)

The window forgives what moves by less than itself; the logarithm judges a change by what was there before it, as the
eye does. Quadratic for small differences, as LPIPS is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.embedded.scattering import ANGLES, OPPONENT, SCALES, morlet_bank
from export.perceptual.parts import summed_map

LEAST_SIDE = 8
# Energies, of pixels in [0, 1], below which a change counts little.
# This, the share of colour and the first coarse level were chosen by rank agreement with a trained network.
ENERGY_OFFSET = 0.01
LUMA_SHARE, COLOUR_SHARE = 2 / 3, 1 / 3
FIRST_COARSE_LEVEL = 2


class ScatteringDistance(nn.Module):
    """Two batches (N, 3, H, W) float32, RGB in 0…255 → distances (N,) and maps (N, H, W)."""

    opponent: Tensor
    wavelets: Tensor
    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        binomial = np.array([1, 4, 6, 4, 1]) / 16
        for name, value in (
            ("opponent", OPPONENT[:, :, None, None]),
            ("wavelets", morlet_bank()),
            ("blur", np.outer(binomial, binomial)[None, None].astype(np.float32)),
        ):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        a, b = F.conv2d(first, self.opponent), F.conv2d(second, self.opponent)
        maps = []
        for level in range(SCALES):
            if level:
                a, b = self._half(a), self._half(b)
            # One channel at a time: a third of the memory of all at once.
            luma, *colours = (
                self._energy_difference(one, other)
                for one, other in zip(a.split(1, dim=1), b.split(1, dim=1), strict=True)
            )
            found = LUMA_SHARE * luma + COLOUR_SHARE / len(colours) * (colours[0] + colours[1])
            if level >= FIRST_COARSE_LEVEL:
                found = found + ((a - b) * (a - b)).sum(1)
            maps.append(found)
        distance = torch.stack([found.mean(dim=(1, 2)) for found in maps]).sum(0)
        return distance, summed_map(maps, first)

    def _energy_difference(self, a: Tensor, b: Tensor) -> Tensor:
        """Two batches of one channel (N, 1, h, w) → mean over the bands of the squared difference, (N, h, w)."""
        difference = self._energies(a) - self._energies(b)
        return (difference * difference).mean(1)

    def _energies(self, channel: Tensor) -> Tensor:
        """(N, 1, h, w) → (N, 6, h, w): log energy of each band."""
        responses = F.conv2d(F.pad(channel, (3, 3, 3, 3), mode="replicate"), self.wavelets)
        real_squared, imaginary_squared = torch.split(responses * responses, [ANGLES, ANGLES], dim=1)
        return torch.log(self._window(torch.sqrt(real_squared + imaginary_squared), stride=1) + ENERGY_OFFSET)

    def _half(self, images: Tensor) -> Tensor:
        """The next level of the pyramid."""
        return self._window(images, stride=2)

    def _window(self, images: Tensor, *, stride: int) -> Tensor:
        """Each channel blurred by the binomial 5 × 5 window."""
        kernel = self.blur.expand(images.shape[1], 1, 5, 5)
        padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
        return F.conv2d(padded, kernel, stride=stride, groups=images.shape[1])
