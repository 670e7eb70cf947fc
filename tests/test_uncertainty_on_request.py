"""How sure the metrics on request are: by the jackknife, by blocks, by the binomial, or not said and why.

The long coverage studies are marked ``proof``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt import scoring
from genmetrics_rt.features import Features
from genmetrics_rt.metrics.alpha_precision import BOUNDS, alpha_precision, alpha_precision_without_each_group
from genmetrics_rt.metrics.extrapolation import extrapolate, inception_score_infinity
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.metrics.on_request import ON_REQUEST
from genmetrics_rt.metrics.two_sample import (
    accuracy_uncertainty,
    classifier_two_sample,
    nearest_neighbour_accuracy,
)
from genmetrics_rt.metrics.vendi import vendi_of_noise, vendi_score, vendi_without_each_group
from genmetrics_rt.report import ExtractorSummary, Score
from genmetrics_rt.statistics import FeatureStatistics
from genmetrics_rt.uncertainty import NUM_BLOCKS, NUM_DEALS, NUM_GROUPS, blocks_of, groups_of, jackknifed

KEYS = [key for metric in ON_REQUEST for key in metric.keys if not metric.needs_logits]
NEIGHBOURS = "alpha_precision", "beta_recall", "authenticity"
RNG = np.random.default_rng(0)
SPREAD = 1 / np.sqrt(np.arange(1, 9))  # features that do not point evenly in all directions
G = (SPREAD * (RNG.standard_normal((400, 8)) + 0.2)).astype(np.float32)
R = (SPREAD * RNG.standard_normal((450, 8))).astype(np.float32)
G[11], G[12], R[5], R[20:24] = G[3], G[3], R[7], G[50]  # twins within a side and across
GROUPS = groups_of(G), groups_of(R)


def features(values: np.ndarray, logits: np.ndarray | None = None) -> Features:
    return Features(values, np.arange(len(values)), len(values), logits)


def score_of(key: str, generated: Features, reference: Features, intervals: bool = True, **settings: Any) -> Score:
    comparison = Comparison(
        generated, reference, "", 0, scoring.settings_for({key: settings}, seed=0), intervals=intervals
    )
    nobody = ExtractorSummary("features", "", "", "", "", generated.dimension)
    space = scoring.Space("features", has_logits=generated.logits is not None)
    return scoring.score(comparison, [key], nobody, space)[0][key]


def jackknife(values: Any) -> float:
    return jackknifed(0, values).standard_error


def of_blocks(scores: Any) -> float:
    """The mean of eight blocks, over (deals, blocks)."""
    return float(np.sqrt(np.mean(np.var(scores, axis=1, ddof=1)) / NUM_BLOCKS))


# Reports


@pytest.fixture(scope="module")
def report() -> gm.Report:
    return gm.evaluate(G, R, metrics=KEYS)


def test_every_score_says_how_sure_it_is(report: gm.Report) -> None:
    scores = dict(report.scores)
    assert scores["mauve"].interval is None and "no_interval" in scores.pop("mauve").details
    for score in scores.values():
        low, high = score.interval
        assert low <= score.value <= high and low < high and score.standard_error > 0
        assert "no_interval" not in score.details
    counts = {key: len(score.replicates) for key, score in report.scores.items()}
    assert counts == dict.fromkeys(KEYS, NUM_GROUPS) | {
        "beta_recall": NUM_BLOCKS * NUM_DEALS,
        "authenticity": NUM_BLOCKS * NUM_DEALS,
        "nearest_neighbour": NUM_BLOCKS * NUM_DEALS,
        "two_sample": 0,
        "mauve": 0,
    }
    assert gm.Report.from_json(report.to_json()).scores == report.scores


def test_without_intervals_the_values_are_the_same(report: gm.Report) -> None:
    plain = gm.evaluate(G, R, metrics=KEYS, intervals=False)
    for key, score in plain.scores.items():
        assert score.value == report.scores[key].value and score.fingerprint == report.scores[key].fingerprint
        assert score.interval is None and score.standard_error is None and score.replicates == ()
        assert not {"no_interval", "one_sided", "of_the_test_images"} & set(score.details)


def test_it_is_always_the_same(report: gm.Report) -> None:
    assert gm.evaluate(G, R, metrics=KEYS).scores == report.scores


# Each by hand


def test_the_vendi_score(report: gm.Report) -> None:
    rows, groups = G[:400], GROUPS[0]
    by_hand = [vendi_score(rows[groups != group]) for group in range(NUM_GROUPS)]
    assert vendi_without_each_group(rows, groups) == pytest.approx(by_hand, rel=1e-9)
    assert report.scores["vendi"].replicates == pytest.approx(by_hand, rel=1e-9)
    assert report.scores["vendi"].standard_error == pytest.approx(jackknife(by_hand), rel=1e-6)


@pytest.mark.parametrize(("count", "dimension"), [(90, 200), (100, 97), (600, 520), (520, 600)])
def test_the_vendi_score_of_large_and_of_deficient_matrices(count: int, dimension: int) -> None:
    """By the rows, by moments that lose rank without a group, and with groups joined in pairs."""
    rows = np.random.default_rng(1).standard_normal((count, dimension))
    groups = groups_of(rows)
    joined = groups // 2 if min(count, dimension) > 512 else groups
    for order in (1, 0.3):
        by_hand = [vendi_score(rows[joined != group], order=order) for group in range(1 + joined.max())]
        assert vendi_without_each_group(rows, groups, order=order) == pytest.approx(by_hand, rel=1e-9)


def test_the_vendi_score_of_a_sample() -> None:
    """Of a side so large that a sample is scored, the replicates are those of the sample."""
    found = score_of("vendi", features(G), features(R), max_images=150)
    in_g = Comparison(features(G), features(R), "", 0, {}).equal_rows(150)[0]
    by_hand = [vendi_score(G[in_g][groups_of(G[in_g]) != group]) for group in range(NUM_GROUPS)]
    assert found.replicates == pytest.approx(by_hand, rel=1e-9)


def test_the_vendi_score_of_noise_is_that_of_noise() -> None:
    for count, dimension in ((4000, 16), (600, 300), (100, 900)):
        rows = np.random.default_rng(2).standard_normal((count, dimension))
        assert vendi_score(rows) == pytest.approx(vendi_of_noise(count, dimension), rel=2e-3)


@pytest.mark.parametrize("scaled", [False, True])
def test_alpha_precision(scaled: bool) -> None:
    """The centre moves with each group; where features are scaled, the scale stays."""
    g, r = (
        (rows - R.min(axis=0).astype(np.float64)) / (R.max(axis=0).astype(np.float64) - R.min(axis=0))
        if scaled
        else rows
        for rows in (G, R)
    )
    by_hand = [
        alpha_precision(g[GROUPS[0] != group], r[GROUPS[1] != group]).delta_precision_alpha
        for group in range(NUM_GROUPS)
    ]
    assert alpha_precision_without_each_group(G, R, GROUPS, min_max_scaled=scaled) == pytest.approx(by_hand)
    found = score_of("alpha_precision", features(G), features(R), min_max_scaled=scaled)
    assert found.standard_error == pytest.approx(jackknife(by_hand))


def test_beta_recall_and_authenticity_by_blocks(report: gm.Report) -> None:
    deals = []
    for deal in range(NUM_DEALS):
        in_g, in_r = blocks_of(G, deal), blocks_of(R, deal)
        deals.append([alpha_precision(G[in_g == block], R[in_r == block]) for block in range(NUM_BLOCKS)])
    for key, name in (("beta_recall", "delta_coverage_beta"), ("authenticity", "authenticity")):
        by_hand = of_blocks([[getattr(block, name) for block in deal] for deal in deals])
        assert report.scores[key].standard_error == pytest.approx(by_hand, rel=1e-9)


def test_nearest_neighbours_by_blocks() -> None:
    g, r = RNG.standard_normal((400, 5)), RNG.standard_normal((400, 5)) + 0.3
    deals = [(blocks_of(g, deal), blocks_of(r, deal)) for deal in range(NUM_DEALS)]
    by_hand = of_blocks(
        [
            [nearest_neighbour_accuracy(g[in_g == block], r[in_r == block]).accuracy for block in range(NUM_BLOCKS)]
            for in_g, in_r in deals
        ]
    )
    found = gm.evaluate(g, r, metrics="nearest_neighbour").scores["nearest_neighbour"]
    assert found.standard_error == pytest.approx(by_hand, rel=1e-9)


def test_the_interval_of_an_accuracy_by_hand() -> None:
    """Wilson's ends are the roots of (p̂ − p)² = z² p (1 − p)/n."""
    z = 1.959963984540054
    for right, count in ((30, 100), (100, 100), (0, 7)):
        found = accuracy_uncertainty(right, count)
        for end in found.interval:
            assert (right / count - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / count, abs=1e-12)
        assert found.standard_error > 0
    assert accuracy_uncertainty(3000, 10_000).standard_error == pytest.approx((0.3 * 0.7 / 10_000) ** 0.5, rel=1e-3)


