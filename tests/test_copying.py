"""Copies and leaks: the exact rank test, closeness, the published numbers, duplicates, and the whole search.

Golden values are those of spec §4.13–4.18 and of its §1 on the arrays of `tests.golden`, or worked out by hand.
"""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

import genmetrics_rt as gm
from genmetrics_rt.copying.closeness import TrainingSet, set_aside
from genmetrics_rt.copying.duplicates import same_bytes
from genmetrics_rt.copying.finding import find, find_copies
from genmetrics_rt.copying.likelihood import fld, mixture_nll
from genmetrics_rt.copying.likeness import SURELY_THE_SAME, Thumbnail, are_the_same, likeness
from genmetrics_rt.copying.published import (
    auth_pct,
    copying_z,
    ct_score,
    mifid,
    nearest_neighbour_ratio,
)
from genmetrics_rt.copying.tail import copied_share, tail_test
from genmetrics_rt.errors import FeatureMismatch, InputError, NonFiniteFeatures, TooFewImages
from genmetrics_rt.sides import SHIPPED_IMAGES
from tests import makers
from tests.golden import T, X, Y


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The shipped digits: the 1,200 of training, which the example generators saw, and the 597 held out."""
    with np.load(SHIPPED_IMAGES["digits"]) as stored:
        return stored["images"][stored["is_train"]], stored["images"][~stored["is_train"]]


def moved(image: np.ndarray, dy: int, dx: int) -> np.ndarray:
    padded = np.pad(image, 2, mode="edge")
    return padded[2 + dy : 2 + dy + image.shape[0], 2 + dx : 2 + dx + image.shape[1]]


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def colour(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=-1)


# The rank test.


def test_all_generated_images_first_is_one_order_of_many() -> None:
    """3 generated before everything, N = 20: R = 10, so 3 among 12 places: 1 / C(12, 3) = 1/220; 3 ln(12/3) nats."""
    test = tail_test([-3, -2, -1], np.arange(20))
    assert test.p_value == pytest.approx(1 / 220, rel=1e-9)
    assert test.statistic == pytest.approx(3 * math.log(4), rel=1e-12)
    assert (test.num_front, test.generated_front) == (3, 3)
    assert test.generated_expected == pytest.approx(3 * 3 / 12)


def naive_statistic(is_generated: tuple[int, ...], num_levels: int) -> float:
    """Straight from the definition: before each of the first fresh values, and at the end of the row for the last."""
    chance, best, row = sum(is_generated) / len(is_generated), 0.0, (*is_generated, 0)
    for h, place in enumerate([at for at, mine in enumerate(row) if not mine][:num_levels]):
        i, j = place - h, place
        if j and i / j > chance:
            kl = i * math.log(i / (j * chance)) + (h * math.log(h / (j * (1 - chance))) if h else 0)
            best = max(best, kl)
    return best


@pytest.mark.parametrize("num_fresh", [60, 100, 140])
def test_the_p_value_is_the_share_of_orders_that_are_as_extreme(num_fresh: int) -> None:
    """Against the enumeration of all orders of the bulk: 6 generated beside 9 or 13 fresh; 2 or 3 levels."""
    rng = np.random.default_rng(num_fresh)
    num_bulk, num_levels = max(10, math.ceil(num_fresh / 10)), math.ceil(num_fresh / 50)
    fresh = np.arange(num_fresh, dtype=float)
    places = list(itertools.combinations(range(num_bulk + 5), 6))
    orders = [tuple(int(at in chosen) for at in range(num_bulk + 5)) for chosen in places]
    statistics = np.array([naive_statistic(order, num_levels) for order in orders])
    for pick in [0, 3, *rng.choice(len(orders), 20, replace=False).tolist()]:
        ranks = np.flatnonzero(orders[pick])
        generated = [rank - number - 0.5 for number, rank in enumerate(ranks)]  # just before a fresh value
        expected = (statistics >= statistics[pick] - 1e-9).mean() if statistics[pick] > 0 else 1.0
        assert tail_test(generated, fresh).p_value == pytest.approx(expected, rel=1e-9)


def test_only_the_order_counts_and_the_bulk_does_not() -> None:
    rng = np.random.default_rng(0)
    g, f = rng.gamma(2, size=300), rng.gamma(2, size=200)
    assert tail_test(np.exp(3 * g), np.exp(3 * f)).p_value == tail_test(g, f).p_value
    far = np.where(g > np.quantile(f, 0.2), 1e9, g)  # what lies beyond the lower tail may be anywhere
    assert tail_test(far, f).p_value == tail_test(g, f).p_value


def test_a_model_that_prefers_typical_images_raises_no_alarm() -> None:
    """Twice as many images all through the lower tail, by construction: no copies. C_T's Z does raise one."""
    rng = np.random.default_rng(3)
    fresh, generated = rng.random(2000), rng.random(4000)
    generated[generated > 0.5] = rng.random((generated > 0.5).sum()) / 2  # density 2 below one half, 0 above
    assert copying_z(generated, fresh) < -20
    assert tail_test(generated, fresh).p_value > 0.05


