"""How sure a score is: every replicate is the score without its group, and intervals hold what they promise.

The long coverage studies are marked ``proof``.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt import scoring
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.manifold import Manifold
from genmetrics_rt.metrics.frechet import frechet_without_each_group
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.report import ExtractorSummary, Score
from genmetrics_rt.statistics import FeatureStatistics, statistics_without_each
from genmetrics_rt.uncertainty import MIN_ROWS, NUM_BLOCKS, NUM_DEALS, NUM_GROUPS, blocks_of, groups_of, jackknifed

RNG = np.random.default_rng(0)
G = RNG.standard_normal((300, 8)) + 0.2
R = RNG.standard_normal((280, 8))
# Twins within a side and across: they stay together, and ties stay ties.
G[11], G[12], R[5], R[20:24] = G[3], G[3], R[7], G[50]
GROUPS = groups_of(G), groups_of(R)


def without(group: int) -> tuple[np.ndarray, np.ndarray]:
    return G[GROUPS[0] != group], R[GROUPS[1] != group]


# Groups


def test_groups_are_even_always_alike_and_keep_twins_together() -> None:
    rows = np.random.default_rng(1).standard_normal((1000, 4))
    groups = groups_of(rows)
    assert (np.bincount(groups) == 50).all() and (groups == groups_of(rows + 1)).all()
    assert GROUPS[0][3] == GROUPS[0][11] == GROUPS[0][12] and GROUPS[1][5] == GROUPS[1][7]
    assert len(set(GROUPS[1][20:24])) == 1


def test_too_few_different_rows_say_nothing() -> None:
    assert groups_of(RNG.standard_normal((MIN_ROWS - 1, 3))) is None
    assert groups_of(np.repeat(RNG.standard_normal((MIN_ROWS - 1, 3)), 10, axis=0)) is None
    assert groups_of(RNG.standard_normal((MIN_ROWS, 3))) is not None


# The formula


def test_the_jackknife_of_a_mean_is_its_textbook_standard_error() -> None:
    """With one row a group, SE² = s²/n; by hand for 1, 2, 3, 4: s² = 5/3."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = jackknifed(2.5, [(values.sum() - value) / 3 for value in values])
    assert found.standard_error == pytest.approx((5 / 3 / 4) ** 0.5, rel=1e-12)
    assert found.interval == pytest.approx(
        (2.5 - 3.182446305 * 0.645497224, 2.5 + 3.182446305 * 0.645497224)
    )  # t, 3 df


def test_the_ends_stay_in_bounds_and_a_share_of_all_is_not_certain() -> None:
    assert jackknifed(0.99, [0.9, 1.0] * 10, bounds=(0, 1)).interval[1] == 1
    all_of = jackknifed(1.0, [1.0] * 20, bounds=(0, 1), num_trials=100)
    assert all_of.interval == (pytest.approx(0.97), 1.0) and all_of.standard_error == pytest.approx(0.01)
    assert jackknifed(0.0, [0.0] * 20, bounds=(0, 1), num_trials=100).interval == (0.0, pytest.approx(0.03))


# Replicates are the scores without each group