def test_the_two_sample_accuracy(report: gm.Report) -> None:
    found = report.scores["two_sample"]
    expected = accuracy_uncertainty(round(found.value * 400), 400)  # the test half of 2 · 400 images
    assert found.interval == expected.interval and "this split" in found.details["of_the_test_images"]


def test_a_line_scatters_more_than_its_last_point() -> None:
    """Through N/2 and N it is 2 y_N − y_{N/2}, and the half of the images adds V (2/N − 1/N): √2 in all."""
    assert extrapolate((50, 100), (3, 2)).scatter == pytest.approx(2**0.5)
    assert extrapolate(np.linspace(2500, 5000, 15).astype(int), np.arange(15)).scatter == pytest.approx(
        1.2726, abs=1e-4
    )


@pytest.mark.parametrize("rows", [True, False])
def test_an_extrapolated_distance_holds_for_its_reference(rows: bool, report: gm.Report, tmp_path: Path) -> None:
    """The reference is fixed, whether it is given as rows or as mean and covariance."""
    found = report.scores["fd_inf"]
    if not rows:
        np.savez(tmp_path / "real.npz", mu=R.mean(axis=0, dtype=np.float64), sigma=np.cov(R.T.astype(np.float64)))
        found = gm.evaluate(G, tmp_path / "real.npz", metrics="fd_inf").scores["fd_inf"]
    fixed = FeatureStatistics.from_features(R)
    by_hand = [gm.frechet_distance(G[GROUPS[0] != group], fixed) for group in range(NUM_GROUPS)]
    line = gm.frechet_infinity(G, fixed)
    assert found.value == pytest.approx(line.value, rel=1e-9)
    assert found.standard_error == pytest.approx(line.scatter * jackknife(by_hand), rel=1e-6)
    assert "this reference" in found.details["one_sided"] and ("of_the_reference" in found.details) == rows


