"""Work that takes long, for people who do not know of each other: a folder of its own, a queue, an end.

    jobs = Jobs()

    def on_click(generated, reference):                       # a handler of Gradio: it yields until the result is there
        def prepare(job):                                     # at once, before the queue: uploads may vanish meanwhile
            return [accept(files, job.folder / name) for name, files in …]

        def work(job, sides):                                 # in a thread, when it is this job's turn
            return gm.evaluate(sides[0].path, sides[1].path, progress=job.progress)

        for state in jobs.run(work, prepare=prepare):
            yield state.text, …

Gradio closes a generator at its next ``yield`` when the visitor presses Stop or leaves; the thread then ends at the
next call of its progress function. It cannot be ended in between (while scores are computed, say): such a job keeps
its place until it ends by itself, but nobody waits for it. The event in Gradio must allow as many calls at a time as
may wait here, or Gradio's own queue holds them back, without a word about their position.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import genmetrics_rt as gm

try:
    import fcntl
except ImportError:  # Windows: there, folders of killed processes stay until somebody removes them
    fcntl = None  # type: ignore[assignment]

TICK = 0.25  # seconds between two states at least
ALIVE = 1.0  # and at most, so that a generator is closed soon after its visitor left
ABANDONED = 60.0  # seconds without anybody asking for the next state: nobody is there any more
GRACE = 5.0  # seconds that a job which was told to stop is waited for
STALE = 3600.0  # age in seconds of a folder that a killed process left
SMOOTHING = 5.0  # seconds over which the rate is averaged
_PREFIX = "genmetrics-demo-"
_LOG = logging.getLogger("genmetrics_demo")


class _Stopped(BaseException):
    """Ends the work from within its progress function. No `Exception`, so that no handler takes it for a failure."""


@dataclass(frozen=True)
class State:
    """What a visitor is shown of a job."""

    job: str  # its id, for `Jobs.stop`
    stage: str  # "waiting" | "running", then one of "done" | "stopped" | "failed"
    text: str
    fraction: float | None = None  # of the current step
    result: Any = None


class Job:
    """One piece of work: its folder, and what it tells while it runs."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.id = secrets.token_hex(16)  # nobody guesses the id of somebody else's job
        self.folder = folder / f"job-{self.id}"
        self.folder.mkdir(mode=0o700)
        self.text = "starting"  # what was told last
        self.fraction: float | None = None
        self.seen = time.monotonic()  # when the visitor last asked
        self.ended = threading.Event()
        self.thread: threading.Thread | None = None
        self._limit, self._deadline = limit, math.inf
        self.stopped: State | None = None  # the state in which it ends, once it was told to stop
        self._stop = threading.Event()
        self._pace = Pace()
        self._lock = threading.Lock()
        self._holders = 1

    def progress(self, progress: gm.Progress) -> None:
        """To be given to genmetrics_rt: tells how far it is, and ends the work when the job is to stop."""
        self.check()
        self.text, self.fraction = self._pace.describe(progress, time.monotonic())

    def say(self, text: str) -> None:
        """Tell what happens now, where no progress function is called."""
        self.check()
        self.text, self.fraction = text, None

    def check(self) -> None:
        """Return if the job may go on; else end it."""
        now = time.monotonic()
        if now > self._deadline:
            self.stop_for_time()
        if now > self.seen + ABANDONED:
            self.stop("Stopped, since nobody waits for it any more.")
        if self._stop.is_set():
            raise _Stopped

    def stop(self, reason: str = "Stopped.", stage: str = "stopped") -> None:
        """Ask the job to end; the first reason is the one that counts."""
        with self._lock:
            if self.stopped is None:
                self.stopped = State(self.id, stage, reason)
        self._stop.set()

    def stop_for_time(self) -> None:
        self.stop(
            f"This took longer than the {_duration(self._limit)} that one job may take here, so it was stopped. What "
            "was computed is kept: start it again to go on from there, or try fewer images.",
            "failed",
        )

    def begin(self) -> None:
        self._deadline = time.monotonic() + self._limit

    @property
    def is_out_of_time(self) -> bool:
        return time.monotonic() > self._deadline

    def hold(self) -> None:
        with self._lock:
            self._holders += 1

    def let_go(self) -> None:
        """Remove the folder as soon as neither the thread nor the visitor needs it."""
        with self._lock:
            self._holders -= 1
            is_last = self._holders == 0
        if is_last:
            shutil.rmtree(self.folder, ignore_errors=True)

    def without_paths(self, text: str) -> str:
        """A text for the visitor: it names what was uploaded, not where it lies here."""
        return re.sub(re.escape(str(self.folder)) + r"[/\\]?", "", text)


