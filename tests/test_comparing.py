"""Reports side by side: like with like in a row, unlike never."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from genmetrics_rt.render import svg
from genmetrics_rt.render.names import display_width
from genmetrics_rt.report import SideSummary
from tests import makers, reports
from tests.test_render import HOSTILE, assert_shapely, replaced

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


# The page


def cells(text: str) -> dict[str, list[str]]:
    """Title of each row of the table → its cells as words."""
    found = {}
    for title, row in re.findall(r'<tr><th scope="row">(.*?) <span.*?</th>(.*?)</tr>', text):
        found[title] = [re.sub("<[^>]+>", " ", cell).strip() for cell in re.findall("<td>(.*?)</td>", row)]
    return found


def test_the_page_marks_the_best_beyond_noise_only() -> None:
    shared = [0.001 * (-1) ** index * index for index in range(20)]
    own = [shared[index] + 1e-5 * (index % 3) for index in range(20)]
    made = {"a": with_replicates(0.100, shared), "b": with_replicates(0.098, own)}
    text = gm.compare(made).to_html()
    assert cells(text)["Kernel distance (KID)"] == ["0.100 ± 0.010", "0.098 ± 0.010* best beyond noise"]
    assert "b is the best beyond noise in Kernel distance (KID)." in reports.Page(text).text

    noisy = gm.compare(
        {"a": made["a"], "b": with_replicates(0.098, [entry * 3 for entry in reversed(shared)])}
    ).to_html()
    assert cells(noisy)["Kernel distance (KID)"] == [
        "0.100 ± 0.010~ may be as good", "0.098 ± 0.010~ leads, within noise",
    ]  # fmt: skip
    shown = reports.Page(noisy).text
    assert "No report is the best beyond noise in Kernel distance (KID)." in shown and "best beyond noise in" in shown

    unknown = gm.compare({"a": reports.report(), "b": reports.with_scores({"fd": 1.0, "kid": 0.05})}).to_html()
    assert cells(unknown)["Kernel distance (KID)"] == ["0.08743", "0.05000"]
    assert "How sure the differences are is not known in Fréchet distance and Kernel distance (KID)" in unknown


def test_no_best_is_named_on_the_page_where_the_question_is_not_fair() -> None:
    spread = [1e-6 * index for index in range(20)]
    a, b = with_replicates(0.1, spread), with_replicates(0.2, spread[::-1])
    other = dataclasses.replace(b, reference=SideSummary(1797, "faces", "another"))
    text = gm.compare({"a": a, "b": other}).to_html()
    assert cells(text)["Kernel distance (KID)"] == ["0.100 ± 0.010", "0.200 ± 0.010"]
    assert "No best is named in Kernel distance (KID): the references" in text and "2 reports side by side" in text


def test_the_page_says_what_is_not_compared_and_draws_like_with_like_only() -> None:
    table = gm.compare({"a": with_recipe(), "odd": with_recipe(resize="pillow-bicubic"), "b": with_recipe()})
    text = table.to_html()
    assert cells(text)["Recall"] == ["0.4312", "≠ made by another recipe", "0.4312"]
    shown = reports.Page(text).text
    assert "a used resize bilinear-tf1, odd pillow-bicubic. Run genmetrics explain a odd." in shown
    legends = re.findall("<li><svg.*?<span>(.*?)</span></li>", text)
    assert [entry.split(":")[0] for entry in legends] == ["a", "b", "a", "b"]
    absent = gm.compare({"a": reports.report(), "b": reports.with_scores({"fd": None, "kid": 0.05})}).to_html()
    assert cells(absent)["Fréchet distance"] == ["12.35", "– no value"]
    assert "Fréchet distance of b has no value: no reason was given." in reports.Page(absent).text
    assert "only in a." in absent and "plane-title" not in absent and "curves-title" not in absent


def test_every_report_has_a_mark_and_a_dash_of_its_own() -> None:
    values = {f"run-{index}": dict(reports.VALUES, precision=0.05 * index, recall=0.9) for index in range(1, 11)}
    many = {
        name: reports.with_scores(scores, curves={"prd": reports.prd(1.2 + 0.2 * index)})
        for index, (name, scores) in enumerate(values.items())
    }
    text = gm.compare(many).to_html()
    plane, curves = (ElementTree.fromstring(found) for found in re.findall('<svg class="plot".*?</svg>', text, re.S))
    assert "The first 8 reports are drawn." in text and "run-9: precision" not in text and "run-8: precision" in text

    lines = [path for path in curves.iter("path") if path.get("class") == "line"]
    assert len(lines) == 8 and len({path.get("stroke-dasharray") for path in lines}) == 8
    marks = [path for path in plane.iter("path") if str(path.get("class")).startswith("mark")]
    shapes = {(path.get("class"), re.sub("^M[^a-z]*", "", path.get("d", ""))) for path in marks}
    assert len(marks) == len(shapes) == 8
    heights = [float(re.split("[ a-z]", path.get("d", "")[1:])[1]) for path in marks]
    assert heights == sorted(heights, reverse=True)  # a higher precision stands higher


def test_the_strokes_on_the_plane_are_the_intervals() -> None:
    def with_intervals(precision: float) -> gm.Report:
        made = reports.with_scores({"precision": precision, "recall": 0.5})
        scores = {
            key: dataclasses.replace(score, interval=(score.value - 0.1, score.value + 0.05))
            for key, score in made.scores.items()
        }
        return dataclasses.replace(made, scores=scores)

    text = gm.compare({"a": with_intervals(0.25), "b": with_intervals(0.75)}).to_html()
    strokes = re.findall(r'<path class="beyond" d="M(\S+) (\S+)H(\S+)M(\S+) (\S+)V(\S+)"/>', text)
    assert len(strokes) == 2
    for (left, _, right, _, low, high), precision in zip(strokes, (0.25, 0.75), strict=True):
        assert float(left) == pytest.approx(svg._x(0.4), abs=0.1) and float(right) == pytest.approx(
            svg._x(0.55), abs=0.1
        )
        assert float(low) == pytest.approx(svg._y(precision - 0.1), abs=0.1)
        assert float(high) == pytest.approx(svg._y(precision + 0.05), abs=0.1)
    assert "a: precision 0.2500 (0.1500 to 0.3000), recall 0.5000 (0.4000 to 0.5500)" in text


def test_the_page_shows_the_pictures_of_each_report_or_says_that_there_are_none() -> None:
    names = [f"{index}.png" for index in range(8)]
    shown = reports.report(
        galleries=tuple(reports.gallery(key, names) for key in ("least_realistic", "most_realistic"))
    )
    read = gm.Report.from_json(shown.to_json())
    text = gm.compare({"shown": shown, "read": read, "bare": reports.report()}).to_html()
    page = reports.Page(text)
    assert page.having("alt") == [
        *(f"{index}.png, realism {0.41 + 0.03 * index:.2f}" for index in range(6)),
        *(f"{index}.png, realism {3.91 - 0.04 * index:.2f}" for index in range(6)),
    ]
    galleries = text.split('<div class="gallery">')[1:]
    assert "<img" in galleries[0] and "<img" not in galleries[1] + galleries[2].split("</section>")[0]
    assert "a report read from JSON holds their names only" in galleries[1] and "0.png" in galleries[1]
    assert "the images cannot be read again, or precision was not computed" in galleries[2]


def test_a_model_that_copies_is_not_called_the_best_without_a_word() -> None:
    copied = reports.report(findings=(reports.finding("problem", claim="99 % look like copies."), reports.finding()))
    shown = reports.Page(gm.compare({"a": reports.report(), "b": copied}).to_html()).text
    assert "The most serious finding of each report:b99 % look like copies. (1 more finding in its report.)" in shown


@pytest.mark.parametrize("fragment", [False, True])
def test_hostile_names_do_no_harm_to_the_page(fragment: bool) -> None:
    def table(text: str, other: str) -> gm.ReportTable:
        made = replaced(reports.full(), text)
        same = {key: dataclasses.replace(score, fingerprint=key) for key, score in made.scores.items()}
        unlike = dataclasses.replace(made, scores={**same, "fd": dataclasses.replace(same["fd"], fingerprint="x")})
        return gm.compare({text: dataclasses.replace(made, scores=same), other: unlike})

    harmless = reports.Page(table("some words", "others").to_html(fragment=fragment))
    tags = {(tag, key) for tag, entries in harmless.tags for key in entries} | {("bdi", "title")}
    for text in HOSTILE:
        rendered = table(text, text + "2").to_html(fragment=fragment)
        assert_shapely(rendered)
        page = reports.Page(rendered)
        assert {(tag, key) for tag, entries in page.tags for key in entries} <= tags
        assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags} | {"code"}
        assert page.having("src") == harmless.having("src")
        ids = page.having("id")
        wanted = {name for value in page.having("aria-labelledby") for name in value.split()}
        assert len(ids) == len(set(ids)) and wanted <= set(ids)


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    a, b = save(tmp_path, A=reports.report(), B=reports.with_scores({"kid": 0.05}))
    done = run("compare", a, b, "--html", tmp_path / "table.html")
    assert done.exit_code == 0 and "0.05000" in done.stdout, done.output
    text = (tmp_path / "table.html").read_text()
    assert text.startswith("<!doctype html>") and "default-src 'none'" in text and "<script" not in text
    assert cells(text)["Kernel distance (KID)"] == ["0.08743", "0.05000"]
    printed = run("compare", a, b, "--html", "-")
    assert printed.stdout == text and printed.stderr == ""
    assert "overwrite the input" in run("compare", a, b, "--html", a).stderr
    assert run("compare", a, b, "--html", "-", "--json", "-").exit_code == 2
