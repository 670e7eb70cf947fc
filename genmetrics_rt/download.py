"""Fetch a published file over http(s): resumed where it was cut off, and only ever there whole and hash-checked.

The bytes arrive in ``.NAME.part`` beside the target. Next to it ``.NAME.part.json`` says which address they came from
and by which ETag (or date) the server knew that version; it is locked while a download runs. A second process or
thread that wants the same file meanwhile does not wait: it downloads to a private name. A part may be continued from
another mirror, since the hash decides in the end; if it does not hold, the part is thrown away and fetched afresh.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from genmetrics_rt.errors import InputError, MissingInput, UnreadableInput
from genmetrics_rt.version import __version__

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

DownloadProgress = Callable[[int, int | None], None]  # bytes so far, bytes in all (None when unknown)

WAY_OUT = "Try again later, or download it on another machine and copy it to that path."
MAX_SIZE = 8 << 30  # of a file whose size nobody published
PAUSES = (0.5, 2.0)  # seconds before the second and the third attempt
SHOW_EVERY = 0.1  # seconds between two calls of the progress function
_BLOCK = 1 << 18  # bytes read at a time
_A_PAGE = "a web page (HTML), so probably a proxy or the sign-in page of this network answered instead of the server"


def download(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None,
    size: int | None = None,
    progress: DownloadProgress | None = None,
    timeout: float = 30.0,
    max_size: int = MAX_SIZE,
    way_out: str = WAY_OUT,
) -> str:
    """Fetch a file from the first of `urls` that has it; returns its sha256.

    The target appears whole and with the right hash, or not at all; if it is there already, no network is used. With
    ``sha256=None`` nobody published a hash: the one returned is for the caller to record. A call that was cut off or
    interrupted leaves a part that the next call continues. `timeout` is for each wait, not for the whole. `way_out` is
    the sentence that ends a message when there is no file to be had.

    MissingInput: no address can be reached or has the file, or GENMETRICS_OFFLINE is set. UnreadableInput: what was
    sent is not the file. InputError: an address that is not http(s), a full disk, a folder that cannot be written.
    """
    expected = None if sha256 is None else sha256.lower()
    try:
        if expected is not None and target.is_file() and _hash_of(target) == expected:
            return expected
        _require_addresses(urls, target, way_out)
        failures: list[_GivenUp] = []
        with _part_of(target, max_size if size is None else size) as part:
            job = _Download(part, expected, size, max_size, timeout, progress)
            for url in urls:
                try:
                    digest = job.fill_from(url)
                except _GivenUp as error:
                    failures.append(error)
                    continue
                part.become(target)
                job.show(part.length, is_last=True)
                return digest
    except OSError as error:  # from the disk: _network() has turned those of the network into ours
        kept = " What has arrived is kept, and the next call continues it." if _part_path(target).exists() else ""
        raise InputError(
            f"{target} cannot be written: {error.strerror or error}.{kept} "
            "Free some space there, or choose a folder that can be written."
        ) from error
    reasons = [f"  {url} {_plain(str(failure))}" for url, failure in zip(urls, failures, strict=True)]
    kind = UnreadableInput if any(isinstance(failure, _WrongFile) for failure in failures) else MissingInput
    raise kind("\n".join([f"{target} could not be downloaded:", *reasons, way_out]))


def _require_addresses(urls: Sequence[str], target: Path, way_out: str) -> None:
    for url in urls:
        if not url.lower().startswith(("https://", "http://")):
            raise InputError(
                f"{url} is no address to download {target.name} from: only https:// and http:// are. "
                "A file that is here already is passed with --weights FILE."
            )
    if not urls:
        raise MissingInput(f"{target} is not here, and no address to download it from is known. {way_out}")
    if os.environ.get("GENMETRICS_OFFLINE", "") not in ("", "0"):
        raise MissingInput(
            f"{target} is not here, and GENMETRICS_OFFLINE forbids downloading it from {urls[0]}. "
            f"Unset GENMETRICS_OFFLINE to allow it. {way_out}"
        )


# The network.


class _GivenUp(Exception):
    """This address will not do. The message says why, as a sentence whose subject is the address."""


class _WrongFile(_GivenUp):
    """The address has something, but not the file."""


class _Again(Exception):
    """The attempt failed in a way that another one may not."""


@dataclass
class _Download:
    part: _Part
    sha256: str | None
    size: int | None
    max_size: int
    timeout: float
    progress: DownloadProgress | None
    _next_show: float = 0.0

    def fill_from(self, url: str) -> str:
        """Complete the part from one address and return its hash. Raises _GivenUp."""
        for _ in range(2):
            self._complete(url)
            digest = self.part.hash.hexdigest()
            is_page = self.part.looks_like_html()
            if digest == self.sha256 or (self.sha256 is None and not is_page):
                return digest
            was_resumed = self.part.was_resumed
            self.part.clear()
            if not was_resumed:  # otherwise the older bytes may be to blame, and a fresh file may be right
                break
        what = _A_PAGE if is_page else "a file that is not the one its publisher published"
        expected = f", expected is {self.sha256}" if self.sha256 else ""
        raise _WrongFile(f"sent {what}: its sha256 is {digest}{expected}")

    def show(self, total: int | None, is_last: bool = False) -> None:
        now = time.monotonic()
        if self.progress is not None and (is_last or now >= self._next_show):
            self._next_show = now + SHOW_EVERY
            self.progress(self.part.length, total)

    def _complete(self, url: str) -> None:
        for pause in (*PAUSES, None):
            try:
                return self._attempt(url)
            except _Again as error:
                if pause is None:
                    raise _GivenUp(f"{error} ({len(PAUSES) + 1} attempts)") from error
                time.sleep(pause)

    def _attempt(self, url: str) -> None:
        part, headers = self.part, {"User-Agent": f"genmetrics-rt/{__version__}"}
        is_vouched = part.validator is not None and part.url == url  # the server can tell if it is still that file
        is_resuming = part.length > 0 and (is_vouched or self.sha256 is not None)
        if is_resuming:
            headers["Range"] = f"bytes={part.length}-"
            if is_vouched:
                headers["If-Range"] = str(part.validator)
        with _network():
            try:
                answer = build_opener(_SafeRedirects).open(Request(url, headers=headers), timeout=self.timeout)
            except HTTPError as error:
                if error.code != 416 or not is_resuming:
                    raise
                error.close()
                total = _content_range(error.headers)[1] if self.size is None else self.size
                if part.length != total:
                    part.clear()
                    raise _Again("does not have the rest of the file that was begun") from error
                part.was_resumed = True  # nothing was missing
                return
        with answer:
            total = self._begin(answer, url, is_resuming, is_vouched)
            self._receive(answer, total)

    def _begin(self, answer: HTTPResponse, url: str, is_resuming: bool, is_vouched: bool) -> int | None:
        """Compare what the headers announce with what is wanted, and make the part ready for the bytes."""
        part, validator, announced = self.part, _validator(answer.headers), answer.length
        if answer.status == 206:
            first, total = _content_range(answer.headers)
            is_changed = is_vouched and validator not in (None, part.validator)
            if not is_resuming or first != part.length or is_changed:
                part.clear()
                raise _Again("sent a piece that does not continue the one that is here")
            announced = total if total is not None or announced is None else first + announced
        elif answer.status != 200:
            raise _GivenUp(f"answered {answer.status} {answer.reason}")
        limit = self.max_size if self.size is None else self.size
        if announced is not None and (announced > limit or self.size not in (None, announced)):
            page = f"{_A_PAGE}, of " if answer.headers.get_content_type() == "text/html" else ""
            wanted = f"at most {limit:,}" if self.size is None else f"{limit:,}"
            raise _WrongFile(f"announces {page}{announced:,} bytes, expected are {wanted}")
        total = self.size if announced is None else announced
        part.require_room_for(total)
        if answer.status == 206:
            part.resume(is_vouched)
        else:
            part.begin(url, validator)
        return total

    def _receive(self, answer: HTTPResponse, total: int | None) -> None:
        part, limit = self.part, self.max_size if total is None else total
        self.show(total)
        while True:
            with _network():
                block = answer.read1(min(_BLOCK, limit - part.length + 1))  # one more, to see whether there is more
            if not block:
                break
            if part.length + len(block) > limit:
                part.clear()
                raise _WrongFile(f"sent more than {limit:,} bytes")
            part.write(block)
            self.show(total)
        if total is not None and part.length < total and not part.looks_like_html():  # a page has come to its end
            raise _Again(f"ended the transfer after {part.length:,} of {total:,} bytes")


class _SafeRedirects(HTTPRedirectHandler):
    """Follows redirects, but never from https to http: what comes then could be forged on the way."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new != "https" and (old, new) != ("http", "http"):
            raise HTTPError(newurl, code, f"a redirect from {old} to {newurl}, which is refused", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Of all that the network may raise: is another attempt worth it, and what does the user read?"""
    try:
        yield
    except HTTPError as error:
        error.close()
        is_passing = error.code in (408, 429) or error.code >= 500
        raise (_Again if is_passing else _GivenUp)(f"answered {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        # An unknown name, a closed port, an untrusted certificate (a ValueError too) or a malformed address stays so.
        is_final = isinstance(cause, (socket.gaierror, ConnectionRefusedError, ValueError, InvalidURL))
        raise (_GivenUp if is_final else _Again)(f"cannot be read: {reason}") from error


def _plain(text: str) -> str:
    """One line for the terminal: a server chose some of these characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:600]


