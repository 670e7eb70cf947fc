"""`genmetrics adversarial`: what the log of a GAN's discriminator says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmetrics_rt.errors import InputError
from genmetrics_rt.options import say_errors
from genmetrics_rt.terminal import give, require_own_places
from genmetrics_rt.training_log_files import COLUMNS, read_training_log


@say_errors
def adversarial(
    log: Annotated[
        str, typer.Argument(metavar="LOG", help="CSV, JSON lines, an event file of TensorBoard, or a folder of them.")
    ],
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="What a column is called in this log: d_loss=Loss/D. Repeatable."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            help="Losses of this family, computed from the logits: minimax, non-saturating, least-squares, hinge, "
            "wasserstein. [default: those of the log]",
        ),
    ] = None,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a page with charts here, or to -.")] = None,
) -> None:
    """What the discriminator of a GAN says over training: accuracy, precision, recall, AUC, calibration, losses.

    \b
    genmetrics adversarial digits-gan-training                              a shipped example
    genmetrics adversarial log.csv --html training.html                     step,real_logit,generated_logit
    genmetrics adversarial runs/gan --column d_loss=Loss/D --column g_loss=Loss/G      TensorBoard
    """
    outputs = {"--json": json_file, "--html": html_file}
    if json_file == html_file == "-":
        raise InputError("--json and --html both go to standard output. Name a file for one of them.")
    require_own_places(outputs, (log,))
    read = read_training_log(log, columns=_columns(column or []), losses_suffice=True)
    if loss is not None:
        read = read.with_losses(loss)
    name = Path(log).name or log
    give(
        read.to_text,
        {"--json": lambda: read.to_json() + "\n", "--html": lambda: read.to_html(title=name)},
        outputs,
    )


def _columns(given: list[str]) -> dict[str, str]:
    columns = {}
    for text in given:
        name, equals, called = text.partition("=")
        if not equals or not called or name.strip() not in COLUMNS:
            raise InputError(f"--column {text!r} is none. Write NAME=COLUMN, with NAME one of {', '.join(COLUMNS)}.")
        columns[name.strip()] = called.strip()
    return columns
