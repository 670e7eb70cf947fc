"""The ONNX twin of trace_sqrtm.py, line by line: its loops are ONNX Loops."""

from __future__ import annotations

import onnx

from export.kernels.onnx_text import model_from_text
from export.kernels.trace_sqrtm import EPSILON, LIFT, NUM_LIFTS, NUM_POLISHES, PANEL, POLISH

MODEL = """
<ir_version: 10, opset_import: ["": 20, "local": 1]>
trace_sqrtm (double[D, D] covariance_a, double[D, D] covariance_b) => (double trace) {
    scale_a, factor_a = local.scaled_factor (covariance_a)
    scale_b, factor_b = local.scaled_factor (covariance_b)
    size_a = Size (factor_a)
    size_b = Size (factor_b)
    smaller = Less (size_a, size_b)
    x = If (smaller) <
        then_branch = tall_b () => (double[R, S] ba) { ba = Gemm <transB = 1> (factor_b, factor_a) },
        else_branch = tall_a () => (double[R, S] ab) { ab = Gemm <transB = 1> (factor_a, factor_b) }
    >
    norm = local.nuclear_norm (x)
    root_a = Sqrt (scale_a)
    root_b = Sqrt (scale_b)
    half = Mul (norm, root_a)
    trace = Mul (half, root_b)
}
"""

SCALED_FACTOR = """
<domain: "local", opset_import: ["": 20]>
scaled_factor (covariance) => (scale, rows) {
    # The largest variance, 1 where all are 0.
    zero = Constant <value = double {0.0}> ()
    one = Constant <value = double {1.0}> ()
    first = Constant <value = int64 {0}> ()
    step = Constant <value = int64 {1}> ()
    axis_0 = Constant <value_ints = [0]> ()
    axis_1 = Constant <value_ints = [1]> ()
    shape = Shape <start = 0, end = 1> (covariance)
    size = Squeeze (shape)
    index = Range (first, size, step)
    index_column = Unsqueeze (index, axis_1)
    diagonal_column = GatherElements <axis = 1> (covariance, index_column)
    diagonal = Squeeze (diagonal_column, axis_1)
    largest = ReduceMax <keepdims = 0> (diagonal)
    any = Greater (largest, zero)
    scale = Where (any, largest, one)
    scaled = Div (covariance, scale)
    scaled_diagonal = Div (diagonal, scale)

    # Cholesky with complete pivoting. Row 0 is zero, so that no axis is ever empty, or NaN where there is one in Σ.
    size_double = CastLike (size, scale)
    epsilon = Constant <value = double {$EPSILON}> ()
    noise = Mul (size_double, epsilon)
    panel_rows = Constant <value = int64 {$PANEL}> ()
    end = Constant <value_ints = [9223372036854775807]> ()
    total = ReduceSum <keepdims = 0> (scaled)
    zero_or_nan = Mul (total, zero)
    zeros = Expand (zero_or_nan, shape)
    nothing = Unsqueeze (zeros, axis_0)
    greatest = ReduceMax <keepdims = 0> (scaled_diagonal)
    found_none = Greater (greatest, noise)
    rows, residual_last, variances_last = Loop ("", found_none, nothing, scaled, scaled_diagonal) <
        body = next_panel (
            int64 p, bool more, double[R, D] rows_in, double[D, D] residual_in, double[D] variances_in
        ) => (bool more_out, double[S, D] rows_out, double[D, D] residual_out, double[D] variances_out) {
            panel, variances_out = Loop (panel_rows, more, nothing, variances_in) <
                body = next_row (
                    int64 r, bool room, double[K, D] panel_in, double[D] v
                ) => (bool room_out, double[L, D] panel_out, double[D] v_out) {
                    pivot = ArgMax <axis = 0, keepdims = 1> (v)
                    taken = Gather <axis = 1> (panel_in, pivot)
                    taken_row = Transpose <perm = [1, 0]> (taken)
                    explained = MatMul (taken_row, panel_in)
                    original = Gather <axis = 0> (residual_in, pivot)
                    left = Sub (original, explained)
                    variance = Gather (v, pivot)
                    deviation = Sqrt (variance)
                    column = Div (left, deviation)
                    unused = Greater (v, zero)
                    row = Where (unused, column, nothing)
                    panel_out = Concat <axis = 0> (panel_in, row)
                    flat = Squeeze (row, axis_0)
                    square = Mul (flat, flat)
                    v_left = Sub (v, square)
                    is_pivot = Equal (index, pivot)
                    v_out = Where (is_pivot, zero, v_left)
                    v_max = ReduceMax <keepdims = 0> (v_out)
                    room_out = Greater (v_max, noise)
                }
            >
            residual_out = Gemm <transA = 1, alpha = -1.0, beta = 1.0> (panel, panel, residual_in)
            panel_found = Slice (panel, axis_1, end, axis_0)
            rows_out = Concat <axis = 0> (rows_in, panel_found)
            variance_max = ReduceMax <keepdims = 0> (variances_out)
            more_out = Greater (variance_max, noise)
        }
    >
}
"""

NUCLEAR_NORM = """
<domain: "local", opset_import: ["": 20]>
nuclear_norm (x) => (sum) {
    zero = Constant <value = double {0.0}> ()
    one = Constant <value = double {1.0}> ()
    lifts = Constant <value = int64 {$NUM_LIFTS}> ()
    polishes = Constant <value = int64 {$NUM_POLISHES}> ()
    yes = Constant <value = bool {1}> ()
    squares = ReduceSumSquare <keepdims = 0> (x)
    norm = Sqrt (squares)
    any = Greater (norm, zero)
    divisor = Where (any, norm, one)
    start = Div (x, divisor)
    lifted = Loop (lifts, yes, start) <
        body = lift (int64 i, bool go, double[R, S] u) => (bool go_out, double[R, S] u_out) {
            gram = Gemm <transA = 1> (u, u)
            inner = Gemm <alpha = $LIFT_C, beta = $LIFT_B> (gram, gram, gram)
            u_out = Gemm <beta = $LIFT_A> (u, inner, u)
            go_out = Identity (go)
        }
    >
    unitary = Loop (polishes, yes, lifted) <
        body = polish (int64 j, bool on, double[R, S] w) => (bool on_out, double[R, S] w_out) {
            w_gram = Gemm <transA = 1> (w, w)
            w_inner = Gemm <alpha = $POLISH_C, beta = $POLISH_B> (w_gram, w_gram, w_gram)
            w_out = Gemm <beta = $POLISH_A> (w, w_inner, w)
            on_out = Identity (on)
        }
    >
    products = Mul (unitary, x)
    sum = ReduceSum <keepdims = 0> (products)
}
"""

CONSTANTS = {"EPSILON": EPSILON, "PANEL": PANEL, "NUM_LIFTS": NUM_LIFTS, "NUM_POLISHES": NUM_POLISHES} | {
    f"{name}_{letter}": value
    for name, quintic in (("LIFT", LIFT), ("POLISH", POLISH))
    for letter, value in zip("ABC", quintic, strict=True)
}


def trace_sqrtm_model() -> onnx.ModelProto:
    """covariance_a, covariance_b (D, D) → trace."""
    return model_from_text(MODEL + SCALED_FACTOR + NUCLEAR_NORM, CONSTANTS)
