"""The kernels: one suite over every implementation on the same small cases, and what is NumPy's own.

What the frozen files must hold beyond this (sizes, blocks, bare runtimes) is in test_frozen_kernels.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray

import genmetrics_rt as gm
from genmetrics_rt.kernels import NUMPY, NumpyKernels, trace_sqrtm_of_rows
from tests.golden import L, X, Y

Array = NDArray[np.floating]


@pytest.fixture(scope="module", params=["numpy", "onnx", "torchscript"])
def kernels(request: pytest.FixtureRequest) -> gm.Kernels:
    if request.param == "torchscript":
        pytest.importorskip("torch")
    elif request.param == "onnx":
        pytest.importorskip("onnxruntime")
    return gm.load_kernels(request.param)


def rows_with_eigenvalues(rng: np.random.Generator, eigenvalues: Array) -> Array:
    """Rows R whose covariance RᵀR has these eigenvalues, along random directions."""
    directions, _ = np.linalg.qr(rng.standard_normal((len(eigenvalues), len(eigenvalues))))
    rows: Array = np.sqrt(eigenvalues)[:, None] * directions.T
    return rows


def nuclear_norm(a: Array, b: Array) -> float:
    """Tr (AᵀA BᵀB)^(1/2) from the rows: singular values are exact to rounding, whatever the rank."""
    return float(np.linalg.svd(a @ b.T, compute_uv=False).sum())


# Every implementation: trace of the square root

TRACES: dict[str, tuple[Any, Any, float]] = {  # Σa, Σb, Tr (Σa Σb)^(1/2)
    "one dimension": ([[4]], [[9]], 6),
    "one dimension, zero": ([[4]], [[0]], 0),
    "unit matrices": (np.eye(5), np.eye(5), 5),
    "diagonal": (np.diag([1, 4, 25]), np.diag([9, 16, 1]), 3 + 8 + 5),
    "diagonal, singular": (np.diag([1, 4, 0, 9]), np.diag([4, 9, 5, 0]), 2 + 6),
    "zero": (np.zeros((3, 3)), np.eye(3), 0),
    "both zero": (np.zeros((3, 3)), np.zeros((3, 3)), 0),
    "no common direction": (np.diag([1, 0]), np.diag([0, 1]), 0),
    # tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) of the product M
    "non-commuting": ([[2, 1], [1, 2]], [[1, 0], [0, 4]], np.sqrt(10 + 2 * np.sqrt(12))),
    "non-commuting, one of rank 1": ([[1, 1], [1, 1]], [[1, 0], [0, 4]], np.sqrt(5)),
    "two of rank 1": ([[1, 1], [1, 1]], [[4, 0], [0, 0]], 2),
    # Σ and t² Σ: t Tr Σ
    "scaled": ([[2, 1, 0], [1, 2, 1], [0, 1, 2]], 9 * np.array([[2, 1, 0], [1, 2, 1], [0, 1, 2]]), 18),
    "all ones": (np.ones((6, 6)), np.ones((6, 6)), 6),
    "unlike scales": (1e-12 * np.eye(4), 1e12 * np.eye(4), 4),
}


@pytest.mark.parametrize("case", TRACES)
def test_trace_sqrtm_by_hand(kernels: gm.Kernels, case: str) -> None:
    a, b, expected = (np.asarray(part, dtype=float) for part in TRACES[case])
    assert kernels.trace_sqrtm(a, b) == pytest.approx(float(expected), rel=1e-14, abs=1e-15)
    assert kernels.trace_sqrtm(b, a) == pytest.approx(float(expected), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("seed", range(6))
def test_trace_sqrtm_of_any_two_by_two(kernels: gm.Kernels, seed: int) -> None:
    a, b = np.random.default_rng(seed).standard_normal((2, 3, 2))
    a, b = a.T @ a, b.T @ b
    expected = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    assert kernels.trace_sqrtm(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("rank_a", "rank_b"), [(1, 1), (3, 40), (20, 30), (40, 5), (40, 40)])
def test_trace_sqrtm_of_any_rank(kernels: gm.Kernels, rank_a: int, rank_b: int) -> None:
    rng = np.random.default_rng(rank_a)
    a, b = rng.standard_normal((rank_a, 40)) * np.linspace(0.2, 3, 40), rng.standard_normal((rank_b, 40))
    assert kernels.trace_sqrtm(a.T @ a, b.T @ b) == pytest.approx(nuclear_norm(a, b), rel=1e-12)


@pytest.mark.parametrize("decades", [3, 6, 9, 12])
def test_trace_sqrtm_of_nearly_singular_covariances(kernels: gm.Kernels, decades: int) -> None:
    rng, eigenvalues = np.random.default_rng(decades), np.logspace(0, -decades, 48)
    a, b = rows_with_eigenvalues(rng, eigenvalues), rows_with_eigenvalues(rng, 3 * eigenvalues[::-1])
    assert kernels.trace_sqrtm(a.T @ a, b.T @ b) == pytest.approx(nuclear_norm(a, b), rel=1e-8)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_trace_sqrtm_with_constant_and_repeated_features(kernels: gm.Kernels, offset: float) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((50, 10)) + offset
    features = np.concatenate([drawn, np.full((50, 3), offset), drawn[:, :4]], axis=1)
    rows = (features - features.mean(axis=0)) / 7
    other = rng.standard_normal((60, 17))
    assert kernels.trace_sqrtm(rows.T @ rows, other.T @ other) == pytest.approx(nuclear_norm(rows, other), rel=1e-11)


def test_trace_sqrtm_of_a_covariance_with_itself_is_its_trace(kernels: gm.Kernels) -> None:
    rows = np.random.default_rng(0).standard_normal((30, 45))
    assert kernels.trace_sqrtm(rows.T @ rows, rows.T @ rows) == pytest.approx(np.sum(rows**2), rel=1e-13)


def test_trace_sqrtm_ignores_rounding_below_zero(kernels: gm.Kernels) -> None:
    """A covariance by raw moments, as StyleGAN makes it, can have an eigenvalue of −1e-16."""
    directions, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))
    covariance = (directions * [4, 1, 1, -1e-16, -1e-17]) @ directions.T
    covariance = (covariance + covariance.T) / 2
    assert kernels.trace_sqrtm(covariance, covariance) == pytest.approx(6, rel=1e-14)


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_trace_sqrtm_of_very_unlike_scales(kernels: gm.Kernels, scale: float) -> None:
    rows = np.random.default_rng(3).standard_normal((30, 5))
    covariance = rows.T @ rows
    expected = np.sqrt(scale) * np.sum(rows**2)
    assert kernels.trace_sqrtm(covariance * scale, covariance) == pytest.approx(expected, rel=1e-12)


def test_trace_sqrtm_leaves_its_arguments_alone(kernels: gm.Kernels) -> None:
    a, b = np.cov(X.T), np.cov(Y.T)
    before = a.copy(), b.copy()
    assert kernels.trace_sqrtm(a, b) == kernels.trace_sqrtm(a, b)
    np.testing.assert_array_equal((a, b), before)


def test_frechet_distance_of_the_golden_arrays(kernels: gm.Kernels) -> None:
    # numpy 2.4, scipy 1.17, float64 (see tests/golden.py)
    assert gm.frechet_distance(Y, X, kernels=kernels) == pytest.approx(1.280357231676, rel=1e-11)
    assert gm.frechet_distance(Y, X, ddof=0, kernels=kernels) == pytest.approx(1.279525236581, rel=1e-11)


def test_frechet_distance_of_fewer_images_than_dimensions(kernels: gm.Kernels) -> None:
    """A frozen kernel gets covariances, NumPy the rows."""
    rng = np.random.default_rng(1)
    generated, reference = rng.standard_normal((20, 50)), rng.standard_normal((30, 50)) + 0.1
    expected = gm.frechet_distance(generated, reference)
    assert gm.frechet_distance(generated, reference, kernels=kernels) == pytest.approx(expected, rel=1e-12)


# Every implementation: divergence


def kl_by_rows(logits: Array) -> float:
    log_conditional = np.array([row - np.logaddexp.reduce(row) for row in logits])
    marginal = np.exp(log_conditional).mean(axis=0)
    return float(np.mean([np.sum(np.exp(row) * (row - np.log(marginal))) for row in log_conditional]))


@pytest.mark.parametrize(("rows", "classes"), [(1, 1), (1, 5), (5, 1), (3, 2), (61, 17)])
def test_kl_divergence_of_any_shape(kernels: gm.Kernels, rows: int, classes: int) -> None:
    logits = np.random.default_rng(rows).standard_normal((rows, classes)) * 3
    assert kernels.kl_divergence(logits) == pytest.approx(kl_by_rows(logits), rel=1e-12, abs=1e-14)


def test_kl_divergence_by_hand(kernels: gm.Kernels) -> None:
    certain = np.where(np.eye(4) > 0, 1e5, -1e5)
    assert kernels.kl_divergence(certain) == pytest.approx(np.log(4), rel=1e-14)
    assert kernels.kl_divergence(np.zeros((5, 3))) == pytest.approx(0, abs=1e-15)
    # 0.9 ln 1.8 + 0.1 ln 0.2
    assert kernels.kl_divergence(np.log([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(0.36806420716849, rel=1e-12)
    assert np.exp(kernels.kl_divergence(L)) == pytest.approx(2.602910989081, rel=1e-11)  # the golden score, 1 split


def test_kl_divergence_of_excluded_classes(kernels: gm.Kernels) -> None:
    """−∞ rules a class out: one that never occurs adds nothing, one that some rows exclude counts in the others."""
    never = np.concatenate([L, np.full((1000, 2), -np.inf)], axis=1)
    assert kernels.kl_divergence(never) == pytest.approx(kernels.kl_divergence(L), rel=1e-13)
    sometimes = np.array([[0, -np.inf], [0, 0]])  # p = (1, 0), (1/2, 1/2); on average (3/4, 1/4)
    expected = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    assert kernels.kl_divergence(sometimes) == pytest.approx(expected, rel=1e-13)


def test_kl_divergence_ignores_the_offset_of_a_row(kernels: gm.Kernels) -> None:
    offset = np.random.default_rng(0).uniform(-1e4, 1e4, (1000, 1))
    assert kernels.kl_divergence(L + offset) == pytest.approx(kernels.kl_divergence(L), rel=1e-10)


# Every implementation: neighbours


def radii_by_rows(features: Array, nearest_k: int) -> Array:
    others = (np.delete(features, row, axis=0) - features[row] for row in range(len(features)))
    return np.array([np.sort(np.sqrt((gap**2).sum(axis=1)))[nearest_k - 1] for gap in others])


@pytest.mark.parametrize(
    ("rows", "dimension", "k"), [(2, 1, 1), (3, 1, 2), (9, 4, 1), (9, 4, 8), (71, 17, 3), (20, 300, 19)]
)
def test_knn_radii_of_any_shape(kernels: gm.Kernels, rows: int, dimension: int, k: int) -> None:
    features = np.random.default_rng(rows).standard_normal((rows, dimension))
    np.testing.assert_allclose(kernels.knn_radii(features, k), radii_by_rows(features, k), rtol=1e-13)


def test_knn_radii_by_hand(kernels: gm.Kernels) -> None:
    line = np.array([[0.0], [1], [3], [7], [15]])
    np.testing.assert_allclose(kernels.knn_radii(line, 1), [1, 1, 2, 4, 8], rtol=1e-15)
    np.testing.assert_allclose(kernels.knn_radii(line, 2), [3, 2, 3, 6, 12], rtol=1e-15)
    np.testing.assert_allclose(kernels.knn_radii(line, 4), [15, 14, 12, 8, 15], rtol=1e-15)


def test_knn_radii_of_integers_and_lists(kernels: gm.Kernels) -> None:
    for line in (
        [[0], [1], [3]],
        np.array([[0], [1], [3]], dtype=np.uint8),
        np.array([[0], [1], [3]], dtype=np.float32),
    ):
        np.testing.assert_array_equal(kernels.knn_radii(line, 1), [1, 1, 2])  # type: ignore[arg-type]


def test_knn_radii_of_duplicates(kernels: gm.Kernels) -> None:
    """A duplicate is a neighbour at distance 0; a row is not its own."""
    features = np.repeat(np.random.default_rng(0).standard_normal((6, 5)) + 1e3, 3, axis=0)
    assert (kernels.knn_radii(features, 2) == 0).all()
    assert (kernels.knn_radii(features, 3) > 0.1).all()
    assert (kernels.knn_radii(np.ones((4, 3)), 3) == 0).all()


def test_knn_radii_far_from_the_origin_keep_their_digits(kernels: gm.Kernels) -> None:
    pairs = np.repeat(np.random.default_rng(0).standard_normal((30, 6)), 2, axis=0) + 1e4
    pairs[::2, 0] += 1e-6
    np.testing.assert_allclose(kernels.knn_radii(pairs, 1), radii_by_rows(pairs, 1), rtol=1e-9)


def test_knn_radii_are_those_of_the_manifold(kernels: gm.Kernels) -> None:
    manifold = gm.Manifold(Y, X, nearest_k=4)
    for k in (1, 4):
        np.testing.assert_allclose(kernels.knn_radii(Y, k), manifold.generated_radii[:, k - 1], rtol=1e-12)
        np.testing.assert_allclose(kernels.knn_radii(X, k), manifold.reference_radii[:, k - 1], rtol=1e-12)


# Every implementation: what is refused, in one way


def test_what_cannot_be_computed_is_refused(kernels: gm.Kernels) -> None:
    with pytest.raises(gm.InputError, match="one shape"):
        kernels.trace_sqrtm(np.eye(2), np.eye(3))
    with pytest.raises(gm.InputError, match="square"):
        kernels.trace_sqrtm(np.ones((2, 3)), np.ones((2, 3)))
    for shape in ((0, 3), (3, 0), (3,)):
        with pytest.raises(gm.InputError, match="at least one row and column"):
            kernels.kl_divergence(np.zeros(shape))
    with pytest.raises(gm.InputError):
        kernels.knn_radii(np.zeros(4), 1)
    for nearest_k in (0, 4):
        with pytest.raises(gm.TooFewImages, match="nearest_k"):
            kernels.knn_radii(np.ones((4, 2)), nearest_k)


@pytest.mark.parametrize("refused", [np.nan, np.inf])
def test_nan_is_refused_never_hidden(kernels: gm.Kernels, refused: float) -> None:
    hidden = np.eye(3)
    hidden[2, 0] = hidden[0, 2] = refused  # beside the diagonal, where no trace shows it
    for sides in ((np.eye(3), hidden), (hidden, np.eye(3))):
        with pytest.raises(gm.NonFiniteFeatures):
            kernels.trace_sqrtm(*sides)
    with pytest.raises(gm.NonFiniteFeatures):
        kernels.kl_divergence(np.array([[1.0, refused], [0.0, 1.0]]))
    with pytest.raises(gm.NonFiniteFeatures):
        kernels.knn_radii(np.array([[1.0], [refused], [0.0]]), 1)


# NumPy's own


def test_load_kernels() -> None:
    assert gm.load_kernels() is gm.load_kernels("numpy") is NUMPY
    for name in ("numpy", "onnx", "torchscript"):
        loaded = gm.load_kernels(name)
        assert loaded.name == name
        assert all(callable(getattr(loaded, verb)) for verb in ("trace_sqrtm", "kl_divergence", "knn_radii"))
    with pytest.raises(gm.InputError, match=r"'cuda'\. Use 'numpy', 'onnx' or 'torchscript'"):
        gm.load_kernels("cuda")


def test_a_frozen_kernel_can_stand_in_for_numpy_in_every_metric_that_takes_one(kernels: gm.Kernels) -> None:
    for splits in (1, 10):
        expected = gm.inception_score(L, splits=splits).splits
        assert gm.inception_score(L, splits=splits, kernels=kernels).splits == pytest.approx(expected, rel=1e-12)


def test_trace_sqrtm_accepts_scalars_as_covariances_of_one_dimension() -> None:
    assert NUMPY.trace_sqrtm(4.0, 9.0) == 6  # type: ignore[arg-type]


@pytest.fixture
def singular_values_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with the number of singular values whenever the slower, exact route is taken."""
    taken: list[int] = []
    svdvals = scipy.linalg.svdvals

    def counting(matrix: Array, **options: Any) -> Any:
        taken.append(min(matrix.shape))
        return svdvals(matrix, **options)

    monkeypatch.setattr(scipy.linalg, "svdvals", counting)
    return taken


