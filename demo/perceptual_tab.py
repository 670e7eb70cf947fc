"""The tab "Two pictures": how different they look, where, and what the number means."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

import genmetrics_rt as gm
import uploads
from evaluate_tab import told
from example_pairs import PAIRS, original
from jobs import Job, Jobs, State

Picture = NDArray[np.uint8]

_MOST_PIXELS = 1_000_000  # of a picture that is compared here; a larger pair is made smaller
_SHOWN = 400  # pixels of the longer side, at least
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")
_START = next(iter(PAIRS))
_INTRODUCTION = (
    "A perceptual distance says how different two pictures look: it forgives a shift by a pixel, which a difference of "
    "pixels does not, and sees blur and noise where the eye does. Drag the line to see one picture or the other."
)


def build(page: gr.Blocks, jobs: Jobs) -> None:
    """The tab's content."""
    pictures, heat, words = _show(_example(_START), original(), PAIRS[_START](original()))
    gr.Markdown(_INTRODUCTION)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            example = gr.Dropdown(list(PAIRS), value=_START, label="Example: a picture, and what was done to it")
            files = [
                gr.File(label=f"Or my own: {which} picture", type="filepath", height=150)
                for which in ("first", "second")
            ]
            net = gr.Dropdown(_nets(), value="scattering", label="Distance")
            resize = gr.Checkbox(False, label="Bring the second to the size of the first")
            with gr.Row():
                run = gr.Button("Compare", variant="primary", elem_id="pair-run")
                stop = gr.Button("Stop", interactive=False, elem_id="pair-stop")
        with gr.Column(scale=3, min_width=340):
            status = gr.HTML(told("", f"Below: {_START.lower()}."), elem_id="pair-status")
            with gr.Row():
                slider = gr.ImageSlider(
                    pictures, label="First (left) and second (right)", interactive=False, format="png",
                    type="filepath", max_height=420, buttons=["fullscreen"], elem_id="pair-slider", min_width=300,
                )  # fmt: skip
                map_shown = gr.Image(
                    heat, label="Where they differ", interactive=False, format="png", height=420,
                    alt_text="Map of where the two pictures differ",
                    buttons=["download", "fullscreen"], elem_id="pair-map", min_width=300,
                )  # fmt: skip
            meaning = gr.HTML(words, elem_id="pair-meaning")
    job = gr.State("")

    def on_run(
        chosen: str, first: str | None, second: str | None, distance: str, may_resize: bool
    ) -> Iterator[tuple[Any, ...]]:
        def prepare(task: Job) -> tuple[Picture, Picture]:
            if (first is None) != (second is None):
                raise gm.InputError("One picture is missing. Upload a first and a second one, or remove both.")
            if first is None or second is None:
                return original(), PAIRS[chosen](original())
            a, b = (_read(path, task.folder / name) for path, name in ((first, "first"), (second, "second")))
            if a.shape != b.shape and not may_resize:
                raise gm.InputError(
                    f"The first picture has {a.shape[1]} × {a.shape[0]} pixels, the second {b.shape[1]} × "
                    f"{b.shape[0]}, and they are compared place by place. Tick the box that brings the second to the "
                    "size of the first, or upload pictures of one size."
                )
            return _smaller(a), _smaller(b)

        def work(task: Job, pair: tuple[Picture, Picture]) -> tuple[Any, ...]:
            report = gm.perceptual_distance(*pair, net=distance, resize=may_resize, progress=task.progress)
            return (report, *pair)

        for state in jobs.run(work, prepare=prepare):
            busy = state.stage in ("waiting", "running")
            found = _show(*state.result) if state.stage == "done" else (gr.skip(),) * 3
            yield state.job, _line(state), gr.Button(interactive=not busy), gr.Button(interactive=busy), *found

    outputs = [job, status, run, stop, slider, map_shown, meaning]
    quiet: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    started: dict[str, Any] = {
        "api_visibility": "private", "concurrency_limit": 16, "trigger_mode": "once", "show_progress": "hidden",
    }  # fmt: skip
    inputs = [example, *files, net, resize]
    run.click(on_run, inputs, outputs, **started)
    # An example that is picked takes the place of an upload, and is shown at once.
    example.input(lambda: (None, None), None, files, **quiet).then(on_run, inputs, outputs, **started)
    stop.click(jobs.stop, job, None, api_visibility="private", queue=False)
    page.load(lambda: gr.Dropdown(_nets()), None, net, **quiet)


