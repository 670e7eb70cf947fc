"""Axes of our drawings: where a value stands in pixels, and which round numbers are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDE_SPREAD = 10  # largest over smallest distance, from which a logarithmic axis shows more


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    start: float  # pixels of ``low`` and ``high``
    end: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Pixels; what lies outside stands on the edge."""
        low, high, at = (self._scaled(entry) for entry in (self.low, self.high, value))
        share = min(max((at - low) / (high - low), 0.0), 1.0)
        return round(self.start + (self.end - self.start) * share, 1)

    def _scaled(self, value: float) -> float:
        if not self.logarithmic:
            return value
        return math.log10(value) if value > 0 else -math.inf


def value_axis(values: Sequence[float], ends: Sequence[float], *, is_distance: bool, bottom: float, top: float) -> Axis:
    """Holds the values and the ends of their intervals; logarithmic for distances that fall far, linear for shares."""
    if is_distance and min(values) > 0 and max(values) >= _WIDE_SPREAD * min(values):
        inside = [end for end in ends if end >= min(values) / 2]  # an interval may reach below 0
        low, high = min(inside) / 1.15, max(inside) * 1.15
        return Axis(low, high, bottom, top, True, powers(low, high))
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    margin = (high - low) * 0.06
    # A score that is never negative gets no room below 0.
    low, high = (low - margin if low < 0 or low > margin else 0.0), high + margin
    return Axis(low, high, bottom, top, False, even(low, high))


def even(low: float, high: float) -> tuple[float, ...]:
    """Four to eight round numbers at even distances."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.99)
    first, last = math.ceil(low / distance - 1e-9), math.floor(high / distance + 1e-9)
    return tuple(float(f"{index * distance:.12g}") for index in range(first, last + 1))


def powers(low: float, high: float) -> tuple[float, ...]:
    """1, 2 and 5 times powers of ten; the powers alone where those are many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [float(f"{tick:.6g}") for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= 7:
            break
    return tuple(ticks)


def tick_label(tick: float) -> str:
    sign = "−" if tick < 0 else ""
    return f"{sign}{abs(tick):,.0f}" if tick == round(tick) else f"{sign}{abs(tick):g}"
