"""What visitors upload: looked at before anything is done with it, and kept under safe names in the job's own folder.

What a file is, its content says, never its name. One upload is one side: many images, or one file that stands for
a set of images.

=============================  =====================================================================================
upload                         what is kept in the folder
=============================  =====================================================================================
images                         each of them, under its own name as far as that is safe: reports show these names
zip, tar                       the archive as it is: `genmetrics_rt` reads the members where they lie
tar.gz, tar.bz2, tar.xz        the plain tar, unpacked here, since only here its size is bounded
npy, npz                       the array as it is
statistics (npz, pkl, pt)      the file as it is
=============================  =====================================================================================

`genmetrics_rt` itself never executes what a file holds, never writes where a member's name points, reads each member
in a bounded way and lists what it skips. Its bounds are those of a user's own machine: a gigabyte a file, 179 million
pixels an image, any number of files. Here the bounds are those of a machine that strangers share, and what an honest
archive does not have (links, devices, members that overlap) refuses it.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import itertools
import lzma
import math
import os
import re
import shutil
import stat
import tarfile
import time
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from PIL import Image

import genmetrics_rt as gm

# Those that genmetrics_rt reads, without ICO: the picture inside may be larger than an icon says. TGA has no
# signature, so it is only tried where the name says so.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "PSD", "QOI")
TRYING_SECONDS = 2.0  # to find one image that is whole; genmetrics_rt finds out about the others anyway
HARMLESS_BYTES = 64_000_000  # an archive that unpacks to less may have any ratio
LISTING_SECONDS = 4.0  # an honest archive within the limits is listed in half a second
_ENTRY_BYTES = 1_024  # of a zip's directory, for each file; of a tar's headers four times as many
_ZIP_ENDS = 1 << 18  # the end of a zip, with a comment of up to 64 kB, which zipfile reads twice
_LONG_HEADER = 16 << 10  # a tar's long names and extended attributes are shorter
_XZ_MEMORY = 256 << 20  # xz -9 needs 65 MB
_ARRAY_HEADER = 16 << 10  # NumPy itself takes no more than 10,000 characters
_BLOCK = 1 << 20
_NAME_BYTES = 200  # file systems take 255
_PICKLED = (".pkl", ".pickle", ".pt", ".pth")
_STATISTICS = {"mu", "sigma", "mu_s", "sigma_s", "feats"}  # names of arrays; those of a saved reference:
_REFERENCE = {"header", "mean", "covariance"}
_ADVICE = "Upload PNG, JPEG or WebP images, or a zip of them."


class Refused(gm.InputError):
    """An upload that is not taken: what it is, what that means, and what to do instead."""


@dataclass(frozen=True)
class Limits:
    """How much one side may be."""

    num_files: int = 5_000  # images
    num_rows: int = 50_000  # of features
    total_bytes: int = 500_000_000  # of all files together, or of the one archive or array file
    file_bytes: int = 50_000_000  # of one image
    unpacked_bytes: int = 1_000_000_000  # of an archive or array file
    ratio: int = 200  # unpacked to packed
    pixels: int = 50_000_000  # of one image
    statistics_bytes: int = 300_000_000


@dataclass(frozen=True)
class Side:
    """What `gm.evaluate` may be given."""

    path: Path
    summary: str  # "300 PNG images, 32 × 32, 0.4 MB"
    kind: str  # "images" | "features" | "statistics"
    num_images: int | None  # that seem usable; None where nobody knows


def accept(paths: Sequence[str | os.PathLike[str]], folder: Path, limits: Limits | None = None) -> Side:
    """Look at what was uploaded as one side, and keep it in ``folder``, which must not exist yet.

    Raises
    ------
    Refused
        Nothing usable, or something hostile, too large or ambiguous. Nothing of it is left then.
    """
    folder.mkdir(parents=True, mode=0o700)
    try:
        return _accept([Path(path) for path in paths], folder, limits or Limits())
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused("The server has no room left for this upload. Try again later, or with less.") from error
        raise


def _accept(paths: list[Path], folder: Path, limits: Limits) -> Side:
    if not paths:
        raise Refused(f"Nothing was uploaded for this side. {_ADVICE}")
    if len(paths) > limits.num_files:
        raise _too_many(f"{len(paths):,} files were uploaded", limits)
    total = sum(_size(path) for path in paths)
    if total > limits.total_bytes:
        raise Refused(
            f"The upload has {_megabytes(total)}, and at most {_megabytes(limits.total_bytes)} a side are taken here. "
            "Upload fewer or smaller images, or evaluate them on your own machine: pip install genmetrics-rt."
        )
    kinds = [_kind(path) for path in paths]
    containers = [path for path, kind in zip(paths, kinds, strict=True) if kind != "other"]
    if containers and len(paths) > 1:
        raise Refused(
            f"{_shown(containers[0])} is an archive, an array or a file of statistics, and stands for a whole side, "
            f"but {len(paths):,} files were uploaded together. Upload it alone, or images only."
        )
    if not containers:
        return _accept_images(paths, folder, limits)
    (path,) = paths
    return _DOORS[kinds[0]](path, folder, limits)


def _size(path: Path) -> int:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{_shown(path)} is no regular file, so it is not read. {_ADVICE}")
    return status.st_size


def _kind(path: Path) -> str:
    """A door in `_DOORS`, by the first bytes; "other" for images and for everything unknown."""
    with path.open("rb") as file:
        head = file.read(512)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "pickle"
    return "tar" if _is_tar(head) else "other"


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


_MAGIC = {
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",  # one without members
    b"\x93NUMPY": "npy",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}


# Images.


@dataclass
class _Seen:
    """What was found so far among files that may be images."""

    formats: Counter[str] = field(default_factory=Counter)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    broken: list[tuple[str, str]] = field(default_factory=list)  # name, reason
    tried: int = 0  # images that were decoded
    until: float = field(default_factory=lambda: time.monotonic() + TRYING_SECONDS)
    is_any_whole: bool = False

    @property
    def num_images(self) -> int:
        return self.formats.total()

    def look(self, name: str, opened: IO[bytes], limits: Limits) -> str | None:
        """The format that Pillow reads in a file, and decode it if none has been decoded yet; None if it is no image.

        Only the header is read, so thousands cost a second. `Refused` if it says more pixels than are decoded here.
        """
        tga = ("TGA",) if SUFFIXES.get(PurePosixPath(name).suffix.lower()) == "TGA" else ()
        try:
            with Image.open(opened, formats=FORMATS + tga) as image:
                if image.width * image.height > limits.pixels:
                    raise _too_many_pixels(name, f"{image.width:,} × {image.height:,} pixels", limits)
                kind, size = image.format or "", image.size
                self._decode(name, image)
        except (Refused, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_many_pixels(name, "even more pixels", limits) from error
        except Exception:  # every format has errors of its own
            head = _head(opened)
            if head.startswith(b"\0\0\1\0"):
                raise Refused(f"{name} is an icon, which is not taken here. Leave it out, or save it as PNG.") from None
            self.broken.append((name, _what(head)))
            return None
        self.formats[_FORMAT_NAMES.get(kind, kind)] += 1
        self.sizes.add(size)
        return kind

    def _decode(self, name: str, image: Image.Image) -> None:
        if self.is_any_whole or time.monotonic() > self.until:
            return
        self.tried += 1
        try:
            image.load()
            self.is_any_whole = True
        except MemoryError:
            raise
        except Exception as error:
            self.broken.append((name, f"cut off or damaged ({error})"))

    def require_any(self, what: str) -> None:
        """Raise `Refused` unless there is an image, and one of those that were tried is whole."""
        if self.is_any_whole or self.num_images > self.tried:
            return
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.broken[:3])
        more = f"; and {len(self.broken) - 3:,} more" if len(self.broken) > 3 else ""
        raise Refused(f"{what}: none can be read as an image. {reasons}{more}. {_ADVICE}")

    def summary(self, size: int) -> str:
        """ "300 PNG images, 32 × 32, 0.4 MB"."""
        count, kinds = self.num_images, self.formats.most_common()
        noun = "image" if count == 1 else "images"
        told = f"{count:,} {kinds[0][0]} {noun}"
        if len(kinds) > 1:
            told = f"{count:,} {noun} ({', '.join(f'{number:,} {kind}' for kind, number in kinds)})"
        by_area = sorted(self.sizes, key=math.prod)
        sizes = [f"{width:,} × {height:,}" for width, height in (by_area[0], by_area[-1])]
        return f"{told}, {' to '.join(dict.fromkeys(sizes))}, {_megabytes(size)}"


_FORMAT_NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "MPO": "JPEG", "DIB": "BMP"}


def _image_suffixes() -> dict[str, str]:
    Image.init()
    known = {*FORMATS, "TGA", "ICO", "MPO"}
    return {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in known}


SUFFIXES = _image_suffixes()  # ".jpg": "JPEG", …: the files that genmetrics_rt tries


def _accept_images(paths: list[Path], folder: Path, limits: Limits) -> Side:
    seen, names = _Seen(), _Names()
    for path in paths:
        if (size := _size(path)) > limits.file_bytes:
            raise _too_large(_shown(path), size, limits)
        name = _shown(path)
        with path.open("rb") as file:
            kind = seen.look(name, file, limits)
        if kind is not None:  # what is an image shall be read as one
            name = name.lstrip(".") or "image"
            if PurePosixPath(name).suffix.lower() not in SUFFIXES:
                name += f".{kind.lower()}" if f".{kind.lower()}" in SUFFIXES else ".jp2"  # JPEG2000, the only other
        _keep(path, folder / names.unused(name))
    seen.require_any(f"{len(paths):,} {'file was' if len(paths) == 1 else 'files were'} uploaded")
    total = sum(_size(path) for path in folder.iterdir())
    rest = len(paths) - seen.num_images
    summary = seen.summary(total) + (f"; {rest:,} other {'file' if rest == 1 else 'files'}" if rest else "")
    return Side(folder, summary, "images", seen.num_images)


def _head(opened: IO[bytes]) -> bytes:
    try:
        opened.seek(0)
        return opened.read(512)
    except Exception:  # a member of an archive that cannot be unpacked
        return b"\xff"


def _what(head: bytes) -> str:
    """What a file seems to be that is no image, in words."""
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            return what
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    if text.startswith(("<!doctype html", "<html", "<head", "<script", "<body")):
        return "a web page, no image"
    if text.startswith("<") and "<svg" in text:
        return "a vector drawing (SVG), which has no pixels: export it as PNG"
    if not head:
        return "an empty file"
    is_text = not any(byte < 9 or 13 < byte < 32 for byte in head)
    return "a text, no image" if is_text else "no image format that is read here, or a damaged header"


_OTHERS = {
    b"MZ": "a program, no image",
    b"\x7fELF": "a program, no image",
    b"\xcf\xfa\xed\xfe": "a program, no image",
    b"\xca\xfe\xba\xbe": "a program, no image",
    b"#!": "a script, no image",
    b"%PDF": "a PDF, no image",
    b"Rar!": "a RAR archive, which is not read here: pack a zip",
    b"7z\xbc\xaf": "a 7z archive, which is not read here: pack a zip",
}


# Archives.


def _accept_zip(path: Path, folder: Path, limits: Limits) -> Side:
    name = _shown(path)
    members = _list_zip(path, limits)
    files = [member for member in members if not member.is_dir()]
    if not files:
        raise Refused(f"{name} is an archive without any file in it. {_ADVICE}")
    if any(member.filename.rpartition("/")[2] == "data.pkl" for member in files):
        return _accept_pickle(path, folder, limits)
    if all(member.filename.endswith(".npy") for member in files):
        return _accept_npz(path, files, folder, limits)
    with zipfile.ZipFile(path) as archive:

        def opener(member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
            return lambda: archive.open(member)

        seen = _look_into(name, [(member.filename, member.file_size, opener(member)) for member in files], limits)
    kept = _keep(path, folder / _named(name, (".zip",)))
    return Side(kept, seen.summary(_size(kept)), "images", seen.num_images)


def _list_zip(path: Path, limits: Limits) -> list[zipfile.ZipInfo]:
    """The members of a zip, none of which is dangerous to look at."""
    name, packed = _shown(path), _size(path)
    with _refusing_damage(name), path.open("rb") as file:
        # A directory costs ten times its size in memory, and zipfile reads all of it before anybody can count.
        budget = limits.num_files * _ENTRY_BYTES + _ZIP_ENDS
        metered: Any = _Metered(file, name, longest=budget, budget=budget)
        with zipfile.ZipFile(metered) as archive:
            members = archive.infolist()
            end = archive.start_dir
    unpacked = 0
    for member in members:
        shown = f"{name}: {_clean(member.filename)}"
        _require_inside(member.filename, shown)
        if member.flag_bits & 1:
            raise Refused(f"{shown} is encrypted, so it cannot be read. Pack the images again without a password.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _irregular(shown, "a link" if kind == stat.S_IFLNK else "a device or a pipe")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused(f"{shown} is compressed in an uncommon way. Pack the images as a usual zip (deflate).")
        unpacked += member.file_size
    _require_modest(name, unpacked, packed, limits)
    places = sorted((member.header_offset, member.compress_size + len(member.orig_filename)) for member in members)
    for (start, size), (following, _) in itertools.pairwise([*places, (end, 0)]):
        if start < 0 or start + 30 + size > following:
            raise Refused(
                f"{name} holds files that overlap one another, as no honest archive does: refused as a decompression "
                "bomb. Pack the images again."
            )
    return members


def _accept_tar(path: Path, folder: Path, limits: Limits) -> Side:
    name = _shown(path)
    return _accept_plain_tar(_keep(path, folder / _named(name, (".tar",))), name, _size(path), limits)


def _accept_packed_tar(path: Path, folder: Path, limits: Limits) -> Side:
    name, packed, size = _shown(path), _size(path), 0
    tar = folder / _named(re.sub(r"(\.tar)?\.(gz|bz2|xz)$|\.t(gz|bz2?|xz)$", "", name, flags=re.I), (".tar",))
    with _refusing_damage(name), tar.open("xb") as copy:
        for block in _unpacked(path):
            if size == 0 and not _is_tar(block):
                raise Refused(f"{name} is a compressed file, but no archive of files (tar). {_ADVICE}")
            size += len(block)
            _require_modest(name, size, packed, limits)
            copy.write(block)
    return _accept_plain_tar(tar, name, packed, limits)


def _unpacked(path: Path) -> Iterator[bytes]:
    kind = _kind(path)
    if kind != "xz":
        with gzip.open(path) if kind == "gzip" else bz2.open(path) as packed:
            while block := packed.read(_BLOCK):
                yield block
        return
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)  # lzma.open knows no such limit
    with path.open("rb") as file:
        while not decompressor.eof:
            packed_block = file.read(_BLOCK) if decompressor.needs_input else b""
            if decompressor.needs_input and not packed_block:
                raise EOFError("cut off")
            if block := decompressor.decompress(packed_block, _BLOCK):
                yield block


def _accept_plain_tar(tar: Path, name: str, packed: int, limits: Limits) -> Side:
    with tar.open("rb") as file:
        members = _list_tar(file, name, limits)

        def opener(start: int, size: int) -> Callable[[], IO[bytes]]:
            def opened() -> IO[bytes]:
                file.seek(start)
                return io.BytesIO(file.read(size))

            return opened

        if not members:
            raise Refused(f"{name} is an archive without any file in it. {_ADVICE}")
        seen = _look_into(name, [(member, size, opener(start, size)) for member, start, size in members], limits)
    return Side(tar, seen.summary(packed), "images", seen.num_images)


def _list_tar(file: IO[bytes], name: str, limits: Limits) -> list[tuple[str, int, int]]:
    """Name, start and size of each regular file."""
    members: list[tuple[str, int, int]] = []
    metered: Any = _Metered(file, name, longest=_LONG_HEADER, budget=4 * limits.num_files * _ENTRY_BYTES)
    with _refusing_damage(name), tarfile.open(fileobj=metered, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # thousands would stay in memory
            shown = f"{name}: {_clean(member.name)}"
            _require_inside(member.name, shown)
            if member.issym() or member.islnk():
                raise _irregular(shown, "a link")
            if not member.isdir() and (not member.isfile() or member.issparse()):
                raise _irregular(shown, "a device, a pipe or a file with holes")
            if member.isfile():
                members.append((member.name, member.offset_data, member.size))
    return members


def _look_into(name: str, files: Sequence[tuple[str, int, Callable[[], IO[bytes]]]], limits: Limits) -> _Seen:
    """Look at the members that genmetrics_rt will read as images: (name, size, how to open it)."""
    images = [entry for entry in files if _may_be_image(entry[0])]
    if not images:
        suffixes = Counter(PurePosixPath(entry[0]).suffix.lower() or "no ending" for entry in files)
        found = ", ".join(f"{count:,} × {_clean(suffix)}" for suffix, count in suffixes.most_common(3))
        hint = " Unpack the archives inside it first." if suffixes.keys() & {".zip", ".tar", ".gz", ".tgz"} else ""
        raise Refused(f"{name} holds no images, but {found}.{hint} {_ADVICE}")
    if len(images) > limits.num_files:
        raise _too_many(f"{name} holds {len(images):,} images", limits)
    seen = _Seen()
    for member, size, opener in images:
        shown = _clean(member)
        if size > limits.file_bytes:
            raise _too_large(f"{name}: {shown}", size, limits)
        with _refusing_damage(name), opener() as opened:  # where the headers of a zip contradict its directory
            seen.look(shown, opened, limits)
    seen.require_any(f"{name} holds {len(images):,} {'file' if len(images) == 1 else 'files'}")
    return seen


def _may_be_image(member: str) -> bool:
    parts = PurePosixPath(member.replace("\\", "/")).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(member).suffix.lower() in SUFFIXES


class _Metered:
    """An open file for a parser that trusts it: so many bytes and so much time, then the upload is refused."""

    def __init__(self, file: IO[bytes], name: str, *, longest: int, budget: int) -> None:
        self._file, self._name, self._longest, self._left = file, name, longest, budget
        self._end = time.monotonic() + LISTING_SECONDS

    def read(self, size: int = -1) -> bytes:
        most = min(self._longest, self._left)
        content = self._file.read(most + 1 if size < 0 else min(size, most + 1))
        self._left -= len(content)
        if len(content) > most or time.monotonic() > self._end:
            raise Refused(
                f"The list of files in {self._name} is longer than that of any archive taken here. Pack fewer images, "
                "under short names."
            )
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


# Arrays and statistics.


def _accept_npy(path: Path, folder: Path, limits: Limits) -> Side:
    name = _shown(path)
    with path.open("rb") as file:
        array = _Array.read(file, _size(path), name)
    kept = _keep(path, folder / _named(name, (".npy",)))
    if array.dtype.kind == "f" and len(array.shape) == 2:
        _require_rows(name, array.shape[0], limits)
        count, dimension = array.shape
        return Side(kept, _features_summary(count, dimension, _size(kept)), "features", count)
    return _array_side(kept, name, {"": array}, limits)


def _accept_npz(path: Path, members: Sequence[zipfile.ZipInfo], folder: Path, limits: Limits) -> Side:
    name = _shown(path)
    arrays: dict[str, _Array] = {}
    with _refusing_damage(name), zipfile.ZipFile(path) as archive:
        for member in members:
            key = member.filename.removesuffix(".npy")
            with archive.open(member) as opened:
                arrays[key] = _Array.read(opened, member.file_size, f"{name}: {_clean(key)}")
    kept = _keep(path, folder / _named(name, (".npz",)))
    if arrays.keys() >= _REFERENCE or arrays.keys() & _STATISTICS:
        return _statistics_side(kept, name, sum(member.file_size for member in members), limits)
    return _array_side(kept, name, arrays, limits)


def _accept_pickle(path: Path, folder: Path, limits: Limits) -> Side:
    """Statistics of another tool; genmetrics_rt reads the pickle as data and runs nothing of it."""
    name = _shown(path)
    return _statistics_side(_keep(path, folder / _named(name, _PICKLED)), name, _size(path), limits)


def _statistics_side(kept: Path, name: str, size: int, limits: Limits) -> Side:
    if size > limits.statistics_bytes:
        raise Refused(
            f"{name} holds {_megabytes(size)} of statistics, and at most {_megabytes(limits.statistics_bytes)} are "
            "taken here. Mean and covariance of the Inception have 34 MB: leave single features out."
        )
    try:
        if kept.suffix == ".npz" and _is_reference(kept):
            return _reference_side(gm.Reference.load(kept), kept, name, limits)
        statistics = gm.read_statistics(kept)
    except gm.GenmetricsError as error:
        raise Refused(str(error).replace(str(kept), name)) from error
    if statistics.features is not None:
        _require_rows(name, len(statistics.features), limits)
        count, dimension = statistics.features.shape
        summary = _features_summary(count, dimension, _size(kept))
    else:
        summary = f"mean and covariance of {statistics.dimension:,} features, {_megabytes(_size(kept))}"
    return Side(kept, summary, "statistics", statistics.num_images)


def _is_reference(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return {member.removesuffix(".npy") for member in archive.namelist()} >= _REFERENCE


def _reference_side(reference: gm.Reference, kept: Path, name: str, limits: Limits) -> Side:
    """A file of ours. It names an extractor and settings, and whoever wrote it may have named anything."""
    extractor, settings = reference.extractor, dict(reference.settings)
    known: dict[str, Any] = {}
    if extractor.name in gm.list_bundles("extractor"):
        known = dict(gm.load_bundle(extractor.name).manifest.protocol(extractor.protocol).metrics)
    elif extractor.numeric_id != "given":
        raise Refused(
            f"{name} was made with the extractor {_clean(str(extractor.name))}, which is not here. Upload the images, "
            "or evaluate on your own machine: pip install genmetrics-rt."
        )
    if settings != known:
        raise Refused(f"{name} has settings that {extractor.name} does not have. Make it again, or upload the images.")
    _require_rows(name, len(reference.features.values), limits)
    count = reference.summary.num_images
    images = "an unknown number of images" if count is None else f"{count:,} images"
    return Side(kept, f"saved reference: {images}, {extractor.name}, {_megabytes(_size(kept))}", "statistics", count)


@dataclass(frozen=True)
class _Array:
    """What an ``.npy`` says of itself, once that is known to be true of its size."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def read(cls, opened: IO[bytes], size: int, name: str) -> _Array:
        head = io.BytesIO(opened.read(_ARRAY_HEADER))  # a header may claim to be gigabytes long
        try:
            version = np.lib.format.read_magic(head)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(head)
        except Exception as error:  # numpy evaluates a literal there, with all that this may raise
            raise Refused(f"{name} is no readable array: its header is damaged. Save it again.") from error
        if dtype.hasobject:
            raise Refused(
                f"{name} holds Python objects (a pickle), which only running somebody's code could load, so it is not "
                "opened. Save an array of numbers: np.save(file, images)."
            )
        needed = head.tell() + math.prod(shape) * dtype.itemsize
        if needed != size or min(shape, default=0) < 0:
            raise Refused(
                f"{name} says it is an array {list(shape)} of {dtype}, which takes {needed:,} bytes, but there are "
                f"{size:,}: it is damaged, or made to fill the memory. Save it again."
            )
        return cls(shape, dtype)

    @property
    def may_be_images(self) -> bool:
        return self.dtype == np.uint8 and len(self.shape) in (3, 4)


