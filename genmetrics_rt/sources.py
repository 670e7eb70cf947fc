"""Images one by one: a source is a list of raw images that can be read in any order, again, and from any thread.

Nothing vanishes: whatever lies in a folder or an archive is an entry of its source, or it is in ``skipped`` with a
reason, hidden files and folders too. Ignored is only what an operating system leaves beside the user's files
(`is_clutter`), and in a tar the annotations of an image; folders count as no file. Order is that of the POSIX relative
paths by code points: the same on every system, in every locale, and in a folder as in an archive of it.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray, as_image_batch, as_numpy
from genmetrics_rt.errors import EmptySide, UnreadableInput
from genmetrics_rt.report import SkippedImage

MAX_FILE_BYTES = 1 << 30  # of one image file; a larger one is skipped

IMAGE_SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .bmp .dib .webp .tif .tiff .gif .pgm .ppm .pbm .pnm .pfm "
    ".jp2 .j2k .j2c .jpc .jpf .jpx .ico .psd .tga .icb .vda .vst .avif .avifs .qoi".split()
)
TGA_SUFFIXES = frozenset({".tga", ".icb", ".vda", ".vst"})  # TGA has no signature: only tried where the name says so
# Pictures to their owner, but not to us: their reason says so, instead of "not an image file".
OTHER_IMAGE_SUFFIXES = frozenset(".heic .heif .jxl .svg .exr .hdr .dng .cr2 .cr3 .nef .arw .dds .pcx .eps".split())
NOT_AN_IMAGE = "not an image file"
CLUTTER = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


class Undecodable(Exception):
    """One image cannot be used. The text is the reason in plain words; the other images still count.

    ``transient``: the reason is no property of the image, but of the moment (too many open files, no memory left), so
    another attempt may succeed and nobody may remember this one.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


@dataclass(frozen=True)
class RawImage:
    """One image before decoding: the bytes of an image file, or uint8 pixels (H, W, 3)."""

    name: str
    encoded: bytes = b""
    pixels: ImageArray | None = None

    @property
    def digest(self) -> str:
        """sha256 of the file's bytes, or of dtype, shape and bytes of the pixels: the same wherever the image lies.

        Bytes that are tried as TGA because of their name give other pixels than under another name, so another digest.
        """
        if self.pixels is None:
            prefix = b"TGA\n" if self.may_be_tga else b""
            return hashlib.sha256(prefix + self.encoded).hexdigest()
        content = hashlib.sha256(f"{self.pixels.dtype} {self.pixels.shape}\n".encode())
        content.update(np.ascontiguousarray(self.pixels).data)
        return content.hexdigest()

    @property
    def may_be_tga(self) -> bool:
        return PurePosixPath(self.name).suffix.lower() in TGA_SUFFIXES


def unreadable_digest(reason: Undecodable) -> str:
    """Stands for the digest of what cannot be read; another one as soon as it can be read again."""
    return hashlib.sha256(f"unreadable: {reason}".encode()).hexdigest()


class ImageSource(Protocol):
    """One side made of images. Thread-safe; ``read`` does not decode and keeps nothing in memory."""

    name: str  # "out/", "array (1000, 32, 32, 3)", …
    skipped: tuple[SkippedImage, ...]  # what lay beside the entries and cannot be an image

    def __len__(self) -> int:
        """How many entries there are; each may still turn out to be undecodable."""
        ...

    def entry_name(self, index: int) -> str:
        """The relative path, or "image 17": printable, whatever the file system holds."""
        ...

    def digest(self, index: int) -> str:
        """Content hash of an entry, 64 hex digits. Never raises `Undecodable`."""
        ...

    def read(self, index: int) -> RawImage:
        """The entry as it is stored. Raises `Undecodable` when it can no longer be read."""
        ...


class Entries:
    """What the sources of stored images share: names in order, and digests by reading."""

    is_remote = False  # reading waits for a network, so that many threads read faster than few

    def __init__(self, name: str, names: Sequence[str], skipped: Sequence[SkippedImage] = ()) -> None:
        self.name = name
        self.skipped = tuple(sorted(skipped, key=lambda entry: (entry.name, entry.reason)))
        self._names = names
        if not names:
            raise EmptySide(_nothing_usable(name, self.skipped))

    def __len__(self) -> int:
        return len(self._names)

    def entry_name(self, index: int) -> str:
        return printable(self._names[index])

    def inner_name(self, index: int) -> str:
        """The path in the folder or archive that holds the entry: its first folder is the class."""
        return self.entry_name(index)

    def read(self, index: int) -> RawImage:
        return RawImage(self.entry_name(index), encoded=self._content(index))

    def digest(self, index: int) -> str:
        try:
            return self.read(index).digest
        except Undecodable as reason:
            return unreadable_digest(reason)

    def _content(self, index: int) -> bytes:
        """The bytes of one file; sources of pixels override `read` instead."""
        raise Undecodable("has no bytes")