def test_ties_are_broken_by_the_seed_and_keep_the_level() -> None:
    """A tenth of both sides is exact copies, at 0: exchangeable, so no alarm more than 5 % of the time."""
    zeros = np.where(np.arange(300) < 30, 0.0, 1.0)
    p_values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        p_values.append(tail_test(zeros * rng.random(300), zeros[::-1] * rng.random(300), seed=seed).p_value)
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.09
    assert tail_test(zeros, zeros, seed=7) == tail_test(zeros, zeros, seed=7)


def test_the_share_of_copies() -> None:
    """N = 100, so level 1 of the 10 in the bulk. 8 generated below it and 9 between: 8 − 9 · 1/9 = 7 of 100."""
    generated = np.concatenate([np.full(8, -1.0), np.linspace(0.5, 8.5, 9), np.full(83, 1e3)])
    share = copied_share(generated, np.arange(100.0))
    assert share.value == pytest.approx(0.07)
    assert (share.threshold, share.num_below, share.expected_below) == (0.0, 8, pytest.approx(1.0))
    assert share.interval[0] < 0.07 < share.interval[1]
    assert copied_share(np.full(50, -1.0), np.arange(100.0)).value == 1.0
    assert copied_share(np.full(50, 1e3), np.arange(100.0)).value == 0.0


@pytest.mark.parametrize("planted", [0.0, 0.05, 0.3])
def test_the_interval_of_the_share_covers(planted: float) -> None:
    """300 seeded sets with a known share of copies; 95 % is promised, at least 90 % must hold."""
    held = 0
    for seed in range(300):
        rng = np.random.default_rng([seed, 1])
        generated = rng.random(600)
        generated[: round(planted * 600)] = -rng.random(round(planted * 600))
        low, high = copied_share(generated, rng.random(500), seed=seed).interval
        held += low <= planted <= high
    assert held >= 270


def test_too_few_and_no_order() -> None:
    with pytest.raises(TooFewImages, match="at least 20"):
        tail_test([1.0], np.arange(19))
    with pytest.raises(TooFewImages):
        copied_share(np.empty(0), np.arange(30))
    with pytest.raises(NonFiniteFeatures):
        tail_test([math.nan], np.arange(30))
    with pytest.raises(InputError, match="one number an image"):
        tail_test(np.zeros((3, 1)), np.arange(30))


# Closeness.

LINE = column(0, 1, 3, 7, 15, 31)


def test_closeness_on_a_line() -> None:
    """2.9: nearest 3 at 0.1, whose nearest others are 1 (2), 0 (3), 7 (4)."""
    for nearest_k, scale in ((1, 2), (2, 3), (3, 4)):
        close = TrainingSet(LINE, nearest_k=nearest_k).closeness(column(2.9, 40))
        assert close.nearest.tolist() == [2, 5]
        assert close.ratio[0] == pytest.approx(0.1 / scale, rel=1e-9)
    assert close.distance[1] == pytest.approx(9)
    assert close.authentic.tolist() == [False, False]  # 2 > 0.1, and 16 > 9
    assert TrainingSet(LINE, nearest_k=1).closeness(column(50)).authentic.tolist() == [True]  # 16 < 19


