"""Damaged, repeated, narrowed and foreign versions of the example sentences, each by a seed."""

from __future__ import annotations

import random
from collections.abc import Collection

import genmetrics_rt as gm

# Sentences about nothing that the reference is about, from the first to the last written here.
_FOREIGN_SUBJECTS = (
    "The old farmer", "My grandmother", "A tired nurse", "The young violinist", "Our neighbour", "The head chef",
    "A lost tourist", "The goalkeeper", "The mayor", "An angry swan",
)  # fmt: skip
_FOREIGN_VERBS = (
    "carried a basket of ripe apples to", "slept through the thunderstorm in", "sang an old love song at",
    "waited two hours for the ferry near", "planted roses and lavender behind", "cooked fresh fish with garlic for",
    "painted the autumn mountains from", "lost a red umbrella in",
)  # fmt: skip
_FOREIGN_PLACES = (
    "the village church.", "the crowded market square.", "the little harbour café.", "the castle garden.",
    "the wedding guests.", "the snowy railway station.",
)  # fmt: skip


def fresh(name: str = "sentences") -> list[str]:
    """The half of the example that is not the reference: what a perfect model writes."""
    example = gm.example_texts(name)
    return [text for text, chosen in zip(example.texts, example.is_reference, strict=True) if not chosen]


def narrowed(topics: Collection[str], *, size: int | None = None, seed: int = 0) -> list[str]:
    """Fresh sentences of some topics alone, as many as there are or drawn again up to ``size`` without a repeat."""
    example = gm.example_texts()
    rows = zip(example.texts, example.topics, example.is_reference, strict=True)
    own = [text for text, topic, chosen in rows if not chosen and topic in topics]
    return own if size is None else random.Random(seed).sample(own, size)


def foreign(count: int, *, seed: int = 0) -> list[str]:
    """Different sentences about life in a small town."""
    sentences = [f"{s} {v} {p}" for s in _FOREIGN_SUBJECTS for v in _FOREIGN_VERBS for p in _FOREIGN_PLACES]
    return random.Random(seed).sample(sentences, count)


def repeated(texts: list[str], times: int, *, seed: int = 0) -> list[str]:
    """As many texts, but only one in ``times`` of them, each ``times`` times."""
    chosen = random.Random(seed).sample(texts, len(texts) // times)
    return chosen * times


def shuffled(texts: list[str], share: float, *, seed: int = 0) -> list[str]:
    """The words of a share of the texts in random order."""
    stream = random.Random(seed)
    damaged = []
    for text in texts:
        words = text.split()
        hit = stream.random() < share
        stream.shuffle(words)
        damaged.append(" ".join(words) if hit else text)
    return damaged


def misspelt(texts: list[str], share: float, *, seed: int = 0) -> list[str]:
    """In a share of the words, two letters in the middle change places."""
    stream = random.Random(seed)

    def of_word(word: str) -> str:
        place = stream.randrange(1, max(2, len(word) - 2))
        if stream.random() >= share or len(word) < 4:
            return word
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]

    return [" ".join(map(of_word, text.split())) for text in texts]
