"""Procedural colour images for calibration: code instead of photographs, so no licence and no privacy to weigh.

Each image is coloured 1/f noise; three of four also carry occluding shapes ("dead leaves", Lee, Mumford & Huang 2001),
whose edges and scale statistics resemble those of photographs.

The order of the draws is part of the definition: it fixes the images, and through them the constants of `scattering`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE = 128
SEEDS = (0, 1)
IMAGES_PER_SEED = 500


def calibration_images(cache: Path | None = None) -> NDArray[np.uint8]:
    """The 1,000 images that calibrate `scattering`: (1000, 128, 128, 3) uint8 RGB. Several minutes without a cache."""
    if cache is not None and cache.is_file():
        return np.load(cache)
    images = np.concatenate([procedural_images(IMAGES_PER_SEED, seed=seed) for seed in SEEDS])
    if cache is not None:
        np.save(cache, images)
    return images


def procedural_images(num_images: int, *, side: int = SIDE, seed: int) -> NDArray[np.uint8]:
    """``num_images`` images, (num_images, side, side, 3) uint8 RGB."""
    painter = _Painter(side, np.random.default_rng(seed))
    return np.stack([painter.image(with_shapes=index % 4 != 0) for index in range(num_images)])


class _Painter:
    """Draws images of one size from one random stream."""

    def __init__(self, side: int, stream: np.random.Generator) -> None:
        self.side = side
        self.stream = stream
        self.rows, self.columns = np.mgrid[:side, :side]
        self.frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
        self.frequency[0, 0] = 1 / side  # the mean is removed afterwards; this only avoids a division by zero

    def image(self, *, with_shapes: bool) -> NDArray[np.uint8]:
        canvas = self._background()
        if with_shapes:
            count = int(np.exp(self.stream.uniform(np.log(3), np.log(300))))
            smallest = self.stream.uniform(3, 8)
            for _ in range(count):
                canvas = self._with_shape(canvas, smallest)
        sensor_noise = self.stream.normal(0, self.stream.uniform(0, 3), canvas.shape)
        return np.clip(canvas + sensor_noise, 0, 255).round().astype(np.uint8)

    def _background(self) -> NDArray[np.float64]:
        """A random colour, with 1/f^a noise strong in brightness and weak in each channel."""
        stream = self.stream
        brightness = stream.uniform(30, 225)
        colour = np.full((self.side, self.side, 3), brightness) + stream.normal(0, 25, 3)
        exponent = stream.uniform(0.8, 2.0)
        luma = self._noise(exponent)[..., None] * stream.uniform(10, 50)
        chroma = np.stack([self._noise(exponent) for _ in range(3)], -1) * stream.uniform(2, 20)
        return colour + luma + chroma

    def _with_shape(self, canvas: NDArray[np.float64], smallest: float) -> NDArray[np.float64]:
        """One tilted ellipse (70 %) or rectangle (30 %) over the canvas, flat or textured, with a linear shade."""
        stream = self.stream
        radius = min(smallest * stream.random() ** (-1 / 2.0), self.side / 2)  # density ∝ radius⁻³: scale invariance
        centre_x, centre_y = stream.uniform(-10, self.side + 10, 2)
        angle = stream.uniform(0, np.pi)
        flatness = stream.uniform(0.3, 1)
        dx, dy = self.columns - centre_x, self.rows - centre_y
        along = dx * np.cos(angle) + dy * np.sin(angle)
        across = (-dx * np.sin(angle) + dy * np.cos(angle)) / flatness
        if stream.random() < 0.3:
            inside = (np.abs(along) < radius) & (np.abs(across) < radius)
        else:
            inside = along * along + across * across < radius * radius

        brightness = stream.uniform(0, 255)
        colour = np.clip(brightness + stream.normal(0, 30, 3), 0, 255)
        texture: NDArray[np.float64] | float = 0.0
        if stream.random() < 0.2:
            texture = self._noise(stream.uniform(0.5, 2))[..., None] * stream.uniform(0, 20)
        shade = (along / radius * stream.uniform(-30, 30))[..., None]
        return np.where(inside[..., None], colour + shade + texture, canvas)

    def _noise(self, exponent: float) -> NDArray[np.float64]:
        """Gaussian noise with amplitude spectrum 1/f^exponent, mean 0, standard deviation 1."""
        white = self.stream.standard_normal((self.side, self.side))
        coloured = np.fft.ifft2(np.fft.fft2(white) / self.frequency**exponent).real
        return (coloured - coloured.mean()) / coloured.std()
