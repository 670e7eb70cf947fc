"""`genmetrics bundles …` on a weight-free bundle: what its user sees from the first list to the last removal."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from genmetrics_rt.cli import app
from tests import makers

torch = pytest.importorskip("torch")

from tests.test_assembly import saved, tensors  # noqa: E402


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bundles", *map(str, arguments)])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "weights.pth").write_bytes(saved(tensors()))
    return tmp_path / "weights.pth"


@pytest.fixture
def weightless(tmp_path: Path, checkpoint: Path) -> Path:
    return makers.make_weightless(tmp_path / "weightless", checkpoint.read_bytes())


def test_the_list_and_the_page_say_that_weights_are_missing_and_how_to_get_them(weightless: Path) -> None:
    listed = run("list")
    assert "genmetrics bundles fetch inception-fid" in listed.stdout
    shown = run("show", "inception-fid")
    assert shown.exit_code == 0
    facts = (
        "protocol  clean",
        "pillow-bicubic to 299 × 299",
        "tap       768: 768 values",
        "95,628,359 bytes",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "no: the weights have to be fetched",
    )
    for fact in facts:
        assert fact in shown.stdout
    verified = run("verify", weightless)
    assert verified.exit_code == 0 and "its weights are not here, so it was not run" in verified.stdout


def test_a_file_that_is_here_becomes_a_bundle_and_goes_again(weightless: Path, checkpoint: Path) -> None:
    for _ in range(2):  # the second time it is there already
        fetched = run("fetch", weightless, "--weights", checkpoint, "-q")
        assert fetched.exit_code == 0, fetched.stderr
        assert "weightless is ready: genmetrics evaluate" in fetched.stderr and fetched.stdout == ""
    folder = Path(run("path", weightless).stdout.strip())
    assert (folder / "weights.bin").is_file() and folder != weightless
    assert f"here      {folder}" in run("show", weightless).stdout
    assert "hashes hold" in run("verify", weightless).stdout
    removed = run("remove", weightless)
    assert removed.exit_code == 0 and f"removed {folder}" in removed.stderr and not folder.exists()
    assert run("remove", weightless).exit_code == 2


def test_another_file_is_refused_or_taken_under_a_name_of_its_own(weightless: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(saved(tensors(seed=1)))
    refused = run("fetch", weightless, "--weights", other)
    assert refused.exit_code == 2 and "Traceback" not in refused.stderr
    told = " ".join(refused.stderr.split())
    assert hashlib.sha256(other.read_bytes()).hexdigest() in told.replace(" ", "") and "--unverified --name" in told
    taken = run("fetch", weightless, "--weights", other, "--unverified", "--name", "mine")
    assert taken.exit_code == 0 and "mine is ready" in taken.stderr and "UNVERIFIED" in taken.stderr
    assert "mine" in run("list").stdout


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_a_broken_file_is_one_message(weightless: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pth").write_bytes(content)
    refused = run("fetch", weightless, "--weights", tmp_path / "broken.pth", "--unverified", "--name", "broken")
    assert refused.exit_code == 2 and refused.stderr.startswith("error: ") and "Traceback" not in refused.stderr
    assert "broken" not in run("list").stdout


def test_a_path_that_is_not_there(weightless: Path, tmp_path: Path) -> None:
    refused = run("fetch", weightless, "--weights", tmp_path / "nowhere.pth")
    assert refused.exit_code == 2 and "nowhere.pth" in refused.stderr.replace("\n", "")
