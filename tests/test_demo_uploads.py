"""Uploads of the demo: what is taken, under which names, and every hostile file refused with nothing left behind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import random
import struct
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt import decode, sources
from tests import hostile, makers

DEMO = str(Path(__file__).parents[1] / "demo")
if DEMO not in sys.path:
    sys.path.append(DEMO)  # behind everything else: its plain names shadow nothing

from uploads import Limits, Refused, Side, accept, doors, images, names, tars  # noqa: E402

MEGABYTE = 1_000_000


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Where the browser's files lie."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def refuse(job: Path) -> Callable[..., str]:
    """Give files to `accept`, which must refuse them in little memory and leave nothing behind; the message."""

    def refuse(*paths: Path, limits: Limits | None = None, memory: int = 40 * MEGABYTE) -> str:
        tracemalloc.start()
        try:
            with pytest.raises(Refused) as caught:
                accept(paths, job / "side", limits)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert list(job.iterdir()) == []
        assert peak < memory
        message = str(caught.value)
        assert str(job) not in message and message.endswith(".") and message.count(". ") >= 1
        return message

    return refuse


def png(seed: int = 0, size: int = 16, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(makers.picture(np.random.default_rng(seed), size)).save(file, kind)
    return file.getvalue()


def vast_png(width: int, height: int) -> bytes:
    """A whole header that declares so many pixels, and hardly any data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def zip_of_zeros(path: Path, name: str, size: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        for _ in range(size // MEGABYTE):
            file.write(bytes(MEGABYTE))
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


PICTURES = {f"set/{seed}.png": png(seed) for seed in range(3)}


# What is taken.


def require_all_used(side: Side, tiny: Path) -> None:
    """The runtime uses every image that the summary counts, and skips nothing."""
    summary = gm.make_reference(side.path, extractor=tiny, device="cpu", strict=True).summary
    assert (summary.num_images, summary.skipped) == (side.num_images, ())


def test_images_keep_their_names_and_are_counted_in_words(inbox: Path, job: Path, tiny: Path) -> None:
    paths = [write(inbox / f"{seed}.png", png(seed)) for seed in range(12)]
    side = accept(paths, job / "side")
    assert side.summary == f"12 PNG images, 16 × 16, {sum(path.stat().st_size for path in paths) / 1e3:.1f} kB"
    assert (side.kind, side.num_images) == ("images", 12)
    assert sorted(path.name for path in side.path.iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        path.unlink()  # Gradio tidies up whenever it likes
    require_all_used(side, tiny)


def test_the_content_says_what_a_file_is(inbox: Path, job: Path, tiny: Path) -> None:
    write(inbox / "no ending", png())
    write(inbox / "notes.txt", png(1, kind="JPEG"))
    write(inbox / "wrong.jpg", png(2, size=32))
    write(inbox / ".hidden.png", png(3))
    side = accept(sorted(inbox.iterdir()), job / "side")
    assert side.summary.startswith("4 images (3 PNG, 1 JPEG), 16 × 16 to 32 × 32, ")
    names = sorted(path.name for path in side.path.iterdir())
    assert names == ["hidden.png", "no ending.png", "notes.txt.jpeg", "wrong.jpg"]
    gm.make_reference(side.path, extractor=tiny, device="cpu", strict=True)


def test_one_broken_image_among_many_is_left_to_the_report(inbox: Path, job: Path, tiny: Path) -> None:
    paths = [write(inbox / f"{seed}.png", png(seed)) for seed in range(4)]
    paths.insert(0, write(inbox / "a cut.png", png()[:-60]))
    paths.insert(0, write(inbox / "a page.png", b"<!DOCTYPE html><html></html>"))
    paths.append(write(inbox / "notes.txt", b"Made on Monday."))
    side = accept(paths, job / "side")
    assert side.summary.startswith("5 PNG images") and side.summary.endswith("; 2 other files")
    summary = gm.make_reference(side.path, extractor=tiny, device="cpu").summary
    assert summary.num_images == 4
    assert [entry.name for entry in summary.skipped] == ["notes.txt", "a cut.png", "a page.png"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("..\\..\\boot.png", "boot.png"),
        ("<img src=x onerror=alert(1)>.png", "_img src=x onerror=alert(1)_.png"),
        ("a\u202egnp.exe.png", "a_gnp.exe.png"),
        ("line\nbreak\x00\x1b[31m.png", "line_break__[31m.png"),
        ("été 東京.png", "été 東京.png"),
        ("\udcff.png", "_.png"),
        ("x" * 300 + ".png", "x" * 196 + ".png"),
        ("東" * 100 + ".png", "東" * 65 + ".png"),
        ("", "file"),
        ("..", "file"),
    ],
)
def test_names_are_made_safe_and_stay_readable(given: str, kept: str) -> None:
    assert names.clean(given) == kept


def test_two_files_of_one_name_are_two_files(inbox: Path, job: Path) -> None:
    paths = []
    for index, name in enumerate(("a.png", "a.png", "A.PNG")):
        (inbox / str(index)).mkdir()
        paths.append(write(inbox / str(index) / name, png(index)))
    side = accept(paths, job / "side")
    assert sorted(path.name for path in side.path.iterdir()) == ["A (3).PNG", "a (2).png", "a.png"]
    assert {path.read_bytes() for path in side.path.iterdir()} == {png(index) for index in range(3)}


def packed_in(kind: str, path: Path) -> Path:
    if kind == "zip":
        return make_zip(path, PICTURES)
    return make_tar(path, PICTURES, "w:" + kind.removeprefix("tar").removeprefix("."))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("name", ["", "photo.png"])
def test_archives_are_read_in_place(kind: str, name: str, inbox: Path, job: Path, tiny: Path) -> None:
    path = packed_in(kind, inbox / (name or f"faces.{kind}"))
    side = accept([path], job / "side")
    assert side.summary == f"3 PNG images, 16 × 16, {path.stat().st_size / 1e3:.1f} kB"
    assert [path.name for path in (job / "side").iterdir()] == [side.path.name]
    assert side.path.stem == (name or "faces").removesuffix(".png") and side.path.suffix in (".zip", ".tar")
    require_all_used(side, tiny)


def test_a_broken_member_is_left_to_the_report(inbox: Path, job: Path, tiny: Path) -> None:
    more = {"cut.png": png()[:-60], "text.png": b"no image", "notes.txt": b"x", "__MACOSX/._0.png": b"x"}
    side = accept([make_zip(inbox / "faces.zip", more | PICTURES)], job / "side")
    summary = gm.make_reference(side.path, extractor=tiny, device="cpu").summary
    assert summary.num_images == 3 and side.num_images == 4
    assert [entry.name for entry in summary.skipped] == ["notes.txt", "cut.png", "text.png"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_images(save: Callable[..., None], inbox: Path, job: Path) -> None:
    images = makers.pictures(5)
    save(inbox / "images.npz", images)
    np.save(inbox / "images.npy", images)
    for name in ("images.npz", "images.npy"):
        side = accept([inbox / name], job / name)
        assert side.summary.startswith("5 images in an array, 16 × 16, ") and side.num_images == 5
        assert side.path == job / name / name


def test_features_and_statistics(inbox: Path, job: Path, tiny: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 6))
    np.save(inbox / "features.npy", features)
    mean, covariance = features.mean(axis=0), np.cov(features, rowvar=False)
    np.savez(inbox / "mu.npz", mu=mean, sigma=covariance)
    write(inbox / "mu.pkl", pickle.dumps({"mu": mean, "sigma": covariance}))
    gm.make_reference(features).save(inbox / "given.npz")
    gm.make_reference(makers.pictures(20), extractor="scattering", device="cpu").save(inbox / "ours.npz")
    sides = {path.name: accept([path], job / path.name) for path in inbox.iterdir()}
    assert {name: side.summary.rpartition(",")[0] for name, side in sides.items()} == {
        "features.npy": "features of 40 images, 6 numbers each",
        "mu.npz": "mean and covariance of 6 features",
        "mu.pkl": "mean and covariance of 6 features",
        "given.npz": "saved reference: 40 images, features",
        "ours.npz": "saved reference: 20 images, scattering",
    }
    scores = [gm.evaluate(sides["features.npy"].path, sides[name].path, metrics="fd").scores["fd"].value
              for name in ("mu.npz", "mu.pkl", "given.npz")]  # fmt: skip
    assert scores == pytest.approx([0, 0, 0], abs=1e-9)


def test_the_demo_tries_what_the_runtime_tries() -> None:
    assert {*images.FORMATS, "ICO"} == set(decode.FORMATS)
    assert set(images.SUFFIXES) == set(sources.IMAGE_SUFFIXES)
    assert {suffix for suffix, kind in images.SUFFIXES.items() if kind == "TGA"} == set(sources.TGA_SUFFIXES)
    assert {f".{kind.lower()}" for kind in images.FORMATS} - images.SUFFIXES.keys() == {".jpeg2000"}


# Too much, or too little.


def test_nothing_and_too_much(inbox: Path, refuse: Callable[..., str]) -> None:
    paths = [write(inbox / f"{seed}.png", png(seed)) for seed in range(4)]
    assert "Nothing was uploaded" in refuse()
    assert "4 files were uploaded: more than the 3 a side" in refuse(*paths, limits=Limits(num_files=3))
    assert "at most 0.5 kB a side" in refuse(*paths, limits=Limits(total_bytes=500))
    assert "0.png has" in refuse(*paths, limits=Limits(file_bytes=100))
    assert "faces.zip holds 3 images: more than the 2" in refuse(
        make_zip(inbox / "faces.zip", PICTURES), limits=Limits(num_files=2)
    )
    member = make_zip(inbox / "large.zip", {"large.png": bytes(MEGABYTE)})
    assert "large.png has 1.0 MB" in refuse(member, limits=Limits(file_bytes=MEGABYTE // 2))
    np.save(inbox / "images.npy", makers.pictures(3))
    assert "holds 3 images" in refuse(inbox / "images.npy", limits=Limits(num_files=2))
    np.save(inbox / "features.npy", np.ones((9, 2)))
    assert "features of 9 images" in refuse(inbox / "features.npy", limits=Limits(num_rows=8))
    np.savez(inbox / "mu.npz", mu=np.zeros(100), sigma=np.eye(100))
    assert "of statistics" in refuse(inbox / "mu.npz", limits=Limits(statistics_bytes=50_000))


def test_what_does_not_belong_together(inbox: Path, refuse: Callable[..., str]) -> None:
    image, archive = write(inbox / "a.png", png()), make_zip(inbox / "faces.zip", PICTURES)
    np.savez(inbox / "mu.npz", mu=np.zeros(3), sigma=np.eye(3))
    for together in ((image, archive), (archive, archive), (image, inbox / "mu.npz")):
        assert "Upload it alone, or images only" in refuse(*together)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"This is no image.\n", "a text, no image"),
        (b"<!DOCTYPE html>\n<html><body>", "a web page"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", "SVG"),
        (b"MZ\x90\x00\x03" + bytes(600), "a program"),
        (b"\x7fELF\x02\x01\x01" + bytes(600), "a program"),
        (b"#!/bin/sh\nrm -rf /\n", "a script"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a text"),
        (b"Rar!\x1a\x07\x00", "RAR"),
        (b"", "an empty file"),
        (random.Random(0).randbytes(900), "no image format"),
        (png()[:-60], "cut off or damaged"),
        (png()[:20], "damaged header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_is_named(content: bytes, reason: str, inbox: Path, refuse: Callable[..., str]) -> None:
    message = refuse(write(inbox / "cat.png", content))
    assert message.startswith("1 file was uploaded: none can be read as an image. cat.png: ") and reason in message
    message = refuse(make_zip(inbox / "cats.zip", {"a/cat.png": content}))
    assert message.startswith("cats.zip holds 1 file: none can be read as an image. cat.png: ") and reason in message


def test_only_the_first_reasons_are_told(inbox: Path, refuse: Callable[..., str]) -> None:
    message = refuse(*(write(inbox / f"{index}.png", b"text") for index in range(9)))
    assert message.count("a text, no image") == 3 and "; and 6 more. Upload PNG" in message


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 8_000), (8_000, 7_000)])
def test_an_image_that_declares_too_many_pixels(size: tuple[int, int], inbox: Path, refuse: Callable[..., str]) -> None:
    """One such file speaks against all: whoever has the others can leave it out."""
    good, vast = write(inbox / "a.png", png()), write(inbox / "vast.png", vast_png(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert "vast.png says it has " in refuse(good, vast)
        assert "vast.png says it has " in refuse(make_zip(inbox / "f.zip", PICTURES | {"vast.png": vast_png(*size)}))
        assert "vast.png says it has " in refuse(make_tar(inbox / "f.tar", PICTURES | {"vast.png": vast_png(*size)}))
    assert "even more pixels" in refuse(good, vast) or size == (8_000, 7_000)  # where a host makes warnings errors


def test_an_icon_is_refused_since_the_picture_in_it_may_be_of_any_size(inbox: Path, refuse: Callable[..., str]) -> None:
    icon = io.BytesIO()
    Image.new("RGB", (16, 16)).save(icon, "ICO")
    assert "is an icon" in refuse(write(inbox / "a.png", png()), write(inbox / "favicon.ico", icon.getvalue()))
    assert "is an icon" in refuse(make_zip(inbox / "f.zip", PICTURES | {"favicon.ico": icon.getvalue()}))


def test_a_tga_is_only_tried_where_its_name_says_so(inbox: Path, job: Path, refuse: Callable[..., str]) -> None:
    file = io.BytesIO()
    Image.fromarray(makers.pictures(1)[0]).save(file, "TGA")
    assert accept([write(inbox / "a.tga", file.getvalue())], job / "side").summary.startswith("1 TGA image, 16 × 16")
    with pytest.raises(Refused):
        accept([write(inbox / "a.png", file.getvalue())], job / "other")
    huge = struct.pack("<3B5B2H2H2B", 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 60_000, 2_000, 24, 0)
    with pytest.raises(Refused, match="says it has"):
        accept([write(inbox / "b.tga", huge)], job / "vast")


def test_links_and_pipes_among_the_uploads(inbox: Path, tmp_path: Path, refuse: Callable[..., str]) -> None:
    (inbox / "link.png").symlink_to(write(tmp_path / "secret.png", png()))
    os.mkfifo(inbox / "pipe.png")
    for name in ("link.png", "pipe.png"):
        assert f"{name} is no regular file" in refuse(inbox / name)


# Hostile zips.


def test_a_gigabyte_of_zeros(inbox: Path, refuse: Callable[..., str]) -> None:
    assert "unpacks to more than" in refuse(zip_of_zeros(inbox / "bomb.zip", "a.png", 1_001 * MEGABYTE))


def test_a_smaller_bomb_and_one_of_many_members(inbox: Path, refuse: Callable[..., str]) -> None:
    assert "decompression bomb" in refuse(zip_of_zeros(inbox / "bomb.zip", "a.png", 100 * MEGABYTE))
    many = make_zip(inbox / "many.zip", {f"{index}.png": bytes(2 * MEGABYTE) for index in range(50)})
    assert "decompression bomb" in refuse(many)


def test_a_zip_of_zips_holds_no_images(inbox: Path, refuse: Callable[..., str]) -> None:
    inner = zip_of_zeros(inbox / "inner.zip", "a.png", 100 * MEGABYTE).read_bytes()
    message = refuse(make_zip(inbox / "nested.zip", {f"{index}.zip": inner for index in range(16)}))
    assert "holds no images, but 16 × .zip. Unpack the archives inside it first." in message


def test_a_directory_without_end(inbox: Path, refuse: Callable[..., str]) -> None:
    """200,000 names take a hundred times the memory that 5,000 take; they are refused before any is parsed."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + b"a.png"
    directory = entry * 200_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 4, 0)
    path = write(inbox / "many.zip", b"PK\3\4" + directory + end)
    assert "list of files in many.zip is longer" in refuse(path)
    names = {f"{index:05}/{'x' * 400}.png": b"" for index in range(3_000)}  # honest, but long
    assert "list of files" in refuse(
        make_zip(inbox / "long.zip", names, zipfile.ZIP_STORED), limits=Limits(num_files=500)
    )


def test_members_that_overlap(inbox: Path, refuse: Callable[..., str]) -> None:
    """One kernel of data behind many headers, as in Fifield's zip bomb."""
    content = make_zip(inbox / "two.zip", {"a.png": png(1), "b.png": png(2)}, zipfile.ZIP_STORED).read_bytes()
    path = write(inbox / "overlap.zip", hostile.in_directory(content, 42, struct.pack("<L", 0), b"b.png"))
    assert "overlap one another" in refuse(path)
    start = content.index(b"PK\3\4", 4)
    path = write(inbox / "long.zip", hostile.in_directory(content, 20, struct.pack("<L", start), b"a.png"))
    assert "overlap one another" in refuse(path)


def test_sizes_that_lie(inbox: Path, job: Path, tiny: Path, refuse: Callable[..., str]) -> None:
    """A member that unpacks to more than it says is cut there; one that says too much is believed and refused."""
    zeros = zip_of_zeros(inbox / "zeros.zip", "a.png", 60 * MEGABYTE).read_bytes()
    with zipfile.ZipFile(inbox / "zeros.zip") as archive:
        assert archive.infolist()[0].extra == b""  # so the plain field counts
    small = write(inbox / "small.zip", hostile.in_directory(zeros, 24, struct.pack("<L", 100), b"a.png"))
    assert "none can be read" in refuse(small)
    honest = make_zip(inbox / "honest.zip", PICTURES).read_bytes()
    large = hostile.in_directory(honest, 24, struct.pack("<L", 0xFFFF0000), b"set/2.png")
    assert "unpacks to more than" in refuse(write(inbox / "large.zip", large))
    mixed = hostile.in_directory(honest, 24, struct.pack("<L", 50), b"set/2.png")
    side = accept([write(inbox / "mixed.zip", mixed)], job / "side")
    summary = gm.make_reference(side.path, extractor=tiny, device="cpu").summary
    assert summary.num_images == 2 and [entry.name for entry in summary.skipped] == ["set/2.png"]


def test_headers_that_contradict_the_directory(inbox: Path, refuse: Callable[..., str]) -> None:
    """The picture that is checked must be the picture that is decoded."""
    content = make_zip(inbox / "honest.zip", PICTURES).read_bytes()
    path = write(inbox / "other.zip", hostile.in_header(content, 30, b"SET", b"set/1.png"))
    assert "other.zip is damaged or cut off" in refuse(path)


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"])
def test_members_that_lead_outside(name: str, inbox: Path, refuse: Callable[..., str]) -> None:
    assert "points outside" in refuse(make_zip(inbox / "f.zip", PICTURES | {name: png()}))
    assert "points outside" in refuse(make_tar(inbox / "f.tar", PICTURES | {name: png()}))


def test_links_in_a_zip(inbox: Path, refuse: Callable[..., str]) -> None:
    for mode, what in ((0o120777, "a link"), (0o010644, "a device or a pipe"), (0o020644, "a device or a pipe")):
        with zipfile.ZipFile(inbox / "f.zip", "w") as archive:
            archive.writestr("a.png", png())
            entry = zipfile.ZipInfo("b.png")
            entry.external_attr = mode << 16
            archive.writestr(entry, "/etc/passwd")
        assert f"b.png is {what}" in refuse(inbox / "f.zip")


def test_encrypted_and_uncommonly_packed_members(inbox: Path, refuse: Callable[..., str]) -> None:
    content = make_zip(inbox / "f.zip", PICTURES).read_bytes()
    path = write(inbox / "g.zip", hostile.in_directory(content, 8, struct.pack("<H", 1), b"set/1.png"))
    assert "Pack the images again without a password" in refuse(path)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # which zipfile unpacks without a bound
        assert "uncommon way" in refuse(make_zip(inbox / "h.zip", PICTURES, method))


def test_zips_without_images(inbox: Path, refuse: Callable[..., str]) -> None:
    assert "without any file" in refuse(make_zip(inbox / "empty.zip", {}))
    assert "without any file" in refuse(make_zip(inbox / "folder.zip", {"a/": b""}))
    message = refuse(make_zip(inbox / "texts.zip", {"a.txt": b"a", "b.txt": b"b", "c": b"c", ".hidden.png": png()}))
    assert "holds no images, but 2 × .txt, 1 × no ending, 1 × .png" in message


# Hostile tars.


def test_links_devices_pipes_and_holes_in_a_tar(inbox: Path, refuse: Callable[..., str]) -> None:
    kinds = {
        tarfile.SYMTYPE: "a link",
        tarfile.LNKTYPE: "a link",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a pipe",
        tarfile.GNUTYPE_SPARSE: "a file with holes",
    }
    for kind, reason in kinds.items():
        with tarfile.open(inbox / "f.tar", "w") as archive:
            good = tarfile.TarInfo("a.png")
            good.size = len(png())
            archive.addfile(good, io.BytesIO(png()))
            entry = tarfile.TarInfo("b.png")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        assert reason in refuse(inbox / "f.tar")


@pytest.mark.parametrize("opened", [gzip.open, bz2.open, lzma.open])
def test_compressed_bombs(opened: Callable[..., io.BufferedIOBase], inbox: Path, refuse: Callable[..., str]) -> None:
    entry = tarfile.TarInfo("a.png")
    entry.size = 70 * MEGABYTE
    with opened(inbox / "bomb.tar.x", "wb") as file:
        file.write(entry.tobuf())
        for _ in range(70):
            file.write(bytes(MEGABYTE))
    assert "decompression bomb" in refuse(inbox / "bomb.tar.x")
    assert "unpacks to more than" in refuse(inbox / "bomb.tar.x", limits=Limits(unpacked_bytes=50 * MEGABYTE))
    with opened(inbox / "text.x", "wb") as file:
        file.write(bytes(20 * MEGABYTE))
    assert "no archive of files (tar)" in refuse(inbox / "text.x")


def test_an_xz_that_asks_for_gigabytes(inbox: Path, refuse: Callable[..., str]) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 64 << 20}]
    packed = bytearray(lzma.compress(bytes(1000), lzma.FORMAT_XZ, filters=filters))
    size_at = 12 + 4  # of the dictionary, in the header of the first block
    packed[size_at] = 39  # 3 GB
    packed[20:24] = struct.pack("<L", zlib.crc32(packed[12:20]))
    path = write(inbox / "memory.tar.xz", bytes(packed))
    with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
        lzma.LZMADecompressor(memlimit=1 << 30).decompress(bytes(packed))  # it does ask for them
    assert "is damaged or cut off (Memory usage limit" in refuse(path)


def test_headers_of_a_tar_that_fill_the_memory(inbox: Path, refuse: Callable[..., str]) -> None:
    """Extended headers of megabytes, and one of digits on which older Pythons take quadratic time."""
    for size in (100 * MEGABYTE, 15_000):
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XHDTYPE, size
        with (inbox / "f.tar").open("wb") as file:
            for _ in range(1 if size > MEGABYTE else 1_500):
                file.write(header.tobuf() + b"1" * size + bytes(-size % 512))
        message = refuse(inbox / "f.tar")
        assert "list of files in f.tar" in message or "is damaged" in message
    many = make_tar(inbox / "g.tar", {f"{index}.txt": b"" for index in range(2_000)})
    assert "list of files in g.tar" in refuse(many, limits=Limits(num_files=100))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_hostile_bytes_do_no_worse_than_be_refused(kind: str, inbox: Path, job: Path) -> None:
    content, rng = packed_in(kind, inbox / "f").read_bytes(), random.Random(0)
    for index in range(120):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 3, 30))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path = write(inbox / "g", bytes(changed[: rng.randrange(1, len(changed))] if index % 3 == 0 else changed))
        try:
            accept([path], job / str(index))
        except Refused:
            assert not (job / str(index)).exists()


# Hostile arrays.


def test_pickles_in_arrays(inbox: Path, refuse: Callable[..., str]) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.save(inbox / "f.npy", objects)
    np.savez(inbox / "f.npz", images=makers.pictures(2), mine=objects)
    np.savez(inbox / "g.npz", mu=objects, sigma=np.eye(3))
    nested = np.zeros(2, dtype=[("a", "f4"), ("b", object)])
    np.savez(inbox / "h.npz", images=makers.pictures(2), nested=nested)
    for name in ("f.npy", "f.npz", "g.npz", "h.npz"):
        assert "holds Python objects" in refuse(inbox / name)


def array_file(shape: tuple[int, ...], content: bytes, dtype: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
    return file.getvalue() + content


@pytest.mark.parametrize("shape", [(10**6, 10**6, 3), (1 << 62, 4, 4, 3), (-1, 4, 4, 3), (3, 4, 4, 3)])
def test_shapes_that_lie(shape: tuple[int, ...], inbox: Path, refuse: Callable[..., str]) -> None:
    content = array_file(shape, bytes(48))
    assert "takes" in refuse(write(inbox / "f.npy", content))
    assert "takes" in refuse(make_zip(inbox / "f.npz", {"images.npy": content}))
    features = array_file((10**9, 10**9), bytes(48), "<f8")
    assert "takes" in refuse(
        make_zip(inbox / "g.npz", {"mu.npy": array_file((3,), bytes(24), "<f8"), "sigma.npy": features})
    )


def test_array_bombs(inbox: Path, refuse: Callable[..., str]) -> None:
    def compressed(path: Path, key: str, array: np.ndarray) -> Path:
        np.savez_compressed(path, **{key: array})
        return path

    zeros = np.broadcast_to(np.zeros((1, 1000, 1000), np.uint8), (70, 1000, 1000))
    assert "decompression bomb" in refuse(compressed(inbox / "f.npz", "images", zeros))
    small = np.zeros((1, 8_000, 7_000), np.uint8)
    assert "pixels an image" in refuse(compressed(inbox / "g.npz", "images", small), limits=Limits(ratio=10_000))
    long = b"\x93NUMPY\2\0" + struct.pack("<L", 1 << 30) + bytes(60 * MEGABYTE)
    assert "header is damaged" in refuse(make_zip(inbox / "h.npz", {"images.npy": long}))
    nested = f"{{'descr': {'(' * 5000}".encode()
    deep = b"\x93NUMPY\1\0" + struct.pack("<H", len(nested)) + nested
    assert "header is damaged" in refuse(write(inbox / "i.npy", deep))


def test_arrays_of_something_else(inbox: Path, refuse: Callable[..., str]) -> None:
    np.save(inbox / "f.npy", np.zeros((3, 8, 8, 3), np.float32))
    assert "holds float32[3, 8, 8, 3]. Expected images as uint8" in refuse(inbox / "f.npy")
    np.savez(inbox / "f.npz", weights=np.zeros((3, 8)))
    assert "holds weights float64[3, 8]." in refuse(inbox / "f.npz")


# Hostile statistics.


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


def test_a_pickle_runs_nothing(inbox: Path, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inbox)
    for content in (pickle.dumps({"mu": Evil()}), hostile.torch_zip(hostile.call("os", "system", "touch owned"))):
        assert "evil" in refuse(write(inbox / "evil.pkl", content))
        assert not (inbox / "owned").exists()


def test_statistics_that_cannot_be_any(inbox: Path, refuse: Callable[..., str]) -> None:
    np.savez(inbox / "f.npz", mu=np.full(3, np.nan), sigma=np.eye(3))
    assert "f.npz: mu has NaN or infinity" in refuse(inbox / "f.npz")
    np.savez(inbox / "g.npz", mu=np.zeros(3))
    assert "g.npz has no sigma" in refuse(inbox / "g.npz")


def test_a_reference_of_ours_names_nothing_but_what_is_here(inbox: Path, refuse: Callable[..., str]) -> None:
    reference = gm.make_reference(makers.pictures(20), extractor="scattering", device="cpu")
    replace(reference, extractor=replace(reference.extractor, name="../../secret")).save(inbox / "f.npz")
    assert "made with the extractor secret, which is not here" in refuse(inbox / "f.npz")
    replace(reference, settings={"kid": {"subsets": 10**9}}).save(inbox / "g.npz")
    assert "settings that scattering does not have" in refuse(inbox / "g.npz")


def test_a_full_disk_is_told_and_leaves_nothing(
    inbox: Path, job: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., str]
) -> None:
    path = packed_in("tar.gz", inbox / "f.tar.gz")

    def full(path: Path) -> Iterator[bytes]:
        raise OSError(28, "No space left on device")
        yield b""

    monkeypatch.setattr(tars, "_unpacked", full)
    assert "no room left" in refuse(path)


def test_a_defect_of_ours_is_no_refusal_and_leaves_nothing(
    inbox: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "kind_of", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        accept([write(inbox / "a.png", png())], job / "side")
    assert list(job.iterdir()) == []
