"""Renders a static, free Space: plain pages without a server. `python demo/make_static_space.py dist/static-space`.

The reports are computed here, by this version. The words and numbers of the playground are those of `playground/`; the
page computes the same scores in JavaScript (tests/test_static_space.py compares them).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from string import Template

import genmetrics_rt as gm
from generators import GENERATORS, NUM_PATHS
from playground import measure, mixture
from playground.stories import STORIES

STATIC = Path(__file__).parent / "static"
NUM_IMAGES = 1_000
COMPARED = {
    "digits-gan": "A GAN",
    "digits-vae": "A variational autoencoder",
    "digits-memoriser": "A model that copies",
}
# The classifier that tells real from generated is left to the page with a server.
SCORES = {name: score for name, score in measure.SCORES.items() if name != "accuracy"}
# Knob → label, step of its slider.
_SLIDERS = {
    "modes_dropped": ("Modes dropped", 1),
    "modes_invented": ("Modes invented", 1),
    "blur": ("Blur (spread of each mode; 1 is right)", 0.05),
    "noise": ("Noise (share of points anywhere)", 0.01),
    "copies": ("Copies of training points (share)", 0.01),
    "num_points": ("Sample size", 10),
    "seed": ("Seed", 1),
}
_LARGEST_SEED = 1000  # of the slider


def main(folder: Path, num_images: int = NUM_IMAGES, generators: Sequence[str] = tuple(GENERATORS)) -> Path:
    """Write the Space into a folder that is emptied first; returns it. ``generators`` are those of the scorecard."""
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "reports").mkdir(parents=True)
    reports = {name: gm.evaluate(name, "digits", extractor="scattering", num_images=num_images) for name in COMPARED}
    run = gm.track("digits-gan-checkpoints", "digits", extractor="digits-classifier", num_images=num_images)
    pages = {name: report.to_html() for name, report in reports.items()}
    pages |= {"compare": gm.compare(reports).to_html(), "training": run.to_html()}
    card = gm.make_scorecard(list(generators), "digits", num_images=num_images, num_paths=NUM_PATHS)
    latent = {name: gm.examine_latent_space(name, num_paths=NUM_PATHS, seed=0) for name in generators}
    pages |= {"scorecard": card.to_html()} | {f"latent-{name}": looked.to_html() for name, looked in latent.items()}
    for name, page in pages.items():
        (folder / "reports" / f"{name}.html").write_text(page, encoding="utf-8")

    cards = [_card(name, report.verdict, COMPARED[name], _distance(report)) for name, report in reports.items()]
    cards += [
        _card(
            "compare", "Which of the three is best, and by which score?", "Comparison", "with how sure each place is"
        ),
        _card("training", "Ten checkpoints of the GAN in training", "Training", "every score, step by step"),
        _card(
            "scorecard",
            "Kinds of generator in six questions, and no single number",
            "Scorecard",
            "measured, beside what textbooks expect of each kind",
        ),
    ]
    cards += [
        _card(
            f"latent-{name}",
            looked.findings[0].claim if looked.findings else "No path jumps",
            f"Latent space: {GENERATORS[name]}",
            "its roughest paths, as strips of pictures",
        )
        for name, looked in latent.items()
    ]
    (folder / "index.html").write_text(_index(cards), encoding="utf-8")
    report_style = re.search(r"<style>\n(.*?)</style>", pages["digits-gan"], re.S)
    assert report_style is not None
    style = report_style[1] + (STATIC / "page.css").read_text(encoding="utf-8")
    (folder / "style.css").write_text(style, encoding="utf-8")
    for name in ("playground.js", "README.md"):
        shutil.copyfile(STATIC / name, folder / name)
    return folder


def _distance(report: gm.Report) -> str:
    distance = report.scores["fd"].value
    return "no Fréchet distance" if distance is None else f"Fréchet distance {distance:,.1f}"


def _card(page: str, words: str, kind: str, beside: str) -> str:
    return (
        f'<article class="score card"><p class="small">{escape(kind)}</p>'
        f'<h3><a href="reports/{page}.html">{escape(words)}</a></h3><p class="small">{escape(beside)}</p></article>'
    )


def _index(cards: list[str]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{escape(score.label)}</th><td id="score-{name}"></td><td id="perfect-{name}"></td>'
        f"<td>{escape(score.best)}</td></tr>"
        for name, score in SCORES.items()
    )
    return Template((STATIC / "index.html").read_text(encoding="utf-8")).substitute(
        version=gm.__version__,
        cards="\n".join(cards),
        stories="\n".join(f"<option>{escape(story.name)}</option>" for story in STORIES),
        sliders="\n".join(_slider(knob, label, step) for knob, (label, step) in _SLIDERS.items()),
        what=escape(STORIES[0].what),
        rows=rows,
        data=json.dumps(_data(), ensure_ascii=False).replace("<", "\\u003c"),  # no word can end the element
    )


def _slider(knob: str, label: str, step: float) -> str:
    low, high = mixture.LIMITS[knob]
    high = min(high, _LARGEST_SEED) if knob == "seed" else high
    value = getattr(STORIES[0].knobs, knob)
    return (
        f'<div class="row"><label for="{knob}">{escape(label)}</label><output id="{knob}-value" for="{knob}">{value}'
        f'</output><input type="range" id="{knob}" min="{low}" max="{high}" step="{step}" value="{value}"></div>'
    )


def _data() -> dict[str, object]:
    """What the script needs to know of the Python code."""
    return {
        "mixture": {
            "num_modes": mixture.NUM_MODES,
            "radius": mixture.RADIUS,
            "std": mixture.STD,
            "invented_radius": mixture.INVENTED_RADIUS,
            "half_width": mixture.HALF_WIDTH,
        },
        "nearest_k": measure.NEAREST_K,
        "density_k": measure.DENSITY_K,
        "scores": [{"key": name} for name in SCORES],
        "stories": [{"name": story.name, "what": story.what, "knobs": asdict(story.knobs)} for story in STORIES],
    }


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist/static-space")))
