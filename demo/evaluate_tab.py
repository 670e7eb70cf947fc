"""The tab "Evaluate": two sides in, a report out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

import genmetrics_rt as gm
import network
from jobs import Job, Jobs, State
from sides import GENERATED, REFERENCE, SideInput, named, take

EXAMPLE_IMAGES = 1_000  # of each side: an example ends in seconds on two cores
_ALL = "all that the features allow"
_METRICS = ["fd", "kid", "class_score", "precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8"]
_READY = (
    "Above the button: what to compare. Below: the finished report of an example, with the numbers that you get too."
)


def build(page: gr.Blocks, jobs: Jobs, precomputed: Path) -> None:
    """The tab's content. ``precomputed`` holds the example's report as a page, a fragment, JSON and Markdown."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            generated = SideInput("Generated", GENERATED)
            reference = SideInput("Reference (real)", REFERENCE)
            with gr.Accordion("Advanced", open=False):
                extractor = gr.Dropdown(network.extractors(), value="scattering", label="Features")
                protocol = gr.Dropdown(
                    network.protocols("scattering"), value=None, label="Protocol (how pictures are prepared)"
                )
                metrics = gr.CheckboxGroup(_METRICS, label=f"Metrics (none chosen: {_ALL})")
                num_images = gr.Slider(0, 10_000, EXAMPLE_IMAGES, step=100, label="Images of each side (0: all)")
                seed = gr.Number(0, precision=0, minimum=0, label="Seed")
            with gr.Row():
                run = gr.Button("Evaluate", variant="primary", elem_id="evaluate-run")
                stop = gr.Button("Stop", interactive=False, elem_id="evaluate-stop")
            note = gr.Markdown(network.note(), elem_classes="gm-note")
        with gr.Column(scale=3, min_width=340):
            status = gr.HTML(told("", _READY), elem_id="evaluate-status")
            with gr.Row():
                files = [
                    gr.DownloadButton(
                        title, value=precomputed / f"report.{kind}", size="sm", elem_id=f"download-{kind}"
                    )
                    for kind, title in (("html", "Page (HTML)"), ("json", "Numbers (JSON)"), ("md", "Text (Markdown)"))
                ]
            report = gr.HTML((precomputed / "fragment.html").read_text(encoding="utf-8"), elem_id="evaluate-report")
    job = gr.State("")

    def on_run(
        generated_choice: str,
        generated_files: list[str] | None,
        reference_choice: str,
        reference_files: list[str] | None,
        chosen_extractor: str,
        chosen_protocol: str | None,
        chosen_metrics: list[str],
        images: float,
        chosen_seed: float,
    ) -> Iterator[Any]:
        options = {
            "extractor": chosen_extractor,
            "protocol": chosen_protocol or None,
            "metrics": chosen_metrics or None,
            "num_images": int(images) or None,
            "seed": int(chosen_seed or 0),
        }
        sides = ((generated_choice, generated_files), (reference_choice, reference_files))
        for state in score(jobs, sides, **options):
            busy = state.stage in ("waiting", "running")
            buttons = gr.Button(interactive=not busy), gr.Button(interactive=busy)
            if state.stage != "done":
                yield (state.job, shown(state), *buttons, gr.skip(), *(gr.skip() for _ in files))
                continue
            with written(state.result) as paths:
                fragment = state.result.to_html(fragment=True)
                yield (state.job, shown(state), *buttons, fragment, *map(gr.DownloadButton, paths))

    inputs = [*generated.inputs, *reference.inputs, extractor, protocol, metrics, num_images, seed]
    run.click(
        on_run,
        inputs,
        [job, status, run, stop, report, *files],
        api_visibility="private",
        concurrency_limit=16,
        trigger_mode="once",
        show_progress="hidden",
    )
    # Weights may have come since the server started.
    page.load(
        lambda: (gr.Dropdown(network.extractors()), network.note()),
        None,
        [extractor, note],
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    stop.click(jobs.stop, job, None, api_visibility="private", queue=False)
    extractor.change(
        lambda name: gr.Dropdown(network.protocols(name), value=None),
        extractor,
        protocol,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )


def score(jobs: Jobs, sides: Any, **options: Any) -> Iterator[State]:
    """The states of a job that scores one side against the other; the last one has the report."""

    def prepare(job: Job) -> list[Any]:
        names = ("generated", "reference")
        return [
            take(choice, files, job.folder / name, what=name)
            for name, (choice, files) in zip(names, sides, strict=True)
        ]

    def work(job: Job, taken: list[Any]) -> gm.Report:
        options["num_images"] = enough(options.get("num_images"), taken)
        found = gm.evaluate(*(str(side.path) for side in taken), progress=job.progress, **options)
        names = [named(side, files) for side, (_, files) in zip(taken, sides, strict=True)]
        return replace(
            found,
            generated=replace(found.generated, source=names[0]),
            reference=replace(found.reference, source=names[1]),
        )

    return jobs.run(work, prepare=prepare)


def enough(wanted: int | None, sides: list[Any]) -> int | None:
    """As many images of each side as were asked for, or as the smaller upload has."""
    known = [side.num_images for side in sides if side.num_images is not None]
    return min([wanted, *known]) if wanted else None


class written:
    """The report as files to download; Gradio has its own copies once they are on the page."""

    def __init__(self, report: gm.Report) -> None:
        self._report, self._folder = report, tempfile.TemporaryDirectory(prefix="genmetrics-report-")

    def __enter__(self) -> list[str]:
        texts = {"html": self._report.to_html(), "json": self._report.to_json(), "md": self._report.to_markdown()}
        paths = [Path(self._folder.name) / f"genmetrics-report.{kind}" for kind in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        return [str(path) for path in paths]

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()


def shown(state: State) -> str:
    """A job's state as a line and a bar."""
    if state.stage == "done":
        seconds = state.result.runtime.seconds if isinstance(state.result, gm.Report) else None
        return told("done", "Done." if seconds is None else f"Done in {seconds:.1f} s. {state.result.verdict}")
    if state.stage == "failed":  # its first word may be the name of a file
        return told("failed", state.text)
    return told("", f"{state.text[:1].upper()}{state.text[1:]}", state.fraction)


def told(kind: str, text: str, fraction: float | None = None) -> str:
    bar = "" if fraction is None else f'<progress value="{fraction:.3f}" max="1" aria-label="progress"></progress>'
    return f'<div class="gm-status {kind}" role="status">{escape(text)}{bar}</div>'
