"""What goes wrong around a monitor: forks, signals, foreign state, a busy host, interrupted calls, mixed traffic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.monitor import limits, quality, ring
from genmetrics_rt.monitor.exposition import MonitorCollector
from genmetrics_rt.monitor.panes import StateFolder, by_hash, merge
from genmetrics_rt.monitor.ring import ImageQueue, QueueReader, Word
from tests import makers
from tests.test_monitor import ROOT, drain, feed, images, pane_of, settled


@pytest.fixture
def pair() -> Iterator[Callable[..., tuple[ImageQueue, QueueReader]]]:
    """A queue and its reader, by the options of the queue."""
    opened: list[Any] = []

    def make(**options: Any) -> tuple[ImageQueue, QueueReader]:
        settings = {"size": 1 << 20, "max_images": 500, "when_full": "drop_newest", "sampling": 1.0, "seed": 0}
        writer = ImageQueue(**{**settings, **options})
        reader = QueueReader(writer.name, writer.size)
        opened.extend((reader, writer))
        return writer, reader

    yield make
    for one in opened:
        one.close()


# The queue


@pytest.mark.parametrize("size", [8, 32, 64])
def test_under_overload_the_policy_sample_spreads_what_it_takes(pair: Any, size: int) -> None:
    """Five offered for four taken out: of each hundred offered about as many are taken, whatever their size."""
    writer, reader = pair(size=32 << 20, max_images=500, when_full="sample")
    picture, taken, out = images(1, size=size), [], 0
    for number in range(6_000):
        taken.append(writer.put(picture))
        while out < 0.8 * number:
            reader.take()
            out += 1
    shares = np.array(taken[3_000:]).reshape(-1, 100).mean(axis=1)
    assert shares.min() > 0.6 and shares.max() < 0.97


@pytest.mark.parametrize("policy", ["drop_newest", "sample"])
def test_small_images_find_the_room_beside_large_ones(pair: Any, policy: str) -> None:
    writer, reader = pair(size=32 << 20, max_images=500, when_full=policy)
    for _ in range(2):
        assert writer.put(images(1, 1, size=1024)) == 1
    assert sum(writer.put(images(1, 2, size=32)) for _ in range(50)) == 50
    assert [batch.shape[1] for batch in drain(reader)] == [1024] * 2 + [32] * 50
    assert (
        writer.put(images(1, 3, size=1024)) == 1 and writer._mapped.words[Word.RESERVED] > writer.size
    )  # to the front


def test_a_copy_that_was_interrupted_is_given_up(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's exception between reserving and publishing leaves a record that never comes."""
    writer, reader = pair(size=1 << 16)
    assert writer._reserve((1, 8, 8, 3), 192, 1) is not None
    assert writer.put(images(2, 5)) == 2 and drain(reader) == []  # the reader waits for the first
    monkeypatch.setattr(ring, "_ABANDONED", 0.0)
    (batch,) = drain(reader)
    assert len(batch) == 2 and (batch == 5).all() and reader[Word.OVERWRITTEN] == 1
    taken = 0
    while taken < 3 * (1 << 16):  # and its room is used again
        taken += 192 * writer.put(images(1, 6))
        drain(reader)


def test_a_handler_that_observes_in_the_middle_of_a_call_waits_for_nobody(pair: Any) -> None:
    writer, _ = pair()
    with writer._lock:
        assert writer.put(images(1)) == 0
    assert writer.put(images(1)) == 1 and writer.counts() == (2, {"busy": 1})


def test_a_lock_that_is_held_for_ever_stops_neither_counting_nor_closing() -> None:
    writer = ImageQueue(size=1 << 16, max_images=100, when_full="sample", sampling=1.0, seed=0)
    writer.put(images(3))
    thread = threading.Thread(target=writer._lock.acquire)
    thread.start()
    thread.join()
    assert writer.put(images(1)) == 0 and writer.counts()[0] == 3
    writer.close()
    assert writer.word(Word.IMAGES) == 3  # what it was is still known


# Rows and limits


def test_images_that_come_again_and_again_are_kept_by_their_share() -> None:
    shares = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(2_000, 6)).astype(np.float32)
        rows[:200] = rng.normal(size=6)
        panes = [pane_of(rows[start::10]) for start in range(10)]
        kept = merge(panes, max_rows=800).rows
        shares.append((kept == rows[0]).all(axis=1).mean())
    assert 0.09 < np.mean(shares) < 0.11 and np.max(shares) < 0.15 and np.min(shares) > 0.05


