"""The monitor of a service: nothing is lost without being counted, nothing counted twice, and alarms that mean it."""

from __future__ import annotations

import asyncio
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
from genmetrics_rt.features import Features
from genmetrics_rt.monitor import limits
from genmetrics_rt.monitor.alarms import Alarms
from genmetrics_rt.monitor.judging import Judge, Sizes
from genmetrics_rt.monitor.panes import OpenPane, Pane, StateFolder, by_hash, merge
from genmetrics_rt.monitor.ring import BYTES_PER_CALL, ImageQueue, QueueReader, Word
from genmetrics_rt.monitor.worker import judge_of_folder
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import ExtractorSummary, SideSummary
from tests import faults, makers

ROOT = Path(__file__).parents[1]
SIZE = 1 << 16


def images(count: int, value: int = 0, size: int = 8) -> np.ndarray:
    return np.full((count, size, size, 3), value, np.uint8)


# The queue


@pytest.fixture
def pair() -> Iterator[Callable[..., tuple[ImageQueue, QueueReader]]]:
    """A queue and its reader, by the options of the queue."""
    opened: list[Any] = []

    def make(**options: Any) -> tuple[ImageQueue, QueueReader]:
        settings = {
            "size": SIZE,
            "max_images": 1 << 20,
            "when_full": "drop_newest",
            "sampling": 1.0,
            "seed": 0,
            **options,
        }
        writer = ImageQueue(**settings)
        passed_over = settings["max_images"] if settings["when_full"] == "drop_oldest" else None
        reader = QueueReader(writer.name, settings["size"], passed_over)
        opened.extend((reader, writer))
        return writer, reader

    yield make
    for one in opened:
        one.close()


def drain(reader: QueueReader) -> list[np.ndarray]:
    found = []
    while (batch := reader.take()) is not None:
        found.append(batch)
    return found


def test_the_queue_gives_back_what_was_put_in(pair: Any) -> None:
    writer, reader = pair()
    rng = np.random.default_rng(0)
    for _ in range(200):  # round and round
        batch = rng.integers(0, 256, (int(rng.integers(1, 9)), 11, 7, 3), dtype=np.uint8)
        assert writer.put(batch) == len(batch)
        np.testing.assert_array_equal(reader.take(), batch)
    assert reader.take() is None and writer.waiting == 0
    grey = rng.integers(0, 256, (5, 9, 4), dtype=np.uint8)
    assert writer.put(grey) == 5 and writer.put(grey[0][..., None].repeat(3, -1)) == 1  # grey (N, H, W); one (H, W, 3)
    assert [batch.shape for batch in drain(reader)] == [(5, 9, 4, 1), (1, 9, 4, 3)]
    assert writer.put(batch[:, ::2, ::-1]) == len(batch)  # no copy is asked of the caller
    np.testing.assert_array_equal(reader.take(), batch[:, ::2, ::-1])


def test_a_full_queue_drops_the_newest_or_the_oldest(pair: Any) -> None:
    fits = SIZE // images(1, size=16).nbytes
    writer, reader = pair()
    for value in range(fits + 10):
        writer.put(images(1, value, size=16))
    assert [int(batch[0, 0, 0, 0]) for batch in drain(reader)] == list(range(fits))
    assert writer.counts() == (fits + 10, {"queue_full": 10})

    writer, reader = pair(when_full="drop_oldest")
    for value in range(fits + 10):
        writer.put(images(1, value, size=16))
    assert [int(batch[0, 0, 0, 0]) for batch in drain(reader)] == list(range(10, fits + 10))
    assert writer.counts() == (fits + 10, {})
    assert reader[Word.OVERWRITTEN] == 10 and reader[Word.TAKEN] == fits + 10
    for _ in range(10_000):  # more records than entries
        writer.put(images(1, 5, size=1))
    assert len(drain(reader)) == 4096 and reader[Word.TAKEN] == fits + 10_010