def test_twins_count_once_for_the_scale_and_twice_for_authpct() -> None:
    doubled = np.concatenate([LINE, LINE[2:3]])
    close, single = TrainingSet(doubled).closeness(column(2.9)), TrainingSet(LINE).closeness(column(2.9))
    assert close.ratio[0] == single.ratio[0]
    assert close.authentic[0] and not single.authentic[0]  # its twin is at 0, nearer than 0.1


@pytest.mark.parametrize("flips", [False, True])
def test_closeness_is_that_of_float64(flips: bool) -> None:
    rng = np.random.default_rng(0)
    train, mirrored, other = (rng.normal(size=(n, 6)).astype(np.float32) for n in (300, 300, 200))
    close = TrainingSet(train, mirrored if flips else None).closeness(other)
    distance = cdist(other, train)
    if flips:
        flipped = cdist(other, mirrored)
        assert np.array_equal(close.mirrored, flipped.min(axis=1) < distance.min(axis=1))
        distance = np.minimum(distance, flipped)
    inside = np.sort(cdist(train, train), axis=1)
    assert np.array_equal(close.nearest, distance.argmin(axis=1))
    assert close.ratio == pytest.approx(distance.min(axis=1) / inside[close.nearest, 3], rel=1e-9)
    assert 100 * close.authentic.mean() == pytest.approx(auth_pct(other, train))


def test_what_is_set_aside() -> None:
    """A fifth, in order, that no twin and no excluded row is among; at least 20."""
    rows = np.arange(200.0)[:, None]
    rows[:10] = rows[10:20]
    aside, rest = set_aside(rows, without=range(20, 100))
    assert len(aside) == 40 and aside.min() >= 100
    assert np.array_equal(np.sort(np.concatenate([aside, rest])), np.arange(200))
    assert np.array_equal(set_aside(rows, without=range(20, 100))[0], aside)
    assert len(set_aside(rows[100:150])[0]) == 20
    with pytest.raises(TooFewImages, match="held-out"):
        set_aside(rows[100:139])


def test_what_a_training_set_refuses() -> None:
    with pytest.raises(TooFewImages, match="takes 4"):
        TrainingSet(LINE[:3])
    with pytest.raises(FeatureMismatch, match="mirrored"):
        TrainingSet(LINE, LINE[:5])
    with pytest.raises(FeatureMismatch, match="2 dimensions"):
        TrainingSet(LINE).closeness(np.zeros((3, 2)))
    with pytest.raises(InputError, match="nearest_k"):
        TrainingSet(LINE, nearest_k=0)


# The published numbers.


def test_auth_pct() -> None:
    """Spec §4.13: {0,1,10} and {.1,3,12,30} → 50 %; copies → 0; far → 100. Golden arrays: §1."""
    assert auth_pct(column(0.1, 3, 12, 30), column(0, 1, 10)) == 50
    assert auth_pct(T, T) == 0
    assert auth_pct(T + 1e3, T) == 100
    assert auth_pct(Y, T) == pytest.approx(71.6)
    assert auth_pct(X, T) == pytest.approx(60.4)
    with pytest.raises(TooFewImages):
        auth_pct(column(1), column(0))


def test_mifid() -> None:
    """Spec §4.15: m in both directions, τ not reached, and the guard; §1 on the golden arrays."""
    g, t = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[1.0, 0], [1, 0.1]])
    assert mifid(g, t).memorisation == pytest.approx(0.37551299392522663, rel=1e-12)
    assert mifid(g, t, direction="train_to_gen").memorisation == pytest.approx(0.002481404895005368, rel=1e-9)
    apart = mifid(np.array([[1.0, 1], [1, -1]]), np.eye(2))
    assert apart.memorisation == pytest.approx(0.2928932188, rel=1e-9)
    assert apart.value == pytest.approx(apart.frechet, rel=1e-12)  # m ≥ 0.1
    doubled = mifid(np.eye(2), 2 * np.eye(2))
    assert (doubled.memorisation, doubled.frechet) == (0, pytest.approx(1.5))
    assert doubled.value == pytest.approx(1.5e15, rel=1e-9)
    assert mifid(T, T).value == 0  # not 0 / 0
    assert mifid(Y, T).memorisation == pytest.approx(0.111285979698, rel=1e-9)
    assert mifid(Y, T, direction="train_to_gen").memorisation == pytest.approx(0.111532659098, rel=1e-9)
    assert mifid(Y, T, reference=X).frechet == pytest.approx(1.280357231676, rel=1e-9)
    with pytest.raises(InputError, match="direction"):
        mifid(g, t, direction="both")
    with pytest.raises(TooFewImages):
        mifid(np.array([[1.0, -1], [2, -2]]), t)  # every sum is 0