class FolderSource(Entries):
    """Every image file below a folder. Links are followed; a folder reached twice is counted once."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = str(root)
        super().__init__(name, *list_folder(self._root, name))

    def _content(self, index: int) -> bytes:
        try:
            with open(os.path.join(self._root, self._names[index]), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_FILE_BYTES:
                    raise Undecodable(too_large(size))
                return file.read()
        except OSError as error:
            # A file that is gone or forbidden stays so until somebody acts; its digest is another one then.
            lasting = isinstance(error, FileNotFoundError | PermissionError)
            raise Undecodable(f"cannot be read: {error.strerror or error}", transient=not lasting) from error


class ArraySource(Entries):
    """The rows of a uint8 array (N, H, W, 3), (N, H, W, 1) or (N, H, W). The array is viewed, not copied."""

    def __init__(self, value: Any, name: str | None = None) -> None:
        array = as_numpy(value)
        name = name or f"array {array.shape}"
        self._rows = as_image_rows(array, what=name)
        super().__init__(name, RowNames(len(self._rows)))

    def read(self, index: int) -> RawImage:
        return RawImage(self.entry_name(index), pixels=np.ascontiguousarray(self._rows[index]))


class RowNames(Sequence[str]):
    """ "image 0", "image 1", … without a list of them."""

    def __init__(self, count: int, what: str = "image") -> None:
        self._range, self._what = range(count), what

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index: Any) -> Any:
        return f"{self._what} {self._range[index]}"


def as_image_rows(array: NDArray[Any], *, what: str) -> ImageArray:
    """`as_image_batch` without a copy: grey is repeated by a view, so an array larger than memory stays where it is."""
    if array.ndim == 4 and array.shape[-1] == 1:
        array = np.broadcast_to(array, (*array.shape[:-1], 3))
    elif array.ndim == 3 and array.shape[-1] != 3:  # with 3 it may be one (H, W, 3) image: as_image_batch decides
        array = np.broadcast_to(array[..., None], (*array.shape, 3))
    return as_image_batch(array, what=what)


def reason_to_skip(name: str) -> str | None:
    """Why a file is not even tried, judged by its relative POSIX path; None for image files."""
    if any(part.startswith(".") for part in name.split("/")):
        return "a hidden file"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return None
    if suffix in OTHER_IMAGE_SUFFIXES:
        return f"{suffix} images are not read; convert them to PNG"
    return NOT_AN_IMAGE


def is_clutter(name: str) -> bool:
    """What macOS and Windows leave beside files: ``.DS_Store``, ``._x.png``, ``__MACOSX/``, ``Thumbs.db``."""
    parts = name.split("/")
    return parts[-1].lower() in CLUTTER or any(part.startswith("._") or part == "__MACOSX" for part in parts)


def printable(name: str) -> str:
    """A file name without control characters, and without the lone surrogates that stand for bytes that are no UTF-8.

    Such names must break neither a report nor a terminal.
    """
    return _UNPRINTABLE.sub("\ufffd", name)


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def too_large(size: int) -> str:
    return f"{size:,} bytes: an image file larger than {MAX_FILE_BYTES:,} bytes is not read"


def _nothing_usable(name: str, skipped: Sequence[SkippedImage]) -> str:
    counts = Counter(entry.reason for entry in skipped)
    what = f"none of its {len(skipped):,} files is an image" if skipped else "it is empty"
    shown = "; ".join(f"{count:,} × {reason}" for reason, count in counts.most_common(3))
    detail = f" ({shown})" if shown else ""
    return f"{name} holds no images: {what}{detail}. Metrics compare sets of images: pass the place that holds them."


def list_folder(
    root: str, name: str, judged: Callable[[str], str | None] = reason_to_skip
) -> tuple[list[str], list[SkippedImage]]:
    """Relative POSIX paths of the image files below a folder, in order, and everything else with its reason.

    ``judged`` decides what else than images counts. Raises `UnreadableInput`.
    """
    names: list[str] = []
    skipped: list[SkippedImage] = []
    # Real folders come first, links to folders after them: so a folder keeps its own name when a link leads to it too.
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        inside = folders.pop() if folders else heapq.heappop(links)
        try:
            state = os.stat(os.path.join(root, inside))
            if (state.st_dev, state.st_ino) in seen:
                skipped.append(SkippedImage(f"{printable(inside)}/", "a link to a folder that is already included"))
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(os.path.join(root, inside)) as listing:
                entries = list(listing)
        except OSError as error:
            if not inside:
                raise UnreadableInput(f"{name} cannot be read: {error.strerror or error}.") from error
            reason = f"a folder that cannot be read: {error.strerror or error}"
            skipped.append(SkippedImage(f"{printable(inside)}/", reason))
            continue
        for entry in entries:
            path = f"{inside}/{entry.name}" if inside else entry.name
            if is_clutter(entry.name):
                continue
            if _is(entry, "dir"):
                if entry.name.startswith("."):
                    skipped.append(SkippedImage(f"{printable(path)}/", "a hidden folder"))
                elif entry.is_symlink():
                    heapq.heappush(links, path)
                else:
                    folders.append(path)
                continue
            reason_or_none = _irregular(entry) or judged(entry.name)
            if reason_or_none is None:
                names.append(path)
            else:
                skipped.append(SkippedImage(printable(path), reason_or_none))
    names.sort()
    return names, skipped


def _irregular(entry: os.DirEntry[str]) -> str | None:
    """Why a directory entry cannot be opened like a file: reading a pipe, for one, would wait for ever."""
    if _is(entry, "file"):
        return None
    return "a broken link" if entry.is_symlink() else "not a regular file"


def _is(entry: os.DirEntry[str], what: str) -> bool:
    try:
        return entry.is_dir() if what == "dir" else entry.is_file()
    except OSError:  # a link that leads to itself
        return False
