"""The wire format of protocol buffers: enough to walk a message whose fields are known by number.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: memoryview, *, fixed: bool = False) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, varint or bytes) of one message.

    Fields of 32 or 64 bits of fixed width are passed over, or given as their 4 or 8 bytes if ``fixed``.

    Raises
    ------
    ValueError
        A field that runs past the end of the message, or of a kind that is not known.
    IndexError
        The message ends within a number.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at + length > end:
            raise ValueError("a field runs past its end")
        if wire == _BYTES or fixed:
            yield number, message[at : at + length]
        at += length


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number of up to 64 bits that begins at ``at``, 7 bits to the byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number longer than 64 bits")
