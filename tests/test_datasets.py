"""Sides as they lie in storage: URLs, tars of a WebDataset, Parquet with image bytes."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt.datasets import open_dataset
from genmetrics_rt.sides import open_side
from genmetrics_rt.sources import Undecodable
from tests import makers
from tests.s3_server import serving

PICTURES = makers.pictures(60, seed=3)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


ENCODED = [png(pixels) for pixels in PICTURES]


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars of 20 samples: image, class and text of each, as webdataset writes them."""
    folder = tmp_path_factory.mktemp("webdataset")
    for shard in range(3):
        members = {}
        for row in range(20):
            key = f"{shard * 20 + row:06}"
            members |= {f"{key}.png": ENCODED[shard * 20 + row], f"{key}.cls": b"3", f"{key}.caption.txt": b"a dot"}
        if shard == 1:
            members["lost.txt"] = b"its image is missing"
        write_tar(folder / f"train-{shard:04}.tar", members)
    return folder


@pytest.fixture(scope="module")
def expected(tiny: Path) -> np.ndarray:
    return gm.make_reference(PICTURES, extractor=tiny).features.values


def features(side: object, tiny: Path) -> np.ndarray:
    return gm.make_reference(side, extractor=tiny).features.values


def test_tars_by_pattern_and_by_folder(tars: Path, tiny: Path, expected: np.ndarray) -> None:
    for side in (f"{tars}/train-{{0000..0002}}.tar", f"{tars}/train-*.tar", str(tars)):
        source = open_side(side)
        assert len(source) == 60 and source.entry_name(25) == "train-0001.tar/000025.png"
        # Annotations belong to their images; a file without one is told.
        assert [entry.name for entry in source.skipped] == ["train-0001.tar/lost.txt"]
        assert np.array_equal(features(side, tiny), expected)


def test_a_pattern_must_name_something(tars: Path, tmp_path: Path) -> None:
    with pytest.raises(gm.MissingInput, match=r"train-0003\.tar does not exist"):
        open_side(f"{tars}/train-{{0002..0003}}.tar")
    with pytest.raises(gm.MissingInput, match="no file has such a name"):
        open_side(f"{tmp_path}/*.tar")
    makers.image_folder(tmp_path / "images", 3)
    with pytest.raises(gm.InputError, match=r"3 files, 0000\.png among them"):
        open_side(f"{tmp_path}/images/*.png")


def test_more_files_than_are_open_at_a_time(tiny: Path, expected: np.ndarray, tmp_path: Path) -> None:
    for row in range(60):
        write_tar(tmp_path / f"{row:02}.tar", {"image.png": ENCODED[row]})
    write_tar(tmp_path / "99.tar", {"only.txt": b"no image"})
    assert np.array_equal(features(str(tmp_path), tiny), expected)


