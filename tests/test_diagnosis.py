"""Findings: every rule fires on the fault it is about and on no other, on images through the whole pipeline."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt.calibration.floor import Floor
from genmetrics_rt.diagnosis.conditions import SURE
from genmetrics_rt.diagnosis.evidence import Evidence
from genmetrics_rt.diagnosis.rules import RULES, diagnose
from genmetrics_rt.features import Features
from genmetrics_rt.likelihood.files import Likelihoods, read_likelihoods
from genmetrics_rt.metrics.adversarial import DiscriminatorStatistics
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.report import Finding, Score
from genmetrics_rt.scoring import settings_for
from genmetrics_rt.sides import EXAMPLES
from genmetrics_rt.training_log import TrainingLog
from genmetrics_rt.training_log_files import read_training_log
from tests import faults, makers
from tests.densities import make_gaussian
from tests.faults import OF_NUMBERS, ON_COLOUR, ON_DIGITS, Fault

SETTINGS = [(extractor, number) for extractor in ("digits-classifier", "scattering") for number in (200, 600)]
CASES = [
    pytest.param(fault, extractor, number, id=f"{fault.name}-{extractor}-{number}")
    for extractor, number in SETTINGS
    for fault in ON_DIGITS
    if not (fault.needs_classes and extractor == "scattering")
]


@cache
def evidence(fault: Fault, extractor: str, number: int, data: str = "digits") -> Evidence:
    generated, reference = faults.faulty(fault, data, number)
    return faults.evidence_of(generated, reference, extractor=extractor)


def of_digits(name: str) -> Evidence:
    return evidence(next(fault for fault in ON_DIGITS if fault.name == name), "digits-classifier", 200)


def keys(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.key for finding in findings}


@pytest.mark.parametrize(("fault", "extractor", "number"), CASES)
def test_a_fault_is_named_and_no_other(fault: Fault, extractor: str, number: int) -> None:
    found = keys(diagnose(evidence(fault, extractor, number))) - OF_NUMBERS
    assert fault.must <= found
    assert found <= fault.must | fault.may


@pytest.mark.parametrize("number", [200, 400])
@pytest.mark.parametrize("extractor", ["tiny-eyes", "scattering"])
@pytest.mark.parametrize("fault", ON_COLOUR, ids=lambda fault: fault.name)
def test_faults_of_colour_pictures(fault: Fault, extractor: str, number: int, tiny_eyes: str) -> None:
    chosen = tiny_eyes if extractor == "tiny-eyes" else extractor
    found = keys(diagnose(evidence(fault, chosen, number, "colour"))) - OF_NUMBERS
    assert fault.must <= found
    assert found <= fault.must | fault.may


# A sure classifier beside unreal images


@pytest.fixture(scope="session")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Networks with classes: the shipped one, a regression on random features, one that knows nothing, and the shipped
    one as if it were the network of the published scores.
    """
    folder, examples = tmp_path_factory.mktemp("classifiers"), gm.example_images("digits")
    images = np.repeat(examples.images[..., None], 3, axis=-1)
    eyes = makers.make_extractor(folder / "eyes", dimension=120, name="eyes")
    features = gm.FeatureExtractor(eyes, device="cpu")(images)[0].astype(np.float64)
    targets = np.eye(10)[examples.labels] - 0.1
    gram = features.T @ features + 0.01 * len(features) * features.var() * np.eye(120)
    head = 20 * np.linalg.solve(gram, features.T @ targets)
    assert ((features @ head).argmax(axis=1) == examples.labels).mean() > 0.95
    published = folder / "published"
    shutil.copytree(gm.list_bundles("extractor")["digits-classifier"], published)
    manifest = json.loads((published / "manifest.json").read_text())
    (published / "manifest.json").write_text(json.dumps(manifest | {"published_scores": True}))
    regression = makers.make_extractor(folder / "regression", dimension=120, classes=10, head=head, name="regression")
    knows_nothing = makers.make_extractor(folder / "nothing", dimension=24, classes=10, name="nothing")
    return {
        "digits-classifier": "digits-classifier",
        "regression": str(regression),
        "nothing": str(knows_nothing),
        "published": str(published),
    }


