"""What several cases share, made once per run: image folders, and a checkpoint of the FID network with its bundle.

The weights are of nobody (`tests.inception`); every contender reads the same file by its own code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from genmetrics_rt.bundle import SHIPPED
from tests.benchmarks.measuring import command, python

IMAGES = int(os.environ.get("GENMETRICS_BENCH_IMAGES", "1000"))  # in each folder of a job
FOLDER = "GENMETRICS_BENCH_FOLDER"  # the run's temporary folder, for the processes of its cases
GENMETRICS = [sys.executable, "-m", "genmetrics_rt"]


@cache
def shared() -> Path:
    """The temporary folder of the run; of this process, if it was started alone."""
    return Path(os.environ.get(FOLDER) or tempfile.mkdtemp(prefix="genmetrics-bench-"))


def jpeg_folders() -> tuple[Path, Path]:
    """Two folders of JPEGs of 300 px."""
    folders = shared() / "out", shared() / "real"
    for seed, folder in enumerate(folders):
        if not folder.exists():
            _jpeg_folder(folder, seed)
    return folders


def _jpeg_folder(folder: Path, seed: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(seed)
    folder.mkdir()
    for index in range(IMAGES):
        coarse = rng.uniform(0, 255, (10, 10, 3)).astype(np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((300, 300), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(image + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:04d}.jpg", quality=90)


def environment(home: Path) -> dict[str, str]:
    """Our cache at ``home``; torch finds the checkpoint where it keeps what it has downloaded."""
    return {**os.environ, "GENMETRICS_HOME": str(home), "TORCH_HOME": str(shared() / "torch")}


def checkpoint() -> Path:
    """A state dict in the published layout, under the name that pytorch-fid and clean-fid download.

    Made in another process: pages of torch that this one holds too would count half in its children's memory.
    """
    path = shared() / "torch/hub/checkpoints/pt_inception-2015-12-05-6726825d.pth"
    if not path.exists():
        path.parent.mkdir(parents=True)
        part = path.with_suffix(".part")
        code = (
            "import sys, pathlib, tests.inception as i; i.write_checkpoint(pathlib.Path(sys.argv[1]), counters=False)"
        )
        python(code, part)
        part.rename(path)
    return path


def weightless() -> Path:
    """The shipped bundle, whose manifest takes the checkpoint for the publisher's: only published weights make FID."""
    folder = shared() / "inception-fid"
    if not folder.exists():
        weights = checkpoint()
        shutil.copytree(SHIPPED / "inception-fid", folder)
        record = json.loads((folder / "manifest.json").read_text())
        hashed = {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "bytes": weights.stat().st_size}
        record["weights"]["sources"][0].update(hashed)
        (folder / "manifest.json").write_text(json.dumps(record))
    return folder


def fetch() -> list[str | Path]:
    """The command that assembles the bundle from the checkpoint."""
    return [*GENMETRICS, "bundles", "fetch", weightless(), "--weights", checkpoint(), "-q"]


def home() -> Path:
    """A ``GENMETRICS_HOME`` with the assembled bundle and nothing else."""
    folder = shared() / "home"
    if not folder.exists():
        command(fetch(), environment(folder))
    return folder


def fresh_home() -> Path:
    """The same under another name, without what cases have cached meanwhile; for one job."""
    folder = Path(tempfile.mkdtemp(dir=shared(), prefix="home-"))
    shutil.copytree(home() / "bundles", folder / "bundles", copy_function=os.link)
    return folder
