"""`genmetrics copies` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from genmetrics_rt.cli_copies import copies
from tests import makers


def run(*arguments: object):
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(copies)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("sides")
    out, train, test = (
        makers.image_folder(root / name, 50, seed=seed) for seed, name in enumerate(("out", "tr", "te"))
    )
    return out, train, test


def test_it_prints_a_verdict_and_writes_files(tiny: Path, folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out, train, test = folders
    result = run(
        out, train, "--heldout", test, "-e", tiny, "--json", tmp_path / "c.json", "--html", tmp_path / "c.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "No sign that the model copies" in result.stdout and "p-value" in result.stdout
    assert "generated: 50 of 50 images" in result.stderr and "mirrored: 50 of 50 images" in result.stderr
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["schema"] == "genmetrics.copies/1" and record["calibration"] == "held-out"
    assert len(record["pairs"]) == 24 and record["train"]["num_images"] == 50
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")


def test_json_on_standard_output_is_only_json(tiny: Path, folders: tuple[Path, Path, Path]) -> None:
    out, train, _ = folders
    result = run(out, train, "-e", tiny, "--json", "-", "-q", "--no-flips", "--no-duplicates", "--pairs", 3, "-n", 20)
    record = json.loads(result.stdout)
    assert record["calibration"] == "set aside" and record["duplicates"] == {}
    assert record["settings"]["mirrored"] is False
    assert len(record["pairs"]) == 3 and record["generated"]["num_images"] == 20
    assert result.stderr == ""


def test_copies_are_seen(tiny: Path, tmp_path: Path) -> None:
    """The training images themselves, stored again under other names."""
    train = makers.image_folder(tmp_path / "train", 40, seed=3)
    np.save(tmp_path / "out.npy", makers.pictures(40, seed=3))
    test = makers.image_folder(tmp_path / "test", 40, seed=4)
    result = run(tmp_path / "out.npy", train, "--heldout", test, "-e", tiny, "-q")
    assert result.exit_code == 0 and "The model copies training images." in result.stdout


def test_mistakes_are_one_message(tiny: Path, folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out, train, _ = folders
    missing = run(out, tmp_path / "nothing", "-e", tiny)
    assert missing.exit_code == 2 and "does not exist" in missing.stderr
    few = run(out, makers.image_folder(tmp_path / "few", 3), "-e", tiny, "-q")
    assert few.exit_code == 2 and "training set has 3 different images" in few.stderr
    both = run(out, train, "-e", tiny, "--json", "-", "--html", "-")
    assert both.exit_code == 2 and "standard output" in both.stderr
    own = run(out, train, "-e", tiny, "--html", str(out))
    assert own.exit_code == 2 and "overwrite" in own.stderr
