"""Whole jobs, from files to scores: one command or script in a new process, with nothing cached."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from tests.benchmarks import material
from tests.benchmarks.measuring import Finished, Measured, command, python, require


def _built_in(reference_first: bool, *options: str) -> Measured:
    out, real = material.jpeg_folders()
    home = material.shared() / "home-built-in"
    environment = material.environment(home)
    if reference_first:
        saved = material.shared() / "real.npz"
        command([*material.GENMETRICS, "reference", real, "-o", saved, "-q"], environment)
        real = saved
        shutil.rmtree(home)
    html = material.shared() / "report.html"
    finished = command([*material.GENMETRICS, "evaluate", out, real, "-q", "--html", html, *options], environment)
    shutil.rmtree(home)
    return Measured(finished.seconds, finished.megabytes)


def job_cached_reference() -> Measured:
    return _built_in(reference_first=True)


def job_two_folders() -> Measured:
    return _built_in(reference_first=False)


def job_scores_alone() -> Measured:
    return _built_in(False, "--no-intervals")


# --- FID ----------------------------------------------------------------------------------------------------------


def _scored(finished: Finished, fid: str | float) -> Measured:
    return Measured(finished.seconds, finished.megabytes, f"FID {float(fid):.4f}")


def _printed(finished: Finished) -> Measured:
    return _scored(finished, re.findall(r"(?:FID|frechet_inception_distance)\W+([\d.]+)", finished.output)[-1])


def _fid(metrics: str) -> Measured:
    home = material.fresh_home()
    arguments = ["evaluate", *material.jpeg_folders(), "--extractor", material.weightless(), "-m", metrics, "-q"]
    finished = command([*material.GENMETRICS, *arguments, "--json", "-"], material.environment(home))
    shutil.rmtree(home)
    return _scored(finished, json.loads(finished.output)["scores"]["fid"]["value"])


def job_fid_ours() -> Measured:
    return _fid("fid")


def job_three_ours() -> Measured:
    return _fid("fid,is,kid")


def _torch_fidelity(*metrics: str) -> Measured:
    require("torch_fidelity")
    out, real = material.jpeg_folders()
    arguments: list[str | Path] = ["--input1", out, "--input2", real, *metrics, "--cpu", "--silent", "--no-cache"]
    arguments += ["--feature-extractor-weights-path", material.checkpoint()]
    tool = [sys.executable, "-W", "ignore", "-m", "torch_fidelity.fidelity"]
    return _printed(command([*tool, *arguments], material.environment(material.shared())))


def job_fid_torch_fidelity() -> Measured:
    return _torch_fidelity("--fid")


def job_three_torch_fidelity() -> Measured:
    subsets = str(min(1000, material.IMAGES))  # its default is 1,000, which fewer images cannot fill
    return _torch_fidelity("--fid", "--isc", "--kid", "--kid-subset-size", subsets)


def job_fid_pytorch_fid() -> Measured:
    require("pytorch_fid")
    material.checkpoint()
    tool = [sys.executable, "-W", "ignore", "-m", "pytorch_fid"]
    arguments = [*material.jpeg_folders(), "--device", "cpu"]
    return _printed(command([*tool, *arguments], material.environment(material.shared())))


CLEAN_FID = """
import sys, torch
from cleanfid import fid
options = {"mode": "legacy_pytorch", "device": torch.device("cpu"), "use_dataparallel": False, "verbose": False}
print("FID", fid.compute_fid(*sys.argv[1:], **options))
"""


def job_fid_clean_fid() -> Measured:
    require("cleanfid")
    material.checkpoint()
    return _printed(python(CLEAN_FID, *material.jpeg_folders(), environment=material.environment(material.shared())))
