"""Makes what the page shows before anybody has asked for anything: `python precompute.py`, once for a release.

Everything under `precomputed/` comes from here; tests/test_demo.py computes the numbers again and compares.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import genmetrics_rt as gm

HERE = Path(__file__).parent
NUM_IMAGES = 1_000
GENERATORS = ("digits-gan", "digits-vae", "digits-memoriser")


def main(folder: Path = HERE / "precomputed") -> None:
    """Write the report of the GAN, the comparison of three models, and the checkpoints of the GAN's training."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reports = {name: gm.evaluate(name, "digits", extractor="scattering", num_images=NUM_IMAGES) for name in GENERATORS}
    first = reports[GENERATORS[0]]
    texts = {
        "report.html": first.to_html(),
        "report.json": first.to_json(),
        "report.md": first.to_markdown(),
        "fragment.html": first.to_html(fragment=True),
        "compare.html": gm.compare(reports).to_html(fragment=True),
        "compare.json": gm.compare(reports).to_json(),
    }
    run = gm.track("digits-gan-checkpoints", "digits", extractor="digits-classifier", num_images=NUM_IMAGES)
    texts |= {"track.html": run.to_html(fragment=True), "track.json": run.to_json()}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