class TestParquet:
    @pytest.fixture(autouse=True)
    def arrow(self) -> None:
        self.arrow = pytest.importorskip("pyarrow")
        self.parquet = pytest.importorskip("pyarrow.parquet")

    def write(self, path: Path, columns: dict[str, object], group: int = 16) -> None:
        self.parquet.write_table(self.arrow.table(columns), path, row_group_size=group)

    def test_bytes_and_structs(self, tiny: Path, expected: np.ndarray, tmp_path: Path) -> None:
        kind = self.arrow.struct([("bytes", self.arrow.binary()), ("path", self.arrow.string())])
        as_structs = [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(ENCODED)]
        self.write(tmp_path / "plain.parquet", {"label": list(range(60)), "jpg": ENCODED})
        for part in range(2):  # as Hugging Face's datasets library writes them
            rows = slice(30 * part, 30 * part + 30)
            folder = tmp_path / "hf"
            folder.mkdir(exist_ok=True)
            self.write(
                folder / f"train-0000{part}-of-00002.parquet",
                {"image": self.arrow.array(as_structs[rows], kind), "label": list(range(30))},
            )
        for side in (tmp_path / "plain.parquet", tmp_path / "hf", f"{tmp_path}/hf/train-*.parquet"):
            assert np.array_equal(features(side, tiny), expected)
        assert open_side(tmp_path / "hf").entry_name(31) == "train-00001-of-00002.parquet/row 1"

    def test_rows_that_cannot_be_used_are_listed(self, tiny: Path, tmp_path: Path) -> None:
        kind = self.arrow.struct([("bytes", self.arrow.binary()), ("path", self.arrow.string())])
        rows = [{"bytes": data, "path": None} for data in ENCODED[:10]]
        rows[2] = {"bytes": None, "path": "/data/2.png"}
        rows[5] = {"bytes": b"no image", "path": None}
        rows[7] = None
        self.write(tmp_path / "some.parquet", {"image": self.arrow.array(rows, kind)})
        done = gm.make_reference(tmp_path / "some.parquet", extractor=tiny)
        assert done.summary.num_images == 7
        reasons = {entry.name: entry.reason for entry in done.summary.skipped}
        assert set(reasons) == {f"some.parquet/row {row}" for row in (2, 5, 7)}
        assert "only the path /data/2.png" in reasons["some.parquet/row 2"]
        assert "empty" in reasons["some.parquet/row 7"]

    def test_which_column(self, tmp_path: Path) -> None:
        path = tmp_path / "table.parquet"
        self.write(path, {"mask": ENCODED, "image": ENCODED})
        assert open_side(path).read(0).encoded == ENCODED[0]
        self.write(path, {"left": ENCODED, "right": ENCODED})
        with pytest.raises(gm.UnreadableInput, match=r"several columns of image bytes \(found left: binary, right"):
            open_side(path)
        self.write(path, {"label": [1, 2]})
        with pytest.raises(gm.UnreadableInput, match="no column of image bytes"):
            open_side(path)
        path.write_bytes(b"PAR1 and nothing more")
        with pytest.raises(gm.UnreadableInput, match="no readable Parquet file"):
            open_side(path)

    def test_parts(self, tiny: Path, tmp_path: Path) -> None:
        self.write(tmp_path / "many.parquet", {"image": ENCODED * 5}, group=50)
        for index in range(2):
            gm.make_shard(tmp_path / "many.parquet", tmp_path / f"{index}.npz", index=index, of=2, extractor=tiny)
        merged = gm.merge_shards([tmp_path / "1.npz", tmp_path / "0.npz"])
        assert np.array_equal(merged.features.values, features(tmp_path / "many.parquet", tiny))


