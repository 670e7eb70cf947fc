"""The built-in extractor: a log-compressed second-order wavelet scattering network at 128 × 128.

J. Bruna and S. Mallat, "Invariant Scattering Convolution Networks", IEEE TPAMI 2013. No weight is trained: the filters
are formulas, and the calibration (mean, gain, projection) is measured on procedural images (`procedural`).

With U_j,l = |x_j * ψ_l| on the j-th level x_j of a pyramid, and ⟨·⟩ a mean over positions:

    S0          mean colour on a 4 × 4 grid                                          48
    S1_j,l      ⟨U_j,l⟩ of the luma on a 2 × 2 grid                        5 · 24 = 120
    S2_j,l,j',m ⟨|U_j,l ↓ * ψ_m|⟩ / (⟨S1_j,l⟩ + ε) of the luma, j < j'    10 · 36 = 360
    C_j,l       ⟨|c_j * ψ_l|⟩ of the two chroma channels                    5 · 12 =  60

All but S0 go through log(· + ε). Forward transform: 588 coefficients, calibrated, then projected to 256 features.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 128
SCALES = 5  # J
ANGLES = 6  # L
COLOUR_GRID = 4
LUMA_GRID = 2
NUM_COEFFICIENTS = 588
NUM_FEATURES = 256
ENERGY_OFFSET = 0.002  # ε under the log of S1 and C, and in the denominator of S2; pixels are in [0, 1]
RATIO_OFFSET = 0.02  # ε under the log of S2 / S1

# Luma (ITU-R BT.601) and two opponent axes, red–blue and green–magenta, of RGB in 0…255.
OPPONENT = np.array([[0.299, 0.587, 0.114], [0.5, 0.0, -0.5], [-0.25, 0.5, -0.25]], np.float32) / np.float32(255)


def morlet_bank(angles: int = ANGLES, side: int = 7) -> NDArray[np.float32]:
    """Morlet wavelets at ``angles`` orientations: (2 · angles, 1, side, side), all real parts, then all imaginary.

    ψ(u, v) = g(u, v) (exp(iξu) − β) with g a Gaussian of σ 0.8, stretched across the wave by angles / 4, ξ = 3π/4, and
    β such that ψ has mean zero. Divided by its l1 norm.
    """
    sigma, xi, slant = 0.8, 3 * math.pi / 4, 4 / angles
    half = side // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    wavelets = []
    for angle in np.arange(angles) * math.pi / angles:
        along = x * math.cos(angle) + y * math.sin(angle)
        across = -x * math.sin(angle) + y * math.cos(angle)
        envelope = np.exp(-(along**2 + (across * slant) ** 2) / (2 * sigma**2))
        wave = envelope * np.exp(1j * xi * along)
        wavelet = wave - envelope * (wave.sum() / envelope.sum())
        wavelets.append(wavelet / np.abs(wavelet).sum())
    bank = np.stack(wavelets)
    return np.concatenate([bank.real, bank.imag])[:, None].astype(np.float32)


def layout() -> list[tuple[str, int, int]]:
    """Where each block of the 588 coefficients lies: (block, first index, length).

    ``s0``: channel (Y, C1, C2), then cell. ``s1.j``: angle, then cell. ``s2.j.j'``: first angle, then second.
    ``c.j``: channel (C1, C2), then angle.
    """
    lengths = [("s0", 3 * COLOUR_GRID**2)]
    for scale in range(SCALES):
        lengths.append((f"s1.{scale}", ANGLES * LUMA_GRID**2))
        lengths += [(f"s2.{scale}.{second}", ANGLES**2) for second in range(scale + 1, SCALES)]
    lengths += [(f"c.{scale}", 2 * ANGLES) for scale in range(SCALES)]
    starts = np.cumsum([0] + [length for _, length in lengths])
    return [(block, int(start), length) for (block, length), start in zip(lengths, starts, strict=False)]


class Scattering(nn.Module):
    """Images (N, 3, 128, 128) float32, RGB in 0…255 → features (N, 256) and calibrated coefficients (N, 588).

    ``mean``, ``gain`` and ``projection`` are the calibration; as constructed they change nothing and project to the
    first 256 coefficients.
    """

    mean: Tensor
    gain: Tensor
    projection: Tensor

    def __init__(self) -> None:
        super().__init__()
        offsets = [
            RATIO_OFFSET if block.startswith("s2") else ENERGY_OFFSET for block, _, n in layout()[1:] for _ in range(n)
        ]
        binomial = np.array([1, 4, 6, 4, 1]) / 16
        self._constant("opponent", OPPONENT[:, :, None, None])
        self._constant("wavelets", morlet_bank())
        self._constant("blur", np.outer(binomial, binomial)[None, None].astype(np.float32))
        self._constant("offsets", np.array(offsets, np.float32))
        self.register_buffer("mean", torch.zeros(NUM_COEFFICIENTS))
        self.register_buffer("gain", torch.ones(NUM_COEFFICIENTS))
        # Half precision halves the file and moves features by at most 1.6e-3 (their standard deviation is 0.77).
        self.register_buffer("projection", torch.eye(NUM_COEFFICIENTS, NUM_FEATURES, dtype=torch.float16))

    def _constant(self, name: str, value: NDArray[np.float32]) -> None:
        """A buffer that follows from the formulas above, so it is not part of the state."""
        self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        coefficients = (self.raw_coefficients(images) - self.mean) * self.gain
        return coefficients @ self.projection.to(torch.float32), coefficients

    def raw_coefficients(self, images: Tensor) -> Tensor:
        """(N, 588) before the calibration, in the order of `layout`."""
        colour = F.conv2d(images, self.opponent)
        mean_colour = F.avg_pool2d(colour, SIDE // COLOUR_GRID)
        luma, chroma = torch.split(colour, [1, 2], dim=1)
        energies = torch.cat(self._luma_energies(luma) + self._chroma_energies(chroma), dim=1)
        return torch.cat([mean_colour.reshape(-1, 3 * COLOUR_GRID**2), torch.log(energies + self.offsets)], dim=1)

    def _luma_energies(self, luma: Tensor) -> list[Tensor]:
        """S1 and S2 / S1, each (N, its length in `layout`)."""
        blocks = []
        level = luma
        for scale in range(SCALES):
            if scale:
                level = self._half(level)
            side = SIDE >> scale
            modulus = self._modulus(level)
            first = F.avg_pool2d(modulus, side // LUMA_GRID)
            blocks.append(first.reshape(-1, ANGLES * LUMA_GRID**2))
            if scale == SCALES - 1:
                break
            # Order 2: every U_j,l becomes an image of its own.
            normaliser = (_mean(first) + ENERGY_OFFSET).reshape(-1, ANGLES, 1)
            image = modulus.reshape(-1, 1, side, side)
            for _ in range(scale + 1, SCALES):
                image = self._half(image)
                second = _mean(self._modulus(image)).reshape(-1, ANGLES, ANGLES)
                blocks.append((second / normaliser).reshape(-1, ANGLES**2))
        return blocks

    def _chroma_energies(self, chroma: Tensor) -> list[Tensor]:
        """C, one (N, 12) per scale."""
        blocks = []
        image = chroma.reshape(-1, 1, SIDE, SIDE)
        for scale in range(SCALES):
            if scale:
                image = self._half(image)
            blocks.append(_mean(self._modulus(image)).reshape(-1, 2 * ANGLES))
        return blocks

    def _modulus(self, images: Tensor) -> Tensor:
        """|x * ψ_l| of single-channel images: (N, 1, S, S) → (N, 6, S, S)."""
        responses = F.conv2d(F.pad(images, (3, 3, 3, 3), mode="reflect"), self.wavelets)
        real_squared, imaginary_squared = torch.split(responses * responses, [ANGLES, ANGLES], dim=1)
        return torch.sqrt(real_squared + imaginary_squared)

    def _half(self, images: Tensor) -> Tensor:
        """The next level of the pyramid: binomial blur, then every second pixel."""
        return F.conv2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), self.blur, stride=2)


def _mean(maps: Tensor) -> Tensor:
    """Mean over positions, (N, C, S, S) → (N, C, 1, 1)."""
    return maps.mean(dim=(2, 3), keepdim=True)
