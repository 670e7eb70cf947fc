"""The report as JSON: a strict file that gives the same report again, whatever its numbers and names."""

from __future__ import annotations

import dataclasses
import json
import math
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmetrics_rt.errors import UnreadableInput
from genmetrics_rt.report import Curve, Gallery, Report, SideSummary, Thumbnail
from tests import reports


def strict_json(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def without_pictures(report: Report) -> Report:
    def plain(gallery: Gallery) -> Gallery:
        thumbnails = tuple(dataclasses.replace(entry, jpeg=None) for entry in gallery.thumbnails)
        return dataclasses.replace(gallery, thumbnails=thumbnails)

    return dataclasses.replace(report, galleries=tuple(map(plain, report.galleries)))


def test_json_round_trip_gives_the_same_report_without_pictures() -> None:
    report = reports.report(
        scores={**reports.scores(**reports.VALUES), "kid": reports.score("kid", 0.1, interval=(0.05, 0.15))},
        generated=SideSummary(3, "out", "3f", reports.skipped(("a.png", "an empty file"))),
        findings=(reports.finding("problem"), reports.finding("info")),
        galleries=(reports.gallery("uncovered", ["a.png", "ü/b.png"]),),
    )
    again = Report.from_json(report.to_json())
    assert again == without_pictures(report)
    assert again.to_json() == report.to_json() == Report.from_json(report.to_json(indent=None)).to_json()


def test_json_has_the_fields_of_the_schema_and_no_pictures() -> None:
    report = reports.report(galleries=(reports.gallery("uncovered", ["a.png"]),))
    record = strict_json(report.to_json())
    assert record["schema"] == "genmetrics.report/1"
    expected = {"name", "value", "standard_error", "interval", "higher_is_better", "comparable_with", "settings"}
    for score in record["scores"].values():
        assert expected <= set(score)
    assert {"num_images", "source", "content_hash", "skipped"} <= set(record["generated"])
    assert {"name", "numeric_id", "protocol"} <= set(record["extractor"])
    assert {"device", "backend", "versions", "seconds", "peak_memory_bytes"} <= set(record["runtime"])
    assert record["galleries"][0]["thumbnails"][0].keys() == {"name", "value", "caption"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf")])
def test_a_score_that_is_not_finite_is_null_with_a_reason(value: float) -> None:
    what = {"nan": "not a number", "inf": "infinite", "-inf": "minus infinite"}[str(float(value))]
    bare = reports.score("fd", float(value))
    told = dataclasses.replace(reports.score("fd", 1.0), value=float(value), reason="The covariance overflowed.")
    assert (bare.value, bare.reason) == (None, f"The result is {what}.")
    assert (told.value, told.reason) == (None, "The covariance overflowed.")
    entry = strict_json(reports.report(scores={"fd": bare}).to_json())["scores"]["fd"]
    assert entry["value"] is None and entry["reason"] == f"The result is {what}."


def test_every_other_number_that_is_not_finite_is_null_with_a_reason_too() -> None:
    details = {"spread": math.inf, "runs": [1.0, math.nan, -math.inf], "single": np.float32("nan"), "fine": 1.5}
    score = reports.score("kid", 0.1, standard_error=math.nan, interval=(0.05, math.inf), details=details)
    far = Thumbnail("a.png", None, math.inf, "inf × its radius away")
    curve = Curve("prd", "PRD", "recall", "precision", (0.0, math.nan), (1.0, 0.5))
    report = reports.report(
        scores={"kid": score}, galleries=(Gallery("uncovered", "t", "e", (far,)),), curves={"prd": curve}
    )
    record = strict_json(report.to_json())
    kid = record["scores"]["kid"]
    assert (kid["standard_error"], kid["standard_error_reason"]) == (None, "not a number")
    assert (kid["interval"], kid["interval_reason"]) == ([0.05, None], [None, "infinite"])
    assert (kid["details"]["spread"], kid["details"]["spread_reason"]) == (None, "infinite")
    assert kid["details"]["runs"] == [1.0, None, None]
    assert kid["details"]["runs_reason"] == [None, "not a number", "minus infinite"]
    assert (kid["details"]["single"], kid["details"]["single_reason"]) == (None, "not a number")
    assert "fine_reason" not in kid["details"]
    assert record["galleries"][0]["thumbnails"][0]["value_reason"] == "infinite"
    assert record["curves"]["prd"]["x"] == [0.0, None]

    again = Report.from_json(report.to_json())
    assert again.galleries[0].thumbnails[0].value == math.inf
    assert again.scores["kid"].interval == (0.05, math.inf)
    assert again.to_json() == report.to_json()
    assert again.to_html() and again.to_markdown() and again.to_text()


@given(st.floats(), st.floats(), st.lists(st.floats()))
def test_any_numbers_survive(value: float, error: float, runs: list[float]) -> None:
    report = reports.report(scores={"kid": reports.score("kid", value, standard_error=error, details={"runs": runs})})
    strict_json(report.to_json())
    assert repr(Report.from_json(report.to_json()).scores) == repr(report.scores)  # repr, as nan is not equal to nan


@given(st.text(st.characters()))
def test_any_name_survives_and_harms_no_terminal(name: str) -> None:
    """Half surrogates are how Python holds file names that are no text; JSON as UTF-8 must still be possible."""
    report = reports.report(generated=SideSummary(1, name, "", reports.skipped((name, name))), curves={})
    text = report.to_json()
    text.encode()
    assert not {unicodedata.category(character) for character in text} & {"Cs", "Zl", "Zp"}
    assert not set(text) & {chr(code) for code in (*range(0x0A), *range(0x0B, 0x20), *range(0x7F, 0xA0), 0x202E)}
    assert Report.from_json(text).generated == report.generated


def test_numpy_values_in_settings_become_json() -> None:
    settings = {"seed": np.int64(3), "on": np.bool_(True), "grid": np.arange(3), "scale": np.float32(0.5)}
    report = reports.report(scores={"fd": reports.score("fd", 1.0, settings=settings)})
    read_back = strict_json(report.to_json())["scores"]["fd"]["settings"]
    assert read_back == {"seed": 3, "on": True, "grid": [0, 1, 2], "scale": 0.5}


def broken(change: Any) -> str:
    record = json.loads(reports.report().to_json())
    change(record)
    return json.dumps(record)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"schema": "genmetrics.report/2"}',
        broken(lambda record: record.pop("runtime")),
        broken(lambda record: record["scores"]["fd"].pop("meaning")),
        broken(lambda record: record["scores"]["fd"].update(colour="red")),
        broken(lambda record: record.update(findings=[1])),
        broken(lambda record: record.update(curves=[])),
    ],
)
def test_what_is_no_report_is_refused_by_name(text: str) -> None:
    with pytest.raises(UnreadableInput, match=r"genmetrics\.report/1"):
        Report.from_json(text)
