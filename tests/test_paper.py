"""Scores for a paper and for a model card: rounding, escaping, and everything that a number needs beside it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli_paper import report as report_command
from genmetrics_rt.render.paper import Rounded, _yaml, escape_latex, plus_minus, render_paper, rounded
from genmetrics_rt.report import SideSummary
from tests import reports

INTERVALS = {"fd": (9.2, 15.5), "kid": (0.0834, 0.0914), "precision": (0.79, 0.85), "recall": (0.4312, 0.45)}


def with_intervals(**changes: object) -> gm.Report:
    scores = {
        key: dataclasses.replace(score, interval=INTERVALS.get(key), replicates=(0.1,) * 20)
        for key, score in reports.scores(**reports.VALUES).items()
    }
    return reports.report(scores=scores, **changes)


def latex(**named: gm.Report) -> str:
    return render_paper(named or {"GAN": with_intervals()}, "latex")


# Rounding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (12.345678, (9.195678, 15.495678), Rounded("12.3", "3.2", "3.2")),
        (0.0874321, (0.0834321, 0.0914321), Rounded("0.0874", "0.0040", "0.0040")),
        (0.99, (0.96, 1.0), Rounded("0.990", "0.030", "0.010")),  # cut at the bound of a share
        (1234.5, (1000.0, 1469.0), Rounded("1234", "234", "234")),
        (-0.00004, (-0.01, 0.0099), Rounded("0.000", "0.010", "0.010")),  # never "-0.000"
        (0.5, None, Rounded("0.5000")),
        (0.5, (0.5, 0.5), Rounded("0.500", "0.000", "0.000")),
    ],
)
def test_a_value_has_the_digits_of_its_uncertainty(
    value: float, interval: tuple[float, float] | None, expected: Rounded
) -> None:
    assert rounded(value, interval) == expected


def test_plus_minus() -> None:
    assert plus_minus(12.345, 1.5) == "12.3 ± 1.5"
    assert plus_minus(0.278, 0.0658) == "0.278 ± 0.066"


# LaTeX ----------------------------------------------------------------------------------------------------------------


def test_every_special_character_prints_itself() -> None:
    assert escape_latex(r"a_b & 50% #1 {x} $y$ ~ ^ \n") == (
        r"a\_b \& 50\% \#1 \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{}n"
    )
    assert escape_latex('<|>"`') == r"\textless{}\textbar{}\textgreater{}''\textasciigrave{}"
    assert escape_latex("a-b --x --- y") == "a-b -{}-x -{}-{}- y"  # TeX would make dashes of them
    assert escape_latex("1–2 ±") == r"1--2 $\pm$"
    assert escape_latex("[2]*") == "{[}2]{*}"  # behind the \\ of the row above, it would be an option
    assert escape_latex("a\n\x1b") == r"a \textbackslash{}x1b"


def test_no_special_character_of_a_name_is_left_bare() -> None:
    name = r"run_1 & 50% {$\input{/etc/passwd}$} #~^"
    text = latex(**{name: with_intervals(reference=SideSummary(10, name, ""))})
    (line,) = [line for line in text.splitlines() if line.startswith("run")]
    assert r"\input" not in text and line.count("&") - line.count(r"\&") == 10  # 11 columns
    assert escape_latex(name) in text


def test_the_table_has_a_row_for_each_report() -> None:
    text = latex(GAN=with_intervals(), VAE=reports.report())
    lines = text.splitlines()
    assert r"\begin{tabular}{lrrrrrrrrrr}" in lines and lines.count(r"\toprule") == 1
    head = next(line for line in lines if line.startswith(" & "))
    assert head == (
        r" & Generated & Reference & FD $\downarrow$ & KID $\downarrow$ & Precision $\uparrow$ & Recall $\uparrow$ & "
        r"Density $\uparrow$ & Coverage $\uparrow$ & PRD F8 $\uparrow$ & PRD F1/8 $\uparrow$ \\"
    )
    (gan,) = [line for line in lines if line.startswith("GAN")]
    # 12.345678 from 9.2 to 15.5: 3.1 below and 3.2 above. Recall's interval ends at the value.
    assert gan.startswith(r"GAN & 1,797 & 1,797 & $12.3^{+3.2}_{-3.1}$ & $0.0874 \pm 0.0040$ & ")
    assert r"$0.431^{+0.019}_{-0.000}$" in gan
    assert r"$12.35$ & $0.08743$" in next(line for line in lines if line.startswith("VAE"))
    assert all(line.endswith(r" \\") for line in lines if " & " in line)


def test_tiny_and_missing_values() -> None:
    text = latex(A=reports.with_scores({"kid": 3.2e-7, "fd": None}), B=reports.with_scores({"kid": 0.1}))
    (row,) = [line for line in text.splitlines() if line.startswith("A &")]
    assert row == r"A & 1,797 & 1,797 & -- & $3.200 \times 10^{-7}$ \\" or row == (
        r"A & 1,797 & 1,797 & $3.200 \times 10^{-7}$ & -- \\"
    )


def test_the_methods_sentence_says_how_the_numbers_were_made() -> None:
    (told,) = [render_paper({"GAN": with_intervals()}, "markdown").split("\n\n")[1]]
    told = told.replace("\\", "")
    for part in (
        "against digits (1,797 images)", "genmetrics-rt 0.1.0", "on scattering features", "256 dimensions",
        "protocol scattering", f"numeric id {reports.SCATTERING.numeric_id[:16]}", "seed 0",
        "Training-free texture, colour and band-energy baseline; not comparable with published FID.",
        "Fréchet distance: ddof 1", "Precision, Recall: nearest k 3, border counts yes",
        "95 % interval, from how the score moves over groups of the images",
    ):  # fmt: skip
        assert part in told
    assert "interval" not in render_paper({"GAN": reports.report()}, "markdown")


# Markdown -------------------------------------------------------------------------------------------------------------


def test_markdown_rows() -> None:
    text = render_paper({"a|b": with_intervals()}, "markdown", metrics=["kid", "precision", "fd", "density"])
    head, dashes, row = text.splitlines()[:3]
    assert head == "|  | Generated | Reference | FD ↓ | KID ↓ | Precision ↑ | Density ↑ |"
    assert dashes.count("---") == 7
    assert row == (r"| a\|b | 1,797 | 1,797 | 12.3 (+3.2, −3.1) | 0.0874 ± 0.0040 | 0.821 (+0.029, −0.031) | 0.9143 |")


# The Hub --------------------------------------------------------------------------------------------------------------


def test_the_model_index_has_the_fields_that_the_hub_asks_for() -> None:
    """The required fields of huggingface/hub-docs, modelcard.md: name, task.type, dataset.type and .name, metrics."""
    text = render_paper(
        {"my model": with_intervals()}, "hf-eval-results", metrics=["kid", "fd"], dataset="org/digits", task="t-2-i"
    )
    assert text.splitlines()[1:12] == [
        "model-index:",
        '- name: "my model"',
        "  results:",
        "  - task:",
        '      type: "t-2-i"',
        "    dataset:",
        '      type: "org/digits"',
        '      name: "digits"',
        "    metrics:",
        '    - type: "fd"',
        "      value: 12.345678",
    ]
    for line in (
        '      name: "Kernel distance (KID) on scattering features"', "        num_generated: 1797",
        "        interval_95: [0.0834, 0.0914]", f'        numeric_id: "{reports.SCATTERING.numeric_id}"',
        '        tool: "genmetrics-rt 0.1.0"', '        settings: {"ddof": 1}', "        seed: 0",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert "--dataset" in render_paper({"a": reports.report()}, "hf-eval-results")


def test_a_score_without_a_value_is_not_published() -> None:
    text = render_paper({"a": reports.with_scores({"fd": None, "kid": 0.1})}, "hf-eval-results")
    assert '"kid"' in text and '"fd"' not in text and "null" not in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1e-05, "1.0e-5"), (1.5e300, "1.5e+300"), (-2.0, "-2.0"), (True, "true"), (None, "null"),
        (float("nan"), "null"),
        ("no", '"no"'), ('a"\\:\n', '"a\\"\\\\:\\\\n"'), ("é", '"é"'), ((1, 2.5), "[1, 2.5]"), ({"a": {}}, '{"a": {}}'),
    ],
)  # fmt: skip
def test_values_as_every_yaml_reader_takes_them(value: object, expected: str) -> None:
    """YAML 1.1 wants a point before and a sign behind the e; strings are quoted, so that "no" stays a word."""
    assert _yaml(value) == expected
    assert (
        re.fullmatch(r"[-+]?[0-9]+\.[0-9.]*([eE][-+][0-9]+)?", expected)
        or not isinstance(value, float)
        or (value != value)
    )


# What is refused ------------------------------------------------------------------------------------------------------


def test_unlike_recipes_share_no_column() -> None:
    other = reports.with_scores({"kid": 0.2, "fd": 3.0})
    scores = {**other.scores, "kid": dataclasses.replace(other.scores["kid"], fingerprint="x")}
    named = {"A": reports.report(), "B": dataclasses.replace(other, scores=scores)}
    for form in ("latex", "markdown"):
        with pytest.raises(gm.FeatureMismatch, match="A and B give kid by unlike recipes"):
            render_paper(named, form)
    assert "| A |" in render_paper(named, "markdown", metrics=["fd"])
    assert render_paper(named, "hf-eval-results").count("- name: ") == 2  # each number stands with its own recipe


def test_wrong_requests_are_named() -> None:
    named = {"A": reports.report()}
    with pytest.raises(gm.InputError, match="no format 'pdf'"):
        render_paper(named, "pdf")
    with pytest.raises(gm.UnknownMetric, match="No score 'fid'"):
        render_paper(named, "latex", metrics=["fid"])
    with pytest.raises(gm.InputError, match="No report"):
        render_paper({}, "latex")
    with pytest.raises(gm.InputError, match="no scores"):
        render_paper({"A": reports.report(scores={})}, "latex")


def test_the_command(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(report_command)
    for name in ("GAN", "VAE"):
        (tmp_path / f"{name}.json").write_text(with_intervals().to_json())
    paths = [str(tmp_path / f"{name}.json") for name in ("GAN", "VAE")]
    result = CliRunner().invoke(app, [*paths, "--format", "latex", "-m", "kid"])
    assert result.exit_code == 0 and "VAE & 1,797" in result.stdout
    result = CliRunner().invoke(app, [paths[0], "-f", "hf-eval-results", "-o", str(tmp_path / "card.yaml")])
    assert result.exit_code == 0 and '"GAN"' in (tmp_path / "card.yaml").read_text()
    result = CliRunner().invoke(app, [paths[0], "-o", paths[0]])
    assert result.exit_code == 2 and json.loads(Path(paths[0]).read_text())["schema"] == "genmetrics.report/1"
