"""Tables of properties, and one general test per property. To add a metric, add its key to the rows that apply."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genmetrics_rt as gm


def _precision(g: np.ndarray, r: np.ndarray) -> float:
    return gm.precision_recall(g, r).precision


def _recall(g: np.ndarray, r: np.ndarray) -> float:
    return gm.precision_recall(g, r).recall


def _density(g: np.ndarray, r: np.ndarray) -> float:
    return gm.density_coverage(g, r).density


def _coverage(g: np.ndarray, r: np.ndarray) -> float:
    return gm.density_coverage(g, r).coverage


def _kid(g: np.ndarray, r: np.ndarray) -> float:
    return gm.kernel_distance(g, r, num_subsets=1, subset_size=min(len(g), len(r))).mean


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "fd": gm.frechet_distance,
    "kid": _kid,
    "precision": _precision,
    "recall": _recall,
    "density": _density,
    "coverage": _coverage,
    "prd_f8": lambda g, r: gm.prd_curve(g, r, num_runs=2).f8,
    "prd_f1_8": lambda g, r: gm.prd_curve(g, r, num_runs=2).f1_8,
    "mauve": lambda g, r: gm.mauve(g, r).value,
}
SYMMETRIC = ["fd", "kid"]
SWAPPED = {"precision": "recall", "recall": "precision"}  # changing sides turns one into the other
ZERO_ON_IDENTICAL = ["fd"]
ONE_ON_IDENTICAL = ["precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8", "mauve"]
ZERO_WHEN_FAR_APART = ["precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8"]
WITHIN_0_AND_1 = ["precision", "recall", "coverage", "prd_f8", "prd_f1_8", "mauve"]
INVARIANT_UNDER_ORDER = ["fd", "kid", "precision", "recall", "density", "coverage"]
INVARIANT_UNDER_SHIFT = ["fd", "precision", "recall", "density", "coverage"]
INVARIANT_UNDER_ROTATION = ["fd", "kid", "precision", "recall", "density", "coverage"]
WORSE_WITH_DISTANCE_UP = ["fd", "kid"]
WORSE_WITH_DISTANCE_DOWN = ["precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8"]


def sets(seed: int, shift: float = 0.3, size: int = 90, dimension: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((size, dimension)) * 1.1 + shift, rng.standard_normal((size, dimension))


def test_every_metric_of_the_catalogue_is_in_the_table() -> None:
    from genmetrics_rt.scoring import ALL_KEYS

    # Of class logits, and the Fréchet distance of another tap: neither is a function of two sets of features.
    neither = {"class_score", "class_score_inf", "sfid"}
    # Their own test files hold their properties: nothing of this table is promised of them.
    elsewhere = {"fd_inf", "vendi", "alpha_precision", "beta_recall", "authenticity", "rbf", "two_sample",
                 "nearest_neighbour"}  # fmt: skip
    assert set(METRICS) | neither | elsewhere == set(ALL_KEYS)


@pytest.mark.parametrize("key", SYMMETRIC)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_symmetric(key: str, seed: int) -> None:
    generated, reference = sets(seed)
    assert METRICS[key](generated, reference) == pytest.approx(METRICS[key](reference, generated), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("key", SWAPPED)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_changing_sides_swaps(key: str, seed: int) -> None:
    generated, reference = sets(seed)
    assert METRICS[key](generated, reference) == METRICS[SWAPPED[key]](reference, generated)


@pytest.mark.parametrize("key", ZERO_ON_IDENTICAL)
def test_zero_on_identical(key: str) -> None:
    generated, _ = sets(0)
    trace = np.cov(generated.T).trace()
    assert abs(METRICS[key](generated, generated)) <= 1e-9 * 2 * trace


@pytest.mark.parametrize("key", ONE_ON_IDENTICAL)
def test_one_on_identical(key: str) -> None:
    generated, _ = sets(0)
    assert METRICS[key](generated, generated) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("key", ZERO_WHEN_FAR_APART)
def test_zero_when_far_apart(key: str) -> None:
    generated, reference = sets(0, shift=1e4)
    assert METRICS[key](generated, reference) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("key", WITHIN_0_AND_1)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-3, 3))
@settings(max_examples=10, deadline=None)
def test_within_0_and_1(key: str, seed: int, shift: float) -> None:
    assert 0 <= METRICS[key](*sets(seed, shift, size=40)) <= 1


@pytest.mark.parametrize("key", INVARIANT_UNDER_ORDER)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_invariant_under_order(key: str, seed: int) -> None:
    generated, reference = sets(seed)
    shuffled = np.random.default_rng(seed).permutation(len(generated))
    expected = METRICS[key](generated, reference)
    assert METRICS[key](generated[shuffled], reference[shuffled[::-1]]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("key", INVARIANT_UNDER_SHIFT)
@given(seed=st.integers(0, 2**32 - 1), offset=st.floats(-100, 100))
@settings(max_examples=10, deadline=None)
def test_invariant_under_shift(key: str, seed: int, offset: float) -> None:
    generated, reference = sets(seed)
    expected = METRICS[key](generated, reference)
    assert METRICS[key](generated + offset, reference + offset) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("key", INVARIANT_UNDER_ROTATION)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_invariant_under_rotation(key: str, seed: int) -> None:
    generated, reference = sets(seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((6, 6)))
    expected = METRICS[key](generated, reference)
    assert METRICS[key](generated @ rotation, reference @ rotation) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("key", [*WORSE_WITH_DISTANCE_UP, *WORSE_WITH_DISTANCE_DOWN])
def test_worse_with_distance(key: str) -> None:
    values = [METRICS[key](*sets(0, shift=shift)) for shift in (0.0, 0.7, 1.5, 3.0)]
    direction = 1 if key in WORSE_WITH_DISTANCE_UP else -1
    assert all(direction * (after - before) > 0 for before, after in pairwise(values)), values