@pytest.mark.parametrize("number", [200, 600])
@pytest.mark.parametrize(
    ("extractor", "fault"), [("digits-classifier", faults.binarised), ("regression", faults.framed)]
)
def test_clear_classes_beside_unreal_images_are_not_good(
    classifiers: dict[str, str], extractor: str, fault: Any, number: int
) -> None:
    images, reference = faults.faulty(Fault(fault, frozenset()), "digits", number)
    judged, perfect = (
        keys(diagnose(faults.evidence_of(side, reference, extractor=classifiers[extractor])))
        for side in (images, faults.digits()[0][:number])
    )
    assert "sharp_but_wrong" in judged and "sharp_but_wrong" not in perfect


@pytest.mark.parametrize("fault", [faults.collapse, faults.invented, faults.broken])
def test_a_classifier_that_is_sure_of_nothing_says_nothing(classifiers: dict[str, str], fault: Any) -> None:
    """Its class score is low on the reference too, so that a fault cannot lower it."""
    images, reference = faults.faulty(Fault(fault, frozenset()), "digits", 200)
    found = faults.evidence_of(images, reference, extractor=classifiers["nothing"])
    assert found.scores["class_score"].details["reference_scores"] < SURE
    assert "sharp_but_wrong" not in keys(diagnose(found))


@pytest.mark.parametrize("number", [400, 600])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.none, set()),
        (faults.binarised, {"sharp_but_wrong"}),
        (faults.broken, {"poor_fid"}),
        (faults.two_kinds, {"poor_fid", "poor_class_score"}),
    ],
)
def test_published_readings_on_images(classifiers: dict[str, str], fault: Any, expected: set[str], number: int) -> None:
    """Through a whole report. The network is not that of published scores, but so are its names and its scale."""
    images, reference = faults.faulty(Fault(fault, frozenset()), "digits", number)
    options: dict[str, Any] = {"extractor": classifiers["published"], "metrics": "fid,is", "device": "cpu"}
    found = keys(gm.evaluate(images, reference, **options).findings)
    assert found & {"sharp_but_wrong", "poor_fid", "poor_class_score"} == expected


@pytest.mark.parametrize(("extractor", "number"), SETTINGS)
def test_two_halves_of_the_digits_raise_no_alarm(extractor: str, number: int) -> None:
    assert {finding.severity for finding in diagnose(evidence(ON_DIGITS[0], extractor, number))} <= {"info"}


def test_without_floors_there_is_no_false_alarm_either() -> None:
    bare = replace(of_digits("none"), floors=None)
    assert {finding.severity for finding in diagnose(bare)} <= {"info"}
    # Density and coverage have a perfect value in closed form, so that much is seen without floors.
    assert "mode_collapse" in keys(diagnose(replace(of_digits("collapse"), floors=None)))


def test_findings_have_words_and_come_in_order_of_severity() -> None:
    found = [finding for name in ("collapse", "binarised", "memoriser") for finding in diagnose(of_digits(name))]
    assert found
    for finding in found:
        assert all(text.strip() and "{" not in text for text in (finding.claim, finding.evidence, finding.advice))
        assert finding.evidence.endswith(".")
        assert any(character.isdigit() for character in finding.evidence), finding
    order = [finding.severity for finding in diagnose(of_digits("binarised"))]
    assert order == sorted(order, key=("problem", "warning", "info").index)


def test_every_rule_has_its_own_key() -> None:
    assert len({rule.key for rule in RULES}) == len(RULES)
    assert {rule.severity for rule in RULES} == {"problem", "warning", "info"}


# What the evidence says


def test_lost_clusters_are_those_of_the_kinds_that_were_dropped() -> None:
    found = evidence(next(f for f in ON_DIGITS if f.name == "dropped_kinds"), "digits-classifier", 600)
    _, _, _, labels = faults.digits()
    assert found.lost_clusters
    for cluster in found.lost_clusters:
        assert cluster.generated_share < 0.5 * cluster.reference_share
        assert cluster.p_value < 0.01
    examples = [picture.position for cluster in found.lost_clusters for picture in cluster.examples]
    # Of ten digits, 0 to 4 were made.
    assert np.mean(labels[examples] >= 5) >= 0.8


