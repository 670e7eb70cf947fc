"""The one pass over neighbours against a slow, obvious float64 computation: every decision must be the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import genmetrics_rt as gm
from genmetrics_rt import distances
from genmetrics_rt.distances import Bounds, PointSet, spans, squared_radii

Array = NDArray[np.floating]


def squared(a: Array, b: Array) -> Array:
    """(N, M) squared distances, one difference at a time. einsum, since other sums differ in the last bit."""
    differences = [b.astype(np.float64) - row for row in a.astype(np.float64)]
    return np.stack([np.einsum("ij,ij->i", difference, difference) for difference in differences])


def radii(a: Array, k: int) -> Array:
    """(N,) squared distance to the k-th nearest other row."""
    within = squared(a, a)
    np.fill_diagonal(within, np.inf)
    return np.sort(within, axis=1)[:, k - 1]


def normal(seed: int, n: int = 150, d: int = 6) -> Array:
    return np.random.default_rng(seed).standard_normal((n, d))


def clusters(seed: int) -> Array:
    """Twelve places a hundred apart, each a thousandth wide: float32 cannot tell neighbours apart."""
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(5).integers(0, 2, (12, 40)) * 100.0
    return places[rng.integers(0, 12, 200)] + 1e-3 * rng.standard_normal((200, 40))


SETS: dict[str, tuple[Array, Array]] = {
    "alike": (normal(0), normal(1)),
    "unequal sizes": (normal(0, n=37), normal(1, n=211)),
    "float32": (normal(0).astype(np.float32), normal(1).astype(np.float32)),
    "apart": (normal(0) + 1e4, normal(1)),
    "far from the origin": (normal(0) + 1e7, normal(1) + 1e7),
    "lattice, full of ties": (
        np.random.default_rng(0).integers(0, 4, (160, 3)).astype(float),
        np.random.default_rng(1).integers(0, 4, (140, 3)).astype(float),
    ),
    "copies of the reference": (np.repeat(normal(1)[:40], 3, axis=0), normal(1)),
    "one picture only": (np.ones((60, 5)), normal(1, d=5)),
    "one picture on both sides": (np.ones((30, 5)), np.ones((40, 5))),
    "nearly one picture": (1 + 1e-9 * normal(0), 1 + 1e-9 * normal(1)),
    "clusters": (clusters(0), clusters(1)),
    "huge": (1e25 * normal(0), 1e25 * normal(1)),
    "tiny": (1e-25 * normal(0), 1e-25 * normal(1)),
    "very far apart": (1e6 * normal(0) + 1e19, 1e6 * normal(1)),
    "one outlier": (np.concatenate([normal(0), [[1e6] * 6]]), normal(1)),
    "one dimension": (normal(0, d=1), normal(1, d=1)),
}


@pytest.fixture(params=["one tile", "many tiles"])
def tile_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "many tiles":
        monkeypatch.setattr(distances, "TILE_ROWS", 32)
        monkeypatch.setattr(distances, "TILE_COLUMNS", 48)
        monkeypatch.setattr(distances, "UNDECIDED", 1)  # so that float64 tiles and exact pruning are used as well
    return str(request.param)


@pytest.mark.parametrize("name", SETS)
def test_every_decision_is_that_of_float64(name: str, tile_size: str) -> None:
    generated, reference = SETS[name]
    across = squared(generated, reference)
    manifold = gm.Manifold(generated, reference, nearest_k=4)
    for k in (1, 3, 4):
        of_g, of_r = radii(generated, k), radii(reference, k)
        np.testing.assert_array_equal(manifold.generated_radii[:, k - 1], np.sqrt(of_g))
        np.testing.assert_array_equal(manifold.reference_radii[:, k - 1], np.sqrt(of_r))
        for border, inside in ((True, np.less_equal), (False, np.less)):
            in_reference, in_generated = inside(across, of_r), inside(across.T, of_g)
            found = manifold.generated_inside(k, border_counts=border)
            np.testing.assert_array_equal(found, in_reference.any(axis=1))
            found = manifold.reference_inside(k, border_counts=border)
            np.testing.assert_array_equal(found, in_generated.any(axis=1))
            found = manifold.reference_covered(k, border_counts=border)
            np.testing.assert_array_equal(found, in_reference.any(axis=0))
            assert manifold.num_pairs(k, border_counts=border) == in_reference.sum()
    np.testing.assert_array_equal(manifold.generated_nearest_distance, np.sqrt(across.min(axis=1)))
    np.testing.assert_array_equal(manifold.reference_nearest_distance, np.sqrt(across.min(axis=0)))
    rows = np.arange(len(generated))
    np.testing.assert_array_equal(across[rows, manifold.generated_nearest], across.min(axis=1))
    columns = np.arange(len(reference))
    np.testing.assert_array_equal(across[manifold.reference_nearest, columns], across.min(axis=0))


@pytest.mark.parametrize("name", SETS)
def test_realism_is_that_of_float64(name: str, tile_size: str) -> None:
    generated, reference = SETS[name]
    radius, distance = np.sqrt(radii(reference, 3)), np.sqrt(squared(generated, reference))
    kept = radius < np.median(radius)
    kept = kept if kept.any() else radius <= np.median(radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = radius[kept] / distance[:, kept]
    ratio[np.isnan(ratio)] = 1  # on the centre of a ball without extent
    np.testing.assert_allclose(gm.realism(generated, reference), ratio.max(axis=1), rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 6), decimals=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_rounded_features_of_any_kind(seed: int, k: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    sizes, d = rng.integers(k + 1, 60, 2), rng.integers(1, 9)
    generated, reference = (np.round(rng.standard_normal((n, d)) * rng.uniform(0.1, 10), decimals) for n in sizes)
    across = squared(generated, reference)
    manifold = gm.Manifold(generated, reference, nearest_k=k)
    for border, inside in ((True, np.less_equal), (False, np.less)):
        assert manifold.num_pairs(k, border_counts=border) == inside(across, radii(reference, k)).sum()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("precision", ["tile", "finer_tile"])
def test_the_bounds_hold_the_truth(name: str, precision: str) -> None:
    generated, reference = SETS[name]
    bounds = Bounds(a := PointSet(generated), b := PointSet(reference))
    truth = squared(a.rows(slice(None)), b.rows(slice(None)))
    compute: Callable[[slice, slice], distances.Tile] = getattr(bounds, precision)
    for rows, columns in spans(len(a), len(b)):
        tile = compute(rows, columns)
        lower = tile.lower.astype(np.float64)
        assert (lower <= truth[rows, columns]).all()
        assert (truth[rows, columns] <= lower + tile.row_slack[:, None] + tile.column_slack).all()


def test_float32_products_decide_almost_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would all be right, and slow."""
    asked: list[int] = []
    exact = Bounds.exact

    def counting(self: Bounds, row: NDArray[np.intp], column: NDArray[np.intp]) -> Array:
        asked.append(len(row))
        return exact(self, row, column)

    monkeypatch.setattr(Bounds, "exact", counting)
    monkeypatch.setattr(Bounds, "finer_tile", None)
    gm.Manifold(normal(0, 700, 64), normal(1, 600, 64), nearest_k=5)
    assert sum(asked) < 1.2 * (5 + 1) * 1300  # the k radii and the nearest, which are wanted exactly, and little else


