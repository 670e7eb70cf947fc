"""The playground's engine: faults do what the knobs say, stories are true by measured numbers, drawings are sound."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import genmetrics_rt as gm

DEMO = Path(__file__).parents[1] / "demo"
sys.path.insert(0, str(DEMO))

from playground import digits, drawing, measure, mixture, stories  # noqa: E402
from playground.digits import DigitKnobs  # noqa: E402
from playground.measure import Measured, measure_points, perfect_points, reading  # noqa: E402
from playground.mixture import Knobs  # noqa: E402

SEEDS = 12


@functools.cache
def means(knobs: Knobs, seeds: int = SEEDS) -> dict[str, float]:
    """Each score's mean over seeds."""
    steps = [measure_points(replace(knobs, seed=seed))[1] for seed in range(seeds)]
    return {name: float(np.mean([getattr(step, name) for step in steps])) for name in measure.SCORES}


@functools.cache
def mean_distance(knobs: Knobs, seeds: int) -> float:
    samples = [mixture.draw(replace(knobs, seed=seed)) for seed in range(seeds)]
    return float(np.mean([gm.frechet_distance(sample.generated, sample.reference) for sample in samples]))


# The mixture.


def test_posteriors_are_exact() -> None:
    from scipy.special import logsumexp
    from scipy.stats import multivariate_normal

    points = np.random.default_rng(0).uniform(-7, 7, (200, 2))
    density = np.stack(
        [multivariate_normal(centre, mixture.STD**2 * np.eye(2)).logpdf(points) for centre in mixture.real_centres()],
        axis=1,
    )
    ours = mixture.log_posteriors(points)
    np.testing.assert_allclose(ours, density - logsumexp(density, axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(np.exp(ours).sum(axis=1), 1, rtol=1e-12)


def test_inception_score_of_the_real_mixture_is_the_number_of_modes() -> None:
    points = mixture.draw(Knobs(num_points=2000)).held_out
    assert 7.9 < gm.inception_score(mixture.log_posteriors(points), splits=1).mean <= 8


def test_real_points_have_the_mixture_they_claim() -> None:
    points = mixture.draw(Knobs(num_points=2000)).held_out
    distance = np.linalg.norm(points[:, None] - mixture.real_centres(), axis=2).min(axis=1)
    # The mean distance from the centre of a round Gaussian is σ √(π/2), with a deviation of 0.66 σ.
    assert distance.mean() == pytest.approx(mixture.STD * np.sqrt(np.pi / 2), abs=4 * 0.66 * mixture.STD / 2000**0.5)


def test_seed_decides() -> None:
    knobs = Knobs(modes_dropped=2, modes_invented=1, noise=0.2, copies=0.3, num_points=60)
    first, again, other = (mixture.draw(replace(knobs, seed=seed)) for seed in (1, 1, 2))
    for name in ("generated", "training", "held_out"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    one, two = (measure_points(knobs)[1] for _ in range(2))
    assert all(getattr(one, name) == getattr(two, name) for name in measure.SCORES)


def test_a_knob_moves_only_what_it_is_about() -> None:
    before = mixture.draw(Knobs(copies=0.4, noise=0.3, num_points=100))
    after = mixture.draw(Knobs(copies=0.4, noise=0.3, num_points=100, blur=2))
    moved = (before.generated != after.generated).any(axis=1)
    assert moved.sum() == 42  # neither the 40 copies nor the 18 of noise
    np.testing.assert_array_equal(before.held_out, after.held_out)
    np.testing.assert_array_equal(before.training, after.training)


def test_faults_are_as_large_as_the_knobs_say() -> None:
    def nearest(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - mixture.real_centres(), axis=2).argmin(axis=1)

    dropped = nearest(mixture.draw(Knobs(modes_dropped=3)).generated)
    assert set(dropped) == {3, 4, 5, 6, 7}
    far = np.linalg.norm(mixture.draw(Knobs(modes_invented=2)).generated, axis=1) > 3.9
    assert far.mean() == pytest.approx(0.2, abs=4 * 0.4 / 500**0.5)
    narrow, wide = (mixture.draw(Knobs(blur=blur)).generated for blur in (0.5, 1.0))
    centres = mixture.real_centres()[nearest(narrow)]
    np.testing.assert_allclose(2 * (narrow - centres), wide - centres, atol=1e-12)


def test_copies_are_exact_and_each_once_before_any_twice() -> None:
    every = mixture.draw(Knobs(copies=1.0, num_points=80))
    np.testing.assert_array_equal(np.unique(every.generated, axis=0), np.unique(every.training, axis=0))
    some = mixture.draw(Knobs(copies=0.25, num_points=80))
    known = {tuple(point) for point in some.training}
    assert sum(tuple(point) in known for point in some.generated) == 20
    few = mixture.draw(Knobs(copies=1.0, modes_dropped=6, num_points=80)).generated
    _, counts = np.unique(few, axis=0, return_counts=True)
    assert counts.min() > 1 and counts.max() - counts.min() <= 1


def test_noise_fills_the_square() -> None:
    points = mixture.draw(Knobs(noise=1.0, num_points=2000)).generated
    assert np.abs(points).max() < mixture.HALF_WIDTH
    assert np.abs(points.mean(axis=0)).max() < 4 * mixture.HALF_WIDTH / 3**0.5 / 2000**0.5


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"modes_dropped": 9}, "modes_dropped is 9; it must be a whole number from 0 to 8"),
        ({"modes_dropped": 1.5}, "whole number"),
        ({"modes_invented": -1}, "from 0 to 8"),
        ({"blur": 0.0}, "from 0.1 to 4"),
        ({"blur": float("nan")}, "blur is nan"),
        ({"noise": 1.1}, "from 0 to 1"),
        ({"copies": -0.1}, "from 0 to 1"),
        ({"num_points": 19}, "from 20 to 2000"),
        ({"seed": -1}, "seed"),
        ({"modes_dropped": 8}, "Keep one mode, or invent one"),
        ({"modes_dropped": 8, "modes_invented": 1, "copies": 0.5}, "set copies to 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(knobs: dict[str, float], words: str) -> None:
    with pytest.raises(gm.InputError, match=words):
        Knobs(**knobs)  # type: ignore[arg-type]


def test_a_slider_may_say_2_point_0() -> None:
    assert Knobs(modes_dropped=2.0) == Knobs(modes_dropped=2)  # type: ignore[arg-type]
    assert mixture.draw(Knobs(modes_dropped=2.0)).generated.shape == (500, 2)  # type: ignore[arg-type]


def test_no_training_point_to_copy_is_said() -> None:
    found = []
    for seed in range(40):
        try:
            mixture.draw(Knobs(modes_dropped=7, copies=0.5, num_points=20, seed=seed))
        except gm.TooFewImages as error:
            found.append(str(error))
    assert found and all("nothing to copy" in message for message in found)


EXTREMES = [
    Knobs(num_points=20),
    Knobs(num_points=20, modes_dropped=7),
    Knobs(num_points=20, copies=1.0, against_training=True),
    Knobs(modes_dropped=8, modes_invented=8, blur=0.1),
    Knobs(modes_dropped=7, modes_invented=0, blur=0.1),
    Knobs(modes_dropped=8, modes_invented=1, blur=4.0, noise=1.0),
    Knobs(copies=1.0, against_training=True),
    Knobs(modes_invented=8, blur=4.0, noise=0.2, copies=0.3),
]


@pytest.mark.parametrize("knobs", EXTREMES)
def test_extremes_are_measured(knobs: Knobs) -> None:
    _, measured = measure_points(knobs)
    assert all(np.isfinite(getattr(measured, name)) for name in measure.SCORES)
    assert 0 <= measured.precision <= 1 and 0 <= measured.recall <= 1
    assert sum(measured.confusion) == knobs.num_points
    sentence = reading(measured, perfect_points(knobs.num_points))
    assert sentence.endswith(".") and "nan" not in sentence


# The measurements.


def test_scores_are_those_of_the_public_functions() -> None:
    sample, measured = measure_points(Knobs(modes_dropped=2, blur=1.5, copies=0.2, num_points=200))
    sides = sample.generated, sample.held_out
    told = gm.classifier_two_sample(*sides, classifier="neighbours")
    curve, inside = gm.prd_curve(*sides, num_runs=1), gm.precision_recall(*sides)
    assert (measured.precision, measured.recall) == (inside.precision, inside.recall)
    assert (measured.density, measured.coverage) == tuple(vars(gm.density_coverage(*sides)).values())
    assert measured.frechet_distance == gm.frechet_distance(*sides)
    assert (measured.accuracy, measured.confusion) == (told.accuracy, told.confusion)
    assert (measured.prd_f8, measured.prd_f1_8) == (curve.f8, curve.f1_8)
    assert measured.authentic == gm.auth_pct(sample.generated, sample.training) / 100


def test_a_perfect_model_has_nothing_that_stands_out() -> None:
    """Of 20 draws at each of three sizes at most 3 in all are called faulty, 1 being expected."""
    for_size = {size: perfect_points(size) for size in (20, 100, 500)}
    sentences = [
        reading(measure_points(Knobs(num_points=size, seed=seed))[1], perfect)
        for size, perfect in for_size.items()
        for seed in range(20)
    ]
    assert sum(not sentence.startswith("Nothing stands out") for sentence in sentences) <= 3
    assert "but little could" in sentences[0] and "but little could" not in sentences[-1]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        (
            Knobs(modes_dropped=4),
            r"Precision stays high \(0\.\d+\), recall fell to 0\.\d+: about (4\d|5\d)% of the real",
        ),
        (Knobs(modes_invented=4), r"Recall stays high .* precision fell to 0\.\d+: about (2\d|3\d)% of the generated"),
        (
            Knobs(modes_dropped=4, modes_invented=4),
            "Precision fell to .* and recall to .*Inception Score .* sees nothing",
        ),
        (
            Knobs(modes_dropped=8, modes_invented=8, blur=0.5),
            "nearly all of the generated points .* nearly all of the real points",
        ),
        (Knobs(blur=2.0), "precision fell .*the Fréchet distance hardly notices"),
        (Knobs(copies=1.0), "nearly all of the generated points repeat training points, and no other score shows it"),
        (Knobs(copies=0.5, against_training=True), "about 50% of the generated points are in the reference itself"),
    ],
)
def test_the_reading_names_the_fault(knobs: Knobs, words: str) -> None:
    assert re.search(words, reading(measure_points(knobs)[1], perfect_points(500)))


