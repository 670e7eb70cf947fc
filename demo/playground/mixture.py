"""Eight round Gaussians on a ring are the real distribution; a model of them has a fault for every knob.

The real points have classes (the modes), so the class posteriors that the Inception Score needs are exact: no network
has to be believed. Invented modes lie outside the ring, each behind a real mode. A point there is far from everything
real, and yet its class is beyond doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import genmetrics_rt as gm

Points = NDArray[np.float64]  # (N, 2)

NUM_MODES = 8
RADIUS = 3.0
STD = 1 / 3  # of each mode, in both directions: neighbours are nearly 7 of them apart
INVENTED_RADIUS = 4.65
HALF_WIDTH = 6.0  # of the square that is drawn and that noise fills

# Name → smallest and largest value: the ends of the sliders.
LIMITS: Mapping[str, tuple[float, float]] = {
    "modes_dropped": (0, NUM_MODES),
    "modes_invented": (0, NUM_MODES),
    "blur": (0.1, 4.0),
    "noise": (0.0, 1.0),
    "copies": (0.0, 1.0),
    "num_points": (20, 2000),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True)
class Knobs:
    """What is wrong with the model; as it stands, nothing.

    Attributes
    ----------
    modes_dropped
        How many of the 8 modes it never makes, clockwise from the top.
    modes_invented
        How many modes it makes that do not exist. All that it makes are equally frequent.
    blur
        Spread of its modes over that of the real ones: below 1 too narrow, above 1 blurred.
    noise
        Share of its own points that lie anywhere in the square.
    copies
        Share of its points that repeat training points exactly, of the modes that it has; each once before any twice.
    num_points
        Generated points, and as many training and held-out ones. PRD and the classifier need 20.
    seed
        Of all of them. With the same seed, points that a knob does not concern stay where they are.
    against_training
        Score against the training points instead of held-out ones: the leak.
    """

    modes_dropped: int = 0
    modes_invented: int = 0
    blur: float = 1.0
    noise: float = 0.0
    copies: float = 0.0
    num_points: int = 500
    seed: int = 0
    against_training: bool = False

    def __post_init__(self) -> None:
        require_limits(self, LIMITS)
        if self.modes_dropped == NUM_MODES and self.modes_invented == 0:
            raise gm.InputError(
                f"All {NUM_MODES} modes are dropped and none is invented, so the model makes nothing that could be "
                "scored. Keep one mode, or invent one."
            )
        if self.modes_dropped == NUM_MODES and self.copies > 0:
            raise gm.InputError(
                "Copies are of training points of the modes that the model has, and it has none of the real ones. "
                "Keep one mode, or set copies to 0."
            )


@dataclass(frozen=True)
class Sample:
    """The points of one step, each set (N, 2)."""

    generated: Points
    training: Points
    held_out: Points
    knobs: Knobs

    @property
    def reference(self) -> Points:
        """What the generated points are scored against."""
        return self.training if self.knobs.against_training else self.held_out


def draw(knobs: Knobs) -> Sample:
    """The model's points, those it was trained on and those it never saw."""
    training, mode_of_training = _real(knobs, stream=0)
    held_out, _ = _real(knobs, stream=1)
    return Sample(_generated(knobs, training, mode_of_training), training, held_out, knobs)


def log_posteriors(points: Points) -> NDArray[np.float64]:
    """(N, 2) → (N, 8) exact ``ln p(mode | x)`` under the real mixture: logits whose softmax is the posterior."""
    squared = ((points[:, None] - real_centres()) ** 2).sum(axis=2)
    joint = -squared / (2 * STD**2)  # the modes are equally frequent and wide: all else cancels
    joint -= joint.max(axis=1, keepdims=True)
    log_posterior: NDArray[np.float64] = joint - np.log(np.exp(joint).sum(axis=1, keepdims=True))
    return log_posterior


def real_centres() -> Points:
    """(8, 2), clockwise from the top."""
    return _ring(RADIUS)


def invented_centres() -> Points:
    """(8, 2) in the order in which they are invented: each behind a real mode."""
    return _ring(INVENTED_RADIUS)


def require_limits(knobs: object, limits: Mapping[str, tuple[float, float]]) -> None:
    """Raise `gm.InputError` unless each knob lies within its limits; limits of whole numbers ask for one."""
    for name, (low, high) in limits.items():
        value = getattr(knobs, name)
        whole = isinstance(low, int)
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise gm.InputError(f"{name} is {value}; it must be {kind} from {low:g} to {high:g}.")
        if whole:
            object.__setattr__(knobs, name, int(value))  # a slider may say 2.0


def _ring(radius: float) -> Points:
    angle = np.pi / 2 - np.arange(NUM_MODES) * 2 * np.pi / NUM_MODES
    centres: Points = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centres


def _real(knobs: Knobs, *, stream: int) -> tuple[Points, NDArray[np.intp]]:
    """Fresh real points and their modes."""
    rng = np.random.default_rng([knobs.seed, stream])
    mode = rng.integers(NUM_MODES, size=knobs.num_points)
    return real_centres()[mode] + STD * rng.standard_normal((knobs.num_points, 2)), mode


def _generated(knobs: Knobs, training: Points, mode_of_training: NDArray[np.intp]) -> Points:
    rng = np.random.default_rng([knobs.seed, 2])
    size = knobs.num_points
    # Everything is drawn whether it is needed or not, so that a knob moves only what it is about.
    which, offset = rng.random(size), rng.standard_normal((size, 2))
    anywhere = rng.uniform(-HALF_WIDTH, HALF_WIDTH, (size, 2))
    order, order_of_training = rng.permutation(size), rng.permutation(size)

    centres = np.concatenate([real_centres()[knobs.modes_dropped :], invented_centres()[: knobs.modes_invented]])
    points: Points = centres[(which * len(centres)).astype(int)] + knobs.blur * STD * offset
    num_copies = round(knobs.copies * size)
    num_noise = round(knobs.noise * (size - num_copies))
    noisy, copied = order[:num_noise], order[size - num_copies :]
    points[noisy] = anywhere[noisy]
    if num_copies:
        has_its_mode = mode_of_training[order_of_training] >= knobs.modes_dropped
        source = order_of_training[has_its_mode]
        if len(source) == 0:
            raise gm.TooFewImages(
                f"Among {size} training points none belongs to the {NUM_MODES - knobs.modes_dropped} modes that are "
                "left, so there is nothing to copy. Take more points, or keep more modes."
            )
        points[copied] = training[np.resize(source, num_copies)]
    return points
