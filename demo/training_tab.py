"""The tab "Training": what a discriminator's log says, step by step, and the quality of the checkpoints beside it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

import genmetrics_rt as gm
from charts import Band, Line, line_chart

EXAMPLE = "digits-gan-training"
_MOST_BYTES = 20_000_000
_BANDS = (Band(0.8, 0.9, "healthy", "good"), Band(0.0, 0.5, "guessing", "bad"))
_KINDS = (".csv", ".jsonl")
_MOST_POINTS = 1_000  # of a curve
_FORMAT = (
    "CSV or JSONL with `step`, `real_logit` and `generated_logit`, a picture of each kind a row; `held_out_logit` "
    "(real pictures outside the training set), `d_loss` and `g_loss` may be there too. Or an event file of TensorBoard "
    "as it is called there (`events.out.tfevents…`), with such tags. Losses alone are read too, and say little."
)


def read(path: str | None) -> gm.TrainingLog:
    """The log that was uploaded, or the shipped example."""
    if not path:
        return gm.read_training_log(EXAMPLE)
    file = Path(path)
    if file.stat().st_size > _MOST_BYTES:
        raise gr.Error(
            "The log is larger than 20 MB. Keep every tenth step, or fewer pictures at each.", print_exception=False
        )
    if file.suffix.lower() not in _KINDS and "tfevents" not in file.name:
        raise gr.Error(
            f"{file.name} is neither CSV nor JSONL by its name, and no event file: their names hold tfevents. Name it "
            "as what it is.",
            title="This is not a training log",
            print_exception=False,
        )
    try:
        return gm.read_training_log(path, losses_suffice=True)
    except gm.GenmetricsError as error:  # it names the upload, not where it lies here
        told = str(error).replace(path, file.name)
        raise gr.Error(told, title="This is not a training log", print_exception=False) from error


def show(log: gm.TrainingLog, step: int) -> tuple[str, str, str]:
    """The verdict, the curves and the confusion matrix at one step, as HTML."""
    steps = [entry.step for entry in log.steps]
    at = min(range(len(steps)), key=lambda index: abs(steps[index] - step))
    drawn = slice(None, None, -(-len(steps) // _MOST_POINTS))
    x = steps[drawn]

    def chart(title: str, lines: list[tuple[str, Any]], **options: Any) -> str:
        shown = [Line(name, values[drawn]) for name, values in lines]
        return line_chart(title, x, shown, x_label="step", marked=steps[at], **options)

    curves = chart("Losses", [("discriminator", log.discriminator_losses), ("generator", log.generator_losses)])
    if log.has_outputs:
        told = [("accuracy", log.accuracies), ("precision", log.precisions), ("recall", log.recalls), ("AUC", log.aucs)]
        curves += chart("The discriminator", told, bands=_BANDS, y_range=(0, 1))
    calibration = log.last_calibration
    if calibration is not None:
        curves += chart(
            "Calibration error: how far its probabilities are from what happens (0 is best)",
            [("expected calibration error", log.calibration_errors)],
            y_range=(0, 0.5),
        )
        curves += _reliability(calibration)
    notes = "".join(f'<p class="gm-note">{escape(note)}.</p>' for note in log.notes)
    return _verdict(log), f'<div class="gm-charts">{curves}</div>{notes}', _confusion(log, at)


def _reliability(calibration: gm.Calibration) -> str:
    """What share is real of the pictures to which it gives a probability, over the last quarter of the steps."""
    bins = [entry for entry in calibration.bins if entry.num_pictures]
    if len(bins) < 2:
        return ""
    given = [entry.probability for entry in bins]
    return line_chart(
        "Of pictures that it calls real with this probability, so many are (last quarter)",
        given,
        [Line("real", [entry.real for entry in bins]), Line("if it were calibrated", given)],
        x_label="probability that it gives",
        y_range=(0, 1),
    )


def _verdict(log: gm.TrainingLog) -> str:
    return "".join(f'<p class="gm-verdict {found.key}">{escape(found.sentence)}</p>' for found in log.verdicts)


def _confusion(log: gm.TrainingLog, at: int) -> str:
    entry = log.steps[at]
    if not entry.num_pictures:
        return '<p class="gm-note">The log holds no outputs of the discriminator, so there is nothing to count.</p>'
    rows = (
        ("real", entry.real_as_real, entry.real_as_generated),
        ("generated", entry.generated_as_real, entry.generated_as_generated),
    )
    body = ""
    for name, as_real, as_generated in rows:
        total = max(1, as_real + as_generated)
        cells = "".join(
            f'<td style="--share:{count / total:.3f}"><b>{count / total:.0%}</b><span>{count:,}</span></td>'
            for count in (as_real, as_generated)
        )
        body += f"<tr><th scope='row'>{name}</th>{cells}</tr>"
    figures = [("accuracy", entry.accuracy), ("precision", entry.precision), ("recall", entry.recall)]
    figures += [("AUC", entry.auc), ("F1", entry.f1)]
    if entry.held_out_recall is not None:
        figures.append(("recall of held-out pictures", entry.held_out_recall))
    if entry.calibration is not None:
        figures += [("calibration error", entry.calibration.ece), ("NLL (nats)", entry.calibration.nll)]
    told = "".join(f"<div><dt>{name}</dt><dd>{value:.3f}</dd></div>" for name, value in figures)
    return (
        f'<table class="gm-confusion"><caption>At step {entry.step:,}: what the discriminator takes them for</caption>'
        '<thead><tr><th scope="col">pictures that are</th><th scope="col">taken for real</th>'
        f'<th scope="col">taken for generated</th></tr></thead><tbody>{body}</tbody></table><dl class="gm-figures">'
        f"{told}</dl>"
    )


def build(track_page: str) -> None:
    """The tab's content. ``track_page``: the scores of the shipped checkpoints, as HTML."""
    log = gm.read_training_log(EXAMPLE)
    steps = [entry.step for entry in log.steps]
    verdict, curves, confusion = show(log, steps[-1])

    gr.Markdown(
        "What the discriminator of a GAN tells real from generated pictures by says whether it still teaches. The "
        "example is the log of the shipped digits GAN: losses, shares, and whether the probabilities that it gives are "
        "those that happen."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(
                label="A log of discriminator outputs", type="filepath", elem_id="training-log"
            )  # of any name: an event file ends in what its machine is called
            gr.Markdown(_FORMAT)
            step = gr.Slider(steps[0], steps[-1], steps[-1], step=1, label="Step of the confusion matrix")
            shown_confusion = gr.HTML(confusion)
        with gr.Column(scale=2, min_width=320):
            shown_verdict = gr.HTML(verdict)
            shown_curves = gr.HTML(curves)
    with gr.Accordion("The quality of the checkpoints beside it: losses alone mislead", open=True):
        gr.Markdown(
            "Scores of the example's ten checkpoints, by `genmetrics track`. The discriminator's numbers hardly move "
            "where the images become good; recall is still rising at the end."
        )
        gr.HTML(track_page)

    def opened(path: str | None) -> tuple[Any, ...]:
        try:
            found = read(path)
        except gr.Error as error:  # in the place of the verdict, where it stays
            empty = f'<p class="gm-verdict">This is not a training log. {escape(error.message)}</p>'
            return gr.skip(), empty, "", ""
        first, last = found.steps[0].step, found.steps[-1].step
        return gr.Slider(minimum=first, maximum=max(last, first + 1), value=last), *show(found, last)

    def moved(path: str | None, at: float) -> tuple[str, str]:
        try:
            _, lines, table = show(read(path), int(at))
        except gr.Error:  # it was said when the log was opened
            return "", ""
        return lines, table

    quiet = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    upload.change(opened, upload, [step, shown_verdict, shown_curves, shown_confusion], **quiet)
    step.release(moved, [upload, step], [shown_curves, shown_confusion], **quiet)
    step.change(moved, [upload, step], [shown_curves, shown_confusion], **quiet, trigger_mode="always_last")
