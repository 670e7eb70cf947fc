"""`--engine ray`: the same report as one process, also when a worker is killed. Skipped where Ray is not installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from tests import makers

ROOT = Path(__file__).parents[1]
HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="ray is not installed")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sides")
    generated, reference = (
        makers.image_folder(root / name, 600, seed=seed) for seed, name in enumerate(("generated", "reference"))
    )
    (generated / "broken.png").write_bytes(b"no image")
    return generated, reference


@pytest.fixture(scope="module")
def cluster() -> object:
    """Ray on this machine, with two CPUs."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=environment,
        object_store_memory=200 << 20,
    )  # fmt: skip
    yield ray
    ray.shutdown()


def same_report(one: gm.Report, other: gm.Report) -> None:
    assert set(one.scores) == set(other.scores)
    for key, score in other.scores.items():
        assert one.scores[key].value == pytest.approx(score.value, rel=1e-9, abs=1e-12), key
        assert one.scores[key].fingerprint == score.fingerprint
    assert one.generated.skipped == other.generated.skipped
    assert one.generated.num_images == other.generated.num_images


@needs_ray
@pytest.mark.filterwarnings("ignore")  # Ray's own
class TestWithRay:
    def test_the_same_report_as_one_process(self, cluster: object, sides: tuple[Path, Path], tiny: Path) -> None:
        from genmetrics_rt.scale.ray_engine import evaluate_with_ray

        generated, reference = sides
        told: list[gm.Progress] = []
        report = evaluate_with_ray(generated, reference, workers=2, extractor=tiny, cache=False, progress=told.append)
        same_report(report, gm.evaluate(generated, reference, extractor=tiny))
        assert [entry.name for entry in report.generated.skipped] == ["broken.png"]
        assert report.generated.notes == ("Computed by 2 Ray workers in 5 leaves.",)
        for stage, count in (("reference", 600), ("generated", 601)):
            done = [state.done for state in told if state.stage == stage]
            assert done == sorted(done) and done[-1] == count
            assert all(state.from_cache == 0 for state in told)  # an image that cannot be used is not one that was kept

    def test_the_same_bits_as_merged_parts(
        self, cluster: object, sides: tuple[Path, Path], tiny_classes: Path, tmp_path: Path
    ) -> None:
        from genmetrics_rt.scale.ray_engine import reference_with_ray

        for index in range(3):
            gm.make_shard(sides[0], tmp_path / f"{index}.npz", index=index, of=3, extractor=tiny_classes)
        merged = gm.merge_shards([tmp_path / f"{index}.npz" for index in range(3)])
        by_ray = reference_with_ray(str(sides[0]), workers=2, extractor=tiny_classes, cache=False)
        for one, other in zip(
            (by_ray.features.statistics().covariance, by_ray.features.values, by_ray.features.logits),
            (merged.features.statistics().covariance, merged.features.values, merged.features.logits),
            strict=True,
        ):
            assert np.array_equal(one, other)
        assert by_ray.summary.content_hash == merged.summary.content_hash == ""

    def test_a_worker_is_killed_on_the_way(
        self, cluster: object, sides: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SIGKILL to the first worker that works; the others and its successor do the rest."""
        from genmetrics_rt.scale.ray_engine import reference_with_ray

        images = makers.image_folder(tmp_path / "many", 2_000, seed=7)
        # Slow enough that there is a middle to kill in.
        slow = makers.make_extractor(tmp_path / "slow", dimension=2_000)
        expected = gm.make_reference(images, extractor=slow)
        killed: list[int] = []

        def kill() -> None:
            before = set()
            end = time.monotonic() + 120
            while time.monotonic() < end and not killed:
                for pid in workers_of_ray():
                    if pid not in before and seconds_used(pid) > 2.5:
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                        return
                time.sleep(0.05)

        watcher = threading.Thread(target=kill)
        watcher.start()
        done = reference_with_ray(str(images), workers=2, extractor=slow, cache=False, leaf_size=128)
        watcher.join()
        assert len(killed) == 1 and not os.path.exists(f"/proc/{killed[0]}/maps")
        assert done.summary.num_images == 2_000
        assert np.array_equal(done.features.index, expected.features.index)
        assert np.array_equal(done.features.values, expected.features.values)
        error = np.abs(done.features.statistics().covariance - expected.features.statistics().covariance).max()
        assert error <= 1e-12 * np.abs(expected.features.statistics().covariance).max()

    def test_a_leaf_that_always_kills_its_worker(
        self, cluster: object, sides: tuple[Path, Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from genmetrics_rt.scale import ray_engine

        monkeypatch.setattr(ray_engine, "_LeafWorker", dying_worker())
        monkeypatch.setattr(ray_engine, "_RETRIES", 1)
        with pytest.raises(gm.GenmetricsError, match=r"Ray gave up.*lacks memory"):
            ray_engine.reference_with_ray(str(sides[0]), workers=1, extractor=tiny)

    def test_images_that_cannot_be_read_just_now(
        self, cluster: object, sides: tuple[Path, Path], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a cache it ends at once; with one, the other leaves are computed first."""
        from genmetrics_rt.scale import ray_engine

        monkeypatch.setattr(ray_engine, "_LeafWorker", worker_whose_store_fails())
        with pytest.raises(gm.UnreadableInput, match=r"20 images could not .* 1 of 5 leaves: [13] \(20\)"):
            ray_engine.reference_with_ray(str(sides[0]), workers=1, extractor=tiny)
        with pytest.raises(gm.UnreadableInput, match=r"40 images could not .* 2 of 5 leaves: 1 \(20\), 3 \(20\)"):
            ray_engine.reference_with_ray(str(sides[0]), workers=1, extractor=tiny, cache=True)

    def test_what_the_callback_raises_ends_the_job(self, cluster: object, sides: tuple[Path, Path], tiny: Path) -> None:
        from genmetrics_rt.scale.ray_engine import reference_with_ray

        def stop(state: gm.Progress) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reference_with_ray(str(sides[0]), workers=1, extractor=tiny, progress=stop)

    def test_relative_paths(
        self, cluster: object, sides: tuple[Path, Path], tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Workers are in the folder where Ray was started; names in the report are those that were given."""
        from genmetrics_rt.scale.ray_engine import reference_with_ray

        monkeypatch.chdir(sides[0].parent)
        relative = os.path.relpath(tiny)
        done = reference_with_ray(sides[0].name, workers=1, extractor=relative)
        assert done.summary.source == sides[0].name and done.summary.num_images == 600

    def test_threads_that_no_node_has(self, cluster: object, sides: tuple[Path, Path], tiny: Path) -> None:
        from genmetrics_rt.scale.ray_engine import reference_with_ray

        with pytest.raises(gm.InputError, match=r"asks for 3 CPUs, and no node .* more than 2.* Use --threads 2"):
            reference_with_ray(str(sides[0]), extractor=tiny, threads=3)

    def test_more_workers_than_there_is_room_for(self, cluster: object, sides: tuple[Path, Path], tiny: Path) -> None:
        from genmetrics_rt.scale.ray_engine import reference_with_ray

        done = reference_with_ray(str(sides[0]), workers=4, extractor=tiny)
        assert done.summary.notes == ("Computed by at most 4 Ray workers in 5 leaves.",)

    def test_errors_of_workers_are_ours(self, cluster: object, sides: tuple[Path, Path], tiny: Path) -> None:
        from genmetrics_rt.scale.ray_engine import reference_with_ray

        with pytest.raises(gm.UnreadableInput, match=r"broken\.png cannot be used"):
            reference_with_ray(str(sides[0]), workers=1, extractor=tiny, strict=True, cache=False)

    def test_stored_sides_are_taken_whole(self, cluster: object, sides: tuple[Path, Path], tiny: Path) -> None:
        from genmetrics_rt.scale.ray_engine import evaluate_with_ray

        with pytest.raises(gm.InputError, match="stored sides are taken whole"):
            evaluate_with_ray(*sides, extractor=tiny, num_images=100)

    def test_tars_parquet_and_generators(
        self, cluster: object, tiny: Path, tiny_generator: Path, tmp_path: Path
    ) -> None:
        from genmetrics_rt.scale.ray_engine import evaluate_with_ray
        from tests.test_datasets import ENCODED, write_tar

        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        for number in range(3):
            rows = range(20 * number, 20 * number + 20)
            write_tar(tmp_path / f"{number:02}.tar", {f"{row:03}.png": ENCODED[row] for row in rows})
        kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        images = arrow.array([{"bytes": data, "path": ""} for data in ENCODED], kind)
        parquet.write_table(arrow.table({"image": images}), tmp_path / "hf.parquet")
        tars = f"{tmp_path}/{{00..02}}.tar"
        report = evaluate_with_ray(tars, f"file://{tmp_path}/hf.parquet", workers=2, extractor=tiny, metrics="fd")
        assert report.scores["fd"].value == pytest.approx(0, abs=1e-12)
        one = evaluate_with_ray(str(tiny_generator), tmp_path / "hf.parquet", workers=2, extractor=tiny)
        same_report(one, gm.evaluate(tiny_generator, tmp_path / "hf.parquet", extractor=tiny))

    def test_the_command(self, cluster: object, sides: tuple[Path, Path], tiny: Path) -> None:
        command = ["evaluate", str(sides[0]), str(sides[1]), "-e", str(tiny), "-q", "--json", "-", "--metrics", "fd"]
        by_ray = CliRunner().invoke(app, [*command, "--engine", "ray", "--workers", "2"])
        assert by_ray.exit_code == 0, by_ray.stderr
        alone = CliRunner().invoke(app, command)
        values = [json.loads(result.stdout)["scores"]["fd"]["value"] for result in (by_ray, alone)]
        assert values[0] == pytest.approx(values[1], rel=1e-9)


def dying_worker() -> type:
    from genmetrics_rt.scale import ray_engine

    class Worker(ray_engine._LeafWorker):  # type: ignore[misc]
        def _computed(self, number: int) -> object:
            if number == 2:
                os._exit(1)
            return super()._computed(number)

    return Worker


def worker_whose_store_fails() -> type:
    from genmetrics_rt.scale import ray_engine

    class Worker(ray_engine._LeafWorker):  # type: ignore[misc]
        def _computed(self, number: int) -> object:
            names = super()._computed.__func__.__globals__  # of the class that travelled, not of the module
            run = names["run_leaf"]

            def failing(job: object, number: int, *others: object, **options: object) -> object:
                leaf, found = run(job, number, *others, **options)
                return leaf, dataclasses.replace(found, transient=20 * (number in (1, 3)))

            names["run_leaf"] = failing
            try:
                return super()._computed(number)
            finally:
                names["run_leaf"] = run

    return Worker


class TestWithoutRay:
    """What needs no cluster."""

    def test_a_joined_side_travels_as_triangles(self) -> None:
        from genmetrics_rt.scale.leaves import Moments, MomentTree
        from genmetrics_rt.statistics import StatisticsAccumulator

        accumulator = StatisticsAccumulator()
        accumulator.update(np.random.default_rng(0).normal(size=(300, 200)))
        tree = MomentTree()
        tree.add(Moments.of(accumulator), (0, 6))
        packed = pickle.dumps(tree)
        assert len(packed) < 0.6 * 8 * 200 * 200
        again = pickle.loads(packed)
        assert [node for node, _ in again.nodes()] == [(0, 6)]
        assert np.array_equal(again.result().result().covariance, tree.result().result().covariance)

    def test_paths_for_workers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from genmetrics_rt.scale.ray_engine import _absolute

        monkeypatch.chdir(tmp_path)
        (tmp_path / "out").mkdir()
        (tmp_path / "scattering").mkdir()
        assert _absolute("out/") == _absolute(Path("out")) == str(tmp_path / "out")
        assert _absolute("out/{00..10}.tar") == str(tmp_path / "out/{00..10}.tar")
        assert _absolute("scattering", ["scattering"]) == "scattering"
        for other in ("s3://real/images", "digits-gan", None, 3):
            assert _absolute(other) == other

    @pytest.mark.parametrize(
        ("nodes", "threads", "on_gpu", "expected"),
        [
            ([{"CPU": 8.0}, {"CPU": 5.0}], 4, False, 3),
            ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 64.0}], 2, True, 2),
            ([{"CPU": 8.0}], 2, True, 0),  # a node with a GPU may still come
            ([{}], 2, False, 0),
            ([{"CPU": 3.0}, {"CPU": 3.0}], 4, False, None),
            ([{"CPU": 2.0, "GPU": 2.0}, {"CPU": 64.0}], 4, True, None),
        ],
    )
    def test_room(self, nodes: list[dict[str, float]], threads: int, on_gpu: bool, expected: int | None) -> None:
        from types import SimpleNamespace

        from genmetrics_rt.scale.ray_engine import _room

        listed = [{"Alive": True, "Resources": node} for node in nodes]
        listed.append({"Alive": False, "Resources": {"CPU": 100.0, "GPU": 8.0}})
        ray = SimpleNamespace(nodes=lambda: listed)
        if expected is None:
            with pytest.raises(gm.InputError, match="none would ever start"):
                _room(ray, threads, on_gpu=on_gpu)
        else:
            assert _room(ray, threads, on_gpu=on_gpu) == expected


def workers_of_ray() -> list[int]:
    """Processes of actors of our pool, by the title that Ray gives them; those of this test's cluster alone."""
    found = []
    listing = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    for line in listing:
        pid, _, title = line.strip().partition(" ")
        if title.startswith("ray::MapWorker") and os.getpid() in ancestors(int(pid)):
            found.append(int(pid))
    return found


def ancestors(pid: int) -> list[int]:
    chain = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        chain.append(pid)
    return chain


def seconds_used(pid: int) -> float:
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(HAS_RAY, reason="ray is installed")
def test_without_ray_the_command_says_how_to_get_it(sides: tuple[Path, Path], tiny: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", *map(str, sides), "-e", str(tiny), "--engine", "ray"])
    assert result.exit_code == 2 and "genmetrics-rt[ray]" in result.stderr and "shard and merge" in result.stderr


@pytest.mark.parametrize(("option", "expected"), [([], None), (["--no-cache"], False)])
def test_workers_store_no_features_unless_asked(
    option: list[str], expected: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def instead(*sides: object, **options: object) -> gm.Report:
        given.append(options["cache"])
        raise gm.InputError("far enough")

    monkeypatch.setattr("genmetrics_rt.cli.evaluate_with_ray", instead)
    CliRunner().invoke(app, ["evaluate", "a", "b", "--engine", "ray", *option])
    assert given == [expected]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--engine", "spark"], "Use local or ray"),
        (["--engine", "ray", "--ladder"], "keeps no images, and --ladder"),
        (["--workers", "3"], "--workers is for --engine ray"),
    ],
)
def test_what_does_not_go_together(sides: tuple[Path, Path], options: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["evaluate", *map(str, sides), *options])
    assert result.exit_code == 2 and told in result.stderr


def test_ray_is_not_imported_unless_asked_for() -> None:
    code = "import genmetrics_rt.cli, sys; assert not {'ray', 'pyarrow', 'fsspec'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
