"""What texts tell before any network looks at them: how long they are, which are repeated, how whole the words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.texts import TextSource

_SAMPLE = 2_000  # texts whose words are taken to pieces


@dataclass(frozen=True)
class TextTraits:
    """Traits of the texts behind n feature rows, one entry a row.

    Attributes
    ----------
    positions : (n,)
        In the source.
    words : (n,)
        Words of each, split at white space.
    keys : tuple of str
        Each text without regard to case and white space: equal for the same text.
    pieces_per_word : (m,)
        Of a sample of m ≤ n: pieces of the network's vocabulary in a word, on average over a text; NaN without a word.
    """

    positions: NDArray[np.int64]
    words: FloatArray
    keys: tuple[str, ...]
    pieces_per_word: FloatArray

    @property
    def num_texts(self) -> int:
        return len(self.keys)


def text_traits_of(
    source: TextSource, positions: NDArray[np.int64], pieces: Callable[[str], tuple[int, int]], *, seed: int = 0
) -> TextTraits:
    """The traits of the texts at some positions; ``pieces`` counts the pieces and words of one."""
    texts = [source.text(position) for position in positions.tolist()]
    split = [text.split() for text in texts]
    chosen = np.random.default_rng(seed).choice(len(texts), min(_SAMPLE, len(texts)), replace=False)
    counted = [pieces(texts[row]) for row in np.sort(chosen).tolist()]
    return TextTraits(
        positions=positions,
        words=np.array([len(words) for words in split], dtype=np.float64),
        keys=tuple(" ".join(words).casefold() for words in split),
        pieces_per_word=np.array([own / words if words else np.nan for own, words in counted]),
    )


def repeated(keys: tuple[str, ...]) -> NDArray[np.intp]:
    """Rows whose text stands earlier already."""
    seen: set[str] = set()
    rows = []
    for row, key in enumerate(keys):
        if key in seen:
            rows.append(row)
        seen.add(key)
    return np.array(rows, dtype=np.intp)
