"""The discriminator of a GAN along its training: confusion matrix, accuracy, precision, recall and AUC of each step.

Positive is real, and a picture is predicted to be real where its logit is above 0 (a probability above 1/2); one of
exactly 0 counts as generated.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.diagnosis.table import read_rows
from genmetrics_rt.errors import InputError, UnreadableInput

HEALTHY = (0.8, 0.9)  # accuracy of a discriminator that still teaches its generator
GUESSING = 0.5  # accuracy of one that tells nothing
LAST_SHARE = 0.25  # the end of training that is judged

_LOGITS = ("real_logit", "generated_logit", "held_out_logit")
_COLUMNS = ("step", "real_logit", "generated_logit")


@dataclass(frozen=True)
class StepStatistics:
    """What the discriminator made of real and generated pictures at one step.

    ``auc`` is the chance that a real picture has the larger logit, ties half; NaN where only counts are known.
    """

    step: int
    real_as_real: int
    real_as_generated: int
    generated_as_real: int
    generated_as_generated: int
    auc: float = float("nan")
    held_out_recall: float | None = None  # share taken for real of real pictures that the discriminator never saw

    @property
    def accuracy(self) -> float:
        """Share of all pictures that are told right."""
        return (self.real_as_real + self.generated_as_generated) / self.num_pictures

    @property
    def precision(self) -> float:
        """Share of real ones among those taken for real; 0 where none is."""
        taken = self.real_as_real + self.generated_as_real
        return self.real_as_real / taken if taken else 0.0

    @property
    def recall(self) -> float:
        """Share of real ones that are taken for real; 0 where there are none."""
        real = self.real_as_real + self.real_as_generated
        return self.real_as_real / real if real else 0.0

    @property
    def specificity(self) -> float:
        """Share of generated ones that are taken for generated; 0 where there are none."""
        generated = self.generated_as_real + self.generated_as_generated
        return self.generated_as_generated / generated if generated else 0.0

    @property
    def balanced_accuracy(self) -> float:
        """Mean of recall and specificity: accuracy as if both kinds were equally many."""
        return (self.recall + self.specificity) / 2

    @property
    def f1(self) -> float:
        """``2 P R / (P + R)``; 0 where both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def num_pictures(self) -> int:
        return self.real_as_real + self.real_as_generated + self.generated_as_real + self.generated_as_generated


@dataclass(frozen=True)
class TrainingLog:
    """The steps of a training in order."""

    steps: tuple[StepStatistics, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise InputError("The training log has no step, so it says nothing. Log the discriminator's logits.")

    @property
    def accuracies(self) -> FloatArray:
        """(S,) accuracy of the discriminator at each step."""
        return np.array([entry.accuracy for entry in self.steps])

    @property
    def last(self) -> tuple[StepStatistics, ...]:
        """The last quarter of the steps, at least one."""
        return self.steps[-max(1, round(LAST_SHARE * len(self.steps))) :]

    @property
    def last_accuracy(self) -> float:
        """Mean accuracy over `last`."""
        return float(np.mean([entry.accuracy for entry in self.last]))

    @property
    def last_recall(self) -> float:
        """Mean recall over `last`."""
        return float(np.mean([entry.recall for entry in self.last]))

    @property
    def last_held_out_recall(self) -> float | None:
        """Mean recall of real pictures outside the training set over `last`; None where the log has none."""
        known = [entry.held_out_recall for entry in self.last if entry.held_out_recall is not None]
        return float(np.mean(known)) if known else None


def discriminator_statistics(
    real_logits: Any, generated_logits: Any, *, held_out_logits: Any = (), step: int = 0
) -> StepStatistics:
    """The statistics of one step from the logits of real (n,), generated (m,) and held-out real (h,) pictures.

    ``AUC = (#{r > g} + ½ #{r = g}) / (n m)`` (Mann and Whitney 1947). A converged GAN has an accuracy and an AUC of
    1/2 (Goodfellow et al. 2014). Raises `InputError` where a side is empty or holds a logit that is no number.
    """
    from scipy.stats import rankdata

    real, generated = np.asarray(real_logits, np.float64).ravel(), np.asarray(generated_logits, np.float64).ravel()
    if not len(real) or not len(generated):
        raise InputError(f"Step {step} has {len(real)} real and {len(generated)} generated logits; each needs one.")
    held_out = np.asarray(held_out_logits, np.float64).ravel()
    if any(np.isnan(logits).any() for logits in (real, generated, held_out)):
        raise InputError(f"Step {step} has a logit that is not a number: the training diverged. Cut the log before it.")
    ranks = rankdata(np.concatenate([real, generated]))[: len(real)]
    above = float(ranks.sum()) - len(real) * (len(real) + 1) / 2
    return StepStatistics(
        step,
        int((real > 0).sum()),
        int((real <= 0).sum()),
        int((generated > 0).sum()),
        int((generated <= 0).sum()),
        above / (len(real) * len(generated)),
        float((held_out > 0).mean()) if len(held_out) else None,
    )


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


def read_training_log(path: str | os.PathLike[str]) -> TrainingLog:
    """Read a CSV with the columns ``step``, ``real_logit``, ``generated_logit``: one row a picture of each kind.

    ``held_out_logit``, of real pictures that the discriminator was not trained on, may be there too. Other columns are
    ignored; an empty cell is no picture, so that there may be more of one kind.

    Raises
    ------
    MissingInput, UnreadableInput
        No such file; missing columns, or a cell that is no number.
    """
    logits: dict[int, dict[str, list[float]]] = defaultdict(lambda: {name: [] for name in _LOGITS})
    for row in read_rows(path, _COLUMNS, _LOGITS, what="training log"):
        if not row.get("step", 0.5).is_integer():
            raise UnreadableInput(f"{path} has a row without a whole number as its step. Number the steps.")
        for name in _LOGITS:
            if name in row:
                logits[int(row["step"])][name].append(row[name])
    if not logits:
        raise UnreadableInput(f"{path} has no step. Give a log with at least one row.")
    return TrainingLog(tuple(_of_step(step, logits[step]) for step in sorted(logits)))


def _of_step(step: int, logits: Mapping[str, Sequence[float]]) -> StepStatistics:
    real, generated, held_out = (logits[name] for name in _LOGITS)
    return discriminator_statistics(real, generated, held_out_logits=held_out, step=step)
