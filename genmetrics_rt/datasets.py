"""Data sets as they lie in storage: behind a URL, in several tars (WebDataset), in Parquet (also Hugging Face's).

=============================================  ==================================================================
given                                          read as
=============================================  ==================================================================
``s3://bucket/real/``, any URL of fsspec       the image files below it
``train-{0000..0099}.tar``, ``data/*.tar``     the images of all tars; in a folder of tars, too
``data/*.parquet``, a file or a folder         a column of image bytes: binary, or struct {bytes, path}
=============================================  ==================================================================

URLs go through fsspec; where it has no driver for one (``s3://`` without s3fs), through pyarrow's own. A tar behind a
URL is copied to a temporary file first, since it cannot be read out of order otherwise. Copies are kept while they fit
into half of the space that was free.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

from genmetrics_rt.archives import TAR_ENDINGS, TarFile
from genmetrics_rt.errors import EmptySide, InputError, MissingInput, MissingPackage, UnreadableInput
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import (
    MAX_FILE_BYTES,
    NOT_AN_IMAGE,
    Entries,
    FolderSource,
    ImageSource,
    RawImage,
    RowNames,
    Undecodable,
    printable,
    reason_to_skip,
    too_large,
    unreadable_digest,
)
from genmetrics_rt.stores import LocalStore, Unreachable, file_name, is_pattern, scrubbed, shown, store_of

PARQUET_ENDINGS = (".parquet", ".pq")
_SET_ENDINGS = (*TAR_ENDINGS, *PARQUET_ENDINGS)
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_OPEN_FILES = 4  # of a set, at a time
_OPEN_COPIES = 100  # of tars behind a URL: each holds one open file
_KEPT_BYTES = 256 << 20  # of image files behind a URL, between taking their digests and decoding them
_COLUMNS = ("image", "images", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")  # by preference


def names_dataset(value: str) -> bool:
    """Whether this is a URL, or a pattern of names: nothing that is there by this very name."""
    return "://" in value or is_pattern(value) or bool(_BRACES.search(value))


def is_set_file(name: str) -> bool:
    """Whether a file, by its name, is a tar or Parquet."""
    return name.lower().endswith(_SET_ENDINGS)


def open_dataset(value: str, name: str | None = None) -> ImageSource:
    """Open a URL, a pattern, a folder of tars or of Parquet, or a Parquet file. Nothing is decoded yet.

    What is there by this very name is no pattern. A folder that holds image files stands for these.

    Raises
    ------
    MissingInput, UnreadableInput, EmptySide, InputError
        With what was found instead of images. A URL is named without user, password and query.
    MissingPackage
        fsspec for a URL, or pyarrow for Parquet, is not installed.
    """
    name = name or shown(value)
    store = store_of(value)
    whole = store.path(value)
    kind = _kind(store, whole)
    if kind is not None:
        return _joined(store, name, [whole]) if kind == "file" else _open_folder(store, whole, name)
    files: list[str] = []
    skipped: list[SkippedImage] = []
    for part in _expanded(value):
        path = store.path(part)
        if is_pattern(part):
            matching, folders = store.matching(path)
            files += matching
            skipped += [
                SkippedImage(f"{printable(file_name(folder))}/", "a folder, and a pattern stands for files")
                for folder in folders
            ]
        elif (kind := _kind(store, path)) == "file":
            files.append(path)
        elif kind == "folder":
            sets, others = _sets_below(store, path, shown(part), name)
            files += sets
            skipped += others
        else:
            raise MissingInput(f"{printable(shown(part))} does not exist. Check the spelling of {name}.")
    if not files:
        raise MissingInput(f"{name}: no file has such a name. Check the pattern.")
    return _joined(store, name, list(dict.fromkeys(files)), skipped)


def open_folder_of_sets(path: Path, name: str) -> ImageSource | None:
    """A folder that holds tars or Parquet files; None where it holds none."""
    store = LocalStore()
    found, _ = store.below(str(path))
    return _open_folder(store, str(path), name) if any(map(_is_set_inside, found)) else None


def _kind(store: LocalStore, path: str) -> str | None:
    """Whether a "file" or a "folder" lies there. To HTTP a folder is a file too, and to look into a file reads it."""
    if is_set_file(file_name(path)) and store.is_file(path):
        return "file"
    if store.is_folder(path):
        return "folder"
    return "file" if store.is_file(path) else None


def _is_set_inside(short: str) -> bool:
    return is_set_file(short) and reason_to_skip(short) == NOT_AN_IMAGE  # and no hidden file


def _open_folder(store: LocalStore, folder: str, name: str) -> ImageSource:
    """The image files below a folder; where there are none, those of its tars or Parquet files."""
    found, skipped = store.below(folder)
    sets = [short for short in found if _is_set_inside(short)]
    images = {short: path for short, path in found.items() if reason_to_skip(short) is None}
    if images and not store.is_remote:
        return FolderSource(Path(folder), name)
    skipped += _not_used(found, images or sets)
    if images or not sets:
        return _FilesSource(store, images, name, skipped)
    return _joined(store, name, [found[short] for short in sets], skipped)


def _sets_below(store: LocalStore, folder: str, shown_folder: str, name: str) -> tuple[list[str], list[SkippedImage]]:
    """The tars and Parquet files below one of several folders."""
    found, skipped = store.below(folder)
    image = next((short for short in found if reason_to_skip(short) is None), None)
    if image is not None:
        raise InputError(
            f"{name} stands for several folders, and {shown_folder} holds image files ({printable(image)}). Only tars "
            "and Parquet files are joined: give the one folder that holds all images."
        )
    sets = [short for short in found if _is_set_inside(short)]
    if not sets:
        raise EmptySide(f"{shown_folder}, one of {name}, holds no tars and no Parquet files. Check the pattern.")
    return [found[short] for short in sets], [*skipped, *_not_used(found, sets)]


def _not_used(found: Mapping[str, str], used: Iterable[str]) -> list[SkippedImage]:
    """What lies beside the images, or beside the tars, of a folder."""
    kept = set(used)
    return [
        SkippedImage(printable(short), reason_to_skip(short) or "an image file beside a set")
        for short in found
        if short not in kept
    ]


def _joined(store: LocalStore, name: str, files: Sequence[str], skipped: Sequence[SkippedImage] = ()) -> JoinedSource:
    kinds = {"Parquet" if file_name(file).lower().endswith(PARQUET_ENDINGS) else "tar" for file in files}
    others = [file_name(file) for file in files if not is_set_file(file_name(file))]
    if others or len(kinds) > 1:
        found = f"{printable(others[0])} among them" if others else "some are tars and some are Parquet"
        raise InputError(
            f"{name} stands for {len(files):,} files, {found}. A set consists of tars, or of Parquet files; image "
            "files are given by their folder."
        )
    return JoinedSource(name, store, files, _ParquetFile if kinds == {"Parquet"} else _StoredTar, skipped)


def _expanded(value: str) -> Iterator[str]:
    """``{0008..0010}`` written out, with its leading zeros."""
    match = _BRACES.search(value)
    if match is None:
        yield value
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        yield from _expanded(f"{value[: match.start()]}{number:0{len(first)}}{value[match.end() :]}")


class _FilesSource(Entries):
    """The image files below a URL, by their paths in there."""

    def __init__(self, store: LocalStore, paths: Mapping[str, str], name: str, skipped: Sequence[SkippedImage]) -> None:
        self._store, self._paths = store, paths
        self.is_remote = store.is_remote
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._num_kept_bytes = 0
        super().__init__(name, sorted(paths), skipped)

    def digest(self, index: int) -> str:
        """As of all sources; the bytes are kept for the next `read`, which so costs no second transfer."""
        try:
            raw = self.read(index)
        except Undecodable as reason:
            return unreadable_digest(reason)
        with self._lock:
            self._take(index)
            self._kept[index] = raw.encoded
            self._num_kept_bytes += len(raw.encoded)
            while self._num_kept_bytes > _KEPT_BYTES:
                self._take(next(iter(self._kept)))
        return raw.digest

    def _content(self, index: int) -> bytes:
        with self._lock:
            kept = self._take(index)
        return self._store.read(self._paths[self._names[index]]) if kept is None else kept

    def _take(self, index: int) -> bytes | None:
        content = self._kept.pop(index, None)
        self._num_kept_bytes -= len(content or b"")
        return content


class JoinedSource(Entries):
    """The images of several files, one file after another. A few are open at a time."""

    def __init__(
        self,
        name: str,
        store: LocalStore,
        files: Sequence[str],
        opened: type[_StoredTar] | type[_ParquetFile],
        skipped: Sequence[SkippedImage] = (),
    ) -> None:
        self._store, self._files, self._kind = store, list(files), opened
        self._shorts = _short_names(files)
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, _StoredTar | _ParquetFile] = OrderedDict()
        self._room = shutil.disk_usage(tempfile.gettempdir()).free // 2 if store.is_remote else 0  # bytes of copies
        counts, skipped = [], list(skipped)
        self._listed: list[Sequence[str]] = []  # so that a name opens no file; of Parquet they are made up
        for number, short in enumerate(self._shorts):
            own = self._file(number, name if len(files) == 1 else None)
            counts.append(len(own))
            self._listed.append(own.names)
            skipped += [SkippedImage(f"{short}/{entry.name}", entry.reason) for entry in own.skipped]
        self._ends = list(accumulate(counts))
        super().__init__(name, _JoinedNames(self), skipped)

    def read(self, index: int) -> RawImage:
        number, row = self._place(index)
        return RawImage(self.entry_name(index), encoded=self._file(number).content(row))

    def listing(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Each file with the names of its entries; `RowNames` where they are only counted."""
        yield from zip(self._shorts, self._listed, strict=True)

    def name_of(self, index: int) -> str:
        number, row = self._place(index)
        return f"{self._shorts[number]}/{printable(self._listed[number][row])}"

    def inner_name(self, index: int) -> str:
        number, row = self._place(index)
        return printable(self._listed[number][row])

    def _place(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)

    def _file(self, number: int, name: str | None = None) -> _StoredTar | _ParquetFile:
        with self._lock:
            if number in self._opened:
                self._opened.move_to_end(number)
            else:
                path = self._files[number]
                self._opened[number] = self._kind(self._store, path, name or self._store.name(path))
                while len(self._opened) > 1 and self._is_too_much():
                    self._opened.popitem(last=False)
            return self._opened[number]

    def _is_too_much(self) -> bool:
        copied = sum(file.num_copied_bytes for file in self._opened.values())
        return copied > self._room or len(self._opened) > (_OPEN_COPIES if copied else _OPEN_FILES)


