"""Inputs on which the forms of image networks must agree."""

from __future__ import annotations

import numpy as np

from export.blueprint import Arrays


def standardised_pictures(
    side: int, statistics: tuple[tuple[float, ...], tuple[float, ...]], *, seed: int = 7
) -> dict[str, Arrays]:
    """Noise, faint noise and colour blocks in batches of 1 and 2; black, white, stripes: ``(x − mean) / std``."""
    stream = np.random.RandomState(seed)
    shape = (3, side, side)
    stripes = np.zeros(shape)
    stripes[:, :, ::2] = 1
    blocks = stream.uniform(0, 1, (2, 3, 8, 8)).repeat(-(-side // 8), axis=2).repeat(-(-side // 8), axis=3)
    pictures = {
        "random 1": stream.uniform(0, 1, (1, *shape)),
        "faint 1": 0.5 + stream.uniform(-0.01, 0.01, (1, *shape)),
        "blocks 2": blocks[:, :, :side, :side],
        "edges 3": np.stack([np.zeros(shape), np.ones(shape), stripes]),
    }
    mean, std = (np.asarray(values)[:, None, None] for values in statistics)
    return {name: {"images": ((picture - mean) / std).astype(np.float32)} for name, picture in pictures.items()}
