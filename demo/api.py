"""Named endpoints for programs: `gradio_client`, and MCP where the server was started with GENMETRICS_MCP=1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

import genmetrics_rt as gm
import network
from evaluate_tab import score
from jobs import Jobs, State
from scorecard_tab import measure
from sides import GENERATED, REFERENCE, UPLOADED

_EXAMPLES = (*GENERATED, *REFERENCE)


def build(jobs: Jobs) -> None:
    """The endpoints ``/evaluate``, ``/compare`` and ``/scorecard``."""

    def evaluate(
        generated: str | None,
        reference: str | None,
        generated_example: str,
        reference_example: str,
        extractor: str,
        metrics: str,
        num_images: int,
        seed: int,
    ) -> dict[str, Any]:
        """Score generated images against reference images, and get the whole report as JSON.

        Args:
            generated: A zip or tar of generated images, an array file, or a file of statistics; or none for an example.
            reference: The same for the reference (real) images.
            generated_example: digits-gan, digits-vae or digits-memoriser, where no file is given.
            reference_example: digits, where no file is given.
            extractor: scattering, digits-classifier or, where its weights are on the server, inception-fid.
            metrics: Keys such as fd,kid,precision; empty for all that the features allow.
            num_images: Images of each side; 0 for all.
            seed: For samples of images, latents and clusters.

        Returns:
            The report: schema genmetrics.report/1.
        """
        offered = [name for _, name in network.extractors()]
        if extractor and extractor not in offered:  # a name of ours, never a folder of this machine
            raise gr.Error(
                f"There is no extractor {extractor!r} here. There are {', '.join(offered)}.", print_exception=False
            )
        return _report(
            jobs,
            (_side(generated, generated_example), _side(reference, reference_example)),
            extractor=extractor or "scattering",
            metrics=metrics or None,
            num_images=int(num_images) or None,
            seed=int(seed),
        ).to_dict()

    def compare(reports: list[str]) -> dict[str, Any]:
        """Put finished reports side by side, the best marked only where it is beyond noise.

        Args:
            reports: Two or more JSON files of reports.

        Returns:
            The table: schema genmetrics.comparison/1.
        """
        try:
            read = {Path(path).stem: gm.Report.from_json(Path(path).read_text(encoding="utf-8")) for path in reports}
            return gm.compare(read).to_dict()
        except (gm.GenmetricsError, UnicodeDecodeError) as error:
            raise gr.Error(str(error), print_exception=False) from error

    def scorecard(generators: str, num_images: int, seed: int) -> dict[str, Any]:
        """Judge shipped generators by sampling, quality, coverage, latent space, disentanglement and likelihood.

        Args:
            generators: Names such as digits-vae,digits-gan,digits-flow,digits-diffusion,digits-memoriser.
            num_images: Images of each generator and of the real ones, at most 1000.
            seed: For samples of images and latents.

        Returns:
            The scorecard: schema genmetrics.scorecard/1.
        """
        names = [name.strip() for name in generators.split(",") if name.strip()]
        card: gm.Scorecard = _result(measure(jobs, names, int(num_images), seed=int(seed)))
        return card.to_dict()

    files = [gr.File(label=name, type="filepath", visible=False) for name in ("generated", "reference")]
    texts = [
        gr.Textbox(value, label=name, visible=False)
        for name, value in (
            ("generated_example", "digits-gan"),
            ("reference_example", "digits"),
            ("extractor", "scattering"),
            ("metrics", ""),
        )
    ]
    numbers = [gr.Number(0, precision=0, label=name, visible=False) for name in ("num_images", "seed")]
    gr.Button(visible=False).click(
        evaluate,
        [*files, *texts, *numbers],
        gr.JSON(label="report", visible=False),
        api_name="evaluate",
        concurrency_limit=16,
        show_progress="hidden",
    )
    gr.Button(visible=False).click(
        scorecard,
        [
            gr.Textbox("digits-vae,digits-gan", label="generators", visible=False),
            gr.Number(300, precision=0, label="num_images", visible=False),
            gr.Number(0, precision=0, label="seed", visible=False),
        ],
        gr.JSON(label="scorecard", visible=False),
        api_name="scorecard",
        concurrency_limit=16,
        show_progress="hidden",
    )
    many = gr.File(label="reports", file_count="multiple", type="filepath", visible=False)
    table = gr.JSON(label="table", visible=False)
    gr.Button(visible=False).click(compare, many, table, api_name="compare", show_progress="hidden")


def _side(file: str | None, example: str) -> tuple[str, list[str] | None]:
    if file:
        return UPLOADED, [file]
    if example not in _EXAMPLES:  # never a path of this machine
        raise gr.Error(f"There is no example {example!r}. There are {', '.join(_EXAMPLES)}.", print_exception=False)
    return example, None


def _report(jobs: Jobs, sides: Any, **options: Any) -> gm.Report:
    found: gm.Report = _result(score(jobs, sides, **options))
    return found


def _result(states: Iterator[State]) -> Any:
    """What a job ends with; a failure in its words."""
    for state in states:
        if state.stage == "done":
            return state.result
        if state.stage in ("failed", "stopped"):
            raise gr.Error(state.text, print_exception=False)
    raise gr.Error("The job ended without a result. Try again.", print_exception=False)
