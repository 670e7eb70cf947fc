"""Makes what the page shows before anybody has asked for anything: `python precompute.py`, once for a release.

Everything under `precomputed/` comes from here; tests/test_demo.py computes the numbers again and compares.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import genmetrics_rt as gm
from generators import DENSITIES, GENERATORS, NUM_PATHS

HERE = Path(__file__).parent
NUM_IMAGES = 1_000
COMPARED = ("digits-gan", "digits-vae", "digits-memoriser")


def main(folder: Path = HERE / "precomputed") -> None:
    """Write the GAN's report, the comparison of three models, the checkpoints of the GAN's training, the scorecard of
    five generators, and the pages on their latent spaces and densities."""
    reports = {name: gm.evaluate(name, "digits", extractor="scattering", num_images=NUM_IMAGES) for name in COMPARED}
    first = reports[COMPARED[0]]
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
    card = gm.make_scorecard(list(GENERATORS), "digits", num_images=NUM_IMAGES, num_paths=NUM_PATHS)
    texts |= {"scorecard.html": card.to_html(fragment=True), "scorecard.json": card.to_json()}
    for name in GENERATORS:
        looked = gm.examine_latent_space(name, num_paths=NUM_PATHS, seed=0)  # the seed of the card: one number
        texts[f"latent-{name}.html"] = looked.to_html(fragment=True)
    for name, density in DENSITIES.items():
        likely = gm.likelihood_of_images(density, "digits", num_images=NUM_IMAGES)
        texts[f"likelihood-{name}.html"] = likely.to_html(fragment=True)
    shutil.rmtree(folder, ignore_errors=True)  # not before all of it is there
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