def _array_side(kept: Path, name: str, arrays: dict[str, _Array], limits: Limits) -> Side:
    images = {key: array for key, array in arrays.items() if array.may_be_images}
    for array in images.values():
        if array.shape[0] > limits.num_files:
            raise _too_many(f"{name} holds {array.shape[0]:,} images", limits)
        if math.prod(array.shape[1:3]) > limits.pixels:
            raise _too_many_pixels(name, f"{array.shape[1]:,} × {array.shape[2]:,} pixels an image", limits)
    if not images:
        found = ", ".join(
            f"{key and _clean(key)} {array.dtype}{list(array.shape)}".strip() for key, array in arrays.items()
        )
        raise Refused(
            f"{name} holds {found}. Expected images as uint8 (N, H, W, 3) or (N, H, W), or features as floats (N, D) "
            "in an .npy. Convert other pixels yourself, as only you know what is black and white in them."
        )
    key = next((key for key in ("images", "arr_0") if key in images), next(iter(images)))
    count, height, width = images[key].shape[:3]
    summary = f"{count:,} images in an array, {width:,} × {height:,}, {_megabytes(_size(kept))}"
    return Side(kept, summary, "images", count)


def _features_summary(count: int, dimension: int, size: int) -> str:
    return f"features of {count:,} images, {dimension:,} numbers each, {_megabytes(size)}"


