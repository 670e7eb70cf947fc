"""The arithmetic of the FID network, counted from the shipped graph."""

from __future__ import annotations

import functools
import math

import onnx

from genmetrics_rt.bundle import SHIPPED


@functools.cache
def gigaflops_per_image() -> float:
    """10⁹ floating-point operations of the convolutions for one image of 299 × 299; a multiply-add counts as two."""
    model = onnx.load(SHIPPED / "inception-fid" / "graph.onnx", load_external_data=False)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in inferred.value_info
    }
    weights = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            out_channels, *window = weights[node.input[1]]
            height, width = shapes[node.output[0]][2:]
            total += 2 * out_channels * math.prod(window) * height * width
    return total / 1e9
