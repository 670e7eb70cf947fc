"""What the monitor of a service costs each request, and how much it grows."""

from __future__ import annotations

from functools import cache

from tests.benchmarks import monitor_load
from tests.benchmarks.measuring import Measured

MINUTES = 3


@cache
def _run() -> dict[str, float]:
    return monitor_load.run(MINUTES, settled=60)


def monitor_observe() -> Measured:
    found = _run()
    note = (
        f"99th percentile of {found['images_per_second_offered']:.0f} calls/s over that of an empty function; thread "
        f"CPU {found['p99_cpu_ms_added']:.3f} ms; {found['images_per_second_extracted']:.0f} images/s extracted; "
        f"memory {found['service_mb_per_minute']:+.2f} MB/min in the service, {found['worker_mb_per_minute']:+.2f} in "
        "the worker"
    )
    return Measured(found["p99_ms_added"] / 1000, found["service_mb"], note)