@pytest.mark.parametrize("noise", [1e-3, 1e-9])
def test_collapsed_sets_neither_fill_the_memory_nor_ask_for_every_distance(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight tight clusters in the order of their classes, as in a folder sorted by class."""
    monkeypatch.setattr(distances, "TILE_ROWS", 128)
    monkeypatch.setattr(distances, "TILE_COLUMNS", 256)
    rng = np.random.default_rng(0)
    count, k = 2048, 5
    values = np.repeat(rng.standard_normal((8, 32)), count // 8, axis=0) + noise * rng.standard_normal((count, 32))
    most = 0
    add = distances.Nearest._add

    def watching(self: distances.Nearest, *pairs: NDArray[np.generic]) -> None:
        nonlocal most
        add(self, *pairs)
        most = max(most, sum(len(pairs[0]) for pairs in self._pairs))

    monkeypatch.setattr(distances.Nearest, "_add", watching)
    found = squared_radii(points := PointSet(values), k)
    np.testing.assert_array_equal(found[points.inverse, k - 1], radii(values, k))
    assert most <= distances._KEPT * count * k


def test_radii_count_twins() -> None:
    points = PointSet(np.array([[0.0], [0.0], [0.0], [1.0], [3.0]]))
    assert len(points) == 3
    found = squared_radii(points, 4)[points.inverse]
    np.testing.assert_array_equal(found, [[0, 0, 1, 9]] * 3 + [[1, 1, 1, 4], [4, 9, 9, 9]])


def test_too_few_rows_and_wrong_questions_are_refused() -> None:
    with pytest.raises(gm.TooFewImages, match="at least 6"):
        gm.Manifold(normal(0, n=5), normal(1), nearest_k=5)
    with pytest.raises(gm.FeatureMismatch, match="4 dimensions, the reference 6"):
        gm.Manifold(normal(0, d=4), normal(1))
    with pytest.raises(gm.NonFiniteFeatures):
        gm.Manifold(normal(0), np.full((9, 6), np.nan))
    with pytest.raises(gm.InputError, match="from 1 to 3"):
        gm.Manifold(normal(0), normal(1), nearest_k=3).generated_inside(4, border_counts=True)
    with pytest.raises(gm.InputError, match="realism_k"):
        gm.Manifold(normal(0), normal(1), nearest_k=3, realism_k=4)
