"""Jobs of the demo: they end when they are told to, never mix, leave nothing behind, and tell nobody's secrets."""

from __future__ import annotations

import itertools
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import genmetrics_rt as gm
from genmetrics_rt import progress as meters
from tests import makers

DEMO = str(Path(__file__).parents[1] / "demo")
if DEMO not in sys.path:
    sys.path.append(DEMO)  # behind everything else: its plain names shadow nothing

import jobs as demo_jobs  # noqa: E402
from jobs import Job, Jobs, Pace, State, remove_stale_folders  # noqa: E402

SOON = 60.0  # seconds after which a test gives up, far more than anything here takes
ENDS = ("done", "stopped", "failed")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(root=tmp_path / "root")
    yield made
    wait_until(lambda: not job_threads())
    assert list(made.root.glob("job-*")) == []
    assert made._all == {} and made._queue == [] and made._running == []


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def job_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("genmetrics-")]


def until_running(states: Generator[State, None, None]) -> State:
    return next(state for state in states if state.stage == "running")


def last(states: Generator[State, None, None]) -> State:
    told = list(states)
    assert [state.stage in ENDS for state in told] == [False] * (len(told) - 1) + [True]
    return told[-1]


def wait_for_stop(job: Job, prepared: Any) -> None:
    while True:
        job.check()
        time.sleep(0.005)


# One job.


def test_a_job_prepares_works_and_cleans_up(jobs: Jobs) -> None:
    folders: list[Path] = []

    def prepare(job: Job) -> str:
        (job.folder / "upload.txt").write_text("uploaded")
        folders.append(job.folder)
        return "prepared"

    def work(job: Job, prepared: str) -> str:
        return f"{prepared}, {(job.folder / 'upload.txt').read_text()}, {threading.current_thread().name[:15]}"

    states = jobs.run(work, prepare=prepare)
    end = next(state for state in states if state.stage in ENDS)
    assert (end.stage, end.result) == ("done", "prepared, uploaded, genmetrics-job-")
    assert folders[0].exists()  # Gradio copies the files of a result before it asks for what follows
    assert list(states) == [] and not folders[0].exists()


def test_folders_are_private(jobs: Jobs) -> None:
    modes = last(jobs.run(lambda job, _: [path.stat().st_mode & 0o777 for path in (jobs.root, job.folder)])).result
    assert modes == [0o700, 0o700]


def test_what_is_told_arrives(jobs: Jobs) -> None:
    told = threading.Event()

    def work(job: Job, _: None) -> None:
        job.say("mixing colours")
        assert told.wait(SOON)

    states = jobs.run(work)
    state = next(state for state in states if state.text == "mixing colours")
    assert state.stage == "running"
    told.set()
    assert last(states).stage == "done"


def test_no_more_than_four_states_a_second(jobs: Jobs) -> None:
    def work(job: Job, _: None) -> None:
        end = time.monotonic() + 1.0
        for count in itertools.count():
            job.say(f"step {count}")
            time.sleep(0.001)
            if time.monotonic() > end:
                return

    start = time.monotonic()
    running = [state for state in jobs.run(work) if state.stage == "running"]
    assert 1 <= len(running) <= 4 * (time.monotonic() - start) + 1


def test_where_nothing_changes_a_state_a_second_is_enough(jobs: Jobs) -> None:
    start = time.monotonic()
    running = [state for state in jobs.run(lambda job, _: time.sleep(1.6)) if state.stage == "running"]
    assert 1 <= len(running) <= time.monotonic() - start + 1


# The end.


