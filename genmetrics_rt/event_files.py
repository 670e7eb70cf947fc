"""Event files of TensorBoard: scalars (and small tensors) by tag, without TensorFlow.

An event file is a sequence of records, each ``length (8 bytes) · masked CRC32C of it (4) · an Event message · masked
CRC32C of that (4)``, little-endian. Scalars stand in an event's summary as ``simple_value`` (TensorFlow 1, torch) or
as a tensor (TensorFlow 2). Histograms, pictures and graphs are passed over.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto and framework/summary.proto
"""

from __future__ import annotations

import math
import os
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.errors import MissingInput, UnreadableInput
from genmetrics_rt.protobuf import fields, varint

MAX_BYTES = 2_000_000_000  # of all files of a log together
_MAX_VALUES = 1_000_000  # of one tensor
_MAX_KEPT = 20_000_000  # of a log: equal numbers are written once, so a small file may hold any number of them
_SMALL = 4_096  # bytes of a record whose checksum is computed whatever is in it
_MAX_CHECKED = 1_000_000  # and of one that holds numbers
_EVENT_STEP, _EVENT_VERSION, _EVENT_SUMMARY = 2, 3, 5
_SUMMARY_VALUE = 1
_VALUE_TAG, _VALUE_SIMPLE, _VALUE_TENSOR = 1, 2, 8
_TENSOR_TYPE, _TENSOR_SHAPE, _TENSOR_CONTENT = 1, 2, 4
_SHAPE_DIM, _DIM_SIZE = 2, 1
# Of a tensor's type: how its content is laid out, and in which field single values stand instead.
_TYPES = {1: ("<f4", 5), 2: ("<f8", 6), 3: ("<i4", 7), 9: ("<i8", 10), 19: ("<f2", 13), 14: ("bfloat16", 13)}

Series: TypeAlias = "dict[int, array[float]]"  # step → values in float64


@dataclass(frozen=True)
class EventLog:
    """The numbers of one log: tag → step → values. In a folder a tag begins with the folder of its file, if any."""

    series: Mapping[str, Series]
    notes: tuple[str, ...]  # what was damaged or cut off


