"""Tars, plain or packed; a packed one is unpacked here, since only here its size is bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from uploads.archives import ENTRY_BYTES, Metered, irregular, look_into, require_inside, require_modest
from uploads.files import is_tar, keep, kind_of, size_of
from uploads.limits import ADVICE, Limits, Refused, Side, refusing_damage
from uploads.names import clean, named, shown_name

_LONG_HEADER = 16 << 10  # a tar's long names and extended attributes are shorter
_XZ_MEMORY = 256 << 20  # xz -9 needs 65 MB
_BLOCK = 1 << 20


def accept_tar(path: Path, folder: Path, limits: Limits) -> Side:
    name = shown_name(path)
    return _accept_plain_tar(keep(path, folder / named(name, (".tar",))), name, size_of(path), limits)


def accept_packed_tar(path: Path, folder: Path, limits: Limits) -> Side:
    name, packed, size = shown_name(path), size_of(path), 0
    tar = folder / named(re.sub(r"(\.tar)?\.(gz|bz2|xz)$|\.t(gz|bz2?|xz)$", "", name, flags=re.I), (".tar",))
    with refusing_damage(name), tar.open("xb") as copy:
        for block in _unpacked(path):
            if size == 0 and not is_tar(block):
                raise Refused(f"{name} is a compressed file, but no archive of files (tar). {ADVICE}")
            size += len(block)
            require_modest(name, size, packed, limits)
            copy.write(block)
    return _accept_plain_tar(tar, name, packed, limits)


def _unpacked(path: Path) -> Iterator[bytes]:
    kind = kind_of(path)
    if kind != "xz":
        with gzip.open(path) if kind == "gzip" else bz2.open(path) as packed:
            while block := packed.read(_BLOCK):
                yield block
        return
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)  # lzma.open knows no such limit
    with path.open("rb") as file:
        while not decompressor.eof:
            packed_block = file.read(_BLOCK) if decompressor.needs_input else b""
            if decompressor.needs_input and not packed_block:
                raise EOFError("cut off")
            if block := decompressor.decompress(packed_block, _BLOCK):
                yield block


def _accept_plain_tar(tar: Path, name: str, packed: int, limits: Limits) -> Side:
    with tar.open("rb") as file:
        members = _list_tar(file, name, limits)

        def opener(start: int, size: int) -> Callable[[], IO[bytes]]:
            def opened() -> IO[bytes]:
                file.seek(start)
                return io.BytesIO(file.read(size))

            return opened

        if not members:
            raise Refused(f"{name} is an archive without any file in it. {ADVICE}")
        seen = look_into(name, [(member, size, opener(start, size)) for member, start, size in members], limits)
    return Side(tar, seen.summary(packed), "images", seen.num_images)


def _list_tar(file: IO[bytes], name: str, limits: Limits) -> list[tuple[str, int, int]]:
    """Name, start and size of each regular file."""
    members: list[tuple[str, int, int]] = []
    metered: Any = Metered(file, name, longest=_LONG_HEADER, budget=4 * limits.num_files * ENTRY_BYTES)
    with refusing_damage(name), tarfile.open(fileobj=metered, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # thousands would stay in memory
            shown = f"{name}: {clean(member.name)}"
            require_inside(member.name, shown)
            if member.issym() or member.islnk():
                raise irregular(shown, "a link")
            if not member.isdir() and (not member.isfile() or member.issparse()):
                raise irregular(shown, "a device, a pipe or a file with holes")
            if member.isfile():
                members.append((member.name, member.offset_data, member.size))
    return members
