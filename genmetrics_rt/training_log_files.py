"""Reading the log of a GAN's training: CSV, JSON lines, or event files of TensorBoard."""

from __future__ import annotations

import math
import os
import re
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from genmetrics_rt.errors import InputError, UnreadableInput
from genmetrics_rt.event_files import EventLog, is_event_log, read_events
from genmetrics_rt.metrics.adversarial import (
    LOSSES,
    DiscriminatorStatistics,
    GanLosses,
    discriminator_statistics,
    gan_losses,
)
from genmetrics_rt.sides import EXAMPLES
from genmetrics_rt.tables import read_rows
from genmetrics_rt.training_log import TrainingLog

SHIPPED = "digits-gan-training"  # the log of the shipped GAN, by its name

# The columns of a log. Any name of a line will do; the first is what it is called from then on.
_STEP = ("step",)
_REAL = ("real_logit", "real_probability")
_GENERATED = ("generated_logit", "generated_probability")
_HELD_OUT = ("held_out_logit", "held_out_probability")
_OF_DISCRIMINATOR = ("d_loss", "discriminator_loss")
_OF_GENERATOR = ("g_loss", "generator_loss")
_SERIES = (_REAL, _GENERATED, _HELD_OUT, _OF_DISCRIMINATOR, _OF_GENERATOR)
COLUMNS = tuple(name for names in (_STEP, *_SERIES) for name in names)
# What TensorBoard tags are often called, in small letters with _ for everything else.
_TAGS = {
    "real_logit": ("real_logit", "real_logits", "logit_real", "logits_real", "loss_scores_real"),
    "real_probability": ("real_probability", "probability_real", "prob_real", "real_prob"),
    "generated_logit": (
        "generated_logit", "generated_logits", "fake_logit", "fake_logits", "logit_fake", "logits_fake",
        "loss_scores_fake",
    ),
    "generated_probability": ("generated_probability", "fake_probability", "probability_fake", "prob_fake"),
    "held_out_logit": ("held_out_logit", "held_out_logits"),
    "held_out_probability": ("held_out_probability",),
    "d_loss": (
        "d_loss", "loss_d", "discriminator_loss", "loss_discriminator", "loss_d_loss", "d_total_loss", "critic_loss",
        "loss_critic", "errd", "train_d_loss", "loss_dis", "dis_loss",
    ),
    "g_loss": (
        "g_loss", "loss_g", "generator_loss", "loss_generator", "loss_g_loss", "g_total_loss", "errg", "train_g_loss",
        "loss_gen", "gen_loss",
    ),
}  # fmt: skip

_LARGEST_STEP = 2.0**63
_LARGEST_LOGIT = 100.0  # that a probability of 0 or 1 has in a loss, as in torch.nn.BCELoss


