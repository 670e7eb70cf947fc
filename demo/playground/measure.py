"""All scores of one step, from the public functions; what a perfect model would get; and the state in one sentence."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import genmetrics_rt as gm
from playground import mixture

NEAREST_K = 3  # of precision and recall
DENSITY_K = 5  # of density and coverage

_FRESH_DRAWS = 100  # of a perfect model, for its Fréchet distance
_VAGUE = 0.1  # how far chance alone moves a share: so far below 100 rows
_FULL = 0.97  # of a perfect model's Inception Score
_LEAK = 0.02  # share of generated rows that may lie on reference rows
_FIRST_SEED = 1_000_000  # away from the seeds that people try, so that the perfect model is never the one on show


class Score(NamedTuple):
    """How a score of `Measured` is called, and where it should be."""

    label: str
    best: str


# In the order of the table.
SCORES: Mapping[str, Score] = {
    "frechet_distance": Score("Fréchet distance", "low"),
    "inception_score": Score("Inception Score", "high"),
    "precision": Score("Precision", "high"),
    "recall": Score("Recall", "high"),
    "density": Score("Density", "about 1"),
    "coverage": Score("Coverage", "high"),
    "prd_f1_8": Score("PRD, F1/8 (precision)", "high"),
    "prd_f8": Score("PRD, F8 (recall)", "high"),
    "accuracy": Score("Accuracy of the classifier", "0.5"),
    "authentic": Score("Authentic (no copies)", "not near 0"),
}


@dataclass(frozen=True)
class Measured:
    """One step.

    ``prd_precision`` and ``prd_recall`` (num_angles,) are the PRD curve of ONE clustering, so it trembles a little from
    step to step; reports average ten. ``confusion`` counts real seen as real, real as generated, generated as real,
    generated as generated, on the half that the classifier did not learn from. ``authentic`` is the share of generated
    rows that are farther from their nearest training row than that one is from its own nearest: about one half for
    fresh rows, 0 for copies. ``on_reference`` is the share of generated rows that are in the reference: nearer to a
    reference row than a hundredth of that row's own nearest distance.
    """

    num_rows: int
    frechet_distance: float
    inception_score: float
    precision: float
    recall: float
    density: float
    coverage: float
    prd_precision: NDArray[np.float64]
    prd_recall: NDArray[np.float64]
    prd_f8: float
    prd_f1_8: float
    confusion: tuple[int, ...]
    accuracy: float
    p_value: float
    authentic: float
    on_reference: float
    milliseconds: float


def measure(generated: Any, reference: Any, training: Any, *, logits: Any) -> Measured:
    """Score generated rows (N, D) against as many reference rows (N, D).

    Parameters
    ----------
    generated, reference : (N, D)
    training : (M, D)
        What the model was trained on; only `Measured.authentic` looks at it.
    logits : (N, C)
        Of the generated rows, for the Inception Score; scored in one part, since ten parts of a few rows would say
        more about the number of rows than about the model.

    Raises
    ------
    gm.TooFewImages
        Fewer than 20 rows.
    """
    start = time.perf_counter()
    manifold = gm.Manifold(generated, reference, nearest_k=max(NEAREST_K, DENSITY_K))
    fidelity = gm.precision_recall(generated, reference, nearest_k=NEAREST_K, manifold=manifold)
    robust = gm.density_coverage(generated, reference, nearest_k=DENSITY_K, manifold=manifold)
    curve = gm.prd_curve(generated, reference, num_runs=1)
    told = gm.classifier_two_sample(generated, reference, classifier="neighbours")
    frechet = gm.frechet_distance(generated, reference)
    inception = gm.inception_score(logits, splits=1).mean
    authentic = gm.auth_pct(generated, training) / 100
    spacing = manifold.reference_radii[manifold.generated_nearest, 0]
    on_reference = float((manifold.generated_nearest_distance <= spacing / 100).mean())
    return Measured(
        num_rows=len(generated),
        frechet_distance=frechet,
        inception_score=inception,
        precision=fidelity.precision,
        recall=fidelity.recall,
        density=robust.density,
        coverage=robust.coverage,
        prd_precision=curve.precision,
        prd_recall=curve.recall,
        prd_f8=curve.f8,
        prd_f1_8=curve.f1_8,
        confusion=tuple(told.confusion),
        accuracy=told.accuracy,
        p_value=told.p_value,
        authentic=authentic,
        on_reference=on_reference,
        milliseconds=1000 * (time.perf_counter() - start),
    )


def measure_points(knobs: mixture.Knobs) -> tuple[mixture.Sample, Measured]:
    """One step of the playground in the plane."""
    sample = mixture.draw(knobs)
    logits = mixture.log_posteriors(sample.generated)
    return sample, measure(sample.generated, sample.reference, sample.training, logits=logits)


@dataclass(frozen=True)
class Perfect:
    """What a perfect model gets: the mean of each score, and the largest Fréchet distance of 100 fresh draws."""

    scores: Mapping[str, float]
    largest_frechet: float


@functools.lru_cache(maxsize=256)
def perfect_points(num_points: int) -> Perfect:
    """For that many points in the plane."""

    def distance(seed: int) -> float:
        sample = mixture.draw(mixture.Knobs(num_points=num_points, seed=seed))
        return gm.frechet_distance(sample.generated, sample.held_out)

    def step(seed: int) -> Measured:
        return measure_points(mixture.Knobs(num_points=num_points, seed=seed))[1]

    return perfect_model(step, distance, num_rows=num_points)


def perfect_model(step: Callable[[int], Measured], distance: Callable[[int], float], *, num_rows: int) -> Perfect:
    """From fresh draws by seed: fewer of whole steps where there are many rows, which scatter less and cost more."""
    repeats = min(max(4000 // num_rows, 2), 16)
    steps = [step(_FIRST_SEED + index) for index in range(repeats)]
    scores = {name: float(np.mean([getattr(one, name) for one in steps])) for name in SCORES}
    distances = [distance(_FIRST_SEED + index) for index in range(_FRESH_DRAWS)]
    scores["frechet_distance"] = float(np.mean(distances))
    return Perfect(MappingProxyType(scores), max(distances))


def reading(measured: Measured, perfect: Perfect, *, what: str = "points") -> str:
    """The state in one sentence for a newcomer, by what a perfect model gets with as many rows.

    Only what chance hardly does to a perfect model counts: precision and recall have to fall by 1.5/√N, ``authentic``
    by 2.5/√N, and the Fréchet distance has to exceed that of 100 fresh draws.
    """
    chance = 1 / np.sqrt(measured.num_rows)
    unreal, lost, copied = (
        _fallen(getattr(measured, name), perfect.scores[name], margin * chance)
        for name, margin in (("precision", 1.5), ("recall", 1.5), ("authentic", 2.5))
    )
    far = measured.frechet_distance > perfect.largest_frechet
    times = f"{measured.frechet_distance / perfect.scores['frechet_distance']:.0f} times"
    precision, recall = f"{measured.precision:.2f}", f"{measured.recall:.2f}"
    off_target = f"{_share(unreal)} the generated {what} lie where no real ones are"
    out_of_reach = f"{_share(lost)} the real {what} lie where the model never goes"
    if unreal and lost:
        clauses = [f"Precision fell to {precision} and recall to {recall}: {off_target}, and {out_of_reach}"]
    elif unreal:
        clauses = [f"Recall stays high ({recall}), precision fell to {precision}: {off_target}"]
    elif lost:
        clauses = [f"Precision stays high ({precision}), recall fell to {recall}: {out_of_reach}"]
    elif far:
        clauses = [
            f"Precision and recall are about a perfect model's, but the Fréchet distance is {times} as large: a few "
            f"{what} are far off, or all are a little, or the proportions are wrong"
        ]
    elif copied:
        clauses = ["Fréchet distance, precision and recall are a perfect model's or better"]
    elif chance > _VAGUE:
        return (
            f"Nothing stands out, but little could: with {measured.num_rows} {what} a perfect model's scores scatter "
            "widely too."
        )
    else:
        return f"Nothing stands out: the scores are about what a perfect model gets with {measured.num_rows:,} {what}."
    if unreal or lost:
        clauses.append(
            f"the Fréchet distance is {times} a perfect model's" if far else "the Fréchet distance hardly notices"
        )
    if unreal and measured.inception_score >= _FULL * perfect.scores["inception_score"]:
        score = f"{measured.inception_score:.2f}"
        clauses.append(f"the Inception Score ({score}) never looks at real {what} and sees nothing")
    if measured.on_reference > _LEAK:
        share = _share(measured.on_reference)
        clauses.append(
            f"but {share} the generated {what} are in the reference itself: it leaked, and flatters all scores"
        )
    elif copied:
        share = _share(copied)
        clauses.append(f"but {share} the generated {what} repeat training {what}, and no other score shows it")
    return "; ".join(clauses) + "."


def _fallen(value: float, perfect: float, margin: float) -> float:
    """The part of a perfect model's score that is gone; 0 where chance may have taken it."""
    return 1 - value / perfect if value < perfect - margin else 0.0


def _share(share: float) -> str:
    """To stand before a noun."""
    return "nearly all of" if share > 0.95 else f"about {share:.0%} of"
