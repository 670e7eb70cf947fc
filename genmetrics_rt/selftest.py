"""How far this machine's numbers lie from those of the workshop: a small known input, its known answer.

The manifest carries ``selftest``: ``seed``, ``sizes`` of the free axes, a ``range`` per input, and for each output
the expected values, at most 512 of them, taken at an even stride through the flattened output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.frozen import FrozenGraph
from genmetrics_rt.manifest import Manifest

MAX_VALUES = 512  # expected values kept per output


@dataclass(frozen=True)
class Deviation:
    """One output on this machine against the workshop's. ``relative`` is to the largest expected magnitude."""

    output: str
    absolute: float
    relative: float
    holds: bool  # within the tolerance of the manifest


def selftest_inputs(manifest: Manifest, plan: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The inputs that ``plan`` (the ``selftest`` entry) describes: uniform, from numpy's frozen legacy stream."""
    stream = np.random.RandomState(plan["seed"])
    inputs = {}
    for spec in manifest.inputs:
        shape = [axis if isinstance(axis, int) else int(plan["sizes"][axis]) for axis in spec.shape]
        low, high = plan["range"][spec.name]
        drawn = stream.uniform(low, high, shape)
        inputs[spec.name] = drawn.astype(spec.dtype)
    return inputs


def thinned(output: NDArray[Any]) -> NDArray[np.float64]:
    """At most `MAX_VALUES` values of an output, at an even stride."""
    flat = np.asarray(output, dtype=np.float64).ravel()
    return flat[:: max(1, math.ceil(flat.size / MAX_VALUES))]


def measure(bundle: Bundle, graph: FrozenGraph) -> tuple[Deviation, ...]:
    """Run the self-test of a bundle. Empty when its manifest carries none."""
    plan = bundle.manifest.record.get("selftest")
    if not plan:
        return ()
    outputs = graph.run(selftest_inputs(bundle.manifest, plan))
    tolerance = (bundle.manifest.record.get("agreement") or {}).get("tolerance") or {"absolute": 0.0, "relative": 1e-4}
    deviations = []
    for name, expected in plan["expected"].items():
        found, right = thinned(outputs[name]), np.asarray(expected, dtype=np.float64)
        scale = float(np.abs(right).max(initial=0.0))
        absolute = float(np.abs(found - right).max(initial=0.0)) if found.shape == right.shape else math.inf
        holds = absolute <= tolerance["absolute"] + tolerance["relative"] * scale
        deviations.append(Deviation(name, absolute, absolute / scale if scale else absolute, holds))
    return tuple(deviations)
