"""The log of a GAN's training as a page, as text and as a record: verdicts, charts over the steps, a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genmetrics_rt.render.html import page
from genmetrics_rt.render.lines import Band, Curve, line_figure
from genmetrics_rt.render.markup import definitions, details, escape, section, table
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import NOTHING, Formatter, count, counted, number, plain_number
from genmetrics_rt.render.svg import LOOKS, Mark, unit_plot
from genmetrics_rt.render.table import number_table
from genmetrics_rt.render.text import NARROWEST, labelled
from genmetrics_rt.version import __version__

if TYPE_CHECKING:
    from genmetrics_rt.metrics.adversarial import DiscriminatorStatistics
    from genmetrics_rt.training_log import TrainingLog

SCHEMA = "genmetrics.adversarial/1"
_ROWS = 20  # of the table in a terminal; the page and the record have all steps
_PAGE_ROWS = 400
_TITLES = {
    "low_recall": "accuracy hides recall", "oscillating": "oscillating", "too_strong": "too strong",
    "guessing": "guessing", "memorising": "memorising", "weak": "weak", "balanced": "in balance",
    "diverged": "diverged", "losses_only": "losses alone",
}  # fmt: skip
_SHARES = (
    ("accuracy", "accuracy"),
    ("balanced", "balanced_accuracy"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("specificity", "specificity"),
    ("F1", "f1"),
    ("AUC", "auc"),
)


def render_adversarial_text(log: TrainingLog, width: int = 100) -> str:
    """Verdicts, a table over the steps, and the end of training; no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    verdicts = [
        line for verdict in log.verdicts for line in labelled(_TITLES[verdict.key], prose(verdict.sentence), width)
    ]
    shown = _spread(len(log.steps), _ROWS)
    heads = _heads(log)
    rows = [(count(log.steps[place].step), _cells(log, place, plain_number)) for place in shown]
    end = [line for label, text in _end(log, plain_number) for line in labelled(label, text, width)]
    notes = [f"Losses are {_where_from(log)}."]
    if len(shown) < len(log.steps):
        notes.insert(0, f"{len(shown)} of {count(len(log.steps))} steps are shown; --json and --html have more.")
    notes += [note if note.endswith(".") else f"{note}." for note in log.notes]
    foot = [line for note in notes for line in labelled("note", prose(note), width)]
    blocks = (verdicts, number_table("step", heads, rows, width), end, foot)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def adversarial_record(log: TrainingLog) -> dict[str, Any]:
    """All of it as plain JSON values, schema ``genmetrics.adversarial/1``."""
    steps = []
    for place, entry in enumerate(log.steps):
        record: dict[str, Any] = {"step": entry.step}
        if entry.num_pictures:
            record["confusion"] = {
                "real_as_real": entry.real_as_real,
                "real_as_generated": entry.real_as_generated,
                "generated_as_real": entry.generated_as_real,
                "generated_as_generated": entry.generated_as_generated,
            }
            record |= {name: getattr(entry, name) for _, name in _SHARES}
            record["held_out_recall"] = entry.held_out_recall
        if entry.calibration is not None:
            record |= {"nll": entry.calibration.nll, "calibration_error": entry.calibration.ece}
        if log.losses:
            record |= {"d_loss": log.losses[place].discriminator, "g_loss": log.losses[place].generator}
        if log.families:
            record["losses"] = {loss: list(values[place]) for loss, values in log.families.items()}
        steps.append(record)
    pooled = log.last_calibration
    reliability = [
        {"num_pictures": entry.num_pictures, "probability": entry.probability, "real": entry.real}
        for entry in (pooled.bins if pooled else ())
        if entry.num_pictures
    ]
    return {
        "schema": SCHEMA,
        "version": __version__,
        "verdicts": [vars(verdict) for verdict in log.verdicts],
        "losses_from": log.losses_from,
        "last_steps": [log.last[0].step, log.last[-1].step],
        "reliability": reliability,
        "steps": steps,
        "notes": list(log.notes),
    }


