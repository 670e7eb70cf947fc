"""A folder of feature blocks, keyed by what they were computed from. Never trusted, never fatal.

An entry is ``sha256 of the payload (32 bytes) + payload (.npz)``. It is written under a temporary name, synced and
renamed, so a crash leaves no half entry. An entry whose hash does not hold is moved to ``damaged/`` and computed
again. A cache that cannot be written (read-only, full disk) is given up for this run, with a note for the report.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def cache_home() -> Path:
    """`GENMETRICS_HOME`, or the platform's cache folder."""
    home = os.environ.get("GENMETRICS_HOME")
    if home:
        return Path(home)
    from platformdirs import user_cache_path

    return user_cache_path("genmetrics")


class FeatureCache:
    """Blocks of arrays on disk, by key. ``FeatureCache(None)`` stores nothing."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.notes: list[str] = []  # what the user should know about this cache
        self._writable = root is not None

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays stored under a key, or None."""
        if self.root is None:
            return None
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() != digest:
            self._move_aside(path)
            return None
        with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays under a key; on failure say so once and go on without the cache."""
        if self.root is None or not self._writable:
            return
        buffer = io.BytesIO()
        np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
        payload = buffer.getvalue()
        try:
            write_atomically(self._path(key), hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            self._writable = False
            self.notes.append(
                f"The feature cache {self.root} cannot be written ({error.strerror or error}): nothing more is stored, "
                "so a later run computes these features again. Set GENMETRICS_HOME to a folder with space."
            )

    def _path(self, key: str) -> Path:
        assert self.root is not None
        return self.root / "features" / key[:2] / f"{key}.block"

    def _move_aside(self, path: Path) -> None:
        assert self.root is not None
        self.notes.append(f"A cache entry was damaged and is computed again ({path.name[:12]}…, moved to damaged/).")
        with contextlib.suppress(OSError):
            (self.root / "damaged").mkdir(parents=True, exist_ok=True)
            path.replace(self.root / "damaged" / path.name)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises OSError; leaves no temporary file behind."""
    if path.exists() and not path.is_file():  # /dev/stdout, a pipe: replacing it would destroy it
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    file = open(temporary, "xb")  # not mkstemp, whose files are private: here the user's umask decides who may read
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
