"""The worker: a process of its own at low priority that turns queued images into features, panes, scores and alarms.

It is told what to do by lines of JSON on standard input and answers by lines of JSON; what it has to keep lies in the
state folder. When its parent goes, standard input ends and it goes too, at once.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import numpy as np

from genmetrics_rt.arrays import FeatureArray, FloatArray, ImageArray
from genmetrics_rt.diagnosis.traits import traits_of
from genmetrics_rt.errors import GenmetricsError, InputError
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.monitor.alarms import Alarm, Alarms
from genmetrics_rt.monitor.judging import Judge, Sizes, traits_per_pane, traits_table
from genmetrics_rt.monitor.panes import TRAITS, OpenPane, Pane, StateFolder, merge
from genmetrics_rt.monitor.ring import QueueReader, Word
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import Report
from genmetrics_rt.sources import ArraySource

# What the state folder holds beside the panes: enough to judge windows without the service.
_SIDES = ("reference.npz", "healthy.npz", "reference_traits.npy", "healthy_traits.npy")
_SETTINGS = ("identity", "window", "panes", "max_rows", "metrics", "false_alarms", "seed")
FATAL = 78  # exit status: starting again would not help (EX_CONFIG)
_LAST = 5.0  # seconds for an end in peace, once the service is gone
_IDLE = (0.005, 0.05)  # seconds between looks at an empty queue, shortest and longest

Orders: TypeAlias = "queue.SimpleQueue[dict[str, Any]]"


class Worker:
    """The loop and what it holds."""

    def __init__(
        self,
        config: dict[str, Any],
        out: TextIO,
        orders: Orders,
        ready: threading.Event,
    ) -> None:
        self._out, self._orders = out, orders
        self._config = config
        self._queue = QueueReader(config["queue"], config["queue_bytes"], config["passed_over"])
        self._sizes = Sizes(config["window"], config["panes"], config["max_rows"])
        self._folder = StateFolder(Path(config["state"]))
        self._lock = _locked(self._folder.root)
        self._say({"state": "starting"})
        self._extractor = FeatureExtractor(
            config["extractor"],
            protocol=config["protocol"],
            tap=config["tap"],
            device=config["device"],
            backend=config["backend"],
            precision=config["precision"],
            threads=config["threads"],
        )
        self._judge = self._open_judge()
        self._alarms = Alarms(panes=self._sizes.panes)
        self._panes: list[Pane] = []
        self._numbers: list[int] = []
        self._unsaved: dict[int, Pane] = {}  # panes that could not be written
        self._sealed = 0  # images in finished panes that came through this queue
        self._next, self._windows = 0, 0
        self._before = 0  # images in finished panes that came through earlier queues
        self._carried = 0  # of those in the open pane
        self._report: Report | None = None
        self._trouble: str | None = None  # what does not work just now
        self._scores: dict[str, dict[str, Any]] = {}
        self._open = OpenPane(time.time())
        ready.set()  # from here on there is something to save
        self._restore()
        gc.collect()
        gc.freeze()  # what is here stays, so that looking for what can go costs next to nothing
        self._say(self._status())

    def _open_judge(self) -> Judge:
        """The judge with its limits: from the folder if they are those of this reference, else from healthy windows."""
        config, folder = self._config, self._folder
        kept = folder.load("settings.json")
        if kept.get("identity") != config["identity"]:
            if folder.load():
                raise InputError(
                    f"The state in {folder.root} belongs to another reference, extractor or window. Give another "
                    "folder, or remove it."
                )
            folder.drop_open()  # of some images, and no finished pane
            for name in _SIDES:
                given = Path(config["work"]) / name
                (folder.root / name).unlink(missing_ok=True)
                if given.exists():
                    folder.save_file(name, given.read_bytes())
            kept = {key: config[key] for key in _SETTINGS}
            folder.save_file("settings.json", json.dumps(kept).encode())
        judge = judge_of_folder(folder.root)
        if (judge.extractor.numeric_id, judge.extractor.protocol) != (
            self._extractor.summary.numeric_id,
            self._extractor.summary.protocol,
        ):
            Reference.load(folder.root / _SIDES[0]).require_same_features(self._extractor.summary)
        if not judge.is_calibrated:
            self._say({"state": "calibrating"})
            folder.save_file("limits.json", json.dumps({"identity": config["identity"], **judge.to_record()}).encode())
        judge.forget_healthy()
        return judge

    def _restore(self) -> None:
        """Take up what the folder holds, and settle what a worker before this one had under way."""
        record = self._folder.load()
        words = self._queue
        if record:
            self._numbers, self._next, self._windows = list(record["panes"]), record["next"], record["windows"]
            try:
                self._panes = self._folder.panes(self._numbers)
            except FileNotFoundError as error:
                raise InputError(
                    f"The monitor's state in {self._folder.root} lacks a pane ({error}), so it is no whole copy. Give "
                    "another folder, or remove it."
                ) from error
            self._alarms.restore(record["alarms"])
            self._scores = record["scores"]
            same = record["queue"] == self._config["queue"]
            self._sealed = record["sealed"] if same else 0
            words[Word.SEALED] = self._sealed
            self._before = record["before"] + (0 if same else record["sealed"])
        kept = self._folder.take_open()
        if kept is not None:
            self._open = OpenPane(kept.started)
            self._open.add(kept.rows, kept.logits, kept.traits)
            self._carried = self._open.num_images
        told = words[Word.EXTRACTED] + words[Word.FAILED] + words[Word.OVERWRITTEN] + words[Word.LOST]
        words[Word.LOST] += max(0, words[Word.TAKEN] - told)
        words[Word.UNSAVED] += max(0, words[Word.EXTRACTED] - words[Word.UNSAVED] - words[Word.SEALED])
        if len(self._panes) == self._sizes.panes:
            try:
                self._report = self._judge.judge(self._window())[1]
            except Exception as error:
                _complain(f"the window of before could not be judged: {error!r}")

    def run(self) -> None:
        """Until it is told to stop."""
        pause = _IDLE[0]
        while True:
            self._queue[Word.BEAT] = time.monotonic_ns() // 1_000_000
            while not self._orders.empty():
                if not self._obey(self._orders.get()):
                    return
            waiting = self._take()
            if not waiting:
                time.sleep(pause)
                pause = min(2 * pause, _IDLE[1])
                continue
            pause = _IDLE[0]
            for images in joined(waiting):
                for start in range(0, len(images), self._extractor.batch_size):
                    self._take_in(images[start : start + self._extractor.batch_size])

    def _take(self) -> list[ImageArray]:
        """What waits, as far as it fills a batch of the network: one image costs it as much as a batch."""
        taken: list[ImageArray] = []
        while sum(map(len, taken)) < self._extractor.batch_size and (images := self._queue.take()) is not None:
            taken.append(images)
        return taken

    # Orders

    def _obey(self, order: dict[str, Any]) -> bool:
        """Do what a line says; False to stop."""
        answer: dict[str, Any] = {"answer": order["id"]}
        if order["do"] == "stop":
            if self._open.num_images >= 2:
                self._folder.save_open(self._open.finish(time.time(), max_rows=self._open.num_images))
            return False
        if self._report is None:
            answer["none"] = True
        elif order["do"] == "html":
            answer["text"] = self._report.to_html()
        else:
            answer["text"] = self._report.to_json()
        self._say(answer)
        return True

    def _say(self, record: dict[str, Any]) -> None:
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()

    # Images

    def _take_in(self, images: ImageArray) -> None:
        start = time.monotonic_ns()
        images = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
        try:
            found = [self._extracted(images)]
        except Exception:  # one image of the batch, perhaps: the others count
            found = []
            for row in range(len(images)):
                try:
                    found.append(self._extracted(images[row : row + 1]))
                except Exception as error:
                    if not self._queue[Word.FAILED]:
                        _complain(f"an image could not be used: {error}")
                    self._queue[Word.FAILED] += 1
        self._queue[Word.BUSY_MICROSECONDS] += (time.monotonic_ns() - start) // 1000
        for rows, logits, traits in found:
            self._add(rows, logits, traits)

    def _extracted(self, images: ImageArray) -> tuple[FeatureArray, FeatureArray | None, FloatArray]:
        """Features, logits, and the traits of some of the images. Raises for features that are no numbers."""
        rows, logits = self._extractor(images)
        if not np.isfinite(rows).all() or (logits is not None and not np.isfinite(logits).all()):
            raise InputError("the network answers NaN or infinity")
        every = max(1, self._sizes.pane // traits_per_pane(self._sizes))
        at = self._open.num_images
        chosen = [row for row in range(len(images)) if (at + row) % every == 0]
        if not chosen:
            return rows, logits, np.empty((0, len(TRAITS)))
        source = ArraySource(images[chosen])
        return rows, logits, traits_table(traits_of(source, sample=len(chosen), threads=1))

    def _add(self, rows: FeatureArray, logits: FeatureArray | None, traits: FloatArray) -> None:
        """Into the open pane; what is too much for it begins the next."""
        while len(rows):
            room = self._sizes.pane - self._open.num_images
            self._open.add(rows[:room], None if logits is None else logits[:room], traits)
            self._queue[Word.EXTRACTED] += min(room, len(rows))
            rows, traits = rows[room:], traits[:0]
            logits = None if logits is None else logits[room:]
            if self._open.num_images == self._sizes.pane:
                self._seal()

    def _seal(self) -> None:
        """Finish the pane, judge the window that it ends, save both, and tell."""
        sizes = self._sizes
        pane = self._open.finish(time.time(), max_rows=sizes.max_rows)
        number = self._next
        self._panes, self._numbers = [*self._panes, pane][-sizes.panes :], [*self._numbers, number][-sizes.panes :]
        self._next += 1
        changed: list[Alarm] = []
        if len(self._panes) == sizes.panes:
            try:
                changed = self._judge_window(pane.ended)
            except Exception as error:  # a score that fails must not cost the images, nor this process
                _complain(f"a window could not be judged: {error!r}")
        self._sealed += pane.num_images - self._carried
        self._before, self._carried = self._before + self._carried, 0
        self._unsaved[number] = pane
        self._save()
        self._open = OpenPane(time.time())
        gc.collect()  # evidence and its cached properties refer to each other, and hold features meanwhile
        self._say(self._status() | {"changed": [alarm.key for alarm in changed]})

    def _save(self) -> None:
        """Panes and figures to the folder; what cannot be written now is kept for the next time."""
        self._unsaved = {number: pane for number, pane in self._unsaved.items() if number in self._numbers}
        record = {
            "identity": self._config["identity"],
            "queue": self._config["queue"],
            "panes": self._numbers,
            "next": self._next,
            "windows": self._windows,
            "sealed": self._sealed,
            "before": self._before,
            "alarms": self._alarms.to_records(),
            "scores": self._scores,
        }
        try:
            self._folder.save(record, self._unsaved)
        except OSError as error:  # a full disk must not cost the images that are still to come
            self._trouble = f"The state cannot be saved in {self._folder.root}: {error.strerror or error}."
            _complain(self._trouble)
            return
        self._unsaved, self._trouble = {}, None
        self._queue[Word.SEALED] = self._sealed

    def _judge_window(self, ended: float) -> list[Alarm]:
        """Score the window that ends here; the alarms that begin or end with it."""
        window = self._window()
        values, self._report = self._judge.judge(window)
        claims = {f.key: f.claim for f in self._report.findings if f.severity in ("problem", "warning")}
        shown = {
            "values": {key: value for key, value in values.items() if not key.endswith(("_low", "_high"))},
            "num_images": window.num_images,
            "ended": ended,
            "findings": claims,
        }
        self._scores["sliding"] = shown
        if self._next % self._sizes.panes == 0:
            self._scores["tumbling"] = shown
            self._windows += 1
        return self._alarms.judge(values, self._judge.limits, claims, self._judge.usual, ended)

    def _window(self) -> Pane:
        return merge(self._panes, max_rows=self._sizes.max_rows)

    def _status(self) -> dict[str, Any]:
        limits = self._judge.limits
        return {
            "state": "running",
            "error": self._trouble,
            "worker": os.getpid(),
            "panes": len(self._panes),
            "finished_panes": self._next,
            "tumbling_windows": self._windows,
            "images_in_panes": self._before + self._sealed,
            "scores": self._scores,
            "limits": {key: limit.raise_at for key, limit in limits.items()},
            "healthy": {key: limit.healthy for key, limit in limits.items()},
            "usual_findings": sorted(self._judge.usual),
            "alarms": self._alarms.to_records(),
            "extractor": self._extractor.summary.name,
            "rows": self._judge.rows,
        }


def _complain(text: str) -> None:
    print(f"genmetrics monitor: {text}", file=sys.stderr, flush=True)


def joined(records: Sequence[ImageArray]) -> list[ImageArray]:
    """Arrays (N, H, W, C) in their order, neighbours of one shape as one."""
    groups = itertools.groupby(records, key=lambda images: images.shape[1:])
    return [np.concatenate(list(group)) for _, group in groups]


def judge_of_folder(root: Path) -> Judge:
    """The judge of a state folder, with the limits that lie there. Needs no network."""
    folder = StateFolder(root)
    settings = folder.load("settings.json")
    reference = Reference.load(root / "reference.npz")
    healthy = Reference.load(root / "healthy.npz") if (root / "healthy.npz").exists() else None
    if healthy is not None:
        healthy.require_same_features(reference.extractor)
    judge = Judge(
        reference,
        None if healthy is None else healthy.features,
        Sizes(settings["window"], settings["panes"], settings["max_rows"]),
        metrics=settings["metrics"],
        reference_traits=_traits(root / "reference_traits.npy"),
        healthy_traits=_traits(root / ("healthy_traits.npy" if healthy else "reference_traits.npy")),
        false_alarms=settings["false_alarms"],
        seed=settings["seed"],
    )
    limits = folder.load("limits.json")
    if limits.get("identity") == settings["identity"]:
        judge.restore(limits)
    return judge


def _traits(path: Path) -> FloatArray | None:
    if not path.exists():
        return None
    table: FloatArray = np.load(path, allow_pickle=False)
    return table


def _locked(root: Path) -> Any:
    """Hold the folder for this process: two that write would destroy each other's state."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = open(root / "lock", "w")
    for _ in range(50):  # the worker of a service that was killed just now goes within half a second
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            time.sleep(0.1)
    raise _InUse(f"{root} is in use by another monitor. Give each replica a state folder of its own.")