def test_wrong_proportions_are_read_from_the_distance() -> None:
    """Half of the mass in one mode: every place is reached, and only the mean is off."""
    sample, _ = measure_points(Knobs())
    generated = sample.generated.copy()
    first = generated[np.linalg.norm(generated - mixture.real_centres()[0], axis=1) < 1]
    generated[:200] = np.resize(first, (200, 2)) + np.random.default_rng(0).normal(0, 0.05, (200, 2))
    logits = mixture.log_posteriors(generated)
    measured = measure.measure(generated, sample.held_out, sample.training, logits=logits)
    assert "the proportions are wrong" in reading(measured, perfect_points(500))


def test_a_step_takes_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    measure_points(Knobs())  # scipy is imported
    least = min(measure_points(Knobs(seed=seed))[1].milliseconds for seed in range(5))
    with capsys.disabled():
        print(f"\nplayground: {least:.1f} ms a step of 500 points")
    assert least > 0


# The stories.


def perfect_is_not_zero(_: stories.Story) -> None:
    scores = means(Knobs())
    assert 0.01 < scores["frechet_distance"] < 0.1
    assert 0.9 < scores["precision"] < 1 and 0.9 < scores["recall"] < 1
    assert scores["accuracy"] == pytest.approx(0.5, abs=0.03)


