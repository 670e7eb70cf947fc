"""Data sets as they lie in storage: behind a URL, in several tars (WebDataset), in Parquet (also Hugging Face's).

=============================================  ==================================================================
given                                          read as
=============================================  ==================================================================
``s3://bucket/real/``, any URL of fsspec       the image files below it
``train-{0000..0099}.tar``, ``data/*.tar``     the images of all tars; in a folder of tars, too
``data/*.parquet``, a file or a folder         a column of image bytes: binary, or struct {bytes, path}
=============================================  ==================================================================

URLs go through fsspec; where it has no driver for one (``s3://`` without s3fs), through pyarrow's own. A tar behind a
URL is copied to a temporary file first, since it cannot be read out of order otherwise.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

from genmetrics_rt.archives import TAR_ENDINGS, TarSource
from genmetrics_rt.errors import EmptySide, InputError, MissingInput, MissingPackage, UnreadableInput
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import (
    MAX_FILE_BYTES,
    Entries,
    ImageSource,
    RawImage,
    RowNames,
    Undecodable,
    is_clutter,
    printable,
    reason_to_skip,
    too_large,
)

PARQUET_ENDINGS = (".parquet", ".pq")
_SET_ENDINGS = (*TAR_ENDINGS, *PARQUET_ENDINGS)
_MAGIC = re.compile(r"[*?\[]")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_OPEN_FILES = 4  # of a set, at a time
_COLUMNS = ("image", "images", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")  # by preference


def names_dataset(value: str) -> bool:
    """Whether this is a URL, or a pattern of names: nothing that is there by this very name."""
    return "://" in value or bool(_MAGIC.search(value) or _BRACES.search(value))


def is_set_file(name: str) -> bool:
    """Whether a file, by its name, is a tar or Parquet."""
    return name.lower().endswith(_SET_ENDINGS)


def open_dataset(value: str, name: str | None = None) -> ImageSource:
    """Open a URL, a pattern, or a Parquet file. Nothing is decoded yet.

    Raises
    ------
    MissingInput, UnreadableInput, EmptySide, InputError
        With what was found instead of images.
    MissingPackage
        fsspec for a URL, or pyarrow for Parquet, is not installed.
    """
    name = name or value
    store = _Remote(value) if "://" in value else _Local()
    files, folder = [], None
    for part in _expanded(value):
        if _MAGIC.search(part):
            files += store.matching(part)
        elif store.is_folder(part):
            folder = part
            files += [file for file in store.below(part) if is_set_file(file)]
        elif store.is_file(part):
            files.append(part)
        else:
            raise MissingInput(f"{printable(part)} does not exist. Check the spelling of {name}.")
    kinds = {"Parquet" if file.lower().endswith(PARQUET_ENDINGS) else "tar" for file in files if is_set_file(file)}
    others = [file for file in files if not is_set_file(file)]
    if not files and folder is not None:
        return _FilesSource(store, folder, name)
    if not files:
        raise MissingInput(f"{name}: no file has such a name. Check the pattern.")
    if others or len(kinds) > 1:
        found = f"{PurePosixPath(others[0]).name} among them" if others else "some are tars and some are Parquet"
        raise InputError(
            f"{name} stands for {len(files):,} files, {found}. A set consists of tars, or of Parquet files; image "
            "files are given by their folder."
        )
    opened = _ParquetFile if kinds == {"Parquet"} else _TarFile
    return JoinedSource(name, files, lambda file: opened(store, file, name if len(files) == 1 else file))


def open_folder_of_sets(path: Path, name: str) -> ImageSource | None:
    """A folder that holds tars or Parquet files; None where it holds none."""
    files = [file for file in _Local().below(str(path)) if is_set_file(file)]
    return open_dataset(str(path), name) if files else None


def _expanded(value: str) -> Iterator[str]:
    """``{0008..0010}`` written out, with its leading zeros."""
    match = _BRACES.search(value)
    if match is None:
        yield value
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        yield from _expanded(f"{value[: match.start()]}{number:0{len(first)}}{value[match.end() :]}")


class _Local:
    """Files of this machine, by their paths."""

    def matching(self, pattern: str) -> list[str]:
        return sorted(path for path in glob.glob(os.path.expanduser(pattern), recursive=True) if os.path.isfile(path))

    def below(self, folder: str) -> list[str]:
        return sorted(os.path.join(root, name) for root, _, names in os.walk(folder) for name in names)

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(os.path.expanduser(path))

    def is_file(self, path: str) -> bool:
        return os.path.isfile(os.path.expanduser(path))

    def open(self, path: str) -> Any:
        return open(os.path.expanduser(path), "rb")

    def named(self, path: str) -> str:
        """The path as `matching` and `below` write it."""
        return os.path.expanduser(path)

    def on_disk(self, path: str) -> tuple[Path, bool]:
        """A path that can be read out of order, and whether it is a copy to delete."""
        return Path(os.path.expanduser(path)), False


class _Remote(_Local):
    """Files behind a URL, through fsspec."""

    def __init__(self, url: str) -> None:
        self._protocol = url.partition("://")[0]
        self._files = _file_system(url, self._protocol)

    def matching(self, pattern: str) -> list[str]:
        return sorted(self._with_protocol(path) for path in self._files.glob(self._bare(pattern)))

    def below(self, folder: str) -> list[str]:
        return sorted(self._with_protocol(path) for path in self._files.find(self._bare(folder)))

    def is_folder(self, path: str) -> bool:
        return bool(self._files.isdir(self._bare(path)))

    def is_file(self, path: str) -> bool:
        return bool(self._files.isfile(self._bare(path)))

    def open(self, path: str) -> Any:
        return self._files.open(self._bare(path), "rb")

    def named(self, path: str) -> str:
        return self._with_protocol(self._bare(path))

    def on_disk(self, path: str) -> tuple[Path, bool]:
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(path).name, delete=False) as copy:
            with self.open(path) as stored:
                shutil.copyfileobj(stored, copy, 1 << 20)
        return Path(copy.name), True

    def _bare(self, path: str) -> str:
        return str(self._files._strip_protocol(path))

    def _with_protocol(self, path: str) -> str:
        return f"{self._protocol}://{path.lstrip('/') if self._protocol != 'file' else path}"


def _file_system(url: str, protocol: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackage(f"{url} needs fsspec to be read. Install it: pip install 'genmetrics-rt[data]'") from error
    try:
        return fsspec.core.url_to_fs(url)[0]
    except ImportError as error:  # fsspec knows the protocol, and its driver is not installed
        try:
            from fsspec.implementations.arrow import ArrowFSWrapper
            from pyarrow import fs

            return ArrowFSWrapper(fs.FileSystem.from_uri(url)[0])
        except (ImportError, ValueError, OSError):
            raise MissingPackage(f"{protocol}:// cannot be read yet: {error}.") from error
    except ValueError as error:
        raise InputError(f"{url} cannot be opened: {error}. Known are the protocols of fsspec: s3, gs, hf …") from error
    except OSError as error:
        raise UnreadableInput(f"{url} cannot be opened: {error}.") from error


class _FilesSource(Entries):
    """The image files below a URL."""

    def __init__(self, store: _Local, folder: str, name: str) -> None:
        self._store = store
        paths: dict[str, str] = {}
        skipped = []
        for path in store.below(folder):
            short = path[len(store.named(folder)) :].lstrip("/")
            if is_clutter(short):
                continue
            reason = reason_to_skip(short)
            if reason is None:
                paths[short] = path
            else:
                skipped.append(SkippedImage(printable(short), reason))
        self._paths = paths
        super().__init__(name, sorted(paths), skipped)

    def _content(self, index: int) -> bytes:
        path = self._paths[self._names[index]]
        try:
            with self._store.open(path) as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except Exception as error:  # drivers raise what they like; the image may be there the next time
            raise Undecodable(f"cannot be read: {error}", transient=True) from error
        if len(content) > MAX_FILE_BYTES:
            raise Undecodable(too_large(len(content)))
        return bytes(content)


class JoinedSource(Entries):
    """The images of several files, one file after another. A few are open at a time."""

    def __init__(self, name: str, files: Sequence[str], opened: Callable[[str], Any]) -> None:
        self._files, self._open_file = list(files), opened
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, Any] = OrderedDict()
        counts, skipped = [], []
        self._listed: list[Sequence[str]] = []  # so that a name opens no file; of Parquet they are made up
        for number, file in enumerate(files):
            own = self._file(number)
            counts.append(len(own))
            self._listed.append(own.names)
            short = PurePosixPath(file).name
            skipped += [SkippedImage(f"{short}/{entry.name}", entry.reason) for entry in own.skipped]
        self._ends = list(accumulate(counts))
        super().__init__(name, _JoinedNames(self), skipped)

    def read(self, index: int) -> RawImage:
        number, row = self._place(index)
        raw: RawImage = self._file(number).read(row)
        return RawImage(self.entry_name(index), encoded=raw.encoded, pixels=raw.pixels)

    def listing(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Each file with the names of its entries; `RowNames` where they are only counted."""
        for file, names in zip(self._files, self._listed, strict=True):
            yield PurePosixPath(file).name, names

    def name_of(self, index: int) -> str:
        number, row = self._place(index)
        return f"{PurePosixPath(self._files[number]).name}/{printable(self._listed[number][row])}"

    def _place(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)

    def _file(self, number: int) -> Any:
        with self._lock:
            if number in self._opened:
                self._opened.move_to_end(number)
            else:
                self._opened[number] = self._open_file(self._files[number])
                if len(self._opened) > _OPEN_FILES:
                    self._opened.popitem(last=False)
            return self._opened[number]


