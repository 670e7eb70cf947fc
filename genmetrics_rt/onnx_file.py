"""Read just enough of an ONNX file to know which outside bytes it would have the runtime open.

An ONNX tensor may keep its data in another file (`TensorProto.external_data`). A hostile graph could name
any file of the machine there, so this is checked before ONNX Runtime sees the bytes. Only the protobuf wire
format is walked (https://protobuf.dev/programming-guides/encoding/); the onnx package is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import DamagedBundle
from genmetrics_rt.protobuf import fields

# Field numbers from onnx.proto, by message: which fields lead to tensors.
_GRAPH, _FUNCTIONS = 7, 25  # ModelProto
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15  # GraphProto
_NODE_ATTRIBUTE, _FUNCTION_NODE = 5, 7
_ATTRIBUTE_T, _ATTRIBUTE_G, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_TENSOR = "tensor"
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {_GRAPH: "graph", _FUNCTIONS: "function"},
    "function": {_FUNCTION_NODE: "node"},
    "graph": {_GRAPH_NODE: "node", _GRAPH_INITIALIZER: _TENSOR, _GRAPH_SPARSE: "sparse"},
    "node": {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {
        _ATTRIBUTE_T: _TENSOR,
        _ATTRIBUTE_TENSORS: _TENSOR,
        _ATTRIBUTE_G: "graph",
        _ATTRIBUTE_GRAPHS: "graph",
        _ATTRIBUTE_SPARSE: "sparse",
        _ATTRIBUTE_SPARSES: "sparse",
    },
    "sparse": {_SPARSE_VALUES: _TENSOR, _SPARSE_INDICES: _TENSOR},
}
_MAX_DEPTH = 64


def check_external_data(content: bytes, bundle: Bundle) -> None:
    """Refuse a graph whose external data is not a stretch of the bundle's own ``weights`` file.

    Raises
    ------
    DamagedBundle
        Not a protobuf message, a location other than the weights file, or a stretch beyond its end.
    """
    weights = bundle.file_of_form("weights")
    for entry in external_data(content):
        location, offset, length = entry.get("location", ""), entry.get("offset", "0"), entry.get("length", "0")
        if weights is None or location != weights:
            raise DamagedBundle(
                f"The graph of bundle {bundle.name!r} wants to read {location!r}, which is not its weights file. "
                "A graph may only use data of its own bundle, so this one is not run."
            )
        size = bundle.manifest.record["files"][weights]["bytes"]
        if not (offset.isdigit() and length.isdigit()) or int(offset) + int(length) > size:
            raise DamagedBundle(
                f"The graph of bundle {bundle.name!r} wants bytes {offset}+{length} of {location}, which has {size:,}."
            )


def external_data(content: bytes) -> list[dict[str, str]]:
    """The external-data entries (location, offset, length, …) of all tensors of an ONNX model."""
    try:
        return list(_walk(memoryview(content), "model", 0))
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise DamagedBundle(f"Not an ONNX file: {error}.") from error


def _walk(message: memoryview, kind: str, depth: int) -> Iterator[dict[str, str]]:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if kind == _TENSOR:
        entry, external = {}, False
        for number, value in fields(message):
            if number == _TENSOR_LOCATION and value == 1:
                external = True
            elif number == _TENSOR_EXTERNAL and isinstance(value, memoryview):
                external = True
                pair = {n: bytes(v).decode() for n, v in fields(value) if isinstance(v, memoryview)}
                entry[pair.get(1, "")] = pair.get(2, "")
        if external:
            yield entry
        return
    children = _CHILDREN[kind]
    for number, value in fields(message):
        if number in children and isinstance(value, memoryview):
            yield from _walk(value, children[number], depth + 1)
