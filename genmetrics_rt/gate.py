"""A gate for CI: a condition on one score of a report, such as ``kid>0.05``."""

from __future__ import annotations

import re

from genmetrics_rt.errors import InputError
from genmetrics_rt.report import Report
from genmetrics_rt.scoring import Space, choose_metrics


class Condition:
    """A gate such as ``fid>50`` or ``coverage <= 0.6``."""

    def __init__(self, text: str, key: str, sign: str, bound: float) -> None:
        self.text, self.key, self._sign, self._bound = text, key, sign, bound

    @classmethod
    def parse(cls, text: str) -> Condition:
        match = re.fullmatch(r"\s*([A-Za-z0-9_]+)\s*(>=|<=|>|<)\s*([-+0-9.eE]+)\s*", text)
        try:
            if match is None:
                raise ValueError
            return cls(text, match[1].lower(), match[2], float(match[3]))
        except ValueError:
            raise InputError(
                f"--fail-if {text!r} is not a condition. Write a metric, one of > >= < <=, and a number: 'kid>0.05'."
            ) from None

    def require_computed(self, metrics: str | None, *, published: bool | str | None) -> None:
        """Raise now what would otherwise be found out after everything was computed.

        ``published``: whether scores will go by their published names, and whose; None if nobody knows yet.
        """
        try:
            if published is not None or self.key not in Space("these", True, True, published=True).keys():
                choose_metrics(self.key, Space("these", True, True, published=published or False))
        except InputError as error:
            raise InputError(f"--fail-if {self.text!r}: {error}") from None
        named = None if metrics is None else [name.strip().lower() for name in metrics.split(",")]
        if named not in (None, ["all"]) and self.key not in named:
            raise InputError(f"--fail-if {self.text!r}: {self.key} is not among --metrics {metrics}. Add it there.")

    def value(self, report: Report) -> float:
        if self.key not in report.scores:
            raise InputError(f"--fail-if {self.text!r}: no such score. There are: {', '.join(report.scores)}.")
        score = report.scores[self.key]
        if score.value is None:
            raise InputError(f"--fail-if {self.text!r} cannot be decided: {score.reason}")
        return score.value

    def holds(self, report: Report) -> bool:
        value = self.value(report)
        return {
            ">": value > self._bound,
            ">=": value >= self._bound,
            "<": value < self._bound,
            "<=": value <= self._bound,
        }[self._sign]