def _content_range(headers: Message) -> tuple[int | None, int | None]:
    """Where a piece begins and how long the whole is, as far as the server says so."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", "").strip())
    first, total = found.groups() if found else (None, None)
    return (int(first) if first else None), (int(total) if total and total != "*" else None)


def _validator(headers: Message) -> str | None:
    """What names this version of the file: a strong ETag, or else the date of its last change."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


# The disk.


class _Part:
    """The file while it arrives: its bytes, their hash, and whom they came from.

    It begins with what an earlier call left, unless that is longer than the file may be.
    """

    def __init__(self, target: Path, path: Path, file: io.FileIO, side: io.FileIO | None, limit: int) -> None:
        self.length = 0
        self.hash = hashlib.sha256()
        self.was_resumed = False  # are there bytes from before the last answer?
        self.url: str | None = None
        self.validator: str | None = None
        self._target, self._path, self._file, self._side = target, path, file, side
        if os.fstat(file.fileno()).st_size > limit:
            file.truncate(0)
        file.seek(0)
        while block := file.read(_BLOCK):
            self.hash.update(block)
            self.length += len(block)
        if side is not None:
            side.seek(0)
            with contextlib.suppress(ValueError, TypeError, KeyError):  # empty, or not written to its end
                origin = json.loads(side.read(1 << 16))
                self.url, self.validator = origin["url"], origin["validator"]

    def begin(self, url: str | None, validator: str | None) -> None:
        """Start at byte 0 with what this address sends."""
        self._file.truncate(0)
        self.length, self.hash, self.was_resumed = 0, hashlib.sha256(), False
        self._note_origin(url, validator)

    def clear(self) -> None:
        self.begin(None, None)

    def resume(self, is_vouched: bool) -> None:
        """Go on behind the last byte. Where bytes of two origins may be mixed, no server can vouch for them later."""
        self.was_resumed = True
        if not is_vouched:
            self._note_origin(None, None)

    def write(self, block: bytes) -> None:
        left = memoryview(block)
        while left:
            left = left[self._file.write(left) :]
        self.hash.update(block)
        self.length += len(block)

    def require_room_for(self, total: int | None) -> None:
        """InputError if the disk does not have the space that the rest needs."""
        needed = (total or 0) - self.length
        free = shutil.disk_usage(self._path.parent).free
        if needed > free:
            raise InputError(
                f"{self._target} needs {needed / 1e6:,.1f} MB more, but its disk has only {free / 1e6:,.1f} MB free. "
                "Free some space there, or choose a folder on another disk."
            )

    def looks_like_html(self) -> bool:
        self._file.seek(0)
        start = self._file.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
        return start.lower().startswith((b"<!doctype html", b"<html"))

    def become(self, target: Path) -> None:
        """Get the final name."""
        os.fsync(self._file.fileno())
        self._file.close()  # Windows renames no open file
        os.replace(self._path, target)

    def _note_origin(self, url: str | None, validator: str | None) -> None:
        self.url, self.validator = url, validator
        if self._side is not None:
            self._side.truncate(0)
            self._side.write(json.dumps({"url": url, "validator": validator}).encode())


