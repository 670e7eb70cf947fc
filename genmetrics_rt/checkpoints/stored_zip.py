"""A zip whose members lie in it uncompressed, read as stretches of its own bytes.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT describes the format. The directory at the end and the
header before each member must tell the same, and no two members may share bytes. A compressed member may be listed,
as the source code in a TorchScript archive is, but not read: nothing is unpacked here.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from genmetrics_rt.checkpoints.damage import Damage, shown

MAX_MEMBERS = 200_000
_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_SIZE, _END_64_SIZE, _LOCATOR_64_SIZE = 22, 56, 20
_DIRECTORY_ENTRY, _LOCAL_HEADER = b"PK\1\2", b"PK\3\4"
_ENTRY_SIZE, _HEADER_SIZE = 46, 30
_MAX_COMMENT = 0xFFFF
_ENCRYPTED, _SIZES_FOLLOW = 1, 8  # flags: in the second case the local header has zeros in place of the sizes
_IN_EXTRA = 0xFFFFFFFF  # stands for a number that the zip64 field has
_ZIP64_FIELD = 1


@dataclass(frozen=True)
class _Member:
    name: bytes
    flags: int
    method: int
    checksum: int
    packed_size: int
    size: int
    header: int


class StoredZip:
    """The members of a zip by name.

    Raises
    ------
    Damage
        No zip, or one whose parts contradict each other, overlap, repeat a name or lie outside the file.
    """

    def __init__(self, content: memoryview) -> None:
        self._content = content
        start, end, count = _directory(content)
        self._members: dict[str, _Member] = {}
        self._starts: dict[str, int] = {}
        at = start
        for _ in range(count):
            member, at = _entry(content, at, end)
            name = _text(member.name)
            if name in self._members:
                raise Damage(f"holds two members of the name {shown(name)}, so that nobody can say which one counts")
            self._members[name] = member
            self._starts[name] = _start(content, member, start)
        if at != end:
            raise Damage("is damaged: the directory of its zip is not as long as it says")
        self._require_apart()

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def size(self, name: str) -> int:
        """The length of a member in bytes."""
        return self._member(name).size

    def read(self, name: str) -> memoryview:
        """The bytes of a member, in place. Raises `Damage` if there is none, or it is compressed or damaged."""
        member = self._member(name)
        if member.flags & _ENCRYPTED or member.method:
            raise Damage(
                f"holds {shown(name)} compressed or encrypted, which PyTorch never does: it may be a decompression bomb"
            )
        found = self._content[self._starts[name] : self._starts[name] + member.size]
        if member.checksum and zlib.crc32(found) != member.checksum:  # PyTorch can be told to write 0 for it
            raise Damage(f"is damaged: the checksum of {shown(name)} in it does not hold")
        return found

    def _member(self, name: str) -> _Member:
        if name not in self._members:
            raise Damage(f"refers to {shown(name)}, which it does not hold")
        return self._members[name]

    def _require_apart(self) -> None:
        reached = 0
        for name, member in sorted(self._members.items(), key=lambda item: item[1].header):
            if member.header < reached:
                raise Damage(f"is refused: {shown(name)} overlaps another member of its zip")
            reached = self._starts[name] + member.packed_size


def _directory(content: memoryview) -> tuple[int, int, int]:
    """Start and end of the directory, and how many members it lists."""
    tail = bytes(content[-(_END_SIZE + _MAX_COMMENT) :])
    found = tail.rfind(_END)
    if found < 0 or found + _END_SIZE > len(tail):
        raise Damage("is cut off: a zip ends with its directory, and this one does not")
    end = len(content) - len(tail) + found
    disk, first_disk, here, count, size, start, comment = struct.unpack("<4H2IH", tail[found + 4 : found + _END_SIZE])
    if end + _END_SIZE + comment != len(content):
        raise Damage("is cut off or damaged: its zip does not end where it says")
    locator = end - _LOCATOR_64_SIZE
    if locator >= 0 and content[locator : locator + 4] == _LOCATOR_64:
        end = int(struct.unpack("<Q", content[locator + 8 : locator + 16])[0])
        if end + _END_64_SIZE > locator or content[end : end + 4] != _END_64:
            raise Damage("is damaged: its zip lacks the 64-bit end of the directory that it promises")
        disk, first_disk, here, count, size, start = struct.unpack("<2I4Q", content[end + 16 : end + _END_64_SIZE])
    if disk or first_disk or here != count:
        raise Damage("is one part of a zip in several files, which is not read here")
    if start + size != end:
        raise Damage("is damaged: the directory of its zip is not where it says")
    if count > min(MAX_MEMBERS, size // _ENTRY_SIZE):
        raise Damage(f"is damaged: its zip is said to have {count:,} members in a directory of {size:,} bytes")
    return start, end, count


def _entry(content: memoryview, at: int, end: int) -> tuple[_Member, int]:
    """A member as the directory describes it, and where the next one begins."""
    if at + _ENTRY_SIZE > end or content[at : at + 4] != _DIRECTORY_ENTRY:
        raise Damage("is damaged: the directory of its zip breaks off")
    flags, method, checksum, packed_size, size, name_size, extra_size, comment_size, header = struct.unpack(
        "<8x2H4x3I3H8xI", content[at : at + _ENTRY_SIZE]
    )
    at += _ENTRY_SIZE
    name = bytes(content[at : at + name_size])
    extra = content[at + name_size : at + name_size + extra_size]
    at += name_size + extra_size + comment_size
    if at > end:
        raise Damage("is damaged: the directory of its zip breaks off")
    size, packed_size, header = _widened([size, packed_size, header], extra)
    if not method and size != packed_size:
        raise Damage(f"is damaged: {shown(_text(name))} in it is stored, and has two different sizes")
    return _Member(name, flags, method, checksum, packed_size, size, header), at


def _widened(numbers: list[int], extra: memoryview) -> list[int]:
    """The numbers, with those that need 64 bits taken from the extra field that has them, in this order."""
    if _IN_EXTRA not in numbers:
        return numbers
    at, count = 0, numbers.count(_IN_EXTRA)
    while at + 4 <= len(extra):
        field, length = struct.unpack("<2H", extra[at : at + 4])
        at += 4
        if field == _ZIP64_FIELD and 8 * count <= length <= len(extra) - at:
            wide = iter(struct.unpack(f"<{count}Q", extra[at : at + 8 * count]))
            return [next(wide) if number == _IN_EXTRA else number for number in numbers]
        at += length
    raise Damage("is damaged: its zip promises 64-bit sizes that it does not have")


def _start(content: memoryview, member: _Member, limit: int) -> int:
    """Where the bytes of a member begin, behind its own header, which must agree with the directory."""
    name = shown(_text(member.name))
    data = member.header + _HEADER_SIZE
    if data > limit or content[member.header : member.header + 4] != _LOCAL_HEADER:
        raise Damage(f"is cut off or damaged: {name} is not where the directory of its zip says")
    flags, method, checksum, packed_size, size, name_size, extra_size = struct.unpack(
        "<6x2H4x3I2H", content[member.header : data]
    )
    own = [checksum, packed_size, size]
    if _IN_EXTRA in own[1:]:
        extra = content[data + name_size : data + name_size + extra_size]
        own[2], own[1] = _widened([size, packed_size], extra)
    promised = [member.checksum, member.packed_size, member.size]
    agrees = own == promised or (member.flags & _SIZES_FOLLOW and own == [0, 0, 0])
    if not agrees or (flags, method) != (member.flags, member.method):
        raise Damage(f"is damaged: the header of {name} contradicts the directory of its zip")
    if content[data : data + name_size] != member.name:
        raise Damage(f"is damaged: the directory of its zip calls another member {name}")
    start: int = data + name_size + extra_size
    if start + member.packed_size > limit:
        raise Damage(f"is cut off or damaged: {name} would reach beyond the members of its zip")
    return start


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise Damage("is damaged: the name of a member of its zip is no UTF-8") from error
