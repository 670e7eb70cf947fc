"""The tab "Compare": several generators against one reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

import genmetrics_rt as gm
import network
import uploads
from evaluate_tab import EXAMPLE_IMAGES, enough, shown, told
from jobs import Job, Jobs
from sides import GENERATED, REFERENCE, SideInput, named, take

_MOST = 6  # generators at a time
_INTRODUCTION = (
    "Each generator is scored against the same reference. The best is marked only where the difference is beyond the "
    "noise of a paired test."
)


def build(page: gr.Blocks, jobs: Jobs, precomputed: Path) -> None:
    """The tab's content."""
    gr.Markdown(_INTRODUCTION)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            examples = gr.CheckboxGroup(
                [(title, name) for name, title in GENERATED.items()], value=list(GENERATED), label="Generators"
            )
            archives = gr.File(
                label="More generators: a zip or tar of images for each",
                file_count="multiple",
                type="filepath",
                height=130,
            )
            reports = gr.File(
                label="Or finished reports (JSON of this page or of the command)",
                file_count="multiple",
                file_types=[".json"],
                type="filepath",
                height=130,
            )
            reference = SideInput("Reference (real)", REFERENCE)
            extractor = gr.Dropdown(network.extractors(), value="scattering", label="Features")
            num_images = gr.Slider(0, 10_000, EXAMPLE_IMAGES, step=100, label="Images of each side (0: all)")
            with gr.Row():
                run = gr.Button("Compare", variant="primary", elem_id="compare-run")
                stop = gr.Button("Stop", interactive=False, elem_id="compare-stop")
        with gr.Column(scale=3, min_width=340):
            status = gr.HTML(told("", "Below: the three shipped models side by side."), elem_id="compare-status")
            table = gr.HTML((precomputed / "compare.html").read_text(encoding="utf-8"), elem_id="compare-table")
    job = gr.State("")

    def on_run(
        names: list[str],
        uploaded: list[str] | None,
        finished: list[str] | None,
        reference_choice: str,
        reference_files: list[str] | None,
        chosen_extractor: str,
        images: float,
    ) -> Iterator[Any]:
        generators = [(name, None) for name in names] + [("my upload", [path]) for path in uploaded or ()]

        def prepare(task: Job) -> Any:
            ready = {Path(path).stem: _read(path) for path in finished or ()}
            wanted = [] if ready else generators
            if not 2 <= len(wanted) + len(ready) <= _MOST:
                raise gm.InputError(
                    f"A comparison needs 2 to {_MOST} generators, and there are {len(wanted) + len(ready)}. Choose "
                    "examples, or upload an archive for each."
                )
            if ready:
                return ready, [], None
            sides = [
                (_name(choice, files), take(choice, files, task.folder / f"generator-{index}", what="generated"))
                for index, (choice, files) in enumerate(wanted)
            ]
            return ready, sides, take(reference_choice, reference_files, task.folder / "reference", what="reference")

        def work(task: Job, prepared: Any) -> gm.ReportTable:
            ready, sides, against = prepared
            scored = dict(ready)
            number = enough(int(images) or None, [side for _, side in sides] + [against]) if sides else None
            for name, side in sides:
                found = gm.evaluate(
                    str(side.path),
                    str(against.path),
                    extractor=chosen_extractor,
                    num_images=number,
                    progress=task.progress,
                )
                scored[name] = replace(
                    found,
                    generated=replace(found.generated, source=name),
                    reference=replace(found.reference, source=named(against, reference_files)),
                )
            return gm.compare(scored)

        for state in jobs.run(work, prepare=prepare):
            busy = state.stage in ("waiting", "running")
            page = state.result.to_html(fragment=True) if state.stage == "done" else gr.skip()
            yield state.job, shown(state), gr.Button(interactive=not busy), gr.Button(interactive=busy), page

    run.click(
        on_run,
        [examples, archives, reports, *reference.inputs, extractor, num_images],
        [job, status, run, stop, table],
        api_visibility="private",
        concurrency_limit=16,
        trigger_mode="once",
        show_progress="hidden",
    )
    page.load(
        lambda: gr.Dropdown(network.extractors()),
        None,
        extractor,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    stop.click(jobs.stop, job, None, api_visibility="private", queue=False)


def _name(choice: str, files: list[str] | None) -> str:
    return Path(files[0]).stem if files else choice


def _read(path: str) -> gm.Report:
    if Path(path).stat().st_size > 20_000_000:
        raise uploads.Refused(f"{Path(path).name} is larger than any report. Upload the JSON of a report.")
    try:
        return gm.Report.from_json(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise uploads.Refused(f"{Path(path).name} is no text, so it is no report. Upload its JSON.") from error
