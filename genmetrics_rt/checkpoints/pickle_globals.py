"""What stands for the names that files of weights use: PyTorch's tensors, NumPy's arrays, a few collections.

Nothing of these is imported: each name has a function here that checks what it is given and makes plain data of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.checkpoints.damage import Damage, shown
from genmetrics_rt.checkpoints.pickle_machine import Begun, Function, Record, Symbol
from genmetrics_rt.checkpoints.pickles import require_key
from genmetrics_rt.checkpoints.storages import BFLOAT16, DTYPES, STORAGE_DTYPES, Storage, element_count, strided

_NOT_READ = {
    "complex numbers": ("torch.ComplexFloatStorage", "torch.ComplexDoubleStorage"),
    "quantised tensors": (
        "torch._utils._rebuild_qtensor",
        "torch.QInt8Storage",
        "torch.QInt32Storage",
        "torch.QUInt8Storage",
        "torch.QUInt4x2Storage",
        "torch.QUInt2x4Storage",
    ),
    "sparse tensors": ("torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_sparse_csr_tensor"),
    "nested tensors": ("torch._utils._rebuild_nested_tensor",),
    "tensors without values": ("torch._utils._rebuild_meta_tensor_no_storage",),
}
_OTHER_DTYPES = ("complex32", "complex64", "complex128", "qint8", "quint8", "qint32", "float8_e4m3fn", "float8_e5m2")
_NUMPY_CODES = {dtype[1:] for dtype in DTYPES.values()}
_DENSE = "Save it again as dense tensors of a plain dtype, or get it in that form from its publisher."


def find(name: str) -> Any:
    """What stands for a dotted name in a file of weights. Raises `Damage`, which names it, if nothing does."""
    if name in _TABLE:
        return _TABLE[name]
    if name.startswith("__torch__."):  # a class that a TorchScript archive brings along
        return Function(name, lambda: Record(name))
    for what, names in _NOT_READ.items():
        if name in names:
            raise Damage(f"holds {what} ({name}), which are not read here", _DENSE)
    raise Damage(f"asks to run {shown(name)}, which no file of weights needs: it is refused and nothing was run")


# PyTorch.


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> NDArray[Any]:
    if not isinstance(storage, Storage):
        raise Damage("is damaged: a tensor of it has no storage")
    return strided(storage, offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any, _hooks: Any, metadata: Any = None
) -> NDArray[Any]:
    if metadata is not None and (type(metadata) is not dict or metadata):
        raise Damage("holds a tensor whose values are stored conjugated or negated, which is not read here", _DENSE)
    return _rebuild_tensor(storage, offset, size, stride)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> NDArray[Any]:
    """A tensor of a dtype that has no storage class of its own, such as uint16: its storage is of bytes."""
    name = dtype.name.removeprefix("torch.") if isinstance(dtype, Symbol) else "no dtype"
    if name not in DTYPES or name == BFLOAT16:
        raise Damage(f"holds a tensor of {shown(name)}, which is not read here", _DENSE)
    if not isinstance(storage, Storage) or storage.dtype != "uint8":
        raise Damage(f"is damaged: a tensor of {name} has no storage of bytes")
    return _rebuild_tensor_v2(storage.seen_as(name), offset, size, stride, requires_grad, hooks, metadata)


def _parameter(tensor: Any, *_settings: Any) -> NDArray[Any]:
    if not isinstance(tensor, np.ndarray):
        raise Damage("is damaged: a parameter of it is no tensor")
    return tensor


def _size(lengths: Any) -> tuple[Any, ...]:
    element_count(tuple(lengths))
    return tuple(lengths)


def _same(value: Any, _annotation: Any = None) -> Any:
    return value


# NumPy.


def _dtype(code: Any, _align: Any = False, _copy: Any = False) -> Begun:
    if code not in _NUMPY_CODES:
        raise Damage(f"holds a NumPy array of dtype {shown(str(code))}, and only plain numbers are read here", _DENSE)
    return Begun("numpy.dtype", lambda state: _ordered(code, state))


def _ordered(code: str, state: Any) -> np.dtype[Any]:
    """The dtype with its byte order; ``state`` is (version, order, subdtype, names, fields, …)."""
    if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
        raise Damage("is damaged: the dtype of a NumPy array is incomplete")
    if any(part is not None for part in state[2:5]):
        raise Damage("holds a NumPy array of records, and only plain numbers are read here", _DENSE)
    return np.dtype(f"{state[1]}{code}")


def _reconstruct(kind: Any, _shape: Any, _code: Any) -> Begun:
    if kind != Symbol("numpy.ndarray"):
        raise Damage("holds an array of a class of its own, and only plain numpy.ndarray are read here", _DENSE)
    return Begun("numpy.ndarray", _filled)


def _filled(state: Any) -> NDArray[Any]:
    if type(state) is not tuple or len(state) != 5 or type(state[3]) not in (bool, int):
        raise Damage("is damaged: a NumPy array of it is incomplete")
    _version, shape, dtype, is_fortran, raw = state
    return _array(raw, dtype, shape, "F" if is_fortran else "C")


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    """An array of protocol 5. Order K is that of memory, from which ``axes`` leads back to the array's own."""
    if order not in ("C", "F", "K"):
        raise Damage("is damaged: the axes of a NumPy array are in no known order")
    array = _array(raw, dtype, shape, "F" if order == "F" else "C")
    if axes is None:
        return array
    if type(axes) is not tuple or {type(axis) for axis in axes} - {int} or sorted(axes) != list(range(array.ndim)):
        raise Damage("is damaged: the axes of a NumPy array are no permutation")
    return array.transpose(axes)