class _JoinedNames(Sequence[str]):
    """Names without a list of them: Parquet has a billion rows."""

    def __init__(self, source: JoinedSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return self._source._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        return self._source.name_of(index)


class _TarFile:
    """One tar of a WebDataset: files of one stem form a sample, so what lies beside an image is its annotation."""

    def __init__(self, store: _Local, path: str, name: str) -> None:
        place, is_copy = store.on_disk(path)
        try:
            self._tar: TarSource | None = TarSource(place, name)
        except EmptySide:
            self._tar = None  # a set may hold a tar without images
        finally:
            if is_copy:
                place.unlink()  # its file stays open
        self.skipped: tuple[SkippedImage, ...] = ()
        if self._tar is not None:
            stems = {_stem(name) for name in self._tar._names}
            self.skipped = tuple(
                entry
                for entry in self._tar.skipped
                if not (entry.reason == "not an image file" and _stem(entry.name) in stems)
            )

        self.names: Sequence[str] = () if self._tar is None else self._tar._names

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> RawImage:
        assert self._tar is not None
        return self._tar.read(row)


def _stem(name: str) -> str:
    """WebDataset's key of a member: its path up to the first dot of the file name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


class _ParquetFile:
    """The image column of one Parquet file, read a row group at a time."""

    skipped: tuple[SkippedImage, ...] = ()

    def __init__(self, store: _Local, path: str, name: str) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingPackage(
                f"{name} needs pyarrow to be read. Install it: pip install 'genmetrics-rt[data]'"
            ) from error
        try:
            self._file = parquet.ParquetFile(store.open(path))
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).rstrip(".")
            raise UnreadableInput(
                f"{name} is no readable Parquet file: {reason}. Make or download it again."
            ) from error
        self._column = _image_column(self._file.schema_arrow, name)
        metadata = self._file.metadata
        self._ends = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, Any] = OrderedDict()
        self.names: Sequence[str] = RowNames(self._ends[-1] if self._ends else 0, "row")
        self._errors = (pyarrow.ArrowException, OSError)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> RawImage:
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
        return RawImage(self.names[row], encoded=bytes(value))

    def _row_group(self, group: int) -> Any:
        with self._lock:
            if group not in self._groups:
                try:
                    table = self._file.read_row_group(group, columns=[self._column])
                except self._errors as error:
                    raise Undecodable(f"its row group cannot be read: {error}", transient=True) from error
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