class TestUrls:
    @pytest.fixture()
    def memory(self) -> Iterator[object]:
        fsspec = pytest.importorskip("fsspec")
        files = fsspec.filesystem("memory")
        yield files
        files.store.clear()

    def test_image_files(self, memory: object, tiny: Path, expected: np.ndarray) -> None:
        for row, data in enumerate(ENCODED):
            memory.pipe(f"/bucket/real/{row // 30}/{row:03}.png", data)
        memory.pipe("/bucket/real/readme.md", b"about")
        source = open_side("memory://bucket/real/")
        assert source.entry_name(31) == "1/031.png" and source.skipped[0].name == "readme.md"
        assert np.array_equal(features("memory://bucket/real", tiny), expected)
        memory.rm("/bucket/real/0/005.png")
        with pytest.raises(Exception, match="cannot be read"):
            source.read(5)

    def test_tars_and_parquet(self, memory: object, tars: Path, tiny: Path, expected: np.ndarray) -> None:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        for path in tars.iterdir():
            memory.pipe(f"/bucket/{path.name}", path.read_bytes())
        with memory.open("/set/all.parquet", "wb") as file:
            parquet.write_table(arrow.table({"image": ENCODED}), file)
        for side in ("memory://bucket/train-{0000..0002}.tar", "memory://bucket", "memory://set/all.parquet"):
            assert np.array_equal(features(side, tiny), expected)

    def test_a_file_url_names_what_the_path_does(self, tmp_path: Path) -> None:
        pytest.importorskip("fsspec")
        makers.image_folder(tmp_path / "images", 5)
        one, other = open_side(f"file://{tmp_path}/images"), open_side(tmp_path / "images")
        assert [one.entry_name(row) for row in range(5)] == [other.entry_name(row) for row in range(5)]
        assert one.digest(3) == other.digest(3)

    def test_what_is_wrong_is_said(self, memory: object, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(gm.MissingInput, match="memory://nowhere does not exist"):
            open_side("memory://nowhere")
        with pytest.raises(gm.InputError, match="nonsense://x cannot be opened"):
            open_side("nonsense://x")
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(gm.MissingPackage, match=r"genmetrics-rt\[data\]"):
            open_dataset("s3://bucket/real")

    def test_s3(self, tiny: Path, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        """Through pyarrow's driver, as s3fs is not installed; the store is on the loopback."""
        pytest.importorskip("fsspec")
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        monkeypatch.setitem(sys.modules, "s3fs", None)
        table = io.BytesIO()
        parquet.write_table(arrow.table({"image": ENCODED}), table)
        files = {f"real/{row // 30}/{row:03}.png": data for row, data in enumerate(ENCODED)}
        with serving({**files, "set/all.parquet": table.getvalue()}) as environment:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            assert open_side("s3://bucket/real").entry_name(31) == "1/031.png"
            for side in ("s3://bucket/real", "s3://bucket/set/all.parquet", "s3://bucket/set/*.parquet"):
                assert np.array_equal(features(side, tiny), expected)


class TestNothingVanishes:
    """What a pattern or a folder stands for is read or listed, or the side is refused."""

    def test_several_folders(self, tmp_path: Path, tars: Path) -> None:
        for row in range(3):
            makers.image_folder(tmp_path / f"f{row}", 5)
        with pytest.raises(gm.InputError, match=r"several folders, and .*f0 holds image files \(0000\.png\)"):
            open_side(f"{tmp_path}/f{{0..2}}")
        for row in range(2):  # the same names in both
            (tmp_path / f"s{row}").mkdir()
            write_tar(tmp_path / f"s{row}/a.tar", {"0.png": ENCODED[row]})
        (tmp_path / "s1" / "notes.md").write_text("about")
        source = open_side(f"{tmp_path}/s{{0..1}}")
        assert [source.entry_name(row) for row in range(2)] == ["s0/a.tar/0.png", "s1/a.tar/0.png"]
        assert [entry.name for entry in source.skipped] == ["notes.md"]
        (tmp_path / "s1" / "a.tar").unlink()
        with pytest.raises(gm.EmptySide, match=r"s1, one of .* holds no tars"):
            open_side(f"{tmp_path}/s{{0..1}}")

    def test_images_beside_a_table_win_behind_a_url_too(self, tmp_path: Path) -> None:
        fsspec = pytest.importorskip("fsspec")
        makers.image_folder(tmp_path, 20)
        (tmp_path / "index.parquet").write_bytes(b"labels")
        files = fsspec.filesystem("memory")
        files.put(str(tmp_path), "/mixed", recursive=True)
        try:
            sides = [open_side(value) for value in (str(tmp_path), f"file://{tmp_path}", "memory://mixed")]
        finally:
            files.store.clear()
        for source in sides:
            assert len(source) == 20 and [entry.name for entry in source.skipped] == ["index.parquet"]

    def test_what_lies_beside_and_in_tars_is_listed(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "a.tar", {"0.png": ENCODED[0]})
        write_tar(tmp_path / "b.tar", {f"{row}.jxl": b"jxl" for row in range(9)})
        (tmp_path / "picture.heic").write_bytes(b"heic")
        (tmp_path / "readme.md").write_text("about")
        (tmp_path / "._0.tar").write_bytes(b"litter of macOS")
        (tmp_path / ".old.tar").write_bytes(b"")
        source = open_side(str(tmp_path))
        assert len(source) == 1
        assert {entry.name: entry.reason.split(";")[0] for entry in source.skipped} == {
            **{f"b.tar/{row}.jxl": ".jxl images are not read" for row in range(9)},
            "picture.heic": ".heic images are not read",
            "readme.md": "not an image file",
            ".old.tar": "a hidden file",
        }
        with pytest.raises(gm.EmptySide, match=r"9 × \.jxl"):
            open_side(f"{tmp_path}/b*.tar")
        (tmp_path / "more").mkdir()
        (tmp_path / ".old.tar").unlink()
        for name in ("picture.heic", "readme.md"):
            (tmp_path / name).unlink()
        assert [entry.name for entry in open_side(f"{tmp_path}/*").skipped if "jxl" not in entry.name] == ["more/"]

    def test_a_linked_folder_of_tars(self, tmp_path: Path, tars: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "train").symlink_to(tars)
        assert len(open_side(tmp_path / "set")) == 60

    def test_a_file_counts_once(self, tmp_path: Path) -> None:
        for row in range(1, 11):
            write_tar(tmp_path / f"{row}.tar", {"0.png": ENCODED[row]})
        assert len(open_side(f"{tmp_path}/{{1..10}}*.tar")) == 10


def test_what_is_there_by_its_name_is_no_pattern(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for row, name in enumerate(("a[1].parquet", "a1.parquet", "b{1..2}.parquet")):
        parquet.write_table(arrow.table({"image": ENCODED[row : row + 1]}), tmp_path / name)
        assert open_side(str(tmp_path / name)).read(0).encoded == ENCODED[row]
    (tmp_path / "[v2]").mkdir()
    write_tar(tmp_path / "[v2]" / "0.tar", {"0.png": ENCODED[7]})
    assert open_side(str(tmp_path / "[v2]")).read(0).encoded == ENCODED[7]
    assert open_side(f"{tmp_path}/a[1].parquet").read(0).encoded == ENCODED[0]


def test_one_image_of_a_sample(tmp_path: Path) -> None:
    """The same for one tar by its path and by a pattern."""
    members = {
        "000.jpg": ENCODED[0], "000.mask.png": ENCODED[1], "000.png": ENCODED[2], "000.cls": b"3",
        "001.left.png": ENCODED[3], "001.right.png": ENCODED[4], "frame.0001.png": ENCODED[5], "lost.cls": b"4",
    }  # fmt: skip
    write_tar(tmp_path / "a.tar", members)
    alone, by_pattern = open_side(tmp_path / "a.tar"), open_side(f"{tmp_path}/*.tar")
    used = ["000.jpg", "001.left.png", "001.right.png", "frame.0001.png"]
    assert [alone.entry_name(row) for row in range(4)] == used
    assert [by_pattern.entry_name(row) for row in range(4)] == [f"a.tar/{name}" for name in used]
    skipped = {
        "000.mask.png": "another image of the sample 000.jpg",
        "000.png": "another image of the sample 000.jpg",
        "lost.cls": "not an image file",
    }
    assert {entry.name: entry.reason for entry in alone.skipped} == skipped
    assert {entry.name: entry.reason for entry in by_pattern.skipped} == {
        f"a.tar/{key}": skipped[key] for key in skipped
    }


def test_classes_are_folders_in_the_tars(tmp_path: Path, tiny: Path) -> None:
    for half in range(2):
        rows = range(25 * half, 25 * half + 25)
        write_tar(tmp_path / f"{half}.tar", {f"{'cat' if row % 2 else 'dog'}/{row}.png": ENCODED[row] for row in rows})
    done = gm.evaluate_by_class(str(tmp_path), f"{tmp_path}/*.tar", extractor=tiny, intervals=False)
    assert {entry.name: entry.num_generated for entry in done.classes} == {"cat": 25, "dog": 25}
    write_tar(tmp_path / "2.tar", {"9.png": ENCODED[0]})
    with pytest.raises(gm.InputError, match=r"1 of 51 images lie in no class folder.*2\.tar/9\.png"):
        gm.evaluate_by_class(str(tmp_path), str(tmp_path), extractor=tiny)


def test_a_damaged_row_group_is_no_failure_of_the_moment(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "damaged.parquet"
    parquet.write_table(arrow.table({"image": ENCODED}), path, row_group_size=30)
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    source = open_side(path)
    with pytest.raises(Undecodable, match="row group cannot be read") as caught:
        source.read(0)
    assert not caught.value.transient and source.read(59).encoded == ENCODED[59]
