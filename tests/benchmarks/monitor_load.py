"""What watching costs a service: ``python -m tests.benchmarks.monitor_load --minutes 3``.

200 images a second of 256 × 256 are offered by one thread, more than the worker extracts. At each of them the thread
calls an empty function, ``observe`` (every other time with ``copy=False``), and a bare copy of another such image into
shared memory of the size of the queue (what any hand-over between processes costs on this machine), and times them by
the clock and by its own CPU time.
Meanwhile the resident
memory of the service and of its worker is read every other second; its growth is the slope of a line through what came
after the settling time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import resource
import time
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

import genmetrics_rt as gm

RATE = 200  # images a second
QUEUE_BYTES = 32 << 20


def nothing(images: np.ndarray) -> int:
    return 0


class SharedRing:
    """Shared memory that images are copied into, round and round."""

    def __init__(self, size: int) -> None:
        self._memory = shared_memory.SharedMemory(create=True, size=size)
        self._bytes = np.frombuffer(self._memory.buf, np.uint8, size)
        self._bytes[:] = 0
        self._at = 0

    def copy(self, images: np.ndarray) -> int:
        if self._at + images.nbytes > self._bytes.size:
            self._at = 0
        self._bytes[self._at : self._at + images.nbytes].reshape(images.shape)[...] = images
        self._at += images.nbytes
        return len(images)

    def close(self) -> None:
        del self._bytes
        self._memory.close()
        self._memory.unlink()


def resident(process: int | str) -> float:
    """MB of a process; NaN where it has gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return float("nan")


def growth(samples: list[tuple[float, float]], settled: float) -> float:
    """MB per minute, of what was read after ``settled`` seconds."""
    table = np.array([sample for sample in samples if sample[0] >= settled and np.isfinite(sample[1])])
    return float(60 * np.polyfit(table[:, 0], table[:, 1], 1)[0])


def run(minutes: float, settled: float, *, window: int = 1_000, size: int = 256) -> dict[str, float]:
    """The figures of one run."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    images = np.repeat(np.repeat(coarse, size // 16, axis=1), size // 16, axis=2)
    seconds = 60 * minutes
    count = int(RATE * seconds)
    # Written once before: pages that are touched on the way would count as growth.
    times = {name: np.full((count, 2), np.nan, np.float32) for name in ("nothing", "observe", "kept", "copy")}
    memory: dict[str, list[tuple[float, float]]] = {"service": [], "worker": []}
    with (
        contextlib.closing(SharedRing(QUEUE_BYTES)) as ring,
        gm.QualityMonitor("digits", window=window, panes=10, max_rows=400, queue_bytes=QUEUE_BYTES) as monitor,
    ):
        monitor.wait()
        kept = functools.partial(monitor.observe, copy=False)
        start = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            one, other = images[number % len(images)][None], images[(number + 32) % len(images)][None]
            handing = ("kept", kept, one) if number % 2 else ("observe", monitor.observe, one)
            for name, call, given in (("nothing", nothing, one), handing, ("copy", ring.copy, other)):
                cpu, clock = time.thread_time(), time.perf_counter()
                call(given)
                times[name][number] = time.perf_counter() - clock, time.thread_time() - cpu
            if number % (2 * RATE) == 0:
                at = time.perf_counter() - start
                memory["service"].append((at, resident("self")))
                memory["worker"].append((at, resident(monitor.status()["worker"])))
        lasted = time.perf_counter() - start
        counts, finished = monitor.counts(), monitor.status()["finished_panes"]
    late = {name: 1000 * np.nanquantile(own, 0.99, axis=0) for name, own in times.items()}
    added = {name: late[name] - late["nothing"] for name in ("observe", "kept", "copy")}
    return {
        "images_per_second_offered": count / lasted,
        "images_per_second_queued": counts["queued"] / lasted,
        "images_per_second_extracted": counts["extracted"] / lasted,
        "p99_ms_nothing": float(late["nothing"][0]),
        "p99_ms_added": float(added["observe"][0]),
        "p99_cpu_ms_added": float(added["observe"][1]),
        "p99_ms_added_without_copy": float(added["kept"][0]),
        "p99_cpu_ms_added_without_copy": float(added["kept"][1]),
        "p99_ms_of_a_bare_copy": float(added["copy"][0]),
        "p99_cpu_ms_of_a_bare_copy": float(added["copy"][1]),
        "service_mb_per_minute": growth(memory["service"], settled),
        "worker_mb_per_minute": growth(memory["worker"], settled),
        "service_mb": memory["service"][-1][1],
        "worker_mb": memory["worker"][-1][1],
        "finished_panes": finished,
        "errors": counts["errors"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--settled", type=float, help="seconds after which memory counts; a third of the time")
    parser.add_argument("--window", type=int, default=1_000, help="images of a window, in ten panes")
    parser.add_argument("--size", type=int, default=256, help="height and width of an image, a multiple of 16")
    options = parser.parse_args()
    settled = 20 * options.minutes if options.settled is None else options.settled
    print(json.dumps(run(options.minutes, settled, window=options.window, size=options.size)))


if __name__ == "__main__":
    main()