def test_copies_are_named_by_pairs_that_are_copies() -> None:
    found = of_digits("memoriser").copying
    assert found is not None
    assert found.share > 0.9
    assert found.expected < 0.05
    generated, reference = faults.faulty(next(f for f in ON_DIGITS if f.name == "memoriser"), "digits", 200)
    for one, other in found.examples:
        assert (one.side, other.side) == ("generated", "reference")
        difference = generated[one.position].astype(int) - reference[other.position]
        assert np.abs(difference).mean() < 3  # noise of deviation 2


def test_invented_images_are_named() -> None:
    clusters = of_digits("invented").invented_clusters
    outside = sum(cluster.share * (1 - cluster.share_inside) for cluster in clusters)
    assert outside == pytest.approx(0.2, abs=0.05)
    examples = [picture.position for cluster in clusters for picture in cluster.examples]
    assert np.mean(np.array(examples) % 5 == 0) >= 0.6  # every fifth is invented


def test_repeats_are_those_of_the_collapsed_half() -> None:
    found = of_digits("half_collapsed").repeats
    assert found is not None
    assert found.share == pytest.approx(0.5, abs=0.1)
    generated, _ = faults.faulty(next(f for f in ON_DIGITS if f.name == "half_collapsed"), "digits", 200)
    for pair in found.examples:
        assert all(picture.position % 2 == 0 for picture in pair)  # every other image
        one, other = (generated[picture.position].astype(int) for picture in pair)
        assert 0 < np.abs(one - other).mean() < 12  # noise of deviation 3 on both, and dimmed by up to 5 %
    assert of_digits("none").repeats.share < 0.1  # type: ignore[union-attr]


def test_more_generated_than_reference_images_do_not_look_like_repeats() -> None:
    rng = np.random.default_rng(0)
    sides = [Features(rng.normal(size=(rows, 3)), np.arange(rows), rows) for rows in (2000, 200)]
    found = Evidence(Comparison(*sides, "features", 0, settings_for({}, seed=0)), {}).repeats
    assert found is not None
    assert found.num_images == 200
    assert abs(found.share - found.expected) < 0.1


def test_twins_are_counted_exactly() -> None:
    assert of_digits("repeated").twins == (20, 0)  # a tenth of 200
    assert of_digits("none").twins == (0, 0)


def test_a_collapsed_side_has_fewer_different_images_and_more_alike() -> None:
    found = of_digits("collapse")
    assert found.vendi is not None and found.cosine is not None
    assert found.vendi[0] < 0.7 * found.vendi[1]


# Few images


def test_few_images_are_said_by_number_and_bias() -> None:
    (finding,) = [f for f in diagnose(of_digits("none")) if f.key == "too_few_images"]
    assert "200 images" in finding.evidence
    assert "bias" in finding.evidence
    assert finding.severity == "info"


def test_many_images_with_a_sure_distance_raise_no_word_on_numbers() -> None:
    score = _score(
        "fd", 12.0, details={"num_generated": 5000, "num_reference": 5000, "bias": 1.0}, interval=(11.5, 12.5)
    )
    assert diagnose(Evidence(None, {"fd": score})) == ()
    wide = replace(score, interval=(1.0, 23.0))
    (finding,) = diagnose(Evidence(None, {"fd": wide}))
    assert finding.key == "too_few_images"
    assert "wider than the value" in finding.evidence


# The three cases of the textbook


def _score(key: str, value: float, **entries: object) -> Score:
    higher = key not in ("fid", "fd", "kid")
    return Score(key, key, value, higher, 1.0 if higher else 0.0, "", "", **entries)  # type: ignore[arg-type]


def _log(accuracies: list[float], *, recall: float | None = None, pictures: int = 100) -> TrainingLog:
    steps = []
    for step, accuracy in enumerate(accuracies):
        right = round(accuracy * pictures)
        steps.append(DiscriminatorStatistics(step, right, pictures - right, pictures - right, right))
    if recall is not None:  # few real pictures among many generated ones: nearly all are told right all the same
        taken = round(recall * 25)
        steps = [DiscriminatorStatistics(step, taken, 25 - taken, 0, 1225) for step in range(len(accuracies))]
    return TrainingLog(tuple(steps))


