"""Time one case in this process, or a command with all the processes it starts; seconds and peak memory of each."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORES = len(os.sched_getaffinity(0))
MODULES = ("cases_kernels", "cases_network", "cases_jobs", "cases_start", "cases_monitor", "cases_scale")


@dataclass(frozen=True)
class Case:
    """What is timed in this process, best of its repetitions."""

    work: Callable[[], object]
    repetitions: int = 1
    images: int = 0  # in one repetition: their rate goes into the note
    held: int | None = None  # resident memory from which the peak counts; None: when the timing begins


@dataclass(frozen=True)
class Measured:
    """A row's figures. A case that times processes of its own returns them itself."""

    seconds: float
    megabytes: float | None = None  # None: not measured
    note: str = ""


def run(name: str) -> None:
    """Measure one case and print its figures as JSON, or which package it lacks."""
    warnings.simplefilter("ignore")
    modules = [import_module(f"tests.benchmarks.{module}") for module in MODULES]
    prepare = next(getattr(module, name) for module in modules if hasattr(module, name))
    try:
        case = prepare()
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}))
        return
    measured = case if isinstance(case, Measured) else _timed(case)
    print(json.dumps(asdict(measured)))


def _timed(case: Case) -> Measured:
    before = resident() if case.held is None else case.held
    times = []
    with Peak(resident, 0.002) as peak:
        for _ in range(case.repetitions):
            start = time.perf_counter()
            case.work()
            times.append(time.perf_counter() - start)
    note = f"{case.images / min(times):.3g} images/s" if case.images else ""
    return Measured(min(times), (peak.bytes - before) / 1e6, note)


def resident() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Peak:
    """The highest of a figure while it is open (ru_maxrss would include the preparation).

    A look that takes long is repeated less often, so that it costs at most a twentieth of one core.
    """

    def __init__(self, look: Callable[[], int], every: float) -> None:
        self._look, self._every = look, every
        self._stop = threading.Event()

    def __enter__(self) -> Peak:
        self.bytes = self._look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        pause = self._every
        while not self._stop.wait(pause):
            start = time.perf_counter()
            self.bytes = max(self.bytes, self._look())
            pause = max(self._every, 20 * (time.perf_counter() - start))

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


# --- commands ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """A command that ended well: wall time, peak memory of it and its descendants together, standard output."""

    seconds: float
    megabytes: float
    output: str


def command(arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command from the repository's root, in a new process."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=output, stderr=errors, env=environment, cwd=ROOT)
        with Peak(lambda: tree_memory(process.pid), 0.02) as peak:
            process.wait()
            seconds = time.perf_counter() - start
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(map(str, arguments))}\n{errors.read()}")
        return Finished(seconds, peak.bytes / 1e6, output.read())


def python(code: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a script in a new process of this Python."""
    return command([sys.executable, "-W", "ignore", "-c", code, *arguments], environment)


def best_start(code: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Measured:
    """The best of three new processes, after one that warms the disk cache. The script prints its own seconds."""
    runs = [python(code, *arguments, environment=environment) for _ in range(4)]
    return Measured(min(float(run.output) for run in runs[1:]), max(run.megabytes for run in runs[1:]))


def tree_memory(root: int) -> int:
    """Bytes of a process and its descendants; memory that several share counts once among them (PSS)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # "pid (name, perhaps with brackets) state parent …"
            status = _text(entry / "stat").rpartition(")")[2].split()
            if status:
                children.setdefault(int(status[1]), []).append(int(entry.name))
    total, family = 0, [root]
    while family:
        member = family.pop()
        family += children.get(member, [])
        rollup = _text(Path(f"/proc/{member}/smaps_rollup"))
        total += next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total


def _text(path: Path) -> str:
    """A file of /proc; nothing once its process has ended."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def require(*packages: str) -> None:
    """Stop a case whose peer is not installed, without importing the peer into this process."""
    for package in packages:
        if find_spec(package) is None:
            raise ModuleNotFoundError(package, name=package)
