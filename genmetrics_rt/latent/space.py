"""An open generator as functions of latents: what the numbers about its latent space are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.generators import OpenGenerator


@dataclass(frozen=True)
class LatentSpace:
    """An open generator as functions of float64 latents."""

    opened: OpenGenerator
    as_bytes: bool

    def draw(self, rng: np.random.RandomState, count: int) -> FloatArray:
        """(count, L) in the stream of the reference implementations: ``randn`` for normal latents."""
        generator = self.opened.generator
        shape = (count, generator.latent_dim)
        if generator.distribution == "uniform":
            return rng.uniform(-1.0, 1.0, shape)
        drawn = rng.randn(*shape)
        if generator.truncation is not None:
            outside = np.abs(drawn) > generator.truncation
            while outside.any():
                drawn[outside] = rng.randn(int(outside.sum()))
                outside = np.abs(drawn) > generator.truncation
        return drawn

    def pixels(self, latents: FloatArray, labels: NDArray[np.int64] | None) -> NDArray[Any]:
        run = self.opened.images if self.as_bytes else self.opened.pixels
        return run(latents.astype(np.float32), labels)

    def images(self, latents: FloatArray, labels: NDArray[np.int64] | None) -> NDArray[Any]:
        return self.opened.images(latents.astype(np.float32), labels)
