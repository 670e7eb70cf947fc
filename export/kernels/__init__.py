"""The frozen kernels of the metrics, float64, any N and D: `python -m export kernels`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from export.blueprint import Blueprint, Tolerance
from export.freeze import freeze
from export.kernels import probes, reference
from export.kernels.divergence import KlDivergence, kl_divergence_model
from export.kernels.neighbours import KnnRadii, PairwiseSquaredDistances
from export.kernels.neighbours_onnx import knn_radii_model, pairwise_squared_distances_model
from export.kernels.trace_sqrtm import TraceSqrtm
from export.kernels.trace_sqrtm_onnx import trace_sqrtm_model
from genmetrics_rt.bundle import SHIPPED
from genmetrics_rt.manifest import TensorSpec

COMMAND = "python -m export kernels"


def main(argv: Sequence[str]) -> int:
    """Freeze the kernels, and prove that every form of each gives the same numbers."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"default: all of {', '.join(BLUEPRINTS)}")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED, help="folder of the bundles' folders")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(BLUEPRINTS):
        parser.error(f"no kernel {', '.join(sorted(unknown))}; there are {', '.join(BLUEPRINTS)}")
    for name in arguments.names or BLUEPRINTS:
        folder = arguments.output / name
        print(f"{name}\n{freeze(BLUEPRINTS[name](folder), folder).summary()}")
    return 0


def trace_sqrtm(folder: Path) -> Blueprint:
    """Tr (Σa Σb)^(1/2). ``folder`` is not read: a kernel holds no fitted state."""
    return Blueprint(
        name="trace_sqrtm",
        version="1",
        kind="kernel",
        title="trace of the square root of a product of covariances, by matrix products alone",
        label="",
        licence="Apache-2.0",
        command=COMMAND,
        module=TraceSqrtm(),
        inputs=(
            TensorSpec("covariance_a", "float64", ("D", "D"), "positive semi-definite matrix", "features squared"),
            TensorSpec("covariance_b", "float64", ("D", "D"), "positive semi-definite matrix", "features squared"),
        ),
        outputs=(TensorSpec("trace", "float64", (), "Tr (Σa Σb)^(1/2)", "features squared"),),
        example={name: torch.eye(3, dtype=torch.float64) for name in ("covariance_a", "covariance_b")},
        probes=probes.trace_sqrtm,
        # 1e-8 is reached where eigenvalues go down to 1e-12 of the largest; elsewhere the forms agree to 1e-13.
        tolerance=Tolerance(absolute=1e-13, relative=1e-7),
        numpy_reference=reference.trace_sqrtm,
        onnx_model=trace_sqrtm_model,
        torchscript="script",
        # A drawn matrix is a covariance only where it has one row.
        selftest_range={"covariance_a": (0.5, 2.0), "covariance_b": (0.5, 2.0)},
        selftest_sizes={"D": 1},
    )


def kl_divergence(folder: Path) -> Blueprint:
    """E_x KL(p(y|x) ‖ p(y)). ``folder`` is not read: a kernel holds no fitted state."""
    return Blueprint(
        name="kl_divergence",
        version="1",
        kind="kernel",
        title="mean KL divergence of the class probabilities from their mean (logarithm of an Inception Score)",
        label="",
        licence="Apache-2.0",
        command=COMMAND,
        module=KlDivergence(),
        inputs=(TensorSpec("logits", "float64", ("N", "C"), "class logits, one row per image", "nats"),),
        outputs=(TensorSpec("divergence", "float64", (), "E_x KL(p(y|x) ‖ p(y))", "nats"),),
        example={"logits": torch.arange(6, dtype=torch.float64).reshape(2, 3)},
        probes=probes.kl_divergence,
        tolerance=Tolerance(absolute=1e-13, relative=1e-12),
        numpy_reference=reference.kl_divergence,
        onnx_model=kl_divergence_model,
        torchscript="script",
        selftest_range={"logits": (-4.0, 4.0)},
        selftest_sizes={"N": 17, "C": 5},
    )


def knn_radii(folder: Path) -> Blueprint:
    """Distance to the k-th nearest other row. ``folder`` is not read: a kernel holds no fitted state."""
    return Blueprint(
        name="knn_radii",
        version="1",
        kind="kernel",
        title="distance of each row to its k-th nearest other row",
        label="",
        licence="Apache-2.0",
        command=COMMAND,
        module=KnnRadii(),
        inputs=(
            TensorSpec("features", "float64", ("N", "D"), "features, one row per image", "features"),
            TensorSpec("nearest_k", "int64", (), "which neighbour, in [1, N − 1]", "neighbours"),
        ),
        outputs=(
            TensorSpec("radii", "float64", ("N",), "Euclidean distance to the k-th nearest other row", "features"),
        ),
        example={"features": torch.eye(5, 3, dtype=torch.float64), "nearest_k": torch.tensor(2)},
        probes=probes.knn_radii,
        tolerance=Tolerance(absolute=1e-11, relative=1e-12),
        numpy_reference=reference.knn_radii,
        onnx_model=knn_radii_model,
        torchscript="script",
        selftest_range={"features": (-1.0, 1.0), "nearest_k": (3.0, 3.9)},  # 3 as an integer
        selftest_sizes={"N": 40, "D": 7},
    )


def pairwise_squared_distances(folder: Path) -> Blueprint:
    """Squared distances of two sets of rows. ``folder`` is not read: a kernel holds no fitted state."""
    return Blueprint(
        name="pairwise_squared_distances",
        version="1",
        kind="kernel",
        title="squared Euclidean distances between two sets of rows",
        label="",
        licence="Apache-2.0",
        command=COMMAND,
        module=PairwiseSquaredDistances(),
        inputs=(
            TensorSpec("a", "float64", ("N", "D"), "features, one row per image", "features"),
            TensorSpec("b", "float64", ("M", "D"), "features, one row per image", "features"),
        ),
        outputs=(TensorSpec("squared_distances", "float64", ("N", "M"), "|a − b|², at least 0", "features squared"),),
        example={"a": torch.eye(2, 4, dtype=torch.float64), "b": torch.eye(3, 4, dtype=torch.float64)},
        probes=probes.pairwise_squared_distances,
        tolerance=Tolerance(absolute=1e-12, relative=1e-12),
        numpy_reference=reference.pairwise_squared_distances,
        onnx_model=pairwise_squared_distances_model,
        torchscript="script",
        selftest_range={"a": (-1.0, 1.0), "b": (-1.0, 1.0)},
        selftest_sizes={"N": 11, "M": 7, "D": 5},
    )


BLUEPRINTS: dict[str, Callable[[Path], Blueprint]] = {
    builder.__name__: builder for builder in (trace_sqrtm, kl_divergence, knn_radii, pairwise_squared_distances)
}