def read_training_log(
    path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None, losses_suffice: bool = False
) -> TrainingLog:
    """Read what a training logged: CSV with a header, JSON lines, or event files of TensorBoard.

    ======================================= =====================================================================
    ``step``                                whole number; rows of one step belong together, in any order
    ``real_logit``                          of real pictures that the discriminator is trained on
    ``generated_logit``                     of generated pictures
    ``held_out_logit``                      if known: of real pictures that it is not trained on
    ``d_loss`` or ``discriminator_loss``    if known
    ``g_loss`` or ``generator_loss``        if known
    ======================================= =====================================================================

    In a CSV a row has one picture of each kind, and an empty cell is none, so that there may be more of one kind. In
    JSON lines, one object a line, each may be a number or an array of numbers. ``real_probability`` and its like may
    stand in the place of logits: real where above 1/2; a logit beside it counts and the probability does not.

    Of TensorBoard an event file is read, or a folder of them as one log. A scalar is one number a step, so a mean over
    a batch counts as one picture; tensors hold one for each. Only steps that have all columns in use are taken.

    Losses are those of the log (their mean over the rows of a step) where it has both at every step. Else they are
    computed from the logits, and a probability of exactly 0 or 1 counts there as a logit of ∓100, as in
    `torch.nn.BCELoss`.

    ``"digits-gan-training"`` is the log of the shipped GAN.

    Parameters
    ----------
    path
        The file or folder.
    columns
        What a column is called in this log, where it is not one of the above: ``{"d_loss": "Loss/D"}``.
    losses_suffice
        Take a log that has both losses and no outputs: its steps hold no pictures then.

    Raises
    ------
    MissingInput, UnreadableInput
        No such file; more than 200 MB, missing columns, a cell that is no number, a step that is no whole number.
    InputError
        A step without real or without generated pictures, or with a logit that is NaN; an unknown column.
    """
    columns = dict(columns or {})
    for name in columns:
        if name not in COLUMNS:
            raise InputError(f"There is no column {name!r} in a training log; there are {', '.join(COLUMNS)}.")
    if str(path) == SHIPPED:
        path = EXAMPLES / f"{SHIPPED}.csv"
    if is_event_log(path):
        found, notes = _from_events(path, columns)
    else:
        found, notes = _from_rows(path, columns, losses_suffice), ()
    if not found:
        raise UnreadableInput(f"{path} has no step{_damage(notes)}. Give a log with at least one row.")
    ordered = {step: found[step] for step in sorted(found)}
    names = _OF_DISCRIMINATOR[0], _OF_GENERATOR[0]
    has_losses = all(series[name] for series in ordered.values() for name in names)
    logged: tuple[GanLosses, ...] = ()
    if has_losses:
        logged = tuple(GanLosses(*(_mean_loss(series[name]) for name in names)) for series in ordered.values())
    if not any(series[name[0]] for series in ordered.values() for name in (_REAL, _GENERATED)):
        if not (losses_suffice and has_losses):
            raise UnreadableInput(
                f"{path} has no outputs of the discriminator{'' if has_losses else ' and no losses of both networks'}"
                f"{_damage(notes)}. Log real_logit and generated_logit, or say which column they are: "
                "--column real_logit=NAME."
            )
        return TrainingLog(tuple(DiscriminatorStatistics(step, 0, 0, 0, 0) for step in ordered), logged, notes=notes)
    steps = tuple(_of_step(step, series) for step, series in ordered.items())
    families = {loss: tuple(_losses_of(series, loss) for series in ordered.values()) for loss in LOSSES}
    if has_losses:
        return TrainingLog(steps, logged, "log", families, notes)
    return TrainingLog(steps, families["non-saturating"], "logits", families, notes)


def _from_rows(
    path: str | os.PathLike[str], columns: Mapping[str, str], losses_suffice: bool
) -> dict[int, dict[str, array[float]]]:
    """step → series → its numbers, of a CSV or of JSON lines."""
    called = {names: _called(names, columns) for names in (_STEP, *_SERIES)}
    needed = [called[names] for names in (_STEP, *(() if losses_suffice else (_REAL, _GENERATED)))]
    found: dict[int, dict[str, array[float]]] = defaultdict(_no_numbers)
    optional = [names for names in called.values() if names not in needed]
    for row in read_rows(path, needed, optional, what="training log"):
        step = next((row[name] for name in called[_STEP] if name in row), ())
        if len(step) != 1 or not step[0].is_integer() or abs(step[0]) >= _LARGEST_STEP:
            raise UnreadableInput(f"{path} has a row without a whole number as its step. Number the steps.")
        series = found[int(step[0])]
        for names in _SERIES:
            place = next((place for place, name in enumerate(called[names]) if name in row), None)
            if place is not None:
                values = row[called[names][place]]
                is_probability = _meant(names, columns)[place].endswith("_probability")
                series[names[0]].extend(_as_logits(values, called[names][place], path) if is_probability else values)
    return found


