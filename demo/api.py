"""Named endpoints for programs: `gradio_client`, and MCP where the server was started with GENMETRICS_MCP=1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

import genmetrics_rt as gm
from evaluate_tab import score
from jobs import Jobs
from sides import GENERATED, REFERENCE, UPLOADED

_EXAMPLES = (*GENERATED, *REFERENCE)


def build(jobs: Jobs) -> None:
    """The endpoints ``/evaluate`` and ``/compare``."""

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

    with gr.Row(visible=False):
        files = [gr.File(label=name, type="filepath") for name in ("generated", "reference")]
        texts = [
            gr.Textbox("digits-gan", label="generated_example"),
            gr.Textbox("digits", label="reference_example"),
            gr.Textbox("scattering", label="extractor"),
            gr.Textbox("", label="metrics"),
        ]
        numbers = [gr.Number(0, precision=0, label="num_images"), gr.Number(0, precision=0, label="seed")]
        answer = gr.JSON(label="report")
        gr.Button().click(
            evaluate,
            [*files, *texts, *numbers],
            answer,
            api_name="evaluate",
            concurrency_limit=16,
            show_progress="hidden",
        )
        many = gr.File(label="reports", file_count="multiple", type="filepath")
        table = gr.JSON(label="table")
        gr.Button().click(compare, many, table, api_name="compare", show_progress="hidden")


def _side(file: str | None, example: str) -> tuple[str, list[str] | None]:
    if file:
        return UPLOADED, [file]
    if example not in _EXAMPLES:  # never a path of this machine
        raise gr.Error(f"There is no example {example!r}. There are {', '.join(_EXAMPLES)}.", print_exception=False)
    return example, None


def _report(jobs: Jobs, sides: Any, **options: Any) -> gm.Report:
    states: Iterator[Any] = score(jobs, sides, **options)
    for state in states:
        if state.stage == "done":
            found: gm.Report = state.result
            return found
        if state.stage in ("failed", "stopped"):
            raise gr.Error(state.text, print_exception=False)
    raise gr.Error("The job ended without a report. Try again.", print_exception=False)
