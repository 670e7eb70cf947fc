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


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any computation would be a defect, exit code 3."""
    monkeypatch.setattr("genmetrics_rt.cli.gm.evaluate", None)
    monkeypatch.setattr("genmetrics_rt.cli.gm.make_reference", None)


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


def test_fail_if_ignores_case(tiny: Path, folders: tuple[Path, Path]) -> None:
    assert run("evaluate", *folders, "-e", tiny, "--fail-if", "FD>0", "-m", "fd").exit_code == 1


@pytest.mark.parametrize(
    ("condition", "metrics", "message"),
    [
        ("nonsense>3", [], "No metric 'nonsense'"),
        ("fid>50", [], "ask for 'fd'"),
        ("kid>0.05", ["--metrics", "fd, Coverage"], "kid is not among --metrics"),
    ],
)
def test_a_gate_that_will_not_be_computed_is_refused_before_any_work(
    no_work: None, condition: str, metrics: list[str], message: str
) -> None:
    result = run("evaluate", "a", "b", *metrics, "--fail-if", condition)
    assert result.exit_code == 2 and message in result.stderr and "--fail-if" in result.stderr


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "a.npy", "b", "--html", "a.npy"], "overwrite the input a.npy"),
        (["evaluate", "a.npy", "b", "--html", "./b/../a.npy"], "overwrite the input a.npy"),
        (["evaluate", "a.npy", "b.npy", "--json", "link.npy"], "overwrite the input a.npy"),
        (["evaluate", "a", "b", "--json", "x", "--html", "x"], "overwrite the output of --json"),
        (["evaluate", "a", "b", "--json", "-", "--markdown", "-"], "overwrite the output of --json"),
        (["evaluate", "a", "b", "--json", ""], "an empty path"),
        (["reference", "a.npz", "-o", "a.npz"], "overwrite the input a.npz"),
        (["reference", "a", "-o", "a.npy/r.npz"], "Cannot write"),
        (["reference", "a", "-o", "r.dat"], "for instance r.npz"),
        (["reference", "a", "-o", "."], "reference.npz"),
    ],
)
def test_a_place_that_must_not_be_written_is_refused_before_any_work(
    no_work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "link.npy").symlink_to("a.npy")
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "a.npz").read_bytes() == b"mine"


def test_a_folder_without_permission_is_refused_before_any_work(
    no_work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    result = run("reference", "a", "-o", tmp_path / "new" / "r.npz")
    assert result.exit_code == 2 and f"no permission to write in {tmp_path}" in result.stderr


@pytest.mark.parametrize(("option", "start"), [("--html", "<!doctype html>"), ("--markdown", "#")])
def test_a_report_on_standard_output_stands_alone(
    tiny: Path, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, start: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("evaluate", *folders, "-e", tiny, option, "-")
    assert result.exit_code == 0 and result.stdout.lower().startswith(start)
    assert not list(tmp_path.iterdir())


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A real shell with "$@" for the command and these arguments; the exit code of a pipe is that of the command."""
    command = [sys.executable, "-m", "genmetrics_rt", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}", "bash", *command], capture_output=True, text=True, timeout=120
    )


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_goes_away_ends_the_command_quietly_and_files_are_written(
    tiny: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    done = shell('"$@" | true', "evaluate", *folders, "-e", tiny, "-q", "--html", tmp_path / "r.html")
    assert done.returncode == 141
    assert done.stderr.splitlines() == [f"wrote {tmp_path / 'r.html'}"]
    assert (tmp_path / "r.html").is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["bundles", "list"], ["--version"], ["--help"]])
def test_a_full_disk_behind_standard_output_is_one_message(arguments: list[str]) -> None:
    done = shell('"$@" > /dev/full', *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "No space left" in line


@pytest.mark.skipif(os.name == "nt", reason="POSIX shell")
def test_a_closed_standard_output_is_no_defect() -> None:
    done = shell('"$@" >&-', "bundles", "list")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "home", "expected"),
    [([], "home", "are in the cache"), (["--no-cache"], "home", "Nothing was kept"), ([], "file", "Nothing was kept")],
)
def test_ctrl_c_promises_only_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], home: str, expected: str
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENMETRICS_HOME", str(tmp_path / home))
    monkeypatch.setattr("genmetrics_rt.cli.gm.evaluate", interrupted)
    result = run("evaluate", "a", "b", *options)
    assert result.exit_code == 130 and expected in result.stderr


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
        "misspelt extractor": ([good, good, "-e", "scatering"], "Did you mean 'scattering'? Extractors: clip-vit"),
        "extractor as a side": (["digits-classifier", good], "use -e digits-classifier"),
        "empty path": (["", good], "shell variable"),
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
    "unknown device", "too many asked for", "misspelt extractor", "extractor as a side", "empty path",
]  # fmt: skip


@pytest.fixture(scope="module")
def mistakes(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[object], str]]:
    return bad_inputs(tmp_path_factory.mktemp("bad"), tiny)


def test_all_mistakes_are_tried(mistakes: dict) -> None:
    assert sorted(mistakes) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_gets_one_message_and_exit_code_2(mistakes: dict, tiny: Path, name: str) -> None:
    arguments, message = mistakes[name]
    extractor = [] if "-e" in arguments or "features" in name else ["-e", tiny]  # features take none
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
    lines = [line for line in verified.stdout.splitlines() if " holds: " in line]
    assert len({line.index(" holds: ") for line in lines}) == 1


def test_doctor_finds_this_machine_healthy() -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert "onnxruntime" in result.stdout and "cache" in result.stdout


@pytest.mark.parametrize("command", [[], ["evaluate"], ["reference"], ["bundles"], ["bundles", "verify"], ["doctor"]])
def test_help_teaches(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    if not command:
        assert "130  interrupted" in result.stdout
    if command == ["evaluate"]:
        assert "genmetrics evaluate out/ real/" in result.stdout


def test_one_file_that_cannot_be_written_does_not_cost_the_others(
    tiny: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    nowhere = tmp_path / "file" / "report.html"
    result = run("evaluate", *folders, "-e", tiny, "--html", nowhere, "--markdown", tmp_path / "report.md")
    assert result.exit_code == 2 and "report.html" in result.stderr
    assert "|" in (tmp_path / "report.md").read_text()


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