def test_no_more_images_wait_than_were_allowed(pair: Any) -> None:
    writer, reader = pair(max_images=10)
    assert [writer.put(images(4, value)) for value in range(4)] == [4, 4, 0, 0]
    assert writer.counts() == (16, {"queue_full": 8}) and writer.waiting == 8
    assert len(drain(reader)) == 2 and writer.put(images(30)) == 10  # a part of a call that brings more
    writer, reader = pair(max_images=10, when_full="drop_oldest")
    assert [writer.put(images(4, value)) for value in range(9)] == [4] * 9
    assert [int(batch.flat[0]) for batch in drain(reader)] == [7, 8]
    assert reader[Word.OVERWRITTEN] == 28 and reader[Word.TAKEN] == 36
    writer, reader = pair(max_images=10, when_full="sample")
    assert 5 <= sum(writer.put(images(1)) for _ in range(100)) <= 10


def test_the_policy_sample_takes_fewer_the_fuller_it_is(pair: Any) -> None:
    writer, _ = pair(when_full="sample")
    taken = [writer.put(images(1)) for _ in range(3 * SIZE // images(1).nbytes)]
    fits = SIZE // images(1).nbytes
    assert all(taken[: fits // 2]) and not all(taken[fits // 2 : fits])
    first, second = sum(taken[fits // 2 : fits]), sum(taken[fits : 3 * fits // 2])
    assert first > second > 0  # no cliff
    seen, dropped = writer.counts()
    assert seen == len(taken) == sum(taken) + sum(dropped.values())


def test_sampling_takes_a_random_share(pair: Any) -> None:
    writer, reader = pair(size=1 << 20, sampling=0.25)
    marked = np.zeros((200, 4, 4, 3), np.uint8) + np.arange(200, dtype=np.uint8)[:, None, None, None]
    taken = writer.put(marked)
    assert 25 <= taken <= 75
    values = reader.take()[:, 0, 0, 0]
    assert len(values) == taken and len(np.unique(values)) == taken and values.max() > 150
    assert writer.counts() == (200, {"sampled_out": 200 - taken})


def test_a_call_copies_no_more_than_a_request_can_spare(pair: Any) -> None:
    writer, reader = pair(size=16 << 20)
    large = np.zeros((40, 512, 512, 3), np.uint8)
    assert writer.put(large) == BYTES_PER_CALL // large[0].nbytes
    assert writer.put(np.zeros((1, 4096, 4096, 3), np.uint8)) == 0
    assert writer.counts() == (41, {"sampled_out": 40 - BYTES_PER_CALL // large[0].nbytes, "too_large": 1})
    assert len(drain(reader)) == 1


class Broken:
    """What says that it is an array, and is none."""

    __array_interface__ = 7

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no")


HOSTILE = (
    None,
    "images",
    7,
    [[1, 2], [3]],
    [],
    b"1234",
    object(),
    Broken(),
    np.zeros((2, 8, 8, 3), np.float32),
    np.zeros((2, 8, 8, 3), np.uint16),
    np.zeros((2, 3, 8, 8), np.uint8),
    np.zeros((2, 8, 8, 4), np.uint8),
    np.zeros((2, 0, 8, 3), np.uint8),
    np.zeros((0, 8, 8, 3), np.uint8),
    np.zeros((8, 8), np.uint8),
    np.zeros(3, np.uint8),
    np.uint8(3),
    np.zeros((2, 8, 8, 3), object),
    np.broadcast_to(np.uint8(1), (1, 1 << 16, 1 << 16, 3)),
)


def test_several_threads_lose_no_image_and_tear_none(pair: Any) -> None:
    """Each thread writes its own number; a torn record would hold two."""
    for policy in ("drop_newest", "drop_oldest", "sample"):
        writer, reader = pair(size=1 << 18, when_full=policy)
        taken = []

        def serve(value: int, writer: ImageQueue = writer, taken: list[int] = taken) -> None:
            taken.append(sum(writer.put(images(3, value, size=24)) for _ in range(300)))

        threads = [threading.Thread(target=serve, args=(value,)) for value in range(32)]
        for thread in threads:
            thread.start()
        read = []
        while any(thread.is_alive() for thread in threads):
            read += drain(reader)
        for thread in threads:
            thread.join()
        read += drain(reader)
        assert all((batch == batch.flat[0]).all() for batch in read)
        seen, dropped = writer.counts()
        assert seen == 32 * 300 * 3 == sum(taken) + sum(dropped.values())
        assert sum(map(len, read)) + reader[Word.OVERWRITTEN] == sum(taken)


def test_images_that_nobody_changes_are_copied_by_a_thread_of_the_queue(pair: Any) -> None:
    """The same records and the same counts, by 16 threads at once; here the reader sets the pace."""
    writer, reader = pair(size=1 << 18, when_full="drop_newest")
    known = [images(3, value, size=24) for value in range(16)]

    def serve(value: int) -> None:
        for _ in range(200):
            writer.put(known[value], copy=False)

    threads = [threading.Thread(target=serve, args=(value,)) for value in range(16)]
    for thread in threads:
        thread.start()
    read = []
    while writer.waiting or any(thread.is_alive() for thread in threads):
        read += drain(reader)
    assert all((batch == batch.flat[0]).all() for batch in read)
    seen, dropped = writer.counts()
    assert seen == 16 * 200 * 3 == sum(map(len, read)) + sum(dropped.values())
    assert set(dropped) <= {"queue_full", "busy"}


def test_calls_that_wait_for_the_copying_thread_are_bounded(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = pair()
    started, free = threading.Event(), threading.Event()
    copy_in = writer._copy_in

    def slowly(chosen: Any) -> int:
        started.set()
        free.wait(30)
        return copy_in(chosen)

    monkeypatch.setattr(writer, "_copy_in", slowly)
    assert writer.put(images(1, 0), copy=False) == 1 and started.wait(30)
    taken = [writer.put(images(1, value), copy=False) for value in range(1, 100)]
    assert taken == [1] * 15 + [0] * 84 and writer.waiting == 16
    free.set()
    while len(writer._handed):
        time.sleep(0.001)
    assert [int(batch.flat[0]) for batch in drain(reader)] == list(range(16))  # in their order
    assert writer.counts() == (100, {"queue_full": 84})


def test_no_image_passes_unseen_while_it_is_asked_who_waits(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two looks at the counters an image goes on: from the copying thread to the queue, or out of it."""
    writer, reader = pair()
    asked, free = writer.word, threading.Event()
    copy_in = writer._copy_in
    monkeypatch.setattr(writer, "_copy_in", lambda chosen: free.wait(30) and copy_in(chosen))
    writer.put(images(1), copy=False)

    def and_then(goes_on: Callable[[], object]) -> Callable[[Word], int]:
        def look(word: Word) -> int:
            seen = asked(word)
            goes_on()
            return seen

        return look

    def copied() -> None:
        free.set()
        while writer._handed:
            time.sleep(0.001)

    monkeypatch.setattr(writer, "word", and_then(copied))
    assert writer.waiting > 0
    monkeypatch.setattr(writer, "_copy_in", copy_in)

    def two_come_and_two_go() -> None:
        for _ in range(2):
            writer.put(images(1))
            reader.take()

    monkeypatch.setattr(writer, "word", and_then(two_come_and_two_go))
    assert writer.waiting > 0  # one waits all the time
    monkeypatch.undo()
    assert writer.waiting == len(drain(reader)) == 1 and writer.waiting == 0


def test_settings_that_cannot_work_are_refused(tiny: Path, tmp_path: Path) -> None:
    reference = makers.pictures(240)
    for options, word in (
        ({"window": 100, "panes": 7}, "panes"),
        ({"window": 100, "panes": 10}, "panes"),
        ({"when_full": "block"}, "drop_newest"),
        ({"sampling": 0}, "share"),
        ({"queue_bytes": 5}, "65,536"),
        ({"queue_images": 0}, "queue_images"),
        ({"false_alarms": 1.5}, "chance"),
        ({"max_rows": 3}, "max_rows"),
        ({"metrics": "fid"}, "fd"),
        ({"healthy": makers.pictures(20)}, "healthy"),
    ):
        with pytest.raises(gm.InputError, match=word):
            gm.QualityMonitor(reference, extractor=tiny, **options)
    with pytest.raises(gm.InputError, match="healthy="):
        gm.QualityMonitor(makers.pictures(50), extractor=tiny)
    with pytest.raises(gm.InputError, match="features"):
        gm.QualityMonitor(np.zeros((300, 12), np.float32), extractor=tiny)
    np.savez(tmp_path / "other.npz", mu=np.zeros(12), sigma=np.eye(12))
    with pytest.raises(gm.InputError, match="which network"):
        gm.QualityMonitor(tmp_path / "other.npz", extractor=tiny)


# Panes and replicas


def pane_of(rows: np.ndarray, *, max_rows: int = 10_000, when: float = 0.0) -> Pane:
    collected = OpenPane(when)
    collected.add(rows.astype(np.float32), None, np.empty((0, 7)))
    return collected.finish(when + 1, max_rows=max_rows)


def reference_of(rows: np.ndarray) -> Reference:
    rows = rows.astype(np.float32)
    features = Features(rows, np.arange(len(rows)), len(rows))
    extractor = ExtractorSummary("tiny", "tiny", "", "0" * 32, "tiny", rows.shape[1])
    return Reference(features, extractor, SideSummary(len(rows), "rows", content_hash=""))


def test_panes_merge_in_any_order_to_what_all_images_give() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((600, 12)) @ rng.standard_normal((12, 12)) + 50).astype(np.float32)
    panes = [pane_of(part, max_rows=90) for part in np.split(rows, 6)]
    whole = pane_of(rows, max_rows=90)
    for order in (panes, panes[::-1], panes[3:] + panes[:3]):
        window = merge(order, max_rows=90)
        np.testing.assert_allclose(window.statistics.mean, whole.statistics.mean, rtol=1e-12)
        np.testing.assert_allclose(window.statistics.covariance, whole.statistics.covariance, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(window.rows, whole.rows)  # the same sample, though each pane let rows go
    back = Pane.from_bytes(whole.to_bytes())
    np.testing.assert_array_equal(back.rows, whole.rows)
    assert back.num_images == 600 and back.statistics.num_images == 600


def test_the_hash_samples_uniformly() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((20_000, 5)).astype(np.float32)
    kept = by_hash(rows)[:5_000]
    assert np.abs(rows[kept].mean(axis=0)).max() < 5 / np.sqrt(5_000)
    assert abs(kept.mean() - 10_000) < 5 * 20_000 / np.sqrt(12 * 5_000)
    small = by_hash(np.arange(64, dtype=np.float32)[:, None])
    assert sorted(small.tolist()) == list(range(64)) and small.tolist() != list(range(64))


def feed(monitor: gm.QualityMonitor, pictures: np.ndarray, each: int = 16) -> None:
    for start in range(0, len(pictures), each):
        while monitor.observe(pictures[start : start + each]) == 0:
            time.sleep(0.01)  # the queue is full: a test may wait, a service would not
    monitor.wait(timeout=120)


def settled(monitor: gm.QualityMonitor, panes: int) -> dict[str, Any]:
    """The status once so many panes are finished."""
    end = time.monotonic() + 120
    while monitor.status().get("finished_panes", 0) < panes:
        assert time.monotonic() < end, monitor.status()
        time.sleep(0.02)
    return monitor.status()


def test_two_replicas_merged_are_one_that_saw_everything(tiny: Path, tmp_path: Path) -> None:
    reference, stream = makers.pictures(400, seed=1), makers.pictures(240, seed=2)
    options: dict[str, Any] = {
        "extractor": tiny,
        "panes": 3,
        "max_rows": 200,
        "when_full": "drop_newest",
        "queue_images": 1_000,
    }
    for name, seen in (("first", stream[::2]), ("second", stream[1::2])):
        with gm.QualityMonitor(reference, window=120, state=tmp_path / name, **options) as monitor:
            feed(monitor, seen)
            settled(monitor, 3)
    merged = gm.merge_replicas([tmp_path / "first", tmp_path / "second"])
    assert merged.generated.num_images == 240

    # One that saw everything: its judge on the features of all images.
    folder = StateFolder(tmp_path / "first")
    judge_panes = folder.panes(folder.load()["panes"])
    rows = gm.extract_features(stream, extractor=tiny).values
    judge = judge_of_folder(tmp_path / "first")
    alone = judge.judge(pane_of(rows, max_rows=200))[1]
    assert set(alone.scores) == {"fd", "kid", "precision", "recall", "density", "coverage"}
    for key, score in alone.scores.items():
        assert merged.scores[key].value == pytest.approx(score.value, abs=1e-9), key
    # An average of the scores would be another number.
    parts = [judge.judge(merge(judge_panes, max_rows=200))[1].scores["fd"].value]
    assert abs(parts[0] - alone.scores["fd"].value) > 1e-6

    with pytest.raises(gm.InputError, match="once"):
        gm.merge_replicas([tmp_path / "first", tmp_path / "first"])
    with pytest.raises(gm.InputError, match="no state"):
        gm.merge_replicas([tmp_path])
    with gm.QualityMonitor(reference[:300], window=120, state=tmp_path / "third", **options) as monitor:
        feed(monitor, stream[:120])
        settled(monitor, 3)
    with pytest.raises(gm.FeatureMismatch, match="another reference"):
        gm.merge_replicas([tmp_path / "first", tmp_path / "third"])


# Limits and alarms


def test_limits_keep_their_promise_on_skew_scores() -> None:
    """Windows of a gamma distribution (skewness 1): beyond the limit at level 1e-3 lie no more than that."""
    rng = np.random.default_rng(0)
    beyond = 0
    for _ in range(40):
        pool = rng.gamma(4.0, size=4_000)
        drawn = limits.score_windows(lambda rows, pool=pool: {"x": pool[rows].mean()}, 4_000, 400, 100, rng)["x"]
        limit = limits.limit_of_windows(drawn, sign=1, share=0.1, level=1e-3)
        beyond += sum(limit.beyond(rng.gamma(4.0, size=400).mean()) for _ in range(500))
        assert not limit.beyond(limit.healthy) and limit.within(limit.healthy) and limit.raise_at > limit.clear_at
    assert beyond <= 20 * 2
    low = limits.limit_of_mean(rng.normal(5, 1, 1_000), sign=-1, num_images=100, level=1e-3)
    assert low.beyond(4.4) and not low.beyond(4.9) and not low.beyond(9.0)


def test_alarms_have_hysteresis_and_findings_need_drift() -> None:
    limit = limits.Limit(1, raise_at=10.0, clear_at=6.0, healthy=4.0, scatter=1.0)
    alarms = Alarms(panes=2)

    def look(value: float, findings: dict[str, str] | None = None, when: float = 0.0) -> list[tuple[str, bool]]:
        changed = alarms.judge({"fd": value}, {"fd": limit}, findings or {}, {"usual_one"}, when)
        return [(alarm.key, alarm.active) for alarm in changed]

    assert look(9.9, {"blurry": "Blurry."}) == []  # a finding alone raises nothing
    assert look(10.1, {"blurry": "Blurry.", "usual_one": "As ever."}, 7.0) == [("fd", True), ("blurry", True)]
    assert next(alarm for alarm in alarms.all if alarm.key == "fd").since == 7.0
    assert look(8.0) == [] and look(8.0) == [("blurry", False)]  # between the two limits it stays
    assert look(5.0) == [] and look(float("nan")) == [] and look(5.0) == []  # not healthy twice in a row
    assert look(5.0) == [("fd", False)]
    again = Alarms(panes=2)
    again.restore(json.loads(json.dumps(alarms.to_records())))
    assert again.all == alarms.all


def stand_in(rng: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    """Features of a healthy generator: not the reference's distribution, but near it."""
    mixing = np.random.default_rng(42).standard_normal((8, 12)) / 3
    return np.tanh((rng.standard_normal((count, 8)) + 0.15 + shift) @ mixing + 0.1 * rng.standard_normal((count, 12)))


def reference_rows(rng: np.random.Generator, count: int) -> np.ndarray:
    mixing = np.random.default_rng(42).standard_normal((8, 12)) / 3
    return np.tanh(rng.standard_normal((count, 8)) @ mixing + 0.1 * rng.standard_normal((count, 12)))


def test_no_alarm_in_two_hundred_healthy_windows() -> None:
    """200 tumbling windows, looked at pane by pane as the worker does: 800 looks at each of six scores."""
    rng = np.random.default_rng(5)
    sizes = Sizes(window=160, panes=4, max_rows=160)
    healthy = reference_of(stand_in(rng, 1_500)).features
    judge = Judge(reference_of(reference_rows(rng, 300)), healthy, sizes)
    panes: list[Pane] = []
    for number in range(800):
        panes = [*panes, pane_of(stand_in(rng, 40), when=number)][-4:]
        if len(panes) == 4:
            values = judge.values(merge(panes, max_rows=160))
            beyond = {
                key: (values[key], limit.raise_at) for key, limit in judge.limits.items() if limit.beyond(values[key])
            }
            assert not beyond, (number, beyond)
    # The limits are no empty promise: a model that moved by a third of a deviation is found in one window.
    moved = judge.values(pane_of(stand_in(rng, 160, shift=0.33)))
    assert any(limit.beyond(moved[key]) for key, limit in judge.limits.items())


@pytest.mark.parametrize("fault", [faults.blur, faults.collapse])
def test_a_damaged_generator_raises_the_alarm_within_one_window(fault: Any, tiny: Path) -> None:
    reference = makers.pictures(600, seed=1, size=24)
    healthy, later = makers.pictures(200, seed=2, size=24), makers.pictures(100, seed=3, size=24)
    damaged = fault(later, np.zeros(100), reference, np.random.default_rng(0))
    heard: list[gm.Alarm] = []
    with gm.QualityMonitor(
        reference,
        extractor=tiny,
        window=100,
        panes=4,
        when_full="drop_newest",
        queue_images=1_000,
        on_alarm=heard.append,
    ) as monitor:
        feed(monitor, healthy)
        assert not [alarm for alarm in settled(monitor, 8)["alarms"] if alarm["since"] is not None]
        feed(monitor, damaged)
        settled(monitor, 12)
        active = {alarm.key: alarm for alarm in monitor.alarms if alarm.active}
        assert any(alarm.kind == "drift" for alarm in active.values())
        if fault is faults.blur:
            assert "blurry" in active and "blurry" in monitor.status()["scores"]["sliding"]["findings"]
        report = monitor.report()
        assert report.generated.num_images == 100 and report.findings
        feed(monitor, makers.pictures(250, seed=4, size=24))  # healthy again: two windows and a half
        settled(monitor, 22)
        assert not [alarm for alarm in monitor.alarms if alarm.active]
    began = [alarm.key for alarm in heard if alarm.active]
    assert sorted(began) == sorted(active) and len(heard) == 2 * len(began)


# The worker


def test_the_worker_is_another_process_at_lower_priority_and_goes_with_the_monitor(tiny: Path) -> None:
    monitor = gm.QualityMonitor(makers.pictures(240), extractor=tiny, window=80, panes=4, nice=7)
    monitor.wait(timeout=120)
    worker = monitor.status()["worker"]
    assert worker != os.getpid()
    assert os.getpriority(os.PRIO_PROCESS, worker) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)
    environment = Path(f"/proc/{worker}/environ").read_bytes() if Path("/proc").is_dir() else b"OMP_NUM_THREADS=1"
    assert b"OMP_NUM_THREADS=1" in environment
    monitor.close()
    monitor.close()
    assert monitor.health() == "closed" and monitor.observe(images(3)) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_worker_that_is_killed_comes_back_and_counts_nothing_twice(tiny: Path) -> None:
    stream = makers.pictures(300, seed=2)
    with gm.QualityMonitor(
        makers.pictures(240), extractor=tiny, window=80, panes=4, when_full="drop_newest", queue_images=1_000
    ) as monitor:
        feed(monitor, stream[:110])  # five panes and a half
        first = settled(monitor, 5)["worker"]
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 60
        while monitor.restarts == 0:
            assert time.monotonic() < end
            time.sleep(0.02)
        feed(monitor, stream[110:])  # those that come meanwhile wait in the queue
        status = settled(monitor, 14)
        assert status["worker"] != first and status["restarts"] == 1 and status["state"] == "running"
        counts = monitor.counts()
        assert counts["observed"] == counts["queued"] == 300
        assert counts["lost"] == 0 and counts["extracted"] == 300
        assert counts["unsaved"] == 10  # the open pane was lost, and said so
        assert status["images_in_panes"] == 280 and status["finished_panes"] == 14


SERVICE = """
import os, sys, time
import genmetrics_rt as gm
from tests import makers
monitor = gm.QualityMonitor(makers.pictures(240), extractor=sys.argv[1], window=80, panes=4, state=sys.argv[2],
                            when_full="drop_newest", queue_images=1_000)
monitor.wait()
stream = makers.pictures(190, seed=2)
for start in range(0, 190, 10):
    monitor.observe(stream[start : start + 10])
monitor.wait()
while monitor.status()["finished_panes"] < 9:
    time.sleep(0.02)
print(monitor.status()["worker"], flush=True)
if len(sys.argv) > 3:
    monitor.close()
    sys.exit()
time.sleep(600)
"""


def service(tiny: Path, state: Path, *more: str) -> tuple[subprocess.Popen[str], int]:
    """A service in a process of its own that has seen 190 images, and the number of its worker."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(tiny), str(state), *more], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def gone(number: int) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_after_kill_9_the_service_goes_on_from_the_last_pane(tiny: Path, tmp_path: Path) -> None:
    process, worker = service(tiny, tmp_path / "state")
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert gone(worker)  # the worker dies with its parent
    with gm.QualityMonitor(
        makers.pictures(240),
        extractor=tiny,
        window=80,
        panes=4,
        state=tmp_path / "state",
        when_full="drop_newest",
        queue_images=1_000,
    ) as monitor:
        monitor.wait(timeout=120)
        status = monitor.status()
        assert status["images_in_panes"] == 180 and status["finished_panes"] == 9  # 190 less the open pane
        before = monitor.report()  # the last window is there at once
        assert before.generated.num_images == 80
        feed(monitor, makers.pictures(20, seed=9))
        assert settled(monitor, 10)["images_in_panes"] == 200
    with pytest.raises(gm.GenmetricsError, match="belongs to another reference"):
        with gm.QualityMonitor(
            makers.pictures(240), extractor=tiny, window=120, panes=4, state=tmp_path / "state"
        ) as monitor:
            monitor.wait(timeout=120)
    assert monitor.health() == "closed"


def test_a_service_that_ends_in_peace_loses_nothing(tiny: Path, tmp_path: Path) -> None:
    process, worker = service(tiny, tmp_path / "state", "close")
    assert process.wait(60) == 0 and gone(worker)
    with gm.QualityMonitor(
        makers.pictures(240),
        extractor=tiny,
        window=80,
        panes=4,
        state=tmp_path / "state",
        when_full="drop_newest",
        queue_images=1_000,
    ) as monitor:
        feed(monitor, makers.pictures(10, seed=9))  # ten are there already, of twenty in a pane
        assert settled(monitor, 10)["images_in_panes"] == 200
        assert monitor.counts()["extracted"] == 10


def test_one_folder_serves_one_monitor(tiny: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"extractor": tiny, "window": 80, "panes": 4, "state": tmp_path / "state"}
    with gm.QualityMonitor(makers.pictures(240), **options) as first:
        first.wait(timeout=120)
        with gm.QualityMonitor(makers.pictures(240), **options) as second:
            with pytest.raises(gm.GenmetricsError, match="in use by another monitor"):
                second.wait(timeout=120)
            assert second.health() == "failing" and second.observe(images(1)) == 1
        assert first.health() == "running"


def test_hostile_calls_do_not_reach_the_request(tiny: Path) -> None:
    with gm.QualityMonitor(
        makers.pictures(240), extractor=tiny, window=80, panes=4, when_full="drop_oldest"
    ) as monitor:
        monitor.wait(timeout=120)
        for value in HOSTILE:
            assert monitor.observe(value) == 0, type(value)
        after = monitor.counts()
        assert after["queued"] == 0 and after["dropped_invalid"] + after["errors"] >= len(HOSTILE) - 2
        assert after["dropped_too_large"] == 1

        def serve() -> None:
            for value in (*HOSTILE, *HOSTILE):
                monitor.observe(value)
                monitor.observe(value, copy=False)
                monitor.observe(images(2, 9, size=12))
                monitor.observe(images(1, 9, size=12), copy=False)

        threads = [threading.Thread(target=serve) for _ in range(32)]
        for thread in threads:
            thread.start()

        async def requests() -> list[int]:
            async def request() -> int:
                await asyncio.sleep(0)
                return monitor.observe(images(1, 3))

            return await asyncio.gather(*(request() for _ in range(200)))

        assert set(asyncio.run(requests())) <= {0, 1}
        for thread in threads:
            thread.join()
        monitor.observe(np.zeros((1, 40, 8, 3), np.uint8))  # another size is no error
        monitor.wait(timeout=120)
        counts = monitor.counts()
        dropped = sum(count for key, count in counts.items() if key.startswith("dropped_"))
        assert counts["observed"] == counts["queued"] + dropped
        assert counts["queued"] == counts["extracted"] + counts["failed"] + counts["overwritten"] + counts["lost"]
        assert counts["lost"] == 0 and counts["failed"] == 0 and monitor.restarts == 0


def test_a_fork_of_the_service_leaves_queue_and_worker_alone(tiny: Path) -> None:
    code = """
import os, sys
import genmetrics_rt as gm
from tests import makers
monitor = gm.QualityMonitor(makers.pictures(240), extractor=sys.argv[1], window=80, panes=4)
monitor.wait()
child = os.fork()
if child == 0:
    print(monitor.observe(makers.pictures(3)), monitor.counts()["errors"], flush=True)
    monitor.close()
    os._exit(0)
os.waitpid(child, 0)
print(monitor.observe(makers.pictures(3)), monitor.health(), flush=True)
monitor.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tiny)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.stdout.splitlines() == ["0 1", "3 running"], done.stderr
    assert "Traceback" not in done.stderr and "leaked" not in done.stderr


# Metrics and routes


def test_the_routes_and_the_metrics(tiny: Path) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from prometheus_client.parser import text_string_to_metric_families

    with gm.QualityMonitor(
        makers.pictures(240),
        extractor=tiny,
        window=80,
        panes=4,
        when_full="drop_newest",
        queue_images=1_000,
        name="faces",
    ) as monitor:
        app = FastAPI()
        app.include_router(monitor.router(), prefix="/quality")
        client = TestClient(app)
        monitor.wait(timeout=120)
        assert client.get("/quality/report").status_code == 503
        feed(monitor, makers.pictures(80, seed=2))
        settled(monitor, 4)
        health = client.get("/quality/healthz")
        assert health.status_code == 200 and health.json()["status"] == "running"
        report = client.get("/quality/report")
        assert gm.Report.from_json(report.text).generated.num_images == 80
        page = client.get("/quality/report", params={"format": "html"})
        assert page.headers["content-type"].startswith("text/html") and "Kernel distance" in page.text

        text = client.get("/quality/metrics").text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        values = {
            (sample.name, *(value for key, value in sorted(sample.labels.items()) if key != "stream")): sample.value
            for family in families.values()
            for sample in family.samples
        }
        assert all(sample.labels["stream"] == "faces" for family in families.values() for sample in family.samples)
        assert all(name.startswith("genmetrics_") and family.documentation for name, family in families.items())
        assert values["genmetrics_images_observed_total",] == 80
        assert values["genmetrics_images_extracted_total",] == 80
        assert values["genmetrics_window_images", "sliding"] == 80
        report_fd = gm.Report.from_json(report.text).scores["fd"].value
        assert values["genmetrics_frechet_distance", "tumbling"] == pytest.approx(report_fd)
        assert values["genmetrics_alarm", "fd"] == 0 and values["genmetrics_worker_up",] == 1
        assert len(values) < 100  # however long it runs
    assert client.get("/quality/healthz").status_code == 503
