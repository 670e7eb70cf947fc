"""Ladders: monotone in severity, a value is placed between rungs and never beyond them, paid for once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.cache import FeatureCache, cache_home
from genmetrics_rt.calibration.damage import DAMAGES, Damage
from genmetrics_rt.calibration.ladder import Ladder, build_ladder, score_like_rungs
from genmetrics_rt.calibration.placing import Band, place_on
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.preparation import given_features
from genmetrics_rt.scoring import settings_for
from tests import makers

BLUR = Damage("blur", "Gaussian blur", "blur", "σ = {} px", (1.0, 2.0, 4.0))
BANDS = [Band(1.0, 0.9, 1.1), Band(2.0, 1.9, 2.1), Band(4.0, 3.9, 4.1)]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.5, 1.5, "lies between blur σ = 1.4 px and σ = 1.6 px"),
        (0.5, 0.6, "better than the mildest damage, blur σ = 1 px"),
        (5.0, 5.0, "off the ladder: worse than blur σ = 4 px"),
        (1.0, 1.0, "no worse than blur σ = 1.1 px"),
        (1.0, 4.0, "no rungs to compare with: Gaussian blur"),
    ],
)
def test_a_value_is_placed_in_words(low: float, high: float, words: str) -> None:
    assert place_on(BLUR, BANDS, low, high, higher_is_better=False).words() == words
    mirrored = [Band(severity, -top, -bottom) for severity, bottom, top in BANDS]
    assert place_on(BLUR, mirrored, -high, -low, higher_is_better=True).words() == words


def test_a_score_that_does_not_see_the_damage_says_so() -> None:
    flat = [Band(severity, 0.9, 1.1) for severity in (1.0, 2.0, 4.0)]
    assert "does not get steadily worse" in place_on(BLUR, flat, 1.0, 1.0, higher_is_better=False).words()
    assert "no rungs" in place_on(BLUR, [], 1.0, 1.0, higher_is_better=False).words()


@pytest.mark.parametrize(
    ("bands", "value", "words"),
    [
        # The intervals at 1 and 2 overlap, so 1 is named; at 2 and 4 they do not: 2 + 2 · (1.2 − 0.9)/(3 − 0.9) = 2.29.
        ([(1, 0, 1.1), (2, 0.9, 2), (4, 3, 4)], 1.2, "lies between blur σ = 1 px and σ = 2.3 px"),
        # 1 + (2.75 − 1)/(3 − 1) = 1.875, and 4 + 4 · (2.75 − 2.5)/(5 − 2.5) = 4.4.
        ([(1, 0, 1), (2, 1.5, 3), (4, 2.5, 4), (8, 5, 6)], 2.75, "lies between blur σ = 1.9 px and σ = 4.4 px"),
        ([(1, 0, 1), (2, 2, 3), (4, 4, 6)], 4.5, "at least as bad as blur σ = 3 px"),
        ([(1, 0, 1), (2, 8, 9), (4, 4, 5)], 2.0, "does not get steadily worse with this damage: Gaussian blur"),
        ([(1, 0, 0), (2, 10, 10)], 5.0, "lies at about blur σ = 1.5 px"),
        ([(1, 0, 1)], 0.5, "no rungs to compare with: Gaussian blur"),
    ],
)
def test_where_rungs_overlap_the_statement_is_wider(
    bands: list[tuple[float, float, float]], value: float, words: str
) -> None:
    assert place_on(BLUR, [Band(*band) for band in bands], value, value, higher_is_better=False).words() == words


def as_side(rows: np.ndarray) -> Features:
    collector = FeatureCollector()
    collector.update(rows)
    return collector.result()


def colour_pictures(folder: Path) -> Path:
    return makers.image_folder(folder / "colour", 160, seed=5, size=48)


@pytest.fixture(scope="module", params=["digits", "colour"])
def ladder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    from genmetrics_rt.images import open_images
    from genmetrics_rt.sides import open_side

    folder = tmp_path_factory.mktemp("reference")
    side = "digits" if request.param == "digits" else colour_pictures(folder)
    source = open_side("digits") if request.param == "digits" else open_images(side)
    reference = gm.make_reference(side, cache=False, num_images=160)
    network = gm.FeatureExtractor("scattering", device="cpu")
    return build_ladder(
        reference.features, 150, ["fd", "kid", "precision", "recall"], settings_for({}, seed=0),
        extractor=network, source=source, max_images=80,
    )  # fmt: skip


def test_worse_damage_scores_worse(ladder: Ladder) -> None:
    for damage in DAMAGES:
        if damage.key == "drop":  # few images of few modes: within their noise
            continue
        for key in ("fd", "kid"):
            values = [rung.readings[key].value for rung in ladder.rungs[damage.key]]
            assert values == sorted(values), (damage.key, key, values)
        for key in ("precision", "recall"):  # shares of 53 images: one image is no rise
            values = [rung.readings[key].value for rung in ladder.rungs[damage.key]]
            assert all(after <= before + 1 / 53 for before, after in pairwise(values)), (damage.key, key, values)
            assert values[-1] < values[0] - 3 / 53


def test_leaving_out_modes_costs_recall_and_not_precision() -> None:
    """Spec 4.11, mode dropping: of well-separated modes in two dimensions, recall is about the share that is kept,
    and precision stays about 0.97. As many images at every rung, so nothing but the modes moves the scores."""
    stream = np.random.default_rng(0)
    centres = 100 * np.array([divmod(mode, 5) for mode in range(20)])
    reference = as_side(centres[stream.integers(0, 20, 1200)] + stream.standard_normal((1200, 2)))
    found = build_ladder(reference, 400, ["precision", "recall"], settings_for({}, seed=0), extractor=given_features(2))
    rungs = found.rungs["drop"]
    assert [rung.num_generated for rung in rungs] == [400] * 4
    for rung in rungs:
        assert rung.readings["recall"].value == pytest.approx(1 - rung.severity, abs=0.08)
        assert rung.readings["precision"].value == pytest.approx(0.97, abs=0.03)
    assert found.place("recall", 0.72).startswith("Lies between leaving out 2")
    assert "does not get steadily worse" in found.place("precision", 0.9)


def test_it_comes_back_from_its_json(ladder: Ladder) -> None:
    again = Ladder.from_json(ladder.to_json())
    assert again.to_json() == ladder.to_json()
    assert again.place("fd", 1e9).lower().count("off the ladder") >= 3
    with pytest.raises(gm.UnreadableInput):
        Ladder.from_json("{}")


def test_a_report_has_its_places_and_pays_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real = (makers.image_folder(tmp_path / name, 120, seed=seed) for name, seed in (("out", 1), ("real", 2)))
    stages: list[str] = []
    options = {"extractor": tiny, "metrics": "fd,kid,recall", "ladder": True}
    first = gm.evaluate(out, real, **options, progress=lambda state: stages.append(state.stage))
    assert "ladder" in stages and len(first.scales) == 3
    for score in first.scores.values():
        assert score.placement.endswith(".") and score.floor is not None
    stages.clear()
    again = gm.evaluate(out, real, **options, progress=lambda state: stages.append(state.stage))
    assert "ladder" not in stages and again.scales == first.scales and again.scores == first.scores
    page = again.to_html()
    assert "How bad is that?" in page and page.count("on the ladder of damages</title>") == 2
    assert "On the ladder of damages" in " ".join(again.to_text().split()) or again.scores["kid"].value <= 0
    assert gm.Report.from_json(again.to_json()).scales == first.scales


def test_the_images_of_the_user_are_scored_like_the_rungs(ladder: Ladder) -> None:
    few = as_side(np.zeros((10, 256), np.float32))
    with pytest.raises(gm.InputError, match="build a ladder from it"):
        score_like_rungs(
            ladder, few, few, settings_for({}, seed=0),
            extractor=gm.FeatureExtractor("scattering", device="cpu").summary,
        )  # fmt: skip


def test_a_stored_ladder_of_another_version_is_built_again() -> None:
    reference = as_side(np.random.default_rng(0).standard_normal((120, 4)))
    cache = FeatureCache(cache_home())

    def build() -> Ladder:
        return build_ladder(
            reference, 40, ["fd", "recall"], settings_for({}, seed=0),
            extractor=given_features(4), content_hash="a", cache=cache,
        )  # fmt: skip

    first = build()
    assert list(first.rungs) == ["drop"]
    (path,) = (cache_home() / "features").rglob("*.block")
    cache.put(path.stem, {"ladder": np.frombuffer(b'{"schema": "genmetrics.ladder/0"}', dtype=np.uint8)})
    assert build() == first == build()


def test_statistics_alone_have_no_ladder(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    np.savez(tmp_path / "real.npz", mu=rows.mean(axis=0), sigma=np.cov(rows.T))
    with pytest.raises(gm.TooFewImages, match="a ladder needs 80"):
        gm.evaluate(rows, tmp_path / "real.npz", metrics="fd", ladder=True)
    report = gm.evaluate(rows, tmp_path / "real.npz", metrics="fd")
    assert report.scores["fd"].floor is None