@cache
def _example(name: str) -> gm.PairReport:
    """The report of a shipped pair."""
    return gm.perceptual_distance(original(), PAIRS[name](original()))


def _nets() -> list[tuple[str, str]]:
    """Title and name of each distance that can run here."""
    here = [name for name, bundle in gm.list_distances().items() if not gm.load_bundle(bundle).is_weight_free]
    titles = {"scattering": "Built-in (not LPIPS)"}
    return [(titles.get(name, name), name) for name in sorted(here, key=lambda name: name != "scattering")]


def _read(path: str, folder: Path) -> Picture:
    """An upload as pixels, after the checks that hold for every upload; transparency on white."""
    side = uploads.accept([path], folder)
    kept = list(folder.iterdir())
    name = Path(path).name
    if side.kind != "images" or len(kept) != 1:
        raise uploads.Refused(f"{name} is no single picture: {side.summary}. Upload one PNG, JPEG or WebP.")
    try:
        with Image.open(kept[0]) as opened:
            if opened.mode not in _MODES:
                raise uploads.Refused(f"{name} has the colour mode {opened.mode}. Save it with 8 bits, as PNG or JPEG.")
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, uploads.Refused):
            raise
        raise uploads.Refused(f"{name} is damaged or cut off ({error}). Make it again.") from error
    ground = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(ground, upright).convert("RGB"))


def _smaller(picture: Picture) -> Picture:
    """A picture of at most so many pixels as are compared here."""
    height, width = picture.shape[:2]
    if height * width <= _MOST_PIXELS:
        return picture
    factor = (_MOST_PIXELS / (height * width)) ** 0.5
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _line(state: State) -> str:
    if state.stage == "done":
        report = state.result[0]
        return told("done", f"Distance {report.mean:.4g}, in {report.runtime.seconds:.1f} s.")
    if state.stage == "failed":
        return told("failed", state.text)
    return told("", f"{state.text[:1].upper()}{state.text[1:]}", state.fraction)


def _show(report: gm.PairReport, first: Picture, second: Picture) -> tuple[Any, Any, str]:
    """The two pictures, the map, and the ladder of known damage with this pair in its place."""
    if first.shape != second.shape:  # it was brought to the size of the first
        size = (first.shape[1], first.shape[0])
        second = np.asarray(Image.fromarray(second).resize(size, Image.Resampling.BILINEAR))
    return (_seen(first), _seen(second)), None if report.heat is None else _seen(report.heat), _ladder(report)


def _seen(picture: Picture) -> Picture:
    """A small picture larger, pixel by pixel."""
    factor = -(-_SHOWN // max(picture.shape[:2]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else picture


def _ladder(report: gm.PairReport) -> str:
    """Known damage of the first picture by distance, this pair among it; lengths are logarithmic."""
    rows = [(rung.distance, rung.damage, False) for rung in report.scale]
    rows.append((report.mean, "this pair", True))
    rows.sort()
    shown = [value for value, _, _ in rows if value > 0]
    low, high = (np.log(min(shown) / 1.5), np.log(max(shown))) if shown else (0.0, 1.0)
    body = ""
    for value, damage, is_pair in rows:
        length = (np.log(value) - low) / (high - low) if value > 0 else 0.0
        mark = ' class="pair" aria-current="true"' if is_pair else ""
        body += (
            f'<tr{mark}><th scope="row">{escape(damage)}</th><td>{value:.3g}</td>'
            f'<td class="bar"><span style="width:{100 * length:.0f}%"></span></td></tr>'
        )
    told_like = (
        "The two pictures are equal." if report.mean == 0 else f"That is {report.like}, done to the first picture."
    )
    label = f" {report.distance.label[:1].upper()}{report.distance.label[1:]}." if report.distance.label else ""
    return (
        f'<p class="gm-reading">Distance <b>{report.mean:.4g}</b>. {escape(told_like)}</p>'
        '<table class="gm-ladder"><caption>The first picture against damaged copies of itself, and this pair among '
        f"them (bars are logarithmic)</caption><tbody>{body}</tbody></table>"
        f'<p class="gm-note">{escape(report.distance.title)}.{escape(label)} 0 means equal pictures; there is no unit. '
        "In the map black is alike, and pale yellow where they differ most. Pictures of more than a million pixels are "
        "compared smaller.</p>"
    )
