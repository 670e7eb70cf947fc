"""What a person reads: numbers, the sentences on what the scores say together, and the terminal table."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from genmetrics_rt.render import numbers, words
from genmetrics_rt.render.names import display_width
from genmetrics_rt.render.reading import read
from genmetrics_rt.report import Finding, PerfectModel, Report, SideSummary
from tests import reports

# Numbers


@pytest.mark.parametrize(
    ("value", "shown", "plain"),
    [
        (0.0, "0", "0"),
        (-0.0, "0", "0"),
        (1.0, "1.000", "1.000"),
        (0.66, "0.6600", "0.6600"),
        (9.9996, "10.00", "10.00"),
        (0.99996, "1.000", "1.000"),
        (12.345678, "12.35", "12.35"),
        (-0.0012345678, "−0.001235", "-0.001235"),
        (0.0001, "0.0001000", "0.0001000"),
        (0.00009, "9.000 × 10⁻⁵", "9.000e-05"),
        (-3.2144e-12, "−3.214 × 10⁻¹²", "-3.214e-12"),
        (12345.678, "12,346", "12346"),
        (987654.3, "987,654", "987654"),  # up to six digits, a whole number is not rounded
        (999999.4, "1.000 × 10⁶", "1.000e+06"),
        (1234567.0, "1.235 × 10⁶", "1.235e+06"),
        (1e300, "1.000 × 10³⁰⁰", "1.000e+300"),
        (5e-324, "4.941 × 10⁻³²⁴", "4.941e-324"),
        (None, "–", "–"),
        (math.nan, "–", "–"),
        (math.inf, "∞", "inf"),
        (-math.inf, "−∞", "-inf"),
    ],
)
def test_numbers_have_four_significant_digits(value: float | None, shown: str, plain: str) -> None:
    assert (numbers.number(value), numbers.plain_number(value)) == (shown, plain)


@given(st.floats(min_value=-1e308, max_value=1e308))
def test_a_plain_number_is_the_number_to_four_digits(value: float) -> None:
    assert float(numbers.plain_number(value)) == pytest.approx(value, rel=5.01e-4, abs=0)


@pytest.mark.parametrize(
    ("function", "value", "shown"),
    [
        (numbers.share, 0.0, "0 %"),
        (numbers.share, 0.0001, "under 1 %"),
        (numbers.share, 0.8214, "82 %"),
        (numbers.share, 0.9999, "over 99 %"),
        (numbers.share, 1.0, "100 %"),
        (numbers.duration, 0.4213, "0.42 s"),
        (numbers.duration, 14.26, "14 s"),
        (numbers.duration, 59.7, "1 min 0 s"),
        (numbers.duration, 200, "3 min 20 s"),
        (numbers.duration, 7500, "2 h 5 min"),
        (numbers.memory, 612_345_678, "612 MB"),
        (numbers.memory, 999_900_000, "1.0 GB"),
        (numbers.rate, 287.4, "287 images/s"),
        (numbers.rate, 3.21, "3.2 images/s"),
        (numbers.setting, True, "yes"),
        (numbers.setting, 10000, "10000"),  # as it is passed, to be copied
        (numbers.setting, 0.25, "0.25"),
        (numbers.setting, None, "none"),
        (numbers.setting, [1, 2, 3], "1, 2, 3"),
        (numbers.setting, {"a": 1, "b": False}, "a 1, b no"),
        (numbers.setting, [float(value) for value in range(9)], "9 values from 0 to 8.000"),
        (numbers.setting, np.float64(0.5), "0.5"),
    ],
)
def test_quantities_in_words(function: Any, value: Any, shown: str) -> None:
    assert function(value) == shown


# The reading


def verdict(**values: float) -> str:
    """The sentence on fidelity and diversity, for 1,797 images a side."""
    return read(reports.with_scores(values)).sentences[0]


@pytest.mark.parametrize(
    ("values", "starts", "contains"),
    [
        ({"precision": 0.82, "recall": 0.43}, "Diversity is the weaker side", "82 % of the generated images look"),
        ({"precision": 0.43, "recall": 0.82}, "Fidelity is the weaker side", "82 % of the reference images are reach"),
        ({"precision": 0.80, "recall": 0.79}, "Neither fidelity nor diversity is clearly", "(recall 0.7900)"),
        ({"precision": 1.0, "recall": 1.0}, "Neither fidelity nor diversity is clearly", "100 %"),
        ({"precision": 0.0, "recall": 0.0}, "Precision and recall are both 0", "do not overlap"),
        ({"prd_f8": 0.7, "prd_f1_8": 0.98}, "Diversity is the weaker side on the precision–recall curve", "F8 0.7000"),
        ({"prd_f8": 0.98, "prd_f1_8": 0.7}, "Fidelity is the weaker side on the precision–recall curve", "F1/8 0.7000"),
        ({"precision": 0.82, "recall": 0.43, "prd_f8": 0.7, "prd_f1_8": 0.98}, "Diversity is the weaker", "agrees"),
        ({"precision": 0.82, "recall": 0.43, "prd_f8": 0.98, "prd_f1_8": 0.7}, "Two views disagree", "the opposite"),
        ({"precision": 0.82, "recall": 0.43, "prd_f8": 0.97, "prd_f1_8": 0.97}, "Diversity is", "the two are close"),
        ({"precision": 0.8, "recall": 0.8, "prd_f8": 0.7, "prd_f1_8": 0.98}, "Precision and recall are close",
         "On the PRD curve, diversity is the weaker side"),
        ({"prd_f8": 0.0, "prd_f1_8": 0.0}, "On the precision–recall curve of the distributions, the two sets share",
         "nothing (F1/8 0, F8 0)"),
        ({"precision": 0.82, "recall": 0.43, "prd_f8": 0.0, "prd_f1_8": 0.0}, "Two views disagree: 82 %",
         "the two sets share nothing (F1/8 0, F8 0)"),
        ({"precision": 0.8, "recall": 0.8, "prd_f8": 0.0, "prd_f1_8": 0.0}, "Two views disagree: 80 %",
         "the two sets share nothing (F1/8 0, F8 0)"),
    ],
)  # fmt: skip
def test_which_side_is_weaker(values: dict[str, float], starts: str, contains: str) -> None:
    sentence = verdict(**values)
    assert sentence.startswith(starts)
    assert contains in sentence


def test_the_most_serious_finding_is_the_headline() -> None:
    info, warning, problem = (
        Finding(severity, severity, f"The {severity}.", "Why.", "What to do.")
        for severity in ("info", "warning", "problem")
    )
    report = dataclasses.replace(reports.full(), findings=(info, warning, problem))
    assert report.verdict == read(report).sentences[0] == "The problem. (1 more finding.)"
    assert report.to_text().count("The problem.") == 2  # here and among the findings
    assert dataclasses.replace(report, findings=(info, warning)).verdict == "The warning."


@pytest.mark.parametrize(
    ("value", "judged", "starts"),
    [(2.9, True, "No fault found"), (3.1, True, "No single fault found"), (3.1, False, "")],
)
def test_without_findings_the_headline_is_the_perfect_model(value: float, judged: bool, starts: str) -> None:
    report = reports.with_scores({"fd": value})
    floor = PerfectModel(2.0, 1.0, 3.0, 1797, 1797, "") if judged else None
    score = dataclasses.replace(report.scores["fd"], floor=floor)
    told = dataclasses.replace(report, scores={"fd": score}, findings=()).verdict
    assert told.startswith(starts) and bool(told) == judged


def test_a_difference_within_the_noise_of_few_images_is_no_verdict() -> None:
    values = {"precision": 0.6, "recall": 0.5}
    few = reports.sized(60, 60, scores=reports.scores(**values))
    many = reports.sized(4000, 4000, scores=reports.scores(**values))
    assert read(few).sentences[0].startswith("Neither")
    assert read(many).sentences[0].startswith("Diversity")


@pytest.mark.parametrize(
    "values", [{"precision": 1.0, "recall": 0.2}, {"precision": 0.0, "recall": 0.0}, {"prd_f8": 0.7, "prd_f1_8": 0.98}]
)
def test_below_50_images_there_is_no_verdict(values: dict[str, float]) -> None:
    scores = reports.scores(**values)
    for few in (reports.sized(49, 3000, scores=scores), reports.sized(3000, 49, scores=scores)):
        (sentence, *others) = read(few).sentences
        assert sentence.startswith("Too few images to judge fidelity or diversity (49 on the smaller side)")
        assert not re.search("weaker|agree|overlap|share", sentence + " ".join(others))
    assert "Too few" not in told(reports.sized(50, 50, scores=scores))
    assert "Too few" not in told(reports.sized(49, 49, scores=reports.scores(kid=0.1)))  # nothing to judge


def told(report: Report) -> str:
    return " ".join(read(report).sentences)


def test_the_kernel_distance_leads_below_2000_images() -> None:
    few, enough = reports.sized(1999, 50_000), reports.sized(2000, 50_000)
    assert read(few).lead == few.scores["kid"]
    assert read(enough).lead == enough.scores["fd"]
    assert "fewer than 2,000" in told(few) and "fewer than 2,000" not in told(enough)
    only_fd = reports.sized(500, 500, scores=reports.scores(fd=12.0))
    assert read(only_fd).lead == only_fd.scores["fd"] and "biased upward by about 1/N" in told(only_fd)


@pytest.mark.parametrize(("value", "apart"), [(-0.0001, False), (0.0, False), (0.02, True)])
def test_a_kernel_distance_not_above_zero_cannot_tell_the_sides_apart(value: float, apart: bool) -> None:
    text = told(reports.with_scores({"kid": value}))
    assert ("cannot tell the two sides apart" in text) != apart
    assert ("no absolute scale" in text) == apart


def test_a_kernel_distance_within_its_own_scatter_is_remarked() -> None:
    def remark(value: float, size: int, num_reference: int = 1797) -> bool:
        details = {"std_over_subsets": 0.02, "subset_size_used": size}
        kid = reports.score("kid", value, details=details)
        return "within the scatter of its subsets" in told(reports.sized(1797, num_reference, scores={"kid": kid}))

    assert remark(0.019, 1000) and remark(-0.019, 1000) and not remark(0.021, 1000) and not remark(-0.021, 1000)
    assert not remark(0.019, 1797)  # one subset: its spread is rounding
    assert remark(0.019, 1797, num_reference=5000)  # the reference's subsets still differ
    assert "scatter" not in told(reports.report(scores={"kid": reports.score("kid", 0.0, details={})}))


@pytest.mark.parametrize(("num_reference", "whole"), [(30, True), (40, False)])
def test_the_spread_over_subsets_is_left_out_where_the_only_subset_is_everything(
    num_reference: int, whole: bool
) -> None:
    kid = reports.score("kid", 0.1, details={"std_over_subsets": 1.776e-15, "subset_size_used": 30})
    report = reports.sized(30, num_reference, scores={"kid": kid})
    for rendered in (report.to_html(), " ".join(report.to_text(width=70).split()), words.details(kid, report)[0][0]):
        assert ("one subset: all images" in rendered) == whole
        assert ("standard deviation" in rendered) != whole


def test_identical_content_is_said_first() -> None:
    same = SideSummary(100, "real", "a7a7")
    first = read(reports.report(generated=same, reference=same)).sentences[0]
    assert first == "Both sides hold the same images: these are the numbers of a perfect copy."
    unknown = SideSummary(100, "stream", "")
    assert "perfect copy" not in told(reports.report(generated=unknown, reference=unknown))


def test_unequal_sizes_are_a_caveat_of_the_neighbour_scores_only() -> None:
    assert "differ in size (1,000 generated, 5,000 reference" in told(reports.sized(1000, 5000))
    assert "differ in size" not in told(reports.sized(1000, 1100))
    assert "differ in size" not in told(reports.sized(1000, 5000, scores=reports.scores(kid=0.1)))


def test_no_value_at_all_leads_nowhere() -> None:
    reading = read(reports.report(scores={"kid": reports.score("kid", None, reason="Too few.")}))
    assert reading.lead is None and "each one below says why" in " ".join(reading.sentences)
    assert "no scores" in told(reports.report(scores={}))


def test_how_to_get_published_numbers_is_said_in_one_line() -> None:
    assert (
        "not with published FID" in (note := words.published_note(reports.report()))
        and "--extractor inception-fid" in note
    )
    assert "depends on the features that were given" in words.published_note(reports.report(extractor=reports.GIVEN))
    assert words.published_note(reports.report(extractor=reports.INCEPTION)) == ""


# The terminal

WIDTHS = [40, 41, 59, 75, 76, 77, 80, 100, 110, 200]
WIDE = "生成画像/とても長いフォルダ名/👩‍🚀_한국어_❤️_" + "語" * 40 + ".png"


def busy() -> Report:
    return reports.report(
        scores={
            **reports.scores(**reports.VALUES),
            "kid": reports.score("kid", -1.2345e-100, name="核距離 (KID) " + "長" * 30, interval=(-1e-100, 2e-100)),
            "class_score": reports.score("class_score", None, reason="ロジットがない。" * 12),
        },
        generated=SideSummary(1797, WIDE, "3f", reports.skipped((WIDE, "damaged"), ("notes.txt", "理由" * 60))),
        findings=tuple(reports.finding(severity, evidence=WIDE) for severity in ("info", "warning", "problem")),
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_asked(width: int) -> None:
    for report in (reports.report(), busy(), reports.report(scores={}, curves={})):
        for line in report.to_text(width=width).split("\n"):
            assert cell_len(line) <= width  # by rich's measure, not ours
            assert line == line.rstrip()


@given(st.text("aé語\u0e31\u0301\u20e3❤\ufe0f👩\u200d🚀한ﾊ "))
def test_our_columns_are_at_least_those_of_a_terminal(text: str) -> None:
    assert display_width(text) >= cell_len(text)


@pytest.mark.parametrize(("text", "columns"), [("é", 1), ("e\u0301", 1), ("ก\u0e31", 1), ("語", 2), ("❤\ufe0f", 2)])
def test_columns_of_single_letters(text: str, columns: int) -> None:
    assert display_width(text) == columns


def test_narrower_than_40_columns_is_40() -> None:
    assert reports.report().to_text(width=1) == reports.report().to_text(width=40)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_says_everything_at_any_width(width: int) -> None:
    report = reports.report(
        scores={**reports.scores(**reports.VALUES), "class_score": reports.score("class_score", None, reason="Why: 42")}
    )
    lines = report.to_text(width=width).split("\n")
    head = next(line for line in lines if line.startswith("on scattering") and "value" in line)
    end = head.index("value") + len("value")
    for key, value in reports.VALUES.items():
        shown = numbers.plain_number(value)
        (row,) = [line for line in lines if line[:end].endswith(f" {shown}")]  # numbers end under their heading
        assert ("higher" if report.scores[key].higher_is_better else "lower") in row
    everything = " ".join(" ".join(lines).split())
    assert "Why: 42" in everything
    if width < 76:  # below the row, so the words follow one another
        for score in report.scores.values():
            assert (score.reason or score.meaning.split(". ")[0]) in everything


def test_text_beside_a_label_stays_left_even_where_a_line_is_only_a_number() -> None:
    report = reports.report(runtime=dataclasses.replace(reports.report().runtime, notes=("x" * 27 + " 0.6600 none",)))
    lines = report.to_text(width=40).split("\n")
    first = next(index for index, line in enumerate(lines) if line.startswith("note"))
    assert [line.index(line.strip().removeprefix("note").strip()) for line in lines[first : first + 2]] == [13, 13]


def test_plain_reports_fit_an_old_code_page() -> None:
    """Standard output of a Windows console may be cp1252; only names from outside may need more."""
    reports.report(findings=(reports.finding(),)).to_text().encode("cp1252")