def test_an_extrapolated_distance_needs_generated_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "out.npz", mu=np.zeros(8), sigma=np.eye(8))
    with pytest.raises(gm.TooFewImages, match="single generated images"):
        gm.evaluate(tmp_path / "out.npz", R, metrics="fd_inf")


def test_an_extrapolated_class_score() -> None:
    logits = (2 * np.random.default_rng(3).standard_normal((400, 6))).astype(np.float32)
    sides = features(G, logits), features(R)
    found = score_of("class_score_inf", *sides)
    by_hand = [
        gm.inception_score(logits[GROUPS[0] != group], splits=1, shuffle=False).mean for group in range(NUM_GROUPS)
    ]
    line = inception_score_infinity(logits)
    assert found.value == line.value == score_of("class_score_inf", *sides, intervals=False).value
    assert found.standard_error == pytest.approx(line.scatter * jackknife(by_hand), rel=1e-9)
    assert found.interval[0] < found.value < found.interval[1]


# Where nothing is said


def says_why_not(score: Score, words: str) -> bool:
    return (
        score.value is not None
        and score.interval is None
        and score.standard_error is None
        and score.details["no_interval"].startswith("no interval: ")
        and words in score.details["no_interval"]
    )


def test_features_that_point_evenly_in_all_directions() -> None:
    """Where the jackknife of a Vendi score is up to 1.5 times too wide."""
    noise = np.random.default_rng(4).standard_normal((600, 16)).astype(np.float32)
    report = gm.evaluate(noise, noise[::-1] + 1, metrics="vendi")
    assert says_why_not(report.scores["vendi"], "evenly")
    assert "No interval: the score cannot be told from" in " ".join(report.to_markdown().split())
    assert says_why_not(score_of("vendi", features(G), features(R), order=2.0), "order 1")


