"""The whole way from texts to a report, with a tiny network of texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.extractor import CHUNK
from genmetrics_rt.wording import of_texts
from tests.text_makers import make_text_extractor, sentences

REAL, OTHER = sentences(160, seed=1), sentences(160, seed=2)


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text_extractor(tmp_path_factory.mktemp("bundles") / "tiny-text")


@pytest.fixture(scope="session")
def report(tiny_text: Path) -> gm.Report:
    return gm.evaluate(OTHER[:130] + OTHER[:30], REAL, extractor=tiny_text)


def test_a_report_on_texts_speaks_of_texts(report: gm.Report) -> None:
    assert report.extractor.modality == "text"
    assert {"fd", "kid", "precision", "recall", "density", "coverage", "prd_f8", "mauve"} <= set(report.scores)
    for told in (report.to_text(), report.to_markdown(), _visible(report.to_html())):
        assert "160 texts" in told or "160 generated" in told
        assert not re.search(r"\b(images?|pictures?)\b", told.replace("Inception", "")), told


def _visible(page: str) -> str:
    return re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))


def test_json_keeps_its_fields_and_comes_back(report: gm.Report) -> None:
    record = json.loads(report.to_json())
    assert record["generated"]["num_images"] == 160
    assert record["galleries"][0]["thumbnails"][0]["text"] in OTHER
    again = gm.Report.from_json(report.to_json())
    assert again.to_text() == report.to_text() and again.to_html() == report.to_html()
    for thumbnail in (entry for gallery in record["galleries"] for entry in gallery["thumbnails"]):
        del thumbnail["text"]  # as reports were before there were texts
    del record["extractor"]["modality"]
    gm.Report.from_json(json.dumps(record)).to_html()


def test_galleries_quote_each_text_once_and_pairs_stand_together(report: gm.Report) -> None:
    by_key = {gallery.key: gallery for gallery in report.galleries}
    least = [entry.text for entry in by_key["least_realistic"].thumbnails]
    assert len(set(least)) == len(least) == 12
    assert by_key["nearest_pairs"].thumbnails[0].text in OTHER
    assert by_key["nearest_pairs"].thumbnails[1].text in REAL


def test_repeated_texts_are_counted(report: gm.Report) -> None:
    finding = next(entry for entry in report.findings if entry.key == "repeated_texts")
    assert "30 of 160 generated texts" in finding.evidence
    assert [entry.text for entry in finding.pictures] == OTHER[:3]


def test_hostile_texts_reach_neither_page_nor_terminal(tiny_text: Path) -> None:
    evil = "ab <script>alert(1)</script> \u202ecba \x1b[31m\x07 cd"
    hostile = gm.evaluate([f"{evil} {text}" for text in OTHER], REAL, extractor=tiny_text)
    for told in (hostile.to_html(), hostile.to_text(), hostile.to_markdown(), hostile.to_json()):
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", told)
    page = hostile.to_html()
    assert "<script>" not in page and "&lt;script&gt;" in page and "\\u202e" in page
    assert '<blockquote dir="auto">' in page


def test_features_do_not_depend_on_neighbours_batches_or_the_cache(tiny_text: Path) -> None:
    extractor = gm.FeatureExtractor(tiny_text)
    mixed = [text * (1 + row % 4) for row, text in enumerate(REAL)]
    alone = np.concatenate([extractor([text])[0] for text in mixed])
    assert np.array_equal(extractor(mixed)[0], alone)
    whole = gm.extract_features(mixed, extractor=tiny_text).values
    assert np.array_equal(whole, alone) and len(mixed) > CHUNK
    assert np.array_equal(gm.extract_features(mixed, extractor=tiny_text).values, whole)  # from the cache
    assert np.array_equal(gm.FeatureExtractor(tiny_text, batch_size=3)(mixed)[0], alone)


def test_the_cache_goes_by_content(tiny_text: Path, tmp_path: Path) -> None:
    file = tmp_path / "real.txt"
    file.write_text("\n\n".join(REAL))
    seen: list[gm.Progress] = []
    gm.extract_features(REAL, extractor=tiny_text)
    gm.extract_features(str(file), extractor=tiny_text, progress=seen.append)
    assert seen[-1].from_cache == len(REAL) and seen[-1].unit == "texts"


def test_skipped_and_cut_texts_are_told(tiny_text: Path, tmp_path: Path) -> None:
    file = tmp_path / "gen.txt"
    file.write_text("\n".join([*OTHER[:50], "", "\u200b\u200d", "ab " * 200]))
    found = gm.evaluate(str(file), REAL, extractor=tiny_text, intervals=False)
    assert found.generated.num_images == 51
    assert [entry.name for entry in found.generated.skipped] == ["line 51", "line 52"]
    assert "without a shape" in found.generated.skipped[1].reason
    assert "Of 1 of 51 texts" in found.generated.notes[0]
    assert "2 generated texts" in found.to_text()
    with pytest.raises(gm.InputError, match="line 51 cannot be used"):
        gm.evaluate(str(file), REAL, extractor=tiny_text, strict=True)


def test_a_saved_reference_of_texts_stands_for_them(tiny_text: Path, tmp_path: Path) -> None:
    gm.make_reference(REAL, extractor=tiny_text).save(tmp_path / "real.npz")
    direct = gm.evaluate(OTHER, REAL, extractor=tiny_text, intervals=False)
    saved = gm.evaluate(OTHER, str(tmp_path / "real.npz"), extractor=tiny_text, intervals=False)
    assert {key: score.value for key, score in saved.scores.items()} == {
        key: score.value for key, score in direct.scores.items()
    }
    assert saved.extractor.modality == "text" and "texts" in saved.to_text()


def test_streams_of_texts(tiny_text: Path) -> None:
    with gm.Evaluation(REAL, extractor=tiny_text, intervals=False) as evaluation:
        evaluation.update(OTHER[:80])
        evaluation.update(OTHER[80:])
        streamed = evaluation.compute()
    whole = gm.evaluate(OTHER, REAL, extractor=tiny_text, intervals=False)
    assert streamed.scores["kid"].value == pytest.approx(whole.scores["kid"].value, rel=1e-9)
    with pytest.raises(gm.InputError, match="list of str"):
        evaluation.update(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((OTHER, "digits"), {}, "holds texts and the other side images"),
        ((OTHER, np.zeros((20, 5))), {}, "features and the other of texts"),
        ((OTHER, REAL), {"extractor": "scattering"}, "looks at images, and the sides are texts"),
        (("digits", "digits"), {"extractor": "minilm"}, "looks at texts, and the sides are images"),
    ],
)
def test_what_does_not_belong_together_is_refused(arguments: tuple, options: dict, words: str) -> None:
    with pytest.raises(gm.InputError, match=words):
        gm.evaluate(*arguments, **options)


def test_what_is_for_pictures_alone_says_so(tiny_text: Path) -> None:
    with pytest.raises(gm.InputError, match="for texts there are none"):
        gm.evaluate(OTHER, REAL, extractor=tiny_text, ladder=True)
    with pytest.raises(gm.InputError, match="Copies are looked for in pictures"):
        gm.find_copies(OTHER, REAL, extractor=tiny_text)


def test_copied_texts_are_found_word_for_word(tiny_text: Path) -> None:
    found = gm.evaluate(OTHER[:110] + [text.upper() for text in REAL[:50]], REAL, extractor=tiny_text)
    finding = next(entry for entry in found.findings if entry.key == "memorisation")
    assert "50 of 160 generated texts stand in the reference word for word" in finding.evidence
    assert [entry.text for entry in finding.pictures[:2]] == [REAL[0].upper(), REAL[0]]


def test_lengths_that_differ_are_told(tiny_text: Path) -> None:
    longer = [f"{text} {other}" for text, other in zip(OTHER, REAL, strict=True)]
    keys = {entry.key: entry.claim for entry in gm.evaluate(longer, REAL, extractor=tiny_text).findings}
    assert "longer" in keys["unlike_lengths"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Images that look like others.", "Texts that are like others."),
        ("set num_images or --num-images, of ImageNet", "set num_images or --num-images, of ImageNet"),
        ("Look at the pictures of one image", "Look at the texts of one text"),
    ],
)
def test_words(before: str, after: str) -> None:
    assert of_texts(before) == after
