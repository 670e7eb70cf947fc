"""What a perfect model would score against a reference: the floor under every score.

A perfect model draws from the distribution that the reference was drawn from. So the reference is dealt at random into
two parts, one of which stands for its images. The parts are smaller than the sides of the user, so what they score is
brought to the user's numbers of images by what is known of each score: a closed form, its law in 1/N, or a power that
parts of two sizes tell. Where no law is known, the floor names the numbers that it was made at.

How far the score of one perfect model may lie from the next is told by smaller worlds: the rows are dealt into two
halves that share no image, and each is dealt into two parts again. Half the squared difference of the two scores is
an estimate of their variance without bias, which splits of one and the same set of rows do not give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import InputError, TooFewImages
from genmetrics_rt.features import MAX_KEPT, Features
from genmetrics_rt.metrics.catalogue import CATALOGUE_KEYS, published_as
from genmetrics_rt.metrics.density_coverage import expected_coverage
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.report import ExtractorSummary
from genmetrics_rt.scoring import Space, score
from genmetrics_rt.uncertainty import around

MIN_REFERENCE = 80  # rows: the smallest parts then have 20
_FEWEST = 10  # rows that stand for the generated images, in which neighbours can still be counted
_ROWS_OF_CLASSES = ("class_score",)


@dataclass(frozen=True)
class Floor:
    """The score of a perfect model: about ``value``, and in 95 of 100 cases from ``low`` to ``high``.

    ``num_generated`` and ``num_reference`` are the numbers of images that it holds for: the user's, or those of the
    parts where the score could not be brought further. ``how`` says in a sentence how it was found. Without a floor
    the three numbers are None and ``reason`` says why.
    """

    key: str
    value: float | None
    low: float | None
    high: float | None
    num_generated: int
    num_reference: int
    how: str = ""
    reason: str | None = None

    def holds(self, value: float) -> bool:
        """Whether a perfect model may well score this."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


@dataclass(frozen=True)
class _Sizes:
    """Rows on each side."""

    generated: int
    reference: int

    @property
    def inverse(self) -> float:
        """``1/M + 1/N``, which the bias and, of a score that is degenerate at the floor, the scatter go with."""
        return 1 / self.generated + 1 / self.reference

    @property
    def pairs(self) -> float:
        """What the variance of an unbiased kernel distance of equal distributions goes with."""
        m, n = self.generated, self.reference
        return 1 / (m * (m - 1)) + 1 / (n * (n - 1)) + 2 / (m * n)

    @property
    def smaller(self) -> int:
        return min(self.generated, self.reference)