def is_event_log(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an event file by its name, or a folder that holds one."""
    place = Path(path)
    return bool(_files(place)) if place.is_dir() else place.is_file() and "tfevents" in place.name


def read_events(path: str | os.PathLike[str]) -> EventLog:
    """Read one event file, or all of a folder as one log.

    Of a tag and step that occur twice, as after a restart, the later file counts. A record whose checksum does not hold
    is left out; where a file is cut off, what stands before is read. Both are said in ``notes``.

    Raises
    ------
    MissingInput, UnreadableInput
        No event file there, more than 2 GB or 20 million numbers of them, or one that begins with something else.
    """
    place = Path(path)
    files = _files(place) if place.is_dir() else [place]
    if not files or not place.exists():
        raise MissingInput(
            f"There is no event file at {path}: none of its names holds tfevents. Give a log of TensorBoard."
        )
    total = sum(file.stat().st_size for file in files)
    if total > MAX_BYTES:
        raise UnreadableInput(f"The event files at {path} are {total / 1e9:.1f} GB, more than is read. Give one run.")
    series: dict[str, Series] = {}
    notes: list[str] = []
    kept = 0
    for file in files:
        prefix = file.parent.relative_to(place).as_posix() if place.is_dir() else "."
        found: dict[str, Series] = {}
        trouble, kept = _read_file(file, found, kept)
        for tag, own in found.items():
            series.setdefault(tag if prefix == "." else f"{prefix}/{tag}", {}).update(own)
        notes += [f"{file.name}: {told}" for told in trouble]
    return EventLog(series, tuple(notes))


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C (Castagnoli): polynomial 0x1EDC6F41, reflected."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """As it stands in a record: turned by 15 bits and moved, so that a checksum of checksums is no weak one."""
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()


def _files(folder: Path) -> list[Path]:
    """In the order of their names, which begin with the time of writing; folders first by name."""
    return sorted(file for file in folder.rglob("*tfevents*") if file.is_file())


def _read_file(file: Path, series: dict[str, Series], kept: int) -> tuple[list[str], int]:
    """Add the numbers of one file to the ``kept`` of others; what was wrong with it, and how many there are then."""
    try:
        content = memoryview(file.read_bytes())
    except OSError as error:
        raise UnreadableInput(f"{file} cannot be read: {error.strerror or error}.") from error
    at, damaged, number = 0, 0, 0
    notes = []
    while at < len(content):
        header = content[at : at + 12]
        if len(header) < 12:
            notes.append("the last record is cut off")
            break
        length, check = struct.unpack("<QI", header)
        if masked_crc32c(header[:8]) != check:
            if number == 0:
                raise UnreadableInput(
                    f"{file} is no event file: its first record does not hold. Give a log of TensorBoard."
                )
            notes.append(f"damaged after {number} records; what follows cannot be found again")
            break
        end = at + 12 + length
        if end + 4 > len(content):
            notes.append("the last record is cut off")
            break
        event = content[at + 12 : end]
        at, number = end + 4, number + 1
        try:
            found = list(_scalars(event, _MAX_KEPT - kept))
        except (ValueError, IndexError, OverflowError, UnicodeDecodeError):
            damaged += 1
            continue
        except _TooManyNumbers as error:
            raise UnreadableInput(
                f"{file} holds more than {_MAX_KEPT:,} numbers, more than is read of a log. Log fewer tensors, or give "
                "one run."
            ) from error
        # A checksum in plain Python takes a second for 10 MB, so pictures and large histograms go unchecked.
        if len(event) <= (_MAX_CHECKED if found else _SMALL):
            (check,) = struct.unpack("<I", content[end : end + 4])
            if masked_crc32c(event) != check:
                damaged += 1
                continue
        for tag, step, values in found:
            kept += len(values)
            series.setdefault(tag, {})[step] = values
    if damaged:
        notes.append(f"{damaged} damaged record{'s' if damaged > 1 else ''} left out")
    return notes, kept


class _TooManyNumbers(Exception):
    pass


def _scalars(event: memoryview, most: int) -> Iterator[tuple[str, int, array[float]]]:
    """(tag, step, values) of what is a number or a tensor of numbers in one event, with at most so many numbers."""
    step, summaries = 0, []
    for number, value in fields(event):
        if number == _EVENT_STEP and isinstance(value, int):
            step = value if value < 1 << 63 else value - (1 << 64)
        elif number == _EVENT_SUMMARY and isinstance(value, memoryview):
            summaries.append(value)
    for summary in summaries:
        for number, value in fields(summary):
            if number != _SUMMARY_VALUE or not isinstance(value, memoryview):
                continue
            tag, values = _value(value)
            if tag and values:
                most -= len(values)
                if most < 0:
                    raise _TooManyNumbers
                yield tag, step, values


def _value(message: memoryview) -> tuple[str, array[float]]:
    tag, values = "", array("d")
    for number, value in fields(message, fixed=True):
        if not isinstance(value, memoryview):
            continue
        if number == _VALUE_TAG:
            tag = bytes(value).decode()
        elif number == _VALUE_SIMPLE and len(value) == 4:
            values = array("d", struct.unpack("<f", value))
        elif number == _VALUE_TENSOR:
            values = _tensor(value)
    return tag, values


def _tensor(message: memoryview) -> array[float]:
    """The numbers of a tensor; none where it holds text or too many."""
    kind, size, content, single = 0, 1, b"", []
    for number, value in fields(message, fixed=True):
        if number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_SHAPE and isinstance(value, memoryview):
            size = _size(value)
        elif number == _TENSOR_CONTENT and isinstance(value, memoryview):
            content = bytes(value)
        else:
            single.append((number, value))
    if kind not in _TYPES or not 0 < size <= _MAX_VALUES:
        return array("d")
    layout, field = _TYPES[kind]
    given = [value for number, value in single if number == field]
    if content:
        values = _floats(content, layout)
    elif layout in ("<f4", "<f8"):
        values = _floats(b"".join(value for value in given if isinstance(value, memoryview)), layout)
    else:
        whole = [entry for value in given for entry in ([value] if isinstance(value, int) else list(_varints(value)))]
        if field == 13:  # the bits of halves, each in a number of its own
            values = _floats(np.array(whole, "<u2").tobytes(), layout)
        else:
            values = array("d", (float(entry if entry < 1 << 63 else entry - (1 << 64)) for entry in whole))
    # Equal numbers at the end are written once.
    return values + values[-1:] * (size - len(values)) if 0 < len(values) <= size else array("d")


def _floats(content: bytes, layout: str) -> array[float]:
    wide: NDArray[np.floating]
    if layout == "bfloat16":
        wide = (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    else:
        wide = np.frombuffer(content, layout)
    with np.errstate(invalid="ignore"):  # a NaN that signals
        return array("d", wide.astype(np.float64).tobytes())


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = varint(packed, at)
        yield value


def _size(shape: memoryview) -> int:
    sizes = []
    for number, value in fields(shape):
        if number == _SHAPE_DIM and isinstance(value, memoryview):
            sizes.append(next((own for field, own in fields(value) if field == _DIM_SIZE and isinstance(own, int)), 0))
    return math.prod(sizes)
