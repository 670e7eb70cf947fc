"""Whether a path through the latent space is smooth, or the picture jumps.

Paths between random latents are walked in equal steps. On each, the step over which the picture changes most is
halved ten times, every time keeping the half in which it changes more. Where the generator is continuous, what is left
of that change goes to nothing with the width of the step; where it jumps, all of it is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.latent.interpolation import interpolation
from genmetrics_rt.latent.path_length import Distance, Generate, Paths
from genmetrics_rt.report import Finding

STEPS = 16
HALVINGS = 10
JUMP = 0.1  # of the distance between unrelated pictures: more than this over a step of 1/16,384 of a path is a jump
_SOME = 0.05  # share of the paths that must jump to be worth a warning
_MANY = 0.3  # … and a problem


@dataclass(frozen=True)
class Smoothness:
    """How evenly pictures change along paths between unrelated latents.

    Over (M,) paths: ``distances`` (M, S) of each step; ``shares`` (M,) of a path's distance that its largest step
    carries; ``jumps`` (M,) the distance over a step of ``1 / (S 2^halvings)`` of the path, as a share of what two
    unrelated pictures differ by (``unrelated``); ``places`` (M,) where on the path that is.
    """

    num_paths: int
    steps: int
    halvings: int
    unrelated: float  # median distance between the two ends of a path
    median_share: float
    worst_share: float
    median_jump: float
    worst_jump: float
    num_jumping: int  # paths whose jump is over ``threshold``
    threshold: float
    distances: FloatArray = field(repr=False)
    shares: FloatArray = field(repr=False)
    jumps: FloatArray = field(repr=False)
    jump_shares: FloatArray = field(repr=False)  # the same step's share of the whole path's distance
    places: FloatArray = field(repr=False)

    @property
    def worst(self) -> NDArray[np.intp]:
        """The paths by falling jump."""
        return np.argsort(-self.jumps, kind="stable")


def measure_smoothness(
    generate: Generate,
    distance: Distance,
    paths: Paths,
    *,
    interpolate: str = "lerp",
    steps: int = STEPS,
    halvings: int = HALVINGS,
    at_once: int = 64,
) -> Smoothness:
    """Walk whole paths, whatever their ``place``, in ``steps`` steps, and look into the largest one of each.

    ``at_once``: of how many paths pictures are in memory together.
    """
    count = len(paths.start)
    walks = [
        _walk(generate, distance, paths.rows(slice(start, start + at_once)), interpolate, steps, halvings)
        for start in range(0, count, at_once)
    ]
    distances, apart, narrow, places = (np.concatenate([walk[part] for walk in walks]) for part in range(4))
    unrelated = float(np.median(apart))
    totals = distances.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(totals > 0, distances.max(axis=1) / totals, 0.0)
        jump_shares = np.where(totals > 0, narrow / totals, 0.0)
        jumps = narrow / unrelated if unrelated > 0 else np.zeros(count)
    return Smoothness(
        num_paths=count,
        steps=steps,
        halvings=halvings,
        unrelated=unrelated,
        median_share=float(np.median(shares)),
        worst_share=float(shares.max()),
        median_jump=float(np.median(jumps)),
        worst_jump=float(jumps.max()),
        num_jumping=int((jumps > JUMP).sum()),
        threshold=JUMP,
        distances=distances,
        shares=shares,
        jumps=jumps,
        jump_shares=jump_shares,
        places=places,
    )


def _walk(
    generate: Generate, distance: Distance, paths: Paths, interpolate: str, steps: int, halvings: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Of each path: the distances of its steps, that of its ends, that of the narrowest step, and where that lies."""
    between = interpolation(interpolate)
    count = len(paths.start)

    def frame(t: FloatArray) -> NDArray[Any]:
        return np.asarray(generate(between(paths.start, paths.end, t), paths.labels))

    distances = np.empty((count, steps))
    first = frame(np.zeros(count))
    before = first
    for step in range(steps):
        after = frame(np.full(count, (step + 1) / steps))
        distances[:, step] = np.asarray(distance(before, after), dtype=np.float64)
        before = after
    apart = np.asarray(distance(first, before), dtype=np.float64)

    low = distances.argmax(axis=1) / steps
    high = low + 1 / steps
    left, right = frame(low), frame(high)
    for _ in range(halvings):
        middle = (low + high) / 2
        image = frame(middle)
        in_left = _difference(left, image) >= _difference(image, right)
        low, high = np.where(in_left, low, middle), np.where(in_left, middle, high)
        left, right = _chosen(in_left, left, image), _chosen(in_left, image, right)
    return distances, apart, np.asarray(distance(left, right), dtype=np.float64), (low + high) / 2


def smoothness_finding(found: Smoothness) -> Finding | None:
    """What is wrong with the paths, or None for a generator whose pictures change gradually."""
    share = found.num_jumping / found.num_paths
    if found.num_jumping < 2 or share < _SOME:
        return None
    width = found.steps * 2**found.halvings
    worst = found.worst[0]
    typical = float(np.median(found.jumps[found.jumps > found.threshold]))
    return Finding(
        key="latent_jumps",
        severity="problem" if share >= _MANY else "warning",
        claim=f"The picture jumps on {found.num_jumping} of {found.num_paths} paths through the latent space.",
        evidence=f"Over 1/{width:,} of such a path it changes by {100 * typical:.0f} % (median) of what two unrelated "
        f"pictures differ by, on the worst path by {100 * found.jumps[worst]:.0f} %; there that one step carries "
        f"{100 * found.jump_shares[worst]:.0f} % of the distance of the whole walk in {found.steps} steps. Where "
        "pictures change gradually, next to nothing is left of a step that small.",
        advice="A jump is what a lookup of stored pictures, a rounded latent or a hard choice inside the network looks "
        "like. Look at the strips of the worst paths; if stored pictures are on both sides of a jump, run `genmetrics "
        "copies` against the training images. Interpolation and editing by latent will not work across jumps.",
    )


def _difference(first: NDArray[Any], second: NDArray[Any]) -> FloatArray:
    difference: FloatArray = np.abs(first.astype(np.float64) - second).reshape(len(first), -1).mean(axis=1)
    return difference


def _chosen(which: NDArray[np.bool_], one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    return np.where(which.reshape(-1, *[1] * (one.ndim - 1)), one, other)
