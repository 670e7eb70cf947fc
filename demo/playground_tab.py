"""The tab "Playground": sliders that break a model, and what every score makes of it."""

from __future__ import annotations

import base64
import io
from typing import Any

import gradio as gr
from PIL import Image

import genmetrics_rt as gm
from playground import digits, drawing, mixture
from playground.digits import DigitKnobs, measure_digits, perfect_digits
from playground.measure import Measured, Perfect, measure_points, perfect_points, reading
from playground.mixture import Knobs
from playground.stories import STORIES

_POINTS = (
    "The real distribution is eight Gaussians on a ring, so the classes are known exactly. Move a slider, or pick a "
    "story. The PRD curve here comes from one clustering instead of ten, so that each step is instant: it trembles a "
    "little."
)
_DIGITS = (
    "The same with pictures: real handwritten digits, scored on the features and classes of the shipped classifier."
)
_EVENT: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "always_last"}


def build() -> None:
    """The tab's content."""
    with gr.Tabs():
        with gr.Tab("Points in the plane"):
            _points()
        with gr.Tab("Digits"):
            _digits()


def _points() -> None:
    start = STORIES[0]
    gr.Markdown(_POINTS)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            story = gr.Dropdown([entry.name for entry in STORIES], value=start.name, label="Story")
            what = gr.Markdown(start.what, elem_id="playground-story")
            limits = mixture.LIMITS
            sliders = [
                gr.Slider(*limits["modes_dropped"], 0, step=1, label="Modes dropped"),
                gr.Slider(*limits["modes_invented"], 0, step=1, label="Modes invented"),
                gr.Slider(*limits["blur"], 1, step=0.05, label="Blur (spread of each mode; 1 is right)"),
                gr.Slider(*limits["noise"], 0, step=0.01, label="Noise (share of points anywhere)"),
                gr.Slider(*limits["copies"], 0, step=0.01, label="Copies of training points (share)"),
                gr.Slider(*limits["num_points"], 500, step=10, label="Sample size"),
                gr.Slider(0, 1000, 0, step=1, label="Seed"),
                gr.Checkbox(False, label="Score against the training points (a leak)"),
            ]
        with gr.Column(scale=3, min_width=340):
            shown = gr.HTML(_show_points(start.knobs), elem_id="playground-points")

    def told(name: str) -> tuple[Any, ...]:
        entry = next(entry for entry in STORIES if entry.name == name)
        knobs = entry.knobs
        return (entry.what, *_values(knobs), _show_points(knobs))

    def moved(*values: Any) -> str:
        try:
            return _show_points(_knobs(values))
        except gm.InputError as error:
            return f'<p class="gm-status failed">{error}</p>'

    story.input(told, story, [what, *sliders, shown], **_EVENT, concurrency_limit=4)
    gr.on(_moves(sliders), moved, sliders, shown, **_EVENT, concurrency_limit=4)


def _moves(knobs: list[Any]) -> list[Any]:
    """What a visitor does to knobs; stories move them too, and then the page is there already."""
    return [knob.input for knob in knobs] + [knob.release for knob in knobs if isinstance(knob, gr.Slider)]


def _values(knobs: Knobs) -> tuple[Any, ...]:
    return (
        knobs.modes_dropped,
        knobs.modes_invented,
        knobs.blur,
        knobs.noise,
        knobs.copies,
        knobs.num_points,
        knobs.seed,
        knobs.against_training,
    )


def _knobs(values: tuple[Any, ...]) -> Knobs:
    dropped, invented, blur, noise, copies, size, seed, leaks = values
    return Knobs(int(dropped), int(invented), float(blur), float(noise), float(copies), int(size), int(seed), leaks)


def _show_points(knobs: Knobs) -> str:
    sample, measured = measure_points(knobs)
    perfect = perfect_points(knobs.num_points)
    return _page(reading(measured, perfect), drawing.scatter(sample), measured, perfect, "points")


def _digits() -> None:
    gr.Markdown(_DIGITS)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            limits = digits.LIMITS
            sliders = [
                gr.Slider(*limits["classes_dropped"], 0, step=1, label="Digits dropped"),
                gr.Slider(*limits["classes_invented"], 0, step=1, label="Invented kinds of picture"),
                gr.Slider(*limits["blur"], 0, step=0.1, label="Blur (pixels)"),
                gr.Slider(*limits["noise"], 0, step=5, label="Noise (levels of 255)"),
                gr.Slider(*limits["copies"], 0, step=0.01, label="Copies of training pictures (share)"),
                gr.Slider(*limits["num_images"], 300, step=20, label="Sample size"),
                gr.Slider(0, 1000, 0, step=1, label="Seed"),
            ]
        with gr.Column(scale=3, min_width=340):
            shown = gr.HTML(_show_digits(DigitKnobs()), elem_id="playground-digits")

    def moved(*values: Any) -> str:
        dropped, invented, blur, noise, copies, size, seed = values
        try:
            return _show_digits(
                DigitKnobs(int(dropped), int(invented), float(blur), float(noise), float(copies), int(size), int(seed))
            )
        except gm.InputError as error:
            return f'<p class="gm-status failed">{error}</p>'

    gr.on(_moves(sliders), moved, sliders, shown, **_EVENT, concurrency_limit=2)


def _show_digits(knobs: DigitKnobs) -> str:
    sample, measured = measure_digits(knobs)
    perfect = perfect_digits(knobs.num_images)
    buffer = io.BytesIO()
    Image.fromarray(digits.tile(sample.generated)).save(buffer, "PNG")
    source = base64.b64encode(buffer.getvalue()).decode("ascii")
    picture = f'<img class="gm-tile" src="data:image/png;base64,{source}" alt="24 of the generated pictures">'
    return _page(reading(measured, perfect, what="pictures"), picture, measured, perfect, "pictures")


def _page(words: str, picture: str, measured: Measured, perfect: Perfect, what: str) -> str:
    panels = (
        picture,
        drawing.score_table(measured, perfect),
        drawing.prd_plot(measured, perfect),
        drawing.plane(measured, perfect),
        drawing.confusion_table(measured, what=what),
    )
    return (
        f'<p class="gm-reading">{words}</p><div class="gm-panels">{"".join(f"<div>{panel}</div>" for panel in panels)}'
        f'</div><p class="gm-note">All scores of this step took {measured.milliseconds:.0f} ms.</p>'
    )
