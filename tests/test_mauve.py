"""MAUVE on histograms, exactly; and on features."""

from __future__ import annotations

import numpy as np
import pytest

import genmetrics_rt as gm
from tests.golden import T, X, Y

LN2 = float(np.log(2))


@pytest.mark.parametrize(
    ("generated", "reference", "value", "integral"),
    [
        # The papers' formulas in float64 (numpy 2.4), computed independently of this package.
        ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], 0.653853663, 0.143763374),
        ([1, 0], [0, 1], 0.0040720962619612555, 1.0),  # disjoint; 1/252 with infinitely many points
        ([1, 0], [0.5, 0.5], 0.27811372536724027, 1 - LN2),
        ([0.5, 0.5], [1, 0], 0.27811372536724027, 1 - LN2),
        ([0.8, 0.2], [0.5, 0.5], 0.883095222281748, 0.0678982504),
        # Equal ones: the trapezoid rule over sorted points gives 0.75 for the first two.
        ([0.5, 0.5], [0.5, 0.5], 1.0, 0.0),
        ([0.25] * 4, [0.25] * 4, 1.0, 0.0),
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5], 1.0, 0.0),
    ],
)
def test_golden_values(generated: list[float], reference: list[float], value: float, integral: float) -> None:
    found = gm.mauve_from_counts(generated, reference)
    assert found.value == pytest.approx(value, abs=1e-9)
    assert found.frontier_integral == pytest.approx(integral, abs=1e-9)


def test_counts_and_shares_give_the_same_value_and_smoothing_needs_counts() -> None:
    counts, shares = gm.mauve_from_counts([8, 2], [5, 5]), gm.mauve_from_counts([0.8, 0.2], [0.5, 0.5])
    assert counts.value == pytest.approx(shares.value, abs=1e-12)
    # One half added to each count: 8.5 and 2.5 of 11 against 5.5 and 5.5.
    by_hand = gm.mauve_from_counts([8.5 / 11, 2.5 / 11], [0.5, 0.5]).value
    assert counts.smoothed == pytest.approx(by_hand, abs=1e-12)


def test_infinitely_many_points_between_disjoint_sides() -> None:
    assert gm.mauve_from_counts([1, 0], [0, 1], num_points=20_001).value == pytest.approx(1 / 252, abs=1e-6)


def test_the_curve_runs_from_one_side_to_the_other() -> None:
    found = gm.mauve_from_counts([3, 1, 2], [1, 3, 2])
    assert (found.fidelity[0], found.diversity[0]) == (1, 0)
    assert (found.fidelity[-1], found.diversity[-1]) == (0, 1)
    assert (np.diff(found.fidelity) <= 0).all() and (np.diff(found.diversity) >= 0).all()


def test_of_features_it_is_seeded_symmetric_and_1_for_equal_sides() -> None:
    x, y, t = X, Y, T
    first, again = gm.mauve(y, x), gm.mauve(y, x)
    assert first.value == again.value
    assert first.num_buckets == 50  # a tenth of 500
    assert gm.mauve(x, x).value == pytest.approx(1, abs=1e-12)
    assert gm.mauve(t, x).value > first.value + 0.05  # T is drawn as X is, Y is not


def test_rows_without_length_are_no_reason_to_fail() -> None:
    rows = np.zeros((20, 4))
    rows[:10, 0] = 1
    assert gm.mauve(rows, rows).value == pytest.approx(1)
    assert gm.mauve(np.ones((20, 3)), np.ones((20, 3))).value == pytest.approx(1)


def test_components_hold_the_share_of_the_variance_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 3)) * [3, 2, 0.1]
    rows = np.concatenate([rows + np.array([9, 0, 0]), rows - np.array([9, 0, 0])])
    assert gm.mauve(rows, rows, explained_variance=0.5).num_components == 1
    assert gm.mauve(rows, rows, explained_variance=1.0).num_components == 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gm.mauve_from_counts([1, 2], [1, 2, 3]), "same buckets"),
        (lambda: gm.mauve_from_counts([0, 0], [1, 2]), "not all of them are 0"),
        (lambda: gm.mauve_from_counts([-1, 2], [1, 2]), "at least 0"),
        (lambda: gm.mauve_from_counts([1, 2], [1, 2], scaling=0), "scaling"),
        (lambda: gm.mauve(np.ones((30, 2)), np.ones((30, 3))), "one dimension"),
        (lambda: gm.mauve(np.ones((30, 2)), np.ones((30, 2)), num_buckets=31), "31 buckets"),
        (lambda: gm.mauve(np.ones((1, 2)), np.ones((30, 2))), "there are 1"),
        (lambda: gm.mauve(np.ones((30, 2)), np.ones((30, 2)), num_buckets=0), "at least 1"),
    ],
)
def test_what_cannot_be_is_refused(call: object, words: str) -> None:
    with pytest.raises(gm.InputError, match=words):
        call()  # type: ignore[operator]


def test_on_images_it_is_there_for_those_who_ask() -> None:
    x, y = X, Y
    usual = gm.evaluate(y, x, intervals=False)
    assert "mauve" not in usual.scores
    asked = gm.evaluate(y, x, metrics="mauve", intervals=False)
    assert asked.scores["mauve"].value == gm.mauve(y, x).value
    assert asked.curves["mauve"].x[0] == 0 and asked.curves["mauve"].y[0] == 1
    assert set(asked.scores["mauve"].details) >= {"mauve_star", "frontier_integral", "buckets"}
    assert gm.Report.from_json(asked.to_json()).scores["mauve"].value == asked.scores["mauve"].value
    asked.to_html(), asked.to_markdown(), asked.to_text()


def test_its_floor_is_what_parts_of_the_reference_score_and_no_interval_is_claimed() -> None:
    rng = np.random.default_rng(1)
    report = gm.evaluate(rng.normal(size=(300, 6)), rng.normal(size=(300, 6)), metrics="mauve")
    score = report.scores["mauve"]
    assert score.floor is not None and score.value is not None
    assert score.floor.low <= score.value <= score.floor.high
    assert score.interval is None and "buckets" in score.details["no_interval"]