class Jobs:
    """The jobs of one server: so many at a time, the others in the order in which they came.

    Parameters
    ----------
    concurrent
        Jobs that run at a time.
    waiting
        Jobs that may wait; who comes then is asked to come back later. Each keeps its uploads on the disk.
    limit
        Seconds that one job may run.
    root
        Where the folder of this process is made, readable by its user only; None is `GENMETRICS_DEMO_ROOT`, else the
        system's folder for temporary files. Folders that killed processes left there are removed at once.
    """

    def __init__(
        self, *, concurrent: int = 1, waiting: int = 8, limit: float = 600.0, root: str | os.PathLike[str] | None = None
    ) -> None:
        self._concurrent, self._waiting, self._limit = concurrent, waiting, limit
        place = Path(root or os.environ.get("GENMETRICS_DEMO_ROOT") or tempfile.gettempdir())
        place.mkdir(parents=True, exist_ok=True)
        remove_stale_folders(place)
        self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))  # readable by its user only
        weakref.finalize(self, _leave, self.root, _lock(self.root))  # also when the process ends by itself
        self._changed = threading.Condition()
        self._all: dict[str, Job] = {}  # by id: all that is shared between visitors
        self._queue: list[Job] = []
        self._running: list[Job] = []

    def stop(self, job: str) -> None:
        """Stop the job of this id, if there still is one."""
        with self._changed:
            found = self._all.get(job)
        if found is not None:
            found.stop()

    def run(
        self, work: Callable[[Job, Any], Any], *, prepare: Callable[[Job], Any] | None = None
    ) -> Generator[State, None, None]:
        """States of a job, the last of which is "done" with its result, "stopped" or "failed". Never raises.

        ``prepare(job)`` is called at once, in the thread that asks; ``work(job, prepared)`` in a thread of its own when
        it is the job's turn. The job's folder exists until the generator is asked for what follows the last state.
        """
        try:
            job = Job(self.root, self._limit)
        except OSError:
            yield State("", "failed", _incident())
            return
        with self._changed:
            self._all[job.id] = job
            there = sum(job.seen < other.seen + ABANDONED for other in self._all.values())
        try:
            if there > self._concurrent + self._waiting:
                yield State(job.id, "failed", "Too many people are waiting already. Try again in a few minutes.")
            else:
                yield from self._states(job, work, prepare)
        finally:  # also when the visitor left
            job.stop()
            with self._changed:
                self._all.pop(job.id, None)
                if job in self._queue:
                    self._queue.remove(job)
                self._changed.notify_all()
            job.let_go()

    def _states(
        self, job: Job, work: Callable[[Job, Any], Any], prepare: Callable[[Job], Any] | None
    ) -> Generator[State, None, None]:
        yield State(job.id, "waiting", "looking at what was uploaded")
        prepared = _outcome(job, lambda: prepare(job) if prepare is not None else None)
        if prepared.stage != "done":
            yield prepared
            return
        yield from self._wait(job)
        if job.stopped:
            yield job.stopped
            return
        yield from self._watch(job, work, prepared.result)

    def _wait(self, job: Job) -> Generator[State, None, None]:
        """Until it is this job's turn; then it is counted among those that run."""
        with self._changed:
            self._queue.append(job)
        while not job.stopped:
            with self._changed:
                job.seen = time.monotonic()
                # Who no longer asks holds up nobody.
                self._queue = [other for other in self._queue if job.seen < other.seen + ABANDONED]
                if job not in self._queue:  # it was away for long, and came back
                    self._queue.append(job)
                ahead = self._queue.index(job)
                if ahead == 0 and len(self._running) < self._concurrent:
                    self._queue.pop(0)
                    self._running.append(job)
                    self._changed.notify_all()
                    return
                ahead += len(self._running)
            people = "1 job is" if ahead == 1 else f"{ahead} jobs are"
            yield State(job.id, "waiting", f"waiting: {people} before yours")
            with self._changed:
                self._changed.wait(ALIVE)

    def _watch(self, job: Job, work: Callable[[Job, Any], Any], prepared: Any) -> Generator[State, None, None]:
        outcome: list[State] = []

        def run() -> None:
            try:
                outcome.append(_outcome(job, lambda: work(job, prepared)))
            finally:
                with self._changed:
                    self._running.remove(job)
                    self._changed.notify_all()
                job.ended.set()
                job.let_go()

        job.begin()
        job.hold()
        job.thread = threading.Thread(target=run, name=f"genmetrics-job-{job.id[:8]}", daemon=True)
        try:
            job.thread.start()
        except RuntimeError:  # no more threads
            with self._changed:
                self._running.remove(job)
            job.let_go()
            yield State(job.id, "failed", _incident())
            return
        shown, at, until = "", 0.0, math.inf
        while not job.ended.wait(TICK):
            now = job.seen = time.monotonic()
            if job.is_out_of_time:
                job.stop_for_time()
            if job.stopped:
                until = min(until, now + GRACE)
            if now > until:  # the visitor does not wait for what cannot be interrupted
                assert job.stopped is not None
                yield job.stopped
                return
            text = "stopping" if job.stopped else job.text
            if text != shown or now > at + ALIVE:
                shown, at = text, now
                yield State(job.id, "running", text, job.fraction)
        yield outcome[0]


