"""The log of a GAN's training: what its discriminator's outputs say step by step, and how to read them as a whole.

`genmetrics evaluate --training-log` turns the same judgements into findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import InputError
from genmetrics_rt.metrics.adversarial import (
    LOSSES,
    Calibration,
    DiscriminatorStatistics,
    GanLosses,
)
from genmetrics_rt.render.numbers import plain_number, share
from genmetrics_rt.report import json_text

HEALTHY = (0.8, 0.9)  # accuracy of a discriminator that still teaches its generator
GUESSING = 0.5  # accuracy of one that tells nothing
LAST_SHARE = 0.25  # the end of training that is judged
SWING = 0.2  # of accuracy, between two turns
MANY_TURNS = 4  # of accuracy, from which training oscillates
GAP_OF_HELD_OUT = 0.15  # of recall, between training and held-out pictures
LOW_RECALL = 0.5  # fewer real pictures than a coin would take for real


@dataclass(frozen=True)
class Verdict:
    """One thing to say of a training.

    ``key`` is ``low_recall``, ``oscillating``, ``too_strong``, ``guessing``, ``memorising``, ``weak`` or ``balanced``;
    of a log without outputs ``diverged`` or ``losses_only``. ``sentence`` says what it means with the numbers,
    ``facts`` is the numbers alone, a clause.
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
    families: Mapping[str, tuple[GanLosses, ...]] = field(
        default_factory=dict, repr=False
    )  # of the logits, by `LOSSES`
    notes: tuple[str, ...] = ()  # what was damaged, left out, or means less than it seems

    def __post_init__(self) -> None:
        if not self.steps:
            raise InputError("The training log has no step, so it says nothing. Log the discriminator's logits.")
        if self.losses and len(self.losses) != len(self.steps):
            raise InputError(f"The training log has {len(self.steps)} steps and {len(self.losses)} losses. Match them.")

    @property
    def has_outputs(self) -> bool:
        """Whether the log holds what the discriminator said of pictures, and not its losses alone."""
        return any(entry.num_pictures for entry in self.steps)

    def with_losses(self, loss: str) -> TrainingLog:
        """The same log with the losses of that family, computed from its logits. Raises `InputError` without them."""
        if loss not in LOSSES:
            raise InputError(f"loss is {loss!r}; it must be one of {', '.join(LOSSES)}.")
        if loss not in self.families:
            raise InputError("The log has no outputs of the discriminator, so no loss can be computed from them.")
        return replace(self, losses=self.families[loss], losses_from="logits")

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
    def specificities(self) -> FloatArray:
        return np.array([entry.specificity for entry in self.steps])

    @property
    def f1s(self) -> FloatArray:
        return np.array([entry.f1 for entry in self.steps])

    @property
    def calibration_errors(self) -> FloatArray:
        """Expected calibration errors; NaN where only counts are known."""
        return np.array([entry.calibration.ece if entry.calibration else np.nan for entry in self.steps])

    @property
    def nlls(self) -> FloatArray:
        """Mean −ln of the probability that the discriminator gives to what a picture is; NaN where it is unknown."""
        return np.array([entry.calibration.nll if entry.calibration else np.nan for entry in self.steps])

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
    def last_calibration(self) -> Calibration | None:
        """Over all pictures of `last`; None where the logits are unknown."""
        known = [entry.calibration for entry in self.last if entry.calibration is not None]
        return Calibration.pooled(known) if known else None

    @property
    def last_held_out_recall(self) -> float | None:
        """Mean recall of real pictures outside the training set over `last`; None where the log has none."""
        known = [entry.held_out_recall for entry in self.last if entry.held_out_recall is not None]
        return _mean(known) if known else None

    # The judgement

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All that there is to say, the most serious first; at least one."""
        if not self.has_outputs:
            return (_of_losses(self),)
        found = [judge(self) for judge in (_low_recall, _oscillating, _too_strong, _guessing, _memorising)]
        return tuple(verdict for verdict in found if verdict is not None) or (_weak(self) or _balanced(self),)

    @property
    def verdict(self) -> Verdict:
        """The first of `verdicts`."""
        return self.verdicts[0]

    def judged(self, key: str) -> Verdict | None:
        """The verdict of this key, where it holds."""
        return next((verdict for verdict in self.verdicts if verdict.key == key), None)

    # Forms

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, *, width: int = 100) -> str:
        """Verdicts and a table over the steps, for a terminal: no line wider than ``width`` columns (at least 40)."""
        from genmetrics_rt.render.adversarial_page import render_adversarial_text

        return render_adversarial_text(self, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Verdicts and all steps as plain JSON values, schema ``genmetrics.adversarial/1``."""
        from genmetrics_rt.render.adversarial_page import adversarial_record

        return adversarial_record(self)

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def to_html(self, *, title: str = "Training", fragment: bool = False) -> str:
        """One self-contained page with charts over training: no script, no external request.

        ``fragment``: one ``<div class="genmetrics">`` to be put into another page, as `Report.to_html`.
        """
        from genmetrics_rt.render.adversarial_page import render_adversarial_page

        return render_adversarial_page(self, title=title, fragment=fragment)


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


def _of_losses(log: TrainingLog) -> Verdict:
    """All that can be said where there is nothing but losses: little."""
    last = log._losses[-len(log.last) :]
    first, end = log.last[0].step, log.last[-1].step
    if not np.isfinite(last).all():
        facts = f"losses at steps {first:,} to {end:,} are not all finite"
        return Verdict("diverged", f"The training diverged: {facts}. Go back to a checkpoint before that.", facts)
    of_discriminator, of_generator = (plain_number(float(value)) for value in last.mean(axis=0))
    facts = f"at steps {first:,} to {end:,} the discriminator's is {of_discriminator}, the generator's {of_generator}"
    sentence = (
        f"The log has losses alone: {facts}. They mislead: they look the same where training has converged and where "
        "the discriminator has failed (one that guesses has 1.386 by cross-entropy, 2 by hinge, 0.5 by least squares). "
        "Log its outputs for real and generated pictures, and score the samples."
    )
    return Verdict("losses_only", sentence, facts)


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