@pytest.mark.parametrize("scale", [0.05, 20])
def test_all_generated_images_in_or_out_of_every_ball(scale: float) -> None:
    score = gm.evaluate(scale * G, R, metrics="alpha_precision").scores["alpha_precision"]
    assert abs(score.value) < 0.1 and says_why_not(score, "in every ball or in none")


def test_one_reference_image_near_to_many() -> None:
    """The middle one of collapsed images that surround it."""
    scores = gm.evaluate(0.1 * G, R, metrics="authenticity,beta_recall").scores
    assert says_why_not(scores["authenticity"], "is the nearest of") and scores["beta_recall"].interval


def test_settings_for_which_nothing_was_measured() -> None:
    found = score_of("two_sample", features(G), features(R), classifier="neighbours")
    assert says_why_not(found, "binomial") and "of_the_test_images" not in found.details
    found = score_of("authenticity", features(G), features(R), mode="reference-bug")
    assert says_why_not(found, "the paper's definition")


def test_few_images() -> None:
    """From 40 different rows there are groups, from 200 blocks."""
    scores = gm.evaluate(G[:150], R[:150], metrics="alpha_precision,beta_recall,authenticity,nearest_neighbour").scores
    assert scores.pop("alpha_precision").interval
    assert all(says_why_not(score, "fewer than 200") for score in scores.values())
    for score in gm.evaluate(G[:30], R, metrics=KEYS).scores.values():
        assert score.interval is None and score.standard_error is None


def test_sides_that_lie_apart_and_sides_that_are_copies() -> None:
    """Shares of 0 and 1 are not certain, and what nothing changes is not said to be."""
    apart = gm.evaluate(G + 50, R, metrics="beta_recall,nearest_neighbour").scores
    assert (
        apart["beta_recall"].value == BOUNDS[0] == apart["beta_recall"].interval[0] < apart["beta_recall"].interval[1]
    )
    assert apart["nearest_neighbour"].interval == (pytest.approx(1 - 3 / 800), 1.0)
    copies = gm.evaluate(R, R, metrics="authenticity,nearest_neighbour").scores
    for score in copies.values():
        low, high = score.interval
        assert score.value < 0.05 and low <= score.value < high < 0.1


# What 95 % means


