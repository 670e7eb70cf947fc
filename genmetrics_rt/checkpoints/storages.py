"""Arrays that are views of a file's own bytes, as PyTorch stores tensors: a flat storage, and strides over it.

Element ``i, j, …`` of a tensor is the storage's element ``offset + i·stride₀ + j·stride₁ + …``. Every extent is worked
out first, in whole numbers without bound, and no tensor has more elements than its storage: a view never becomes
something larger when it is copied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.checkpoints.damage import Damage, shown
from genmetrics_rt.checkpoints.pickle_machine import Symbol

MAX_AXES = 32  # NumPy's own bound before 2.0
_MAX_ELEMENTS = 1 << 48  # of a shape whose axes of length 0 are left out: no product of sizes overflows

BFLOAT16 = "bfloat16"  # the upper half of a float32, which NumPy does not know
DTYPES = {
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "int8": "|i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "bool": "|b1",
    BFLOAT16: "<u2",
}
_CLASSES = {
    "HalfStorage": "float16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "BFloat16Storage": BFLOAT16,
}
STORAGE_DTYPES = {f"torch.{place}{name}": dtype for place in ("", "cuda.") for name, dtype in _CLASSES.items()}
STORAGE_DTYPES["torch.storage.UntypedStorage"] = "uint8"  # bytes


@dataclass(frozen=True, eq=False)
class Storage:
    """``values`` is one-dimensional and read-only, or None while its place in the file is not known yet."""

    dtype: str
    values: NDArray[Any] | None = None

    def part(self, start: int, length: int) -> Storage:
        """The storage of some of its elements. Raises `Damage` if it does not have them."""
        if self.values is None:
            return self
        if start + length > len(self.values):
            raise Damage(
                f"is damaged: elements {start:,} to {start + length:,} are asked of a storage of {len(self.values):,}"
            )
        return Storage(self.dtype, self.values[start : start + length])

    def seen_as(self, dtype: str) -> Storage:
        """The same bytes as elements of another dtype; bytes at the end that make no whole one are left out."""
        if self.values is None:
            return Storage(dtype)
        whole = len(self.values) // item_size(dtype) * item_size(dtype)
        return Storage(dtype, self.values[:whole].view(DTYPES[dtype]))


def storage_of(dtype: str, content: memoryview) -> Storage:
    """The storage that lies in ``content``, a whole number of elements.

    bfloat16 is widened to float32, once for all of its tensors; everything else is a view.
    """
    values: NDArray[Any] = np.frombuffer(content, DTYPES[dtype])
    if dtype == BFLOAT16:
        bits = values.astype("<u4")
        bits <<= 16
        values = bits.view("<f4")
        values.flags.writeable = False
    return Storage(dtype, values)


def item_size(dtype: str) -> int:
    """Bytes of an element."""
    return np.dtype(DTYPES[dtype]).itemsize


def require_whole(*numbers: Any) -> None:
    """Raise `Damage` unless all are whole numbers from 0 on."""
    for number in numbers:
        if type(number) is not int or number < 0:
            raise Damage(f"is damaged: a size, a stride, an offset or a count of it is {str(number)[:80]}")


def storage_id(identity: Any, length: int) -> tuple[str, str, int, Any]:
    """Dtype, key and number of elements of the storage that a tensor refers to, and what else is said of it.

    ``identity`` is ``("storage", class, key, device, elements)``, with one thing more in older files.
    """
    if type(identity) is not tuple or len(identity) != length or identity[0] != "storage":
        raise Damage("is damaged: a tensor of it refers to something that is no storage")
    _, kind, key, _, count, *rest = identity
    if not isinstance(kind, Symbol) or kind.name not in STORAGE_DTYPES or type(key) not in (str, int):
        raise Damage("is damaged: a storage of it has no class or no key")
    require_whole(count)
    return STORAGE_DTYPES[kind.name], str(key), count, rest[0] if rest else None


def element_count(shape: Any) -> int:
    """The number of elements of a shape. Raises `Damage` unless it is one, of a size that can be addressed."""
    if type(shape) is not tuple or len(shape) > MAX_AXES:
        raise Damage(f"is damaged: the shape of an array is no tuple of up to {MAX_AXES} numbers")
    require_whole(*shape)
    if math.prod(max(length, 1) for length in shape) > _MAX_ELEMENTS:
        raise Damage("is damaged: an array is said to have more elements than a machine can address")
    return math.prod(shape)


def strided(storage: Storage, offset: Any, size: Any, stride: Any) -> NDArray[Any]:
    """The view of a storage that a tensor is; empty while the storage's place is not known.

    Raises
    ------
    Damage
        Anything negative or no number, a reach beyond the storage, or more elements than it has.
    """
    count = element_count(size)
    if type(stride) is not tuple or len(stride) != len(size):
        raise Damage(f"is damaged: a tensor of {len(size)} axes has another number of strides")
    require_whole(offset, *stride)
    values = storage.values
    if values is None:
        return np.empty(0, DTYPES[storage.dtype])
    if not count:
        return values[:0].reshape(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= len(values) or count > len(values):
        raise Damage(
            f"is damaged: a tensor of shape {list(size)}, strides {shown(str(stride))} and offset {offset:,} does not "
            f"fit into its storage of {len(values):,} elements"
        )
    # An axis of length 1 is never stepped along, so its stride may be anything, and need not fit 64 bits.
    steps = [(step if length > 1 else 1) * values.itemsize for length, step in zip(size, stride, strict=True)]
    return np.ndarray(size, values.dtype, values, offset * values.itemsize, steps)
