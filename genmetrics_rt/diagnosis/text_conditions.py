"""Conditions on texts: repeated and copied ones, their length, broken words. The others are those of images."""

from __future__ import annotations

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.diagnosis import conditions as when
from genmetrics_rt.diagnosis.evidence import Evidence, Picture
from genmetrics_rt.diagnosis.facts import Facts, named, percent, sentence
from genmetrics_rt.diagnosis.file_conditions import SIGNIFICANT
from genmetrics_rt.diagnosis.text_traits import TextTraits, repeated
from genmetrics_rt.diagnosis.traits import MIN_TRAITS

_UNLIKE_LENGTH = 1.4  # ratio of typical lengths
_BROKEN = 1.25  # ratio of the pieces of a word
_LEAST_SHARE = 0.02  # of copied texts, above what is usual
_EXAMPLES = 3


def _pair(evidence: Evidence) -> tuple[TextTraits, TextTraits] | None:
    g, r = evidence.generated_texts, evidence.reference_texts
    if g is None or r is None or min(g.num_texts, r.num_texts) < MIN_TRAITS:
        return None
    return g, r


def repeated_texts(evidence: Evidence) -> Facts | None:
    parts, pictures = [], list[Picture]()
    for side, traits in (("generated", evidence.generated_texts), ("reference", evidence.reference_texts)):
        if traits is None:
            continue
        rows = repeated(traits.keys)
        if len(rows) >= 2 and (len(rows) >= 10 or len(rows) >= 0.01 * traits.num_texts):
            parts.append(f"{len(rows):,} of {traits.num_texts:,} {side} texts repeat an earlier one word for word")
            pictures += [Picture(side, int(traits.positions[row])) for row in rows[:_EXAMPLES].tolist()]
    return Facts(sentence(parts), tuple(pictures)) if parts else None


def copied_texts(evidence: Evidence) -> Facts | None:
    """Generated texts that stand in the reference word for word; else what lies as near as a copy."""
    pair = _pair(evidence)
    if pair is None:
        return when.memorisation(evidence)
    g, r = pair
    known = {key: row for row, key in reversed(list(enumerate(r.keys)))}
    rows = np.array([row for row, key in enumerate(g.keys) if key in known], dtype=np.intp)
    share, usual = len(rows) / g.num_texts, _usual(r)
    scatter = SIGNIFICANT * np.sqrt(max(usual, 1 / g.num_texts) / g.num_texts)
    if share <= 2 * usual + _LEAST_SHARE + scatter:
        return when.memorisation(evidence)
    pairs = [
        picture
        for row in rows[:_EXAMPLES].tolist()
        for picture in (
            Picture("generated", int(g.positions[row])),
            Picture("reference", int(r.positions[known[g.keys[row]]])),
        )
    ]
    parts = [
        f"{len(rows):,} of {g.num_texts:,} generated texts stand in the reference word for word; of held-out halves of "
        f"the reference it is {percent(usual)}",
        f"for instance {named(pairs[::2], evidence)}",
    ]
    return Facts(sentence(parts), tuple(pairs), {"share": percent(share)})


def _usual(traits: TextTraits) -> float:
    """Share of one half of the reference that stands in the other, too."""
    dealt = np.random.default_rng(0).permutation(traits.num_texts)
    one, other = dealt[::2].tolist(), {traits.keys[row] for row in dealt[1::2].tolist()}
    return sum(traits.keys[row] in other for row in one) / max(1, len(one))


def unlike_lengths(evidence: Evidence) -> Facts | None:
    pair = _pair(evidence)
    if pair is None:
        return None
    medians = [float(np.median(side.words)) for side in pair]
    low, high = sorted(max(median, 0.5) for median in medians)
    if high < _UNLIKE_LENGTH * low or not _apart(*(np.log(np.maximum(side.words, 1)) for side in pair)):
        return None
    which = "shorter" if medians[0] < medians[1] else "longer"
    told = f"generated texts have typically {medians[0]:.0f} words, reference texts {medians[1]:.0f}"
    return Facts(sentence([told]), named={"which": which})


def broken_words(evidence: Evidence) -> Facts | None:
    pair = _pair(evidence)
    if pair is None:
        return None
    pieces = [side.pieces_per_word[np.isfinite(side.pieces_per_word)] for side in pair]
    if min(map(len, pieces)) < MIN_TRAITS:
        return None
    means = [float(own.mean()) for own in pieces]
    if means[0] < _BROKEN * means[1] or not _apart(*pieces):
        return None
    told = f"a word of the generated texts falls into {means[0]:.2f} pieces of the network's vocabulary, of the "
    return Facts(sentence([f"{told}reference into {means[1]:.2f}"]), evidence.least_realistic)


def _apart(first: FloatArray, second: FloatArray) -> bool:
    error = (first.var() / len(first) + second.var() / len(second)) ** 0.5
    return bool(abs(first.mean() - second.mean()) > SIGNIFICANT * error)
