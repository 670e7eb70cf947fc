"""Findings and provenance around finished entries."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from genmetrics_rt.likelihood.findings import findings_of
from genmetrics_rt.likelihood.report import LikelihoodEntry, LikelihoodReport
from genmetrics_rt.provenance import library_versions, peak_memory
from genmetrics_rt.report import Runtime
from genmetrics_rt.version import __version__


def made_report(
    entries: Sequence[LikelihoodEntry], settings: Mapping[str, Any], start: float, *, device: str = "none",
    backend: str = "none",
) -> LikelihoodReport:  # fmt: skip
    return LikelihoodReport(
        tuple(entries),
        tuple(finding for entry in entries for finding in findings_of(entry, several=len(entries) > 1)),
        settings,
        Runtime(
            device=device,
            backend=backend,
            versions=library_versions(),
            seconds=time.perf_counter() - start,
            peak_memory_bytes=peak_memory(),
            images_per_second=None,
            notes=(),
        ),
        datetime.now(UTC).isoformat(timespec="seconds"),
        __version__,
    )