def test_a_high_inception_score_beside_a_large_fid_is_not_good() -> None:
    found = diagnose(Evidence(None, {"is": _score("is", 9.0), "fid": _score("fid", 120.0)}))
    (finding,) = found
    assert (finding.key, finding.severity) == ("sharp_but_wrong", "problem")
    assert "Not good" in finding.claim and "unrealistic" in finding.claim
    assert "9" in finding.evidence and "120" in finding.evidence


@pytest.mark.parametrize(("inception", "fid"), [(9.0, 20.0), (5.0, 40.0)])
def test_a_small_fid_is_no_finding(inception: float, fid: float) -> None:
    assert diagnose(Evidence(None, {"is": _score("is", inception), "fid": _score("fid", fid)})) == ()


@pytest.mark.parametrize(("fid", "reading"), [(70.0, "fair at best"), (150.0, "poor")])
def test_the_published_reading_of_fid(fid: float, reading: str) -> None:
    (finding,) = diagnose(Evidence(None, {"fid": _score("fid", fid)}))
    assert finding.key == "poor_fid"
    assert reading in finding.claim
    # On other features a distance has no published reading.
    assert diagnose(Evidence(None, {"fd": _score("fd", fid)})) == ()


def test_a_large_fid_that_is_all_bias_is_no_finding() -> None:
    floor = {"fid": Floor("fid", 80.0, 75.0, 85.0, 300, 300)}
    assert diagnose(Evidence(None, {"fid": _score("fid", 84.0)}, floor)) == ()


@pytest.mark.parametrize(("usual", "fires"), [(None, True), (8.0, True), (2.4, False)])
def test_a_low_inception_score_is_read_beside_that_of_the_reference(usual: float | None, fires: bool) -> None:
    details = {} if usual is None else {"reference_scores": usual}
    found = keys(diagnose(Evidence(None, {"is": _score("is", 2.3, details=details)})))
    assert found == ({"poor_class_score"} if fires else set())


def test_a_discriminator_of_98_percent_with_lookalike_images_is_a_collapse() -> None:
    """On images: a few digits again and again, beside a log whose discriminator is right about 98 %."""
    (first, *_) = diagnose(replace(of_digits("collapse"), training_log=_log([0.98] * 8)))
    found = keys(diagnose(replace(of_digits("collapse"), training_log=_log([0.98] * 8))))
    assert "collapse_under_strong_discriminator" in found and "discriminator_too_strong" in found
    assert first.severity == "problem"
    # The same discriminator beside good images, or the same images beside a healthy one.
    good = keys(diagnose(replace(of_digits("none"), training_log=_log([0.98] * 8))))
    assert "collapse_under_strong_discriminator" not in good and "discriminator_too_strong" in good
    healthy = keys(diagnose(replace(of_digits("collapse"), training_log=_log([0.85] * 8))))
    assert not {"collapse_under_strong_discriminator", "discriminator_too_strong"} & healthy


def test_the_same_from_published_numbers() -> None:
    scores = {"fid": _score("fid", 300.0), "coverage": _score("coverage", 0.03), "recall": _score("recall", 0.02)}
    floors = {key: Floor(key, 0.9, 0.85, 0.95, 2000, 2000) for key in ("coverage", "recall")}
    found = diagnose(Evidence(None, scores, floors, training_log=_log([0.98] * 8)))
    (finding,) = [f for f in found if f.key == "collapse_under_strong_discriminator"]
    assert "98 %" in finding.evidence and "300" in finding.evidence
    assert "Mode collapse" in finding.claim and "too strong" in finding.claim


