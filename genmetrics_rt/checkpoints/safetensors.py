"""Read a ``.safetensors`` file: tensors as views of its bytes, after every length and offset was checked.

    8 bytes: length of the header (little-endian) | header: JSON, name → dtype, shape, data_offsets | the tensors

The offsets count from the end of the header. The tensors lie one behind the other, without a gap and without two of
them sharing a byte, and fill the file. Format: https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.checkpoints.damage import Damage, refuse_web_page, refusing_damage, shown

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 50_000
MAX_AXES = 16
_METADATA = "__metadata__"
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def is_safetensors(content: bytes | memoryview) -> bool:
    """Whether a file begins as one: the length of a header that it can hold, then the JSON's opening brace."""
    view = memoryview(content)
    return len(view) > 9 and view[8] == ord("{") and 2 <= int.from_bytes(view[:8], "little") <= len(view) - 8


def read_safetensors(content: bytes | memoryview, *, what: str) -> dict[str, NDArray[Any]]:
    """Every tensor by its name, in the order of the file: read-only views of ``content``; bfloat16 becomes float32.

    Raises
    ------
    UnreadableInput
        No such file, cut off or damaged: a header that is too long or no JSON, a dtype that is not known, a tensor
        whose bytes do not fit its shape, overlap another's, leave a gap or lie outside. ``what`` names the file.
    """
    with refusing_damage(what):
        view = memoryview(content).cast("B").toreadonly()
        refuse_web_page(view)
        header, data = _parts(view)
        tensors: dict[str, NDArray[Any]] = {}
        at = 0
        for name, dtype, shape, first, last in sorted(_entries(header), key=lambda entry: entry[3:]):
            if first != at:
                problem = "overlaps the one before it" if first < at else "leaves a gap before it"
                raise Damage(f"is damaged: the tensor {shown(name)} {problem}")
            if last > len(data):
                raise Damage(f"is cut off: {shown(name)} ends at byte {last:,} of {len(data):,}")
            at = last
            tensors[name] = _array(data[first:last], dtype, shape)
        if at != len(data):
            raise Damage(f"is damaged: {len(data) - at:,} bytes at its end belong to no tensor")
        return tensors


def _parts(view: memoryview) -> tuple[dict[str, Any], memoryview]:
    """The header and what follows it."""
    if len(view) < 8:
        raise Damage(f"is no safetensors file: it has {len(view)} bytes")
    length = int.from_bytes(view[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise Damage(f"is refused: its header would have {length:,} bytes, and {MAX_HEADER_BYTES:,} are the most")
    if length > len(view) - 8:
        raise Damage(f"is cut off: its header has {length:,} bytes, the file {len(view) - 8:,} after the length")
    header = json.loads(bytes(view[8 : 8 + length]).decode("utf-8"), object_pairs_hook=_without_twins)
    if not isinstance(header, dict):
        raise Damage("is damaged: its header is no JSON object")
    header.pop(_METADATA, None)
    if len(header) > MAX_TENSORS:
        raise Damage(f"is refused: it holds more than {MAX_TENSORS:,} tensors")
    return header, view[8 + length :]


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Damage("is damaged: its header has two entries of one name")
    return found


def _entries(header: dict[str, Any]) -> list[tuple[str, str, list[int], int, int]]:
    """Name, dtype, shape, first and last byte of each tensor."""
    entries = []
    for name, entry in header.items():
        dtype, shape, offsets = (entry[key] for key in ("dtype", "shape", "data_offsets"))
        if dtype not in _DTYPES:
            raise Damage(f"holds {shown(name)} in the number format {shown(str(dtype))}, which is not read here")
        numbers = [*shape, *offsets]
        if len(offsets) != 2 or len(shape) > MAX_AXES or any(type(n) is not int or n < 0 for n in numbers):
            raise Damage(f"is damaged: shape and place of {shown(name)} are no lists of whole numbers")
        first, last = offsets
        needed = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
        if last - first != needed:
            raise Damage(f"is damaged: {shown(name)} has {last - first:,} bytes where its shape needs {needed:,}")
        entries.append((name, dtype, shape, first, last))
    return entries


def _array(data: memoryview, dtype: str, shape: list[int]) -> NDArray[Any]:
    array = np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
    if dtype == "BF16":  # the upper half of a float32
        widened = (array.astype(np.uint32) << 16).view(np.float32)
        widened.flags.writeable = False
        return widened
    return array
