"""Stores behind a URL: what fails for a moment, what is secret, and what is read how often."""

from __future__ import annotations

import errno
import io
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt import datasets, stores
from genmetrics_rt.extraction import extract
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.features import FeatureCollector
from genmetrics_rt.sides import open_side
from genmetrics_rt.sources import Undecodable
from genmetrics_rt.stores import is_pattern, scrubbed, shown
from tests.test_datasets import ENCODED, PICTURES, features, write_tar

fsspec = pytest.importorskip("fsspec")


class DriverError(Exception):
    """No OSError, as those of botocore."""


class File(io.BytesIO):
    """Its reads fail as often as its store says."""

    def __init__(self, content: bytes, path: str) -> None:
        super().__init__(content)
        self.path = path

    def read(self, size: int | None = -1, /) -> bytes:
        if Store.failing[self.path]:
            Store.failing[self.path] -= 1
            raise Store.error
        return super().read(size)


class Store(fsspec.AbstractFileSystem):
    """Files at ``odd://user:password@host:port/path``, of which the host is no part of the path."""

    protocol = "odd"
    cachable = False
    files: ClassVar[dict[str, bytes]] = {}
    failing: ClassVar[Counter[str]] = Counter()  # how many reads of a file are still to fail
    opened: ClassVar[Counter[str]] = Counter()
    waited: ClassVar[list[float]] = []
    error: Exception = DriverError()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.partition("://")[2].partition("/")[2].strip("/") if "://" in path else path.rstrip("/")

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        found, start = {}, self._strip_protocol(path) + "/"
        for name, content in self.files.items():
            if name == self._strip_protocol(path):
                found[name] = {"name": name, "type": "file", "size": len(content)}
            if name.startswith(start):
                first, is_folder, _ = name[len(start) :].partition("/")
                kind = "directory" if is_folder else "file"
                found[start + first] = {"name": start + first, "type": kind, "size": len(content)}
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else list(found)

    def _open(self, path: str, *args: Any, **options: Any) -> File:
        Store.opened[path] += 1
        return File(self.files[path], path)


@pytest.fixture()
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Store]]:
    monkeypatch.setattr(stores.time, "sleep", Store.waited.append)
    monkeypatch.setattr(Store, "error", DriverError("a passing failure"))
    fsspec.register_implementation("odd", Store, clobber=True)
    yield Store
    for kept in (Store.files, Store.failing, Store.opened, Store.waited):
        kept.clear()


def put_images(store: type[Store], count: int = 6) -> None:
    store.files |= {f"/data/set/{row}.png": ENCODED[row] for row in range(count)}


def tar(members: dict[str, bytes], tmp_path: Path) -> bytes:
    write_tar(tmp_path / "made.tar", members)
    return (tmp_path / "made.tar").read_bytes()


# What fails for a moment.


def test_a_read_that_fails_is_made_again(store: type[Store]) -> None:
    put_images(store)
    source = open_side("odd://host:8020/data/set")
    store.failing["/data/set/3.png"] = 2
    assert source.read(3).encoded == ENCODED[3] and store.waited == [0.2, 1.0]


def test_a_store_that_stays_away_is_waited_for_once(store: type[Store]) -> None:
    put_images(store)
    source = open_side("odd://host/data/set")
    store.failing.update({f"/data/set/{row}.png": 10 for row in range(5)})
    for row in range(5):
        with pytest.raises(Undecodable, match="cannot be read: a passing failure") as caught:
            source.read(row)
        assert caught.value.transient
    assert store.waited == [0.2, 1.0, 4.0]
    assert source.read(5).encoded == ENCODED[5]  # it is back, so the next failure is worth waiting for again
    with pytest.raises(Undecodable):
        source.read(0)
    assert len(store.waited) == 6


