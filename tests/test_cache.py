"""The cache is never trusted and never fatal."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from genmetrics_rt import cache as cache_module
from genmetrics_rt.cache import FeatureCache, write_atomically

ARRAYS = {"values": np.arange(6, dtype=np.float32).reshape(2, 3)}


def test_round_trip(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    assert cache.get("ab12") is None
    cache.put("ab12", ARRAYS)
    found = cache.get("ab12")
    assert found is not None
    np.testing.assert_array_equal(found["values"], ARRAYS["values"])
    assert not cache.notes


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_entry_is_moved_aside_not_trusted(tmp_path: Path, damage: str) -> None:
    cache = FeatureCache(tmp_path)
    cache.put("ab12", ARRAYS)
    (path,) = tmp_path.glob("features/*/*.block")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-20] ^= 1
    path.write_bytes({"truncate": content[:-10], "flip": content, "empty": b""}[damage])
    assert cache.get("ab12") is None
    assert list((tmp_path / "damaged").iterdir())
    assert "damaged" in cache.notes[0]
    cache.put("ab12", ARRAYS)
    assert cache.get("ab12") is not None


def test_a_cache_that_cannot_be_written_is_given_up_with_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "write_atomically", full)
    cache = FeatureCache(tmp_path)
    cache.put("ab12", ARRAYS)
    cache.put("cd34", ARRAYS)
    assert len(cache.notes) == 1 and "No space left" in cache.notes[0]


def test_a_home_that_is_a_file_is_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    cache = FeatureCache(tmp_path / "home")
    cache.put("ab12", ARRAYS)
    assert cache.get("ab12") is None
    assert len(cache.notes) == 1


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def broken(source: str, destination: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert target.read_text() == "old"


def test_writing_to_a_device_does_not_replace_it(tmp_path: Path) -> None:
    write_atomically(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no umask")
@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(tmp_path: Path, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "report.html", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == expected
