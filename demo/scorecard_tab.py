"""The tab "Scorecard": the shipped generators in the six properties that such models are judged by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

import genmetrics_rt as gm
from evaluate_tab import told
from generators import DENSITIES, GENERATORS, NUM_PATHS
from jobs import Job, Jobs, State

EXAMPLE_IMAGES = 300  # of each side: five generators end in about a minute on two cores
MOST_IMAGES = 1_000
_INTRODUCTION = (
    "No single number says whether a generative model is good, and no family is best at everything. So the card asks "
    "six questions: how long an image takes, whether images look real, whether everything is made that should be, "
    "whether small steps in the latent space make small changes, whether each latent dimension changes one thing, and "
    "what probability the model gives to an image. Below each measured value stands what textbooks expect of its kind."
)
_CLOSER = (
    "### Look closer\nThe latent space of each: the roughest ways from one picture to another, as strips. And the "
    "likelihood, for the models that have one."
)
_OWN = (
    "### Measure it here\nChoose generators and how many images each makes; it takes about a minute. For a model of "
    "your own: `genmetrics scorecard model.onnx real/ --output-range=-1,1`."
)


def build(jobs: Jobs, precomputed: Path) -> None:
    """The tab's content. ``precomputed`` holds the card and the pages on latent spaces and likelihoods."""
    gr.Markdown(_INTRODUCTION)
    gr.HTML((precomputed / "scorecard.html").read_text(encoding="utf-8"), elem_id="scorecard-shown")
    gr.Markdown(_CLOSER)
    for name, title in GENERATORS.items():
        _closer(f"{title} ({name}): latent space", precomputed / f"latent-{name}.html", f"latent-{name}")
        if name in DENSITIES:
            _closer(f"{title} ({name}): likelihood", precomputed / f"likelihood-{name}.html", f"likelihood-{name}")
    gr.Markdown(_OWN)
    with gr.Row():
        chosen = gr.CheckboxGroup(
            [(title, name) for name, title in GENERATORS.items()],
            value=["digits-vae", "digits-gan"],
            label="Generators",
            min_width=320,
        )
        num_images = gr.Slider(
            100, MOST_IMAGES, EXAMPLE_IMAGES, step=100, label="Images of each generator, and real ones", min_width=280
        )
    with gr.Row():
        run = gr.Button("Make the scorecard", variant="primary", elem_id="scorecard-run")
        stop = gr.Button("Stop", interactive=False, elem_id="scorecard-stop")
    status = gr.HTML(told("", "Your card appears below."), elem_id="scorecard-status")
    card = gr.HTML(elem_id="scorecard-own")
    job = gr.State("")

    def on_run(names: list[str], images: float) -> Iterator[Any]:
        for state in measure(jobs, names, int(images)):
            busy = state.stage in ("waiting", "running")
            page = state.result.to_html(fragment=True) if state.stage == "done" else gr.skip()
            yield state.job, _line(state), gr.Button(interactive=not busy), gr.Button(interactive=busy), page

    run.click(
        on_run,
        [chosen, num_images],
        [job, status, run, stop, card],
        api_visibility="private",
        concurrency_limit=16,
        trigger_mode="once",
        show_progress="hidden",
    )
    stop.click(jobs.stop, job, None, api_visibility="private", queue=False)


def measure(jobs: Jobs, names: list[str], num_images: int, *, seed: int = 0) -> Iterator[State]:
    """The states of a job that makes the scorecard of shipped generators; the last one has it."""

    def prepare(job: Job) -> list[str]:
        unknown = [name for name in names if name not in GENERATORS]  # a name of ours, never a path of this machine
        if unknown or not names:
            wrong = f"There is no generator {unknown[0]!r} here." if unknown else "No generator is chosen."
            raise gm.InputError(f"{wrong} Choose among {', '.join(GENERATORS)}.")
        if not 1 <= num_images <= MOST_IMAGES:
            raise gm.InputError(
                f"{num_images:,} images were asked for, and a scorecard here takes 1 to {MOST_IMAGES:,}. For more, "
                "run genmetrics scorecard on your own machine."
            )
        return list(dict.fromkeys(names))

    def work(job: Job, chosen: list[str]) -> gm.Scorecard:
        return gm.make_scorecard(
            chosen, "digits", num_images=num_images, num_paths=NUM_PATHS, seed=seed, progress=job.progress
        )

    return jobs.run(work, prepare=prepare)


def _closer(title: str, page: Path, key: str) -> None:
    """A page that comes when it is opened: together they would make the first view of everybody heavy."""
    with gr.Accordion(title, open=False, elem_id=key) as accordion:
        shown = gr.HTML()
    accordion.expand(
        partial(page.read_text, encoding="utf-8"),
        None,
        shown,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )


def _line(state: State) -> str:
    if state.stage == "done":
        return told("done", f"Done in {state.result.runtime.seconds:.1f} s.")
    if state.stage == "failed":
        return told("failed", state.text)
    begins_with_name = state.text.startswith(tuple(GENERATORS))
    text = state.text if begins_with_name else f"{state.text[:1].upper()}{state.text[1:]}"
    return told("", text, state.fraction)
