"""The scorecard of generators: six properties, each measured or with its reason, and who leads in which."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli_scorecard import described_sides, scorecard
from genmetrics_rt.errors import InputError
from genmetrics_rt.scorecard.card import Measure, leaders
from genmetrics_rt.scorecard.measuring import likelihood
from genmetrics_rt.scorecard.scoring import _sibling
from genmetrics_rt.textbook import PROPERTIES, TEXTBOOK, expectation
from tests.test_generators import write_onnx

OPTIONS: dict[str, Any] = {"num_images": 200, "num_paths": 40, "device": "cpu"}


@pytest.fixture(scope="module")
def card() -> gm.Scorecard:
    return gm.make_scorecard(["digits-vae", "digits-memoriser"], "digits", **OPTIONS)


def measure(
    value: float, low: float | None = None, high: float | None = None, *, better: bool | None = True
) -> Measure:
    interval = None if low is None or high is None else (low, high)
    return Measure("key", "title", value, higher_is_better=better, interval=interval, leading=True)


def test_whoever_cannot_be_told_from_the_best_leads_too() -> None:
    far, near, best = measure(1, 0, 2), measure(4, 3, 5), measure(5, 4.5, 5.5)
    assert leaders({"far": far, "near": near, "best": best, "none": None}) == ("near", "best")
    assert leaders({"near": near, "best": best}) == ()  # nobody can be told apart
    assert leaders({"best": best, "none": None}) == ()
    down = {name: measure(entry.value, *entry.interval, better=False)
            for name, entry in {"far": far, "near": near, "best": best}.items()}  # fmt: skip
    assert leaders(down) == ("far",)
    assert leaders({"a": measure(1.0), "b": measure(2.0)}) == ("b",)
    assert leaders({"a": measure(1.0, better=None), "b": measure(2.0, better=None)}) == ()


def test_what_is_on_unlike_scales_is_not_ranked() -> None:
    """Ten factors are harder to name than four."""
    shares = {
        name: Measure("share", "share", value, "", True, (value, value), leading=True, scale=scale)
        for name, value, scale in (("a", 0.2, "10 factors"), ("b", 0.3, "4 factors"))
    }
    assert leaders(shares) == ()
    assert leaders({**shares, "b": replace(shares["b"], scale="10 factors")}) == ("b",)


def test_speeds_are_told_apart_only_where_they_differ_much() -> None:
    speeds = {
        name: Measure("speed", "speed", value, higher_is_better=True, leading=True, resolution=1.0)
        for name, value in {"a": 200.0, "b": 80.0, "c": 10.0}.items()
    }
    assert leaders(speeds) == ("a", "b")


def test_every_property_is_measured_or_says_why_not(card: gm.Scorecard) -> None:
    assert [entry.name for entry in card.cards] == ["digits-vae", "digits-memoriser"]
    for entry in card.cards:
        assert list(entry.found) == [found.key for found in PROPERTIES]
        for found in entry.found.values():
            assert bool(found.measures) != bool(found.why_not)
            assert sum(one.leading for one in found.measures) == bool(found.measures)
            assert all(np.isfinite(one.value) for one in found.measures)
    vae, memoriser = card.cards
    assert (vae.family, memoriser.family) == ("VAE", "memoriser")
    assert vae.found["sampling"].expected == "yes" and memoriser.found["sampling"].expected is None
    assert "No density belongs to it" in memoriser.found["likelihood"].why_not
    assert len(vae.pictures) == 12 and all(picture.jpeg for picture in vae.pictures)


def test_the_values_are_those_of_the_single_commands(card: gm.Scorecard) -> None:
    report = gm.evaluate("digits-vae", "digits", num_images=200, device="cpu")
    found = {one.key: one for entry in card.cards[0].found.values() for one in entry.measures}
    for key in ("precision", "density", "recall", "coverage", "kid", "fd"):
        assert found[key].value == report.scores[key].value, key
        assert found[key].interval == report.scores[key].interval
    latent = gm.examine_latent_space("digits-vae", num_paths=40, seed=0, device="cpu")
    assert found["path_length"].value == pytest.approx(latent.path_length.value, rel=1e-6)
    density = gm.likelihood_of_images("digits-vae-density", "digits", num_images=200, generated=False, device="cpu")
    assert found["bits_per_dim"].value == pytest.approx(density.entries[0].test.bits_per_dim, rel=1e-6)
    assert "upper bound" in found["bits_per_dim"].note


def test_a_memoriser_jumps_and_is_told_to_copy(card: gm.Scorecard) -> None:
    vae, memoriser = card.cards
    assert card.best("latent_space") == ("digits-vae",)
    assert any("copies" in warning for warning in memoriser.warnings)
    assert not any("copies" in warning for warning in vae.warnings)


def test_it_is_shown_and_written(card: gm.Scorecard) -> None:
    text, page = card.to_text(80), card.to_html()
    assert max(map(len, text.splitlines())) <= 80
    for entry in PROPERTIES:
        assert entry.title.upper() in text and entry.title in page
    assert "digits-vae" in page and "<script" not in page and page.count("data:image/jpeg") >= 24
    assert card.to_html(fragment=True).startswith('<div class="genmetrics"')
    record = json.loads(card.to_json())
    assert record["schema"] == "genmetrics.scorecard/1"
    assert record["cards"][0]["found"]["quality"]["measures"][0]["key"] == "precision"
    assert record["best"]["latent_space"] == ["digits-vae"]


def test_what_fails_in_one_property_leaves_the_others(tiny_generator: Path, tmp_path: Path) -> None:
    """A density that takes other pictures."""
    card = gm.make_scorecard(
        gm.Generator(tiny_generator), "digits", densities={"tiny-generator": tmp_path / "missing.onnx"}, **OPTIONS
    )
    found = card.cards[0].found
    assert "missing.onnx" in found["likelihood"].why_not
    assert found["quality"].measures and found["coverage"].measures
    assert card.best("quality") == ()


def test_a_density_belongs_to_the_very_generator_that_it_names(tmp_path: Path, tiny_generator: Path) -> None:
    """Not to whatever is called so."""
    shipped = gm.Generator("digits-vae").bundle
    assert _sibling(shipped).name == "digits-vae-density"
    copy = shutil.copytree(shipped.path, tmp_path / "mine")
    assert _sibling(gm.load_bundle(copy)).name == "digits-vae-density"
    manifest = json.loads((tiny_generator / "manifest.json").read_text())
    own = shutil.copytree(tiny_generator, tmp_path / "own")
    (own / "manifest.json").write_text(json.dumps({**manifest, "name": "digits-vae"}))
    assert gm.load_bundle(own).name == "digits-vae" and _sibling(gm.load_bundle(own)) is None


def test_images_that_a_density_may_have_been_trained_on_are_told() -> None:
    """Of the shipped digits it is known; of a user's images it is not."""
    options: dict[str, Any] = {"num_images": 20, "generated": False, "device": "cpu"}
    parted = gm.likelihood_of_images("digits-vae-density", "digits", **options)
    digits = np.repeat(gm.example_images().images[:40, ..., None], 3, axis=-1)
    unknown = gm.likelihood_of_images("digits-vae-density", digits, **options)
    told = "Whether it was trained on them is not known"
    assert not any(told in note for note in likelihood(parted).notes)
    found = likelihood(unknown)
    assert sum(told in note for note in found.notes) == 1
    (cost,) = (one for one in found.measures if one.key == "seconds_per_image")
    assert cost.value == 1e3 * unknown.entries[0].seconds_per_image


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="digits is a set of images, and a scorecard judges a generator"):
        gm.make_scorecard("digits", "digits")
    with pytest.raises(InputError, match="No generator was given"):
        gm.make_scorecard([], "digits")
    with pytest.raises(InputError, match="digits-gan, which is none of the generators: digits-vae"):
        gm.make_scorecard("digits-vae", "digits", densities={"digits-gan": "x"})