def render_adversarial_page(log: TrainingLog, *, title: str = "Training", fragment: bool = False) -> str:
    """The page or the fragment as text. Everything in it is escaped; it needs nothing but itself."""
    first, last = log.steps[0].step, log.steps[-1].step
    pictures = sum(entry.num_pictures for entry in log.steps)
    of = f", {counted(pictures, 'picture')} told apart" if pictures else ""
    verdicts = "".join(f"<p>{escape(verdict.sentence)}</p>" for verdict in log.verdicts)
    notes = "".join(f"<li>{escape(note)}</li>" for note in log.notes)
    body = "".join(
        (
            f'<header><p class="kind">The discriminator over training</p><h1>{escape(shorten(visible(title), 90))}</h1>'
            f'<p class="facts">{counted(len(log.steps), "step")}, {count(first)} to {count(last)}{of} · genmetrics-rt '
            f"{escape(__version__)}</p></header>\n",
            section("verdicts", "In short", f'<div class="verdicts">{verdicts}</div>'),
            section("curves", "Over training", f'<div class="figures">{_figures(log)}</div>'),
            _at_the_end(log),
            section("numbers", "All steps", _table(log) + (f"<ul>{notes}</ul>" if notes else "")),
        )
    )
    return page(f"Discriminator: {shorten(visible(title), 80)}", body, __version__, fragment=fragment)


def _where_from(log: TrainingLog) -> str:
    if log.losses_from == "log":
        return "those of the log"
    family = next((loss for loss, values in log.families.items() if values is log.losses), "non-saturating")
    return f"computed from the logits, {family}, so they need not be those that training minimised"


def _heads(log: TrainingLog) -> tuple[str, ...]:
    shares = tuple(head for head, _ in _SHARES) if log.has_outputs else ()
    held_out = ("held-out",) if any(entry.held_out_recall is not None for entry in log.steps) else ()
    calibrated = ("ECE", "NLL") if any(entry.calibration is not None for entry in log.steps) else ()
    return (*(("D loss", "G loss") if log.losses else ()), *shares, *held_out, *calibrated)


def _cells(log: TrainingLog, place: int, write: Formatter) -> tuple[str, ...]:
    entry, cells = log.steps[place], list[str]()
    if log.losses:
        cells += [write(float(f"{value:.4g}")) for value in log.losses[place]]
    if log.has_outputs:
        cells += [_share(getattr(entry, name)) for _, name in _SHARES]
    if "held-out" in _heads(log):
        cells.append(NOTHING if entry.held_out_recall is None else _share(entry.held_out_recall))
    if "ECE" in _heads(log):
        known = entry.calibration
        cells += [NOTHING, NOTHING] if known is None else [_share(known.ece), write(known.nll)]
    return tuple(cells)


def _share(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3f}"


def _end(log: TrainingLog, write: Formatter) -> list[tuple[str, str]]:
    """The confusion matrix of the last quarter and all losses there, in lines: label, text."""
    if not log.has_outputs:
        return []
    rows = [
        ("at the end", f"the last quarter, steps {count(log.last[0].step)} to {count(log.last[-1].step)}, together")
    ]
    real, generated = _confusion(log.last)
    rows.append(("real", f"{count(real[0])} taken for real, {count(real[1])} for generated"))
    rows.append(("generated", f"{count(generated[0])} taken for real, {count(generated[1])} for generated"))
    pooled = log.last_calibration
    if pooled is not None:
        rows.append(
            ("calibrated", f"ECE {_share(pooled.ece)}, NLL {write(pooled.nll)} nats a picture (0.6931 is guessing)")
        )
    losses = "; ".join(
        f"{loss} D {write(values[-1].discriminator)}, G {write(values[-1].generator)}"
        for loss, values in log.families.items()
    )
    return [*rows, ("losses", f"of the logits of the last step: {losses}")] if losses else rows


def _confusion(entries: Sequence[DiscriminatorStatistics]) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        (sum(entry.real_as_real for entry in entries), sum(entry.real_as_generated for entry in entries)),
        (sum(entry.generated_as_real for entry in entries), sum(entry.generated_as_generated for entry in entries)),
    )