def pair(stream: np.random.Generator, shift: float, scale: float, dimension: int, count: int) -> tuple[Any, Any]:
    generated = stream.standard_normal((count, dimension)) * scale
    generated[:, 0] += shift
    return generated.astype(np.float32), stream.standard_normal((count, dimension)).astype(np.float32)


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.5, 1.2)])
def test_coverage_of_what_looks_at_neighbours(shift: float, scale: float) -> None:
    """Against the mean over 500 fresh pairs at the same N: D = 16, N = 600, both sides drawn anew."""

    def values(g: Any, r: Any) -> tuple[float, ...]:
        found = alpha_precision(g, r)
        accuracies = classifier_two_sample(g, r).accuracy, nearest_neighbour_accuracy(g, r).accuracy
        return found.delta_precision_alpha, found.delta_coverage_beta, found.authenticity, *accuracies

    keys = (*NEIGHBOURS, "two_sample", "nearest_neighbour")
    draws = (pair(np.random.default_rng([8, index]), shift, scale, 16, 600) for index in range(500))
    truth = dict(zip(keys, np.mean([values(*draw) for draw in draws], axis=0), strict=True))
    hits: dict[str, list[bool]] = {key: [] for key in keys}
    for repetition in range(200):
        scores = gm.evaluate(*pair(np.random.default_rng([7, repetition]), shift, scale, 16, 600), metrics=keys).scores
        for key, score in scores.items():
            if score.interval:
                hits[key].append(score.interval[0] <= truth[key] <= score.interval[1])
    print(f"shift {shift}, scale {scale}: { ({key: (len(held), np.mean(held)) for key, held in hits.items()}) }")
    for held in hits.values():
        assert len(held) >= 190 and 0.90 <= np.mean(held) <= 0.99


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("shift", "power", "dimension", "count"),
    [(1.0, 0.0, 16, 600), (0.0, 0.5, 64, 600), (0.0, 1.0, 64, 600), (0.0, 0.5, 256, 200), (0.2, 0.5, 128, 2000)],
)
def test_coverage_of_the_vendi_score(shift: float, power: float, dimension: int, count: int) -> None:
    """Against the mean over 500 fresh sets at the same N; deviations fall as k^−power."""

    def rows(stream: np.random.Generator) -> Any:
        some = stream.standard_normal((count, dimension)) * np.arange(1, dimension + 1) ** -power
        some[:, 0] += shift
        return some.astype(np.float32)

    truth = np.mean([vendi_score(rows(np.random.default_rng([8, index]))) for index in range(500)])
    real = rows(np.random.default_rng(9))
    hits = []
    for repetition in range(200):
        score = gm.evaluate(rows(np.random.default_rng([7, repetition])), real, metrics="vendi").scores["vendi"]
        hits.append(score.interval[0] <= truth <= score.interval[1])
    print(f"Vendi score, shift {shift}, k^−{power}, {count} × {dimension}: {np.mean(hits):.1%}")
    assert 0.90 <= np.mean(hits) <= 0.99


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_coverage_of_the_extrapolated_distance(tmp_path: Path) -> None:
    """Against the closed form of two normal distributions, D = 256, N = 5,000, with an exact reference."""
    np.savez(tmp_path / "real.npz", mu=np.zeros(256), sigma=np.eye(256))
    truth = 2.0**2 + 256 * (1.1 - 1) ** 2
    hits, value = [], 0.0
    for repetition in range(200):
        g, _ = pair(np.random.default_rng([7, repetition]), 2.0, 1.1, 256, 5000)
        score = gm.evaluate(g, tmp_path / "real.npz", metrics="fd_inf").scores["fd_inf"]
        value += score.value / 200
        hits.append(score.interval[0] <= truth <= score.interval[1])
    print(f"extrapolated Fréchet distance (mean {value:.4f} of {truth:.4f}): {np.mean(hits):.1%}")
    assert 0.90 <= np.mean(hits) <= 0.99


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_coverage_of_the_extrapolated_class_score(tilt: float) -> None:
    """Against the score of a million images: 10 classes, N = 600."""

    def logits(stream: np.random.Generator, count: int) -> Any:
        return (2 * stream.standard_normal((count, 10)) + tilt * np.arange(10)).astype(np.float32)

    truth = gm.inception_score(logits(np.random.default_rng(8), 1_000_000), splits=1, shuffle=False).mean
    hits = []
    for repetition in range(200):
        stream = np.random.default_rng([7, repetition])
        generated = features(stream.standard_normal((600, 2)), logits(stream, 600))
        low, high = score_of("class_score_inf", generated, generated).interval
        hits.append(low <= truth <= high)
    print(f"extrapolated class score, tilt {tilt}: {np.mean(hits):.1%}")
    assert 0.90 <= np.mean(hits) <= 0.99
