"""One uploaded file: its size, what its first bytes say it is, and how it is kept."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from uploads.limits import ADVICE, Refused
from uploads.names import shown_name

_MAGIC = {
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",  # one without members
    b"\x93NUMPY": "npy",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}


def size_of(path: Path) -> int:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{shown_name(path)} is no regular file, so it is not read. {ADVICE}")
    return status.st_size


def kind_of(path: Path) -> str:
    """A door in `_DOORS`, by the first bytes; "other" for images and for everything unknown."""
    with path.open("rb") as file:
        head = file.read(512)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "pickle"
    return "tar" if is_tar(head) else "other"


def is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def keep(path: Path, kept: Path) -> Path:
    """Link the file into our folder, or copy it where that cannot be: the uploaded one may vanish at any time."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:
        shutil.copyfile(path, kept, follow_symlinks=False)
    return kept
