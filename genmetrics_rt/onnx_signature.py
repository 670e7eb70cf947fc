"""What an ONNX file takes, gives and holds, read from its bytes: no runtime is started and nothing is executed.

Field numbers from onnx.proto; only the protobuf wire format is walked (`genmetrics_rt.protobuf`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from genmetrics_rt.errors import UnreadableInput
from genmetrics_rt.protobuf import fields, varint

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_ATTRIBUTE, _ATTRIBUTE_T, _ATTRIBUTE_G, _ATTRIBUTE_GRAPHS = 5, 5, 6, 11
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME = 1, 2, 8
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE = 1, 2, 1, 1, 2
_SHAPE_DIM, _DIM_VALUE, _DIM_LETTER = 1, 1, 2

_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
# Of tensors that count as parameters: floats and quantised weights. Whole numbers of 32 and 64 bits are shapes.
_PARAMETER_TYPES = {1, 2, 3, 10, 11, 16}
_MAX_DEPTH = 64


@dataclass(frozen=True)
class GraphValue:
    """An input or output: ``shape`` mixes letters (free axes) and numbers; None where the file does not say."""

    name: str
    dtype: str
    shape: tuple[str | int, ...] | None


@dataclass(frozen=True)
class GraphSignature:
    """What a graph takes (without its weights) and gives, and how many numbers it holds."""

    inputs: tuple[GraphValue, ...]
    outputs: tuple[GraphValue, ...]
    num_parameters: int  # floats and 8-bit integers in weights and constants of more than one element


def read_signature(content: bytes, *, what: str) -> GraphSignature:
    """The signature of an ONNX model. Raises `UnreadableInput` for bytes that are none."""
    try:
        graph = next(bytes_of(memoryview(content), _MODEL_GRAPH), None)
        if graph is None:
            raise ValueError("it holds no graph")
        tensors = list(_tensors(graph, 0))
        stored = {name for name, _, _ in tensors}
        inputs = tuple(_value(message) for message in bytes_of(graph, _GRAPH_INPUT))
        outputs = tuple(_value(message) for message in bytes_of(graph, _GRAPH_OUTPUT))
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{what} is no ONNX file ({error}). Export the generator again.") from error
    if not outputs:
        raise UnreadableInput(f"{what} is no ONNX file: its graph has no output. Export the generator again.")
    parameters = sum(size for _, kind, size in tensors if kind in _PARAMETER_TYPES and size > 1)
    return GraphSignature(tuple(entry for entry in inputs if entry.name not in stored), outputs, parameters)


def bytes_of(message: memoryview, number: int) -> Iterator[memoryview]:
    """The submessages of one field."""
    for found, value in fields(message):
        if found == number and isinstance(value, memoryview):
            yield value


def _tensors(graph: memoryview, depth: int) -> Iterator[tuple[str, int, int]]:
    """(name, type, number of elements) of the weights and constants of a graph and of the graphs inside its nodes."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    for message in bytes_of(graph, _GRAPH_INITIALIZER):
        yield _tensor(message)
    for node in bytes_of(graph, _GRAPH_NODE):
        for attribute in bytes_of(node, _NODE_ATTRIBUTE):
            for number, value in fields(attribute):
                if number == _ATTRIBUTE_T and isinstance(value, memoryview):
                    _, kind, size = _tensor(value)
                    yield "", kind, size
                elif number in (_ATTRIBUTE_G, _ATTRIBUTE_GRAPHS) and isinstance(value, memoryview):
                    yield from _tensors(value, depth + 1)


def _tensor(message: memoryview) -> tuple[str, int, int]:
    name, kind, size = "", 0, 1
    for number, value in fields(message):
        if number == _TENSOR_DIMS and isinstance(value, memoryview):  # packed
            at = 0
            while at < len(value):
                axis, at = varint(value, at)
                size *= axis
        elif number == _TENSOR_DIMS and isinstance(value, int):
            size *= value
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode()
    return name, kind, size


def _value(message: memoryview) -> GraphValue:
    name = "".join(bytes(entry).decode() for entry in bytes_of(message, _VALUE_NAME))
    tensor = next((t for kind in bytes_of(message, _VALUE_TYPE) for t in bytes_of(kind, _TYPE_TENSOR)), None)
    if tensor is None:
        return GraphValue(name, "unknown", None)
    element = next((value for number, value in fields(tensor) if number == _TENSOR_ELEMENT), 0)
    shape = next(bytes_of(tensor, _TENSOR_SHAPE), None)
    dtype = _DTYPES.get(element, "unknown") if isinstance(element, int) else "unknown"
    if shape is None:
        return GraphValue(name, dtype, None)
    return GraphValue(name, dtype, tuple(_axis(axis) for axis in bytes_of(shape, _SHAPE_DIM)))


def _axis(message: memoryview) -> str | int:
    for number, value in fields(message):
        if number == _DIM_VALUE and isinstance(value, int):
            return value
        if number == _DIM_LETTER and isinstance(value, memoryview):
            return bytes(value).decode()
    return "?"
