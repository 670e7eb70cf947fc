"""The frozen kernels against slow, obvious NumPy and closed forms, in both shipped forms."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from genmetrics_rt.bundle import load_bundle
from genmetrics_rt.errors import FeatureMismatch, InputError, NonFiniteFeatures, TooFewImages
from genmetrics_rt.frozen_kernels import FrozenKernels
from genmetrics_rt.metrics.frechet import frechet_distance
from tests.golden import L, X, Y

onnxruntime = pytest.importorskip("onnxruntime")

SHAPES = [(1, 1), (2, 1), (5, 3), (33, 64), (64, 65), (65, 64), (150, 67), (40, 129)]  # (N, D); a panel has 64 rows
DECAYS = {"even": 0.0, "to 1e-6": -6.0, "to 1e-12": -12.0}


@pytest.fixture(scope="module", params=["onnx", "torchscript"])
def kernels(request) -> FrozenKernels:
    if request.param == "torchscript":
        pytest.importorskip("torch")
    return FrozenKernels(backend=request.param, threads=2)


def centred(stream: np.random.RandomState, num_images: int, dimension: int) -> np.ndarray:
    """Rows R of features of unequal spread with covariance Rᵀ R."""
    rows = stream.randn(num_images, dimension) * np.linspace(0.1, 2, dimension)
    return (rows - rows.mean(axis=0)) / np.sqrt(max(num_images - 1, 1))


def with_eigenvalues(stream: np.random.RandomState, eigenvalues: np.ndarray) -> np.ndarray:
    """Rows R with Rᵀ R of these eigenvalues, along random directions."""
    directions, _ = np.linalg.qr(stream.randn(len(eigenvalues), len(eigenvalues)))
    return np.sqrt(eigenvalues)[:, None] * directions.T


def exact_trace(a: np.ndarray, b: np.ndarray) -> float:
    """Tr (AᵀA BᵀB)^(1/2) from the rows, never from covariances: the singular values of A Bᵀ are exact to rounding."""
    return float(np.linalg.svd(a @ b.T, compute_uv=False).sum())


# Trace of the square root


@pytest.mark.parametrize(("num_images", "dimension"), SHAPES)
def test_trace_of_covariances_of_any_rank(kernels, num_images, dimension):
    stream = np.random.RandomState(dimension)
    a, b = centred(stream, num_images + 1, dimension), centred(stream, 2 * num_images + 3, dimension)
    assert kernels.trace_sqrtm(a.T @ a, b.T @ b) == pytest.approx(exact_trace(a, b), rel=1e-12)


@pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)
def test_trace_with_small_eigenvalues(kernels, decay):
    stream, eigenvalues = np.random.RandomState(1), np.logspace(0, decay, 100)
    a, b = with_eigenvalues(stream, eigenvalues), with_eigenvalues(stream, eigenvalues[::-1] * 7)
    assert kernels.trace_sqrtm(a.T @ a, b.T @ b) == pytest.approx(exact_trace(a, b), rel=1e-8)


def test_trace_of_a_covariance_with_itself_is_its_trace(kernels):
    rows = centred(np.random.RandomState(2), 90, 70)
    assert kernels.trace_sqrtm(rows.T @ rows, rows.T @ rows) == pytest.approx(np.sum(rows**2), rel=1e-13)


def test_trace_of_diagonal_matrices(kernels):
    assert kernels.trace_sqrtm(np.diag([1.0, 4, 0, 9]), np.diag([4.0, 9, 5, 0])) == pytest.approx(2 + 6, rel=1e-14)


def test_trace_is_zero_where_there_is_no_common_direction(kernels):
    assert kernels.trace_sqrtm(np.zeros((3, 3)), np.zeros((3, 3))) == 0
    assert kernels.trace_sqrtm(np.zeros((3, 3)), np.eye(3)) == 0
    assert kernels.trace_sqrtm(np.diag([1.0, 0]), np.diag([0, 1.0])) == 0


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_trace_neither_underflows_nor_overflows(kernels, scale):
    rows = centred(np.random.RandomState(3), 30, 5)
    covariance = rows.T @ rows
    assert kernels.trace_sqrtm(covariance * scale, covariance) == pytest.approx(
        np.sqrt(scale) * np.sum(rows**2), rel=1e-12
    )


def test_trace_with_constant_and_duplicate_features(kernels):
    drawn = centred(np.random.RandomState(4), 50, 20)
    rows = np.concatenate([drawn, np.zeros((50, 3)), drawn[:, :7], drawn[:, :1]], axis=1)
    other = centred(np.random.RandomState(5), 60, 31)
    assert kernels.trace_sqrtm(rows.T @ rows, other.T @ other) == pytest.approx(exact_trace(rows, other), rel=1e-12)


def test_trace_at_2048_dimensions_from_500_images(kernels):
    stream = np.random.RandomState(6)
    a, b = centred(stream, 500, 2048), centred(stream, 511, 2048)
    assert kernels.trace_sqrtm(a.T @ a, b.T @ b) == pytest.approx(exact_trace(a, b), rel=1e-12)


@pytest.fixture(params=["onnx", "torchscript"])
def bare_trace_sqrtm(request):
    """The shipped file in its bare runtime, as a C++ program would drive it."""
    folder = load_bundle("trace_sqrtm").path
    if request.param == "onnx":
        session = onnxruntime.InferenceSession(str(folder / "graph.onnx"))
        return lambda a, b: session.run(None, {"covariance_a": a, "covariance_b": b})[0].item()
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        module = torch.jit.load(folder / "graph.ts")
    return lambda a, b: module(torch.from_numpy(a), torch.from_numpy(b)).item()


@pytest.mark.proof
@pytest.mark.parametrize("case", ["full rank", "500 images", "eigenvalues to 1e-12"])
def test_trace_at_2048_dimensions(bare_trace_sqrtm, case):
    stream = np.random.RandomState(7)
    if case == "full rank":
        a, b = centred(stream, 5000, 2048), centred(stream, 4100, 2048)
    elif case == "500 images":
        a, b = centred(stream, 500, 2048), centred(stream, 6000, 2048)
    else:
        eigenvalues = np.logspace(0, -12, 2048)
        a, b = with_eigenvalues(stream, eigenvalues), with_eigenvalues(stream, eigenvalues)
    found = bare_trace_sqrtm(a.T @ a, b.T @ b)
    # The singular values of small square factors are those of a @ b.T.
    a, b = (np.linalg.qr(rows, mode="r") if len(rows) > 2048 else rows for rows in (a, b))
    assert found == pytest.approx(exact_trace(a, b), rel=1e-6 if case == "eigenvalues to 1e-12" else 1e-12)


def test_frechet_distance_of_the_golden_arrays(kernels):
    # numpy 2.4, scipy 1.17, float64, sqrtm-free (see tests/golden.py)
    assert frechet_distance(Y, X, kernels=kernels) == pytest.approx(1.280357231676, rel=1e-11)
    assert frechet_distance(Y, X, ddof=0, kernels=kernels) == pytest.approx(1.279525236581, rel=1e-11)


def test_frechet_distance_of_equal_sets_is_zero_to_rounding(kernels):
    assert abs(frechet_distance(X, X, kernels=kernels)) < 1e-13 * X.shape[1]


# KL divergence


def kl_by_rows(logits: np.ndarray) -> float:
    log_conditional = np.array([row - np.logaddexp.reduce(row) for row in logits])
    marginal = np.exp(log_conditional).mean(axis=0)
    return float(np.mean([np.sum(np.exp(row) * (row - np.log(marginal))) for row in log_conditional]))


@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 7), (7, 1), (3, 2), (101, 17)])
def test_kl_divergence_of_any_shape(kernels, rows, classes):
    logits = np.random.RandomState(rows).randn(rows, classes) * 3
    assert kernels.kl_divergence(logits) == pytest.approx(kl_by_rows(logits), rel=1e-12, abs=1e-14)


def test_kl_divergence_is_the_logarithm_of_the_golden_inception_score(kernels):
    # IS of softmax(L), one split: numpy 2.4, float64 (see tests/golden.py)
    assert np.exp(kernels.kl_divergence(L)) == pytest.approx(2.602910989081, rel=1e-11)


def test_kl_divergence_of_certain_classes_is_ln_c(kernels):
    certain = np.where(np.tile(np.eye(4), (3, 1)) > 0, 1e5, -1e5)
    assert kernels.kl_divergence(certain) == pytest.approx(np.log(4), rel=1e-14)


def test_kl_divergence_of_equal_rows_is_zero(kernels):
    assert kernels.kl_divergence(np.tile([[3.0, -1e4, 0.5]], (9, 1))) == pytest.approx(0, abs=1e-15)


def test_kl_divergence_ignores_an_excluded_class(kernels):
    logits = np.random.RandomState(8).randn(12, 4)
    excluded = np.concatenate([logits, np.full((12, 1), -np.inf)], axis=1)
    assert kernels.kl_divergence(excluded) == pytest.approx(kernels.kl_divergence(logits), rel=1e-14)


# Neighbours


def radii_by_rows(features: np.ndarray, nearest_k: int) -> np.ndarray:
    others = (np.delete(features, row, axis=0) - features[row] for row in range(len(features)))
    return np.array([np.sort(np.sqrt((gap**2).sum(axis=1)))[nearest_k - 1] for gap in others])


@pytest.mark.parametrize(
    ("rows", "dimension", "nearest_k"),
    [(2, 1, 1), (3, 1, 2), (9, 4, 1), (9, 4, 8), (131, 17, 3), (20, 300, 19), (5001, 2, 3)],  # the last in 3 blocks
)
def test_knn_radii_of_any_shape(kernels, rows, dimension, nearest_k):
    features = np.random.RandomState(rows).randn(rows, dimension)
    expected = radii_by_rows(features, nearest_k)
    np.testing.assert_allclose(kernels.knn_radii(features, nearest_k), expected, rtol=1e-13)


def test_a_duplicate_is_a_neighbour_at_distance_zero_but_a_row_is_not_its_own(kernels):
    features = np.repeat(np.random.RandomState(9).randn(6, 5) + 1e3, 3, axis=0)
    assert (kernels.knn_radii(features, 2) == 0).all()
    assert (kernels.knn_radii(features, 3) > 0.1).all()


def test_near_duplicates_far_from_the_origin_keep_their_digits(kernels):
    stream = np.random.RandomState(10)
    pairs = np.repeat(stream.randn(30, 6), 2, axis=0) + 1e4
    pairs[::2, 0] += 1e-6
    np.testing.assert_allclose(kernels.knn_radii(pairs, 1), radii_by_rows(pairs, 1), rtol=1e-9)


@pytest.mark.parametrize(("n", "m", "dimension"), [(1, 1, 1), (5, 1, 3), (1, 5, 3), (31, 17, 70)])
def test_squared_distances_of_any_shape(kernels, n, m, dimension):
    stream = np.random.RandomState(n)
    a, b = stream.randn(n, dimension) + 100, stream.randn(m, dimension) * 2 + 100
    expected = ((a[:, None] - b) ** 2).sum(axis=2)
    np.testing.assert_allclose(kernels.squared_distances(a, b), expected, rtol=1e-12, atol=1e-12)


def test_squared_distances_are_never_negative(kernels):
    rows = np.repeat(np.random.RandomState(11).randn(20, 40), 2, axis=0)
    squared = kernels.squared_distances(rows, rows)
    assert (squared >= 0).all() and np.diagonal(squared).max() < 1e-12


# What is refused


def test_what_cannot_be_computed_is_refused(kernels):
    with pytest.raises(InputError, match="one shape"):
        kernels.trace_sqrtm(np.eye(2), np.eye(3))
    with pytest.raises(InputError, match="one shape"):
        kernels.trace_sqrtm(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(InputError, match="at least one row"):
        kernels.kl_divergence(np.zeros((0, 3)))
    with pytest.raises(FeatureMismatch):
        kernels.squared_distances(np.ones((2, 3)), np.ones((2, 4)))
    for refused in (np.nan, np.inf):
        with pytest.raises(NonFiniteFeatures):
            kernels.trace_sqrtm(np.eye(2), np.full((2, 2), refused))
        with pytest.raises(NonFiniteFeatures):
            kernels.kl_divergence([[1.0, refused]])
    for nearest_k in (0, 4):
        with pytest.raises(TooFewImages, match="nearest_k"):
            kernels.knn_radii(np.ones((4, 2)), nearest_k)


def test_nan_shows_in_the_graphs_themselves(kernels):
    rows = np.random.RandomState(12).randn(6, 4)
    covariance, broken = rows.T @ rows, rows.copy()
    broken[2, 1] = np.nan
    hidden = covariance.copy()
    hidden[3, 0] = hidden[0, 3] = np.nan
    assert np.isnan(kernels._trace.run({"covariance_a": hidden, "covariance_b": covariance})["trace"])
    assert np.isnan(kernels._divergence.run({"logits": broken})["divergence"])
    assert np.isnan(kernels._radii.run({"features": broken, "nearest_k": np.array(1)})["radii"]).all()
    assert np.isnan(kernels._squared.run({"a": broken, "b": rows})["squared_distances"][2]).all()


# The files by themselves

NAMES = ["trace_sqrtm", "kl_divergence", "knn_radii", "pairwise_squared_distances"]

BARE_TORCH = """
import json, sys, torch
folder, sums = sys.argv[1], []
kernel = {name: torch.jit.load(f"{folder}/{name}/graph.ts") for name in sys.argv[2:]}
for n, d in ((1, 1), (4, 3), (70, 66)):
    rows = torch.sin(torch.arange((n + 1) * d, dtype=torch.float64) ** 2).reshape(n + 1, d)
    sums += [kernel["trace_sqrtm"](rows.T @ rows, torch.eye(d, dtype=torch.float64)).item()]
    sums += [kernel["kl_divergence"](rows).item(), kernel["knn_radii"](rows, torch.tensor(1)).sum().item()]
    sums += [kernel["pairwise_squared_distances"](rows, rows[:1]).sum().item()]