def test_the_order_by_hash_does_not_depend_on_that_of_equal_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 3)).astype(np.float32)[rng.integers(0, 50, 200)]
    shuffled = rows[rng.permutation(200)]
    assert np.array_equal(rows[by_hash(rows)], shuffled[by_hash(shuffled)])
    assert by_hash(rows[:0]).shape == (0,)


def test_a_share_that_is_always_one_has_a_margin() -> None:
    level = limits.level_of_each(1e-3, 12, 10)
    limit = limits.limit_of_windows(np.ones(100), sign=-1, share=0.25, level=level, step=1 / 100)
    assert 0.94 < limit.raise_at < 0.97 and not limit.beyond(0.97) and limit.beyond(0.93)


# The state


def test_a_pane_of_other_settings_is_not_taken_up(tiny: Path, tmp_path: Path) -> None:
    """A service that ended before its first whole pane leaves an open one; then its window is changed."""
    options: dict[str, Any] = {"extractor": tiny, "when_full": "drop_newest", "state": tmp_path / "state"}
    with gm.QualityMonitor(makers.pictures(240), window=400, panes=4, **options) as monitor:
        feed(monitor, makers.pictures(60, seed=2))
    assert (tmp_path / "state" / "open.npz").exists() and not (tmp_path / "state" / "state.json").exists()
    with gm.QualityMonitor(makers.pictures(240), window=80, panes=4, **options) as monitor:
        feed(monitor, makers.pictures(30, seed=3))
        status = settled(monitor, 1)
        assert status["images_in_panes"] == 20 and monitor.counts()["extracted"] == 30


def test_a_state_that_cannot_be_kept_is_an_error_of_the_constructor(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(gm.InputError, match="state cannot be kept"):
        gm.QualityMonitor(makers.pictures(240), extractor=tiny, window=80, panes=4, state=tmp_path / "file" / "state")


def test_panes_stay_for_those_who_read_while_the_window_moves_on(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    pane = pane_of(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))
    for number in range(6):
        record = {"identity": "x", "panes": list(range(max(0, number - 1), number + 1))}
        before = folder.load()
        folder.save(record, {number: pane})
        assert len(folder.panes(before.get("panes", []))) == min(number, 2)  # read just before
    assert len(list(tmp_path.glob("pane-*.npz"))) == 3


def test_a_copy_that_lacks_a_pane_is_told_without_bad_advice(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"identity": "x", "panes": [3]}))
    with pytest.raises(gm.UnreadableInput, match=r"not all there.*try again"):
        gm.merge_replicas([tmp_path])


def test_a_full_disk_costs_no_image(tiny: Path, tmp_path: Path) -> None:
    """What cannot be written is kept and written the next time; meanwhile the status says so."""
    state = tmp_path / "state"
    with gm.QualityMonitor(
        makers.pictures(240), extractor=tiny, window=80, panes=4, when_full="drop_newest", state=state
    ) as monitor:
        monitor.wait(timeout=120)
        for number in range(4):  # nothing can be put in the place of a folder
            (state / f"pane-{number:08d}.npz").mkdir()
        feed(monitor, makers.pictures(20, seed=2))
        assert "cannot be saved" in settled(monitor, 1)["error"]
        for number in range(4):
            (state / f"pane-{number:08d}.npz").rmdir()
        feed(monitor, makers.pictures(20, seed=3))
        status = settled(monitor, 2)
        assert status["error"] is None and status["restarts"] == 0 and status["images_in_panes"] == 40
        assert len(list(state.glob("pane-*.npz"))) == 2


# The service around it


def test_counters_never_fall(tiny: Path) -> None:
    with gm.QualityMonitor(
        makers.pictures(240), extractor=tiny, window=80, panes=4, when_full="drop_newest", queue_images=1_000
    ) as monitor:
        feed(monitor, makers.pictures(50, seed=2))
        before = monitor.counts()
        os.kill(settled(monitor, 2)["worker"], signal.SIGKILL)
        while monitor.restarts == 0:
            time.sleep(0.02)
        monitor.wait(timeout=120)
        after = monitor.counts()
    closed = monitor.counts()
    for key in set(before) - {"waiting"}:
        assert before[key] <= after[key] <= closed[key], key
    assert after["unsaved"] == 10 and closed["observed"] == closed["queued"] == 50


