"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from genmetrics_rt.diagnosis.evidence import Evidence
from genmetrics_rt.diagnosis.facts import Facts


@dataclass(frozen=True)
class Rule:
    """If ``condition`` gives facts, the claim holds. Claim and advice may name facts in braces."""

    key: str
    severity: str  # "problem" | "warning" | "info"
    condition: Callable[[Evidence], Facts | None]
    claim: str
    advice: str
