"""What it costs to import the package, and to install it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.measuring import ROOT, Measured, best_start


def _import(statement: str) -> Measured:
    return best_start(f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)")


def import_ours() -> Measured:
    return _import("import genmetrics_rt")


def import_torch_fidelity() -> Measured:
    return _import("import torch_fidelity")


def import_torchmetrics() -> Measured:
    return _import("import torchmetrics.image.fid")


def install_ours() -> Measured:
    """Needs a package index; the size is that of the whole environment."""
    root = Path(tempfile.mkdtemp(prefix="genmetrics-install-"))
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", root / "venv"], check=True)
    pip = [root / "venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{ROOT}[cpu]"], check=True)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(root)
    return Measured(seconds, note=f"{size / 1e6:.0f} MB")