def population(centres: np.ndarray) -> gm.FeatureStatistics:
    """Mean and covariance of equally frequent round modes."""
    covariance = np.cov(centres.T, ddof=0) + mixture.STD**2 * np.eye(2)
    return gm.FeatureStatistics(mean=centres.mean(axis=0), covariance=covariance, num_images=500)


def same_distance_different_fault(story: stories.Story) -> None:
    assert story.beside is not None
    # In one draw, the one on show, and over many: one draw scatters by a fifth, the mean of 150 by 2 %.
    pair = [measure_points(knobs)[1].frechet_distance for knobs in (story.knobs, story.beside)]
    assert pair[0] == pytest.approx(pair[1], rel=0.05)
    assert mean_distance(story.knobs, 150) == pytest.approx(mean_distance(story.beside, 150), rel=0.05)
    real, extra = mixture.real_centres(), mixture.invented_centres()
    missing = gm.frechet_distance(population(real[2:]), population(real))
    invented = gm.frechet_distance(population(np.concatenate([real, extra[:3]])), population(real))
    assert missing == pytest.approx(invented, rel=0.05)


def modes_missing(story: stories.Story) -> None:
    same_distance_different_fault(story)
    scores, perfect = means(story.knobs), means(Knobs())
    assert scores["precision"] == pytest.approx(perfect["precision"], abs=0.02)
    assert scores["recall"] / perfect["recall"] == pytest.approx(0.75, abs=0.03)
    assert scores["prd_f8"] < 0.8 < scores["prd_f1_8"]


