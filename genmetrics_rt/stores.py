"""Where the files of a side lie: on this machine, or behind a URL that fsspec or pyarrow opens.

A store at the other end of a network fails now and then: every read is tried again, with growing waits. What a driver
raises in the end is told without user, password and query of the URL, which may be secret.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from genmetrics_rt.errors import GenmetricsError, InputError, MissingPackage, UnreadableInput
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import MAX_FILE_BYTES, Undecodable, is_clutter, list_folder, printable, too_large

T = TypeVar("T")

_WAITS = (0.2, 1.0, 4.0)  # seconds before a read is tried again
_LASTING = (FileNotFoundError, PermissionError)  # waiting does not help, but another call may: a token is renewed
_BLOCK = 1 << 20  # bytes copied at a time
_MAGIC = re.compile(r"[*?\[]")
_HTTP = ("http://", "https://")
# A colon before the @ is that of a password, which may hold slashes; one before a port is not.
_USER = re.compile(r"^(?:[^/@]*:(?!\d+(?:/|$))[^@]*|[^/@]*)@")
_CONTAINER = ("abfs", "abfss", "wasb", "wasbs", "az", "adl")  # to Azure, what stands before the @ is a folder
_QUERY = re.compile(r"\?[^\s'\"<>?]*=[^\s'\"<>]*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


class Unreachable(OSError):
    """A store that still fails after some patience. The text is the driver's, without secrets."""


def shown(url: str) -> str:
    """A URL as it may stand in messages and reports: without user, password and query. Paths stay as they are."""
    protocol, found, rest = url.partition("://")
    if not found:
        return url
    if protocol.rpartition("::")[2] not in _CONTAINER:
        rest = _USER.sub("", rest)
    rest = rest.partition("?")[0] if url.startswith(_HTTP) else _QUERY.sub("", rest)
    return f"{protocol}://{rest}"


def scrubbed(error: BaseException) -> str:
    """What an error says, its URLs as `shown`."""
    text = _QUERY.sub("", _URL.sub(lambda match: shown(match[0]), str(error)))
    return printable(text).rstrip(". ") or type(error).__name__


def is_pattern(value: str) -> bool:
    """Whether a path or URL stands for several by ``* ? [``. What follows the ``?`` of an http URL is its query."""
    return bool(_MAGIC.search(value.partition("?")[0] if value.startswith(_HTTP) else value))


def file_name(path: str) -> str:
    """The last part of a path or URL."""
    return PurePosixPath(shown(path)).name


def store_of(value: str) -> LocalStore:
    """The store that a path or URL leads to."""
    return RemoteStore(value) if "://" in value else LocalStore()


class LocalStore:
    """Files of this machine, by their paths."""

    is_remote = False

    def path(self, given: str) -> str:
        """What the other methods take, for a path or URL as the user wrote it."""
        return os.path.expanduser(given)

    def name(self, path: str) -> str:
        """The path for messages."""
        return path

    def matching(self, pattern: str) -> tuple[list[str], list[str]]:
        """The files and the folders that a pattern stands for."""
        found = sorted(path for path in glob.glob(pattern, recursive=True) if not is_clutter(file_name(path)))
        return [path for path in found if os.path.isfile(path)], [path for path in found if os.path.isdir(path)]

    def below(self, folder: str) -> tuple[dict[str, str], list[SkippedImage]]:
        """The path of each file below a folder, by its path in there, and what is no file that can be opened."""
        names, skipped = list_folder(folder, folder, lambda name: None)
        return {name: os.path.join(folder, name) for name in names}, skipped

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def is_file(self, path: str) -> bool:
        return os.path.isfile(path)

    def open(self, path: str) -> Any:
        """The file, to be read in any order."""
        return open(path, "rb")

    def read(self, path: str) -> bytes:
        """All of an image file. Raises `Undecodable`."""
        try:
            content = self._content(path)
        except OSError as error:
            raise Undecodable(f"cannot be read: {error}", transient=True) from error
        if len(content) > MAX_FILE_BYTES:
            raise Undecodable(too_large(len(content)))
        return content

    def _content(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)

    @contextlib.contextmanager
    def on_disk(self, path: str) -> Iterator[Path]:
        """A path that can be read out of order. That of a copy leads nowhere afterwards: keep the file open."""
        yield Path(path)


