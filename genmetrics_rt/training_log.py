"""The log of a GAN's training: what its discriminator's outputs say step by step, and how to read them as a whole.

`genmetrics evaluate --training-log` turns the same judgements into findings.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import InputError, UnreadableInput
from genmetrics_rt.metrics.adversarial import DiscriminatorStatistics, GanLosses, discriminator_statistics, gan_losses
from genmetrics_rt.render.numbers import share
from genmetrics_rt.sides import EXAMPLES
from genmetrics_rt.tables import read_rows

SHIPPED = "digits-gan-training"  # the log of the shipped GAN, by its name
HEALTHY = (0.8, 0.9)  # accuracy of a discriminator that still teaches its generator
GUESSING = 0.5  # accuracy of one that tells nothing
LAST_SHARE = 0.25  # the end of training that is judged
SWING = 0.2  # of accuracy, between two turns
MANY_TURNS = 4  # of accuracy, from which training oscillates
GAP_OF_HELD_OUT = 0.15  # of recall, between training and held-out pictures
LOW_RECALL = 0.5  # fewer real pictures than a coin would take for real

# The columns of a log. Any name of a line will do; the first is what it is called from then on.
_STEP = ("step",)
_REAL = ("real_logit", "real_probability")
_GENERATED = ("generated_logit", "generated_probability")
_HELD_OUT = ("held_out_logit", "held_out_probability")
_OF_DISCRIMINATOR = ("d_loss", "discriminator_loss")
_OF_GENERATOR = ("g_loss", "generator_loss")
_SERIES = (_REAL, _GENERATED, _HELD_OUT, _OF_DISCRIMINATOR, _OF_GENERATOR)

_LARGEST_LOGIT = 100.0  # that a probability of 0 or 1 has in a loss, as in torch.nn.BCELoss


@dataclass(frozen=True)
class Verdict:
    """One thing to say of a training.

    ``key`` is ``low_recall``, ``oscillating``, ``too_strong``, ``guessing``, ``memorising``, ``weak`` or ``balanced``;
    ``sentence`` says what it means with the numbers, ``facts`` is the numbers alone, a clause.
    """

    key: str
    sentence: str
    facts: str


@dataclass(frozen=True)
class TrainingLog:
    """The steps of a training in order, and the losses of each where they are known.

    ``losses_from`` is ``"log"`` where the training wrote the losses itself, and ``"logits"`` where they are the
    non-saturating ones (`gan_losses`) of its logits: then they need not be those that it minimised.
    """

    steps: tuple[DiscriminatorStatistics, ...]
    losses: tuple[GanLosses, ...] = ()  # of each step, or none
    losses_from: str = "log"  # "log" | "logits"

    def __post_init__(self) -> None:
        if not self.steps:
            raise InputError("The training log has no step, so it says nothing. Log the discriminator's logits.")
        if self.losses and len(self.losses) != len(self.steps):
            raise InputError(f"The training log has {len(self.steps)} steps and {len(self.losses)} losses. Match them.")

    # Arrays (S,), to draw

    @property
    def step_numbers(self) -> NDArray[np.int64]:
        return np.array([entry.step for entry in self.steps], np.int64)

    @property
    def accuracies(self) -> FloatArray:
        return np.array([entry.accuracy for entry in self.steps])

    @property
    def precisions(self) -> FloatArray:
        return np.array([entry.precision for entry in self.steps])

    @property
    def recalls(self) -> FloatArray:
        return np.array([entry.recall for entry in self.steps])

    @property
    def aucs(self) -> FloatArray:
        return np.array([entry.auc for entry in self.steps])

    @property
    def held_out_recalls(self) -> FloatArray:
        """NaN at steps without held-out pictures."""
        return np.array([entry.held_out_recall for entry in self.steps], np.float64)  # None becomes NaN

    @property
    def discriminator_losses(self) -> FloatArray:
        """NaN where they are unknown."""
        return self._losses[:, 0]

    @property
    def generator_losses(self) -> FloatArray:
        """NaN where they are unknown."""
        return self._losses[:, 1]

    @property
    def _losses(self) -> FloatArray:
        return np.array(self.losses) if self.losses else np.full((len(self.steps), 2), np.nan)

    # The end of the training

    @property
    def last(self) -> tuple[DiscriminatorStatistics, ...]:
        """The last quarter of the steps, at least one."""
        return self.steps[-max(1, round(LAST_SHARE * len(self.steps))) :]

    @property
    def last_accuracy(self) -> float:
        """Mean accuracy over `last`."""
        return _mean(entry.accuracy for entry in self.last)

    @property
    def last_recall(self) -> float:
        """Mean recall over `last`."""
        return _mean(entry.recall for entry in self.last)

    @property
    def last_held_out_recall(self) -> float | None:
        """Mean recall of real pictures outside the training set over `last`; None where the log has none."""
        known = [entry.held_out_recall for entry in self.last if entry.held_out_recall is not None]
        return _mean(known) if known else None

    # The judgement

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All that there is to say, the most serious first; at least one."""
        found = [judge(self) for judge in (_low_recall, _oscillating, _too_strong, _guessing, _memorising)]
        return tuple(verdict for verdict in found if verdict is not None) or (_weak(self) or _balanced(self),)

    @property
    def verdict(self) -> Verdict:
        """The first of `verdicts`."""
        return self.verdicts[0]

    def judged(self, key: str) -> Verdict | None:
        """The verdict of this key, where it holds."""
        return next((verdict for verdict in self.verdicts if verdict.key == key), None)