_DOORS: dict[str, Callable[[Path, Path, Limits], Side]] = {
    "zip": _accept_zip,
    "tar": _accept_tar,
    "gzip": _accept_packed_tar,
    "bzip2": _accept_packed_tar,
    "xz": _accept_packed_tar,
    "npy": _accept_npy,
    "pickle": _accept_pickle,
}


# Refusals.


def _too_many(what: str, limits: Limits) -> Refused:
    return Refused(
        f"{what}: more than the {limits.num_files:,} a side that are taken here. Upload a random sample of them, or "
        "evaluate all on your own machine: pip install genmetrics-rt."
    )


def _too_large(what: str, size: int, limits: Limits) -> Refused:
    return Refused(
        f"{what} has {_megabytes(size)}, and one image may have {_megabytes(limits.file_bytes)} here. Leave it out, or "
        "save it smaller."
    )


def _too_many_pixels(name: str, what: str, limits: Limits) -> Refused:
    return Refused(
        f"{name} says it has {what}; more than {limits.pixels:,} are not decoded here (a decompression bomb says so "
        "too). Leave it out, or save it smaller."
    )


def _irregular(shown: str, what: str) -> Refused:
    return Refused(f"{shown} is {what}, and an archive of images needs none. Pack the image files themselves.")


def _require_inside(member: str, shown: str) -> None:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member):
        raise Refused(f"{shown} points outside the archive, so all of it is refused. Pack the folder itself again.")