def test_a_signal_to_the_whole_group_is_for_the_service_alone(tiny: Path) -> None:
    with gm.QualityMonitor(makers.pictures(240), extractor=tiny, window=80, panes=4) as monitor:
        monitor.wait(timeout=120)
        worker = monitor.status()["worker"]
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker, number)
        time.sleep(0.3)
        feed(monitor, makers.pictures(20, seed=2))
        assert settled(monitor, 1)["worker"] == worker and monitor.restarts == 0


FORKED = """
import os, sys, time, warnings
import genmetrics_rt as gm
from tests import makers
warnings.simplefilter("ignore", DeprecationWarning)
monitor = gm.QualityMonitor(makers.pictures(240), extractor=sys.argv[1], window=80, panes=4)
monitor.wait()
child = os.fork()
if child == 0:
    monitor.observe(makers.pictures(3))
    monitor.observe(makers.pictures(3))
    begun = time.monotonic()
    try:
        monitor.report()
    except gm.GenmetricsError as error:
        print(monitor.health(), "after the fork" in str(error), time.monotonic() - begun < 1, flush=True)
    os._exit(0)
os.waitpid(child, 0)
monitor.close()
"""


def test_a_fork_says_that_it_is_blind(tiny: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tiny)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.stdout.split() == ["forked", "True", "True"], done.stderr
    assert done.stderr.count("nothing is observed here") == 1


SERVED = """
import sys
sys.path.insert(0, sys.argv[2])
import genmetrics_rt as gm
from tests import makers
monitor = gm.QualityMonitor(makers.pictures(240), extractor=sys.argv[1], window=80, panes=4)
monitor.wait(timeout=100)
print(monitor.health(), monitor.restarts)
monitor.close()
"""


def test_the_worker_imports_nothing_from_the_folder_of_the_service(tiny: Path, tmp_path: Path) -> None:
    for name in ("queue", "json", "shutil", "genmetrics_rt"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of a stranger')")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text(SERVED)
    done = subprocess.run(
        [sys.executable, tmp_path / "app" / "main.py", str(tiny), str(ROOT)],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["running", "0"], done.stderr


def test_what_is_no_whole_line_is_passed_over(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "_START", """print('{"state": "runn', flush=True); """ + quality._START)
    with gm.QualityMonitor(makers.pictures(240), extractor=tiny, window=80, panes=4) as monitor:
        monitor.wait(timeout=120)
        assert monitor.health() == "running" and monitor.restarts == 0


def test_reports_take_one_thread_of_the_host_at_most(tiny: Path) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    with gm.QualityMonitor(makers.pictures(240), extractor=tiny, window=80, panes=4, queue_images=1_000) as monitor:
        app = FastAPI()
        app.include_router(monitor.router())
        client = TestClient(app)
        early = client.get("/report")  # while it starts or calibrates: at once
        assert early.status_code == 503 and early.elapsed.total_seconds() < 1
        monitor.wait(timeout=120)
        feed(monitor, makers.pictures(80, seed=2))
        worker = settled(monitor, 4)["worker"]
        os.kill(worker, signal.SIGSTOP)
        found: list[int] = []
        asking = threading.Thread(target=lambda: found.append(client.get("/report").status_code))
        asking.start()
        time.sleep(0.5)
        assert client.get("/report").json()["detail"] == "Another report is being made."
        assert client.get("/healthz").status_code == 200
        os.kill(worker, signal.SIGCONT)
        asking.join()
        assert found == [200]


def test_several_monitors_in_one_collector(tiny: Path) -> None:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    options: dict[str, Any] = {"extractor": tiny, "window": 80, "panes": 4}
    with (
        gm.QualityMonitor(makers.pictures(240), name="faces", **options) as faces,
        gm.QualityMonitor(makers.pictures(240), name="cars", **options) as cars,
    ):
        cars.wait(timeout=120)
        cars.observe(images(3))
        registry = CollectorRegistry()
        registry.register(MonitorCollector(faces, cars))
        text = generate_latest(registry).decode()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(names) == len(set(names))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    observed = {sample.labels["stream"]: sample.value for sample in families["genmetrics_images_observed"].samples}
    assert observed == {"faces": 0, "cars": 3}