@pytest.fixture
def every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told after every batch, however fast the tiny network is."""
    clock = itertools.count(1)
    monkeypatch.setattr(meters.Meter, "seconds", lambda self: float(next(clock)))


def test_stop_ends_the_extraction_and_the_cache_keeps_what_was_done(
    jobs: Jobs, tiny: Path, tmp_path: Path, every_batch: None
) -> None:
    folder = makers.image_folder(tmp_path / "images", 600)
    half_way, go_on = threading.Event(), threading.Event()
    seen: list[gm.Progress] = []

    def work(job: Job, _: None) -> gm.Reference:
        def progress(state: gm.Progress) -> None:
            seen.append(state)
            if state.done > 300:
                half_way.set()
                assert go_on.wait(SOON)
            job.progress(state)

        return gm.make_reference(folder, extractor=tiny, device="cpu", progress=progress)

    states = jobs.run(work)
    job = next(states).job
    until_running(states)
    (thread,) = [thread for thread in job_threads() if thread.name.startswith("genmetrics-job-")]
    assert half_way.wait(SOON)
    jobs.stop(job)
    go_on.set()
    end = last(states)
    assert (end.stage, end.text, end.result) == ("stopped", "Stopped.", None)
    thread.join(SOON)
    assert not thread.is_alive() and job_threads() == []  # neither its own nor those that decode and hash
    assert seen[-1].done < 600  # it was the last that the network did

    again = last(jobs.run(work))
    assert again.stage == "done" and again.result.summary.num_images == 600
    assert seen[-1].from_cache == 256  # the two whole chunks before it was stopped


def test_a_visitor_who_leaves_ends_the_work(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_jobs, "ABANDONED", 10 * SOON)
    states = jobs.run(wait_for_stop)
    until_running(states)
    assert len(job_threads()) == 1
    states.close()
    wait_until(lambda: job_threads() == [])


def test_a_visitor_who_is_forgotten_ends_the_work(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that nobody closes, and nobody asks for more."""
    states = jobs.run(wait_for_stop)
    until_running(states)
    monkeypatch.setattr(demo_jobs, "ABANDONED", 0.2)
    wait_until(lambda: job_threads() == [])
    assert last(states).text == "Stopped, since nobody waits for it any more."


def test_time_is_limited(tmp_path: Path) -> None:
    jobs = Jobs(root=tmp_path, limit=0.3)
    end = last(jobs.run(wait_for_stop))
    assert end.stage == "failed"
    assert re.match("This took longer than the .* one job may take here, .* try fewer images", end.text)
    wait_until(lambda: job_threads() == [] and list(jobs.root.glob("job-*")) == [])


def test_nobody_waits_for_what_cannot_be_interrupted(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """But it keeps its place and its folder until it ends."""
    monkeypatch.setattr(demo_jobs, "GRACE", 0.1)
    ended = threading.Event()
    folders: list[Path] = []

    def work(job: Job, _: None) -> None:
        folders.append(job.folder)
        assert ended.wait(SOON)

    states = jobs.run(work)
    jobs.stop(until_running(states).job)
    assert [state.text for state in states][-2:] == ["stopping", "Stopped."]
    others = jobs.run(lambda job, _: "mine")
    assert next(state.text for state in others if "before" in state.text) == "waiting: 1 job is before yours"
    assert folders[0].exists()
    ended.set()
    assert last(others).result == "mine"
    wait_until(lambda: not folders[0].exists())


def test_time_is_limited_for_what_cannot_be_interrupted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_jobs, "GRACE", 0.1)
    jobs, ended = Jobs(root=tmp_path, limit=0.3), threading.Event()
    assert last(jobs.run(lambda job, _: ended.wait(SOON))).text.startswith("This took longer than")
    ended.set()
    wait_until(lambda: job_threads() == [])


def test_the_first_reason_counts(jobs: Jobs) -> None:
    def work(job: Job, _: None) -> None:
        job.stop("This one.")
        job.stop("Not that one.")
        job.check()

    assert last(jobs.run(work)).text == "This one."


def test_stopping_what_is_not_there_is_nothing(jobs: Jobs) -> None:
    jobs.stop("0" * 32)


# Others.


