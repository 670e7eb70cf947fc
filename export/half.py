"""The half-precision twin of an ONNX graph: the same parameters, convolutions in float16.

Inputs, parameters and outputs stay float32, so that the twin is filled from the same file of weights. What sums many
values (averages over the whole map, matrix products) stays float32 too; ONNX Runtime casts the parameters once, when it
opens the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# What GPUs have half-precision kernels for, and what passes such values on.
IN_HALF = {"Conv", "Relu", "Concat", "MaxPool", "AveragePool"}
WORTH_PACKING = 128  # values; the cast that a smaller tensor needs is as large as what it saves


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes of `IN_HALF` work in float16, with casts at the borders.

    Raises
    ------
    ValueError
        There is no convolution, so nothing would be gained.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    if not any(node.op_type == "Conv" for node in twin.graph.node):
        raise ValueError("This graph has no convolution, so it has no half-precision form.")
    nodes, halved = list(twin.graph.node), set()  # halved: names whose float16 value exists, under NAME_half
    floats = {value.name for value in twin.graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {tensor.name for tensor in twin.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    only_half: set[str] = set()  # names that were computed in float16
    del twin.graph.node[:]

    def cast(source: str, target: str, kind: int) -> None:
        twin.graph.node.append(helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=kind))

    for node in nodes:
        if node.op_type in IN_HALF:
            for name in node.input:
                if name in floats and name not in halved:
                    cast(name, f"{name}_half", TensorProto.FLOAT16)
                    halved.add(name)
            node.input[:] = [f"{name}_half" if name in halved else name for name in node.input]
            halved |= set(node.output)
            only_half |= set(node.output)
            node.output[:] = [f"{name}_half" for name in node.output]
        else:
            for name in [name for name in node.input if name in only_half]:
                cast(f"{name}_half", name, TensorProto.FLOAT)
                only_half.discard(name)
            floats |= set(node.output)
        twin.graph.node.append(node)
    for value in twin.graph.output:
        if value.name in only_half:
            cast(f"{value.name}_half", value.name, TensorProto.FLOAT)
    return twin


def packed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that stores in float16 what float16 holds exactly, and widens it before use: the same numbers."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    casts = []
    for tensor in small.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < WORTH_PACKING:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), values):
            casts.append(helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(halves, f"{tensor.name}_half"))
    nodes = [*casts, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(nodes)
    return small
