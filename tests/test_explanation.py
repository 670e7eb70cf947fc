"""Why two numbers differ: the lines are found, named and, with the images, given their share of the difference."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from genmetrics_rt.explaining.explanation_text import change, precise
from genmetrics_rt.render.names import display_width
from genmetrics_rt.report import SideSummary, SkippedImage
from tests import makers, protocols, reports
from tests.test_comparing import save, with_recipe

COUNT = 40  # images a side, the same on both, so that the ddof factor is exact


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return protocols.make_six(tmp_path_factory.mktemp("bundles") / "six")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sides")
    return (
        makers.image_folder(root / "out", COUNT, seed=1, size=24),
        makers.image_folder(root / "real", COUNT, seed=2, size=24),
    )


@pytest.fixture(scope="module")
def made(six: Path, sides: tuple[Path, Path]) -> dict[str, gm.Report]:
    """A report of the same images under each protocol, as it is after saving and reading."""
    return {
        name: gm.Report.from_json(gm.evaluate(*sides, extractor=six, protocol=name, cache=False).to_json())
        for name in protocols.PROTOCOLS
    }


def lines(differences: tuple) -> dict[str, tuple[object, object]]:
    return {entry.line: (entry.first, entry.second) for entry in differences}


def test_the_lines_of_the_recipe_are_named_and_glossed(made: dict[str, gm.Report]) -> None:
    explanation = gm.explain(made["tf1"], made["clean"])
    assert lines(explanation.recipe) == {"resize": ("bilinear-tf1", "pillow-bicubic"), "rounding": ("none", "clip")}
    text = explanation.to_text(width=110)
    assert "bilinear-tf1: two taps, no half-pixel offset, no antialias (TensorFlow 1)" in text
    assert "6 FID and more where 1024 pixels become 299" in text
    assert explanation.verdict == (
        "What differs and can move the numbers: the recipe of the features (resize, rounding).",
    )
    assert explanation.sides == () and all(not score.settings for score in explanation.scores)


def test_pixel_scaling_is_one_line_in_papers_words(made: dict[str, gm.Report]) -> None:
    explanation = gm.explain(made["tf1"], made["pytorch-fid"])
    assert list(lines(explanation.recipe)) == ["resize", "scaling"]
    text = explanation.to_text(width=110)
    assert "(x − 128)/128" in text and "2x/255 − 1" in text and "typically below 0.01 FID" in text


def test_settings_are_told_apart_from_the_recipe(made: dict[str, gm.Report]) -> None:
    explanation = gm.explain(made["tf1"], made["stylegan3"])
    assert explanation.recipe == ()
    assert {score.shown: lines(score.settings) for score in explanation.scores if score.settings} == {
        "fid": {"ddof": (1, 0)},
        "is": {"shuffle": (True, False)},
    }
    text = " ".join(explanation.to_text().split())
    assert "a factor of N/(N − 1)" in text and "a folder sorted by class scores near 1" in text


def test_a_ddof_only_difference_is_the_analytic_factor(six: Path, sides: tuple[Path, Path], made: dict) -> None:
    features = [gm.extract_features(side, extractor=six).values.astype(float) for side in sides]
    gap = features[0].mean(axis=0) - features[1].mean(axis=0)
    explanation = gm.explain(made["tf1"], made["stylegan3"], generated=sides[0], reference=sides[1], extractor=six)
    assert explanation.attribution is not None
    (step, _) = explanation.attribution.steps
    assert (step.difference.line, list(step.before)) == ("ddof", ["fd"])
    of_covariances = [values["fd"] - gap @ gap for values in (step.before, step.after)]
    assert of_covariances[0] / of_covariances[1] == pytest.approx(COUNT / (COUNT - 1), rel=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("tf1", "clean", ["resize", "rounding"]),
        ("pytorch-fid", "stylegan3", ["resize", "scaling", "ddof", "shuffle"]),
        ("stylegan3", "torchmetrics", ["resize", "ddof", "shuffle", "split_rule"]),
        ("adm", "tf1", ["shuffle"]),
    ],
)
@pytest.mark.parametrize("cache", [True, False])
def test_steps_lead_from_one_report_to_the_other(
    six: Path, sides: tuple[Path, Path], made: dict, first: str, second: str, expected: list[str], cache: bool
) -> None:
    a, b = made[first], made[second]
    explanation = gm.explain(a, b, generated=sides[0], reference=sides[1], extractor=six, cache=cache)
    attribution = explanation.attribution
    assert attribution is not None and attribution.complaints == ()
    assert [step.difference.line for step in attribution.steps] == expected
    for score in explanation.scores:
        assert attribution.start[score.key] == pytest.approx(score.first, rel=1e-6, abs=1e-9)
        assert attribution.end[score.key] == pytest.approx(score.second, rel=1e-6, abs=1e-9)
        changes = [
            step.after[score.key] - step.before[score.key] for step in attribution.steps if score.key in step.before
        ]
        assert sum(changes) == pytest.approx(score.second - score.first, abs=1e-6)
    if expected[0] == "resize":
        assert attribution.steps[0].before["fd"] != attribution.steps[0].after["fd"]


def test_a_gap_is_parted_into_recipe_images_and_noise(
    six: Path, sides: tuple[Path, Path], made: dict, tmp_path: Path
) -> None:
    """The same images: all recipe. Other images by one recipe: no recipe, and noise by the paired jackknife."""
    same = gm.explain(made["tf1"], made["pytorch-fid"], generated=sides[0], reference=sides[1], extractor=six)
    assert {gap.key for gap in same.gaps} >= {"fd", "kid"} and all(gap.images == 0 for gap in same.gaps)
    assert "all of it the recipe" in same.to_text()

    others = [makers.image_folder(tmp_path / str(seed), COUNT, seed=seed, size=24) for seed in (3, 4)]
    first, second = (gm.evaluate(other, sides[1], extractor=six, metrics="fid,kid") for other in others)
    alike = gm.explain(first, second)
    for gap in alike.gaps:
        assert gap.recipe == 0.0 and gap.images == gap.total and gap.noise > 0 and gap.beyond_noise is False
    assert "within their noise" in " ".join(alike.to_text().split())

    third = gm.evaluate(others[1], sides[1], extractor=six, protocol="pytorch-fid", metrics="fid,kid")
    unlike = gm.explain(first, third)
    assert all(gap.recipe is None and gap.images is None for gap in unlike.gaps)
    parted = gm.explain(first, third, generated=others[0], reference=sides[1], extractor=six)
    for gap in parted.gaps:
        assert gap.total == pytest.approx(gap.recipe + gap.images) and gap.recipe != 0
    assert parted.to_dict()["gaps"][0]["noise"] == parted.gaps[0].noise


def test_another_network_is_one_step(six: Path, tiny: Path, sides: tuple[Path, Path], made: dict) -> None:
    other = gm.evaluate(*sides, extractor="scattering")
    explanation = gm.explain(made["tf1"], other, generated=sides[0], reference=sides[1], extractor=six)
    attribution = explanation.attribution
    assert attribution is not None and attribution.complaints == ()
    (step,) = attribution.steps
    assert (step.difference.line, step.difference.second) == ("extractor", "scattering")
    assert step.after["fd"] == pytest.approx(other.scores["fd"].value, rel=1e-6)
    assert "fid/fd" in explanation.to_text() and "class_score" not in step.after
    assert "not comparable at all" in explanation.to_text() and "6 FID" not in explanation.to_text()


def test_a_network_that_is_not_here_cannot_be_recomputed(sides: tuple[Path, Path], made: dict) -> None:
    explanation = gm.explain(made["tf1"], made["clean"], generated=sides[0], reference=sides[1])
    assert explanation.attribution is None
    assert "cannot be computed again" in explanation.not_recomputed and "--extractor DIR" in explanation.not_recomputed
    assert "cannot be computed again" in explanation.to_text() and explanation.recipe


@pytest.mark.parametrize("recipe", [{}, {"resize": "bilinear"}, {"size": 3}])
def test_a_report_without_its_whole_recipe_cannot_be_recomputed(
    six: Path, sides: tuple[Path, Path], made: dict, recipe: dict
) -> None:
    extractor = dataclasses.replace(made["tf1"].extractor, recipe=recipe)
    older = dataclasses.replace(made["tf1"], extractor=extractor)
    explanation = gm.explain(older, made["clean"], generated=sides[0], reference=sides[1], extractor=six)
    assert "does not hold the whole recipe" in explanation.not_recomputed
    assert explanation.recipe and explanation.to_text()


def test_progress_names_each_pass(six: Path, sides: tuple[Path, Path], made: dict) -> None:
    stages = []
    gm.explain(
        made["tf1"], made["clean"], generated=sides[0], reference=sides[1], extractor=six,
        progress=lambda state: stages.append(state.stage),
    )  # fmt: skip
    passes = ("A", "resize", "rounding")
    assert list(dict.fromkeys(stages)) == [f"{what}, {side}" for what in passes for side in ("reference", "generated")]


def test_a_bundle_of_the_same_name_with_other_weights_is_not_taken(
    tmp_path: Path, sides: tuple[Path, Path], made: dict
) -> None:
    other = protocols.make_six(tmp_path / "six", seed=9)
    explanation = gm.explain(made["tf1"], made["clean"], generated=sides[0], reference=sides[1], extractor=other)
    assert "other graph or weights" in explanation.not_recomputed


def test_other_images_are_found_out(six: Path, sides: tuple[Path, Path], made: dict, tmp_path: Path) -> None:
    other = makers.image_folder(tmp_path / "other", COUNT - 3, seed=8, size=24)
    explanation = gm.explain(made["tf1"], made["clean"], generated=other, reference=sides[1], extractor=six)
    assert explanation.attribution is not None
    first, second = explanation.attribution.complaints
    assert "of A are not what it says: the generated images given (37) are not those of the report (40)" in first
    assert "of B" in second and "reference images given" not in first
    assert [step.difference.line for step in explanation.attribution.steps] == ["resize", "rounding"]


def test_a_value_that_the_same_images_do_not_give_is_found_out(six: Path, sides: tuple[Path, Path], made: dict) -> None:
    scores = dict(made["tf1"].scores)
    scores["fid"] = dataclasses.replace(scores["fid"], value=scores["fid"].value * 1.001)
    edited = dataclasses.replace(made["tf1"], scores=scores)
    explanation = gm.explain(edited, made["tf1"], generated=sides[0], reference=sides[1], extractor=six)
    assert explanation.attribution is not None and explanation.attribution.steps == ()
    (complaint,) = explanation.attribution.complaints
    assert "fid of A is not what it says: the images are the same" in complaint
    assert "That is unexpected" in " ".join(explanation.verdict) and "fid (by 1.0e-03 of it)" in explanation.verdict[0]
    assert "bundles verify six" in explanation.verdict[1] and "doctor" in explanation.verdict[1]


def test_like_reports_are_said_to_agree(made: dict[str, gm.Report]) -> None:
    later = dataclasses.replace(
        made["tf1"],
        runtime=dataclasses.replace(made["tf1"].runtime, device="another", versions={"numpy": "9.9", "other": "1"}),
    )
    explanation = gm.explain(made["tf1"], later)
    assert explanation.verdict == (
        "Nothing differs that could change a number, and the numbers agree to a relative 1e-4.",
    )
    assert list(lines(explanation.runtime)) == ["device", "numpy"]
    assert "by rounding only" in explanation.to_text()


def test_unlike_values_without_content_hashes_are_not_called_unexpected() -> None:
    stream = SideSummary(1797, "stream", "")
    a = dataclasses.replace(reports.report(), generated=stream)
    b = dataclasses.replace(reports.report(), generated=stream, scores=reports.scores(fd=99.0))
    (sentence,) = gm.explain(a, b).verdict
    assert "without a content hash" in sentence and "unexpected" not in sentence


def test_given_features_are_known_to_their_maker_only() -> None:
    given = dataclasses.replace(reports.report(), extractor=reports.GIVEN)
    assert "only their maker knows" in gm.explain(given, given).verdict[0]


def test_the_sides_are_told_apart() -> None:
    skipped = (SkippedImage("a.png", "an empty file"),)
    other = dataclasses.replace(
        reports.report(),
        generated=SideSummary(1000, "out", "1", skipped),
        reference=SideSummary(None, "s.npz", ""),
        seed=4,
    )
    explanation = gm.explain(reports.report(), other)
    assert lines(explanation.sides) == {
        "generated images": ("digits-gan (seed 0)", "out"),
        "number of generated images": (1797, 1000),
        "skipped generated files": (0, 1),
        "reference images (as far as names tell)": ("digits", "s.npz"),
        "number of reference images": (1797, None),
        "seed of the evaluation": (0, 4),
    }
    assert "fd, precision, recall" in explanation.verdict[1] and "kid" not in explanation.verdict[1]


def test_reports_without_a_shared_score() -> None:
    a, b = reports.with_scores({"fd": 1.0}), reports.with_scores({"kid": 1.0})
    assert "share no score" in gm.explain(a, b).verdict[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generated": "a"}, "reference is missing"),
        ({"reference": "a"}, "generated is missing"),
        ({"generated": "digits", "reference": "digits", "nonsense": 1}, "no option 'nonsense'"),
    ],
)
def test_wrong_use_is_refused(made: dict, options: dict, message: str) -> None:
    with pytest.raises(gm.InputError, match=message):
        gm.explain(made["tf1"], made["clean"], **options)


def test_saved_features_cannot_be_recomputed_by_another_recipe(six: Path, sides: tuple[Path, Path], made: dict) -> None:
    saved = gm.make_reference(sides[1], extractor=six)
    with pytest.raises(gm.InputError, match=r"features already.*give the images"):
        gm.explain(made["tf1"], made["clean"], generated=sides[0], reference=saved, extractor=six)


@pytest.mark.parametrize("width", [40, 80, 110])
def test_no_line_is_too_wide(six: Path, sides: tuple[Path, Path], made: dict, width: int) -> None:
    explanation = gm.explain(
        made["stylegan3"], made["pytorch-fid"], generated=sides[0], reference=sides[1], extractor=six,
        names=("a-rather-long-name-of-a-report-in-a-folder", "b"),
    )  # fmt: skip
    assert max(map(display_width, explanation.to_text(width).splitlines())) <= max(width, 60)
    assert str(explanation) == explanation.to_text()


@pytest.mark.parametrize(
    ("first", "second", "values", "moved"),
    [
        (38.2041, 35.9127, ("38.2041", "35.9127"), "-2.2914"),
        (0.1, 0.1, ("0.100000", "0.100000"), "0"),
        (1234567.0, 1234568.0, ("1.23457e+06", "1.23457e+06"), "0"),
        (1e-5, 3e-5, ("1.00000e-05", "3.00000e-05"), "+2e-05"),
        (None, 1.0, ("–", "1.00000"), "–"),
    ],
)
def test_steps_show_enough_digits(first: float | None, second: float, values: tuple[str, str], moved: str) -> None:
    assert (precise(first), precise(second)) == values
    assert change(first, second) == moved


def test_the_command(six: Path, sides: tuple[Path, Path], made: dict, tmp_path: Path) -> None:
    a, b = save(tmp_path, A=made["tf1"], B=made["stylegan3"])
    plain = run("explain", a, b)
    assert plain.exit_code == 0, plain.output
    assert "the settings of fid, is" in plain.stdout and plain.stderr == ""
    done = run(
        "explain",
        a,
        b,
        "--generated",
        sides[0],
        "--reference",
        sides[1],
        "-e",
        six,
        "-q",
        "--json",
        tmp_path / "e.json",
    )
    assert done.exit_code == 0 and "ddof: 1 → 0" in done.stdout, done.output
    assert "are those of A and of B" in done.stdout
    record = json.loads((tmp_path / "e.json").read_text())
    assert record["schema"] == "genmetrics.explanation/1"
    step = record["attribution"]["steps"][0]
    assert step["difference"] == {"line": "ddof", "first": 1, "second": 0}
    assert step["after"]["fd"] == pytest.approx(made["stylegan3"].scores["fid"].value)
    only = run("explain", a, b, "--json", "-")
    assert json.loads(only.stdout)["scores"][0]["settings"][0]["effect"]
    half = run("explain", a, b, "--generated", sides[0])
    assert half.exit_code == 2 and "reference is missing" in half.stderr


def test_the_hint_of_compare_leads_here(tmp_path: Path) -> None:
    a, b = save(tmp_path, A=with_recipe(), B=with_recipe(alpha="white"))
    assert f"`genmetrics explain {a} {b}`" in run("compare", a, b).stderr
    told = run("explain", a, b)
    assert told.exit_code == 0 and "only images with transparency" in told.stdout
