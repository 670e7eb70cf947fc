"""Alarms that do not flicker: raised by one window beyond the limit, ended by a whole window of healthy looks.

There are two kinds. *Drift*: a score or a mean trait lies beyond its limit (`limits`). *Finding*: a rule of the
diagnosis holds that does not hold for the healthy images, in a window that drifts. Since a finding alone never raises
an alarm, findings add no false alarms to those that the limits allow; they say what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from genmetrics_rt.monitor.limits import Limit


@dataclass(frozen=True)
class Alarm:
    """One alarm. ``since`` is Unix time of the window that raised it, None while it is silent."""

    key: str  # "fd", "sharpness_low", …; or the key of a finding
    kind: str  # "drift" | "finding"
    since: float | None = None
    raised: int = 0  # times so far
    healthy_looks: int = 0  # in a row, while it is active
    value: float | None = None  # of the latest window
    limit: float | None = None
    claim: str = ""  # of a finding

    @property
    def active(self) -> bool:
        return self.since is not None


class Alarms:
    """All alarms, and how a window changes them."""

    def __init__(self, *, panes: int) -> None:
        self._panes = panes
        self._alarms: dict[str, Alarm] = {}

    def judge(
        self,
        values: Mapping[str, float],
        limits: Mapping[str, Limit],
        findings: Mapping[str, str],
        usual: Collection[str],
        when: float,
    ) -> list[Alarm]:
        """Take in one window: ``values`` by key of the limits, ``findings`` as key → claim. Returns what changed."""
        changed = []
        drifts = False
        for key, limit in limits.items():
            value = values.get(key, math.nan)
            alarm = self._alarms.get(key, Alarm(key, "drift"))
            # A score that cannot be computed any more is neither healthy nor a proof of drift.
            bad, good = limit.beyond(value), math.isfinite(value) and limit.within(value)
            drifts |= bad
            told = replace(alarm, value=value if math.isfinite(value) else None, limit=limit.raise_at)
            changed += self._next(told, bad, good, when)
        for key in sorted({*findings, *(key for key, alarm in self._alarms.items() if alarm.kind == "finding")}):
            alarm = self._alarms.get(key, Alarm(key, "finding"))
            here = key in findings and key not in usual
            told = replace(alarm, claim=findings.get(key, alarm.claim))
            changed += self._next(told, here and drifts, not here, when)
        return changed

    def _next(self, alarm: Alarm, bad: bool, good: bool, when: float) -> list[Alarm]:
        before = alarm.active
        if bad and not before:
            alarm = replace(alarm, since=when, raised=alarm.raised + 1, healthy_looks=0)
        elif before:
            alarm = replace(alarm, healthy_looks=alarm.healthy_looks + 1 if good and not bad else 0)
            if alarm.healthy_looks >= self._panes:
                alarm = replace(alarm, since=None, healthy_looks=0)
        if alarm.kind == "drift" or alarm.raised:
            self._alarms[alarm.key] = alarm
        return [alarm] if alarm.active != before else []

    @property
    def all(self) -> tuple[Alarm, ...]:
        return tuple(self._alarms.values())

    def to_records(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [asdict(alarm) for alarm in self._alarms.values()]

    def restore(self, records: list[dict[str, Any]]) -> None:
        """What `to_records` gave."""
        self._alarms = {record["key"]: Alarm(**record) for record in records}
