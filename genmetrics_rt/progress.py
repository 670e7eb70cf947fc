"""How far a long pass has come, and telling it to a callback."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a side has come. ``images_per_second`` is over this side so far; ``seconds_left`` None until known."""

    stage: str  # "reference" | "generated" | "weights of …"
    done: int
    total: int
    images_per_second: float
    seconds_left: float | None
    from_cache: int
    unit: str = "images"  # or "texts"; "bytes", of a download


ProgressCallback = Callable[[Progress], None]


class Meter:
    """Counts images and tells the progress callback, at most ten times a second."""

    def __init__(self, stage: str, total: int, callback: ProgressCallback | None, *, unit: str) -> None:
        self._stage, self._total, self._callback, self._unit = stage, total, callback, unit
        self._start = time.perf_counter()
        self._last = 0.0
        self._done = self._cached = self.computed = 0

    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def advance(self, *, computed: int = 0, cached: int = 0, skipped: int = 0) -> None:
        self._done += computed + cached + skipped
        self._cached += cached
        self.computed += computed
        now = self.seconds()
        if self._callback is None or (now - self._last < 0.1 and self._done < self._total):
            return
        self._last = now
        # The other images take no time worth counting; the rate that matters is that of the network.
        rate = self.computed / now if now > 0 and self.computed else 0.0
        left = (self._total - self._done) / rate if rate else None
        self._callback(Progress(self._stage, self._done, self._total, rate, left, self._cached, self._unit))
