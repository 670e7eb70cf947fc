"""Folders and arrays as sources: a stable order, nothing lost without a word, the same from any thread."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.images import open_images
from genmetrics_rt.sources import MAX_FILE_BYTES, ArraySource, FolderSource, ImageSource, RawImage, Undecodable
from tests import makers


def put(root: Path, *names: str, content: bytes | None = None) -> Path:
    """Files that hold their own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if content is None else content)
    return root


def names(source: ImageSource) -> list[str]:
    return [source.entry_name(index) for index in range(len(source))]


def reasons(source: ImageSource) -> dict[str, str]:
    assert len({entry.name for entry in source.skipped}) == len(source.skipped)
    return {entry.name: entry.reason for entry in source.skipped}


def test_the_order_is_that_of_relative_paths_by_code_points(tmp_path: Path) -> None:
    expected = ["B.png", "a-b/z.png", "a.png", "a/10.png", "a/9.png", "b.PNG", "b/c/d.jpeg", "z.png", "é.png", "あ.png"]
    for order in (expected, expected[::-1]):
        root = put(tmp_path / str(order is expected), *order)
        source = open_images(root)
        assert names(source) == expected and source.skipped == ()
        assert [source.read(index).encoded.decode() for index in range(len(source))] == expected


def test_whatever_is_no_image_is_listed_with_its_reason(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "notes.txt", "noend", "raw/x.heic", ".secret.png", ".git/config", "deep/.cache/x.png")
    put(tmp_path, ".DS_Store", "._a.png", "deep/Thumbs.db", "desktop.ini", "__MACOSX/a.png")  # litter: not worth a word
    (tmp_path / "empty folder").mkdir()
    source = open_images(tmp_path)
    assert names(source) == ["a.png"]
    assert reasons(source) == {
        ".git/": "a hidden folder",
        ".secret.png": "a hidden file",
        "deep/.cache/": "a hidden folder",
        "noend": "not an image file",
        "notes.txt": "not an image file",
        "raw/x.heic": ".heic images are not read; convert them to PNG",
    }


def test_links_are_followed_and_no_folder_counts_twice(tmp_path: Path) -> None:
    root, elsewhere = put(tmp_path / "root", "real/a.png"), put(tmp_path / "elsewhere", "b.png", "sub/c.png")
    (root / "again").symlink_to(root / "real")  # comes before "real", which keeps its name all the same
    (root / "circle").symlink_to(root)
    (root / "file.png").symlink_to(elsewhere / "b.png")
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "myself.png").symlink_to(root / "myself.png")
    (root / "outside").symlink_to(elsewhere)
    (root / "outside2").symlink_to(elsewhere)
    source = open_images(root)
    assert names(source) == ["file.png", "outside/b.png", "outside/sub/c.png", "real/a.png"]
    assert reasons(source) == {
        "again/": "a link to a folder that is already included",
        "circle/": "a link to a folder that is already included",
        "gone.png": "a broken link",
        "myself.png": "a broken link",
        "outside2/": "a link to a folder that is already included",
    }


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.zip")
    source = open_images(tmp_path)
    assert names(source) == ["a.png"] and reasons(source)["pipe.png"] == "not a regular file"
    with pytest.raises(gm.UnreadableInput, match="no regular file"):
        open_images(tmp_path / "pipe.zip")