def _scalar(dtype: Any, raw: Any) -> NDArray[Any]:
    return _array(raw, dtype, (), "C")


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    content = _encode(raw) if type(raw) is str else raw  # Python 2 wrote bytes as text
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes | memoryview):
        raise Damage("is damaged: a NumPy array of it has no dtype or no bytes")
    if element_count(shape) * dtype.itemsize != len(content):
        raise Damage(f"is damaged: a NumPy array of shape {list(shape)} and dtype {dtype} has {len(content):,} bytes")
    return np.ndarray(shape, dtype, content, order=order)


# Python.


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    """An OrderedDict, which Python 2 gives its items as a list of pairs."""
    if not isinstance(pairs, list | tuple) or not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        raise Damage("is damaged: an OrderedDict is not made of pairs")
    return {require_key(key): value for key, value in pairs}


def _members(items: Any) -> Iterator[Any]:
    if not isinstance(items, list | tuple):
        raise Damage("is damaged: a set is not made of a list")
    return map(require_key, items)


def _bytes(content: Any = b"") -> bytes | memoryview:
    if not isinstance(content, bytes | memoryview):
        raise Damage("is damaged: bytes are not made of bytes")
    return content


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """The bytes that protocols 0 to 2 write as a text of the characters U+0000 to U+00FF."""
    try:
        if type(text) is str and encoding == "latin1":
            return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise Damage("is damaged: a text that stands for bytes has characters that do not") from error
    raise Damage("asks to run _codecs.encode on something else than bytes: it is refused and nothing was run")


def _both(places: tuple[str, str], functions: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Functions that older and newer versions keep at two places."""
    return {f"{place}.{name}": function for place in places for name, function in functions.items()}


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "_codecs.encode": _encode,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": _size,
    "torch.jit._pickle.build_intlist": _same,
    "torch.jit._pickle.build_tensorlist": _same,
    "torch.jit._pickle.build_doublelist": _same,
    "torch.jit._pickle.build_boollist": _same,
    "torch.jit._pickle.restore_type_tag": _same,
    "numpy.dtype": _dtype,
    **_both(
        ("builtins", "__builtin__"),
        {
            "bytes": _bytes,
            "bytearray": _bytes,
            "set": lambda items: set(_members(items)),
            "frozenset": lambda items: frozenset(_members(items)),
        },
    ),
    **_both(
        ("numpy.core", "numpy._core"),
        {"multiarray._reconstruct": _reconstruct, "multiarray.scalar": _scalar, "numeric._frombuffer": _from_buffer},
    ),
}
_SYMBOLS = ("numpy.ndarray", *STORAGE_DTYPES, *(f"torch.{dtype}" for dtype in (*DTYPES, *_OTHER_DTYPES)))
_TABLE: dict[str, Any] = {
    **{name: Function(name, function) for name, function in _FUNCTIONS.items()},
    **{name: Symbol(name) for name in _SYMBOLS},
}