class _InUse(InputError):
    """The folder is held by another process, which may be about to end."""


def _listen(orders: Orders, ready: threading.Event, config: dict[str, Any]) -> None:
    """Pass on the lines of standard input; go when it ends, or at once where there is nothing yet to save."""
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "stop" and not ready.is_set():
            break
        orders.put(order)
    _go(orders, ready, config)


def _watch(parent: int, orders: Orders, ready: threading.Event, config: dict[str, Any]) -> None:
    """Go when the parent has gone, even if somebody else holds the other end of standard input."""
    while os.getppid() == parent:
        time.sleep(0.5)
    _go(orders, ready, config)


def _go(orders: Orders, ready: threading.Event, config: dict[str, Any]) -> None:
    """The end; with time to save the open pane, if there is one."""
    if ready.is_set():
        orders.put({"id": -1, "do": "stop"})
        time.sleep(_LAST)
    shutil.rmtree(config["work"], ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Entry point of the process."""
    parent = os.getppid()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not get between the lines
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which then stops us in peace
        signal.signal(number, signal.SIG_IGN)
    config = json.loads(sys.stdin.readline())
    if hasattr(os, "nice"):
        os.nice(config["nice"])
    orders: Orders = queue.SimpleQueue()
    ready = threading.Event()
    threading.Thread(target=_listen, args=(orders, ready, config), daemon=True).start()
    threading.Thread(target=_watch, args=(parent, orders, ready, config), daemon=True).start()
    try:
        worker = Worker(config, out, orders, ready)
        worker.run()
    except Exception as error:
        fatal = isinstance(error, GenmetricsError) and not isinstance(error, _InUse)
        told = str(error) if isinstance(error, GenmetricsError) else f"{type(error).__name__}: {error}"
        _complain(told)
        out.write(json.dumps({"state": "failed" if fatal else "restarting", "error": told}) + "\n")
        out.flush()
        os._exit(FATAL if fatal else 1)
    if os.getppid() != parent:
        shutil.rmtree(config["work"], ignore_errors=True)
    os._exit(0)  # without waiting for threads that listen
