"""Read the constants of a frozen TensorFlow graph (a ``GraphDef`` in a ``.pb``) without TensorFlow.

Field numbers: tensorflow/core/framework/{graph, node_def, attr_value, tensor, tensor_shape, types}.proto.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.checkpoints.damage import Damage, refuse_web_page, refusing_damage, shown
from genmetrics_rt.checkpoints.storages import element_count
from genmetrics_rt.protobuf import fields

_GRAPH_NODE = 1
_NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 5
_ENTRY_KEY, _ENTRY_VALUE = 1, 2  # of the map from names to attributes
_ATTRIBUTE_TENSOR = 8
_TENSOR_DTYPE, _TENSOR_SHAPE, _TENSOR_CONTENT, _TENSOR_FLOATS = 1, 2, 4, 5
_SHAPE_AXIS, _SHAPE_UNKNOWN, _AXIS_LENGTH = 2, 3, 1
_FLOAT = 1  # DT_FLOAT
_FLOAT32 = np.dtype("<f4")


def read_constants(content: bytes | memoryview, *, what: str) -> dict[str, NDArray[np.float32]]:
    """The float32 constants of a frozen graph by the names of their nodes, in the graph's order.

    They are read-only, and views of ``content`` where it has their bytes. Constants of other dtypes are left out.
    TensorFlow may list only the first values of a constant, and the last of these then stands for all that follow:
    such a constant is filled up, as long as all of them together take no more than the file.

    Raises
    ------
    UnreadableInput
        No graph, a damaged one, or a constant that does not have the values which its shape asks for.
    """
    with refusing_damage(what):
        view = memoryview(content).cast("B").toreadonly()
        if not view:
            raise Damage("is empty: 0 bytes")
        refuse_web_page(view)
        constants: dict[str, NDArray[np.float32]] = {}
        room, nodes = len(view), 0
        for number, node in fields(view):
            if number != _GRAPH_NODE or not isinstance(node, memoryview):
                continue
            nodes += 1
            name, tensor = _constant(node)
            array = _array(name, tensor, room) if tensor is not None else None
            if tensor is None or array is None:
                continue
            if name in constants:
                raise Damage(f"is damaged: two of its constants are called {shown(name)}")
            constants[name] = array
            room -= max(array.nbytes - len(tensor), 0)
        if not nodes:
            raise Damage("holds no node, so it is no TensorFlow graph")
        return constants


def _constant(node: memoryview) -> tuple[str, memoryview | None]:
    """The name of a node and, if it is a constant, its tensor."""
    name, operation, tensor = b"", b"", None
    for number, value in fields(node):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE_NAME:
            name = bytes(value)
        elif number == _NODE_OP:
            operation = bytes(value)
        elif number == _NODE_ATTRIBUTE and bytes(_message(value, _ENTRY_KEY) or b"") == b"value":
            tensor = _message(_message(value, _ENTRY_VALUE), _ATTRIBUTE_TENSOR)
    return name.decode(), tensor if operation == b"Const" else None


def _array(name: str, tensor: memoryview, room: int) -> NDArray[np.float32] | None:
    """The array of a tensor; None if it is of another dtype. No more than ``room`` bytes are filled up."""
    dtype, shape = 0, memoryview(b"")
    content, listed = memoryview(b""), bytearray()
    for number, value in fields(tensor, fixed=True):
        if number == _TENSOR_DTYPE and isinstance(value, int):
            dtype = value
        elif isinstance(value, memoryview):
            if number == _TENSOR_SHAPE:
                shape = value
            elif number == _TENSOR_CONTENT:
                content = value
            elif number == _TENSOR_FLOATS:  # all of them, or one at a time
                listed += value
    if dtype != _FLOAT:
        return None
    lengths = _shape(name, shape)
    count = element_count(lengths)
    if count and not content:
        return _filled(name, np.frombuffer(listed, _FLOAT32), count, room).reshape(lengths)
    if len(content) != count * _FLOAT32.itemsize:
        raise Damage(f"is damaged: {shown(name)} of shape {list(lengths)} has {len(content):,} bytes")
    return np.ndarray(lengths, _FLOAT32, content)


def _filled(name: str, listed: NDArray[np.float32], count: int, room: int) -> NDArray[np.float32]:
    """``count`` values: those that are listed, and the last of them, or zero, for those that are not."""
    if len(listed) > count or count * _FLOAT32.itemsize > max(room, listed.nbytes):
        raise Damage(f"is refused: {shown(name)} has {len(listed):,} values, and is said to have {count:,}")
    array = np.full(count, listed[-1] if len(listed) else 0, _FLOAT32)
    array[: len(listed)] = listed
    array.flags.writeable = False
    return array


def _shape(name: str, message: memoryview) -> tuple[int, ...]:
    lengths: list[int] = []
    for number, value in fields(message):
        if number == _SHAPE_UNKNOWN and value:
            raise Damage(f"is damaged: the shape of {shown(name)} is unknown")
        if number == _SHAPE_AXIS and isinstance(value, memoryview):
            found = [length for field, length in fields(value) if field == _AXIS_LENGTH and isinstance(length, int)]
            lengths.append(found[-1] if found else 0)
    return tuple(lengths)


def _message(message: memoryview | None, wanted: int) -> memoryview | None:
    """The message or text in a field, if there is one."""
    found = None
    for number, value in fields(message) if message is not None else ():
        if number == wanted and isinstance(value, memoryview):
            found = value
    return found