def test_the_z_of_data_copying() -> None:
    """Spec §4.17, and §1: U = 175511 of the golden arrays gives 11.060986074."""
    assert copying_z([0] * 4, [1] * 4) == pytest.approx(-2.165063509461097, rel=1e-12)
    assert copying_z([1] * 4, [0] * 4) == pytest.approx(2.4537386440559095, rel=1e-12)
    assert copying_z([1, 3, 5, 7], [2, 4, 6, 8]) == pytest.approx(-0.4330127019, rel=1e-9)
    assert copying_z([1, 1], [1, 1]) == pytest.approx(0.3872983346, rel=1e-9)
    near = [cdist(rows, T).min(axis=1) for rows in (Y, X)]
    assert copying_z(*near) == pytest.approx(11.060986074, rel=1e-9)


def test_ct_score() -> None:
    """One cell is the golden Z. Copies lie far below 0 in every cell, and the test set itself at the Z of ties."""
    assert ct_score(Y, T, X, num_cells=1).value == pytest.approx(11.060986074, rel=1e-9)
    copies = ct_score(T, T, X)
    assert copies.value < -10 and max(copies.cells) < -5
    assert sum(copies.test_shares) == pytest.approx(1)
    assert ct_score(X, T, X).value == pytest.approx(0, abs=1e-3)  # ½ / sqrt(mn(m + n + 1)/12) in each cell
    kept = ct_score(T, T, X, min_share=0.35)  # one cell holds more of them than that
    assert sorted(map(math.isnan, kept.cells)) == [False, True, True]
    assert kept.value == min(z for z in kept.cells if not math.isnan(z))
    with pytest.raises(TooFewImages, match="No cell"):
        ct_score(Y, T, X, min_share=1.0)
    wide = np.random.default_rng(0).normal(size=(600, 80))
    assert abs(ct_score(wide[:200], wide[200:400], wide[400:]).value) < 3  # in 64 components


def test_nearest_neighbour_ratio() -> None:
    """0.1 lies 0.1 from 0 and 0.9 from 1; against the held-out 5: 0.1 / 4.9."""
    ratio, share = nearest_neighbour_ratio(column(0.1, 0.5), column(0, 1))
    assert ratio.tolist() == pytest.approx([1 / 9, 1])
    assert share == 0.5
    ratio, _ = nearest_neighbour_ratio(column(0.1), column(0, 1), column(5))
    assert ratio.tolist() == pytest.approx([0.1 / 4.9])
    assert nearest_neighbour_ratio(column(0, 2), column(0, 0, 5))[0].tolist() == [1, 1]  # twins: d₁ = d₂
    assert nearest_neighbour_ratio(T, T)[1] == 1


def test_mixture_likelihood() -> None:
    """Spec §4.16: a centre that is hit, and two at distance 1, in one dimension with variance 1."""
    assert mixture_nll(column(0), column(0), [0]) == pytest.approx(0.9189385332, rel=1e-9)
    assert mixture_nll(column(0), column(1, -1), [0, 0]) == pytest.approx(1.4189385332, rel=1e-9)


def test_fld_of_fresh_images_and_of_copies() -> None:
    """Fresh images in the place of a fresh half of the training set: about 0 (spec §4.16). Copies: far above."""
    rows = np.random.default_rng(0).normal(size=(1400, 8))
    train, test = rows[:600], rows[600:1000]
    fresh, copies = fld(rows[1100:], train, test), fld(train[:300] + 1e-3, train, test)
    assert abs(fresh.value) < 3
    assert copies.value > 100 and copies.generalisation_gap < -100
    assert fld(rows[1100:], train, test) == fresh  # seeded
    assert fld(rows[1100:] + 3, train, test).value > 20