def _outcome(job: Job, work: Callable[[], Any]) -> State:
    """The state in which some work ends. What is shown of failures is ours; what others wrote stays in the log."""
    try:
        return State(job.id, "done", "done", 1.0, work())
    except _Stopped:
        assert job.stopped is not None
        return job.stopped
    except gm.GenmetricsError as error:
        return State(job.id, "failed", job.without_paths(str(error)))
    except MemoryError:
        _LOG.exception("out of memory")
        return State(
            job.id,
            "failed",
            "This takes more memory than the server has. Try fewer or smaller images, or evaluate them on your own "
            "machine: pip install genmetrics-rt.",
        )
    except BaseException:  # SystemExit too: nobody else would hear of it
        return State(job.id, "failed", _incident())


def _incident() -> str:
    """A sentence for the visitor and, under the same number, the traceback for whoever runs the server."""
    number = secrets.token_hex(4)
    _LOG.exception("incident %s", number)
    return (
        f"Something failed on the server; your files are not to blame. If it happens again, report incident {number}."
    )


# How far it is.


class Pace:
    """Images per second, smoothed, and the time that is left."""

    def __init__(self) -> None:
        self._stage = ""
        self._start = self._last = 0.0
        self._computed = 0
        self._rate = 0.0

    def describe(self, progress: gm.Progress, now: float) -> tuple[str, float | None]:
        """A line for the visitor and the fraction that is done. ``now`` is in seconds, of any clock."""
        computed = progress.done - progress.from_cache  # what comes from the cache takes no time
        if progress.stage != self._stage or computed < self._computed:
            self._stage, self._start, self._last, self._computed, self._rate = progress.stage, now, now, computed, 0.0
        self._update(computed, now)
        fraction = progress.done / progress.total if progress.total else None
        done = f"{progress.stage}: {_amount(progress)}"
        if progress.done >= progress.total:
            return f"{done}; now what follows from them", fraction
        if now - self._start < 1.0:
            return f"{done}, starting", fraction
        if not self._rate:  # all of it was in the cache so far
            return done, fraction
        left = (progress.total - progress.done) / self._rate
        rate = (
            f"{self._rate / 1e6:,.1f} MB/s"
            if progress.unit == "bytes"
            else f"{self._rate:,.{0 if self._rate >= 10 else 1}f} {progress.unit}/s"
        )
        return f"{done}, {rate}, about {_duration(left)} left", fraction

    def _update(self, computed: int, now: float) -> None:
        step = now - self._last
        if step <= 0:
            return
        # An average over all of it at first, later one that forgets: so one slow image does not double the time left.
        weight = max(1 - math.exp(-step / SMOOTHING), step / (now - self._start))
        self._rate += weight * ((computed - self._computed) / step - self._rate)
        self._last, self._computed = now, computed


def _amount(progress: gm.Progress) -> str:
    if progress.unit == "bytes":
        return f"{progress.done / 1e6:,.1f} of {progress.total / 1e6:,.1f} MB"
    return f"{progress.done:,} of {progress.total:,} {progress.unit}"


def _duration(seconds: float) -> str:
    """In steps that do not flicker: "7 s", "40 s", "3 min"."""
    if seconds < 9.5:
        return f"{max(1, round(seconds))} s"
    if seconds < 57.5:
        return f"{5 * round(seconds / 5)} s"
    return f"{max(1, round(seconds / 60)):,} min"


# Folders.


def remove_stale_folders(place: Path) -> None:
    """Remove what processes left that were killed more than an hour ago: nobody holds their locks any more."""
    if fcntl is None:
        return
    for folder in place.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
            if is_ours and time.time() - status.st_mtime > STALE and (lock := _lock(folder)) is not None:
                _leave(folder, lock)


def _lock(folder: Path) -> int | None:
    """A lock that the system takes away when the process dies, however it dies; None if another process has it."""
    if fcntl is None:
        return None
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _leave(folder: Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