def test_two_jobs_at_a_time_get_their_own(tmp_path: Path, tiny: Path) -> None:
    jobs = Jobs(root=tmp_path / "root", concurrent=2)
    together = threading.Barrier(2)
    results: dict[int, Any] = {}

    def work(job: Job, side: Path) -> tuple[int | None, str, list[str]]:
        together.wait(SOON)
        summary = gm.make_reference(side, extractor=tiny, device="cpu", progress=job.progress).summary
        return summary.num_images, summary.content_hash, sorted(path.name for path in job.folder.iterdir())

    def visit(seed: int) -> None:
        def prepare(job: Job) -> Path:
            return makers.image_folder(job.folder / f"mine {seed}", 20 + seed, seed=seed)

        results[seed] = last(jobs.run(work, prepare=prepare)).result

    visitors = [threading.Thread(target=visit, args=(seed,)) for seed in range(2)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(SOON)
    for seed in range(2):
        folder = makers.image_folder(tmp_path / str(seed), 20 + seed, seed=seed)
        alone = gm.make_reference(folder, extractor=tiny, device="cpu").summary
        assert results[seed] == (20 + seed, alone.content_hash, [f"mine {seed}"])


def test_the_queue_is_fair_and_says_the_position(jobs: Jobs) -> None:
    order: list[str] = []
    ended = threading.Event()

    def named(name: str) -> Callable[[Job, None], None]:
        def work(job: Job, _: None) -> None:
            order.append(name)
            assert name != "first" or ended.wait(SOON)

        return work

    first = jobs.run(named("first"))
    until_running(first)
    second, third, fourth = (jobs.run(named(name)) for name in ("second", "third", "fourth"))
    positions = []
    for states in (second, third, fourth):
        positions.append(next(state.text for state in states if "before" in state.text))
    assert positions == [
        "waiting: 1 job is before yours",
        "waiting: 2 jobs are before yours",
        "waiting: 3 jobs are before yours",
    ]
    third.close()  # one leaves: the others move up
    assert next(fourth).text == "waiting: 2 jobs are before yours"
    ended.set()
    assert last(first).stage == "done"
    assert next(fourth).text == "waiting: 1 job is before yours"  # who asks first is still not served first
    assert last(second).stage == "done" and last(fourth).stage == "done"
    assert order == ["first", "second", "fourth"]


def test_who_no_longer_asks_holds_up_nobody(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    first = jobs.run(lambda job, _: ended.wait(SOON))
    until_running(first)
    forgotten, third = (jobs.run(lambda job, _: "mine") for _ in range(2))
    for states in (forgotten, third):
        next(state for state in states if "before" in state.text)
    ended.set()
    assert last(first).stage == "done"
    monkeypatch.setattr(demo_jobs, "ABANDONED", 0.0)
    assert last(third).result == "mine"
    monkeypatch.undo()
    assert last(forgotten).result == "mine"  # and may come back


def test_a_job_that_waits_can_be_stopped(jobs: Jobs) -> None:
    ended = threading.Event()
    first = jobs.run(lambda job, _: ended.wait(SOON))
    until_running(first)
    second = jobs.run(lambda job, _: pytest.fail("it never had its turn"))
    jobs.stop(next(second).job)
    assert last(second).text == "Stopped."
    ended.set()
    assert last(first).stage == "done"


def test_too_many_are_asked_to_come_back(tmp_path: Path) -> None:
    jobs = Jobs(root=tmp_path, waiting=1)
    first, second, third = (jobs.run(wait_for_stop) for _ in range(3))
    until_running(first)
    next(second)
    assert last(third).text == "Too many people are waiting already. Try again in a few minutes."
    second.close()
    fourth = jobs.run(wait_for_stop)
    assert next(fourth).stage == "waiting"
    for states in (first, fourth):
        states.close()


# What goes wrong.


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_our_own_errors_speak_for_themselves_and_name_no_path(jobs: Jobs) -> None:
    def work(job: Job, _: None) -> None:
        raise gm.UnreadableInput(f"{job.folder}/generated/faces.zip is damaged: see {job.folder}. Make it again.")

    end = last(jobs.run(work))
    assert (end.stage, end.text) == ("failed", "generated/faces.zip is damaged: see . Make it again.")


@pytest.mark.parametrize("where", ["prepare", "work"])
@pytest.mark.parametrize("error", [ValueError("the secret is 1234"), SystemExit("the secret is 1234")])
def test_other_errors_are_told_to_the_log_only(
    where: str, error: BaseException, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    fail = raising(error)
    with caplog.at_level(logging.ERROR, "genmetrics_demo"):
        end = last(jobs.run(fail) if where == "work" else jobs.run(wait_for_stop, prepare=fail))
    assert end.stage == "failed" and end.result is None
    match = re.search("report incident ([0-9a-f]{8})", end.text)
    assert match and "secret" not in end.text and str(jobs.root) not in end.text
    (record,) = caplog.records
    assert match[1] in record.getMessage() and record.exc_info and record.exc_info[1] is error


def test_no_memory_left_has_a_way_out(jobs: Jobs) -> None:
    def work(job: Job, _: None) -> None:
        raise MemoryError("Unable to allocate 9.31 TiB for an array with shape (1,)")

    end = last(jobs.run(work))
    assert end.stage == "failed" and "fewer or smaller images" in end.text and "TiB" not in end.text


def test_no_folder_no_job_and_still_an_answer(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(demo_jobs.Path, "mkdir", raising(OSError(28, "full")))
        assert "report incident" in last(jobs.run(wait_for_stop)).text


def test_no_threads_left_frees_the_place(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
        assert "report incident" in last(jobs.run(wait_for_stop)).text
    assert last(jobs.run(lambda job, _: "mine")).result == "mine"


# How far it is.


def progress(
    done: int, *, stage: str = "generated", total: int = 1000, cached: int = 0, unit: str = "images"
) -> gm.Progress:
    return gm.Progress(stage, done, total, 0.0, None, cached, unit)


def test_a_steady_pace_tells_rate_and_time_left() -> None:
    pace = Pace()
    told = [pace.describe(progress(50 * step), 100 + step / 2)[0] for step in range(21)]
    assert told[:2] == ["generated: 0 of 1,000 images, starting", "generated: 50 of 1,000 images, starting"]
    assert told[4] == "generated: 200 of 1,000 images, 100 images/s, about 8 s left"
    assert told[19] == "generated: 950 of 1,000 images, 100 images/s, about 1 s left"
    assert told[20] == "generated: 1,000 of 1,000 images; now what follows from them"
    assert pace.describe(progress(250), 111)[1] == 0.25


def test_one_slow_moment_does_not_change_the_time_left_much() -> None:
    pace = Pace()
    for step in range(100):
        pace.describe(progress(10 * step, total=10_000), step / 10)
    before = pace._rate
    pace.describe(progress(1_000, total=10_000), 10.9)  # 10 images took a second, at 100 images a second
    assert before == pytest.approx(100) and 80 < pace._rate < 90


def test_what_comes_from_the_cache_is_no_pace() -> None:
    pace = Pace()
    pace.describe(progress(0), 0.0)
    assert pace.describe(progress(512, cached=512), 2.0)[0] == "generated: 512 of 1,000 images"
    pace.describe(progress(612, cached=512), 4.0)
    assert 20 < pace._rate < 50  # of 100 images in two or four seconds, not of 612


def test_each_side_has_a_pace_of_its_own() -> None:
    pace = Pace()
    for step in range(10):
        pace.describe(progress(100 * step, stage="reference"), step)
    assert pace.describe(progress(8), 10.0)[0] == "generated: 8 of 1,000 images, starting"


def test_a_download_is_told_in_megabytes() -> None:
    pace = Pace()
    sizes = {"stage": "weights of x", "total": 95_600_000, "unit": "bytes"}
    pace.describe(progress(0, **sizes), 0.0)  # type: ignore[arg-type]
    text, _ = pace.describe(progress(8_000_000, **sizes), 2.0)  # type: ignore[arg-type]
    assert text == "weights of x: 8.0 of 95.6 MB, 4.0 MB/s, about 20 s left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1 s"), (7.4, "7 s"), (11, "10 s"), (43, "45 s"), (58, "1 min"), (600, "10 min")]
)
def test_durations_do_not_flicker(seconds: float, text: str) -> None:
    assert demo_jobs._duration(seconds) == text


# Folders of other processes.

OTHER = """
import sys
sys.path.append({demo!r})
from jobs import Jobs
jobs = Jobs(root={root!r})
print(jobs.root, flush=True)
input()
"""


def aged(folder: Path, seconds: float) -> Path:
    os.utime(folder, (time.time() - seconds, time.time() - seconds))
    return folder


def start_other(root: Path) -> tuple[subprocess.Popen[str], Path]:
    code = OTHER.format(demo=DEMO, root=str(root))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    process, folder = start_other(tmp_path)
    try:
        (folder / "job-1").mkdir()
        aged(folder, 4000)
        remove_stale_folders(tmp_path)
        assert folder.exists()  # it is alive
    finally:
        process.kill()
        process.communicate(timeout=SOON)
    aged(folder, 3000)
    remove_stale_folders(tmp_path)
    assert folder.exists()  # not yet
    aged(folder, 4000)
    Jobs(root=tmp_path)
    assert not folder.exists()


def test_a_process_that_ends_leaves_nothing(tmp_path: Path) -> None:
    process, folder = start_other(tmp_path)
    assert folder.parent == tmp_path and folder.is_dir()
    process.communicate("\n", timeout=SOON)
    assert process.returncode == 0 and list(tmp_path.iterdir()) == []


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "precious").mkdir(parents=True)
    root = tmp_path / "root"
    (root / "precious").mkdir(parents=True)
    (root / "genmetrics-demo-link").symlink_to(elsewhere)
    (root / "genmetrics-demo-file").write_text("precious")
    for path in root.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)
    os.utime(elsewhere, (0, 0))
    Jobs(root=root)
    assert [path.name for path in elsewhere.iterdir()] == ["precious"] and (root / "precious").is_dir()
    assert (root / "genmetrics-demo-file").read_text() == "precious"


def test_the_root_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENMETRICS_DEMO_ROOT", str(tmp_path / "mine"))
    assert Jobs().root.parent == tmp_path / "mine"