def test_what_is_refused_is_not_waited_for(store: type[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    put_images(store)
    source = open_side("odd://host/data/set")
    for error in (PermissionError("the token has expired"), FileNotFoundError("gone")):
        monkeypatch.setattr(Store, "error", error)
        store.failing["/data/set/1.png"] = 1
        with pytest.raises(Undecodable, match=f"cannot be read: {error}") as caught:
            source.read(1)
        assert caught.value.transient and not store.waited


def test_tars_and_parquet_go_on_where_a_read_failed(store: type[Store], tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = io.BytesIO()
    parquet.write_table(arrow.table({"image": ENCODED}), table, row_group_size=20)
    store.files["/set.parquet"] = table.getvalue()
    store.files["/set.tar"] = tar({f"{row}.bmp": bytes(1 << 18) for row in range(10)}, tmp_path)
    store.failing.update({"/set.tar": 2, "/set.parquet": 2})
    source = open_side("odd://host/set.tar")
    assert [len(source.read(row).encoded) for row in range(10)] == [1 << 18] * 10
    source = open_side("odd://host/set.parquet")
    store.failing["/set.parquet"] = 3
    assert [source.read(row).encoded for row in (0, 59)] == [ENCODED[0], ENCODED[59]]
    store.failing["/set.parquet"] = 100
    with pytest.raises(Undecodable, match="row group cannot be read: a passing failure") as caught:
        source.read(25)
    assert caught.value.transient


def test_images_that_could_not_be_read_are_counted(store: type[Store], tiny: Path) -> None:
    put_images(store)
    store.files["/data/set/damaged.png"] = b"no image"
    source = open_side("odd://host/data/set")
    store.failing.update({"/data/set/1.png": 99, "/data/set/2.png": 99})
    run = extract(FeatureExtractor(tiny, device="cpu"), source, FeatureCollector())
    assert len(run.skipped) == 3 and run.transient == 2


# What is secret.


def test_a_url_is_shown_without_user_password_and_query() -> None:
    for url, safe in {
        "odd://user:s3cr3t@host:8020/a@2x": "odd://host:8020/a@2x",
        "s3://key:s3/cr3t@bucket/real": "s3://bucket/real",
        "https://t0ken@host/a.tar?X-Amz-Signature=5ecret&b=1": "https://host/a.tar",
        "http://host:8020/a@2x.png": "http://host:8020/a@2x.png",
        "hf://datasets/name/set@main/": "hf://datasets/name/set@main/",
        "abfs://container@account.dfs.core.windows.net/a": "abfs://container@account.dfs.core.windows.net/a",
        "s3://bucket/part-?.tar": "s3://bucket/part-?.tar",
        "/home/a:b@c?d=e": "/home/a:b@c?d=e",
    }.items():
        assert shown(url) == safe
    error = OSError("403 at url='https://u:p4ss@h/a?Signature=5ecret', retried with /a?Signature=5ecret&x=1.")
    assert scrubbed(error) == "403 at url='https://h/a', retried with /a"


def test_no_message_and_no_report_holds_a_secret(
    store: type[Store], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_images(store)
    url = "odd://user:s3cr3t@host/data/set"
    monkeypatch.setattr(Store, "error", DriverError(f"no credentials for {url}"))
    store.failing["/data/set/5.png"] = 9
    done = gm.make_reference(url, extractor=tiny)
    assert done.summary.source == "odd://host/data/set" and len(done.summary.skipped) == 1
    assert "s3cr3t" not in repr(done.summary)
    for wrong in (f"{url}-1", f"{url}/{{0..3}}.tar", f"{url}/*.jpg"):
        with pytest.raises(gm.MissingInput) as caught:
            open_side(wrong)
        assert "s3cr3t" not in str(caught.value)


def test_whatever_a_driver_raises_is_one_of_our_errors(
    store: type[Store], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.files["/set.tar"] = tar({"0.png": ENCODED[0]}, tmp_path)
    store.failing["/set.tar"] = 99
    with pytest.raises(gm.UnreadableInput, match=r"odd:///set\.tar cannot be read: a passing failure.*credentials"):
        open_side("odd://user:s3cr3t@host/set.tar")

    def refused(*args: object, **options: object) -> None:
        raise DriverError("Unable to locate credentials")

    monkeypatch.setattr(Store, "ls", refused)
    for url in ("odd://host/set", "odd://host/*.tar"):
        with pytest.raises(gm.UnreadableInput, match=r"cannot be read: Unable to locate credentials\. Check"):
            open_side(url)


# What is read how often.


def test_the_host_is_no_part_of_the_path(store: type[Store], tmp_path: Path, tiny: Path) -> None:
    for row in range(2):
        members = {f"{10 * row + each}.png": ENCODED[10 * row + each] for each in range(10)}
        store.files[f"/data/set/{row}.tar"] = tar(members, tmp_path)
    store.files["/data/set/readme.md"] = b"about"
    expected = gm.make_reference(PICTURES[:20], extractor=tiny).features.values
    for side in ("odd://host:8020/data/set", "odd://host:8020/data/set/*.tar", "odd://host/data/set/{0..1}.tar"):
        source = open_side(side)
        assert source.entry_name(11) == "1.tar/11.png" and np.array_equal(features(side, tiny), expected)
    assert [entry.name for entry in open_side("odd://host/data/set").skipped] == ["readme.md"]


def test_what_is_both_a_file_and_a_folder_is_told_by_its_name(
    store: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over HTTP, where a listing is a page, and looking for one reads the file."""
    put_images(store)
    store.files["/tars/0.tar"] = tar({"0.png": ENCODED[0]}, tmp_path)
    monkeypatch.setattr(Store, "isfile", Store.exists)
    monkeypatch.setattr(Store, "isdir", Store.exists)
    assert len(open_side("odd://host/data/set")) == 6
    assert len(open_side("odd://host/tars/0.tar")) == len(open_side("odd://host/tars/{0..0}.tar")) == 1


def test_a_full_disk_is_no_fault_of_the_store(
    store: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.files["/0.tar"] = tar({"0.png": ENCODED[0]}, tmp_path)

    def full(**options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(gm.InputError, match=r"copied into a temporary file, which fails: No space left.*TMPDIR"):
        open_side("odd://host/0.tar")


def test_the_query_of_a_presigned_url_is_no_pattern() -> None:
    assert not is_pattern("https://host/a.tar?X-Amz-Signature=5ecret")
    assert is_pattern("https://host/*.tar") and is_pattern("s3://bucket/part-?.tar")


def test_an_image_is_transferred_once(store: type[Store], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_images(store)
    source = open_side("odd://host/data/set")
    extract(FeatureExtractor(tiny, device="cpu"), source, FeatureCollector())
    assert set(store.opened.values()) == {1}
    monkeypatch.setattr(datasets, "_KEPT_BYTES", len(ENCODED[0]) + len(ENCODED[1]))
    for row in range(6):
        source.digest(row)
    assert len(source._kept) <= 2 and source._num_kept_bytes == sum(map(len, source._kept.values()))


def test_several_digests_are_taken_at_a_time(store: type[Store], tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_images(store)
    source = open_side("odd://host/data/set")
    together = threading.Barrier(6)  # broken unless six reads wait for each other
    digest = source.digest
    monkeypatch.setattr(source, "digest", lambda row: (together.wait(10), digest(row))[1])
    assert extract(FeatureExtractor(tiny, device="cpu"), source, FeatureCollector()).computed == 6


def test_a_tar_is_copied_once_while_copies_fit(
    store: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    (tmp_path / "copies").mkdir()
    for row in range(12):
        store.files[f"/{row:02}.tar"] = tar({"0.png": ENCODED[row]}, tmp_path)
    source = open_side("odd://host/*.tar")
    assert [source.read(row).encoded for row in (*range(12), 0)] == [*ENCODED[:12], ENCODED[0]]
    assert set(store.opened.values()) == {1}
    for room, most in ((5, 5), (0, 1)):
        free = 2 * room * len(store.files["/00.tar"])
        monkeypatch.setattr(datasets.shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        source = open_side("odd://host/*.tar")
        assert [source.read(row).encoded for row in range(12)] == ENCODED[:12] and len(source._opened) == most
    store.failing["/11.tar"] = 99
    with pytest.raises(gm.UnreadableInput):
        open_side("odd://host/*.tar")
    assert not list((tmp_path / "copies").iterdir())  # neither of those that are open, nor of the one that broke off