def _part_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


@contextlib.contextmanager
def _part_of(target: Path, limit: int) -> Iterator[_Part]:
    """The part of this target; or, while somebody else fills that, a private one that is gone at the end."""
    path = _part_path(target)
    side_path = path.with_name(f"{path.name}.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as ending:
        side = _claim(side_path)
        if side is not None:
            ending.enter_context(side)
        else:
            path = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        ending.callback(_tidy, path, None if side is None else side_path)
        file = ending.enter_context(open(path, "a+b", buffering=0))  # unbuffered: what was written is there
        yield _Part(target, path, file, side, limit)


def _claim(path: Path) -> io.FileIO | None:
    """The file, open and locked until it is closed; None while somebody else has it, or where no file can be locked."""
    file = open(path, "a+b", buffering=0)
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            file.seek(1 << 30)  # a locked byte cannot be read by others: take one behind all that is ever written
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):  # else its holder removed it meanwhile
            return file
    file.close()
    return None


def _tidy(part: Path, side: Path | None) -> None:
    """Remove what no later call can continue. The side file goes while it is locked: later it could be another's."""
    with contextlib.suppress(OSError):
        if side is None or part.stat().st_size == 0:
            part.unlink()
    with contextlib.suppress(OSError):
        if side is not None and not part.exists():
            side.unlink()


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
