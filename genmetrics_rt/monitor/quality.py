"""`QualityMonitor`: the side of the service. It hands images over, and holds a queue and the latest figures."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import spawn
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.diagnosis.traits import traits_of
from genmetrics_rt.errors import EmptySide, GenmetricsError, InputError
from genmetrics_rt.evaluation import make_reference
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.monitor.alarms import Alarm
from genmetrics_rt.monitor.judging import MIN_HEALTHY, Judge, Sizes, record_text, traits_table
from genmetrics_rt.monitor.ring import ImageQueue, Word
from genmetrics_rt.monitor.worker import FATAL
from genmetrics_rt.preparation import GIVEN
from genmetrics_rt.reference import UNRECORDED, Reference
from genmetrics_rt.report import Report
from genmetrics_rt.sides import FeatureRows, open_side
from genmetrics_rt.texts import TextSource
from genmetrics_rt.threads import threads_or_default

_ROOT = Path(__file__).parents[2]
# Behind everything else: a file in the service's folder or beside this package must not pass for a standard module.
_START = f"import sys; sys.path.append({str(_ROOT)!r}); from genmetrics_rt.monitor.worker import main; main()"
_LOOKED_AT = 1_000  # images of a side whose pixels are looked at
_SAMPLED = 10_000  # of a healthy generator, at most, unless twice the rows of a window are more
_BACKOFF = (0.5, 60.0)  # seconds before a worker is started again: the first time, and at most
_FAILING = 3  # starts of the worker in a row that came to nothing
_STALE = 300.0  # seconds without a sign of the worker, while it should look at the queue all the time


class QualityMonitor:
    """Watches the images of a service, live, against a reference.

        monitor = gm.QualityMonitor("real.stats.npz", healthy="digits-gan", state="/var/lib/monitor")
        monitor.observe(images)             # in a request: uint8 (N, H, W, 3); under a millisecond, never raises
        app.include_router(monitor.router())  # /healthz, /metrics, /report

    A worker process at lower priority takes the images from a bounded queue in shared memory, extracts features, and
    scores sliding and tumbling windows; see `genmetrics_rt.monitor.panes`. It is started anew if it dies, and goes with
    this process. No image is counted twice.

    Parameters
    ----------
    reference
        As in `evaluate`; best a file of `make_reference`, since anything else is extracted here and now.
    extractor, protocol, tap, device, backend, precision
        As in `evaluate`. The device is the CPU unless another is named: a guest does not take its host's GPU.
    healthy
        Images of the model at its best, or from another source that is to count as healthy: any side as in `evaluate`;
        a generator is sampled. They tell how healthy windows score, so how far is too far; give at least twice
        `max_rows`. None: the reference is dealt in two halves, one of which stands for healthy images.
    window, panes
        Images of a window, and panes it consists of: the sliding window moves on by ``window / panes`` images.
    sampling, when_full, queue_bytes, queue_images
        See `genmetrics_rt.monitor.ring.ImageQueue`. Images that are not taken are counted by reason. No more images
        wait than make a pane (at least 64), unless ``queue_images`` says so: a long queue is a late alarm.
    metrics
        Keys as in `evaluate`; None is fd, kid, precision, recall, density and coverage.
    max_rows
        Rows of a window, and of the reference, that scores of neighbours and pairs look at; fd sees all images.
    state
        A folder that outlives the process, one for each replica. Each finished pane is saved there, so that a crash
        loses the open one at most. None keeps it in a temporary folder until `close`.
    threads, nice
        Of the worker: its threads at a time, and by how much it stands back.
    false_alarms
        Chance of any alarm while one whole window of healthy images passes; see `genmetrics_rt.monitor.limits`.
    on_alarm
        Called with each `Alarm` that begins or ends, from a thread of its own.
    name
        Names the stream in the metrics.

    Raises
    ------
    InputError
        From the constructor alone, for what cannot work.
    """

    def __init__(
        self,
        reference: Any,
        *,
        extractor: str | os.PathLike[str] | Bundle | None = None,
        protocol: str | None = None,
        tap: str | None = None,
        healthy: Any = None,
        window: int = 5_000,
        panes: int = 10,
        sampling: float = 1.0,
        when_full: str = "sample",
        queue_bytes: int = 32 << 20,
        queue_images: int | None = None,
        metrics: str | Sequence[str] | None = None,
        max_rows: int = 2_000,
        state: str | os.PathLike[str] | None = None,
        device: str = "cpu",
        backend: str = "onnx",
        precision: str = "fp32",
        threads: int = 1,
        nice: int = 10,
        false_alarms: float = 1e-3,
        seed: int = 0,
        on_alarm: Callable[[Alarm], None] | None = None,
        name: str = "default",
    ) -> None:
        if panes < 1 or window % panes or window // panes < 20:
            raise InputError(
                f"A window of {window} images does not consist of {panes} panes of at least 20. Give for instance "
                f"window={max(20, -(-window // max(1, panes))) * max(1, panes)}."
            )
        if not 0 < false_alarms < 1:
            raise InputError(f"false_alarms is {false_alarms!r}; it is a chance, above 0 and below 1.")
        if max_rows < MIN_HEALTHY // 2:
            raise InputError(f"max_rows is {max_rows}; it must be at least {MIN_HEALTHY // 2}.")
        self.name = name
        self._on_alarm = on_alarm
        self._owner = os.getpid()
        self._num_errors = 0
        self._counting = threading.Lock()
        self._warned = False
        self._restarts = 0
        self._vain = 0  # starts in a row after which the worker never ran
        self._status: dict[str, Any] = {"state": "starting"}
        self._closing = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._asked = itertools.count()
        self._asking = threading.Lock()
        self._work = Path(tempfile.mkdtemp(prefix="genmetrics-monitor-"))
        try:
            options = {
                "extractor": extractor, "protocol": protocol, "tap": tap, "device": device, "backend": backend,
                "precision": precision, "threads": threads_or_default(threads), "seed": seed,
            }  # fmt: skip
            sides, made = self._prepare(
                reference, healthy, options, min(4 * max(window, max_rows), max(_SAMPLED, 2 * max_rows))
            )
            of_healthy = made["healthy"].features if "healthy" in made else None
            # What cannot work is an error here, where the caller sees it; the worker makes a judge of its own.
            Judge(made["reference"], of_healthy, Sizes(window, panes, max_rows), metrics=metrics, seed=seed)
            kept = self._work / "state" if state is None else Path(state).expanduser().absolute()
            _require_writable(kept)
            waiting = max(64, window // panes) if queue_images is None else queue_images
            self._queue = ImageQueue(
                size=queue_bytes, max_images=waiting, when_full=when_full, sampling=sampling, seed=seed
            )
        except BaseException:
            shutil.rmtree(self._work, ignore_errors=True)
            raise
        self._config = {
            **options, **sides,
            "queue": self._queue.name, "queue_bytes": queue_bytes,
            "passed_over": waiting if when_full == "drop_oldest" else None, "window": window, "panes": panes,
            "max_rows": max_rows, "metrics": metrics if metrics is None or isinstance(metrics, str) else list(metrics),
            "false_alarms": false_alarms, "nice": nice, "work": str(self._work),
            "state": str(kept),
        }  # fmt: skip
        # Nothing that depends on where files lie: a state folder may move with its service.
        named = ("sides", "window", "panes", "max_rows", "metrics", "false_alarms", "seed")
        identity = record_text({key: self._config[key] for key in named})
        self._config["identity"] = hashlib.sha256(identity.encode()).hexdigest()
        atexit.register(self.close)
        self._thread = threading.Thread(target=self._supervise, name="genmetrics-monitor", daemon=True)
        self._thread.start()

    def __enter__(self) -> QualityMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(
        self, reference: Any, healthy: Any, options: dict[str, Any], most: int
    ) -> tuple[dict[str, Any], dict[str, Reference]]:
        """Both sides as files for the worker, and whose features they are; and the sides."""
        how = {key: value for key, value in options.items() if value is not None}
        done: dict[str, Reference] = {}
        for what, value in (("reference", reference), ("healthy", healthy)):
            if value is None:
                continue
            side = open_side(value)
            if isinstance(side, TextSource | FeatureRows):
                kind = "texts" if isinstance(side, TextSource) else "features"
                raise InputError(
                    f"A monitor takes images, and the {what} side holds {kind}. Give images, or a reference made of "
                    "images."
                )
            if isinstance(side, Reference):
                if side.extractor.numeric_id in (UNRECORDED, GIVEN):
                    raise InputError(
                        f"Nobody recorded which network made the features of {side.summary.source}, so a monitor "
                        "cannot make the like of them. Give a file that `genmetrics reference IMAGES -o FILE.npz` made."
                    )
                made = side
            else:
                count = most if isinstance(side, Generator) else None
                made = make_reference(value, num_images=count, **how)
                source: Any = side
                if isinstance(side, Generator):
                    source = GeneratorSource(side, _LOOKED_AT, seed=options["seed"], threads=options["threads"])
                table = traits_table(traits_of(source, sample=_LOOKED_AT, threads=options["threads"]))
                np.save(self._work / f"{what}_traits.npy", table)
            made.save(self._work / f"{what}.npz")
            done[what] = made
            if what == "reference":  # the healthy side is made with the same network
                how["extractor"] = how.get("extractor", made.extractor.name)
                how["protocol"] = how.get("protocol", made.extractor.protocol)
                if "tap" in made.extractor.recipe and made.extractor.recipe["tap"] != "features":
                    how["tap"] = how.get("tap", made.extractor.recipe["tap"])
        bundle = how["extractor"] if isinstance(how["extractor"], Bundle) else load_bundle(how["extractor"])
        bundle.require_weights()
        content = [
            (what, made.extractor.numeric_id, made.summary.num_images, made.summary.content_hash or made.summary.source)
            for what, made in done.items()
        ]
        named = {"extractor": str(bundle.path), "protocol": how["protocol"], "tap": how.get("tap"), "sides": content}
        return named, done

    # In the request path

    def observe(self, images: Any, *, copy: bool = True) -> int:
        """Hand over uint8 images (N, H, W, 3), (N, H, W) or one (H, W, 3); how many were queued.

        From any thread or coroutine. Copies at most 4 MB, waits for nobody longer than half a millisecond, and raises
        nothing: what cannot be taken is counted, see `counts`. The memory must be the CPU's, or the copy from the
        device is part of the call.

        With ``copy=False`` the call keeps the array instead, and a thread of the monitor copies from it, and counts
        its images, a little later: for images that nobody changes any more. Worth it from 256 × 256 on.
        """
        try:
            if os.getpid() != self._owner:  # a fork of the service has no worker and no right to this queue
                self._num_errors += 1
                if not self._warned:
                    self._warned = True
                    warnings.warn(_FORKED, RuntimeWarning, stacklevel=2)
                return 0
            return self._queue.put(images, copy=copy)
        except Exception:
            if os.getpid() == self._owner and self._counting.acquire(timeout=0.0005):
                self._num_errors += 1
                self._counting.release()
            return 0

    # What is known

    def counts(self) -> dict[str, int]:
        """Images since this monitor was made: what became of them. At rest
        ``observed = queued + dropped_…`` and ``queued = extracted + failed + overwritten + lost``. None ever falls.

        ``unsaved`` are images that were extracted, and went with an unfinished pane when a worker died. ``errors`` are
        calls of `observe` that failed in an unforeseen way.
        """
        observed, dropped = self._queue.counts()
        words = self._queue.words()
        return {
            "observed": observed,
            "queued": words[Word.IMAGES],
            "waiting": self._queue.waiting,
            "extracted": words[Word.EXTRACTED],
            "failed": words[Word.FAILED],
            "overwritten": words[Word.OVERWRITTEN],
            "lost": words[Word.LOST],
            "unsaved": words[Word.UNSAVED],
            "errors": self._num_errors,
            **{f"dropped_{reason}": count for reason, count in sorted(dropped.items())},
        }

    @property
    def extraction_seconds(self) -> float:
        """Time that the worker has spent in the network."""
        return self._queue.word(Word.BUSY_MICROSECONDS) / 1e6

    @property
    def restarts(self) -> int:
        """How often the worker died and was started again."""
        return self._restarts

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """All alarms there are, silent ones included."""
        return tuple(Alarm(**record) for record in self._status.get("alarms", ()))

    def status(self) -> dict[str, Any]:
        """The figures of the latest windows, their limits and alarms, as plain values. Costs nothing."""
        return {**self._status, "state": self.health(), "restarts": self._restarts, "counts": self.counts()}

    def health(self) -> str:
        """``"running"``, ``"starting"``, ``"calibrating"``, ``"stale"`` (the worker hangs), ``"restarting"``,
        ``"failing"`` (it was started in vain three times, and will be again), ``"failed"`` (it will not be),
        ``"closed"``, or ``"forked"`` in a process that was forked from the one that made the monitor. For the
        troubles ``status()["error"]`` says why.
        """
        if os.getpid() != self._owner:
            return "forked"
        if self._closing.is_set():
            return "closed"
        state = str(self._status["state"])
        beat = self._queue.word(Word.BEAT) / 1000
        if state == "running" and beat and time.monotonic() - beat > _STALE:
            return "stale"
        return "failing" if self._vain >= _FAILING and state != "failed" else state

    def report(self, *, timeout: float = 60.0) -> Report:
        """The report on the latest sliding window, with its findings. Asks the worker, so not for a request path.

        Raises `EmptySide` before the first whole window, `GenmetricsError` where the worker does not run or answer.
        """
        return Report.from_json(self._ask("json", timeout))

    def report_html(self, *, timeout: float = 60.0) -> str:
        """The same as a page, rendered by the worker. Raises as `report`."""
        return self._ask("html", timeout)

    def router(self) -> Any:
        """``/healthz``, ``/metrics`` and ``/report`` as a FastAPI router. Needs the extra ``[serve]``."""
        from genmetrics_rt.monitor.router import monitor_router

        return monitor_router(self)

    def wait(self, *, timeout: float = 600.0) -> None:
        """Until the worker runs and nothing is queued: for tests and scripts. Raises `GenmetricsError` after that."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.health() in ("failed", "failing", "forked"):
                raise GenmetricsError(f"The monitor's worker failed: {self._status.get('error')}")
            waiting, words = self._queue.waiting, self._queue.words()
            settled = words[Word.EXTRACTED] + words[Word.FAILED] + words[Word.OVERWRITTEN] + words[Word.LOST]
            if self._status["state"] == "running" and not waiting and words[Word.IMAGES] <= settled:
                return
            time.sleep(0.02)
        raise GenmetricsError(f"The monitor's worker is not done after {timeout:g} seconds ({self.status()}).")

    def close(self) -> None:
        """Stop the worker, which saves its open pane, and give the memory back. May be called twice."""
        if os.getpid() != self._owner or self._closing.is_set():
            return
        self._closing.set()
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                self._tell({"id": -1, "do": "stop"})
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._thread.join(10)
        self._queue.close()
        shutil.rmtree(self._work, ignore_errors=True)
        atexit.unregister(self.close)

    # The worker

    def _ask(self, what: str, timeout: float) -> str:
        health = self.health()
        if health in ("starting", "calibrating"):
            raise EmptySide(f"The monitor is {health}: no whole window of images has come yet.")
        if health != "running":
            raise GenmetricsError(_FORKED if health == "forked" else f"The monitor's worker does not run: {health}.")
        number, answers = next(self._asked), queue.SimpleQueue[dict[str, Any]]()
        self._answers[number] = answers
        try:
            self._tell({"id": number, "do": what})
            answer = answers.get(timeout=timeout)
        except (OSError, ValueError, queue.Empty) as error:
            raise GenmetricsError(f"The monitor's worker does not answer (it is {self.health()}).") from error
        finally:
            del self._answers[number]
        if "none" in answer:
            raise EmptySide("No whole window of images has come yet: there is nothing to report.")
        return str(answer["text"])

    def _tell(self, order: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise OSError("no worker")
        with self._asking:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()

    def _supervise(self) -> None:
        """Start the worker, listen to it, and start it again when it dies."""
        pause = _BACKOFF[0]
        while not self._closing.is_set():
            began = time.monotonic()
            self._ran = False
            try:
                code = self._run_worker()
            except Exception as error:  # no memory for a process, no file handles
                self._status = {**self._status, "error": str(error)}
                code = None
            if self._closing.is_set():
                return
            if code == FATAL:
                self._status = {**self._status, "state": "failed"}
                return
            self._vain = 0 if self._ran else self._vain + 1
            self._restarts += 1
            why = self._status.get("error") or f"The worker ended with exit status {code}."
            self._status = {**self._status, "state": "restarting", "error": why}
            pause = _BACKOFF[0] if time.monotonic() - began > _BACKOFF[1] else min(2 * pause, _BACKOFF[1])
            self._closing.wait(pause)

    def _run_worker(self) -> int:
        """One life of the worker. It is no fork: it has none of the service's locks, threads or memory."""
        threads = str(self._config["threads"])
        capped = {key: threads for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        process = subprocess.Popen(
            [os.fsdecode(spawn.get_executable() or sys.executable), "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **capped},
            text=True,
            encoding="utf-8",
        )
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        with process.stdin, process.stdout:
            with contextlib.suppress(OSError):
                self._tell(self._config)
            for line in process.stdout:
                try:
                    record = json.loads(line)
                except ValueError:  # half a line, of a worker that was killed
                    continue
                self._hear(record)
            return process.wait()

    def _hear(self, record: dict[str, Any]) -> None:
        if "answer" in record:
            waiting = self._answers.get(record["answer"])
            if waiting is not None:
                waiting.put(record)
            return
        changed = record.pop("changed", ())
        if record["state"] == "running":
            self._ran, self._vain = True, 0
        self._status = {**self._status, **record}
        if changed and self._on_alarm is not None:
            for alarm in self.alarms:
                if alarm.key in changed:
                    # The service's own code: it may raise or take its time.
                    with contextlib.suppress(RuntimeError):  # no thread to be had
                        threading.Thread(target=self._on_alarm, args=(alarm,), daemon=True).start()


_FORKED = (
    "This process was forked from the one that made the monitor, and forks have no worker: nothing is observed here. "
    "Make the monitor after the fork: in the application's lifespan, or in gunicorn's post_fork."
)


def _require_writable(state: Path) -> None:
    """Raises `InputError` where the worker could keep nothing."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state):
            pass
    except OSError as error:
        raise InputError(
            f"The monitor's state cannot be kept in {state}: {error.strerror or error}. Give state= a folder that this "
            "user may write to."
        ) from error