def test_density() -> None:
    """With twins within and across the sides, and balls that grow where a neighbour is gone."""
    manifold = Manifold(G, R, nearest_k=5, groups=GROUPS)
    found = manifold.pairs_without_each_group.per_visitor() / 5
    expected = [gm.density_coverage(*without(group)).density for group in range(NUM_GROUPS)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_shares_by_blocks() -> None:
    """Each block is a pair of sides of its own, and the error is that of the mean of blocks."""
    report = gm.evaluate(G.astype(np.float32), R.astype(np.float32), metrics="precision,recall,coverage")
    values = {"precision": [], "recall": [], "coverage": []}
    for deal in range(NUM_DEALS):
        in_g, in_r = blocks_of(G.astype(np.float32), deal), blocks_of(R.astype(np.float32), deal)
        assert sorted(np.unique(in_g)) == list(range(NUM_BLOCKS)) and (np.bincount(in_r) >= 25).all()
        of_deal = [(gm.precision_recall(G[in_g == b], R[in_r == b]), gm.density_coverage(G[in_g == b], R[in_r == b]))
                   for b in range(NUM_BLOCKS)]  # fmt: skip
        values["precision"].append([shares.precision for shares, _ in of_deal])
        values["recall"].append([shares.recall for shares, _ in of_deal])
        values["coverage"].append([thick.coverage for _, thick in of_deal])
    for key, shares in values.items():
        expected = np.sqrt(np.mean(np.var(shares, axis=1, ddof=1)) / NUM_BLOCKS)
        assert report.scores[key].standard_error == pytest.approx(expected, rel=1e-9)
        spread = np.array(report.scores[key].replicates)
        count = len(spread)
        again = np.sqrt((count - 1) / count * np.square(spread - spread.mean()).sum())
        assert again == pytest.approx(expected, rel=1e-9)  # what a paired test will make of them


def test_groups_change_nothing_else_of_a_manifold() -> None:
    plain, grouped = Manifold(G, R), Manifold(G, R, groups=GROUPS, border_counts=True)
    for name in ("generated_radii", "reference_radii", "generated_nearest", "reference_nearest_distance"):
        assert np.array_equal(getattr(plain, name), getattr(grouped, name))
    for k, border in itertools.product(range(1, 6), (False, True)):
        assert plain.num_pairs(k, border_counts=border) == grouped.num_pairs(k, border_counts=border)
        for ask in ("generated_inside", "reference_inside", "reference_covered"):
            first, second = (getattr(one, ask)(k, border_counts=border) for one in (plain, grouped))
            assert np.array_equal(first, second)


@pytest.mark.parametrize("dimension", [8, 400])
def test_the_frechet_distance(dimension: int) -> None:
    """By covariances, and with fewer rows than dimensions by the rows themselves."""
    stream = np.random.default_rng(2)
    g, r = stream.standard_normal((200, dimension)), stream.standard_normal((220, dimension)) * 1.1
    groups = groups_of(g), groups_of(r)
    found = frechet_without_each_group(g, r, groups)
    expected = [gm.frechet_distance(g[groups[0] != x], r[groups[1] != x]) for x in range(NUM_GROUPS)]
    assert found == pytest.approx(expected, rel=1e-9)
    fixed = FeatureStatistics.from_features(r)
    found = frechet_without_each_group(g, fixed, groups, ddof=0)
    expected = [gm.frechet_distance(g[groups[0] != x], fixed, ddof=0) for x in range(NUM_GROUPS)]
    assert found == pytest.approx(expected, rel=1e-9)


def spatial_pair(dimension: int, max_kept: int = 10_000) -> tuple[Features, Features]:
    """The features above with spatial rows that have nothing to do with them."""
    stream = np.random.default_rng(6)
    sides = []
    for pooled, scale in ((G, 1.2), (R, 1.0)):
        collector = FeatureCollector(max_kept=max_kept)
        spatial = scale * stream.standard_normal((len(pooled), dimension))
        collector.update(pooled.astype(np.float32), spatial=spatial.astype(np.float32))
        sides.append(collector.result())
    return sides[0], sides[1]


def sfid_of(generated: Features, reference: Features, ddof: int = 1, intervals: bool = True) -> Score:
    comparison = Comparison(
        generated, reference, "", 0, scoring.settings_for({"sfid": {"ddof": ddof}}, seed=0), intervals
    )
    nobody = ExtractorSummary("features", "", "", "", "", generated.dimension)
    return scoring.score(comparison, ["sfid"], nobody, scoring.Space("features", has_spatial=True))[0]["sfid"]


@pytest.mark.parametrize(("dimension", "ddof"), [(6, 1), (6, 0), (600, 1)])
def test_the_spatial_frechet_distance(dimension: int, ddof: int) -> None:
    """By the groups of the pooled features, joined in pairs where covariances are large; its value is that of before:
    of the mean and covariance of all images.
    """
    generated, reference = spatial_pair(dimension)
    g, r = generated.spatial_values, reference.spatial_values
    found = sfid_of(generated, reference, ddof)
    assert found.value == gm.frechet_distance(generated.spatial, reference.spatial, ddof=ddof)
    assert found.value == sfid_of(generated, reference, ddof, intervals=False).value
    in_g, in_r = (groups // 2 for groups in GROUPS) if dimension > 512 else GROUPS
    count = 1 + int(in_g.max())
    by_hand = np.array([gm.frechet_distance(g[in_g != x], r[in_r != x], ddof=ddof) for x in range(count)])
    variance = (count - 1) / count * np.square(by_hand - by_hand.mean()).sum()
    assert found.standard_error == pytest.approx(variance**0.5, rel=1e-6)
    assert found.details["bias"] == pytest.approx((count - 1) * (by_hand.mean() - found.value), rel=1e-4)
    assert found.details["without_bias"] == found.value - found.details["bias"]
    assert found.interval[0] < found.value < found.interval[1] and len(found.replicates) == count
    assert ("rank_deficient" in found.details) == (dimension == 600)


def test_the_spatial_frechet_distance_of_a_sample_of_the_rows() -> None:
    """Its value is that of all rows; the sample's scatter is brought to their number."""
    generated, reference = spatial_pair(6, max_kept=150)
    in_g, in_r = groups_of(generated.values), groups_of(reference.values)
    found, whole = sfid_of(generated, reference), sfid_of(*spatial_pair(6))
    assert len(generated.spatial_values) == 150 and found.value == pytest.approx(whole.value, rel=1e-9)
    by_hand = [
        gm.frechet_distance(generated.spatial_values[in_g != x], reference.spatial_values[in_r != x])
        for x in range(NUM_GROUPS)
    ]
    of_sample = jackknifed(0, by_hand).standard_error
    assert found.standard_error == pytest.approx(of_sample * (150 / 280) ** 0.5, rel=1e-6)


def test_the_spatial_frechet_distance_against_a_mean_and_covariance() -> None:
    """As a saved reference gives them: it still has the rows of the pooled features."""
    generated, reference = spatial_pair(6)
    found = sfid_of(generated, replace(reference, spatial_values=None))
    g = generated.spatial_values
    by_hand = [gm.frechet_distance(g[GROUPS[0] != x], reference.spatial) for x in range(NUM_GROUPS)]
    assert found.standard_error == pytest.approx(jackknifed(0, by_hand).standard_error, rel=1e-6)
    assert "as exact" in found.details["one_sided"] and found.value == sfid_of(generated, reference).value
    assert sfid_of(replace(generated, spatial_values=None), reference).standard_error is None


def test_statistics_without_each_group_keep_their_digits() -> None:
    """Far from the origin, where a difference of raw moments would lose them."""
    rows = 1e4 + 1e-2 * np.random.default_rng(3).standard_normal((400, 5))
    groups = groups_of(rows)
    for group, found in enumerate(statistics_without_each(rows, groups, 1)):
        left = rows[groups != group]
        np.testing.assert_allclose(found.mean, left.mean(axis=0), rtol=1e-13)
        np.testing.assert_allclose(found.covariance, np.cov(left.T), rtol=1e-6, atol=1e-9)


def test_the_class_score() -> None:
    logits = np.random.default_rng(4).standard_normal((400, 6)) * 3
    groups = groups_of(logits)
    options: dict[str, Any] = {"splits": 2, "shuffle": False}
    found = gm.inception_score(logits, **options, groups=groups).uncertainty
    halves = [(logits[:200], groups[:200]), (logits[200:], groups[200:])]
    for group, value in enumerate(found.replicates):
        expected = [gm.inception_score(half[own != group], splits=1, shuffle=False).mean for half, own in halves]
        assert value == pytest.approx(np.mean(expected), rel=1e-12)


def test_the_kernel_distance() -> None:
    """Replicates from sums over pairs of groups; here each is worked out from its rows, by the formula of the sums."""
    groups = groups_of(G), groups_of(R)
    result = gm.kernel_distance(G, R, subset_size=200, num_subsets=20, groups=groups)
    kernel = (np.concatenate([G, R]) @ np.concatenate([G, R]).T / 8 + 1) ** 3
    np.fill_diagonal(kernel, 0)
    whole = np.concatenate([groups[0], groups[1] + NUM_GROUPS])
    member = np.eye(2 * NUM_GROUPS)[whole]
    size = member.sum(axis=0)
    means = member.T @ kernel @ member / np.outer(size, size)
    gg, rr, gr = means[:NUM_GROUPS, :NUM_GROUPS], means[NUM_GROUPS:, NUM_GROUPS:], means[:NUM_GROUPS, NUM_GROUPS:]
    h = gg + rr - gr - gr.T
    left = []
    for x in range(NUM_GROUPS):
        stay = np.arange(NUM_GROUPS) != x
        part = h[np.ix_(stay, stay)]
        left.append((part.sum() - np.trace(part)) / (19 * 18))
    differences = np.diff(result.uncertainty.replicates)
    assert differences == pytest.approx(np.diff(left), rel=1e-9, abs=1e-15)
    assert result.uncertainty.standard_error > 0


def test_prd_with_its_clusters_as_they_are() -> None:
    """With two far clusters the clustering is the same without any group."""
    stream = np.random.default_rng(5)
    g = np.concatenate([stream.normal(0, 0.1, (150, 2)), stream.normal(9, 0.1, (50, 2))])
    r = np.concatenate([stream.normal(0, 0.1, (100, 2)), stream.normal(9, 0.1, (100, 2))])
    groups = groups_of(g), groups_of(r)
    found = gm.prd_curve(g, r, num_clusters=2, num_runs=3, groups=groups)
    for group in range(NUM_GROUPS):
        q, p = ([np.mean(side[own != group][:, 0] < 5), np.mean(side[own != group][:, 0] > 5)]
                for side, own in zip((g, r), groups, strict=True))  # fmt: skip
        expected = gm.prd_from_histograms(q, p)
        assert found.f8_uncertainty.replicates[group] == pytest.approx(expected.f8, rel=1e-9)
        assert found.f1_8_uncertainty.replicates[group] == pytest.approx(expected.f1_8, rel=1e-9)


# Reports


def test_every_score_of_a_report_says_how_sure_it_is() -> None:
    report = gm.evaluate(G.astype(np.float32), R.astype(np.float32))
    for score in report.scores.values():
        low, high = score.interval
        assert low <= score.value <= high and score.standard_error > 0
        blocks = score.key in ("precision", "recall", "coverage")
        assert len(score.replicates) == (NUM_BLOCKS * NUM_DEALS if blocks else NUM_GROUPS)
    details = report.scores["fd"].details
    assert details["bias"] > 0 and details["without_bias"] == report.scores["fd"].value - details["bias"]
    assert "95 % interval" in report.to_html() and "95 % interval" in report.to_text() + report.to_markdown()
    assert gm.Report.from_json(report.to_json()).scores == report.scores


def test_without_intervals_the_values_are_the_same() -> None:
    sure, plain = (
        gm.evaluate(G.astype(np.float32), R.astype(np.float32), intervals=wanted) for wanted in (True, False)
    )
    for key, score in plain.scores.items():
        assert score.value == sure.scores[key].value and score.fingerprint == sure.scores[key].fingerprint
        assert score.interval is None and score.standard_error is None and score.replicates == ()


def test_against_a_mean_and_covariance_the_generated_side_alone_is_uncertain(tmp_path: Any) -> None:
    np.savez(tmp_path / "real.npz", mu=R.mean(axis=0), sigma=np.cov(R.T))
    report = gm.evaluate(G.astype(np.float32), tmp_path / "real.npz", metrics="fd")
    both = gm.evaluate(G.astype(np.float32), R.astype(np.float32), metrics="fd")
    assert 0 < report.scores["fd"].standard_error < both.scores["fd"].standard_error
    assert "as exact" in report.scores["fd"].details["one_sided"]


# What 95 % means


def coverage_of(make: Any, score: Any, truth: float, repetitions: int) -> float:
    hits = 0
    for repetition in range(repetitions):
        low, high = score(*make(np.random.default_rng([7, repetition])))
        hits += low <= truth <= high
    return hits / repetitions


def normal_pair(stream: np.random.Generator, shift: float, scale: float, dimension: int, count: int) -> tuple[Any, Any]:
    generated = stream.standard_normal((count, dimension)) * scale
    generated[:, 0] += shift
    return generated, stream.standard_normal((count, dimension))


def kid_interval(g: np.ndarray, r: np.ndarray) -> tuple[float, float]:
    return gm.kernel_distance(
        g, r, subset_size=len(g), num_subsets=1, groups=(groups_of(g), groups_of(r))
    ).uncertainty.interval


def population_kid(shift: float, scale: float, dimension: int) -> float:
    """E k(x, x') + E k(y, y') − 2 E k(x, y) with k(u, v) = (u·v/D + 1)³ and normal rows.

    With s = u·v: E(s/D + 1)³ = 1 + 3 E s/D + 3 E s²/D² + E s³/D³; for independent u ~ N(a, A²I), v ~ N(b, B²I):
    E s = a·b; E s² = (a·b)² + A²|b|² + B²|a|² + A²B²D; E s³ = (a·b)³ + 3 (a·b)(A²|b|² + B²|a|² + A²B²D) + 6 A²B² a·b.
    """

    def moment(product: float, aa: float, bb: float, a: float, b: float) -> float:
        spread = a**2 * bb + b**2 * aa + a**2 * b**2 * dimension
        third = product**3 + 3 * product * spread + 6 * a**2 * b**2 * product
        return 1 + 3 * product / dimension + 3 * (product**2 + spread) / dimension**2 + third / dimension**3

    within_g = moment(shift**2, shift**2, shift**2, scale, scale)
    return within_g + moment(0, 0, 0, 1, 1) - 2 * moment(0, shift**2, 0, scale, 1)


def test_the_population_kid_is_that_of_the_spec() -> None:
    """Spec §4.7 (5): one-dimensional N(0, 1) against N(μ, 1): 3.578125 at 0.5, 22 at 1, 256 at 2."""
    assert [population_kid(shift, 1, 1) for shift in (0.5, 1, 2)] == pytest.approx([3.578125, 22, 256])


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.5, 1.2)])
def test_intervals_of_kid_hold_the_population_value(shift: float, scale: float) -> None:
    """Alike sides too, where a plain jackknife would be twice too wide."""
    truth = population_kid(shift, scale, 16)
    share = coverage_of(lambda s: normal_pair(s, shift, scale, 16, 200), kid_interval, truth, 100)
    assert 0.88 <= share <= 1.0