def _short_names(files: Sequence[str]) -> list[str]:
    """The names of files; where two have the same, their paths below the folder that all have in common."""
    shorts = [file_name(file) for file in files]
    if len(set(shorts)) == len(shorts):
        return shorts
    folders = [PurePosixPath(file).parent.parts for file in files]
    common = 0
    while all(len(folder) > common and folder[common] == folders[0][common] for folder in folders):
        common += 1
    return ["/".join([*folder[common:], short]) for folder, short in zip(folders, shorts, strict=True)]


class _JoinedNames(Sequence[str]):
    """Names without a list of them: Parquet has a billion rows."""

    def __init__(self, source: JoinedSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return self._source._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        return self._source.name_of(index)


class _StoredTar(TarFile):
    """One tar of a set, which may be one without images."""

    def __init__(self, store: LocalStore, path: str, name: str) -> None:
        with store.on_disk(path) as place:
            super().__init__(place, name)
            self.num_copied_bytes = place.stat().st_size if store.is_remote else 0


class _ParquetFile:
    """The image column of one Parquet file, read a row group at a time."""

    skipped: tuple[SkippedImage, ...] = ()
    num_copied_bytes = 0

    def __init__(self, store: LocalStore, path: str, name: str) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingPackage(
                f"{name} needs pyarrow to be read. Install it: pip install 'genmetrics-rt[data]'"
            ) from error
        try:
            self._file = parquet.ParquetFile(store.open(path))
        except Unreachable as error:
            raise UnreadableInput(
                f"{name} cannot be read: {error}. Check the network and that this machine may read it, and call again."
            ) from error
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise UnreadableInput(
                f"{name} is no readable Parquet file: {scrubbed(error)}. Make or download it again."
            ) from error
        self._column = _image_column(self._file.schema_arrow, name)
        metadata = self._file.metadata
        self._ends = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, Any] = OrderedDict()
        self.names: Sequence[str] = RowNames(self._ends[-1] if self._ends else 0, "row")

    def __len__(self) -> int:
        return len(self.names)

    def content(self, row: int) -> bytes:
        """The bytes of one image file. Raises `Undecodable`."""
        group = bisect_right(self._ends, row)
        values = self._row_group(group)
        value = values[row - (self._ends[group - 1] if group else 0)].as_py()
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                raise Undecodable(f"the row has no bytes, only the path {printable(str(value['path']))}")
            value = value.get("bytes")
        if not value:
            raise Undecodable("the row is empty")
        if len(value) > MAX_FILE_BYTES:
            raise Undecodable(too_large(len(value)))
        return bytes(value)

    def _row_group(self, group: int) -> Any:
        with self._lock:
            if group not in self._groups:
                try:
                    table = self._file.read_row_group(group, columns=[self._column])
                except Exception as error:
                    # Of damage the parser tells without a number of the operating system.
                    transient = (
                        isinstance(error, Unreachable | MemoryError) or getattr(error, "errno", None) is not None
                    )
                    reason = f"its row group cannot be read: {scrubbed(error)}"
                    raise Undecodable(reason, transient=transient) from error
                self._groups[group] = table.column(0)
                if len(self._groups) > 2:  # the one that is decoded, and the next, whose digests are taken
                    self._groups.popitem(last=False)
            return self._groups[group]


def _image_column(schema: Any, name: str) -> str:
    from pyarrow import types

    def is_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    def is_image(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(kind.field(place).name == "bytes" and is_bytes(kind.field(place).type)
                       for place in range(kind.num_fields))  # fmt: skip
        return is_bytes(kind)

    found = [field.name for field in schema if is_image(field.type)]
    if len(found) == 1:
        return str(found[0])
    for column in _COLUMNS:
        if column in found:
            return column
    columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
    raise UnreadableInput(
        f"{name} has {'no column' if not found else 'several columns'} of image bytes (found {printable(columns)}). "
        "Expected a binary column, or a struct with the field bytes; of several, one that is named image."
    )
