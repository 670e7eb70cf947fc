"""Public reference statistics, from a server of our own: fetched once, remembered by their hash, then used by name."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt import public_references
from genmetrics_rt.cli_references import references_app
from genmetrics_rt.errors import MissingInput, UnreadableInput
from genmetrics_rt.public_references import (
    PublicReference,
    fetch_reference,
    is_fetched,
    list_references,
    open_reference,
    recorded_hash,
)
from genmetrics_rt.sides import open_side
from tests import makers

NAME = "tiny-train-8-tiny"


def statistics(seed: int = 0) -> bytes:
    rows = np.random.default_rng(seed).random((30, 12))
    buffer = io.BytesIO()
    np.savez(buffer, mu=rows.mean(axis=0), sigma=np.cov(rows, rowvar=False))
    return buffer.getvalue()


class Site:
    """What is served at every address, and which were asked for."""

    def __init__(self) -> None:
        self.content = statistics()
        self.asked: list[str] = []
        self.url = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    served = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(served.content)))
            self.end_headers()
            self.wfile.write(served.content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/stats/tiny_tiny_train_8.npz"
    entry = PublicReference(NAME, (served.url,), "tiny", "tiny", "tiny", "train", 8, 30, "nobody")
    monkeypatch.setattr(public_references, "REFERENCES", MappingProxyType({NAME: entry}))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_catalogue_is_complete_in_itself() -> None:
    entries = list_references()
    assert len({entry.name for entry in entries}) == len(entries) == len({entry.urls for entry in entries})
    by_name = {entry.name: entry for entry in entries}
    assert by_name["cifar10-train-32-clean"].urls == (
        "https://www.cs.cmu.edu/~clean-fid/stats/cifar10_clean_train_32.npz",
    )
    assert by_name["lsun-cat-trainfull-256-tf1"].num_images == 1_657_264
    for entry in entries:
        assert entry.name == entry.name.lower() and entry.publisher
        assert all(url.startswith("https://") for url in entry.urls)
        assert entry.file_name.endswith((".npz", ".pkl"))
        assert entry.protocol in ("clean", "tf1", "pytorch-fid", "adm")


def test_the_addresses_of_clean_fid_are_those_that_it_makes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    features = pytest.importorskip("cleanfid.features")
    asked: list[str] = []

    def note(local_folder: str, url: str) -> str:
        asked.append(url.replace("stats//", "stats/"))
        raise LookupError

    monkeypatch.setattr(features, "check_download_url", note)
    modes = {"clean": "clean", "tf1": "legacy_tensorflow", "pytorch-fid": "legacy_pytorch"}
    entries = [entry for entry in list_references() if entry.publisher.startswith("clean-fid")]
    assert entries
    for entry in entries:
        metric = "KID" if entry.name.endswith("-kid") else "FID"
        with pytest.raises(LookupError):
            features.get_reference_statistics(
                entry.dataset, entry.size, mode=modes[entry.protocol], split=entry.split, metric=metric
            )
        assert entry.urls == (asked[-1],)


def test_it_is_fetched_once_and_then_stands_for_a_side(site: Site, tiny: Path) -> None:
    with pytest.raises(MissingInput, match=f"Fetch it once: genmetrics references fetch {NAME}"):
        open_side(NAME)
    assert not is_fetched(NAME) and recorded_hash(NAME) is None and not site.asked
    told: list[gm.Progress] = []
    path = fetch_reference(NAME, progress=told.append)
    assert path.read_bytes() == site.content and site.asked == ["/stats/tiny_tiny_train_8.npz"]
    assert told[-1].unit == "bytes" and told[-1].stage == NAME
    record = json.loads((path.parent / "record.json").read_text())
    digest = hashlib.sha256(site.content).hexdigest()
    assert (record["sha256"], record["bytes"], record["url"]) == (digest, len(site.content), site.url)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["record.json", path.name]

    assert fetch_reference(NAME) == path and len(site.asked) == 1
    report = gm.evaluate(makers.pictures(20), NAME, extractor=str(tiny), metrics="fd")
    assert report.reference.source == NAME and report.reference.num_images == 30
    assert report.scores["fd"].value is not None and len(site.asked) == 1
    assert is_fetched(NAME) and recorded_hash(NAME) == digest


def test_other_bytes_than_the_recorded_ones_are_refused(site: Site) -> None:
    path = fetch_reference(NAME)
    first = path.read_bytes()
    path.unlink()
    site.content = statistics(1)
    with pytest.raises(UnreadableInput) as refused:
        fetch_reference(NAME)
    for content in (first, site.content):
        assert hashlib.sha256(content).hexdigest() in str(refused.value)
    assert "delete" in str(refused.value) and not is_fetched(NAME)
    (path.parent / "record.json").unlink()
    assert fetch_reference(NAME).read_bytes() == site.content


def test_a_file_that_was_damaged_here_is_fetched_again(site: Site) -> None:
    path = fetch_reference(NAME)
    path.write_bytes(b"damage")
    with pytest.raises(UnreadableInput, match="has 6 bytes, and"):
        open_reference(NAME)
    assert fetch_reference(NAME).read_bytes() == site.content
    assert open_reference(NAME).summary.num_images == 30


@pytest.mark.parametrize("content", [b"PK no archive", b"<!doctype html><title>Sign in</title>"])
def test_what_is_no_statistics_does_not_count(site: Site, content: bytes) -> None:
    site.content = content
    with pytest.raises(UnreadableInput):
        fetch_reference(NAME)
    assert not is_fetched(NAME) and recorded_hash(NAME) is None


def test_without_a_network(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENMETRICS_OFFLINE", "1")
    with pytest.raises(MissingInput, match="give its path as a side"):
        fetch_reference(NAME)
    assert not site.asked
    with pytest.raises(MissingInput, match="No public reference 'nothing'"):
        fetch_reference("nothing")


def test_a_name_that_is_nearly_right() -> None:
    with pytest.raises(MissingInput, match="Did you mean 'cifar10-train-32-clean'"):
        open_side("cifar10-train-32-claen")


def test_the_command_lists_and_fetches(site: Site) -> None:
    run = CliRunner().invoke
    listed = run(references_app, ["list"])
    assert listed.exit_code == 0 and f"{NAME}  -     tiny         30 images" in listed.stdout
    fetched = run(references_app, ["fetch", NAME, "--quiet"])
    assert fetched.exit_code == 0 and fetched.stdout.strip().endswith("tiny_tiny_train_8.npz")
    assert "here" in run(references_app, ["list"]).stdout
    again = run(references_app, ["fetch", NAME])
    assert f"sha256 {hashlib.sha256(site.content).hexdigest()}" in again.output.replace("\n", " ")
    assert run(references_app, ["fetch", "nothing"]).exit_code == 2