def test_what_cannot_be_read_is_a_reason_and_has_a_digest(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "large.png")
    source = open_images(tmp_path)
    (tmp_path / "a.png").unlink()
    with open(tmp_path / "large.png", "r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a hole: takes no room
    with pytest.raises(Undecodable, match="No such file"):
        source.read(0)
    with pytest.raises(Undecodable, match="larger than 1,073,741,824 bytes"):
        source.read(2)
    digests = {source.digest(index) for index in range(3)}
    assert len(digests) == 3 and all(len(digest) == 64 for digest in digests)
    put(tmp_path, "a.png")
    assert source.read(0).encoded == b"a.png" and source.digest(0) not in digests


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_listed_is_a_reason(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "closed/b.png")
    (tmp_path / "closed").chmod(0)
    try:
        source = open_images(tmp_path)
        assert names(source) == ["a.png"] and reasons(source)["closed/"].startswith("a folder that cannot be read")
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_listing_errors_are_reasons_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as root, by a file system that refuses."""
    put(tmp_path, "a.png", "closed/b.png")
    real = os.scandir

    def scandir(path: str) -> object:
        if path.rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    source = open_images(tmp_path)
    assert reasons(source) == {"closed/": "a folder that cannot be read: Permission denied"}
    with pytest.raises(gm.UnreadableInput, match="Permission denied"):
        open_images(tmp_path / "closed")


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")
def test_names_that_are_no_text_are_shown_harmlessly(tmp_path: Path) -> None:
    for name in (b"bad\xff.png", b"red\x1b[31m\n.png"):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(b"x")
    source = open_images(tmp_path)
    assert names(source) == ["bad\ufffd.png", "red\ufffd[31m\ufffd.png"]
    assert source.read(0).encoded == source.read(1).encoded == b"x"
    "\n".join(names(source)).encode("utf-8")


def test_digests_are_of_the_content_alone(tmp_path: Path) -> None:
    one, two = put(tmp_path / "1", "a.png", content=b"same"), put(tmp_path / "2", "b/c.jpg", content=b"same")
    assert open_images(one).digest(0) == open_images(two).digest(0) == hashlib.sha256(b"same").hexdigest()
    pixels = makers.pictures(2, size=6)
    assert ArraySource(pixels).digest(1) == RawImage("other", pixels=pixels[1]).digest != ArraySource(pixels).digest(0)
    flat, tall = np.zeros((1, 2, 8, 3), np.uint8), np.zeros((1, 8, 2, 3), np.uint8)
    assert ArraySource(flat).digest(0) != ArraySource(tall).digest(0)


def test_the_digest_tells_what_is_tried_as_tga(tmp_path: Path) -> None:
    digests = {name: RawImage(name, encoded=b"same").digest for name in ("a.png", "a.jpg", "a.tga", "b.VDA")}
    assert digests["a.png"] == digests["a.jpg"] != digests["a.tga"] == digests["b.VDA"]
    source = open_images(put(tmp_path, "a.tga", content=b"same"))
    assert source.digest(0) == source.read(0).digest == digests["a.tga"]


def test_arrays_of_every_accepted_shape() -> None:
    colour = makers.pictures(5, size=6)
    grey = colour[..., 0]
    for given, expected in (
        (colour, colour),
        (colour.transpose(0, 2, 1, 3), colour.transpose(0, 2, 1, 3)),
        (grey, np.stack([grey] * 3, -1)),
        (grey[..., None], np.stack([grey] * 3, -1)),
        (colour.tolist(), None),
    ):
        if expected is None:
            with pytest.raises(gm.InputError, match="uint8"):  # a list holds int64: the caller must say what he means
                open_images(given)
            continue
        source = open_images(given)
        assert names(source) == [f"image {index}" for index in range(5)] and source.name == f"array {given.shape}"
        for index in (4, 0, 2):
            pixels = source.read(index).pixels
            assert pixels is not None and pixels.flags.c_contiguous and (pixels == expected[index]).all()
    assert open_images(colour, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), r"round\(\)\.clip"),
        (np.zeros((4, 8, 8, 3), np.int64), "uint8"),
        (np.zeros((4, 3, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
        (np.zeros((4, 8, 8, 4), np.uint8), "expected"),
        (np.zeros((8, 8), np.uint8), "expected"),
        (np.zeros((4, 0, 8, 3), np.uint8), "no size"),
        (np.zeros((0, 8, 8, 3), np.uint8), "holds no images"),
        (np.zeros(4, object), "uint8"),
    ],
)
def test_other_arrays_are_refused_with_what_to_do(array: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(gm.InputError, match=message):
        open_images(array)
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(gm.InputError, match="Python objects" if array.dtype == object else message):
        open_images(tmp_path / "a.npy")


def test_npy_files_are_mapped_not_loaded(tmp_path: Path) -> None:
    array = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=np.uint8, shape=(60, 512, 512))
    array[:] = np.arange(60, dtype=np.uint8)[:, None, None]
    array.flush()
    tracemalloc.start()
    source = open_images(tmp_path / "a.npy")
    for index in reversed(range(60)):
        pixels = source.read(index).pixels
        assert pixels is not None and pixels.shape == (512, 512, 3) and (pixels[0] == index).all()
    assert tracemalloc.get_traced_memory()[1] < 8e6  # a few rows of 0.8 MB; all of them would be 47 MB
    tracemalloc.stop()


def test_a_million_rows_need_no_list_of_names() -> None:
    million = np.broadcast_to(np.zeros((1, 1, 1, 3), np.uint8), (1_000_000, 1, 1, 3))
    tracemalloc.start()
    source = open_images(million)
    assert len(source) == 1_000_000 and source.entry_name(999_999) == "image 999999"
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["folder", "array", "npy"])
def test_threads_read_the_same_as_one(kind: str, tmp_path: Path) -> None:
    pictures = makers.pictures(60, size=8)
    if kind == "folder":
        source = open_images(makers.image_folder(tmp_path / "images", 60))
    else:
        np.save(tmp_path / "a.npy", pictures)
        source = open_images(tmp_path / "a.npy" if kind == "npy" else pictures)
    alone = [(source.digest(index), source.read(index).digest) for index in range(60)]
    assert len(set(alone)) == 60 and all(one == two for one, two in alone)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda index: (source.digest(index), source.read(index).digest), range(60))) == alone


def test_wrong_paths_say_what_could_be_passed(tmp_path: Path) -> None:
    put(tmp_path, "one.png", "one.heic", "data.parquet", "data.arrow", "noend", "x/notes.txt", "x/more.txt")
    (tmp_path / "empty").mkdir()
    for name, error, message in (
        ("nowhere", gm.MissingInput, "does not exist"),
        ("one.png", gm.InputError, "single image"),
        ("one.heic", gm.InputError, "single image"),
        ("data.arrow", gm.UnreadableInput, r"ends in \.arrow"),
        ("data.parquet", gm.UnreadableInput, "no readable Parquet file"),
        ("noend", gm.UnreadableInput, "ends in nothing"),
        ("empty", gm.EmptySide, "it is empty"),
        ("x", gm.EmptySide, r"none of its 2 files is an image \(2 × not an image file"),
    ):
        with pytest.raises(error, match=message):
            open_images(tmp_path / name)
        with pytest.raises(error, match="the name he gave"):
            open_images(str(tmp_path / name), name="the name he gave")


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"PK\3\4 a zip", b"\x80\4K\1.", b"\x93NUMPY\1\0\x10\0{'descr': 7}    \n"]
)
def test_damaged_npy_files_are_refused(content: bytes, tmp_path: Path) -> None:
    put(tmp_path, "a.npy", content=content)
    with pytest.raises(gm.UnreadableInput, match=r"not a readable \.npy"):
        open_images(tmp_path / "a.npy")


def test_a_truncated_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", makers.pictures(4))
    content = (tmp_path / "a.npy").read_bytes()
    put(tmp_path, "a.npy", content=content[:-1])
    with pytest.raises(gm.UnreadableInput, match="readable"):
        open_images(tmp_path / "a.npy")


def test_sources_fulfil_the_protocol(tmp_path: Path) -> None:
    folder: ImageSource = FolderSource(put(tmp_path, "a.png"), "shown")  # mypy checks the assignment
    array: ImageSource = ArraySource(makers.pictures(1))
    assert folder.name == "shown" and array.skipped == ()