@dataclass(frozen=True)
class _Trials:
    """The scores of one key: of the parts (T,), and of the two worlds of each deal (T, 2); NaN where there is none."""

    parts: FloatArray
    worlds: FloatArray
    of_parts: _Sizes
    of_worlds: _Sizes
    wanted: _Sizes

    @property
    def value(self) -> float:
        return float(self.parts.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation of the score of one world."""
        return float(np.sqrt(np.square(self.worlds[:, 0] - self.worlds[:, 1]).mean() / 2))


def floors(
    reference: Features,
    num_generated: int,
    keys: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    *,
    num_reference: int | None = None,
    seed: int = 0,
    repetitions: int = 8,
) -> dict[str, Floor]:
    """What a perfect model scores on average against a reference, and between which bounds in 95 of 100 cases.

    ``fd``, ``sfid``: pure bias, ``c (1/M + 1/N)`` (Chong and Forsyth 2020), with c from the parts. ``kid``: 0.
    ``density``: 1, and ``coverage``: its closed form (Naeem et al. 2020). ``precision`` moves with the number of
    reference images, ``recall`` with that of generated ones, by no simple law: both are quoted at the size of the
    parts. PRD: what is missing to 1 shrinks as a power of the number of images, which two sizes tell.
    ``class_score``: that of the reference itself.

    Parameters
    ----------
    reference : Features
    num_generated : int
        Images of the user.
    keys
        As in a report: ``"fd"`` or ``"fid"``, …
    settings
        Of `genmetrics_rt.scoring.settings_for`.
    num_reference : int
        Images of the reference that the floor is for; None is all of them.
    seed, repetitions
        Of the deals, and how many there are: 3 times that many scores are computed.

    Returns
    -------
    dict
        Key → `Floor`, for every key; where there is none, with the reason.

    Raises
    ------
    InputError
        Fewer than 1 generated image, or fewer than 2 repetitions.
    """
    if num_generated < 1:
        raise InputError(f"num_generated is {num_generated}; a floor is that of at least 1 generated image.")
    if repetitions < 2:
        raise InputError(f"repetitions is {repetitions}; scatter shows from 2 on, and the default is 8.")
    rows = len(reference.values)
    of_all = _Sizes(num_generated, num_reference or reference.num_images or rows or 1)
    of_rows = _Sizes(min(num_generated, MAX_KEPT), min(num_reference or rows, rows) or 1)
    reason = _why_none(reference, num_generated)
    if reason:
        return {key: _none(key, of_all, reason) for key in keys}

    # Score the parts and the worlds.
    own = [key for key in keys if not _why_no_law(_catalogue_key(key), reference)]
    quick = _of_trials(settings)
    part = min(num_generated, rows // 2)
    of_parts = _Sizes(part, min(num_reference or rows, rows - part))
    of_worlds = _small_world(num_generated, num_reference or rows, rows // 2)
    rng = np.random.default_rng(seed)
    parts, worlds = [], []
    for _ in range(repetitions if own else 0):
        dealt = rng.permutation(rows)
        parts.append(_score_dealt(reference, dealt, of_parts, own, quick, seed))
        halves = dealt[: rows // 2], dealt[rows // 2 :]
        worlds.append([_score_dealt(reference, half, of_worlds, own, quick, seed) for half in halves])

    # Bring each score to the numbers of the user.
    found = {}
    for key in keys:
        name = _catalogue_key(key)
        if name in _ROWS_OF_CLASSES:
            found[key] = _of_reference_itself(reference, num_generated, key, settings, rng, repetitions)
            continue
        reason = _why_no_law(name, reference)
        if reason:
            found[key] = _none(key, of_all, reason)
            continue
        trials = _Trials(
            np.array([trial[key] for trial in parts]),
            np.array([[world[key] for world in pair] for pair in worlds]),
            of_parts,
            of_worlds,
            of_all if _LAWS[name] is _frechet else of_rows,
        )
        if not (np.isfinite(trials.parts).all() and np.isfinite(trials.worlds).all()):
            found[key] = _none(key, of_all, f"parts of the reference are too small for it ({of_worlds.smaller} images)")
            continue
        found[key] = _LAWS[name](key, trials, settings[name])
    return found


def _of_trials(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The settings, with fewer random draws where a score averages over them: its scatter over images is asked for."""
    fewer = dict(settings)
    fewer["kid"] = {**settings["kid"], "num_subsets": 1, "subset_size": MAX_KEPT}  # all pairs
    for key in ("prd_f8", "prd_f1_8"):
        fewer[key] = {**settings[key], "num_runs": 2}
    fewer["mauve"] = {**settings["mauve"], "num_runs": 2}
    return fewer


def _small_world(num_generated: int, num_reference: int, rows: int) -> _Sizes:
    """Both sides of the user made smaller alike, as some scores scatter by their ratio; no more than ``rows`` in all.

    The generated side has at most half of the rows, and at least 10 where the user has as many.
    """
    shrunk = round(rows * num_generated / (num_generated + num_reference))
    generated = min(max(shrunk, _FEWEST), num_generated, rows // 2)
    return _Sizes(generated, min(num_reference, rows - generated))


# The laws: from parts and worlds to the numbers of the user


def _frechet(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    scale = trials.wanted.inverse / trials.of_parts.inverse
    spread = trials.deviation * trials.wanted.inverse / trials.of_worlds.inverse
    how = "pure bias of the numbers of images, c (1/M + 1/N), with c from random parts of the reference"
    return _floor(key, trials, trials.value * scale, spread, how, low=0.0)


def _kernel(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    """The value is a mean over random subsets, so its variance is that of all pairs, and what the drawing adds; in the
    worlds it is that of all pairs, but for those that equal sizes leave out.
    """
    world = trials.of_worlds.smaller
    of_world = _Sizes(world, world).pairs
    size = min(settings["subset_size"], trials.wanted.smaller)
    of_drawing = max(0.0, _Sizes(size, size).pairs - trials.wanted.pairs) / settings["num_subsets"]
    spread = trials.deviation * math.sqrt((trials.wanted.pairs + of_drawing) / of_world)
    return _floor(key, trials, 0.0, spread, "unbiased, so 0 at any number of images; its scatter from random parts")


def _density(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    return _floor(key, trials, 1.0, _of_a_mean(trials), "1 by its closed form; its scatter from random parts", low=0.0)


def _coverage(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    value = expected_coverage(trials.wanted.reference, trials.wanted.generated, settings["nearest_k"])
    how = "by its closed form; its scatter from random parts of the reference"
    return _floor(key, trials, value, _of_a_mean(trials), how, low=0.0, high=1.0)


def _precision(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    return _as_parts(key, trials, lambda sizes: sizes.reference)


def _recall(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    return _as_parts(key, trials, lambda sizes: sizes.generated)


def _as_parts(key: str, trials: _Trials, size_of: Callable[[_Sizes], int]) -> Floor:
    """A share that moves with one number of images N, by no law that holds for few: it falls, then rises.

    So it is quoted at the size of the parts. What the step from worlds to parts leaves to go, if it goes as 1/N, is
    not added to the value but makes the interval wider.
    """
    of_parts, of_worlds, wanted = (size_of(sizes) for sizes in (trials.of_parts, trials.of_worlds, trials.wanted))
    left = 0.0
    if of_worlds < of_parts < wanted:
        step = trials.value - float(trials.worlds.mean())
        left = step * (1 / of_parts - 1 / wanted) / (1 / of_worlds - 1 / of_parts)
    how = f"as random parts of the reference score, {trials.of_parts.generated:,} against "
    how += f"{trials.of_parts.reference:,} images" + (", with room for what more images change" if left else "")
    spread = math.hypot(_of_a_mean(trials), left)
    return replace(
        _floor(key, trials, trials.value, spread, how, low=0.0, high=1.0),
        num_generated=trials.of_parts.generated,
        num_reference=trials.of_parts.reference,
    )


def _prd(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    """What is missing to 1 goes with a power of the rows per side, of which both sides have equally many."""
    most = settings["max_images"]
    of_parts, of_worlds, wanted = (min(s.smaller, most) for s in (trials.of_parts, trials.of_worlds, trials.wanted))
    missing, missing_in_worlds = 1 - trials.value, 1 - float(trials.worlds.mean())
    how = f"as random parts of the reference score, {of_parts:,} a side"
    if of_parts != wanted and of_parts != of_worlds and missing > 0:
        power = math.log(missing_in_worlds / missing) / math.log(of_parts / of_worlds)
        missing *= (of_parts / wanted) ** power
        how = "carried on from random parts of the reference of two sizes, by a power of the number of images"
    spread = trials.deviation * math.sqrt(of_worlds / wanted)
    return _floor(key, trials, 1 - missing, spread, how, low=0.0, high=1.0)


def _mauve(key: str, trials: _Trials, settings: Mapping[str, Any]) -> Floor:
    """With a bucket for so many rows, the noise of a bucket is that of few rows however many there are in all, and a
    perfect model stays below 1. So it is quoted at the size of the parts.
    """
    return _as_parts(key, trials, lambda sizes: sizes.smaller)


_LAWS: Mapping[str, Callable[[str, _Trials, Mapping[str, Any]], Floor]] = {
    "fd": _frechet,
    "sfid": _frechet,
    "kid": _kernel,
    "precision": _precision,
    "recall": _recall,
    "density": _density,
    "coverage": _coverage,
    "mauve": _mauve,
    "prd_f8": _prd,
    "prd_f1_8": _prd,
}


def _of_a_mean(trials: _Trials) -> float:
    """The standard deviation of a mean over images at the numbers of the user, by worlds or by parts: the larger one.

    Worlds are small, and in many dimensions the scatter of density is less among few images; parts share a pool.
    """
    by_worlds = trials.deviation * math.sqrt(trials.wanted.inverse / trials.of_worlds.inverse)
    by_parts = float(trials.parts.std(ddof=1)) * math.sqrt(trials.wanted.inverse / trials.of_parts.inverse)
    return max(by_worlds, by_parts)


def _floor(
    key: str, trials: _Trials, value: float, spread: float, how: str, *, low: float = -math.inf, high: float = math.inf
) -> Floor:
    """The value with the interval in which one more score is expected: Student's t, with room for the value's own."""
    count = len(trials.parts)
    ends = around(value, spread * math.sqrt(1 + 1 / count), count - 1)
    return Floor(
        key,
        min(max(value, low), high),
        max(ends[0], low),
        min(ends[1], high),
        trials.wanted.generated,
        trials.wanted.reference,
        how,
    )


def _of_reference_itself(
    reference: Features,
    num_generated: int,
    key: str,
    settings: Mapping[str, Mapping[str, Any]],
    rng: np.random.Generator,
    repetitions: int,
) -> Floor:
    """The class score of the reference: of samples as large as the generated side, or of all of it."""
    rows = len(reference.values)
    size = min(num_generated, rows)
    sizes = _Sizes(size, rows)
    if reference.logits is None:
        return _none(key, sizes, "the reference has no class logits")
    drawn = [rng.permutation(rows)[:size] for _ in range(repetitions if size < rows else 1)]
    found, errors = [], []
    for chosen in drawn:
        side = some_rows(reference, chosen)
        comparison = Comparison(side, side, "", 0, settings, intervals=True)
        entry = _score(comparison, [key]).get(key)
        if entry is None or entry.value is None:
            return _none(key, sizes, f"the reference is too small for it ({size} images)")
        found.append(entry.value)
        errors.append(entry.standard_error or math.nan)
    value, error = float(np.mean(found)), float(np.mean(errors))
    if not math.isfinite(error):
        return _none(key, sizes, "the reference is too small to say how far it scatters")
    low, high = around(value, error * math.sqrt(1 + size / rows), 19)
    how = "the reference's own score" + ("" if size == rows else f", of random samples of {size:,} of its images")
    return Floor(key, value, low, high, size, rows, how)


# Scores of rows


def _score_dealt(
    reference: Features,
    dealt: IntArray,
    sizes: _Sizes,
    keys: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> dict[str, float]:
    """The scores of the first rows of a deal against the next ones; NaN where there is none."""
    spatial = "sfid" in keys
    generated = some_rows(reference, dealt[: sizes.generated], spatial=spatial)
    others = some_rows(reference, dealt[sizes.generated : sizes.generated + sizes.reference], spatial=spatial)
    scores = _score(Comparison(generated, others, "", seed, settings, intervals=False), keys)
    values = {key: scores[key].value if key in scores else None for key in keys}
    return {key: math.nan if value is None else value for key, value in values.items()}


def _score(comparison: Comparison, keys: Sequence[str]) -> dict[str, Any]:
    """The scores by key; empty where none at all can be computed."""
    side = comparison.generated
    space = Space("", has_logits=side.logits is not None, published=published_as(keys))
    nobody = ExtractorSummary("features", "", "", "", "", side.dimension)
    try:
        return score(comparison, keys, nobody, space)[0]
    except TooFewImages:
        return {}


def some_rows(features: Features, rows: IntArray, *, spatial: bool = False) -> Features:
    """Some rows as a side of their own; with those of the spatial tap, which are large, only where they are wanted."""
    return replace(
        features,
        values=features.values[rows],
        index=features.index[rows],
        num_images=len(rows),
        logits=None if features.logits is None else features.logits[rows],
        all_statistics=None,
        spatial=None,
        spatial_values=features.spatial_values[rows] if spatial and features.spatial_values is not None else None,
    )


def _catalogue_key(key: str) -> str:
    return CATALOGUE_KEYS.get(key, key)


def _why_none(reference: Features, num_generated: int) -> str | None:
    rows = len(reference.values)
    if rows == 0:
        return "the reference is mean and covariance only; its images would show what a perfect model scores"
    if rows < MIN_REFERENCE:
        return f"the reference has {rows} images, and parts of fewer than {MIN_REFERENCE} say too little"
    return None


def _why_no_law(name: str, reference: Features) -> str | None:
    if name not in _LAWS:
        return "this score needs more of the images than their features, which are kept"
    if name == "sfid" and reference.spatial_values is None:
        return "the reference has no rows of spatial features; its images would show what a perfect model scores"
    return None


def _none(key: str, sizes: _Sizes, reason: str) -> Floor:
    return Floor(key, None, None, None, sizes.generated, sizes.reference, reason=reason)
