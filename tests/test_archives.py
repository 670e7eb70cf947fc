"""Archives: the same images as the folder they were made from; hostile and damaged ones are refused, not followed."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import struct
import tarfile
import tempfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt import archives
from genmetrics_rt.images import open_images
from genmetrics_rt.sources import ImageSource, Undecodable
from tests import makers

PICTURE = b"a picture, or so it says"
ZEROS = bytes(20 << 20)  # 20 MB that a compressor turns into 20 kB


def make_zip(path: Path, *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        for name, content in members:
            archive.writestr(name, content)
    return path


def make_tar(path: Path, *members: tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def patched(path: Path, old: bytes, new: bytes, *, count: int = 1) -> Path:
    """The file with some bytes replaced where they stand, ``count`` times in all."""
    content = path.read_bytes()
    assert len(old) == len(new) and content.count(old) == count
    path.write_bytes(content.replace(old, new))
    return path


def images(source: ImageSource) -> dict[str, bytes]:
    return {source.entry_name(index): source.read(index).encoded for index in range(len(source))}


def reasons(source: ImageSource) -> list[tuple[str, str]]:
    return [(entry.name, entry.reason) for entry in source.skipped]


# The same images.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    makers.image_folder(root / "b", 20, seed=1)
    makers.image_folder(root / "B", 10, seed=2, suffix=".webp")
    (root / "a.txt").write_text("not an image")
    (root / ".hidden.png").write_bytes(b"x")
    (root / ".DS_Store").write_bytes(b"x")
    return root


def packed(folder: Path, kind: str, to: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    members = [(str(path.relative_to(folder)), path.read_bytes()) for path in reversed(sorted(files))]
    if kind.startswith(".zip"):
        compression = zipfile.ZIP_DEFLATED if kind == ".zip deflated" else zipfile.ZIP_STORED
        return make_zip(to / "images.zip", *members, compression=compression)
    members = [("./" + name, content) for name, content in members]  # as `tar -c .` writes them
    return make_tar(
        to / f"images{kind}", *members, mode={"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(kind[5:], "w")
    )


KINDS = [".zip", ".zip deflated", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_the_folder_it_was_made_from(kind: str, folder: Path, tmp_path: Path) -> None:
    from_folder, from_archive = open_images(folder), open_images(packed(folder, kind, tmp_path))
    assert list(images(from_archive).items()) == list(images(from_folder).items()) and len(from_archive) == 30
    assert [from_archive.digest(index) for index in range(30)] == [from_folder.digest(index) for index in range(30)]
    assert from_archive.skipped == from_folder.skipped and len(from_folder.skipped) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_threads_read_the_same_as_one(kind: str, folder: Path, tmp_path: Path) -> None:
    source = open_images(packed(folder, kind, tmp_path))
    alone = [source.read(index) for index in range(30)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(source.read, range(30))) == alone


def test_a_compressed_tar_is_known_by_its_content(tmp_path: Path) -> None:
    plain = make_tar(tmp_path / "a.tar", ("a.png", PICTURE)).read_bytes()
    for index, compress in enumerate((gzip.compress, bz2.compress, lzma.compress, bytes)):
        path = tmp_path / f"{index}.tar"
        path.write_bytes(compress(plain))
        assert images(open_images(path)) == {"a.png": PICTURE}
        assert images(open_images(path.rename(tmp_path / f"{index}.tgz"))) == {"a.png": PICTURE}


def test_files_are_closed_with_their_source(folder: Path, tmp_path: Path) -> None:
    """Not left to the garbage collector, which would warn of an unclosed file."""
    closed = []
    for kind in (".zip", ".tar", ".tar.gz"):
        source: Any = open_images(packed(folder, kind, tmp_path))
        file = getattr(source, "_tar", source)._file._file
        assert not file.closed
        del source
        closed.append(file.closed)
    assert closed == [True] * 3


# Hostile.


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "x/../../a.png", "C:/a.png", "c:a.png", "..\\a.png", "\\a.png"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_member_that_leads_outside_refuses_the_archive(make: Callable[..., Path], name: str, tmp_path: Path) -> None:
    path = make(tmp_path / ("a.zip" if make is make_zip else "a.tar"), ("fine.png", PICTURE), (name, b"x"))
    with pytest.raises(gm.UnreadableInput, match="outside the archive"):
        open_images(path)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_dots_and_colons_that_lead_nowhere_are_fine(make: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / ("a.zip" if make is make_zip else "a.tar")
    make(path, ("./a/./b..png", PICTURE), ("10:30.png", PICTURE), ("a//..c.png", b""), ("w\\in.png", PICTURE))
    source = open_images(path)
    assert list(images(source)) == ["10:30.png", "a/b..png", "w/in.png"]
    assert reasons(source) == [("a/..c.png", "a hidden file")]


def test_an_unsafe_folder_or_link_refuses_too(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", ("a.png", PICTURE), ("../x/", b""))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        entry = tarfile.TarInfo("../x")
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    for name in ("a.zip", "a.tar"):
        with pytest.raises(gm.UnreadableInput, match="outside the archive"):
            open_images(tmp_path / name)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", ("fine.png", PICTURE), ("secret.png", PICTURE))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(gm.UnreadableInput, match=r"secret\.png is encrypted"):
        open_images(path)


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "ratio.zip", ("fine.png", PICTURE), ("a.txt", ZEROS), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(gm.UnreadableInput, match="bomb"):
        open_images(path)
    claims = make_zip(tmp_path / "claims.zip", ("a.png", PICTURE))
    sizes = struct.pack("<II", len(PICTURE), len(PICTURE))
    patched(claims, sizes, struct.pack("<II", len(PICTURE), (1 << 30) + 1), count=2)
    with pytest.raises(gm.UnreadableInput, match="bomb"):
        open_images(claims)


def test_a_member_that_unpacks_to_more_than_it_says_is_cut_and_skipped(tmp_path: Path) -> None:
    path = make_zip(
        tmp_path / "a.zip", ("a.png", ZEROS[: 15 << 20]), ("b.png", PICTURE), compression=zipfile.ZIP_DEFLATED
    )
    patched(path, struct.pack("<I", 15 << 20), struct.pack("<I", 1000), count=2)
    source = open_images(path)
    tracemalloc.start()
    with pytest.raises(Undecodable, match="checksum"):
        source.read(0)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert source.read(1).encoded == PICTURE


@pytest.mark.parametrize("compress", [lzma.compress, bz2.compress])
def test_a_compressed_tar_that_is_a_bomb_is_refused(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", ("a.png", ZEROS))
    (tmp_path / "b.tar.xz").write_bytes(compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(gm.UnreadableInput, match="bomb"):
        open_images(tmp_path / "b.tar.xz")


def test_a_huge_tar_member_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "a.tar", "wb") as file:
        entry = tarfile.TarInfo("a.png")
        entry.size = (1 << 30) + 512
        file.write(entry.tobuf())
        file.truncate(512 + entry.size + 1024)  # a hole: takes no room
    with pytest.raises(gm.UnreadableInput, match="bomb"):
        open_images(tmp_path / "a.tar")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_too_many_members_are_refused(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    path = tmp_path / ("a.zip" if make is make_zip else "a.tar")
    assert len(open_images(make(path, *[(f"{index}.png", b"x") for index in range(3)]))) == 3
    with pytest.raises(gm.UnreadableInput, match="more than 3 members"):
        open_images(make(path, *[(f"{index}.png", b"x") for index in range(4)]))


# Odd members.


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_of_two_members_with_one_name_the_earlier_is_listed(make: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / ("a.zip" if make is make_zip else "a.tar")
    source = open_images(make(path, ("a.png", b"1"), ("b.png", b"2"), ("./a.png", b"3"), ("a.png", b"4")))
    assert images(source) == {"a.png": b"4", "b.png": b"2"}
    assert reasons(source) == [("a.png", "a later member of the archive has the same name")] * 2


def test_links_devices_and_holes_in_a_tar_are_listed(tmp_path: Path) -> None:
    types = {
        "block": tarfile.BLKTYPE, "char": tarfile.CHRTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE,
        "soft": tarfile.SYMTYPE, "sparse": tarfile.GNUTYPE_SPARSE,
    }  # fmt: skip
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind in types.items():
            entry = tarfile.TarInfo(f"{name}.png")
            entry.type, entry.linkname = kind, "/etc/passwd" if name in ("hard", "soft") else ""
            archive.addfile(entry)
        entry = tarfile.TarInfo("true.png")
        entry.size = len(PICTURE)
        archive.addfile(entry, io.BytesIO(PICTURE))
    source = open_images(tmp_path / "a.tar")
    assert images(source) == {"true.png": PICTURE}
    device, link = "no regular file, but a device or a pipe inside the archive", "a link inside the archive"
    assert reasons(source) == [
        ("block.png", device),
        ("char.png", device),
        ("hard.png", link),
        ("pipe.png", device),
        ("soft.png", link),
        ("sparse.png", "a sparse file inside the archive"),
    ]


def test_links_and_rare_compressions_in_a_zip_are_listed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("rare.png", PICTURE, compress_type=zipfile.ZIP_LZMA)
        archive.writestr("true.png", PICTURE)
    source = open_images(tmp_path / "a.zip")
    assert images(source) == {"true.png": PICTURE}
    assert [name for name, _ in reasons(source)] == ["link.png", "rare.png"]
    assert reasons(source)[0][1] == "a link inside the archive" and "method 14" in reasons(source)[1][1]


# Damaged.


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_one_skipped_image(compression: int, tmp_path: Path) -> None:
    members = [(f"{index}.png", np.random.default_rng(index).bytes(3000)) for index in range(3)]
    path = make_zip(tmp_path / "a.zip", *members, compression=compression)
    content = bytearray(path.read_bytes())
    content[content.index(b"1.png") + 1500] ^= 0xFF
    path.write_bytes(content)
    source = open_images(path)
    with pytest.raises(Undecodable, match="damaged in the archive"):
        source.read(1)
    assert len(source.digest(1)) == 64
    assert (source.read(0).encoded, source.read(2).encoded) == (members[0][1], members[2][1])


def test_a_member_that_lies_elsewhere_is_one_skipped_image(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", ("a.png", PICTURE), ("b.png", PICTURE))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 42, 7)  # where the directory says that a.png begins
    path.write_bytes(content)
    with pytest.raises(Undecodable, match="header"):
        open_images(path).read(0)
    assert open_images(path).read(1).encoded == PICTURE


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".npz"])
def test_what_is_no_archive_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    for content in (
        b"",
        b"hello",
        b"\x1f\x8b\x08 but no more",
        b"PK\3\4" + bytes(100),
        b"BZh9" + bytes(50),
        bytes(700),
    ):
        path.write_bytes(content)
        if ending.startswith(".tar") and not any(content):
            with pytest.raises(gm.InputError, match=r"empty|readable"):  # zeros are an empty tar
                open_images(path)
            continue
        with pytest.raises(gm.UnreadableInput, match=r"not a readable \.?(zip|tar|npz)"):
            open_images(path)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_archives_are_refused(kind: str, folder: Path, tmp_path: Path) -> None:
    path = packed(folder, kind, tmp_path)
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.8):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(gm.UnreadableInput, match="not a readable"):
            open_images(path)


def test_a_damaged_header_in_a_tar_loses_nothing_silently(tmp_path: Path) -> None:
    """tarfile itself takes the damage for the end of the archive."""
    path = make_tar(tmp_path / "a.tar", ("1.png", PICTURE), ("2.png", PICTURE), ("3.png", PICTURE))
    content = bytearray(path.read_bytes())
    content[1024] ^= 1
    path.write_bytes(content)
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["1.png"]
    with pytest.raises(gm.UnreadableInput, match=r"damaged at byte 1,024"):
        open_images(path)
    one, two = (make_tar(tmp_path / f"{name}.tar", (f"{name}.png", PICTURE)).read_bytes() for name in "ab")
    path.write_bytes(one + two)  # as `cat` would join them
    with pytest.raises(gm.UnreadableInput, match="damaged at byte"):
        open_images(path)


def test_a_tar_that_becomes_shorter_is_skipped_from_there(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", ("1.png", PICTURE), ("2.png", PICTURE))
    source = open_images(path)
    with open(path, "r+b") as file:
        file.truncate(1030)
    assert source.read(0).encoded == PICTURE
    with pytest.raises(Undecodable, match="cut off"):
        source.read(1)


class FullDisk(io.BytesIO):
    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("ending", [".tar.gz", ".npz"])
def test_a_full_disk_is_named(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "IN_MEMORY_BYTES", 0)
    if ending == ".npz":
        np.savez_compressed(tmp_path / "a.npz", images=makers.pictures(3))
    else:
        make_tar(tmp_path / "a.tar.gz", ("a.png", PICTURE), mode="w:gz")
    monkeypatch.setattr(tempfile, "TemporaryFile", FullDisk)
    with pytest.raises(gm.InputError, match=r"No space left on device\. Free some disk space"):
        open_images(tmp_path / f"a{ending}")


# Arrays in an .npz.


@pytest.fixture(params=["in memory", "mapped"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "mapped":
        monkeypatch.setattr(archives, "IN_MEMORY_BYTES", 0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", ["colour", "grey", "one channel", "Fortran"])
def test_an_npz_is_the_array_in_it(save: Callable[..., None], shape: str, tmp_path: Path) -> None:
    colour = makers.pictures(40, size=7)
    array = {"grey": colour[..., 0], "one channel": colour[..., :1], "Fortran": np.asfortranarray(colour)}.get(
        shape, colour
    )
    save(tmp_path / "a.npz", images=array, labels=np.arange(40), names=np.array(["é"] * 40))
    expected, source = open_images(array), open_images(tmp_path / "a.npz")
    assert len(source) == 40 and source.entry_name(7) == "image 7"
    order = [*range(40), *reversed(range(40)), *np.random.default_rng(0).permutation(40).tolist()]
    alone = [source.read(index) for index in order]
    for index, raw in zip(order, alone, strict=True):
        assert np.array_equal(raw.pixels, expected.read(index).pixels)
        assert source.digest(index) == raw.digest == expected.digest(index)
    with ThreadPoolExecutor(8) as pool:
        for one, raw in zip(pool.map(source.read, order), alone, strict=True):
            assert np.array_equal(one.pixels, raw.pixels)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_large_npz_takes_no_memory(
    save: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "IN_MEMORY_BYTES", 1 << 20)
    large = np.broadcast_to(makers.pictures(1, size=256)[0], (250, 256, 256, 3)).copy()  # 49 MB
    large[:, 0, 0, 0] = np.arange(250)
    save(tmp_path / "a.npz", large)
    del large
    tracemalloc.start()
    source = open_images(tmp_path / "a.npz")
    for index in (0, 249, 100, 99, 3):
        pixels = source.read(index).pixels
        assert pixels is not None and pixels[0, 0, 0] == index
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_which_array_of_an_npz_is_meant(tmp_path: Path) -> None:
    one, two = makers.pictures(3, size=6), makers.pictures(5, size=6)
    for arrays, length in (
        ({"images": one, "arr_0": two}, 3),
        ({"masks": two, "images": one}, 3),
        ({"arr_0": one, "arr_1": two}, 3),
        ({"x": one, "y": np.arange(3), "z": two.astype(np.float32)}, 3),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        assert len(open_images(tmp_path / "a.npz")) == length
    for arrays, message in (
        ({"train": one, "test": two}, "more than one array of images"),
        ({"x": one.astype(np.float32)}, r"no array of images \(found x: float32\[3, 6, 6, 3\]\).*brought to 0…255"),
        ({"x": np.arange(3, dtype=np.uint8)}, "no array of images"),
        ({}, "found nothing"),
        ({"images": one[:, :, :, :2]}, "expected"),
        ({"images": one[:0]}, "holds no images"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(gm.InputError, match=message):
            open_images(tmp_path / "a.npz")


def test_pickles_in_an_npz_are_never_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
            return (exec, ("raise SystemExit('pickle code ran')",))

    evil = np.array([Evil()] * 3, object)
    np.savez(tmp_path / "a.npz", images=evil)
    with pytest.raises(gm.UnreadableInput, match=r"found images: object\[3\]"):
        open_images(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", labels=evil, images=makers.pictures(3))
    assert len(open_images(tmp_path / "a.npz")) == 3


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_npz_files_are_refused(compression: int, tmp_path: Path) -> None:
    path, header = tmp_path / "a.npz", "{{'descr': '|u1', 'fortran_order': False, 'shape': {}}}"
    for members, message in (
        ([("images.npy", npy(header.format("(2, 4, 4, 3)"), bytes(95)))], "not as long as its shape"),
        ([("images.npy", npy(header.format("(2, 4, 4, 3)"), bytes(97)))], "not as long as its shape"),
        ([("images.npy", npy(header.format("(-2, -4, 4, 3)"), bytes(96)))], "not as long as its shape"),
        ([("images.npy", npy(header.format("(4611686018427387904, 4, 4, 3)")))], "not as long as its shape"),
        ([("images.npy", npy(header.format("(0, 4611686018427387904, 4, 3)")))], "readable|no images"),
        ([("images.npy", npy("__import__('os')"))], "not a readable"),
        ([("images.npy", b"no array")], "magic"),
        ([("images.npy", npy(header.format("(1, 1, 1, 3)"), b"abc"))] * 2, "same name"),
    ):
        make_zip(path, *members, compression=compression)
        with pytest.raises(gm.InputError, match=message):
            open_images(path)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_whose_checksum_does_not_hold_is_refused(save: Callable[..., None], tmp_path: Path) -> None:
    save(tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(gm.UnreadableInput, match=r"not a readable \.npz"):
        open_images(tmp_path / "a.npz")


def test_an_npz_that_is_a_bomb_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((200, 200, 200, 3), np.uint8))
    with pytest.raises(gm.UnreadableInput, match="bomb"):
        open_images(tmp_path / "a.npz")


def test_hostile_bytes_never_do_worse_than_be_refused(folder: Path, tmp_path: Path) -> None:
    """Random bytes changed in small archives of every kind: refused, or read with reasons; nothing else is raised."""
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "images.npz", images=makers.pictures(2, size=6))
    paths = [tmp_path / "images.npz"]
    paths += [packed(folder, kind, tmp_path) for kind in (".zip deflated", ".tar", ".tar.gz")]
    refused = used = 0
    for path in paths:
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for place in rng.integers(0, len(content), 4).tolist() + (len(content) - rng.integers(1, 400, 4)).tolist():
                content[place] = int(rng.integers(256))
            path.write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                try:
                    source = open_images(path)
                except gm.InputError:
                    refused += 1
                    continue
            for index in range(len(source)):
                try:
                    source.read(index)
                except Undecodable:
                    continue
                used += 1
    assert refused > 20 and used > 20


def test_the_shipped_digits_open() -> None:
    source = open_images(Path(gm.__file__).parent / "examples" / "digits.npz")
    assert len(source) == 1797
    pixels = source.read(1796).pixels
    assert pixels is not None and pixels.shape[-1] == 3


@pytest.mark.data
def test_real_archives(data: Path) -> None:
    source = open_images(data / "images" / "fashion_mnist_test.zip")
    assert len(source) == 10_000
    assert all(source.read(index).encoded.startswith(b"\x89PNG") for index in range(0, 10_000, 500))
    suite = open_images(data / "odd" / "pngsuite.zip")
    assert len(suite) + len(suite.skipped) == len(zipfile.ZipFile(data / "odd" / "pngsuite.zip").namelist())