def close_pair(closeness: float, decades: float = 7, dimension: int = 64) -> tuple[Array, Array, float, float]:
    """Two nearly equal, ill-conditioned covariances, the sum of their traces, and their exact Fréchet distance."""
    rng = np.random.default_rng(1)
    a = rows_with_eigenvalues(rng, np.logspace(0, -decades, dimension))
    b = a * (1 + closeness * rng.standard_normal(dimension))
    traces = float(np.sum(a**2) + np.sum(b**2))
    return a.T @ a, b.T @ b, traces, traces - 2 * nuclear_norm(a, b)


@pytest.mark.parametrize("closeness", [1e-1, 1e-2, 1e-3])
def test_a_small_distance_keeps_its_digits(closeness: float, singular_values_taken: list[int]) -> None:
    """By eigenvalues alone these distances were off by 5e-6, 5e-4 and 5e-2 of themselves."""
    a, b, traces, exact = close_pair(closeness)
    found = traces - 2 * NUMPY.trace_sqrtm(a, b, distance_scale=traces)
    assert singular_values_taken == [64]
    # LAPACK's own error of singular values is a few ulp of the largest, which one depends on the machine's BLAS.
    assert found == pytest.approx(exact, rel=1e-12, abs=16 * np.finfo(np.float64).eps * traces)