assert not {"genmetrics_rt", "export", "onnx", "onnxruntime", "scipy"} & set(sys.modules)
print(json.dumps(sums))
"""

BARE_ONNXRUNTIME = """
import json, sys, numpy as np, onnxruntime
folder, sums = sys.argv[1], []
kernel = {name: onnxruntime.InferenceSession(f"{folder}/{name}/graph.onnx") for name in sys.argv[2:]}
for n, d in ((1, 1), (4, 3), (70, 66)):
    rows = np.sin(np.arange((n + 1) * d, dtype=np.float64) ** 2).reshape(n + 1, d)
    sums += [kernel["trace_sqrtm"].run(None, {"covariance_a": rows.T @ rows, "covariance_b": np.eye(d)})[0].item()]
    sums += [kernel["kl_divergence"].run(None, {"logits": rows})[0].item()]
    sums += [kernel["knn_radii"].run(None, {"features": rows, "nearest_k": np.array(1)})[0].sum().item()]
    sums += [kernel["pairwise_squared_distances"].run(None, {"a": rows, "b": rows[:1]})[0].sum().item()]
assert not {"genmetrics_rt", "export", "torch", "scipy"} & set(sys.modules)
print(json.dumps(sums))
"""


@pytest.mark.parametrize("script", [BARE_TORCH, BARE_ONNXRUNTIME], ids=["torch", "onnxruntime"])
def test_the_files_run_in_a_process_with_their_runtime_only(script, tmp_path):
    if script is BARE_TORCH:
        pytest.importorskip("torch")
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", script, str(load_bundle(NAMES[0]).path.parent), *NAMES]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    expected = []
    for n, d in ((1, 1), (4, 3), (70, 66)):
        rows = np.sin(np.arange((n + 1) * d, dtype=np.float64) ** 2).reshape(n + 1, d)
        expected += [np.linalg.svd(rows, compute_uv=False).sum(), kl_by_rows(rows), radii_by_rows(rows, 1).sum()]
        expected += [((rows - rows[0]) ** 2).sum()]
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_graphs_agree_with_the_modules_of_today(name, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from export.freeze import onnx_bytes
    from export.registry import BLUEPRINTS
    from export.verify import verify

    folder = Path(shutil.copytree(load_bundle(name).path, tmp_path / name))
    agreement = verify(folder)
    assert agreement.holds, agreement.summary()
    # Freezing again leaves the numeric id, and with it every old report, as it is.
    assert onnx_bytes(BLUEPRINTS[name](folder)) == load_bundle(folder).read("graph.onnx")
