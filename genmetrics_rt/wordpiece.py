"""From a text to the numbers that a BERT network takes: the WordPiece tokeniser of Devlin et al. (2019).

    text → special tokens cut out → cleaned → accents stripped, lower case → words and punctuation → longest pieces

The rules are those of the `tokenizers` package (``BertNormalizer``, ``BertPreTokenizer``, ``WordPiece``), with which
the published networks are used: control and format characters vanish, each Chinese character is a word, a combining
accent is dropped, a word of more than 100 characters or with a piece that the vocabulary lacks is unknown as a whole.
A special token that is written out in a text ("[MASK]") is that token, as there. What a character is, Python's Unicode
tables say; those of `tokenizers` are older, so that accents and punctuation added since 2015 may be taken otherwise.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import DamagedBundle

KIND = "wordpiece"
MAX_WORD = 100  # characters; longer words are unknown
_MAX_REMEMBERED = 100_000  # words whose pieces are kept
_CONTINUES = "##"  # before a piece that does not begin a word
# Where each character is a word of its own. The fourth range begins at U+2B920, not U+2B820, in `tokenizers`.
_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class _Cleaning(dict[int, str]):
    """Character → what is left of it: nothing of control characters, a space of white space, Chinese set apart."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in "\t\n\r":
            kept = " "
        elif code in (0, 0xFFFD) or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs"):
            kept = ""
        elif character.isspace():
            kept = " "
        elif any(first <= code <= last for first, last in _CHINESE):
            kept = f" {character} "
        else:
            kept = character
        self[code] = kept
        return kept


class _Folding(dict[int, str]):
    """Character of decomposed text → lower case, nothing of an accent, punctuation set apart."""

    def __init__(self, *, lower_case: bool, strip_accents: bool) -> None:
        self._lower_case, self._strip_accents = lower_case, strip_accents

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if self._strip_accents and category == "Mn":
            kept = ""
        elif category.startswith("P") or (code < 0x80 and not character.isalnum() and character.isprintable()):
            kept = f" {character} "
        else:
            kept = character.lower() if self._lower_case else character  # one by one: no final sigma
        self[code] = kept
        return kept


class WordPiece:
    """Texts → token numbers. Thread-safe.

    Parameters
    ----------
    vocabulary
        The pieces, in the order of their numbers.
    max_length
        Tokens of a text, the two special ones included; what is longer is cut at its end.
    lower_case, strip_accents
        As the network was trained.
    begin, end, unknown, padding
        The special tokens by name.
    special
        All of them: written out in a text, they are taken as such.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        max_length: int,
        lower_case: bool = True,
        strip_accents: bool = True,
        begin: str = "[CLS]",
        end: str = "[SEP]",
        unknown: str = "[UNK]",
        padding: str = "[PAD]",
        special: Sequence[str] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    ) -> None:
        self.max_length = max_length
        self._numbers = {piece: number for number, piece in enumerate(vocabulary)}
        self._begin, self._end, self._unknown, self.padding = (
            self._numbers[token] for token in (begin, end, unknown, padding)
        )
        self._special = re.compile("(" + "|".join(map(re.escape, special)) + ")")
        self._special_numbers = {token: self._numbers[token] for token in special}
        self._cleaning = _Cleaning()
        self._folding = _Folding(lower_case=lower_case, strip_accents=strip_accents)
        self._strip_accents = strip_accents
        self._remembered: dict[str, tuple[int, ...]] = {}

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> WordPiece:
        """The tokeniser that the manifest describes. Raises `DamagedBundle`."""
        record: Mapping[str, Any] = bundle.manifest.record["tokeniser"]
        if record.get("kind") != KIND:
            raise DamagedBundle(
                f"Bundle {bundle.name!r} has a tokeniser of kind {record.get('kind')!r}, which is not known here."
            )
        try:
            vocabulary = bundle.read(str(record["vocabulary"])).decode("utf-8").removesuffix("\n").split("\n")
            options = {key: record[key] for key in ("max_length", "lower_case", "strip_accents")}
            return cls(vocabulary, **options, **record.get("tokens", {}))
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise DamagedBundle(f"The tokeniser of bundle {bundle.name!r} is incomplete: {error!r}.") from error

    def __call__(self, text: str) -> list[int]:
        """The token numbers of a text, from the first special token to the last: at most ``max_length``, at least 2."""
        inside = itertools.islice(self._tokens(text), self.max_length - 2)
        return [self._begin, *inside, self._end]

    def is_longer(self, text: str) -> bool:
        """Whether a text has more tokens than the network is given."""
        room = self.max_length - 2
        return len(text) > room and sum(1 for _ in itertools.islice(self._tokens(text), room + 1)) > room

    def pieces_per_word(self, text: str) -> tuple[int, int]:
        """Pieces and words of a text; broken words fall into many pieces. An unknown word is one."""
        words = self._words(text)
        return sum(len(self._pieces(word)) for word in words), len(words)

    def _tokens(self, text: str) -> Iterator[int]:
        for position, part in enumerate(self._special.split(text)):
            if position % 2:
                yield self._special_numbers[part]
                continue
            for word in self._words(part):
                yield from self._pieces(word)

    def _words(self, text: str) -> list[str]:
        text = text.translate(self._cleaning)
        if self._strip_accents:
            text = unicodedata.normalize("NFD", text)
        return text.translate(self._folding).split()

    def _pieces(self, word: str) -> tuple[int, ...]:
        known = self._remembered.get(word)
        if known is None:
            known = self._longest_pieces(word)
            if len(self._remembered) < _MAX_REMEMBERED:
                self._remembered[word] = known
        return known

    def _longest_pieces(self, word: str) -> tuple[int, ...]:
        """From the left, the longest piece that the vocabulary has."""
        if len(word) > MAX_WORD:
            return (self._unknown,)
        pieces: list[int] = []
        start = 0
        while start < len(word):
            before = _CONTINUES if start else ""
            for stop in range(len(word), start, -1):
                number = self._numbers.get(before + word[start:stop])
                if number is not None:
                    pieces.append(number)
                    start = stop
                    break
            else:
                return (self._unknown,)
        return tuple(pieces)
