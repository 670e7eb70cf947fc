"""Renders a Space: this folder with the wheel of the package in it. `python demo/make_space.py dist/space`.

While the package is on no registry, a Space installs it from the wheel that lies beside the app.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", "make_space.py", "make_static_space.py", "static", "precompute.py", "screenshots", "*.whl"
)


def main(folder: Path) -> Path:
    """Write the Space into a folder that is emptied first; returns it."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(HERE, folder, ignore=_LEFT_OUT)
    built = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, HERE.parent]
    subprocess.run(built, check=True)
    (wheel,) = folder.glob("genmetrics_rt-*.whl")
    requirements = folder / "requirements.txt"
    text = requirements.read_text(encoding="utf-8")
    requirements.write_text(text.replace("genmetrics-rt[cpu]", f"./{wheel.name}[cpu]"), encoding="utf-8")
    return folder


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist/space")))