def test_an_accuracy_of_98_percent_with_a_recall_of_12_percent_is_not_good() -> None:
    """3 of 25 real pictures taken for real, 1,225 generated ones told right: accuracy 98.2 %, recall 12 %."""
    log = _log([0.0] * 4, recall=0.12)
    assert log.last_accuracy == pytest.approx(0.9824)
    assert log.last_recall == pytest.approx(0.12)
    found = {f.key: f for f in diagnose(Evidence(None, {}, training_log=log))}
    finding = found["accuracy_hides_recall"]
    assert finding.severity == "problem" and finding.claim.startswith("Not good")
    assert "98 %" in finding.evidence and "12 %" in finding.evidence
    # Read the other way: the discriminator's accuracy beside the recall of the images.
    other = Evidence(None, {"recall": _score("recall", 0.12)}, training_log=_log([0.98] * 4))
    assert "accuracy_hides_recall" in keys(diagnose(other))
    fine = Evidence(None, {"recall": _score("recall", 0.85)}, training_log=_log([0.98] * 4))
    assert "accuracy_hides_recall" not in keys(diagnose(fine))


# Training logs and likelihoods


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.85] * 12, set()),
        ([0.99] * 12, {"discriminator_too_strong"}),
        ([0.5] * 12, {"discriminator_guessing"}),
        ([0.5, 0.5, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.85, 0.86, 0.85, 0.85], set()),
        ([0.85] * 12 + [0.6, 0.95] * 6, {"discriminator_oscillating"}),
        ([0.6, 0.7, 0.8, 0.9, 0.8, 0.7] * 5, {"discriminator_oscillating"}),
        ([0.85, 0.8, 0.88] * 8, set()),
    ],
)
def test_what_a_training_log_says(accuracies: list[float], expected: set[str]) -> None:
    assert keys(diagnose(Evidence(None, {}, training_log=_log(accuracies)))) == expected


