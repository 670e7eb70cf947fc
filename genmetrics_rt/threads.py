"""How many threads this process may use: pools that guess from the host's cores overload containers."""

from __future__ import annotations

import os
from pathlib import Path

from genmetrics_rt.errors import InputError


def available_threads() -> int:
    """`GENMETRICS_THREADS` if it is set: an explicit wish wins. Else the lesser of CPU affinity and cgroup quota."""
    asked = os.environ.get("GENMETRICS_THREADS", "")
    if asked:
        if not asked.isdigit() or int(asked) < 1:
            raise InputError(f"GENMETRICS_THREADS={asked!r} is no number of threads. Set it to 1 or more, or unset it.")
        return int(asked)
    try:
        threads = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity call
        threads = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(threads, quota) if quota else threads)


def threads_or_default(threads: int | None) -> int:
    """What the caller asked for; None is `available_threads`. Raises `InputError` for less than one."""
    if threads is None:
        return available_threads()
    if threads < 1:
        raise InputError(f"threads is {threads}; it must be at least 1. Leave it out to use what this process may use.")
    return threads


def _cgroup_quota() -> int | None:
    """CPUs granted by cgroup v2 or v1, rounded up; None when unlimited or unknown."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not limit.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return -(-int(limit) // int(period)) or None
