"""Small densities in float64 whose likelihood is known in closed form, frozen as bundles of kind ``density``."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from tests.makers import write_bundle

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def make_gaussian(
    folder: Path,
    *,
    size: int = 4,
    mean: float = 0.5,
    sigma: float = 0.25,
    name: str = "gaussian",
    batch: int | str = "N",
    **about: object,
) -> Path:
    """Independent N(mean, sigma²) on every value of x / 256: the density of y, without dequantisation.

    ``batch``: so many images in every call, where it is a number.
    """
    nodes = [
        *_scaled(256.0),
        helper.make_node("Sub", ["y", "mean"], ["off"]),
        helper.make_node("Div", ["off", "sigma"], ["standard"]),
        helper.make_node("Mul", ["standard", "standard"], ["square"]),
        helper.make_node("Mul", ["square", "minus_half"], ["quadratic"]),
        helper.make_node("Sub", ["quadratic", "norm"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axes"], ["log_likelihood"], keepdims=0),
    ]
    constants = {
        "divisor": 256.0, "mean": mean, "sigma": sigma, "minus_half": -0.5, "norm": math.log(sigma) + HALF_LOG_TAU,
    }  # fmt: skip
    outputs = [("log_likelihood", [batch])]
    graph = _graph(nodes, name, size, constants, {"axes": [1, 2, 3]}, outputs, batch=batch)
    record = {"dim": 3 * size * size, "levels": 256, "offset_bits": 8.0, "quantity": "log_density", "bound": True}
    _write(folder, graph, name, size, {**record, **about}, [batch])
    return folder


def make_linear_vae(
    folder: Path,
    *,
    size: int = 2,
    posterior: bool = False,
    name: str = "linear-vae",
    batch: int | str = "N",
    samples: int | str = "K",
    **about: object,
) -> Path:
    """p(z) = N(0, 1), p(y | z) = N(z, 1) with y = (x − 128) / 32 of the first value of an image: p(y) = N(0, 2).

    q is the prior, or with ``posterior`` the exact N(y / 2, 1/2), under which every weight is p(y).
    """
    spread = math.sqrt(0.5) if posterior else 1.0
    nodes = [
        helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Slice", ["wide", "starts", "ends", "axes"], ["first"]),
        helper.make_node("Reshape", ["first", "column"], ["value"]),
        helper.make_node("Sub", ["value", "grey"], ["centred"]),
        helper.make_node("Div", ["centred", "divisor"], ["y"]),  # (N, 1)
        helper.make_node("Cast", ["noise"], ["wide_noise"], to=TensorProto.DOUBLE),
        helper.make_node("Squeeze", ["wide_noise", "last"], ["e"]),  # (N, K)
        helper.make_node("Mul", ["y", "slope"], ["mean_of_q"]),
        helper.make_node("Mul", ["e", "spread"], ["moved"]),
        helper.make_node("Add", ["mean_of_q", "moved"], ["z"]),
        helper.make_node("Sub", ["y", "z"], ["off"]),
        *(
            node
            for variable in ("z", "off", "e")
            for node in (
                helper.make_node("Mul", [variable, variable], [f"{variable}2"]),
                helper.make_node("Mul", [f"{variable}2", "half"], [f"{variable}_part"]),
            )
        ),
        helper.make_node("Sub", ["e_part", "z_part"], ["ratio"]),  # ln p(z) − ln q(z | x), less ln spread
        helper.make_node("Sub", ["ratio", "off_part"], ["sum"]),
        helper.make_node("Sub", ["sum", "norm"], ["log_weights"]),
    ]
    constants = {
        "divisor": 32.0, "grey": 128.0, "slope": 0.5 if posterior else 0.0, "spread": spread, "half": 0.5,
        "norm": HALF_LOG_TAU - math.log(spread),
    }  # fmt: skip
    indices = {"starts": [0, 0, 0], "ends": [1, 1, 1], "axes": [1, 2, 3], "column": [-1, 1], "last": [2]}
    shape = [batch, samples]
    noise = helper.make_tensor_value_info("noise", TensorProto.FLOAT, [*shape, 1])
    graph = _graph(nodes, name, size, constants, indices, [("log_weights", shape)], [noise], batch=batch)
    record = {
        "dim": 1, "levels": 256, "offset_bits": 5.0, "quantity": "log_density", "bound": True,
        "noise": {"dim": 1, "distribution": "normal"},
    }  # fmt: skip
    _write(folder, graph, name, size, {**record, **about}, shape, noise=True)
    return folder


def _scaled(divisor: float) -> list:
    return [
        helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Div", ["wide", "divisor"], ["y"]),
    ]


def _graph(
    nodes: list,
    name: str,
    size: int,
    constants: dict[str, float],
    indices: dict[str, list[int]],
    outputs: list[tuple[str, list]],
    more_inputs: list | None = None,
    *,
    batch: int | str = "N",
) -> GraphProto:
    initializers = [numpy_helper.from_array(np.array(value, np.float64), key) for key, value in constants.items()]
    initializers += [numpy_helper.from_array(np.array(value, np.int64), key) for key, value in indices.items()]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, size, size, 3])
    made = [helper.make_tensor_value_info(output, TensorProto.DOUBLE, shape) for output, shape in outputs]
    return helper.make_graph(nodes, name, [images, *(more_inputs or [])], made, initializers)


def _write(
    folder: Path, graph: GraphProto, name: str, size: int, about: dict, shape: list, *, noise: bool = False
) -> None:
    inputs = [{"name": "images", "dtype": "uint8", "shape": [shape[0], size, size, 3]}]
    if noise:
        inputs.append({"name": "noise", "dtype": "float32", "shape": [*shape, 1]})
    output = "log_weights" if noise else "log_likelihood"
    write_bundle(
        folder,
        graph,
        {
            "name": name,
            "kind": "density",
            "inputs": inputs,
            "outputs": [{"name": output, "dtype": "float64", "shape": shape}],
            "density": about,
        },
    )
