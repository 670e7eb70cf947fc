"""`genmetrics sample`: what is written is what a generator side is scored on, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.sample_files import file_name, write_samples
from tests.test_generators import write_onnx


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "genmetrics_rt", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120
    )


@pytest.mark.parametrize("place", ["out", "out.zip", "out.npz"])
def test_the_samples_on_disk_get_the_report_of_the_generator(tmp_path: Path, place: str) -> None:
    source = GeneratorSource(gm.Generator("digits-gan"), 150, seed=4, device="cpu")
    written = write_samples(source, tmp_path / place)
    options = {"num_images": 150, "seed": 4, "intervals": False}
    of_generator = gm.evaluate("digits-gan", "digits", **options)
    of_files = gm.evaluate(written, "digits", **options)
    assert {key: score.value for key, score in of_files.scores.items()} == {
        key: score.value for key, score in of_generator.scores.items()
    }
    assert of_files.fingerprint == of_generator.fingerprint


def test_pictures_are_lossless_and_in_order(tmp_path: Path) -> None:
    source = GeneratorSource(gm.Generator("digits-vae"), 70, device="cpu")
    write_samples(source, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{index:06d}.png" for index in range(70)]
    for index in (0, 69):
        with Image.open(tmp_path / "out" / names[index]) as picture:
            assert (np.asarray(picture) == source.read(index).pixels).all()


def test_classes_are_folders(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "conditional.onnx", classes=3)
    generator = gm.Generator(path, num_classes=3, classes="balanced", output_range=(-1, 1))
    source = GeneratorSource(generator, 7, device="cpu")
    write_samples(source, tmp_path / "out")
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert found == sorted(f"{index % 3}/{index:06d}.png" for index in range(7))
    write_samples(source, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as file:
        assert file["labels"].tolist() == [0, 1, 2, 0, 1, 2, 0]
        assert (file["images"][4] == source.read(4).pixels).all()
    write_samples(source, tmp_path / "out.zip")
    assert sorted(zipfile.ZipFile(tmp_path / "out.zip").namelist()) == found


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("cat", "dog"), ["cat", "dog"]),
        (("crane", "crane", "../.."), ["0000", "0001", "_"]),  # ImageNet has two of that name
        (("a/b", "a b", "..", "Cat", "cat"), ["0000", "0001", "0002", "0003", "0004"]),
    ],
)
def test_no_two_classes_share_a_folder(tmp_path: Path, names: tuple[str, ...], folders: list[str]) -> None:
    path = write_onnx(tmp_path / "conditional.onnx", classes=len(names))
    generator = gm.Generator(path, num_classes=len(names), classes="balanced", output_range=(-1, 1))
    generator.class_names = names
    source = GeneratorSource(generator, len(names), device="cpu")
    assert [file_name(source, index).split("/")[0] for index in range(len(names))] == folders


@pytest.mark.parametrize("place", ["out", "out.zip", "out.npz"])
def test_nothing_is_overwritten(tmp_path: Path, place: str) -> None:
    source = GeneratorSource(gm.Generator("digits-vae"), 3, device="cpu")
    write_samples(source, tmp_path / place)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(gm.InputError, match="exists already, and nothing is overwritten"):
        write_samples(source, tmp_path / place)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_samples(GeneratorSource(gm.Generator("digits-vae"), 3, device="cpu"), tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_generator_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "nan.onnx", bad=float("nan"))
    source = GeneratorSource(gm.Generator(path, output_range=(-1, 1)), 3, device="cpu")
    (tmp_path / "places").mkdir()
    for place in ("out", "out.zip", "out.npz"):
        with pytest.raises(gm.InputError, match="NaN"):
            write_samples(source, tmp_path / "places" / place)
    assert list((tmp_path / "places").iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = GeneratorSource(gm.Generator("digits-vae"), 3, device="cpu")
    with pytest.raises(gm.InputError, match="Cannot write"):
        write_samples(source, tmp_path / "file" / "out")
    with pytest.raises(gm.InputError, match="empty path"):
        write_samples(source, "")


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    done = command("sample", "digits-gan", "-o", "out", "-n", "5", "--seed", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "out: 5 images of digits-gan (seed 2)." in done.stderr
    assert done.stdout == ""
    again = command("sample", "digits-gan", "-o", "out", "-n", "5", "-q", cwd=tmp_path)
    assert again.returncode == 2
    assert "nothing is overwritten" in again.stderr
    folder = command("sample", str(tmp_path / "out"), "-o", "x", cwd=tmp_path)
    assert folder.returncode == 2
    assert not (tmp_path / "x").exists()


def test_flags_describe_a_bare_file(tmp_path: Path) -> None:
    write_onnx(tmp_path / "model.onnx", latent=("N", "L"), classes=3)
    flags = ["--latent-dim", "4", "--num-classes", "3", "--output-range=-1,1"]
    labels = tmp_path / "labels.csv"
    labels.write_text("a.png,2\nb.png,0\n")
    done = command("sample", "model.onnx", "-o", "out", "-n", "4", *flags, "--classes", "labels.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")) == [
        "0/000001.png", "0/000003.png", "2/000000.png", "2/000002.png",
    ]  # fmt: skip
    labels.write_text("a.png,9\n")
    done = command("sample", "model.onnx", "-o", "o", *flags, "--classes", "labels.csv", cwd=tmp_path)
    assert (done.returncode, "names the class '9'" in done.stderr) == (2, True)
    done = command("sample", "model.onnx", "-o", "o", "--latent-dim", "four", cwd=tmp_path)
    assert (done.returncode, "Write 128, or 100x1x1" in done.stderr) == (2, True)
    done = command("sample", "model.onnx", "-o", "o", *flags[:-1], "--output-range=white", cwd=tmp_path)
    assert (done.returncode, "--output-range=-1,1" in done.stderr) == (2, True)
    done = command("evaluate", "model.onnx", "digits", *flags, "-n", "60", "--no-intervals", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "model.onnx (seed 0) (60 images)" in done.stdout
    assert "images/s" in done.stdout


@pytest.mark.parametrize("place", ["out", "out.zip", "out.npz"])
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_nothing_behind(tmp_path: Path, place: str, ending: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "genmetrics_rt", "sample", "digits-gan", "-o", place, "-n", "2000000", "-q"],
        cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if any(tmp_path.iterdir()):
            break
        time.sleep(0.1)
    assert any(tmp_path.iterdir()), "nothing was begun"
    running.send_signal(ending)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + ending, said
    assert ("Interrupted" in said) == (ending == signal.SIGINT) and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