def modes_invented(story: stories.Story) -> None:
    same_distance_different_fault(story)
    scores, perfect = means(story.knobs), means(Knobs())
    assert scores["recall"] == pytest.approx(perfect["recall"], abs=0.02)
    assert scores["precision"] < 0.8
    assert scores["prd_f1_8"] < 0.8 < scores["prd_f8"]


def collapse(story: stories.Story) -> None:
    scores, perfect = means(story.knobs), means(Knobs())
    assert scores["precision"] >= perfect["precision"] and scores["density"] >= perfect["density"]
    assert scores["recall"] < 0.3 and scores["coverage"] < 0.3
    assert scores["inception_score"] == pytest.approx(2, abs=0.05)


def sharp_but_unrealistic(story: stories.Story) -> None:
    scores, perfect = means(story.knobs), means(Knobs())
    assert scores["inception_score"] > 0.99 * perfect["inception_score"]
    assert scores["precision"] < 0.1 and scores["recall"] < 0.05
    assert scores["frechet_distance"] > 20 * perfect["frechet_distance"]
    assert np.exp(mixture.log_posteriors(mixture.draw(story.knobs).generated)).max(axis=1).mean() > 0.999


def blurry_but_diverse(story: stories.Story) -> None:
    scores, perfect = means(story.knobs), means(Knobs())
    assert scores["recall"] > perfect["recall"] - 0.02
    assert scores["precision"] / perfect["precision"] == pytest.approx(0.5, abs=0.1)
    assert scores["frechet_distance"] < perfect_points(500).largest_frechet
    sample = mixture.draw(story.knobs)
    assert sample.generated.std() / sample.held_out.std() < 1.15


def memorisation(story: stories.Story) -> None:
    scores, perfect = means(story.knobs), means(Knobs())
    for name in ("precision", "recall", "coverage", "prd_f8", "prd_f1_8"):
        assert scores[name] == pytest.approx(perfect[name], abs=0.02)
    assert scores["accuracy"] == pytest.approx(0.5, abs=0.03)
    # One distance scatters by about its own size.
    assert scores["frechet_distance"] < perfect["frechet_distance"] * (1 + 4 / SEEDS**0.5)
    assert scores["authentic"] == 0 and perfect["authentic"] > 0.3


def leakage(story: stories.Story) -> None:
    assert story.beside is not None
    leaked, honest, perfect = means(story.knobs), means(story.beside), means(Knobs())
    assert replace(story.beside, against_training=True) == story.knobs
    assert leaked["frechet_distance"] < 0.5 * perfect["frechet_distance"]
    for name in ("recall", "coverage"):
        assert leaked[name] > perfect[name] + 0.015
    for name in ("precision", "recall", "coverage"):
        assert honest[name] < leaked[name] - 0.01
    assert honest["frechet_distance"] > 2 * leaked["frechet_distance"]


def too_few_samples(story: stories.Story) -> None:
    assert story.beside is not None
    few, many = mean_distance(story.knobs, 200), mean_distance(story.beside, 200)
    assert few > 20 * many
    assert 50 * few == pytest.approx(2000 * many, rel=0.35)  # c/N; each mean scatters by 7 %
    assert few > mean_distance(Knobs(modes_dropped=1, num_points=2000), 20)


CLAIMS: dict[str, Callable[[stories.Story], None]] = {
    "A perfect model": perfect_is_not_zero,
    "Same FID, different fault: modes missing": modes_missing,
    "Same FID, different fault: modes invented": modes_invented,
    "Mode collapse": collapse,
    "Sharp but unrealistic": sharp_but_unrealistic,
    "Blurry but diverse": blurry_but_diverse,
    "Memorisation with a fine FID": memorisation,
    "Data leakage": leakage,
    "Too few samples": too_few_samples,
}


def test_every_story_has_its_claim() -> None:
    assert [story.name for story in stories.STORIES] == list(CLAIMS)


@pytest.mark.parametrize("story", stories.STORIES, ids=lambda story: story.name)
def test_story_is_true(story: stories.Story) -> None:
    CLAIMS[story.name](story)


# The drawings.


def texts(step: Knobs) -> tuple[str, str, str]:
    sample, measured = measure_points(step)
    perfect = perfect_points(step.num_points)
    return drawing.scatter(sample), drawing.prd_plot(measured, perfect), drawing.plane(measured, perfect)