def test_the_eigenvalues_are_enough_where_they_are_exact(singular_values_taken: list[int]) -> None:
    a, b = np.cov(X.T), np.cov(Y.T)
    traces = float(a.trace() + b.trace())
    plain, scaled = NUMPY.trace_sqrtm(a, b), NUMPY.trace_sqrtm(a, b, distance_scale=traces)
    assert plain == scaled and singular_values_taken == []
    # Even for equal sets, at distance 0, nothing more than rounding is asked for.
    same = NUMPY.trace_sqrtm(a, a, distance_scale=2 * float(a.trace()))
    assert same == pytest.approx(float(a.trace()), rel=1e-14)


def test_ill_conditioned_covariances_take_the_exact_route_without_a_scale(singular_values_taken: list[int]) -> None:
    a, b, traces, _ = close_pair(0.3, decades=13)
    assert 0 < NUMPY.trace_sqrtm(a, b) < traces / 2
    assert singular_values_taken == [64]


@pytest.mark.parametrize("seed", range(20))
def test_the_error_is_below_a_billionth_of_the_traces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = int(rng.choice([16, 40, 90]))
    spectra = [np.logspace(0, decades, d) for decades in rng.uniform(-14, 0, 2)]
    for spectrum in spectra:
        spectrum[d - int(rng.integers(0, d // 2)) * int(rng.integers(0, 2)) :] = 0  # half of them rank-deficient
    a, b = (rows_with_eigenvalues(rng, spectrum) for spectrum in spectra)
    error = NUMPY.trace_sqrtm(a.T @ a, b.T @ b) - nuclear_norm(a, b)
    assert abs(error) <= 1e-9 * (np.sum(a**2) + np.sum(b**2)) / 2


def test_clipping_at_zero_would_not_do() -> None:
    """The trap this avoids: with fewer images than dimensions the null space's rounding becomes its root."""
    rng = np.random.default_rng(0)
    a, b = ((side - side.mean(axis=0)) / np.sqrt(99) for side in np.abs(rng.standard_normal((2, 100, 256))) * 0.5)
    values, vectors = np.linalg.eigh(a.T @ a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    clipped = np.sqrt(np.linalg.eigvalsh(root @ (b.T @ b) @ root).clip(0)).sum()
    exact = nuclear_norm(a, b)
    assert abs(clipped - exact) > 1e-8 * exact
    assert NUMPY.trace_sqrtm(a.T @ a, b.T @ b) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (2, 5, 3), (5, 2, 30), (40, 30, 8)])
def test_trace_sqrtm_of_rows(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    assert trace_sqrtm_of_rows(a, b) == pytest.approx(nuclear_norm(a, b), rel=1e-13)
    assert trace_sqrtm_of_rows(a, b) == pytest.approx(NumpyKernels().trace_sqrtm(a.T @ a, b.T @ b), rel=1e-11)


@pytest.mark.parametrize(("dimension", "scale"), [(64, 3e4), (256, 1e5), (16, 1e7)])
def test_dimensions_of_unlike_scale_keep_their_digits(dimension: int, scale: float) -> None:
    """One dimension that dwarfs the others and is equal on both sides: the distance is that of the others."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1000, dimension)), 1.1 * rng.standard_normal((1000, dimension))
    y[:, 0] = x[:, 0] = scale * x[:, 0]
    roots = [np.linalg.qr((rows - rows.mean(0)) / np.sqrt(999))[1] for rows in (x, y)]  # Rᵀ R is the covariance
    traces = sum(float(np.vdot(root, root)) for root in roots)
    gap = x.mean(0) - y.mean(0)
    exact = gap @ gap + traces - 2 * np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    assert gm.frechet_distance(x, y) == pytest.approx(exact, abs=1e-13 * traces)
