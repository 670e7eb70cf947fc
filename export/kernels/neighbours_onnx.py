"""The ONNX twins of neighbours.py, line by line."""

from __future__ import annotations

import onnx

from export.kernels.neighbours import BLOCK, SPARE
from export.kernels.onnx_text import model_from_text

PAIRWISE = """
<ir_version: 10, opset_import: ["": 20]>
pairwise_squared_distances (double[N, D] a, double[M, D] b) => (double[N, M] squared_distances) {
    zero = Constant <value = double {0.0}> ()
    axis_0 = Constant <value_ints = [0]> ()
    axis_1 = Constant <value_ints = [1]> ()
    mean = ReduceMean (b, axis_0)
    a_centred = Sub (a, mean)
    b_centred = Sub (b, mean)
    b_norms = ReduceSumSquare <keepdims = 0> (b_centred, axis_1)
    products = Gemm <transB = 1, alpha = -2.0> (a_centred, b_centred, b_norms)
    a_norms = ReduceSumSquare (a_centred, axis_1)
    distances = Add (a_norms, products)
    negative = Less (distances, zero)
    squared_distances = Where (negative, zero, distances)
}
"""

KNN_RADII = """
<ir_version: 10, opset_import: ["": 20]>
knn_radii (double[N, D] features, int64 nearest_k) => (double[N] radii) {
    infinity = Constant <value = double {inf}> ()
    first = Constant <value = int64 {0}> ()
    next = Constant <value = int64 {1}> ()
    yes = Constant <value = bool {1}> ()
    axis_0 = Constant <value_ints = [0]> ()
    axis_1 = Constant <value_ints = [1]> ()
    axis_2 = Constant <value_ints = [2]> ()
    one = Constant <value_ints = [1]> ()
    spare = Constant <value_ints = [$SPARE]> ()
    block_values = Constant <value_ints = [$BLOCK]> ()

    rows = Shape <start = 0, end = 1> (features)
    dimension = Shape <start = 1, end = 2> (features)
    k = Reshape (nearest_k, one)
    before_k = Sub (k, one)
    wanted = Add (k, spare)
    others = Sub (rows, one)
    candidates = Min (wanted, others)
    gathered = Mul (candidates, dimension)
    widest = Max (rows, gathered)
    fitting = Div (block_values, widest)
    step = Max (fitting, one)

    mean = ReduceMean (features, axis_0)
    centred = Sub (features, mean)
    norms = ReduceSumSquare <keepdims = 0> (centred, axis_1)
    row_count = Squeeze (rows)
    index = Range (first, row_count, next)
    none = Slice (norms, axis_0, axis_0, axis_0)
    padded = Add (others, step)
    block_count = Div (padded, step)
    blocks = Squeeze (block_count)
    radii = Loop (blocks, yes, none) <
        body = next_block (int64 i, bool go, double[K] radii_in) => (bool go_out, double[L] radii_out) {
            start = Mul (step, i)
            end = Add (start, step)
            block = Slice (centred, start, end, axis_0)
            block_index = Slice (index, start, end, axis_0)
            block_index_column = Unsqueeze (block_index, axis_1)
            own = Equal (block_index_column, index)
            products = Gemm <transB = 1, alpha = -2.0> (block, centred, norms)
            order = Where (own, infinity, products)
            lowest, nearest = TopK <axis = 1, largest = 0, sorted = 0> (order, candidates)
            neighbours = Gather <axis = 0> (centred, nearest)
            block_rows = Unsqueeze (block, axis_1)
            difference = Sub (neighbours, block_rows)
            squared = ReduceSumSquare <keepdims = 0> (difference, axis_2)
            smallest, which = TopK <axis = 1, largest = 0, sorted = 1> (squared, k)
            kth_column = Gather <axis = 1> (smallest, before_k)
            kth = Squeeze (kth_column, axis_1)
            distance = Sqrt (kth)
            radii_out = Concat <axis = 0> (radii_in, distance)
            go_out = Identity (go)
        }
    >
}
"""


def pairwise_squared_distances_model() -> onnx.ModelProto:
    """a (N, D), b (M, D) → squared_distances (N, M)."""
    return model_from_text(PAIRWISE)


def knn_radii_model() -> onnx.ModelProto:
    """features (N, D), nearest_k → radii (N,)."""
    return model_from_text(KNN_RADII, {"BLOCK": BLOCK, "SPARE": SPARE})
