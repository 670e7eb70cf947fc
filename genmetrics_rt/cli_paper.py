"""`genmetrics report`: saved reports as a table for a paper or a model card."""

from __future__ import annotations

from typing import Annotated

import typer

from genmetrics_rt.cli_reports import read_reports
from genmetrics_rt.options import say_errors
from genmetrics_rt.render.paper import FORMATS, TASK, render_paper
from genmetrics_rt.terminal import print_result, require_own_places, write_files


@say_errors
def report(
    reports: Annotated[list[str], typer.Argument(metavar="A.json", help="Reports that `evaluate --json` wrote.")],
    form: Annotated[str, typer.Option("--format", "-f", help=f"{', '.join(FORMATS)}.")] = "markdown",
    metrics: Annotated[str | None, typer.Option("--metrics", "-m", help="For instance fid,kid. [default: all]")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="The Hub's id of the reference, for hf-eval-results.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="The Hub's id of the task, for hf-eval-results.")] = TASK,
    output: Annotated[str, typer.Option("--output", "-o", help="The file to write; - is standard output.")] = "-",
) -> None:
    """Write saved reports as rows of a table, with a methods sentence that says how the numbers were made.

    \b
    genmetrics report A.json B.json --format latex
    genmetrics report A.json --format hf-eval-results --dataset cifar10
    """
    require_own_places({"--output": output}, tuple(reports))
    named = {name: one for name, (_, one) in read_reports(reports).items()}
    keys = None if metrics is None else [key.strip().lower() for key in metrics.split(",") if key.strip()]
    text = render_paper(named, form, metrics=keys, dataset=dataset, task=task)
    if output == "-":
        print_result(text)
    else:
        write_files({output: text})