@pytest.mark.proof
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.5, 1.2)])
def test_coverage_of_kid(shift: float, scale: float) -> None:
    truth = population_kid(shift, scale, 64)
    share = coverage_of(lambda s: normal_pair(s, shift, scale, 64, 1000), kid_interval, truth, 200)
    print(f"KID, shift {shift}, scale {scale}: {share:.1%}")
    assert 0.90 <= share <= 0.99


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_coverage_of_the_frechet_distance_without_its_bias() -> None:
    """Against the closed form of two normal distributions, D = 256, N = 5,000."""

    def interval(g: np.ndarray, r: np.ndarray) -> tuple[float, float]:
        score = gm.evaluate(g.astype(np.float32), r.astype(np.float32), metrics="fd").scores["fd"]
        return score.details["without_bias_interval"]

    truth = 2.0**2 + 256 * (1.1 - 1) ** 2
    share = coverage_of(lambda s: normal_pair(s, 2.0, 1.1, 256, 5000), interval, truth, 200)
    print(f"Fréchet distance without its bias: {share:.1%}")
    assert 0.90 <= share <= 0.99


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_coverage_of_precision_recall_density_and_coverage() -> None:
    """Against the mean over 2,000 fresh pairs at the same N and k; D = 64, N = 2,000, both sides drawn anew."""

    def pair(stream: np.random.Generator) -> tuple[Any, Any]:
        g, r = normal_pair(stream, 0.6, 0.95, 64, 2000)
        return g.astype(np.float32), r.astype(np.float32)

    def values(g: Any, r: Any) -> tuple[float, ...]:
        manifold = Manifold(g, r, nearest_k=5)
        shares, thick = gm.precision_recall(g, r, manifold=manifold), gm.density_coverage(g, r, manifold=manifold)
        return shares.precision, shares.recall, thick.density, thick.coverage

    truth = np.mean([values(*pair(np.random.default_rng([8, index]))) for index in range(2000)], axis=0)
    hits = np.zeros(4)
    for repetition in range(200):
        report = gm.evaluate(*pair(np.random.default_rng([7, repetition])), metrics="precision,recall,density,coverage")
        ends = np.array([score.interval for score in report.scores.values()])
        hits += (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    print(f"precision, recall, density, coverage (mean {truth.round(4)}): {hits / 200}")
    assert (hits / 200 >= 0.90).all() and (hits / 200 <= 0.99).all()