# Pixels and bytes.


@pytest.mark.parametrize(
    "change",
    [
        lambda image: moved(image, 0, 1),
        lambda image: moved(image, 2, -1),
        lambda image: image[:, ::-1],
        lambda image: as_jpeg(image, 80),
        lambda image: as_jpeg(np.ascontiguousarray(moved(image, 1, 0)[:, ::-1]), 60),
        lambda image: np.asarray(Image.fromarray(image[1:-1, 1:-1]).resize((32, 32), Image.Resampling.BILINEAR)),
    ],
)
def test_a_changed_picture_is_still_the_same(digits: tuple[np.ndarray, np.ndarray], change) -> None:
    for image in digits[0][:20]:
        assert likeness(Thumbnail(colour(image)), Thumbnail(colour(np.ascontiguousarray(change(image))))) > 0.998


def test_different_pictures_are_not_the_same(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """Digits of one class: the most alike pair of the whole set reaches 0.9961 (measured on all of them)."""
    for one, other in itertools.pairwise(digits[0][:40]):
        assert likeness(Thumbnail(colour(one)), Thumbnail(colour(other))) < SURELY_THE_SAME
    flat = Thumbnail(np.full((32, 32, 3), 90, np.uint8))
    assert likeness(flat, flat) < 0.5  # nothing to see: bytes decide on these


def test_in_doubt_the_neighbours_decide() -> None:
    assert are_the_same(0.9995, [0.9994] * 4)
    assert not are_the_same(0.98, [0.1] * 4)
    assert are_the_same(0.99, [0.9] * 4) and not are_the_same(0.99, [0.95] * 4)
    assert are_the_same(0.99, [0.99, 0.9, 0.9, 0.9, 0.1])  # one more duplicate among them
    assert not are_the_same(0.99, [])


def test_the_same_bytes() -> None:
    assert [(pair.first, pair.second) for pair in same_bytes(["a", "b", "a"])] == [(0, 2)]
    assert [(pair.first, pair.second) for pair in same_bytes(["x", "a"], ["b", "a", "a"])] == [(1, 1)]


# The whole search.


def test_find_sees_planted_copies_and_no_others() -> None:
    rng = np.random.default_rng(0)
    fresh = rng.normal(size=(2500, 8)) * rng.lognormal(0, 1, (2500, 1))
    train, heldout, generated = fresh[:1000], fresh[1000:1500], fresh[1500:].copy()
    generated[:50] = train[:50] + 0.01 * rng.normal(size=(50, 8))
    found, clean = find(generated, train, heldout), find(fresh[1550:], train, heldout)
    assert found.test.p_value < 1e-6 and clean.test.p_value > 0.05
    assert found.copied.interval[0] <= 0.05 <= found.copied.interval[1]
    closest = np.argsort(found.generated.ratio)[:45]
    assert (closest < 50).mean() > 0.9
    assert np.array_equal(found.generated.nearest[closest[closest < 50]], closest[closest < 50])
    alone = find(generated, train)  # a fifth of the training set stands for held-out rows
    assert alone.test.p_value < 0.01 and alone.calibration == "set aside" and len(alone.fresh.ratio) == 200
    assert alone.copied.interval[0] <= 0.05 <= alone.copied.interval[1]
    assert np.array_equal(alone.generated.ratio, found.generated.ratio)


@pytest.fixture(scope="module")
def searched(digits: tuple[np.ndarray, np.ndarray]):
    """180 digits against 200 with copies planted, and a leak of each kind into 100 held-out ones."""
    train, other = digits[0][:200], digits[1]
    generated, heldout = other[100:280].copy(), other[:100].copy()
    for row in range(20):
        generated[row] = as_jpeg(moved(train[10 * row], 0, 1), 80)
    generated[20] = train[5][:, ::-1]
    heldout[0], heldout[1], heldout[2] = train[0], as_jpeg(moved(train[7], 1, 0), 80), train[9][:, ::-1]
    return find_copies(generated, train, heldout, num_pairs=25)


def test_the_search_finds_what_was_planted(searched) -> None:
    assert searched.p_value < 0.01 and searched.copies_found
    planted = [pair for pair in searched.pairs if pair.generated_row <= 20]
    assert len(planted) >= 19
    assert all(pair.train_row == 10 * pair.generated_row for pair in planted if pair.generated_row < 20)
    (flipped,) = [pair for pair in planted if pair.generated_row == 20]
    assert flipped.mirrored and flipped.train_row == 5 and flipped.distance < 1e-2
    assert all(pair.same_picture for pair in planted)
    assert not any(pair.same_picture for pair in searched.pairs if pair.generated_row > 20)
    assert searched.calibration == "held-out"
    assert [finding.severity for finding in searched.findings][:2] == ["problem", "problem"]


def test_the_search_finds_the_leak_and_nothing_else(searched) -> None:
    leak = searched.duplicates["leak"]
    assert (leak.num_exact, leak.num_near, leak.share) == (1, 2, 0.03)
    assert {(pair.first, pair.second) for pair in leak.pairs} == {
        ("image 0", "image 0"),
        ("image 1", "image 7"),
        ("image 2", "image 9"),
    }
    for side in ("train", "heldout", "generated"):
        assert searched.duplicates[side].num_exact + searched.duplicates[side].num_near == 0


def test_the_search_as_json_html_and_text(searched) -> None:
    record = json.loads(searched.to_json())
    assert record["schema"] == "genmetrics.copies/1"
    assert record["p_value"] == searched.p_value and record["copied"]["value"] == searched.copied.value
    assert len(record["ratio"]) == 180 and "jpeg" not in searched.to_json()
    page = searched.to_html()
    assert page.startswith("<!doctype html>") and page.count("data:image/jpeg") == 2 * 25 + 2 * 3
    assert "<script" not in page and "http://" not in page and "https://" not in page
    for width in (40, 100):
        assert max(map(len, searched.to_text(width=width).splitlines())) <= width
    assert "The model copies training images." in str(searched)


def test_without_held_out_images_it_says_so_and_features_will_do() -> None:
    rng = np.random.default_rng(5)
    report = find_copies(rng.normal(size=(150, 6)), rng.normal(size=(200, 6)))
    assert report.calibration == "set aside" and report.heldout is None
    assert "without held-out images" in report.findings[0].evidence
    assert report.duplicates == {} and report.settings["mirrored"] is False
    assert report.pairs[0].generated.startswith("row ") and report.pairs[0].same_picture is None
    assert "<table>" in report.to_html()
    assert report.scores["auth_pct"] == pytest.approx(100 * np.mean(find_authentic(report)))


def find_authentic(report) -> np.ndarray:
    rng = np.random.default_rng(5)
    generated, train = rng.normal(size=(150, 6)), rng.normal(size=(200, 6))
    inside = np.sort(cdist(train, train), axis=1)[:, 1]
    return inside[report.nearest] < cdist(generated, train).min(axis=1)


def test_mirrored_features_are_cached_and_can_be_left_out(tiny: Path, tmp_path: Path) -> None:
    train = makers.image_folder(tmp_path / "train", 30, seed=1)
    generated, heldout = (makers.pictures(25, seed=seed) for seed in (2, 3))
    seen: dict[str, int] = {}

    def watch(progress: gm.Progress) -> None:
        seen[progress.stage] = progress.from_cache

    first = find_copies(generated, train, heldout, extractor=tiny, progress=watch)
    assert seen["mirrored"] == 0 and first.settings["mirrored"] is True
    again = find_copies(generated, train, heldout, extractor=tiny, progress=watch)
    assert seen == {"train": 30, "mirrored": 30, "held-out": 25, "generated": 25}
    assert np.array_equal(again.ratio, first.ratio)
    seen.clear()
    plain = find_copies(generated, train, heldout, extractor=tiny, progress=watch, mirrored=False, duplicates=False)
    assert "mirrored" not in seen and plain.duplicates == {} and not plain.mirrored.any()


def test_what_the_search_refuses(tiny: Path, tiny_generator: Path) -> None:
    images = makers.pictures(30)
    with pytest.raises(InputError, match="real images"):
        find_copies(images, tiny_generator, extractor=tiny)
    with pytest.raises(FeatureMismatch, match="features"):
        find_copies(images, np.zeros((30, 4)), extractor=tiny)
    with pytest.raises(FeatureMismatch, match="generated 3"):
        find_copies(np.eye(30)[:, :3], X, Y)
    with pytest.raises(TooFewImages, match="held-out"):
        find_copies(images, makers.pictures(30, seed=1), makers.pictures(5, seed=2), extractor=tiny)
    with pytest.raises(InputError, match="num_pairs"):
        find_copies(images, images, extractor=tiny, num_pairs=-1)


# The heavy evidence.


@pytest.mark.proof
@pytest.mark.parametrize(
    ("generator", "copies"), [("digits-memoriser", True), ("digits-vae", False), ("digits-gan", False)]
)
def test_the_memoriser_is_caught_and_the_others_are_not(
    digits: tuple[np.ndarray, np.ndarray], generator: str, copies: bool
) -> None:
    for heldout in (digits[1], None):
        report = find_copies(generator, digits[0], heldout, duplicates=False)
        assert report.copies_found is copies, (generator, report.p_value)
        if copies:
            assert report.p_value < 1e-6 and report.copied.interval[0] > 0.95
        else:
            assert report.copied.value < 0.02


def clumps(rng: np.random.Generator, count: int) -> np.ndarray:
    """Rows in clumps whose widths span a factor of a thousand: heavy variation of the local density."""
    centre = rng.integers(40, size=count)
    layout = np.random.default_rng(99)
    width = np.exp(layout.uniform(-5, 2, 40))
    return 3 * layout.normal(size=(40, 6))[centre] + width[centre, None] * rng.normal(size=(count, 6))


@pytest.mark.proof
@pytest.mark.parametrize("calibration", ["held-out", "set aside"])
def test_the_level_holds_on_clumps(calibration: str) -> None:
    p_values = []
    for seed in range(500):
        rows = clumps(np.random.default_rng([seed, 2]), 900)
        heldout = rows[400:600] if calibration == "held-out" else None
        p_values.append(find(rows[600:], rows[:400], heldout, seed=seed).test.p_value)
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.08
    assert min(p_values) >= 1e-4


@pytest.mark.proof
@pytest.mark.parametrize("calibration", ["held-out", "set aside"])
def test_the_level_holds_on_splits_of_the_digits(digits: tuple[np.ndarray, np.ndarray], calibration: str) -> None:
    values = gm.extract_features("digits").values
    p_values = []
    for seed in range(500):
        rows = values[np.random.default_rng([seed, 3]).permutation(len(values))]
        heldout = rows[600:1100] if calibration == "held-out" else None
        p_values.append(find(rows[1100:], rows[:600], heldout, seed=seed).test.p_value)
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.08
    assert min(p_values) >= 1e-4


@pytest.mark.proof
def test_five_percent_of_near_copies_are_caught_and_found(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """50 training digits, shifted by 1 px and compressed (quality 80), among 950 fresh ones."""
    every = np.concatenate(digits)[np.random.default_rng(4).permutation(1797)]
    train, heldout, generated = every[:450], every[450:797], every[797:].copy()
    for row in range(50):
        generated[row] = as_jpeg(moved(train[9 * row], *((0, 1), (1, 0), (0, -1), (-1, 0))[row % 4]), 80)
    report = find_copies(generated, train, heldout, num_pairs=50)
    assert report.p_value < 0.01
    assert report.copied.interval[0] <= 0.05 <= report.copied.interval[1]
    found = [pair for pair in report.pairs if pair.generated_row < 50 and pair.train_row == 9 * pair.generated_row]
    assert len(found) >= 45
    same = [pair for pair in report.pairs if pair.same_picture]
    assert len(same) >= 45 and all(pair.generated_row < 50 for pair in same)