def test_few_pictures_a_step_do_not_oscillate_by_chance() -> None:
    """Binomial(20, 0.85) and alike: their standard error is 0.08, and extremes lie 0.3 apart by chance."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        log = _log((rng.binomial(20, 0.85, 40) / 20).tolist(), pictures=10)
        assert keys(diagnose(Evidence(None, {}, training_log=log))) == set()


def test_the_shipped_gan_has_a_healthy_discriminator_that_knows_its_pictures_by_heart() -> None:
    """On the last quarter 0.859 right; 0.881 of the training pictures taken for real, 0.441 of the held-out ones."""
    log = read_training_log(EXAMPLES / "digits-gan-training.csv")
    (finding,) = diagnose(Evidence(None, {}, training_log=log))
    assert finding.key == "discriminator_memorises"
    assert "88 %" in finding.evidence and "44 %" in finding.evidence


def test_a_high_likelihood_beside_poor_samples_misleads() -> None:
    rng = np.random.default_rng(0)
    likely = Likelihoods(rng.normal(100, 5, 50), rng.normal(100, 5, 50))
    unlikely = Likelihoods(rng.normal(20, 5, 50), rng.normal(100, 5, 50))
    assert "misleading_likelihood" in keys(diagnose(replace(of_digits("broken"), likelihoods=likely)))
    assert "misleading_likelihood" not in keys(diagnose(replace(of_digits("broken"), likelihoods=unlikely)))
    assert "misleading_likelihood" not in keys(diagnose(replace(of_digits("none"), likelihoods=likely)))


def test_good_samples_beside_a_poor_likelihood_of_real_images() -> None:
    """As of a memoriser: its samples are fine, and unseen images are unlikely to it."""
    rng = np.random.default_rng(0)
    misses = Likelihoods(rng.normal(20, 5, 50), rng.normal(100, 5, 50))
    alike = Likelihoods(rng.normal(100, 5, 50), rng.normal(100, 5, 50))
    assert "likelihood_misses_real" in keys(diagnose(replace(of_digits("none"), likelihoods=misses)))
    assert "likelihood_misses_real" not in keys(diagnose(replace(of_digits("none"), likelihoods=alike)))
    assert "likelihood_misses_real" not in keys(diagnose(replace(of_digits("broken"), likelihoods=misses)))


def test_a_density_that_overfits() -> None:
    rng = np.random.default_rng(0)
    unseen, samples = rng.normal(0, 10, (2, 200))
    plain = of_digits("none")
    for shift, expected in ((0.0, False), (20.0, True)):
        known = Likelihoods(unseen, samples, of_train=rng.normal(shift, 10, 300))
        assert ("likelihood_overfits" in keys(diagnose(replace(plain, likelihoods=known)))) == expected
    # Beyond noise, and too little to matter: a twentieth of the spread, of 40,000 images each.
    many = Likelihoods(*rng.normal(0, 10, (2, 40_000)), of_train=rng.normal(0.5, 10, 40_000))
    assert "likelihood_overfits" not in keys(diagnose(replace(plain, likelihoods=many)))


def test_likelihoods_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "likelihoods.csv"
    path.write_text("reference_log_likelihood,generated_log_likelihood\n-3.5,-1\n-4,\n")
    found = read_likelihoods(path)
    assert (found.of_reference.tolist(), found.of_generated.tolist()) == ([-3.5, -4.0], [-1.0])
    for text, message in (
        ("reference_log_likelihood\n1\n", "no column generated_log_likelihood"),
        ("reference_log_likelihood,generated_log_likelihood\n1,two\n", "'two' as generated_log_likelihood"),
        ("reference_log_likelihood,generated_log_likelihood\n1,\n", "no generated_log_likelihood"),
        ("reference_log_likelihood,generated_log_likelihood\nnan,1\n", "no number"),
    ):
        path.write_text(text)
        with pytest.raises(gm.UnreadableInput, match=message):
            read_likelihoods(path)


# Whatever is missing


def test_a_reference_without_images_is_enough_for_what_its_statistics_say() -> None:
    full = of_digits("blur")
    assert full.comparison is not None
    reference = full.comparison.reference
    alone = Features(
        values=reference.values[:0],
        index=reference.index[:0],
        num_images=len(reference.values),
        all_statistics=reference.statistics(),
    )
    comparison = Comparison(full.comparison.generated, alone, "digits-classifier", 0, settings_for({}, seed=0))
    poor = Evidence(comparison, {"fd": full.scores["fd"]}, None)
    assert keys(diagnose(poor)) <= OF_NUMBERS | {"duplicates"}


@pytest.mark.parametrize("number", [1, 2, 5, 21])
def test_very_few_images_break_nothing(number: int) -> None:
    rng = np.random.default_rng(number)
    sides = [Features(rng.normal(size=(number, 6)), np.arange(number), number) for _ in range(2)]
    found = diagnose(Evidence(Comparison(*sides, "features", 0, settings_for({}, seed=0)), {}))
    assert not [finding for finding in found if finding.severity == "problem"]


@pytest.mark.parametrize("seed", range(6))
def test_gaussian_sides_of_one_distribution_raise_no_alarm(seed: int) -> None:
    """Rows alone, in other dimensions and numbers than those of the digits."""
    rng = np.random.default_rng(seed)
    shape = [(60, 300, 5), (300, 60, 5), (500, 500, 2), (400, 400, 64), (1200, 500, 16), (41, 41, 300)][seed]
    sides = [Features(rng.standard_t(5, (rows, shape[2])), np.arange(rows), rows) for rows in shape[:2]]
    comparison = Comparison(*sides, "features", 0, settings_for({}, seed=0))
    assert keys(diagnose(Evidence(comparison, {}))) == set()


@pytest.fixture(scope="session")
def tiny_eyes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random projection of 8 × 8 pixels: the second kind of features."""
    return str(makers.make_extractor(tmp_path_factory.mktemp("eyes") / "tiny-eyes", dimension=24, name="tiny-eyes"))


# In reports


