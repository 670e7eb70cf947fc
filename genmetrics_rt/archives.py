"""Images in archives, read where they lie: the members of a zip or tar, and the array of images in an ``.npz``.

Refused as a whole: an archive with a member whose path is absolute or holds ``..``, that is encrypted, or whose size
betrays a bomb; one that is damaged where its members are listed. Skipped with a reason: links, devices, sparse files,
the earlier ones of members with the same name, and a single member whose own bytes are damaged.

A compressed tar and a large compressed ``.npz`` cannot be read out of order. They are unpacked once, into a temporary
file that has no name and is gone with the source.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import math
import re
import stat
import struct
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.errors import InputError, UnreadableInput
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import (
    MAX_FILE_BYTES,
    NOT_AN_IMAGE,
    ArraySource,
    Entries,
    Undecodable,
    is_clutter,
    printable,
    reason_to_skip,
)

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_MEMBERS = 5_000_000
MAX_RATIO = 1_000  # unpacked to packed: no set of real images compresses like this …
MIN_BOMB_BYTES = 16 << 20  # … but a smaller thing does no harm
IN_MEMORY_BYTES = 64 << 20  # of an .npz array; a larger one is mapped, and takes no memory
_BLOCK = 1 << 20  # bytes copied at a time


class ZipSource(Entries):
    """The images of a zip: stored or deflated members."""

    def __init__(self, path: Path, name: str) -> None:
        listing = _Listing(name)
        with _refusing_damage(name, "zip"), zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    listing.require_safe(member.filename)
                    continue
                _require_readable(member, name)
                where = member.header_offset, member.compress_size, member.file_size, member.CRC, member.compress_type
                listing.add(member.filename, where, _why_not_in_zip(member))
            names, self._where = listing.sorted()
            self._file = _SharedFile(path.open("rb"))
        super().__init__(name, names, listing.skipped)

    def _content(self, index: int) -> bytes:
        header, packed_size, size, checksum, method = map(int, self._where[index])
        try:
            content = self._file.read(_start_of_data(self._file, header), packed_size)
            if method == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        except (OSError, ValueError, zlib.error) as error:
            transient = isinstance(error, OSError)
            raise Undecodable(f"damaged in the archive: {error}", transient=transient) from error
        if len(content) != size or zlib.crc32(content) != checksum:
            raise Undecodable("damaged in the archive: its checksum does not hold")
        return content


class TarFile:
    """The images of a tar, plain or compressed with gzip, bzip2 or xz; maybe none.

    Files whose names are the same up to the first dot are one sample, as in a WebDataset: what lies beside an image is
    its annotation, and not listed in ``skipped``. Where one of them is an image of a plain name (``7.jpg``), the first
    such is the image of the sample, and further ones (``7.mask.png``) are skipped with a reason.
    """

    def __init__(self, path: Path, name: str) -> None:
        listing = _Listing(name)
        with _refusing_damage(name, "tar"):
            file = _open_tar(path, name)
            self._file = _SharedFile(file)
            _list_tar(file, listing)
            self.names, self._where, self.skipped = listing.samples()

    def __len__(self) -> int:
        return len(self.names)

    def content(self, index: int) -> bytes:
        """The bytes of one image file. Raises `Undecodable`."""
        start, size = map(int, self._where[index])
        try:
            content = self._file.read(start, size)
        except OSError as error:
            raise Undecodable(f"cannot be read: {error.strerror or error}", transient=True) from error
        if len(content) != size:
            raise Undecodable("cut off: the archive became shorter")
        return content


class TarSource(Entries):
    """The images of one `TarFile` as a side."""

    def __init__(self, path: Path, name: str) -> None:
        self._tar = TarFile(path, name)
        super().__init__(name, self._tar.names, self._tar.skipped)

    def _content(self, index: int) -> bytes:
        return self._tar.content(index)


def open_npz(path: Path, name: str) -> ArraySource:
    """The array of uint8 images in an ``.npz``: ``images``, ``arr_0``, or the only one that can be images."""
    with _refusing_damage(name, ".npz"), zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError("two of its arrays have the same name")
        headers = {entry: _read_header(archive, member) for entry, member in members.items()}
        images = [entry for entry, header in headers.items() if header.may_be_images]
        chosen = next((entry for entry in ("images", "arr_0") if entry in images), images[0] if images else "")
        if not images or (len(images) > 1 and chosen not in ("images", "arr_0")):
            found = ", ".join(f"{entry}: {header.dtype}{list(header.shape)}" for entry, header in headers.items())
            count = "more than one array" if images else "no array"
            raise UnreadableInput(
                f"{name} holds {count} of images (found {found or 'nothing'}). "
                "Expected one of uint8 (N, H, W, 3) or (N, H, W), or several of which one is named images or arr_0. "
                "Other pixels must be brought to 0…255 and rounded by whoever knows what is black and white in them."
            )
        pixels = _load(path, archive, members[chosen], headers[chosen], name)
    return ArraySource(pixels, name)


# Listing.


class _Listing:
    """The members of an archive: where the images lie, and why the others are not used."""

    def __init__(self, archive: str) -> None:
        self.skipped: list[SkippedImage] = []
        self.archive = archive
        self._images: dict[str, tuple[int, ...]] = {}
        self._count = 0

    def add(self, member: str, where: tuple[int, ...], unusable: str | None) -> None:
        """Take a member that is no folder, with the numbers that find it again; of two with one name the later."""
        name = self.require_safe(member)
        if is_clutter(name):
            return
        reason = unusable or reason_to_skip(name)
        if reason is not None:
            self.skipped.append(SkippedImage(printable(name), reason))
            return
        if name in self._images:
            self.skipped.append(SkippedImage(printable(name), "a later member of the archive has the same name"))
        self._images[name] = where

    def require_safe(self, member: str) -> str:
        """The member's path in its plain form. One that leads out of the archive speaks against all of it."""
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise UnreadableInput(f"{self.archive} has more than {MAX_MEMBERS:,} members. Split it, or unpack it.")
        path = PurePosixPath(member.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member):
            raise UnreadableInput(
                f"{self.archive}: member {printable(member)!r} points outside the archive, so all of it is refused. "
                "Unpack it with a tool you trust and give the folder."
            )
        return str(path)

    def sorted(self) -> tuple[list[str], NDArray[np.int64]]:
        """Names in order and, compactly, the numbers of each."""
        names = sorted(self._images)
        return names, np.array([self._images[name] for name in names], np.int64)

    def samples(self) -> tuple[list[str], NDArray[np.int64], list[SkippedImage]]:
        """As `sorted`, with one image for each sample, and what is skipped without the annotations of images."""
        image_of: dict[str, str] = {}
        for name in sorted(self._images):
            if PurePosixPath(name).name.count(".") == 1:
                image_of.setdefault(_sample(name), name)
        for name in sorted(self._images):
            chosen = image_of.get(_sample(name), name)
            if chosen != name:
                del self._images[name]
                reason = f"another image of the sample {printable(chosen)}"
                self.skipped.append(SkippedImage(printable(name), reason))
        samples = set(map(_sample, self._images))
        return *self.sorted(), [
            entry for entry in self.skipped if entry.reason != NOT_AN_IMAGE or _sample(entry.name) not in samples
        ]


