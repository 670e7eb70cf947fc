"""Downloads from a server of our own that fails in every way we know; the real network is never touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import numpy as np
import pytest

from genmetrics_rt import download as module
from genmetrics_rt.download import download
from genmetrics_rt.errors import InputError, MissingInput, UnreadableInput
from genmetrics_rt.version import __version__

CONTENT = np.random.default_rng(0).bytes(700_001)
OTHER = np.random.default_rng(1).bytes(700_001)
SHA = hashlib.sha256(CONTENT).hexdigest()
OTHER_SHA = hashlib.sha256(OTHER).hexdigest()
SIZE = len(CONTENT)
PAGE = b"\n<!DOCTYPE html><title>Sign in</title>"


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0  # bytes of a body

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass
class Site:
    """A server; `plan` gives for a path what goes wrong at its first, second, … request."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    date: str | None = None
    plan: dict[str, list[str]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    closing: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        asked = Asked(self.path, dict(self.headers.items()))
        site.asked.append(asked)
        planned = site.plan.get(self.path, [])
        fault, _, value = (planned.pop(0) if planned else "").partition(" ")
        if fault == "barrier":
            site.barrier.wait(5)
        if fault == "status":
            return self._answer(asked, int(value), b"sorry")
        if fault == "redirect":
            return self._answer(asked, 302, b"", {"Location": value})
        if fault == "page":
            headers = {"Content-Type": "text/html", "Content-Length": str(len(PAGE))} if value == "announced" else {}
            return self._answer(asked, 200, PAGE, headers)
        if fault == "unlike":  # a piece that begins elsewhere
            return self._answer(asked, 206, site.content[7:], {"Content-Range": f"bytes 7-{SIZE - 1}/{SIZE}"})

        body, status, headers = site.content, 200, {}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range") in (None, site.etag, site.date) or fault == "ignore-if-range"
        if wanted and is_same and fault != "ignore-range":
            start = int(wanted[1])
            if start >= len(body):
                return self._answer(asked, 416, b"", {"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body, status = body[start:], 206
        headers |= {"ETag": site.etag} if site.etag else {}
        headers |= {"Last-Modified": site.date} if site.date else {}
        if fault == "chunked":
            return self._answer_chunked(body)
        headers["Content-Length"] = value if fault == "length" else str(len(body))
        if fault == "no-length":
            del headers["Content-Length"]
            body += b"x" * int(value or 0)
        self._answer(asked, status, body[: int(value)] if fault in ("cut", "reset", "stall") else body, headers)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault == "stall":
            site.closing.wait(5)

    def _answer(self, asked: Asked, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        asked.status, asked.sent = status, len(body)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # the other side has read enough

    def _answer_chunked(self, body: bytes) -> None:
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), 90_000):
            chunk = body[start : start + 90_000]
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


@pytest.fixture(autouse=True)
def quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, every progress call is made, and no proxy of the environment is asked for 127.0.0.1."""
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(module, "SHOW_EVERY", 0.0)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def make_site() -> Iterator[Any]:
    started: list[tuple[Site, ThreadingHTTPServer, threading.Thread]] = []

    def make(**settings: Any) -> Site:
        site = Site(**settings)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((site, server, thread))
        return site

    yield make
    for site, server, thread in started:
        site.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site(make_site: Any) -> Site:
    made: Site = make_site()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "net.onnx"


@pytest.fixture
def closed_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/file"


def fetch(site: Site, target: Path, path: str = "/file", **options: Any) -> str:
    return download([site.url + path], target, **({"sha256": SHA} | options))


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def interrupt(site: Site, target: Path, at: int, **options: Any) -> None:
    """Ctrl-C once `at` bytes are there."""

    def stop(done: int, total: int | None) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(site, target, progress=stop, **options)
    assert not target.exists() and part_of(target).stat().st_size >= at


def leave_part(target: Path, content: bytes, origin: str | None = None) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)
    if origin is not None:
        Path(f"{part_of(target)}.json").write_text(origin)


def require_alone(target: Path, content: bytes = CONTENT) -> None:
    """The target is there, and nothing else."""
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def require_nothing(target: Path) -> None:
    assert not target.parent.exists() or not list(target.parent.iterdir())


# The plain case.


def test_a_file_is_fetched_and_its_hash_returned(site: Site, target: Path) -> None:
    assert fetch(site, target, size=SIZE, sha256=SHA.upper()) == SHA
    require_alone(target)
    (asked,) = site.asked
    assert asked.headers["User-Agent"] == f"genmetrics-rt/{__version__}"
    assert set(asked.headers) <= {"Host", "User-Agent", "Accept-Encoding", "Connection"}


def test_without_a_published_hash_the_one_that_came_is_returned(site: Site, target: Path) -> None:
    assert fetch(site, target, sha256=None) == SHA
    require_alone(target)


@pytest.mark.parametrize("fault", ["no-length", "chunked"])
@pytest.mark.parametrize("size", [None, SIZE])
def test_a_length_that_is_not_announced(site: Site, target: Path, fault: str, size: int | None) -> None:
    site.plan = {"/file": [fault]}
    assert fetch(site, target, size=size) == SHA
    require_alone(target)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_others_may_read_the_file_if_the_umask_lets_them(site: Site, target: Path) -> None:
    old = os.umask(0o022)
    try:
        fetch(site, target)
    finally:
        os.umask(old)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_a_target_that_is_right_is_not_fetched_again(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(site, target)
    monkeypatch.setenv("GENMETRICS_OFFLINE", "1")
    assert fetch(site, target) == SHA
    assert len(site.asked) == 1


def test_a_target_that_is_wrong_is_replaced(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    fetch(site, target)
    require_alone(target)


def test_redirects_are_followed(site: Site, target: Path) -> None:
    site.plan = {"/old": ["redirect /file"]}
    assert fetch(site, target, "/old") == SHA
    assert [asked.path for asked in site.asked] == ["/old", "/file"]


@pytest.mark.parametrize(
    ("old", "new", "is_allowed"),
    [
        ("https", "https", True),
        ("http", "https", True),
        ("http", "http", True),
        ("https", "http", False),
        ("https", "ftp", False),
        ("http", "ftp", False),
    ],
)
def test_no_redirect_leads_out_of_https(old: str, new: str, is_allowed: bool) -> None:
    def redirect() -> Request | None:
        request = Request(f"{old}://a/x", headers={"Range": "bytes=5-"})
        return module._SafeRedirects().redirect_request(request, BytesIO(), 302, "Found", Message(), f"{new}://b/y")

    if is_allowed:
        request = redirect()
        assert request is not None and request.full_url == f"{new}://b/y" and request.headers["Range"] == "bytes=5-"
    else:
        with pytest.raises(HTTPError, match=f"from {old} to {new}://b/y, which is refused") as caught:
            redirect()
        caught.value.close()


def test_a_refused_redirect_is_reported(site: Site, target: Path) -> None:
    site.plan = {"/file": ["redirect ftp://127.0.0.1/file"]}
    with pytest.raises(MissingInput, match="answered 302 a redirect from http to ftp"):
        fetch(site, target)
    assert len(site.asked) == 1


def test_a_redirect_in_a_circle_ends(site: Site, target: Path) -> None:
    site.plan = {"/file": ["redirect /file"] * 50}
    with pytest.raises(MissingInput, match="infinite loop"):
        fetch(site, target)
    assert len(site.asked) <= 12


def test_the_proxy_of_the_environment_is_used(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", site.url)
    assert download(["http://nowhere.invalid/file"], target, sha256=SHA) == SHA
    assert site.asked[0].path == "http://nowhere.invalid/file"


# Progress.


def test_progress_grows_from_nothing_to_all(site: Site, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(site, target, progress=lambda done, total: seen.append((done, total)))
    counts = [done for done, _ in seen]
    assert counts == sorted(counts) and counts[0] == 0 and seen[-1] == (SIZE, SIZE)
    assert {total for _, total in seen} == {SIZE}


def test_progress_begins_with_what_was_there(site: Site, target: Path) -> None:
    leave_part(target, CONTENT[:1000])
    seen: list[int] = []
    fetch(site, target, progress=lambda done, total: seen.append(done))
    assert seen[0] == 1000 and seen[-1] == SIZE


def test_progress_is_shown_ten_times_a_second(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHOW_EVERY", 60)
    seen: list[tuple[int, int | None]] = []
    site.plan = {"/file": ["no-length"]}
    fetch(site, target, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, None), (SIZE, SIZE)]


# Cut off and resumed.


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_cut_transfer_is_continued_within_the_call(site: Site, target: Path, fault: str) -> None:
    site.plan = {"/file": [f"{fault} 300000"]}
    assert fetch(site, target) == SHA
    require_alone(target)
    second = site.asked[1]
    if second.range is not None:  # a reset may lose what was on its way
        assert second.headers["If-Range"] == '"one"' and second.status == 206
        assert second.sent == SIZE - int(second.range.removeprefix("bytes=").rstrip("-"))
    assert fault == "reset" or second.sent == SIZE - 300_000


def test_a_server_that_falls_silent_is_asked_again(site: Site, target: Path) -> None:
    site.plan = {"/file": ["stall 300000"]}
    assert fetch(site, target, timeout=0.2) == SHA
    assert [asked.sent for asked in site.asked] == [300_000, SIZE - 300_000]


def test_a_transfer_that_is_cut_three_times_is_continued_by_the_next_call(site: Site, target: Path) -> None:
    site.plan = {"/file": ["cut 100000"] * 3}
    with pytest.raises(MissingInput, match=r"ended the transfer after 300,000 of 700,001 bytes \(3 attempts\)"):
        fetch(site, target)
    assert not target.exists()
    assert fetch(site, target) == SHA
    require_alone(target)
    assert site.asked[-1].range == "bytes=300000-" and site.asked[-1].sent == SIZE - 300_000


@pytest.mark.parametrize("sha256", [SHA, None])
@pytest.mark.parametrize(
    "validator", [{"etag": '"one"'}, {"etag": 'W/"weak"', "date": "Mon, 01 Jan 2024 00:00:00 GMT"}]
)
def test_ctrl_c_leaves_a_part_that_is_continued(
    make_site: Any, target: Path, sha256: str | None, validator: dict[str, str]
) -> None:
    site: Site = make_site(**validator)
    interrupt(site, target, 200_000, sha256=sha256)
    there = part_of(target).stat().st_size
    assert fetch(site, target, sha256=sha256) == SHA
    require_alone(target)
    last = site.asked[-1]
    assert last.range == f"bytes={there}-" and last.sent == SIZE - there
    assert last.headers["If-Range"] == validator.get("date", validator["etag"])


def test_ctrl_c_before_the_first_byte_leaves_nothing(site: Site, target: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(site, target, progress=stop)
    require_nothing(target)


@pytest.mark.parametrize("sha256", [OTHER_SHA, None])
def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(site: Site, target: Path, sha256: str | None) -> None:
    interrupt(site, target, 200_000, sha256=sha256)
    site.content, site.etag = OTHER, '"two"'
    assert fetch(site, target, sha256=sha256) == OTHER_SHA
    require_alone(target, OTHER)
    assert site.asked[-1].status == 200


@pytest.mark.parametrize("sha256", [OTHER_SHA, None])
def test_a_changed_file_is_noticed_even_if_the_server_ignores_if_range(
    site: Site, target: Path, sha256: str | None
) -> None:
    interrupt(site, target, 200_000, sha256=sha256)
    site.content, site.etag, site.plan = OTHER, '"two"', {"/file": ["ignore-if-range"]}
    assert fetch(site, target, sha256=sha256) == OTHER_SHA
    require_alone(target, OTHER)
    assert [asked.status for asked in site.asked] == [200, 206, 200]


def test_a_server_without_ranges_sends_it_all_again(site: Site, target: Path) -> None:
    interrupt(site, target, 200_000)
    site.plan = {"/file": ["ignore-range"]}
    assert fetch(site, target) == SHA
    require_alone(target)


def test_a_piece_from_elsewhere_is_not_appended(site: Site, target: Path) -> None:
    interrupt(site, target, 200_000)
    site.plan = {"/file": ["unlike"]}
    assert fetch(site, target) == SHA
    require_alone(target)
    assert site.asked[-1].range is None


@pytest.mark.parametrize("origin", [None, "", "{", "[]", '{"url": 1}', "\xff"])
def test_a_part_of_unknown_origin_is_continued_if_a_hash_will_decide(
    site: Site, target: Path, origin: str | None
) -> None:
    leave_part(target, CONTENT[:1000], origin)
    assert fetch(site, target) == SHA
    require_alone(target)
    assert site.asked[0].range == "bytes=1000-" and "If-Range" not in site.asked[0].headers


def test_a_part_of_unknown_origin_is_not_trusted_if_no_hash_decides(site: Site, target: Path) -> None:
    leave_part(target, OTHER[:1000])
    assert fetch(site, target, sha256=None) == SHA
    assert site.asked[0].range is None


def test_mixed_bytes_are_not_trusted_by_a_call_without_a_hash(make_site: Any, target: Path) -> None:
    first, second = make_site(), make_site(content=OTHER)
    interrupt(first, target, 200_000)
    interrupt(second, target, 500_000)
    assert second.asked[0].status == 206
    assert fetch(first, target, sha256=None) == SHA
    assert first.asked[-1].range is None


def test_a_part_that_spoils_the_hash_is_thrown_away_and_the_file_fetched_afresh(site: Site, target: Path) -> None:
    leave_part(target, OTHER[:1000])
    assert fetch(site, target) == SHA
    require_alone(target)
    assert [(asked.status, asked.sent) for asked in site.asked] == [(206, SIZE - 1000), (200, SIZE)]


def test_a_part_that_is_whole_already(site: Site, target: Path) -> None:
    leave_part(target, CONTENT)
    assert fetch(site, target) == SHA
    require_alone(target)
    assert [asked.status for asked in site.asked] == [416]


@pytest.mark.parametrize("size", [None, SIZE])
def test_a_part_that_is_whole_but_wrong(site: Site, target: Path, size: int | None) -> None:
    leave_part(target, OTHER)
    assert fetch(site, target, size=size) == SHA
    require_alone(target)
    assert [asked.status for asked in site.asked] == [416, 200]


def test_a_part_that_is_longer_than_the_server_has(site: Site, target: Path) -> None:
    leave_part(target, CONTENT + b"more")
    assert fetch(site, target) == SHA
    require_alone(target)
    assert [asked.status for asked in site.asked] == [416, 200]


def test_a_part_that_is_longer_than_the_file_is_discarded(site: Site, target: Path) -> None:
    leave_part(target, CONTENT + b"more")
    assert fetch(site, target, size=SIZE) == SHA
    require_alone(target)
    assert [asked.range for asked in site.asked] == [None]


# Mirrors, and servers that fail.


@pytest.mark.parametrize("status", [403, 404, 410, 202, 204])
def test_the_next_mirror_is_asked_at_once(make_site: Any, target: Path, status: int) -> None:
    first, second = make_site(plan={"/file": [f"status {status}"]}), make_site()
    assert download([first.url + "/file", second.url + "/file"], target, sha256=SHA) == SHA
    assert len(first.asked) == 1 and len(second.asked) == 1
    require_alone(target)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(site: Site, target: Path, status: int) -> None:
    site.plan = {"/file": [f"status {status}"] * 2}
    assert fetch(site, target) == SHA
    assert [asked.status for asked in site.asked] == [status, status, 200]


def test_a_lasting_failure_leads_to_the_next_mirror(make_site: Any, target: Path) -> None:
    first, second = make_site(plan={"/file": ["status 500"] * 9}), make_site()
    assert download([first.url + "/file", second.url + "/file"], target, sha256=SHA) == SHA
    assert len(first.asked) == 3


def test_another_mirror_continues_what_the_first_began(make_site: Any, target: Path) -> None:
    first, second = make_site(plan={"/file": ["cut 300000", "status 404"]}), make_site(etag='"its own"')
    assert download([first.url + "/file", second.url + "/file"], target, sha256=SHA) == SHA
    (asked,) = second.asked
    assert asked.range == "bytes=300000-" and "If-Range" not in asked.headers and asked.sent == SIZE - 300_000
    require_alone(target)


def test_another_mirror_begins_anew_if_no_hash_decides(make_site: Any, target: Path) -> None:
    first, second = make_site(plan={"/file": ["cut 300000", "status 404"]}), make_site(content=OTHER)
    assert download([first.url + "/file", second.url + "/file"], target, sha256=None) == OTHER_SHA
    require_alone(target, OTHER)


def test_a_mirror_with_another_file_is_passed_over(make_site: Any, target: Path) -> None:
    first, second = make_site(content=OTHER), make_site()
    assert download([first.url + "/file", second.url + "/file"], target, sha256=SHA) == SHA
    assert second.asked[0].range is None  # nothing of the wrong file is continued
    require_alone(target)


def test_all_addresses_are_listed_with_their_reasons(
    site: Site, target: Path, closed_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    site.plan = {"/file": ["status 404"]}
    with pytest.raises(MissingInput) as caught:
        download(
            [closed_url, "https://nowhere.invalid/file", site.url + "/file"],
            target,
            sha256=SHA,
            way_out="Pass it with --weights FILE.",
        )
    first, *reasons, last = str(caught.value).splitlines()
    assert str(target) in first
    assert reasons == [
        f"  {closed_url} cannot be read: {os.strerror(errno.ECONNREFUSED)}",
        "  https://nowhere.invalid/file cannot be read: Name or service not known",
        f"  {site.url}/file answered 404 Not Found",
    ]
    assert last == "Pass it with --weights FILE."
    require_nothing(target)


def test_no_network_at_all_names_a_way_out(target: Path, closed_url: str) -> None:
    with pytest.raises(MissingInput, match="download it on another machine and copy it to that path"):
        download([closed_url], target, sha256=SHA)


# What must not become the target.


def test_a_file_with_another_hash_never_becomes_the_target(make_site: Any, target: Path) -> None:
    first, second = make_site(content=OTHER), make_site(content=b"short")
    with pytest.raises(UnreadableInput) as caught:
        download([first.url + "/file", second.url + "/file"], target, sha256=SHA)
    message = str(caught.value)
    assert SHA in message and OTHER_SHA in message and "not the one its publisher published" in message
    assert first.url in message and second.url in message and "HTML" not in message
    assert len(first.asked) == 1  # a file that came in one piece is not fetched twice
    require_nothing(target)


def test_a_wrong_file_leaves_the_target_that_is_there(site: Site, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"older")
    site.content = OTHER
    with pytest.raises(UnreadableInput):
        fetch(site, target)
    require_alone(target, b"older")


@pytest.mark.parametrize("sha256", [SHA, None])
@pytest.mark.parametrize("size", [None, SIZE])
@pytest.mark.parametrize("fault", ["page", "page announced"])
def test_a_sign_in_page_is_recognised(
    site: Site, target: Path, sha256: str | None, size: int | None, fault: str
) -> None:
    site.plan = {"/file": [fault]}
    with pytest.raises(UnreadableInput, match=r"a web page \(HTML\), so probably a proxy or the sign-in page"):
        fetch(site, target, sha256=sha256, size=size)
    require_nothing(target)


def test_a_sign_in_page_does_not_cost_the_part_if_the_size_is_known(site: Site, target: Path) -> None:
    interrupt(site, target, 200_000)
    site.plan = {"/file": ["page announced"]}
    with pytest.raises(UnreadableInput, match=f"of {len(PAGE)} bytes, expected are 700,001"):
        fetch(site, target, size=SIZE)
    assert fetch(site, target, size=SIZE) == SHA
    assert site.asked[-1].status == 206


def test_a_length_that_differs_is_refused_before_the_download(site: Site, target: Path) -> None:
    site.plan = {"/file": ["length 700002"]}
    seen: list[int] = []
    with pytest.raises(UnreadableInput, match="announces 700,002 bytes, expected are 700,001"):
        fetch(site, target, size=SIZE, progress=lambda done, total: seen.append(done))
    assert not seen
    require_nothing(target)


def test_more_than_the_largest_size_is_refused(site: Site, target: Path) -> None:
    with pytest.raises(UnreadableInput, match="announces 700,001 bytes, expected are at most 1,000"):
        fetch(site, target, max_size=1000)
    require_nothing(target)


@pytest.mark.parametrize("limit", [{"size": SIZE}, {"max_size": SIZE}])
@pytest.mark.parametrize("sha256", [SHA, None])
def test_more_is_never_written_than_allowed(
    site: Site, target: Path, limit: dict[str, int], sha256: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    write = module._Part.write

    def count(part: module._Part, block: bytes) -> None:
        nonlocal written
        written += len(block)
        write(part, block)

    monkeypatch.setattr(module._Part, "write", count)
    site.plan = {"/file": ["no-length 900000"]}
    with pytest.raises(UnreadableInput, match="sent more than 700,001 bytes"):
        fetch(site, target, sha256=sha256, **limit)
    assert written <= SIZE
    require_nothing(target)


def test_a_file_that_ends_early_without_saying_so(site: Site, target: Path) -> None:
    site.content, site.plan = CONTENT[:1000], {"/file": ["no-length"] * 3}
    with pytest.raises(MissingInput, match="ended the transfer after 1,000 of 700,001 bytes"):
        fetch(site, target, size=SIZE)
    assert not target.exists()


# What forbids it.


@pytest.mark.parametrize("value", ["1", "true"])
def test_offline_means_offline(site: Site, target: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENMETRICS_OFFLINE", value)
    with pytest.raises(MissingInput, match="GENMETRICS_OFFLINE forbids") as caught:
        fetch(site, target, way_out="Use --weights FILE.")
    assert site.url in str(caught.value) and str(target) in str(caught.value) and "--weights" in str(caught.value)
    assert not site.asked
    require_nothing(target)


@pytest.mark.parametrize("value", ["", "0"])
def test_offline_can_be_switched_off(site: Site, target: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENMETRICS_OFFLINE", value)
    assert fetch(site, target) == SHA


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "net.onnx", ""])
def test_only_http_addresses_are_fetched(target: Path, url: str) -> None:
    with pytest.raises(InputError, match="--weights FILE"):
        download([url], target, sha256=SHA)


def test_no_address_at_all(target: Path) -> None:
    with pytest.raises(MissingInput, match="no address"):
        download([], target, sha256=SHA)


@pytest.mark.parametrize(
    "url", ["http://[::1/x", "http://127.0.0.1:port/x", "http:///x", "http://127.0.0.1/a b", "http://127.0.0.1/é"]
)
def test_a_malformed_address_is_passed_over(site: Site, target: Path, url: str) -> None:
    assert download([url, site.url + "/file"], target, sha256=SHA) == SHA
    with pytest.raises(MissingInput, match="cannot be read"):
        download([url], target.with_name("other"), sha256=SHA)


def test_something_that_does_not_speak_http(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"220 mail\x1b[2J ESMTP\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(MissingInput, match=r"cannot be read: 220 mail \[2J ESMTP \(3 attempts\)"):
            download([f"http://127.0.0.1:{server.getsockname()[1]}/file"], target, sha256=SHA)
        thread.join()


# The disk.


@pytest.mark.parametrize("size", [None, SIZE])
def test_a_disk_without_room_is_noticed_before(
    site: Site, target: Path, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500_000))
    with pytest.raises(InputError, match=r"needs 0\.7 MB more, but its disk has only 0\.5 MB free"):
        fetch(site, target, size=size)
    require_nothing(target)


def test_only_the_missing_bytes_need_room(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_part(target, CONTENT[:400_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=500_000))
    assert fetch(site, target) == SHA


def test_a_disk_that_fills_up_keeps_the_part(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = module._Part.write

    def fail(part: module._Part, block: bytes) -> None:
        if part.length >= 200_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(part, block)

    with monkeypatch.context() as patch:
        patch.setattr(module._Part, "write", fail)
        with pytest.raises(InputError, match=r"No space left on device.*is kept, and the next call continues it"):
            fetch(site, target)
    assert len(site.asked) == 1  # no other attempt: the network is not to blame
    assert fetch(site, target) == SHA
    require_alone(target)
    assert site.asked[-1].status == 206


def test_a_folder_that_cannot_be_made(site: Site, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        fetch(site, tmp_path / "weights" / "net.onnx")


def test_a_target_that_is_a_folder(site: Site, target: Path) -> None:
    target.mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written"):
        fetch(site, target)


# Two at once.


def test_a_second_download_of_the_same_file_takes_a_name_of_its_own(site: Site, target: Path) -> None:
    names: set[str] = set()

    def begin_another(done: int, total: int | None) -> None:
        if 0 < done < SIZE and not target.exists():
            assert fetch(site, target, progress=note_names) == SHA

    def note_names(done: int, total: int | None) -> None:
        names.update(path.name for path in target.parent.iterdir())

    assert fetch(site, target, progress=begin_another) == SHA
    require_alone(target)
    assert [asked.range for asked in site.asked] == [None, None]
    assert any(re.fullmatch(r"\.net\.onnx\.[0-9a-f]{16}\.part", name) for name in names)


def test_a_private_part_is_removed_if_it_fails(site: Site, target: Path) -> None:
    def begin_another(done: int, total: int | None) -> None:
        if done == 0:
            site.plan = {"/file": ["cut 100000", "status 404"]}
            with pytest.raises(MissingInput):
                fetch(site, target)
            assert len(list(target.parent.iterdir())) == 2

    assert fetch(site, target, progress=begin_another) == SHA
    require_alone(target)


def test_threads_at_once_all_end_with_a_whole_file(site: Site, target: Path) -> None:
    site.plan = {"/file": ["barrier", "barrier"]}  # the first two are answered when both have asked
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(fetch, site, target) for _ in range(4)]
        assert {future.result() for future in futures} == {SHA}
    require_alone(target)


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_a_lock_on_a_file_that_was_removed_meanwhile_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    path = tmp_path / "lock"
    monkeypatch.setattr(fcntl, "flock", lambda file, how: path.unlink())
    assert module._claim(path) is None


def test_where_files_cannot_be_locked_the_download_still_works(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_claim", lambda path: None)
    site.plan = {"/file": ["cut 300000"]}
    assert fetch(site, target) == SHA
    require_alone(target)
    assert site.asked[1].sent == SIZE - 300_000


def test_the_origin_of_a_part_is_noted(site: Site, target: Path) -> None:
    interrupt(site, target, 200_000)
    noted = json.loads(Path(f"{part_of(target)}.json").read_text())
    assert noted == {"url": site.url + "/file", "validator": '"one"'}