def _figures(log: TrainingLog) -> str:
    steps = [float(entry.step) for entry in log.steps]

    def curve(label: str, values: Any, place: int) -> Curve:
        return Curve(label, list(zip(steps, [float(value) for value in values], strict=True)), LOOKS[place])

    drawn = [
        line_figure(
            key="losses",
            title="Losses",
            space="lower is better for each",
            caption=f"They are {_where_from(log)}. Alone they mislead: they say how the two stand to one another, not "
            "how good the pictures are.",
            x_label="step",
            curves=[
                curve("discriminator", log.discriminator_losses, 0),
                curve("generator", log.generator_losses, 1),
            ],
        )
    ]
    if log.has_outputs:
        drawn.append(
            line_figure(
                key="accuracy",
                title="Accuracy and AUC",
                space="0.5 is guessing",
                caption="How often the discriminator is right. Between 80 and 90 % it still teaches its generator; "
                "above, the generator learns little; at 50 % it has converged or the discriminator has failed.",
                x_label="step",
                curves=[curve("accuracy", log.accuracies, 0), curve("AUC", log.aucs, 1)],
                y_range=(0.0, 1.0),
                bands=(Band(0.8, 0.9, "healthy"),),
            )
        )
        told = [curve("precision", log.precisions, 0), curve("recall of training pictures", log.recalls, 1)]
        told.append(curve("specificity", log.specificities, 2))
        told.append(curve("recall of held-out pictures", log.held_out_recalls, 4))
        drawn.append(
            line_figure(
                key="shares",
                title="Precision and recall",
                space="positive is real",
                caption="Recall: real pictures taken for real; specificity: generated ones taken for generated. A gap "
                "between training and held-out pictures means that the discriminator knows its pictures by heart.",
                x_label="step",
                curves=told,
                y_range=(0.0, 1.0),
            )
        )
        drawn.append(
            line_figure(
                key="calibration",
                title="Calibration error",
                space="0 is calibrated",
                caption="How far the probabilities of the discriminator are from the shares that they stand for, in "
                "ten bins. It is never quite 0 with few pictures a step.",
                x_label="step",
                curves=[curve("expected calibration error", log.calibration_errors, 0)],
            )
        )
    return "".join(drawn)


def _at_the_end(log: TrainingLog) -> str:
    """Confusion matrix, reliability curve and the losses of all families over the last quarter."""
    if not log.has_outputs:
        return ""
    first, last = log.last[0].step, log.last[-1].step
    real, generated = _confusion(log.last)
    confusion = table(
        "Pictures, by what they are and what they were taken for.",
        ("", "taken for real", "taken for generated"),
        (("real", *map(count, real)), ("generated", *map(count, generated))),
    )
    losses = ""
    if log.families:
        rows = [
            (loss, number(values[-1].discriminator), number(values[-1].generator))
            for loss, values in log.families.items()
        ]
        caption = f"Losses of the logits at step {count(last)}, by family; penalties on gradients are not in them."
        losses = table(caption, ("", "discriminator", "generator"), rows)
    pooled = log.last_calibration
    drawn = ""
    if pooled is not None:
        points = [(entry.probability, entry.real) for entry in pooled.bins if entry.num_pictures]
        told = "; ".join(f"{number(probability)} is real {number(real)}" for probability, real in points)
        drawing = unit_plot(
            key="reliability",
            title="Reliability",
            description=f"Mean probability of a bin and the share that is real: {told}.",
            x_label="probability that the discriminator gives",
            y_label="share that is real",
            line=points if len(points) > 1 else (),
            marks=[Mark("circle", *point) for point in points],
            corners=("too unsure\nof real ones", "", "", "too sure\nof real ones"),
            ideal=False,
        )
        drawn = (
            '<figure class="drawing"><h3>Reliability <span class="space">on the diagonal is calibrated</span></h3>'
            f"{drawing}<figcaption><p>Over {count(pooled.num_pictures)} pictures: expected calibration error "
            f"{escape(_share(pooled.ece))}, NLL {escape(number(pooled.nll))} nats (0.6931 is guessing).</p>"
            "</figcaption></figure>"
        )
    means = [(head, _share(_mean([getattr(entry, name) for entry in log.last]))) for head, name in _SHARES]
    shares = definitions((head, escape(value)) for head, value in means)
    numbers = f'<div class="wide">{confusion}</div>{shares}<div class="wide">{losses}</div>'
    lead = escape(f"Steps {count(first)} to {count(last)}, the last quarter, together.")
    figures = f'<div class="figures">{drawn}</div>' if drawn else ""
    content = f'<div class="provenance"><div>{numbers}</div>{figures}</div>'
    return section("end", "At the end", content, lead=lead)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _table(log: TrainingLog) -> str:
    shown = _spread(len(log.steps), _PAGE_ROWS)
    rows = [(count(log.steps[place].step), *_cells(log, place, number)) for place in shown]
    caption = "One row for each step."
    if len(shown) < len(log.steps):
        caption = f"{count(len(shown))} of {count(len(log.steps))} steps."
    summary = f"{counted(len(shown), 'row')} of numbers"
    return details(summary, f'<div class="wide">{table(caption, ("step", *_heads(log)), rows)}</div>')


def _spread(total: int, most: int) -> list[int]:
    """Positions, evenly spread, with the first and the last."""
    if total <= most:
        return list(range(total))
    return sorted({round(place * (total - 1) / (most - 1)) for place in range(most)})