def _low_recall(log: TrainingLog) -> Verdict | None:
    if log.last_accuracy < HEALTHY[0] or log.last_recall >= LOW_RECALL:
        return None
    facts = f"{_right(log)}, yet only {_percent(log.last_recall)} of the real pictures are taken for real"
    meaning = "Generated pictures outnumber the real ones, so it is high by itself: read recall and AUC"
    return Verdict("low_recall", f"A high accuracy hides a low recall: {facts}. {meaning}.", facts)


def _oscillating(log: TrainingLog) -> Verdict | None:
    """Accuracy goes up and down again and again in the second half, by more than chance moves it."""
    later = log.accuracies[len(log.steps) // 2 :]
    pictures = min(entry.num_pictures for entry in log.steps)
    turns = num_swings(later, max(SWING, 4 * (2 * 0.25 / pictures) ** 0.5))
    if turns < MANY_TURNS:
        return None
    low, high = _percent(float(later.min())), _percent(float(later.max()))
    facts = f"in the second half accuracy moves between {low} and {high}, and turns {turns} times"
    meaning = "Discriminator and generator chase each other, so a later step need not be a better one"
    return Verdict("oscillating", f"Training oscillates: {facts}. {meaning}.", facts)


def _too_strong(log: TrainingLog) -> Verdict | None:
    if log.last_accuracy <= HEALTHY[1]:
        return None
    sentence = (
        f"The discriminator is too strong: {_right(log, 'it')}, where {_BAND} is healthy. The generator learns little "
        "from it."
    )
    return Verdict("too_strong", sentence, _right(log))


def _guessing(log: TrainingLog) -> Verdict | None:
    pictures = sum(entry.num_pictures for entry in log.last)
    if log.last_accuracy > GUESSING + 2 * (0.25 / pictures) ** 0.5:  # two standard errors
        return None
    sentence = (
        f"The discriminator is guessing: {_right(log, 'it')}, and chance gives {_percent(GUESSING)}. Either "
        "training has converged or the discriminator has failed. The losses look the same in both, so alone they "
        "mislead: look at quality scores of the generated pictures, such as FID or KID, precision and recall."
    )
    return Verdict("guessing", sentence, _right(log))


def _memorising(log: TrainingLog) -> Verdict | None:
    """Real pictures of the training set are taken for real far more often than others."""
    held_out = log.last_held_out_recall
    if held_out is None or log.last_recall - held_out < GAP_OF_HELD_OUT:
        return None
    facts = (
        f"it takes {_percent(log.last_recall)} of the real pictures that it was trained on for real, and "
        f"{_percent(held_out)} of those that it was not"
    )
    sentence = (
        f"The discriminator knows its training pictures by heart: {facts}. The accuracy of "
        f"{_percent(log.last_accuracy)} is on pictures that it knows."
    )
    return Verdict("memorising", sentence, facts)


def _weak(log: TrainingLog) -> Verdict | None:
    if log.last_accuracy >= HEALTHY[0]:
        return None
    sentence = (
        f"The discriminator is weaker than the healthy {_BAND}, and better than guessing: {_right(log, 'it')}. Either "
        "the generator has caught up or the discriminator is too weak: quality scores of the generated pictures tell."
    )
    return Verdict("weak", sentence, _right(log))


def _balanced(log: TrainingLog) -> Verdict:
    facts = _right(log)
    return Verdict("balanced", f"The two are in balance: {facts}, within the healthy {_BAND}.", facts)


def _right(log: TrainingLog, who: str = "the discriminator") -> str:
    first, last = log.last[0].step, log.last[-1].step
    when = f"step {last:,}" if len(log.last) == 1 else f"steps {first:,} to {last:,}"
    return f"{who} is right about {_percent(log.last_accuracy)} of the pictures at {when}"


def _percent(value: float) -> str:
    """``98 %``; with a decimal where rounding would put it on an edge that it is beside."""
    on_edge = any(0 < abs(value - edge) < 0.005 for edge in (*HEALTHY, GUESSING))
    return f"{100 * value:.1f} %" if on_edge else share(value)


_BAND = f"{100 * HEALTHY[0]:.0f} to {100 * HEALTHY[1]:.0f} %"


def num_swings(values: FloatArray, size: float) -> int:
    """How often a series turns around after it moved by ``size`` or more, up or down."""
    turns, direction = 0, 0
    low = high = float(values[0])
    for value in values.tolist():
        low, high = min(low, value), max(high, value)
        rises, falls = value - low >= size and direction <= 0, high - value >= size and direction >= 0
        if rises or falls:
            turns += direction != 0
            direction = 1 if rises else -1
            low = high = value
    return turns


def _mean(values: Iterable[float]) -> float:
    """Rounded so far that the mean of equal values is that value, and not beyond an edge by its last bit."""
    return round(float(np.mean(list(values))), 12)


# Reading


def read_training_log(path: str | os.PathLike[str]) -> TrainingLog:
    """Read what a training logged: CSV with a header, or JSON lines.

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

    Losses are those of the log (their mean over the rows of a step) where it has both at every step. Else they are
    computed from the logits, and a probability of exactly 0 or 1 counts there as a logit of ∓100, as in
    `torch.nn.BCELoss`.

    ``"digits-gan-training"`` is the log of the shipped GAN.

    Raises
    ------
    MissingInput, UnreadableInput
        No such file; more than 200 MB, missing columns, a cell that is no number, a step that is no whole number.
    InputError
        A step without real or without generated pictures, or with a logit that is NaN.
    """
    if str(path) == SHIPPED:
        path = EXAMPLES / f"{SHIPPED}.csv"
    found: dict[int, dict[str, array[float]]] = defaultdict(lambda: {names[0]: array("d") for names in _SERIES})
    for row in read_rows(
        path, (_STEP, _REAL, _GENERATED), (_HELD_OUT, _OF_DISCRIMINATOR, _OF_GENERATOR), what="training log"
    ):
        step = row.get("step", ())
        if len(step) != 1 or not step[0].is_integer():
            raise UnreadableInput(f"{path} has a row without a whole number as its step. Number the steps.")
        series = found[int(step[0])]
        for names in _SERIES:
            name = next((name for name in names if name in row), names[0])
            values = row.get(name, [])
            series[names[0]].extend(values if not name.endswith("_probability") else _as_logits(values, name, path))
    if not found:
        raise UnreadableInput(f"{path} has no step. Give a log with at least one row.")
    ordered = {step: found[step] for step in sorted(found)}
    steps = tuple(_of_step(step, series) for step, series in ordered.items())
    losses = _OF_DISCRIMINATOR[0], _OF_GENERATOR[0]
    if all(series[name] for series in ordered.values() for name in losses):
        logged = [GanLosses(*(_mean_loss(series[name]) for name in losses)) for series in ordered.values()]
        return TrainingLog(steps, tuple(logged), "log")
    return TrainingLog(steps, tuple(_losses_of(series) for series in ordered.values()), "logits")


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


def _losses_of(series: Mapping[str, Sequence[float]]) -> GanLosses:
    logits = [np.array(series[names[0]]) for names in (_REAL, _GENERATED)]
    real, generated = (np.where(np.isinf(own), np.copysign(_LARGEST_LOGIT, own), own) for own in logits)
    return gan_losses(real, generated)
