"""Where a number stands between the rungs of a ladder, in severities and in words. Never beyond the outermost rung.

The intervals of the rungs make a band, from the mildest to the most severe. A value stands between the severity up to
which the band is clearly better than it, and that from which the band is clearly worse. Between two rungs whose
intervals do not touch, both are read off by straight lines; elsewhere the rung itself is named, so the statement is
wider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from genmetrics_rt.calibration.damage import Damage
from genmetrics_rt.calibration.floor import Floor


class Band(NamedTuple):
    """The interval of one rung."""

    severity: float
    low: float
    high: float


@dataclass(frozen=True)
class Place:
    """Where a score stands among the rungs of one damage.

    ``kind``: "between", "better" than all, "worse" than all, "up to" or "from" one severity (the interval of the
    mildest, or the most severe, rung holds it), "blind" (the score does not get worse with this damage), or "none".
    ``mild`` and ``severe`` are severities, where the kind has them.
    """

    damage: Damage
    kind: str
    mild: float | None = None
    severe: float | None = None

    def words(self) -> str:
        """ "lies between blur σ = 1.1 px and σ = 1.6 px" """
        named, title = self.damage.named, self.damage.title
        if self.kind == "blind":
            return f"does not get steadily worse with this damage: {title}"
        if self.kind == "none" or (self.mild is None and self.severe is None):
            return f"no rungs to compare with: {title}"
        if self.kind == "better":
            return f"better than the mildest damage, {named(_known(self.severe))}"
        if self.kind == "worse":
            return f"off the ladder: worse than {named(_known(self.mild))}"
        if self.kind == "up to":
            return f"no worse than {named(_known(self.severe))}"
        if self.kind == "from":
            return f"at least as bad as {named(_known(self.mild))}"
        mild, severe = (self.damage.measured(_known(severity)) for severity in (self.mild, self.severe))
        if mild == severe:
            return f"lies at about {self.damage.name} {mild}"
        return f"lies between {self.damage.name} {mild} and {severe}"


def place_on(damage: Damage, bands: Sequence[Band], low: float, high: float, higher_is_better: bool) -> Place:
    """Place the interval ``low`` … ``high`` of a score (both its value, where that is all) on the rungs of a damage."""
    if higher_is_better:  # from here on, larger is worse
        bands = [Band(severity, -top, -bottom) for severity, bottom, top in bands]
        low, high = -high, -low
    if len(bands) < 2:
        return Place(damage, "none")
    backwards = any(
        later.high < earlier.low for index, earlier in enumerate(bands) for later in bands[index + 1 :]
    )  # a severer damage that scores clearly better
    if backwards or not bands[0].high < bands[-1].low:
        return Place(damage, "blind")
    if high < min(band.low for band in bands):
        return Place(damage, "better", severe=bands[0].severity)
    if low > max(band.high for band in bands):
        return Place(damage, "worse", mild=bands[-1].severity)
    mild, severe = _clearly_better(bands, low), _clearly_worse(bands, high)
    if mild is None and severe is None:
        return Place(damage, "none")  # its interval is as wide as the ladder
    kind = "up to" if mild is None else "from" if severe is None else "between"
    return Place(damage, kind, mild, severe)


def sentence(places: Sequence[Place], floor: Floor | None, value: float) -> str:
    """All places in one sentence, with the floor before them where a perfect model may score the value."""
    parts = [place.words() for place in places]
    if floor is not None and floor.holds(value):
        parts.insert(0, "a perfect model may score this")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."


def _clearly_better(bands: Sequence[Band], low: float) -> float | None:
    """The largest severity up to which all of the band is better than ``low``."""
    last = None
    for index, band in enumerate(bands):
        if band.high > low:
            break
        last = index
    if last is None or last + 1 == len(bands):
        return None if last is None else bands[last].severity
    here, after = bands[last], bands[last + 1]
    if not here.high < after.low:
        return here.severity
    return _between(here.severity, after.severity, (low - here.high) / (after.high - here.high))


def _clearly_worse(bands: Sequence[Band], high: float) -> float | None:
    """The smallest severity from which on all of the band is worse than ``high``."""
    first = None
    for index in range(len(bands) - 1, -1, -1):
        if bands[index].low < high:
            break
        first = index
    if first is None or first == 0:
        return None if first is None else bands[first].severity
    before, here = bands[first - 1], bands[first]
    if not before.high < here.low:
        return here.severity
    return _between(before.severity, here.severity, (high - before.low) / (here.low - before.low))


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


def _known(severity: float | None) -> float:
    assert severity is not None
    return severity
