"""The command as a person meets it: results on standard output, one message for a mistake, the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from tests import makers


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sides")
    return makers.image_folder(root / "out", 30, seed=1), makers.image_folder(root / "real", 30, seed=2)


def test_evaluate_prints_a_table_and_writes_files(tiny: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(
        "evaluate", *folders, "-e", tiny,
        "--json", tmp_path / "r.json", "--html", tmp_path / "r.html", "--markdown", tmp_path / "r.md",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Kernel distance" in result.stdout
    assert json.loads((tmp_path / "r.json").read_text())["schema"] == "genmetrics.report/1"
    assert (tmp_path / "r.html").read_text().lower().startswith("<!doctype html>")
    assert "|" in (tmp_path / "r.md").read_text()


def test_json_on_standard_output_is_only_json(tiny: Path, folders: tuple[Path, Path]) -> None:
    result = run("evaluate", *folders, "-e", tiny, "--json", "-")
    assert json.loads(result.stdout)["scores"]["kid"]["value"] is not None
    assert "images" in result.stderr


def test_quiet_says_nothing_beside_the_result(tiny: Path, folders: tuple[Path, Path]) -> None:
    assert run("evaluate", *folders, "-e", tiny, "--json", "-", "-q").stderr == ""


@pytest.mark.parametrize(
    ("condition", "code"),
    [("fd>0", 1), ("fd > 1e9", 0), ("coverage<=1", 1), ("recall<0", 0)],
)
def test_fail_if_decides_the_exit_code(tiny: Path, folders: tuple[Path, Path], condition: str, code: int) -> None:
    result = run("evaluate", *folders, "-e", tiny, "--fail-if", condition)
    assert result.exit_code == code
    assert "Kernel distance" in result.stdout  # the report is printed either way


@pytest.mark.parametrize("condition", ["fd", "fd=3", "fd>x", "nonsense>3"])
def test_a_gate_that_cannot_be_read_is_wrong_usage(tiny: Path, folders: tuple[Path, Path], condition: str) -> None:
    result = run("evaluate", *folders, "-e", tiny, "--fail-if", condition)
    assert result.exit_code == 2 and "--fail-if" in result.stderr


def test_a_gate_on_a_missing_value_is_not_passed_silently(
    tiny: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    few = makers.image_folder(tmp_path / "few", 5)
    result = run("evaluate", few, folders[1], "-e", tiny, "--fail-if", "coverage<0.1")
    assert result.exit_code == 2 and "cannot be decided" in result.stderr


def bad_inputs(root: Path, tiny: Path) -> dict[str, tuple[list[object], str]]:
    """Name → arguments of `evaluate`, and what the message must say."""
    good = makers.image_folder(root / "good", 12)
    (root / "empty").mkdir()
    (root / "texts").mkdir()
    (root / "texts" / "a.txt").write_text("text")
    one = makers.image_folder(root / "one", 1)
    (root / "broken.zip").write_bytes(b"PK\x03\x04 damaged")
    (root / "file.txt").write_text("text")
    nan = np.ones((20, 4))
    nan[3, 2] = np.nan
    np.save(root / "nan.npy", nan)
    np.save(root / "five.npy", np.random.default_rng(0).random((20, 5)))
    np.save(root / "six.npy", np.random.default_rng(0).random((20, 6)))
    np.save(root / "floats.npy", np.random.default_rng(0).random((20, 8, 8, 3)))
    tampered = makers.make_extractor(root / "tampered")
    (tampered / "graph.onnx").write_bytes((tampered / "graph.onnx").read_bytes()[:-1] + b"\x00")
    return {
        "missing path": ([root / "nowhere", good], "does not exist"),
        "misspelt example": (["digit-gan", good], "Did you mean"),
        "empty folder": ([root / "empty", good], "no "),
        "folder without images": ([root / "texts", good], "image"),
        "one image": ([one, good], "at least"),
        "damaged zip": ([root / "broken.zip", good], "broken.zip"),
        "file of another kind": ([root / "file.txt", good], "file.txt"),
        "NaN features": ([root / "nan.npy", root / "nan.npy"], "rows 3"),
        "unlike features": ([root / "five.npy", root / "six.npy"], "5 feature dimensions"),
        "float images": ([root / "floats.npy", good], "uint8"),
        "tampered bundle": ([good, good, "-e", tampered], "not the file that was frozen"),
        "unknown extractor": ([good, good, "-e", "inception-v9"], "No bundle"),
        "unknown metric": ([good, good, "-m", "fid"], "ask for 'fd'"),
        "unknown protocol": ([good, good, "--protocol", "clean"], "protocol"),
        "unknown backend": ([good, good, "--backend", "jax"], "backend"),
        "device that is not there": ([good, good, "--device", "cuda:7"], "cuda:7"),
        "unknown device": ([good, good, "--device", "tpu"], "Unknown device"),
        "too many asked for": ([good, good, "-n", "500"], "at most"),
    }


NAMES = [
    "missing path", "misspelt example", "empty folder", "folder without images", "one image", "damaged zip",
    "file of another kind", "NaN features", "unlike features", "float images", "tampered bundle",
    "unknown extractor", "unknown metric", "unknown protocol", "unknown backend", "device that is not there",
    "unknown device", "too many asked for",
]  # fmt: skip


@pytest.fixture(scope="module")
def mistakes(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[object], str]]:
    return bad_inputs(tmp_path_factory.mktemp("bad"), tiny)


def test_all_mistakes_are_tried(mistakes: dict) -> None:
    assert sorted(mistakes) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_gets_one_message_and_exit_code_2(mistakes: dict, tiny: Path, name: str) -> None:
    arguments, message = mistakes[name]
    extractor = [] if "-e" in arguments else ["-e", tiny]
    result = run("evaluate", *arguments, *extractor, "-q")
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.count("error:") == 1 and result.stdout == ""


def test_wrong_usage_exits_with_2() -> None:
    assert run("evaluate", "only-one-side").exit_code == 2
    assert run("evaluate", "a", "b", "--no-such-option").exit_code == 2


def test_our_own_defect_exits_with_3(tiny: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("genmetrics_rt.cli.gm.evaluate", defect)
    result = run("evaluate", *folders, "-e", tiny)
    assert result.exit_code == 3 and "defect of genmetrics-rt" in result.stderr


def test_a_report_that_cannot_be_written_loses_nothing(tiny: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("evaluate", *folders, "-e", tiny, "--html", tmp_path / "file" / "report.html")
    assert result.exit_code == 2
    assert "Kernel distance" in result.stdout and "Cannot write" in result.stderr


def test_an_unwritable_cache_is_said_and_worked_around(
    tiny: Path, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENMETRICS_HOME", str(tmp_path / "file"))
    result = run("evaluate", *folders, "-e", tiny, "--json", "-", "-q")
    assert result.exit_code == 0
    assert any("cannot be written" in note for note in json.loads(result.stdout)["runtime"]["notes"])


def test_reference_file_and_back(tiny: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    made = run("reference", folders[1], "-o", tmp_path / "real.npz", "-e", tiny)
    assert made.exit_code == 0 and "30 images" in made.stderr
    direct = run("evaluate", *folders, "-e", tiny, "--json", "-", "-q")
    through = run("evaluate", folders[0], tmp_path / "real.npz", "-e", tiny, "--json", "-", "-q")
    scores = [json.loads(result.stdout)["scores"]["kid"]["value"] for result in (direct, through)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)
    assert run("reference", folders[1], "-o", tmp_path / "real.dat", "-e", tiny).exit_code == 2


def test_bundles_commands() -> None:
    listed = run("bundles", "list")
    assert listed.exit_code == 0 and "scattering" in listed.stdout
    assert Path(run("bundles", "path", "scattering").stdout.strip(), "manifest.json").is_file()
    verified = run("bundles", "verify")
    assert verified.exit_code == 0, verified.output
    assert "DEVIATES" not in verified.stdout


def test_doctor_finds_this_machine_healthy() -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "onnxruntime" in result.stdout and "cache" in result.stdout


@pytest.mark.parametrize("command", [[], ["evaluate"], ["reference"], ["bundles"], ["bundles", "verify"], ["doctor"]])
def test_help_teaches(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    if command == ["evaluate"]:
        assert "genmetrics evaluate out/ real/" in result.stdout


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0 and result.stdout == f"genmetrics-rt {gm.__version__}\n"


def test_ctrl_c_leaves_a_cache_from_which_the_next_run_resumes(tmp_path: Path) -> None:
    """A real process, a real signal, the shipped extractor."""
    np.save(tmp_path / "many.npy", makers.pictures(4_000, size=8))
    environment = {**os.environ, "GENMETRICS_HOME": str(tmp_path / "home")}
    command = [
        sys.executable,
        "-m",
        "genmetrics_rt",
        "reference",
        str(tmp_path / "many.npy"),
        "-o",
        str(tmp_path / "r.npz"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("home/features/*/*.block")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted" in messages and "Traceback" not in messages
    assert not (tmp_path / "r.npz").exists()
    assert list(tmp_path.glob("home/features/*/*.block"))
