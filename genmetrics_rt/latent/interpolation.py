"""Between two latents: a straight line, or an arc on the sphere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import InputError

Interpolation = Callable[[FloatArray, FloatArray, Any], FloatArray]
_TINY = 1e-7  # below this angle or length an arc has no direction, and the line is taken; as torch-fidelity has it


def lerp(start: FloatArray, end: FloatArray, t: Any) -> FloatArray:
    """``start + (end − start) t``; latents (N, L), ``t`` a number or (N,)."""
    return start + (end - start) * _column(t)


def slerp_any(start: FloatArray, end: FloatArray, t: Any) -> FloatArray:
    """``sin((1−t)ω)/sin ω · start + sin(tω)/sin ω · end`` with ω the angle between them: lengths are kept as they are.

    Where the two are collinear, or one of them is zero, the straight line.
    """
    column = _column(t)
    norms = [np.linalg.norm(latents, axis=1, keepdims=True) for latents in (start, end)]
    cosine = (start * end).sum(axis=1, keepdims=True) / np.maximum(norms[0] * norms[1], _TINY**2)
    straight = (norms[0] < _TINY) | (norms[1] < _TINY) | (np.abs(cosine) > 1 - _TINY)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.maximum(np.sin(angle), _TINY)
    arc = np.sin((1 - column) * angle) / sine * start + np.sin(column * angle) / sine * end
    return np.where(straight, lerp(start, end, t), arc)


def slerp_unit(start: FloatArray, end: FloatArray, t: Any) -> FloatArray:
    """`slerp_any` on the unit sphere, as StyleGAN has it: both ends are brought to length 1, and so is the result.

    For generators that normalise their latents. torch-fidelity brings the result alone to length 1, which is the same
    for latents of length 1.
    """
    return _unit(slerp_any(_unit(start), _unit(end), t))


INTERPOLATIONS: dict[str, Interpolation] = {"lerp": lerp, "slerp_any": slerp_any, "slerp_unit": slerp_unit}


def interpolation(name: str) -> Interpolation:
    """One of them by name. Raises `InputError` for another."""
    if name not in INTERPOLATIONS:
        raise InputError(f"interpolation is {name!r}; use {', '.join(INTERPOLATIONS)}.")
    return INTERPOLATIONS[name]


def _unit(latents: FloatArray) -> FloatArray:
    unit: NDArray[np.float64] = latents / np.maximum(np.linalg.norm(latents, axis=1, keepdims=True), _TINY)
    return unit


def _column(t: Any) -> FloatArray:
    return np.asarray(t, dtype=np.float64).reshape(-1, 1)