def test_a_report_names_what_is_wrong() -> None:
    keys = "fd,kid,precision,recall,density,coverage"
    report = gm.evaluate("digits-memoriser", "digits", metrics=keys, device="cpu", num_images=400)
    finding = next(entry for entry in report.findings if entry.key == "memorisation")
    assert finding.severity == "problem" and "genmetrics copies" in finding.advice
    for text in (report.to_text(), report.to_markdown(), report.to_html()):
        assert "look like copies of reference images" in " ".join(text.split())
    (read_again,) = [entry for entry in gm.Report.from_json(report.to_json()).findings if entry.key == "memorisation"]
    without_pictures = tuple(replace(shown, jpeg=None) for shown in finding.pictures)
    assert read_again == replace(finding, pictures=without_pictures)
    # Copies beside what they are copies of.
    pairs = list(zip(finding.pictures[::2], finding.pictures[1::2], strict=True))
    assert [(one.caption, other.caption) for one, other in pairs] == [("generated", "reference")] * 3
    for pair in pairs:
        one, other = (np.asarray(Image.open(io.BytesIO(shown.jpeg or b"")), np.int64) for shown in pair)
        assert np.abs(one - other).mean() < 20
        assert all(shown.name in finding.evidence for shown in pair)
    assert report.to_html().count('<ul class="pictures">') > len(report.galleries)
    options: dict[str, Any] = {"metrics": keys, "device": "cpu", "num_images": 400, "intervals": False}
    plain = gm.evaluate("digits-memoriser", "digits", **options)
    assert plain.findings == ()  # without floors there is nothing to hold scores against
    with pytest.raises(gm.InputError, match="makes none"):
        gm.evaluate("digits-memoriser", "digits", training_log=EXAMPLES / "digits-gan-training.csv", **options)


def test_likelihoods_are_looked_at_too(tmp_path: Path) -> None:
    """A model that gives unseen digits as good a likelihood as its own samples, and whose samples are broken."""
    generated, reference = faults.faulty(next(f for f in ON_DIGITS if f.name == "broken"), "digits", 200)
    path = tmp_path / "likelihoods.csv"
    path.write_text("reference_log_likelihood,generated_log_likelihood\n" + "-100,-101\n-99,-102\n" * 20)
    options: dict[str, Any] = {"extractor": "digits-classifier", "metrics": "fd,precision,density", "device": "cpu"}
    report = gm.evaluate(generated, reference, likelihoods=path, **options)
    assert "misleading_likelihood" in {entry.key for entry in report.findings}
    healthy = gm.evaluate(faults.digits()[0], reference, likelihoods=path, **options)
    assert "misleading_likelihood" not in {entry.key for entry in healthy.findings}


def test_a_density_gives_the_likelihoods_itself(tmp_path: Path) -> None:
    """A wide Gaussian on each pixel finds everything equally likely; the samples beside it are broken."""
    generated, reference = faults.faulty(next(f for f in ON_DIGITS if f.name == "broken"), "digits", 200)
    size = reference.shape[1]
    wide = make_gaussian(tmp_path / "wide", size=size, mean=0.3, sigma=3.0)
    options: dict[str, Any] = {"extractor": "digits-classifier", "metrics": "fd,precision,density", "device": "cpu"}
    report = gm.evaluate(generated, reference, likelihoods=wide, **options)
    assert "misleading_likelihood" in {entry.key for entry in report.findings}
    # The other way round: fine samples, and a table in which unseen images are unlikely.
    path = tmp_path / "likelihoods.csv"
    path.write_text("reference_log_likelihood,generated_log_likelihood\n" + "-200,-101\n-190,-102\n" * 20)
    healthy = gm.evaluate(faults.digits()[0], reference, likelihoods=path, **options)
    assert "likelihood_misses_real" in {entry.key for entry in healthy.findings}
    with pytest.raises(gm.InputError, match="none: it is text, features"):
        gm.evaluate(*np.random.default_rng(0).normal(size=(2, 60, 5)), likelihoods=wide, metrics="fd")


def test_a_training_log_is_looked_at_too() -> None:
    sides, log = ("digits-gan", "digits"), EXAMPLES / "digits-gan-training.csv"
    plain, logged = (
        {entry.key for entry in gm.evaluate(*sides, metrics="fd", num_images=200, training_log=path).findings}
        for path in (None, log)
    )
    assert logged - plain == {"discriminator_memorises"}
    with pytest.raises(gm.MissingInput, match=r"nowhere\.csv"):
        gm.evaluate(*sides, metrics="fd", training_log="nowhere.csv")


def test_two_halves_of_the_digits_raise_no_alarm_in_a_report() -> None:
    images, reference, *_ = faults.digits()
    report = gm.evaluate(images, reference, metrics="fd,kid,precision,recall,density,coverage", device="cpu")
    assert [entry for entry in report.findings if entry.severity != "info"] == []