class RemoteStore(LocalStore):
    """Files behind a URL."""

    is_remote = True

    def __init__(self, url: str) -> None:
        self._is_arrow = False
        self._failing = False  # the last read failed after all waits: the next ones do without, until one succeeds
        with _told(shown(url)):
            self._files = self._opened(url)

    def path(self, given: str) -> str:
        from fsspec.core import url_to_fs

        with _told(shown(given)):
            return str(self._files._strip_protocol(given) if self._is_arrow else url_to_fs(given)[1])

    def name(self, path: str) -> str:
        return shown(str(self._files.unstrip_protocol(path)))

    def matching(self, pattern: str) -> tuple[list[str], list[str]]:
        with _told(self.name(pattern)):
            found = self._files.glob(pattern, detail=True)
        kinds = {path: entry["type"] for path, entry in sorted(found.items()) if not is_clutter(file_name(path))}
        folders = [path for path, kind in kinds.items() if kind == "directory"]
        return [path for path, kind in kinds.items() if kind != "directory"], folders

    def below(self, folder: str) -> tuple[dict[str, str], list[SkippedImage]]:
        with _told(self.name(folder)):
            found = self._files.find(folder)
        short = {path.removeprefix(folder).lstrip("/"): path for path in sorted(found)}
        return {name: path for name, path in short.items() if not is_clutter(name)}, []

    def is_folder(self, path: str) -> bool:
        with _told(self.name(path)):
            return bool(self._files.isdir(path))

    def is_file(self, path: str) -> bool:
        with _told(self.name(path)):
            return bool(self._files.isfile(path))

    def open(self, path: str) -> Any:
        return _StoredFile(self, path)

    def _content(self, path: str) -> bytes:
        def attempt() -> bytes:  # opened anew each time, so that a store that stays away is waited for once
            with self._files.open(path, "rb") as file:
                return bytes(file.read(MAX_FILE_BYTES + 1))

        return self.patiently(attempt)

    @contextlib.contextmanager
    def on_disk(self, path: str) -> Iterator[Path]:
        with _needing_room(self.name(path)):
            handle, name = tempfile.mkstemp(prefix="genmetrics-")
        try:
            with os.fdopen(handle, "wb") as copy, _told(self.name(path)), self.open(path) as stored:
                while block := stored.read(_BLOCK):
                    with _needing_room(self.name(path)):
                        copy.write(block)
                        copy.flush()  # here, not where the file is closed
            yield Path(name)
        finally:
            os.unlink(name)

    def patiently(self, attempt: Callable[[], T]) -> T:
        """What the attempt returns, which is made again after waits. Raises `Unreachable`."""
        waits = iter(() if self._failing else _WAITS)
        while True:
            try:
                found = attempt()
            except Exception as error:  # drivers raise what they like
                wait = None if isinstance(error, _LASTING) else next(waits, None)
                if wait is None:
                    self._failing = True
                    raise Unreachable(scrubbed(error)) from error
                time.sleep(wait)
            else:
                self._failing = False
                return found

    def _opened(self, url: str) -> Any:
        try:
            import fsspec
        except ImportError as error:
            raise MissingPackage(
                f"{shown(url)} needs fsspec to be read. Install it: pip install 'genmetrics-rt[data]'"
            ) from error
        try:
            return fsspec.core.url_to_fs(url)[0]
        except ImportError as error:  # fsspec knows the protocol, and its driver is not installed
            try:
                from fsspec.implementations.arrow import ArrowFSWrapper
                from pyarrow import fs

                self._is_arrow = True
                return ArrowFSWrapper(fs.FileSystem.from_uri(url)[0])
            except (ImportError, ValueError, OSError):
                protocol = url.partition("://")[0]
                raise MissingPackage(f"{protocol}:// cannot be read yet: {scrubbed(error)}.") from error
        except ValueError as error:
            raise InputError(
                f"{shown(url)} cannot be opened: {scrubbed(error)}. Known are the protocols of fsspec: s3, gs, hf …"
            ) from error


class _StoredFile(io.RawIOBase):
    """A file in a store. A read that fails is made again at the same place of the file, opened anew."""

    def __init__(self, store: RemoteStore, path: str) -> None:
        self._store, self._path = store, path
        self._file: Any = None
        self._place = 0
        store.patiently(self._opened)

    def read(self, size: int | None = -1, /) -> bytes:
        def attempt() -> bytes:
            file = self._opened()
            try:
                return bytes(file.read(-1 if size is None else size))
            except Exception:
                self._let_go()
                raise

        content = self._store.patiently(attempt)
        self._place += len(content)
        return content

    def seek(self, offset: int, whence: int = 0, /) -> int:
        def attempt() -> int:
            return int(self._opened().seek(offset, whence))

        self._place = self._store.patiently(attempt)
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._let_go()
        super().close()

    def _opened(self) -> Any:
        if self._file is None:
            self._file = self._store._files.open(self._path, "rb")
            if self._place:
                self._file.seek(self._place)
        return self._file

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(Exception):
                file.close()


@contextlib.contextmanager
def _needing_room(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{what} has to be copied into a temporary file, which fails: {error.strerror or error}. Free some disk "
            "space, or name a folder that has it in TMPDIR."
        ) from error


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever a driver raises, as one error that says what to do."""
    try:
        yield
    except GenmetricsError:
        raise
    except Exception as error:
        raise UnreadableInput(
            f"{what} cannot be read: {scrubbed(error)}. Check the address, the network and that this machine may read "
            "there (credentials), and call it again."
        ) from error