def points_of(path: str) -> list[tuple[float, float]]:
    """Where a path's marks start, and the points of its lines."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


@pytest.mark.parametrize("step", [story.knobs for story in stories.STORIES] + EXTREMES)
def test_drawings_are_sound(step: Knobs) -> None:
    for text in texts(step):
        assert len(text) < 60_000
        assert "nan" not in text and "inf" not in text.replace("info", "") and "<script" not in text
        root = ElementTree.fromstring(text)
        assert root.get("role") == "img" and "id=" not in text
        title, told = (root.findtext(f"{{http://www.w3.org/2000/svg}}{name}") for name in ("title", "desc"))
        assert title and told
        _, _, width, height = map(float, root.get("viewBox", "").split())
        for path in root.findall("{http://www.w3.org/2000/svg}path"):  # not those of the legend, which are moved
            assert all(0 <= x <= width and 0 <= y <= height for x, y in points_of(path.get("d", "")))
        for words in root.iter("{http://www.w3.org/2000/svg}text"):
            assert float(words.get("y", "")) <= height


def test_a_scatter_shows_every_point_inside_the_square() -> None:
    sample = mixture.draw(Knobs(modes_dropped=1, modes_invented=2, noise=0.1, copies=0.2, num_points=100))
    text = drawing.scatter(sample)
    marks = [path.get("d", "").count("M") for path in ElementTree.fromstring(text).iter() if "path" in path.tag]
    assert {100, 80, 20} <= set(marks)
    assert "generated: a copy" in text and "invented mode" in text and "dropped mode" in text
    plain = drawing.scatter(mixture.draw(Knobs(num_points=100)))
    assert not any(words in plain for words in ("a copy", "invented", "dropped"))


def test_the_largest_sample_stays_light() -> None:
    text = drawing.scatter(mixture.draw(Knobs(num_points=2000, noise=0.5, copies=0.5)))
    assert len(text) < 80_000 and "the first 1,000 of 2,000 on either side are drawn" in text


def test_colours_can_be_themed() -> None:
    assert drawing.LIGHT.keys() == drawing.DARK.keys()
    for text in texts(Knobs(modes_dropped=1, modes_invented=1)):
        used = dict(re.findall(r"var\((--gm-\w+), (#\w+)\)", text))
        assert used.items() <= drawing.LIGHT.items()
        assert not re.search(r"#[0-9a-f]{6}", re.sub(r"var\([^)]*\)", "", text))


def test_confusion_table_holds_the_counts() -> None:
    _, measured = measure_points(Knobs(modes_dropped=4, num_points=200))
    root = ElementTree.fromstring(drawing.confusion_table(measured))
    assert root.findtext("caption")
    assert {head.get("scope") for head in root.iter("th")} == {"row", "col"}
    cells = ["".join(cell.itertext()) for cell in root.iter("td")]
    (rr, rg, gr, gg) = measured.confusion
    for share, words in (
        (rr / (rr + rg), f"{rr} real, seen as real"),
        (rg / (rr + rg), f"{rg} real, seen as generated"),
        (gr / (gr + gg), f"{gr} generated, seen as real"),
        (gg / (gr + gg), f"{gg} generated, seen as generated"),
    ):
        assert f"{share:.0%}{words}" in cells
    assert "That is no chance" in cells[-1]
    _, fair = measure_points(Knobs(num_points=200))
    assert "That may be chance" in drawing.confusion_table(fair)


def test_score_table_names_every_score() -> None:
    _, measured = measure_points(Knobs(num_points=100))
    root = ElementTree.fromstring(drawing.score_table(measured, perfect_points(100)))
    assert [row.text for row in root.iter("th") if row.get("scope") == "row"] == [
        score.label for score in measure.SCORES.values()
    ]


# The digits.


@functools.cache
def digit_scores(knobs: DigitKnobs) -> Measured:
    return digits.measure_digits(knobs)[1]


def test_digits_come_from_three_separate_sets() -> None:
    sample = digits.draw(DigitKnobs())
    sets = [{image.tobytes() for image in images} for images in (sample.generated, sample.reference)]
    leaked = digits.draw(DigitKnobs(against_training=True)).reference
    sets.append({image.tobytes() for image in leaked})
    assert all(len(one & other) == 0 for one, other in ((sets[0], sets[1]), (sets[0], sets[2]), (sets[1], sets[2])))
    np.testing.assert_array_equal(sample.generated, digits.draw(DigitKnobs()).generated)
    assert not np.array_equal(sample.generated, digits.draw(DigitKnobs(seed=1)).generated)


def test_digit_faults_do_what_they_say() -> None:
    from scipy.ndimage import gaussian_filter

    plain = digits.draw(DigitKnobs()).generated
    blurred = digits.draw(DigitKnobs(blur=1.5)).generated
    expected = gaussian_filter(plain[0].astype(float), 1.5, mode="constant", truncate=10)
    assert np.abs(blurred[0] - expected).max() <= 1
    noisy = digits.draw(DigitKnobs(noise=20)).generated.astype(float)
    middle = (plain > 100) & (plain < 155)  # where nothing is clipped
    assert (noisy - plain)[middle].std() == pytest.approx(20, rel=0.05)
    copied = digits.draw(DigitKnobs(copies=0.5, blur=2))
    training = digits.draw(DigitKnobs(against_training=True)).reference
    known = {image.tobytes() for image in training}
    assert sum(image.tobytes() in known for image in copied.generated) == 150
    lying = digits.draw(DigitKnobs(classes_dropped=10, classes_invented=4)).generated
    upright = {image.tobytes() for image in np.rot90(lying, -1, axes=(1, 2))}
    with np.load(Path(gm.__file__).parent / "examples" / "digits.npz") as file:
        images, labels = file["images"], file["labels"]
    found = {int(label) for image, label in zip(images, labels, strict=True) if image.tobytes() in upright}
    assert found == set(digits.LYING)


def test_digit_scores_follow_the_faults() -> None:
    perfect = digits.perfect_digits(300)
    fair, half, odd = (
        digit_scores(knobs) for knobs in (DigitKnobs(), DigitKnobs(classes_dropped=5), DigitKnobs(classes_invented=4))
    )
    assert reading(fair, perfect, what="pictures").startswith("Nothing stands out")
    assert half.precision > perfect.scores["precision"] - 0.06 and half.recall < 0.6
    assert half.inception_score == pytest.approx(5, abs=0.2)
    assert odd.recall > perfect.scores["recall"] - 0.06 and odd.precision < 0.8
    copies, leak = (digit_scores(DigitKnobs(copies=1.0, against_training=against)) for against in (False, True))
    assert copies.authentic == 0 and copies.on_reference == 0
    assert copies.frechet_distance < perfect.largest_frechet
    assert leak.on_reference == 1 and abs(leak.frechet_distance) < 1e-6 and leak.precision == leak.recall == 1
    assert "are in the reference itself" in reading(leak, perfect, what="pictures")


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"classes_dropped": 10}, "Keep one digit"),
        ({"classes_dropped": 10, "classes_invented": 1, "copies": 0.1}, "set copies to 0"),
        ({"num_images": 401}, "from 40 to 400"),
        ({"noise": 101}, "noise is 101"),
    ],
)
def test_digit_settings_that_make_no_sense_are_refused(knobs: dict[str, float], words: str) -> None:
    with pytest.raises(gm.InputError, match=words):
        DigitKnobs(**knobs)  # type: ignore[arg-type]


def test_digit_extremes_are_measured() -> None:
    for knobs in (
        DigitKnobs(num_images=40),
        DigitKnobs(classes_dropped=9, blur=4.0, noise=100, num_images=400),
        DigitKnobs(classes_dropped=9, copies=1.0),
    ):
        assert np.isfinite(digit_scores(knobs).frechet_distance)


def test_tile() -> None:
    images = digits.draw(DigitKnobs(num_images=40)).generated
    page = digits.tile(images)
    assert page.shape == (4 * 34 + 2, 6 * 34 + 2) and page.dtype == np.uint8
    np.testing.assert_array_equal(page[36:68, 70:102], 255 - images[8])
    assert (digits.tile(images[:3])[36:] == 255).all()


# What it stands on.


def test_only_the_public_face_is_used() -> None:
    for file in (DEMO / "playground").glob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert all(
                    name.name.split(".")[0] in {*sys.stdlib_module_names, "numpy", "genmetrics_rt"}
                    for name in node.names
                )
                assert all(not name.name.startswith("genmetrics_rt.") for name in node.names)
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in {*sys.stdlib_module_names, "numpy", "playground"}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gm":
                assert node.attr in gm.__all__


def test_it_needs_no_page() -> None:
    code = "import playground.stories, playground.drawing, playground.digits, sys; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=DEMO, env=None, check=False).returncode == 0
