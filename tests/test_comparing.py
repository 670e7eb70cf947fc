"""Reports side by side: like with like in a row, unlike never."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from genmetrics_rt.render.names import display_width
from genmetrics_rt.report import SideSummary
from tests import makers, reports

RECIPE = {
    "graph": "a" * 64, "weights": None, "tap": "features", "size": [299, 299], "resize": "bilinear-tf1",
    "rounding": "none", "alpha": "drop", "layout": "NCHW", "dtype": "float32", "scale": 1 / 128, "offset": -1.0,
    "orientation": "ignored",
}  # fmt: skip


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def with_recipe(**changes: object) -> gm.Report:
    """A report whose numeric id and fingerprints are those of a changed recipe."""
    made = reports.report()
    extractor = dataclasses.replace(made.extractor, numeric_id=repr(changes), recipe={**RECIPE, **changes})
    scores = {
        key: dataclasses.replace(score, fingerprint=score.fingerprint + repr(changes))
        for key, score in made.scores.items()
    }
    return dataclasses.replace(made, extractor=extractor, scores=scores)


def save(folder: Path, **saved: gm.Report) -> list[Path]:
    for name, report in saved.items():
        (folder / f"{name}.json").write_text(report.to_json())
    return [folder / f"{name}.json" for name in saved]


def test_one_row_per_score_one_column_per_report() -> None:
    better = reports.with_scores({"fd": 10.0, "kid": 0.05})
    table = gm.compare({"a": reports.report(), "b": better})
    rows = {row.key: {name: score.value for name, score in row.scores.items()} for row in table.rows}
    assert rows == {"fd": {"a": 12.345678, "b": 10.0}, "kid": {"a": 0.0874321, "b": 0.05}}
    text = table.to_text(width=80)
    (line,) = [line for line in text.splitlines() if line.startswith("Fréchet distance")]
    assert line.split()[-3:] == ["lower", "12.35", "10.00"]
    assert "not compared: precision, recall" in " ".join(text.split()) and "prd_f1_8: only in a." in text
    assert str(table) == table.to_text()


def test_no_winner_is_named_and_noise_is_mentioned() -> None:
    text = gm.compare({"a": reports.report(), "b": reports.report()}).to_text()
    assert "not tested for noise" in text and "*" not in text


def with_replicates(value: float, spread: list[float], key: str = "kid") -> gm.Report:
    made = reports.with_scores({key: value})
    score = dataclasses.replace(
        made.scores[key], standard_error=0.01, interval=(value - 0.02, value + 0.02),
        replicates=tuple(value + entry for entry in spread),
    )  # fmt: skip
    return dataclasses.replace(made, scores={**made.scores, key: score})


def test_the_best_is_marked_beyond_noise_only() -> None:
    """What two reports share with one reference drops out: intervals overlap, and yet one is better."""
    shared = [0.001 * (-1) ** index * index for index in range(20)]
    own = [shared[index] + 1e-5 * (index % 3) for index in range(20)]
    table = gm.compare({"a": with_replicates(0.100, shared), "b": with_replicates(0.098, own)})
    (row,) = [row for row in table.rows if row.key == "kid"]
    assert row.standing.leader == "b" and row.standing.beyond_noise
    text = table.to_text()
    (line,) = [line for line in text.splitlines() if line.startswith("Kernel distance")]
    assert "0.09800*" in line and "0.1000*" not in line and "best beyond noise" in " ".join(text.split())
    record = next(row for row in table.to_dict()["rows"] if row["key"] == "kid")
    assert record["best"] == "b" and record["differences"][0]["p_value"] < 1e-6

    noise = [entry * 3 for entry in reversed(shared)]
    table = gm.compare({"a": with_replicates(0.100, shared), "b": with_replicates(0.098, noise)})
    (line,) = [line for line in table.to_text().splitlines() if line.startswith("Kernel distance")]
    assert line.count("~") == 2


def test_nobody_is_best_where_the_question_is_not_fair() -> None:
    spread = [1e-6 * index for index in range(20)]
    a, b = with_replicates(0.1, spread), with_replicates(0.2, spread[::-1])
    other = dataclasses.replace(b, reference=dataclasses.replace(b.reference, content_hash="another"))
    assert all(row.standing is None for row in gm.compare({"a": a, "b": other}).rows)
    a, b = with_replicates(1.0, spread, "fd"), with_replicates(2.0, spread[::-1], "fd")
    fewer = dataclasses.replace(b, generated=dataclasses.replace(b.generated, num_images=10))
    assert {row.key: row.standing is None for row in gm.compare({"a": a, "b": fewer}).rows}["fd"]


def test_unlike_fingerprints_share_no_row() -> None:
    other = reports.report()
    scores = dict(other.scores)
    scores["fd"] = dataclasses.replace(scores["fd"], fingerprint="other", settings={"ddof": 0}, value=777.5)
    table = gm.compare({"a": reports.report(), "b": dataclasses.replace(other, scores=scores)})
    assert "fd" not in [row.key for row in table.rows] and len(table.rows) == 7
    (entry,) = table.not_compared
    assert entry.keys == ("fd",) and entry.reason.startswith("a used ddof 1, b 0. Run `genmetrics explain a b`")
    assert "777.5" not in table.to_text()


def test_most_reports_decide_the_row_and_the_odd_one_is_marked() -> None:
    odd = with_recipe(resize="pillow-bicubic")
    table = gm.compare({"odd": odd, "a": with_recipe(), "b": with_recipe()})
    assert all(list(row.scores) == ["a", "b"] and row.unlike == ("odd",) for row in table.rows)
    (line,) = [line for line in table.to_text().splitlines() if line.startswith("Recall")]
    assert line.split() == ["Recall", "higher", "≠", "0.4312", "0.4312"]
    assert table.not_compared[0].reason.startswith("a used resize bilinear-tf1, odd pillow-bicubic. Run")


def test_nothing_comparable_is_an_error_that_names_the_line() -> None:
    with pytest.raises(gm.FeatureMismatch, match=r"pixel scaling \(x − 128\)/128, b 2x/255 − 1.*genmetrics explain"):
        gm.compare({"a": with_recipe(), "b": with_recipe(scale=2 / 255)})


def test_fid_and_fd_are_one_score_of_unlike_features() -> None:
    def renamed(report: gm.Report) -> gm.Report:
        fid = dataclasses.replace(report.scores["fd"], key="fid", fingerprint="x")
        return dataclasses.replace(report, scores={"fid": fid, "kid": report.scores["kid"]})

    table = gm.compare({"a": renamed(reports.report()), "b": reports.report()})
    assert ("fid/fd",) in [entry.keys for entry in table.not_compared]


def test_an_older_report_without_a_recipe_is_refused_without_a_guess() -> None:
    older = dataclasses.replace(
        with_recipe(size=[1, 1]), extractor=dataclasses.replace(reports.SCATTERING, numeric_id="9")
    )
    with pytest.raises(gm.FeatureMismatch, match=r"a used features .*, b 9"):
        gm.compare({"a": with_recipe(), "b": older})


def test_one_report_is_not_a_comparison() -> None:
    with pytest.raises(gm.InputError, match="there is 1 report"):
        gm.compare({"a": reports.report()})


def test_what_makes_numbers_hard_to_compare_is_noted() -> None:
    other = dataclasses.replace(
        reports.report(), generated=SideSummary(500, "out", "1"), reference=SideSummary(None, "stats.npz", "2")
    )
    notes = " ".join(gm.compare({"a": reports.report(), "b": other}).notes)
    assert "references differ (a digits, b stats.npz)" in notes
    assert "numbers of generated images differ (a 1,797, b 500), and fd, precision, recall" in notes
    assert "numbers of reference images differ (a 1,797, b unknown)" in notes and "kid" not in notes
    assert reports.SCATTERING.label in notes


def test_equal_conditions_give_no_warning() -> None:
    extractor = dataclasses.replace(reports.SCATTERING, label="")
    same = dataclasses.replace(reports.report(), extractor=extractor)
    assert gm.compare({"a": same, "b": same}).notes == (
        "Without intervals in the reports, differences are not tested for noise: a small one may be chance.",
    )


@pytest.mark.parametrize("width", [40, 80, 110])
def test_no_line_is_too_wide_however_many_reports(width: int) -> None:
    many = {f"a-long-name-of-a-run-{index}": reports.report() for index in range(12)}
    many["odd"] = with_recipe()
    text = gm.compare(many).to_text(width=width)
    assert max(map(display_width, text.splitlines())) <= width
    assert text.count(" 12.35") == 12 and text.count("≠") == 8


def test_json_holds_every_number() -> None:
    table = gm.compare({"a": reports.report(), "b": reports.with_scores({"fd": None, "kid": 0.05})})
    record = json.loads(table.to_json())
    assert record["schema"] == "genmetrics.comparison/1"
    assert record["rows"][0]["values"] == {"a": 12.345678, "b": None} and "b" in record["rows"][0]["missing"]
    assert record["not_compared"][0]["keys"][:2] == ["precision", "recall"]
    assert record["reports"]["a"]["generated"]["num_images"] == 1797


def test_the_command_prints_writes_and_refuses(tmp_path: Path) -> None:
    a, b, c = save(tmp_path, A=with_recipe(), B=with_recipe(), C=with_recipe(resize="bilinear"))
    done = run("compare", a, b, "--json", tmp_path / "table.json")
    assert done.exit_code == 0, done.output
    assert "Kernel distance" in done.stdout and "0.08743" in done.stdout
    assert json.loads((tmp_path / "table.json").read_text())["rows"][0]["values"]["A"] == 12.345678
    only_json = run("compare", a, b, "--json", "-")
    assert list(json.loads(only_json.stdout)["reports"]) == ["A", "B"] and only_json.stderr == ""
    refused = run("compare", a, c)
    assert refused.exit_code == 2 and refused.stdout == ""
    assert "A used resize bilinear-tf1, C bilinear" in refused.stderr
    assert f"genmetrics explain {a} {c}" in refused.stderr


def test_files_of_one_name_go_by_what_they_score(tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        report = dataclasses.replace(reports.report(), generated=SideSummary(1797, f"out-{name}", name))
        paths += save(tmp_path / name, report=report)
    record = json.loads(run("compare", *paths, "--json", "-").stdout)
    assert list(record["reports"]) == ["out-one", "out-two"]
    for path in paths:
        path.write_text(reports.report().to_json())
    record = json.loads(run("compare", *paths, "--json", "-").stdout)
    assert list(record["reports"]) == [str(path) for path in paths]


def test_files_that_are_no_reports(tmp_path: Path) -> None:
    (a,) = save(tmp_path, a=reports.report())
    (tmp_path / "text.json").write_text("text")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for other, message in (
        (tmp_path / "nowhere.json", "does not exist. Write it with: genmetrics evaluate"),
        (tmp_path / "text.json", "cannot be read as a report"),
        (tmp_path / "bytes.json", "cannot be read as a report"),
        (tmp_path, "cannot be read as a report"),
        (a, "named twice"),
    ):
        done = run("compare", a, other)
        assert done.exit_code == 2 and message in done.stderr and done.stderr.count("error:") == 1, done.output
    assert run("compare", a).exit_code == 2
    assert "overwrite the input" in run("compare", a, a, "--json", a).stderr


def test_real_reports_of_two_generators(tiny: Path, tmp_path: Path) -> None:
    real = makers.pictures(40, seed=0)
    made = {
        name: gm.evaluate(makers.pictures(40, seed=seed), real, extractor=tiny) for name, seed in (("a", 1), ("b", 2))
    }
    table = gm.compare(made)
    assert [row.key for row in table.rows] == list(made["a"].scores) and table.not_compared == ()
    assert {row.scores["b"].value for row in table.rows} == {score.value for score in made["b"].scores.values()}
    assert not any("differ (" in note for note in table.notes)
