"""`genmetrics shard` and `genmetrics merge`: any number of parts, the same reference to the last bit."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from genmetrics_rt.features import row_priorities
from genmetrics_rt.options import _what_is_left
from genmetrics_rt.scale.leaves import Job, Moments, MomentTree, default_leaf_size
from genmetrics_rt.scale.part_files import leaves_of_part, read_header
from genmetrics_rt.sources import Entries, RawImage, RowNames, Undecodable
from genmetrics_rt.statistics import FeatureStatistics, StatisticsAccumulator
from tests import makers, protocols

ROOT = Path(__file__).parents[1]

# The command, which stops for a minute once a leaf is written.
STALLS_AFTER_A_LEAF = """
import sys, time
import genmetrics_rt.scale.sharding as sharding
from genmetrics_rt.cli import main
write = sharding.write_leaf
def write_and_wait(*arguments):
    write(*arguments)
    time.sleep(60)
sharding.write_leaf = write_and_wait
main()
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 images, two of which cannot be read."""
    folder = tmp_path_factory.mktemp("sides") / "images"
    makers.image_folder(folder, 600, seed=5)
    (folder / "a broken one.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (folder / "notes.txt").write_text("no image")
    return folder


def parts_of(side: object, folder: Path, of: int, **options: object) -> list[Path]:
    paths = [folder / f"part_{index}_of_{of}.npz" for index in range(of)]
    for index, path in enumerate(paths):
        gm.make_shard(side, path, index=index, of=of, **options)
    return paths


def rewrite(path: Path, header: dict[str, object] | None = None, **changes: object) -> None:
    """A part that says something else: fields of its header (of a dict, those in it), and arrays."""
    arrays = dict(np.load(path))
    record = json.loads(bytes(arrays["header"]))
    for name, value in (header or {}).items():
        record[name] = {**record[name], **value} if isinstance(value, dict) and value else value
    arrays["header"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    for name, change in changes.items():
        arrays[name] = change(arrays[name])  # type: ignore[operator]
    np.savez(path, **arrays)


def content(reference: gm.Reference) -> str:
    """A hash of every bit that scores are made of."""
    statistics, digest = reference.features.statistics(), hashlib.sha256()
    for array in (statistics.mean, statistics.covariance, reference.features.values, reference.features.index):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def test_any_number_of_parts_gives_the_same_bits(images: Path, tiny: Path, tmp_path: Path) -> None:
    whole = gm.make_reference(images, extractor=tiny)
    merged = {of: gm.merge_shards(parts_of(images, tmp_path, of, extractor=tiny)) for of in (1, 2, 3, 5)}
    assert len({content(reference) for reference in merged.values()}) == 1
    one = merged[3]
    assert one.features.statistics().mean == pytest.approx(whole.features.statistics().mean, rel=1e-12, abs=1e-15)
    difference = one.features.statistics().covariance - whole.features.statistics().covariance
    assert np.abs(difference).max() <= 1e-12 * np.abs(whole.features.statistics().covariance).max()
    assert np.array_equal(one.features.values, whole.features.values)
    assert np.array_equal(one.features.index, whole.features.index)
    assert one.summary.num_images == 600
    assert sorted(one.summary.skipped, key=str) == sorted(whole.summary.skipped, key=str)
    assert {entry.name for entry in one.summary.skipped} == {"a broken one.png", "notes.txt"}


def test_nothing_is_said_to_differ_from_one_process(images: Path, tiny: Path, tmp_path: Path) -> None:
    """A merged side does not claim other images by another content hash: it has none."""
    other = makers.image_folder(tmp_path / "other", 300, seed=9)
    gm.merge_shards(parts_of(images, tmp_path, 2, extractor=tiny)).save(tmp_path / "merged.npz")
    merged = tmp_path / "merged.npz"
    alone, in_parts = (gm.evaluate(other, side, extractor=tiny) for side in (images, merged))
    assert in_parts.reference.content_hash == ""
    told = " ".join(gm.explain(alone, in_parts).verdict)
    assert "reference images (as far as names tell)" not in told and "differs" not in told.replace(
        "Nothing differs", ""
    )
    from genmetrics_rt.explaining.attribution import _other_images

    assert _other_images("reference", in_parts.reference, alone.reference) == ""


def test_a_merged_file_is_a_side(images: Path, tiny: Path, tmp_path: Path) -> None:
    other = makers.image_folder(tmp_path / "other", 300, seed=9)
    gm.merge_shards(parts_of(images, tmp_path, 2, extractor=tiny)).save(tmp_path / "merged.npz")
    expected = gm.evaluate(images, other, extractor=tiny)
    for report in (
        gm.evaluate(tmp_path / "merged.npz", other, extractor=tiny),
        gm.evaluate(images, tmp_path / "merged.npz", extractor=tiny),
    ):
        assert report.scores["fd"].value is not None
    report = gm.evaluate(tmp_path / "merged.npz", other, extractor=tiny)
    for key, score in expected.scores.items():
        assert report.scores[key].value == pytest.approx(score.value, rel=1e-9, abs=1e-12), key
    assert "2 parts" in " ".join(report.generated.notes) and len(report.generated.skipped) == 2


def test_rows_are_the_same_uniform_sample_as_in_one_process(tiny: Path, tmp_path: Path) -> None:
    """The rows of smallest hash of all positions, in however many parts."""
    np.save(tmp_path / "many.npy", makers.pictures(1500, seed=2, size=8))
    expected = np.sort(np.argsort(row_priorities(np.arange(1500), 3))[:200])
    for of in (1, 4):
        paths = parts_of(tmp_path / "many.npy", tmp_path, of, extractor=tiny, seed=3, max_kept=200)
        merged = gm.merge_shards(paths)
        assert np.array_equal(merged.features.index, expected)
        assert merged.features.num_images == 1500 and not merged.features.has_all_rows
        assert "uniform sample of 200 of its 1,500 images" in " ".join(merged.summary.notes)
        stored = sum(len(np.load(path)["index"]) for path in paths)
        assert 200 <= stored < 500  # a part keeps what may be in the sample, not a sample of its own
    values = gm.make_reference(tmp_path / "many.npy", extractor=tiny).features.values
    assert np.array_equal(merged.features.values, values[expected])


def test_the_limit_of_hashes_leaves_enough_rows() -> None:
    job = Job(1_000_000, "", 1024, 0, 50_000, None, {}, "")  # type: ignore[arg-type]
    below = row_priorities(np.arange(1_000_000), 0) <= np.uint64(job.highest_kept)
    assert 50_000 < below.sum() < 60_000


@pytest.mark.parametrize("arrival", ["in order", "backwards", "at random"])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 21])
def test_the_tree_does_not_mind_the_order(arrival: str, count: int) -> None:
    rng = np.random.default_rng(count)
    blocks = [rng.normal(3, 1, (rng.integers(0, 40), 6)) for _ in range(count)]
    leaves = []
    for block in blocks:
        accumulator = StatisticsAccumulator()
        accumulator.update(block)
        leaves.append(Moments.of(accumulator))
    numbers = list(range(count))
    if arrival == "backwards":
        numbers.reverse()
    elif arrival == "at random":
        rng.shuffle(numbers)
    # Two trees that are joined later, as two parts are, and one that has all.
    first, second, straight = MomentTree(), MomentTree(), MomentTree()
    for place, number in enumerate(numbers):
        (first if place % 3 else second).add(leaves[number], (0, number))
    first.merge(second)
    for number in range(count):
        straight.add(leaves[number], (0, number))
    rows = np.concatenate(blocks)
    joined, expected = first.result(), straight.result()
    if len(rows) < 2:
        assert joined.num_images == len(rows)
        return
    assert np.array_equal(joined.result().covariance, expected.result().covariance)
    assert np.array_equal(joined.result().mean, expected.result().mean)
    whole = FeatureStatistics.from_features(rows)
    assert np.abs(joined.result().covariance - whole.covariance).max() <= 1e-12 * whole.covariance.max()
    assert len(list(straight.nodes())) == bin(count).count("1")


def test_every_leaf_is_in_one_part() -> None:
    for num_leaves in (1, 5, 16, 1000):
        for of in range(1, min(num_leaves, 40) + 1):
            parts = [leaves_of_part(num_leaves, index, of) for index in range(of)]
            assert [leaf for part in parts for leaf in part] == list(range(num_leaves))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_leaves_depend_on_the_side_alone() -> None:
    assert default_leaf_size(50, 2048) == 128
    assert default_leaf_size(100_000, 2048) == 4096  # a state of 16.8 MB beside rows of 33.6 MB
    assert default_leaf_size(10**9, 2048) == 976_640 and -(-(10**9) // 976_640) == 1024


class TestRefusals:
    def test_the_same_part_twice(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        first, second = parts_of(images, tmp_path, 2, extractor=tiny)
        with pytest.raises(gm.InputError, match="named twice"):
            gm.merge_shards([first, second, first])
        (tmp_path / "link.npz").symlink_to(first)
        for again in (str(first), first.parent / "." / ".." / first.parent.name / first.name, tmp_path / "link.npz"):
            with pytest.raises(gm.InputError, match="named twice"):
                gm.merge_shards([first, second, again])
        copy = tmp_path / "copy.npz"
        copy.write_bytes(second.read_bytes())
        with pytest.raises(gm.InputError, match="are both part 1 of 2: its images would count twice"):
            gm.merge_shards([first, second, copy])

    def test_missing_parts_are_named(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        paths = parts_of(images, tmp_path, 5, extractor=tiny)
        with pytest.raises(gm.MissingInput, match=r"Of 5 parts 2 are missing: 1, 3\. .*--index 1 --of 5"):
            gm.merge_shards([paths[4], paths[0], paths[2]])
        with pytest.raises(gm.UnreadableInput, match="does not exist"):
            gm.merge_shards([*paths, tmp_path / "part_9.npz"])

    def test_a_leaf_is_no_part(self, images: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        first, second = parts_of(images, tmp_path, 2, extractor=tiny)
        (leaf, *_) = sorted((tmp_path / f"{second.name}.leaves").glob("0*.npz"))
        with pytest.raises(gm.InputError, match="holds 1 of the 3 leaves of part 1 of 2"):
            gm.merge_shards([first, leaf])

    def test_parts_of_another_number(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        two, three = parts_of(images, tmp_path, 2, extractor=tiny), parts_of(images, tmp_path, 3, extractor=tiny)
        with pytest.raises(gm.InputError, match=r"one of 2 parts and .* one of 3"):
            gm.merge_shards([two[0], three[1], three[2]])

    def test_what_differs_is_named(self, images: Path, tiny: Path, tiny_classes: Path, tmp_path: Path) -> None:
        (mine, _) = parts_of(images, tmp_path, 2, extractor=tiny)
        other = tmp_path / "other.npz"

        def refused(side: object, **options: object) -> str:
            other.unlink(missing_ok=True)
            gm.make_shard(side, other, index=1, of=2, **{"extractor": tiny, **options})
            with pytest.raises(gm.FeatureMismatch) as error:
                gm.merge_shards([mine, other])
            return str(error.value)

        assert "the extractor (tiny and tiny-classes)" in refused(images, extractor=tiny_classes)
        assert "the seed (0 and 4)" in refused(images, seed=4)
        assert "the size of the sample (50,000 and 100)" in refused(images, max_kept=100)
        more = makers.image_folder(tmp_path / "more", 620, seed=5)
        assert "the number of entries (601 and 620)" in refused(more)
        protocols = {"tiny": makers.PROTOCOL, "nearest": {**makers.PROTOCOL, "default": False, "alpha": "drop"}}
        both = makers.make_extractor(tmp_path / "both", protocols=protocols)
        assert "the protocol (tiny and nearest)" in refused(images, extractor=both, protocol="nearest")
        brighter = makers.make_extractor(tmp_path / "brighter", protocol={**makers.PROTOCOL, "scale": 1 / 127})
        assert "scale (" in refused(images, extractor=brighter)
        retrained = makers.make_extractor(tmp_path / "retrained", seed=8)
        assert "graph (" in refused(images, extractor=retrained) or "weights (" in refused(images, extractor=retrained)

    def test_other_images_under_the_same_names(self, tiny: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", makers.pictures(300, seed=1))
        np.save(tmp_path / "b.npy", makers.pictures(300, seed=2))
        for index, name in enumerate("ab"):
            gm.make_shard(tmp_path / f"{name}.npy", tmp_path / f"{name}.npz", index=index, of=2, extractor=tiny)
        with pytest.raises(gm.FeatureMismatch, match="the names or the content of the images"):
            gm.merge_shards([tmp_path / "a.npz", tmp_path / "b.npz"])

    def test_what_cannot_be_cut(self, images: Path, tiny: Path, tiny_generator: Path, tmp_path: Path) -> None:
        path = tmp_path / "part.npz"
        with pytest.raises(gm.InputError, match="5 leaves of 128; it cannot be cut into 6 parts"):
            gm.make_shard(images, path, index=0, of=6, extractor=tiny)
        np.save(tmp_path / "few.npy", makers.pictures(60))
        with pytest.raises(gm.InputError, match="which is one leaf of 128; it cannot"):
            gm.make_shard(tmp_path / "few.npy", path, index=0, of=2, extractor=tiny)
        with pytest.raises(gm.InputError, match="numbers 0 to 1"):
            gm.make_shard(images, path, index=2, of=2, extractor=tiny)
        with pytest.raises(gm.InputError, match="Say how many"):
            gm.make_shard(tiny_generator, path, index=0, of=2, extractor=tiny)
        with pytest.raises(gm.InputError, match="consists of features already"):
            gm.make_shard(np.zeros((9, 3)), path, index=0, of=2)
        with pytest.raises(gm.InputError, match=r"must end in \.npz"):
            gm.make_shard(images, tmp_path / "part.bin", index=0, of=2, extractor=tiny)
        assert not path.exists()

    def test_damaged_and_foreign_files(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        first, second = parts_of(images, tmp_path, 2, extractor=tiny)
        whole = second.read_bytes()
        for damaged in (b"", whole[:-200], whole[: len(whole) // 2]):
            second.write_bytes(damaged)
            with pytest.raises(gm.UnreadableInput, match="no readable part"):
                gm.merge_shards([first, second])
        np.savez(second, values=np.zeros(3))
        with pytest.raises(gm.UnreadableInput, match="no readable part"):
            gm.merge_shards([first, second])
        gm.make_reference(images, extractor=tiny).save(second)
        with pytest.raises(gm.UnreadableInput, match="no part of a side"):
            gm.merge_shards([first, second])

    @pytest.mark.parametrize(
        ("record", "told"),
        [
            ({"nodes": []}, "moments of a leaf are missing"),
            ({"nodes": [[0, 0, 128], [0, 0, 128]]}, "missing, or there twice"),
            ({"nodes": [[1, 0, 1e308]]}, "a node is no numbers"),
            ({"nodes": [[10**9, 0, 256]]}, "missing, or there twice"),
            ({"nodes": [[1, 0, 12]]}, "not those of its images"),
            ({"spatial_nodes": [[1, 0, 12]]}, "spatial moments are not those"),
            ({"content": ["a"]}, "content of a leaf is missing"),
            ({"num_images": 12}, "images are missing"),
            ({"num_images": 300}, "too many"),
            ({"first": 2, "stop": 5}, "of another part"),
            ({"index": 4}, "no part 4 of 2"),
            ({"of": 10**12}, "no part 0 of 1000000000000"),
            ({"index": "0"}, "no whole number"),
            ({"job": {}}, "no readable part"),
            ({"job": {"leaf_size": 0}}, "a size in its job"),
        ],
    )
    def test_headers_that_cannot_be(
        self, images: Path, tiny: Path, tmp_path: Path, record: dict[str, object], told: str
    ) -> None:
        first, second = parts_of(images, tmp_path, 2, extractor=tiny)
        rewrite(first, header=record)
        with pytest.raises(gm.UnreadableInput, match=told):
            gm.merge_shards([first, second])

    @pytest.mark.parametrize(
        ("member", "change", "told"),
        [
            ("mean_0", lambda array: array * np.nan, "NaN or infinity"),
            ("moment_0", lambda array: array / 0, "NaN or infinity"),
            ("moment_0", lambda array: array[:-1], "shape"),
            ("mean_0", lambda array: array[:-1], "shape"),
            ("mean_0", lambda array: array.astype("float32"), "not float64"),
            ("mean_0", lambda array: np.array("x" * 40), "not float64"),
            ("values", lambda array: array * np.inf, "NaN or infinity"),
            ("values", lambda array: array[:, :3], "shape"),
            ("values", lambda array: array[:-1], "shape"),
            ("index", lambda array: array + 500, "not those of its images"),
            ("index", lambda array: array * 0, "not those of its images"),
            ("index", lambda array: array[:-1], "rows are missing"),
        ],
    )
    @pytest.mark.filterwarnings("ignore")
    def test_arrays_that_cannot_be(
        self, images: Path, tiny: Path, tmp_path: Path, member: str, change: object, told: str
    ) -> None:
        first, second = parts_of(images, tmp_path, 2, extractor=tiny)
        rewrite(first, **{member: change})
        with pytest.raises(gm.UnreadableInput, match=f"no readable part.*{told}"):
            gm.merge_shards([first, second])

    def test_strange_archives(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        """One error of ours, and no memory: neither is believed what an archive says, nor is it unpacked."""
        first, second = parts_of(images, tmp_path, 2, extractor=tiny)
        whole, arrays = first.read_bytes(), dict(np.load(first))
        np.savez_compressed(first, **arrays)
        with pytest.raises(gm.UnreadableInput, match="compressed or encrypted"):
            gm.merge_shards([first, second])
        np.savez(first, **{**arrays, "header": np.frombuffer(b"[" * 100_000, np.uint8)})
        with pytest.raises(gm.UnreadableInput, match="no readable part"):
            gm.merge_shards([first, second])
        for member, told in (("mean_0", "has the shape"), ("index", "index is cut off")):
            with zipfile.ZipFile(first, "w") as archive:
                for name, array in arrays.items():
                    buffer = io.BytesIO()
                    shape = (10**14,) if name == member else array.shape
                    np.lib.format.write_array_header_1_0(
                        buffer, {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
                    )
                    archive.writestr(f"{name}.npy", buffer.getvalue() + array.tobytes())
            with pytest.raises(gm.UnreadableInput, match=told):
                gm.merge_shards([first, second])
        encrypted = bytearray(whole)
        encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
        first.write_bytes(encrypted)
        with pytest.raises(gm.UnreadableInput, match="no readable part"):
            gm.merge_shards([first, second])

    def test_nothing_usable(self, tiny: Path, tmp_path: Path) -> None:
        folder = tmp_path / "broken"
        folder.mkdir()
        for number in range(3):
            (folder / f"{number}.png").write_bytes(b"no image")
        paths = parts_of(folder, tmp_path, 1, extractor=tiny)
        with pytest.raises(gm.EmptySide, match="none of 3 entries could be used"):
            gm.merge_shards(paths)


def test_logits_and_spatial_features_go_along(images: Path, tmp_path: Path) -> None:
    bundle = protocols.make_six(tmp_path / "bundle")
    merged = gm.merge_shards(parts_of(images, tmp_path, 2, extractor=bundle, protocol="adm"))
    whole = gm.make_reference(images, extractor=bundle, protocol="adm")
    assert merged.features.logits is not None and np.array_equal(merged.features.logits, whole.features.logits)
    assert merged.features.spatial is not None and whole.features.spatial is not None
    assert np.allclose(merged.features.spatial.covariance, whole.features.spatial.covariance, rtol=1e-12, atol=1e-15)
    assert merged.settings == whole.settings != {}


def test_a_generator_in_parts(tiny: Path, tiny_generator: Path, tmp_path: Path) -> None:
    merged = gm.merge_shards(parts_of(tiny_generator, tmp_path, 2, extractor=tiny, num_images=300, seed=4))
    whole = gm.evaluate(tiny_generator, merged, extractor=tiny, num_images=300, seed=4)
    assert whole.scores["fd"].value == pytest.approx(0, abs=1e-9)


def test_a_generator_lies_elsewhere_on_another_machine(tiny: Path, tiny_generator: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_generator, tmp_path / "copy")
    for index, generator in enumerate((tiny_generator, copy)):
        gm.make_shard(generator, tmp_path / f"{index}.npz", index=index, of=2, extractor=tiny, num_images=300)
    assert gm.merge_shards([tmp_path / "0.npz", tmp_path / "1.npz"]).features.num_images == 300


class TestResuming:
    def test_a_finished_part_is_left_alone(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        (path, _) = parts_of(images, tmp_path, 2, extractor=tiny)
        before = path.stat().st_mtime_ns
        again = gm.make_shard(images, path, index=0, of=2, extractor=tiny)
        assert again.computed == 0 and path.stat().st_mtime_ns == before
        with pytest.raises(gm.FeatureMismatch, match=r"the part \(0 of 2 and 1 of 2\)"):
            gm.make_shard(images, path, index=1, of=2, extractor=tiny)
        with pytest.raises(gm.FeatureMismatch, match="the seed"):
            gm.make_shard(images, path, index=0, of=2, extractor=tiny, seed=1)

    def test_an_interrupted_part_goes_on(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        expected = gm.merge_shards(parts_of(images, tmp_path, 1, extractor=tiny))

        def stop(state: gm.Progress) -> None:
            if state.done > 300:
                raise KeyboardInterrupt

        path = tmp_path / "resumed.npz"
        with pytest.raises(KeyboardInterrupt):
            gm.make_shard(images, path, index=0, of=1, extractor=tiny, cache=False, progress=stop)
        left = sorted((tmp_path / "resumed.npz.leaves").iterdir())
        assert [file.name for file in left] == ["000000.npz", "000001.npz"] and not path.exists()
        with pytest.raises(gm.FeatureMismatch, match="another job: the seed"):
            gm.make_shard(images, path, index=0, of=1, extractor=tiny, seed=1)
        done = gm.make_shard(images, path, index=0, of=1, extractor=tiny, cache=False)
        assert done.resumed == 2 and done.computed == 600 - 2 * 128  # the unreadable one comes last
        assert not (tmp_path / "resumed.npz.leaves").exists()
        assert content(gm.merge_shards([path])) == content(expected)

    def test_what_a_kill_left_is_cleared(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        """Between the renaming of the part and the end: its leaves, and what was half written."""
        (path,) = parts_of(images, tmp_path, 1, extractor=tiny)
        left = tmp_path / f"{path.name}.leaves"
        left.mkdir()
        for name in ("000000.npz", ".0123456789abcdef.part"):
            (left / name).write_bytes(b"left")
        gm.make_shard(images, path, index=0, of=1, extractor=tiny)
        assert not left.exists() and path.exists()

    def test_nothing_is_written_beside_the_part(
        self, images: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moved = []
        replace = os.replace
        monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(Path(a).parent.name), replace(a, b)))
        parts_of(images, tmp_path, 1, extractor=tiny)
        assert set(moved) == {"part_0_of_1.npz.leaves"}

    def test_strict_looks_at_what_is_finished(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        first, second = parts_of(images, tmp_path, 2, extractor=tiny)
        for index, path, name in ((0, first, "notes.txt"), (1, second, "notes.txt")):
            with pytest.raises(gm.UnreadableInput, match=f"made without strict: {name} cannot be used"):
                gm.make_shard(images, path, index=index, of=2, extractor=tiny, strict=True)
        folder = makers.image_folder(tmp_path / "folder", 200, seed=1)
        (folder / "a.png").write_bytes(b"no image")
        path = tmp_path / "strict.npz"

        def stop(state: gm.Progress) -> None:
            if state.done > 128:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            gm.make_shard(folder, path, index=0, of=1, extractor=tiny, progress=stop)
        assert path.with_name("strict.npz.leaves").exists()
        for options in ({"strict": True}, {}):
            if options:
                with pytest.raises(gm.UnreadableInput, match=r"a\.png cannot be used"):
                    gm.make_shard(folder, path, index=0, of=1, extractor=tiny, **options)
            else:
                gm.make_shard(folder, path, index=0, of=1, extractor=tiny)
        with pytest.raises(gm.UnreadableInput, match=r"a\.png cannot be used"):
            gm.make_shard(folder, path, index=0, of=1, extractor=tiny, strict=True)

    def test_two_processes_on_one_part(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        """The other one is done while this one is in its third leaf, and took all leaves away."""
        path = tmp_path / "part.npz"
        others: list[gm.Shard] = []

        def other(state: gm.Progress) -> None:
            if state.done > 300 and not others:
                others.append(gm.make_shard(images, path, index=0, of=1, extractor=tiny))

        done = gm.make_shard(images, path, index=0, of=1, extractor=tiny, progress=other)
        assert others[0].resumed == 2 and done.num_images == others[0].num_images == 600
        assert [file.name for file in tmp_path.iterdir()] == ["part.npz"]

    def test_what_ctrl_c_says(self) -> None:
        assert "Leaves that were finished are kept" in _what_is_left({"leaf": None, "cache": False})

    def test_the_cache_is_for_those_who_ask(
        self, images: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / "home"
        monkeypatch.setenv("GENMETRICS_HOME", str(home))
        gm.make_shard(images, tmp_path / "0.npz", index=0, of=2, extractor=tiny)
        assert not home.exists()
        gm.make_shard(images, tmp_path / "1.npz", index=1, of=2, extractor=tiny, cache=True)
        assert list(home.rglob("*.block"))
        home = tmp_path / "no folder"
        home.write_text("")
        monkeypatch.setenv("GENMETRICS_HOME", str(home))
        command = ["shard", str(images), "--index", "0", "--of", "1", "-o", str(tmp_path / "c.npz"), "-e", str(tiny)]
        done = CliRunner().invoke(app, [*command, "--cache"])
        assert done.exit_code == 0 and "cannot be written" in done.stderr

    def test_killed_and_started_again(self, images: Path, tiny: Path, tmp_path: Path) -> None:
        """SIGKILL, at a moment that nobody chose well: the files that are there are whole, and the rest follows."""
        path = tmp_path / "killed.npz"
        command = [sys.executable, "-m", "genmetrics_rt", "shard", str(images), "--index", "0", "--of", "1",
                   "-o", str(path), "-e", str(tiny), "--no-cache", "--quiet"]  # fmt: skip
        process = subprocess.Popen([sys.executable, "-c", STALLS_AFTER_A_LEAF, *command[3:]], cwd=ROOT)
        leaves = tmp_path / "killed.npz.leaves"
        try:
            end = time.monotonic() + 60
            while not list(leaves.glob("0*.npz")) and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert [file.name for file in leaves.glob("0*.npz")] == ["000000.npz"] and not path.exists()
        result = subprocess.run(command[:-1], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        assert "1 of its leaves from an earlier run" in result.stderr
        expected = gm.merge_shards(parts_of(images, tmp_path, 1, extractor=tiny))
        assert content(gm.merge_shards([path])) == content(expected)


class StoreThatFails(Entries):
    """600 images, some of which the store does not give just now."""

    def __init__(self, failing: set[int]) -> None:
        super().__init__("store", RowNames(600))
        self.failing, self.images = failing, makers.pictures(600, seed=4)

    def read(self, index: int) -> RawImage:
        if index in self.failing:
            raise Undecodable("cannot be read: token expired", transient=True)
        return RawImage(self.entry_name(index), pixels=self.images[index])


class TestImagesThatCannotBeReadJustNow:
    def test_their_leaves_are_not_kept(self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = StoreThatFails({130, 131, 520})
        monkeypatch.setattr("genmetrics_rt.scale.sharding.open_side", lambda side: store)
        path = tmp_path / "part.npz"
        with pytest.raises(gm.UnreadableInput) as error:
            gm.make_shard("store", path, index=0, of=1, extractor=tiny)
        told = str(error.value)
        assert "3 images could not be read just now, for instance image 130: cannot be read: token expired" in told
        assert "2 of 5 leaves: 1 (2), 4 (1)" in told and "the same command goes on from there" in told
        assert [file.name for file in sorted(path.with_name("part.npz.leaves").iterdir())] == [
            "000000.npz", "000002.npz", "000003.npz",
        ]  # fmt: skip
        assert not path.exists()
        store.failing.clear()
        done = gm.make_shard("store", path, index=0, of=1, extractor=tiny)
        assert (done.num_images, done.resumed, done.computed) == (600, 3, 128 + 88) and not done.skipped
        assert np.array_equal(
            gm.merge_shards([path]).features.values, gm.make_reference(store.images, extractor=tiny).features.values
        )

    def test_a_store_that_gives_nothing_ends_it(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = StoreThatFails(set(range(128, 600)))
        monkeypatch.setattr("genmetrics_rt.scale.sharding.open_side", lambda side: store)
        with pytest.raises(gm.UnreadableInput, match=r"128 images .* 1 of 5 leaves: 1 \(128\)"):
            gm.make_shard("store", tmp_path / "part.npz", index=0, of=1, extractor=tiny)


def test_the_commands(images: Path, tiny: Path, tmp_path: Path) -> None:
    def run(*arguments: object):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    told = ""
    for index in (0, 1):
        result = run("shard", images, "--index", index, "--of", 2, "-o", tmp_path / f"part_{index}.npz", "-e", tiny)
        assert result.exit_code == 0, result.stderr
        assert f"part {index} of 2" in result.stderr and "of 601, tiny features" in result.stderr
        told += result.stderr
    assert "  a broken one.png: no image format" in told and "  notes.txt: not an image file" in told
    header = read_header(tmp_path / "part_1.npz")
    assert (header.first, header.stop) == (2, 5) and [entry.name for entry in header.skipped] == ["a broken one.png"]
    one = run("merge", tmp_path / "part_1.npz", "-o", tmp_path / "merged.npz")
    assert one.exit_code == 2 and "Of 2 parts 1 is missing: 0" in one.stderr
    over = run("merge", tmp_path / "part_0.npz", tmp_path / "part_1.npz", "-o", tmp_path / "part_1.npz")
    assert over.exit_code == 2 and "would overwrite" in over.stderr
    done = run("merge", tmp_path / "part_0.npz", tmp_path / "part_1.npz", "-o", tmp_path / "merged.npz")
    assert done.exit_code == 0 and "600 images, tiny features" in done.stderr
    assert "2 files skipped:" in done.stderr
    report = run("evaluate", images, tmp_path / "merged.npz", "-e", tiny, "--json", "-", "--metrics", "fd", "-q")
    assert json.loads(report.stdout)["scores"]["fd"]["value"] == pytest.approx(0, abs=1e-9)


def test_a_part_needs_no_more_memory_than_its_rows(tiny: Path, tmp_path: Path) -> None:
    """States are nodes of the tree: their number grows with the logarithm of the leaves."""
    Image.fromarray(makers.pictures(1)[0]).save(tmp_path / "one.png")
    np.save(tmp_path / "many.npy", makers.pictures(1700, seed=2, size=8))
    (path,) = parts_of(tmp_path / "many.npy", tmp_path, 1, extractor=tiny)
    names = [name for name in np.load(path).files if name.startswith("moment_")]
    assert len(names) == 3  # of 14 leaves: 8 + 4 + 2