def _require_modest(name: str, unpacked: int, packed: int, limits: Limits) -> None:
    if unpacked > limits.unpacked_bytes:
        raise Refused(
            f"{name} unpacks to more than {_megabytes(limits.unpacked_bytes)}, which is not taken here. Upload a "
            "random sample of the images, or evaluate all on your own machine: pip install genmetrics-rt."
        )
    if unpacked > HARMLESS_BYTES and unpacked > limits.ratio * packed:
        raise Refused(
            f"{name} would unpack from {_megabytes(packed)} to {_megabytes(unpacked)} or more: refused as a "
            "decompression bomb, since no real images are packed like this. Upload the images themselves."
        )


def _require_rows(name: str, rows: int, limits: Limits) -> None:
    if rows > limits.num_rows:
        raise Refused(
            f"{name} holds features of {rows:,} images, and at most {limits.num_rows:,} are taken here. Upload a "
            "random sample of the rows, or their mean and covariance."
        )


@contextlib.contextmanager
def _refusing_damage(name: str) -> Iterator[None]:
    """On damaged bytes the parsers raise whatever comes; to the visitor all of it means one thing."""
    try:
        yield
    except (Refused, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refused(f"{name} is damaged or cut off ({error or type(error).__name__}). Make it again.") from error


# Names.


class _Names:
    """File names that no two files share, on any file system."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def unused(self, name: str) -> str:
        path = PurePosixPath(name)
        variants: Iterable[str] = (f"{path.stem} ({number}){path.suffix}" for number in itertools.count(2))
        free = next(variant for variant in itertools.chain([name], variants) if variant.casefold() not in self._used)
        self._used.add(free.casefold())
        return free


def _shown(path: Path) -> str:
    """The name of an uploaded file as it may be shown, and kept."""
    return _clean(path.name)


def _clean(name: str) -> str:
    """Of a name from outside: one line, no separators, no invisible or direction-changing characters, no markup."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    name = "".join("_" if _is_unsafe(character) else character for character in name).strip()
    if not name.strip(". "):
        return "file"
    stem, dot, suffix = name.rpartition(".") if len(name.rpartition(".")[2]) < 10 else (name, "", "")
    room = _NAME_BYTES - len((dot + suffix).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + suffix


def _is_unsafe(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] == "C" or kind in ("Zl", "Zp") or character in '<>:"|?*&`$'


def _named(name: str, suffixes: Sequence[str]) -> str:
    """The name with one of these endings, by which genmetrics_rt knows what it is."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    return path.stem + (suffix if suffix in suffixes else suffixes[0]) if path.stem else "file" + suffixes[0]


def _keep(path: Path, kept: Path) -> Path:
    """Link the file into our folder, or copy it where that cannot be: the uploaded one may vanish at any time."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:
        shutil.copyfile(path, kept, follow_symlinks=False)
    return kept


def _megabytes(size: int) -> str:
    if size < 50_000:
        return f"{size / 1e3:,.1f} kB"
    return f"{size / 1e6:,.{1 if size < 10_000_000 else 0}f} MB"