def _sample(name: str) -> str:
    """WebDataset's key of a member: its path up to the first dot of the file name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _require_readable(member: zipfile.ZipInfo, archive: str) -> None:
    if member.flag_bits & 1:
        raise UnreadableInput(f"{archive}: {printable(member.filename)} is encrypted. Unpack it and give the folder.")
    _require_sane_size(member.file_size, member.compress_size, f"{archive}: {printable(member.filename)}")


def _require_sane_size(size: int, packed_size: int, what: str) -> None:
    if max(size, packed_size) > MAX_FILE_BYTES or _is_bomb(size, packed_size):
        raise UnreadableInput(
            f"{what} would unpack from {packed_size:,} to {size:,} bytes: refused as a decompression bomb."
        )


def _is_bomb(size: int, packed_size: int) -> bool:
    return size > MIN_BOMB_BYTES and size > MAX_RATIO * packed_size


def _why_not_in_zip(member: zipfile.ZipInfo) -> str | None:
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link inside the archive"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compressed by method {member.compress_type}; a zip is read here if its members are stored or deflated"
    return None


def _why_not_in_tar(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return "a link inside the archive"
    if member.issparse():
        return "a sparse file inside the archive"
    return None if member.isfile() else "no regular file, but a device or a pipe inside the archive"


def _list_tar(file: IO[bytes], listing: _Listing) -> None:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # a million of them would stay in memory
            if member.isdir():
                listing.require_safe(member.name)
                continue
            unusable = _why_not_in_tar(member)
            if unusable is None:
                _require_sane_size(member.size, member.size, f"{listing.archive}: {printable(member.name)}")
            listing.add(member.name, (member.offset_data, member.size), unusable)
        end = archive.offset
    # tarfile takes a damaged header for the end of the archive, and a missing end for one: both lose members.
    file.seek(end)
    if not file.read(1):
        raise ValueError(f"cut off at byte {end:,}, where a tar says that it ends")
    file.seek(end)
    while block := file.read(_BLOCK):
        if block.count(0) < len(block):
            raise ValueError(f"damaged at byte {end:,}, where another member should begin or nothing more follow")


# Bytes.


class _SharedFile:
    """An open file that any thread may read at any place; closed when nobody holds it any more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = threading.Lock()
        weakref.finalize(self, file.close)

    def read(self, start: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)


