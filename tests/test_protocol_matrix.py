"""The same images under all protocols: the numbers of single evaluations, without six passes of the network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from genmetrics_rt.explaining.protocol_table import DEFAULT_METRICS
from genmetrics_rt.explaining.protocol_table_text import render_matrix
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.render.names import display_width
from tests import makers, protocols


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return protocols.make_six(tmp_path_factory.mktemp("bundles") / "six")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sides")
    return (
        makers.image_folder(root / "out", 30, seed=1, size=24),
        makers.image_folder(root / "real", 35, seed=2, size=24),
    )


@pytest.fixture(scope="module")
def matrix(six: Path, sides: tuple[Path, Path]) -> dict[str, gm.Report]:
    return gm.protocol_matrix(*sides, extractor=six, cache=False)


def test_every_number_is_that_of_a_single_evaluation(
    six: Path, sides: tuple[Path, Path], matrix: dict[str, gm.Report]
) -> None:
    assert list(matrix) == list(protocols.PROTOCOLS)
    for name, report in matrix.items():
        single = gm.evaluate(*sides, extractor=six, protocol=name)
        keys = [key for key in single.scores if key in DEFAULT_METRICS]
        assert list(report.scores) == keys
        for key in keys:
            assert report.scores[key].value == pytest.approx(single.scores[key].value, rel=1e-9), (name, key)
            assert report.scores[key].fingerprint == single.scores[key].fingerprint
            assert report.scores[key].settings == single.scores[key].settings
        assert report.fingerprint == single.fingerprint and report.extractor == single.extractor
        assert (report.generated, report.reference) == (single.generated, single.reference)
        assert (report.runtime.device, report.runtime.backend) == (single.runtime.device, "onnx")
        assert gm.Report.from_json(report.to_json()).scores.keys() == report.scores.keys()


def test_each_protocol_has_its_own_numbers(matrix: dict[str, gm.Report]) -> None:
    fids = {name: report.scores["fid"].value for name, report in matrix.items()}
    assert len(set(fids.values())) == 5  # tf1 and adm differ in the class score and the spatial tap only
    assert fids["tf1"] == fids["adm"] and fids["stylegan3"] < fids["tf1"]
    assert ["sfid" in report.scores for report in matrix.values()] == [name == "adm" for name in matrix]
    assert matrix["tf1"].scores["is"].value != matrix["adm"].scores["is"].value
    assert not any(key.startswith("prd") for report in matrix.values() for key in report.scores)


@pytest.mark.parametrize("cache", [False, True])
def test_the_network_runs_once_for_each_way_to_prepare_pixels(
    six: Path, sides: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, cache: bool
) -> None:
    seen: list[int] = []
    original = FeatureExtractor._run

    def counting(self: FeatureExtractor, tensors: Any, *each: Any) -> Any:
        seen.append(len(tensors))
        return original(self, tensors, *each)

    monkeypatch.setattr(FeatureExtractor, "_run", counting)
    gm.protocol_matrix(*sides, extractor=six, metrics="fid", cache=cache)
    assert sum(seen) == protocols.DISTINCT * (30 + 35)
    gm.protocol_matrix(*sides, extractor=six, metrics="fid", cache=True)
    gm.protocol_matrix(*sides, extractor=six, metrics="fid", cache=True)
    assert sum(seen) == protocols.DISTINCT * (30 + 35) * (1 if cache else 2)


def test_a_metric_of_some_protocols_is_in_their_reports_only(six: Path, sides: tuple[Path, Path]) -> None:
    reports = gm.protocol_matrix(*sides, extractor=six, metrics="sfid,fid")
    assert {name: list(report.scores) for name, report in reports.items()} == {
        name: ["fid", "sfid"] if name == "adm" else ["fid"] for name in protocols.PROTOCOLS
    }
    assert list(gm.protocol_matrix(*sides, extractor=six, metrics=["sfid"])) == ["adm"]


def test_few_images_leave_out_numbers_but_not_the_others(six: Path) -> None:
    few = makers.pictures(5, seed=1), makers.pictures(5, seed=2)  # too few for 10 splits
    reports = gm.protocol_matrix(*few, extractor=six)
    for name, report in reports.items():
        assert report.scores["is"].value is None and "10 splits" in str(report.scores["is"].reason), name
        assert report.scores["fid"].value is not None


def test_generators_and_samples_are_those_of_evaluate(
    six: Path, sides: tuple[Path, Path], tiny_generator: Path
) -> None:
    given = {"extractor": six, "num_images": 20, "seed": 3, "metrics": "fid,precision"}
    reports = gm.protocol_matrix(tiny_generator, sides[1], **given)
    single = gm.evaluate(tiny_generator, sides[1], protocol="clean", **given)
    assert reports["clean"].scores["fid"].value == pytest.approx(single.scores["fid"].value, rel=1e-9)
    assert reports["clean"].generated == single.generated and single.generated.num_images == 20


def test_other_taps_have_no_published_names(tmp_path: Path, sides: tuple[Path, Path]) -> None:
    taps = {"features": "features", "logits": "logits", "spatial": "features", "classes": "logits"}
    bundle = protocols.make_six(tmp_path / "six", taps=taps)
    reports = gm.protocol_matrix(*sides, extractor=bundle, tap="classes", metrics="fd")
    assert reports["tf1"].scores["fd"].value != reports["clean"].scores["fd"].value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extractor": "scattering"}, "has one protocol, so there is nothing to compare"),
        ({}, "has one protocol, so there is nothing to compare"),
        ({"extractor": "digits-gan"}, "not an extractor"),
        ({"metrics": "fd"}, "No metric 'fd' under any protocol.*These exist: .*fid"),
        ({"metrics": ""}, "No metric was named"),
    ],
)
def test_wrong_use_is_refused(six: Path, sides: tuple[Path, Path], options: dict, message: str) -> None:
    extractor = {"extractor": six} if "metrics" in options else {}
    with pytest.raises(gm.InputError, match=message):
        gm.protocol_matrix(*sides, **{**extractor, **options})


def test_features_are_refused(six: Path, sides: tuple[Path, Path]) -> None:
    saved = gm.make_reference(sides[1], extractor=six)
    with pytest.raises(gm.InputError, match=r"features already.*give the images"):
        gm.protocol_matrix(sides[0], saved, extractor=six)


@pytest.mark.parametrize("width", [40, 80, 110])
def test_the_table(matrix: dict[str, gm.Report], width: int) -> None:
    titles = {name: entry.get("title", "") for name, entry in protocols.PROTOCOLS.items()}
    text = render_matrix(matrix, titles, width)
    assert max(map(display_width, text.splitlines())) <= width
    (line,) = [line for line in text.splitlines() if line.startswith("tf1 ") and " – " in line]
    assert line.split()[1:3] == [f"{matrix['tf1'].scores['fid'].value:#.4g}", "–"]
    values = [report.scores["fid"].value for report in matrix.values()]
    told = " ".join(text.split())
    assert f"fid lies between {min(values):#.4g} and {max(values):#.4g}, a spread of" in told
    assert "TTUR" in told and "its own numbers" in told


def test_the_command(six: Path, sides: tuple[Path, Path], tmp_path: Path, matrix: dict[str, gm.Report]) -> None:
    done = run("evaluate", *sides, "-e", six, "--protocol-matrix", "-q", "--json", tmp_path / "m.json")
    assert done.exit_code == 0, done.output
    assert "pytorch-fid" in done.stdout and "fid lies between" in done.stdout
    record = json.loads((tmp_path / "m.json").read_text())
    assert record["schema"] == "genmetrics.protocol-matrix/1" and list(record["reports"]) == list(matrix)
    report = gm.Report.from_json(json.dumps(record["reports"]["clean"]))
    assert report.scores["fid"].value == pytest.approx(matrix["clean"].scores["fid"].value, rel=1e-9)
    only = run("evaluate", *sides, "-e", six, "--protocol-matrix", "-m", "fid", "--json", "-")
    assert list(json.loads(only.stdout)["reports"]) == list(matrix) and "images" in only.stderr


@pytest.mark.parametrize(
    "option",
    [["--html", "x.html"], ["--markdown", "-"], ["--fail-if", "fid>3"], ["--protocol", "tf1"]],
)
def test_options_of_one_report_are_refused(option: list[str]) -> None:
    done = run("evaluate", "a", "b", "--protocol-matrix", *option)
    assert done.exit_code == 2 and f"{option[0]} is about one" in done.stderr and "Leave one" in done.stderr


def test_one_protocol_is_refused_by_the_command(sides: tuple[Path, Path]) -> None:
    done = run("evaluate", *sides, "--protocol-matrix")
    assert done.exit_code == 2 and "has one protocol" in done.stderr and done.stderr.count("error:") == 1


def test_the_public_name_stays_a_function_whatever_was_imported_before() -> None:
    code = "import genmetrics_rt.explaining.protocol_table, genmetrics_rt as gm; print(callable(gm.protocol_matrix))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("command", ["compare", "explain"])
def test_help_teaches(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0 and f"genmetrics {command} A.json B.json" in done.stdout
