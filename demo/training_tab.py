"""The tab "Training": what a discriminator's log says, step by step, and the quality of the checkpoints beside it."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

import genmetrics_rt as gm
from charts import Band, Line, line_chart

EXAMPLE = "digits-gan-training"
_MOST_BYTES = 20_000_000
_BANDS = (Band(0.8, 0.9, "healthy", "good"), Band(0.0, 0.5, "guessing", "bad"))
_FORMAT = (
    "CSV or JSONL with `step`, `real_logit` and `generated_logit`, a picture of each kind a row; `held_out_logit` "
    "(real pictures outside the training set), `d_loss` and `g_loss` may be there too."
)


def read(path: str | None) -> gm.TrainingLog:
    """The log that was uploaded, or the shipped example."""
    if path and Path(path).stat().st_size > _MOST_BYTES:
        raise gr.Error(
            "The log is larger than 20 MB. Keep every tenth step, or fewer pictures at each.", print_exception=False
        )
    try:
        return gm.read_training_log(path or EXAMPLE)
    except gm.GenmetricsError as error:
        raise gr.Error(str(error), title="This is not a training log", print_exception=False) from error


def show(log: gm.TrainingLog, step: int) -> tuple[str, str, str]:
    """The verdict, the curves and the confusion matrix at one step, as HTML."""
    steps = [entry.step for entry in log.steps]
    at = min(range(len(steps)), key=lambda index: abs(steps[index] - step))
    curves = line_chart(
        "Losses",
        steps,
        [Line("discriminator", log.discriminator_losses), Line("generator", log.generator_losses)],
        x_label="step",
        marked=steps[at],
    )
    told = [
        Line("accuracy", log.accuracies),
        Line("precision", log.precisions),
        Line("recall", log.recalls),
        Line("AUC", log.aucs),
    ]
    curves += line_chart(
        "The discriminator", steps, told, x_label="step", bands=_BANDS, y_range=(0, 1), marked=steps[at]
    )
    return _verdict(log), f'<div class="gm-charts">{curves}</div>', _confusion(log, at)


def _verdict(log: gm.TrainingLog) -> str:
    return "".join(f'<p class="gm-verdict {found.key}">{escape(found.sentence)}</p>' for found in log.verdicts)


def _confusion(log: gm.TrainingLog, at: int) -> str:
    entry = log.steps[at]
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
        "example is the log of the shipped digits GAN."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(label="A log of discriminator outputs", file_types=[".csv", ".jsonl"], type="filepath")
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

    def opened(path: str | None) -> tuple[object, str, str, str]:
        found = read(path)
        first, last = found.steps[0].step, found.steps[-1].step
        return gr.Slider(minimum=first, maximum=max(last, first + 1), value=last), *show(found, last)

    def moved(path: str | None, at: float) -> tuple[str, str]:
        _, lines, table = show(read(path), int(at))
        return lines, table

    quiet = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    upload.change(opened, upload, [step, shown_verdict, shown_curves, shown_confusion], **quiet)
    step.release(moved, [upload, step], [shown_curves, shown_confusion], **quiet)
    step.change(moved, [upload, step], [shown_curves, shown_confusion], **quiet, trigger_mode="always_last")