def _start_of_data(file: _SharedFile, header: int) -> int:
    """Where the bytes of a zip member begin, behind its local header, whose length the directory does not tell."""
    local = file.read(header, 30)
    if len(local) < 30 or local[:4] != b"PK\3\4":
        raise ValueError("its header is not where the archive's directory says")
    name_size, extra_size = struct.unpack("<HH", local[26:])
    return header + 30 + int(name_size) + int(extra_size)


def _open_tar(path: Path, name: str) -> IO[bytes]:
    """The tar's plain bytes: the file itself, or its unpacked copy. The content tells, whatever the ending says."""
    with path.open("rb") as file:
        start = file.read(6)
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
    for magic, opener in openers.items():
        if start.startswith(magic):
            with opener(path, "rb") as packed:
                return _unpacked(packed, path.stat().st_size, name)
    return path.open("rb")


def _unpacked(packed: IO[bytes], packed_size: int, name: str) -> IO[bytes]:
    """A nameless temporary file with all that a decompressor yields."""
    with _needing_room(name):
        copy = tempfile.TemporaryFile()
    try:
        size = 0
        while block := packed.read(_BLOCK):
            size += len(block)
            if _is_bomb(size, packed_size):
                raise UnreadableInput(f"{name} unpacks to more than {size:,} bytes: refused as a decompression bomb.")
            with _needing_room(name):
                copy.write(block)
        with _needing_room(name):
            copy.seek(0)  # and so writes what is still in the buffer
    except BaseException:
        with contextlib.suppress(OSError):  # it may try once more to write what did not fit
            copy.close()
        raise
    return copy


@contextlib.contextmanager
def _needing_room(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{name} is compressed and has to be unpacked into a temporary file, which fails: "
            f"{error.strerror or error}. Free some disk space, or name a folder that has it in TMPDIR."
        ) from error


@contextlib.contextmanager
def _refusing_damage(name: str, kind: str) -> Iterator[None]:
    """On damaged bytes the parsers raise whatever comes; to the caller all of it means one thing."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UnreadableInput(f"{name} is not a readable {kind}: {reason}. Make or download it again.") from error


# Arrays.


class _Header:
    """What an ``.npy`` says of its array, and how many bytes it needs to say so."""

    def __init__(self, file: IO[bytes]) -> None:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, self.is_fortran, self.dtype = read(file)
        self.bytes = file.tell()

    @property
    def may_be_images(self) -> bool:
        return self.dtype == np.uint8 and len(self.shape) in (3, 4)


def _read_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    with archive.open(member) as file:
        return _Header(file)


def _load(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: _Header, name: str) -> ImageArray:
    """The array of one member, its checksum compared: in memory if it is small, else mapped."""
    if min(header.shape) < 0 or member.file_size != header.bytes + math.prod(header.shape):
        raise ValueError(f"{member.filename} is not as long as its shape {header.shape} needs")
    if _is_bomb(member.file_size, member.compress_size):
        raise UnreadableInput(f"{name} would unpack to {member.file_size:,} bytes: refused as a decompression bomb.")
    order: Any = "F" if header.is_fortran else "C"
    if member.file_size <= IN_MEMORY_BYTES:
        return np.ndarray(header.shape, np.uint8, archive.read(member), header.bytes, order=order)
    with archive.open(member) as content:
        if member.compress_type == zipfile.ZIP_STORED:
            while content.read(_BLOCK):  # zipfile compares the checksum at the end
                pass
            start = _start_of_data(_SharedFile(path.open("rb")), member.header_offset) + header.bytes
            return np.memmap(path, np.uint8, "r", start, header.shape, order)
        with _unpacked(content, member.compress_size, name) as copy:  # the mapping outlives the open file
            return np.memmap(copy, np.uint8, "r", header.bytes, header.shape, order)
