"""How numbers are written: four significant digits, a true minus, never "-0.0000", a dash for what does not exist."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

NOTHING = "–"
Formatter: TypeAlias = "Callable[[float | None], str]"

_DIGITS = 4  # significant
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MANY = 6  # more values than this are told by their range


def number(value: float | None) -> str:
    """Four significant digits for reading: ``0.6600``, ``−0.001235``, ``3.214 × 10⁻⁵``, ``12,346``."""
    if value is None or math.isnan(value):
        return NOTHING
    sign = "−" if value < 0 else ""
    if math.isinf(value):
        return sign + "∞"
    mantissa, exponent = _written(abs(value))
    return sign + mantissa + (f" × 10{str(exponent).translate(_SUPERSCRIPT)}" if exponent else "")


def plain_number(value: float | None) -> str:
    """The same for a terminal, to be copied into a calculator: ``-0.001235``, ``3.214e-05``, ``12346``."""
    if value is None or math.isnan(value):
        return NOTHING
    sign = "-" if value < 0 else ""
    if math.isinf(value):
        return sign + "inf"
    mantissa, exponent = _written(abs(value))
    return sign + mantissa.replace(",", "") + (f"e{exponent:+03d}" if exponent else "")


def _written(size: float) -> tuple[str, int]:
    """Digits and power of ten of a number ≥ 0; the power is 0 where plain digits read better."""
    if size == 0:
        return "0", 0
    # Rounded first: 9.9996 has the exponent of 10.00.
    mantissa, power = f"{size:.{_DIGITS - 1}e}".split("e")
    exponent = int(power)
    if -4 <= exponent < 6:
        return f"{size:,.{max(0, _DIGITS - 1 - exponent)}f}", 0
    return mantissa, exponent


def count(value: int | None) -> str:
    """``12,345``, to stand before a noun; None, where nobody knows, is ``an unknown number of``."""
    return "an unknown number of" if value is None else f"{value:,}"


def share(value: float) -> str:
    """``82 %``; what is not all or nothing is never called so: ``over 99 %``, ``under 1 %``."""
    if 0 < value < 0.01:
        return "under 1 %"
    if 0.99 < value < 1:
        return "over 99 %"
    return f"{100 * value:.0f} %"


def counted(value: int | None, noun: str) -> str:
    """``1 image``, ``1,797 images``, ``an unknown number of images``"""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def setting(value: Any, number: Formatter = number) -> str:
    """A setting or a detail as it was given: ``2020``, ``0.5``, ``yes``; many values by their range."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | str):
        return str(value)
    if hasattr(value, "item"):  # a NumPy scalar
        return setting(value.item(), number)
    if isinstance(value, float):
        return f"{value:g}" if value == round(value, 3) and 0.001 <= abs(value) < 1e6 else number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {setting(entry, number)}" for key, entry in value.items())
    if isinstance(value, Sequence):
        values = [entry for entry in value if isinstance(entry, int | float) and math.isfinite(entry)]
        if len(value) > _MANY and values:
            return f"{count(len(value))} values from {number(min(values))} to {number(max(values))}"
        return ", ".join(setting(entry, number) for entry in value)
    return str(value)


def duration(seconds: float) -> str:
    """``0.42 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``"""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def memory(size: int) -> str:
    """``612 MB``, ``1.4 GB``: powers of ten."""
    return f"{size / 1e9:.1f} GB" if size >= 999.5e6 else f"{size / 1e6:.0f} MB"


def rate(images_per_second: float) -> str:
    """``287 images/s``"""
    digits = 0 if images_per_second >= 10 else 1
    return f"{images_per_second:,.{digits}f} images/s"