def test_one_generator_twice_has_two_names() -> None:
    card = gm.make_scorecard(["digits-gan"] * 2, "digits", **{**OPTIONS, "num_images": 60, "num_paths": 20})
    assert [entry.name for entry in card.cards] == ["digits-gan (1)", "digits-gan (2)"]


def test_the_textbook_has_no_family_with_everything() -> None:
    keys = [entry.key for entry in PROPERTIES]
    for family, row in TEXTBOOK.items():
        assert list(row) == keys
        assert {"no", "has none"} & set(row.values()), family
    assert expectation("gan", "coverage") == "no" and expectation("something", "coverage") is None


def test_options_describe_the_bare_files(tmp_path: Path) -> None:
    """A float output needs its range. What stands beside a bare file is not touched."""
    path = str(write_onnx(tmp_path / "model.onnx"))
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(scorecard)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, [*arguments, "-n", "60", "--device", "cpu", "-q", "--json", "-"])

    done = run(path, "digits", "--output-range=-1,1", "--truncation", "0.5")
    assert done.exit_code == 0, done.output
    (card,) = json.loads(done.stdout)["cards"]
    measured = {one["key"]: one["value"] for found in card["found"].values() for one in found["measures"]}
    described = gm.Generator(path, output_range=(-1, 1), truncation=0.5)
    alone = gm.evaluate(described, "digits", num_images=60, device="cpu")
    assert measured["kid"] == alone.scores["kid"].value and measured["path_length"] > 0
    refused = run(path, "digits")
    assert refused.exit_code == 2 and "--output-range=-1,1" in refused.stderr
    own = run(path, "digits", "--output-range=-1,1", "--html", path)
    assert own.exit_code == 2 and "would overwrite the input" in " ".join(own.stderr.split())
    wrong = run("digits-gan", "digits", "--classes", "balanced")
    assert wrong.exit_code == 2 and "takes no labels" in wrong.stderr

    options: dict[str, Any] = dict.fromkeys(
        ("latent_dim", "latent", "num_classes", "classes", "output_layout", "generator_backend", "generator_batch")
    )
    options |= {"truncation": 0.5, "output_range": "-1,1", "clip": False}
    bare, bundle = described_sides([path, "digits-gan"], **options)
    assert isinstance(bare, gm.Generator) and bare.truncation == 0.5 and bundle == "digits-gan"
    (bundle,) = described_sides(["digits-gan"], **options | {"output_range": None})
    assert isinstance(bundle, gm.Generator) and bundle.truncation == 0.5