def _meant(names: tuple[str, ...], columns: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of a series that are looked for: those that the user named, or else all."""
    return tuple(name for name in names if name in columns) or names


def _called(names: tuple[str, ...], columns: Mapping[str, str]) -> tuple[str, ...]:
    """What they are called in this log."""
    return tuple(columns.get(name, name) for name in _meant(names, columns))


def _no_numbers() -> dict[str, array[float]]:
    return {names[0]: array("d") for names in _SERIES}


def _from_events(
    path: str | os.PathLike[str], columns: Mapping[str, str]
) -> tuple[dict[int, dict[str, array[float]]], tuple[str, ...]]:
    """The same of event files, and what there is to know of them."""
    log = read_events(path)
    chosen: dict[str, tuple[str, str]] = {}  # series → the column that was meant, its tag
    for names in _SERIES:
        for name in _meant(names, columns):
            tag = _tag_of(name, columns.get(name), log, path)
            if tag is not None:
                chosen[names[0]] = name, tag
                break
    outputs = [name for name in (_REAL[0], _GENERATED[0]) if name in chosen]
    losses = [name for name in (_OF_DISCRIMINATOR[0], _OF_GENERATOR[0]) if name in chosen]
    if not log.series:
        raise UnreadableInput(
            f"{path} has no number that can be read{_damage(log.notes)}. Give a whole copy of the log, or one with "
            "scalars."
        )
    if len(outputs) < 2 and len(losses) < 2:
        tags = ", ".join(sorted(log.series)[:12])
        raise UnreadableInput(
            f"{path} has the tags {tags}, and none that is taken for outputs or losses of both networks"
            f"{_damage(log.notes)}. Say which are: --column d_loss=TAG --column g_loss=TAG, or real_logit and "
            "generated_logit."
        )
    needed = outputs if len(outputs) == 2 else losses
    both = [name for name in losses if len(losses) == 2]
    common = set.intersection(*(set(log.series[chosen[name][1]]) for name in {*needed, *both}))
    if not common:  # written at other steps: the losses can be done without
        common = set.intersection(*(set(log.series[chosen[name][1]]) for name in needed))
    found: dict[int, dict[str, array[float]]] = defaultdict(_no_numbers)
    for series, (name, tag) in chosen.items():
        if series in (_REAL[0], _GENERATED[0]) and len(outputs) < 2:
            continue
        for step in common & set(log.series[tag]):
            values = log.series[tag][step]
            is_probability = name.endswith("_probability")
            found[step][series].extend(_as_logits(values, name, path) if is_probability else values)
    notes = list(log.notes)
    every = max(len(log.series[chosen[name][1]]) for name in needed)
    if len(common) < every:
        lacking = ", ".join(sorted({*needed, *both}))
        notes.append(f"{every - len(common)} of {every} steps lack one of {lacking}, and are left out")
    if len(outputs) == 2 and all(len(found[step][name]) == 1 for step in found for name in outputs):
        notes.append(
            "There is one real and one generated output a step, as of a mean over a batch: shares are of steps then, "
            "not of pictures. Log tensors, or CSV, for more"
        )
    return found, tuple(notes)


def _damage(notes: Sequence[str]) -> str:
    """What is wrong with a log, for the middle of an error: it may be why something is not there."""
    return f" ({'; '.join(notes[:5])})" if notes else ""


def _tag_of(name: str, asked: str | None, log: EventLog, path: str | os.PathLike[str]) -> str | None:
    """The tag of a column: the one that was asked for, whole or the end of a longer one, or one of the usual names."""
    tags = log.series
    if asked is not None:
        fitting = [tag for tag in tags if tag == asked] or [tag for tag in tags if tag.endswith(f"/{asked}")]
    else:
        fitting = [tag for tag in tags if _plain(tag) in _TAGS[name]] if name in _TAGS else []
    if len(fitting) > 1:
        raise UnreadableInput(
            f"{path} has several tags for {name}: {', '.join(fitting[:5])}. Say which is meant: --column {name}=TAG."
        )
    if not fitting and asked is not None:
        known = ", ".join(sorted(tags)[:12]) or "none"
        raise UnreadableInput(f"{path} has no tag {asked!r}{_damage(log.notes)}. It has: {known}.")
    return fitting[0] if fitting else None


def _plain(tag: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", tag.lower()).strip("_")


def _of_step(step: int, series: Mapping[str, Sequence[float]]) -> DiscriminatorStatistics:
    real, generated, held_out = (series[names[0]] for names in (_REAL, _GENERATED, _HELD_OUT))
    return discriminator_statistics(real, generated, held_out_logits=held_out, step=step)


def _as_logits(probabilities: Sequence[float], name: str, path: str | os.PathLike[str]) -> list[float]:
    """``ln(p / (1 − p))``, which is above 0 exactly where p is above 1/2, and ∓∞ where it is 0 or 1."""
    logits = []
    for p in probabilities:
        if p < 0 or p > 1:
            logit = name.replace("probability", "logit")
            raise UnreadableInput(f"{path} has a {name} of {p:g}, which is none. If it is a logit, call it {logit}.")
        logits.append(math.copysign(math.inf, p - 0.5) if p in (0, 1) else math.log(p / (1 - p)))
    return logits


def _mean_loss(logged: Sequence[float]) -> float:
    with np.errstate(all="ignore"):  # a training that diverges logs infinities
        return float(np.mean(logged))


def _losses_of(series: Mapping[str, Sequence[float]], loss: str) -> GanLosses:
    logits = [np.array(series[names[0]]) for names in (_REAL, _GENERATED)]
    real, generated = (np.where(np.isinf(own), np.copysign(_LARGEST_LOGIT, own), own) for own in logits)
    return gan_losses(real, generated, loss=loss)
