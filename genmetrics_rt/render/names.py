"""Text that came from outside: file names, paths, error messages. Made visible, kept in one line, cut to a length.

A file name may hold line breaks, terminal escapes, characters that turn the reading direction around so that
``gpj.exe`` reads ``exe.jpg``, and bytes that are no text at all. None of them reaches a page or a terminal as it is.
"""

from __future__ import annotations

import unicodedata

# Control, format, surrogate, unassigned, line and paragraph separator: what has no shape of its own.
_SHAPELESS = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # shapeless, but Persian words and emoji are written with them
_LONGEST = 512  # characters kept of anything


def visible(text: str) -> str:
    """The text in one line with every shapeless character written out: ``\\n``, ``\\u202e``, ``\\xff``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_written_out(character) for character in text)


def prose(text: str) -> str:
    """A sentence in one line: white space is single spaces, anything shapeless is written out."""
    return visible(" ".join(text.split()))


def shorten(text: str, limit: int) -> str:
    """Cut at the front of a path (``…/run_17/0001.png``), else in the middle (``a-very-lo…e-name.png``)."""
    if len(text) <= limit:
        return text
    slash = text.find("/", len(text) - limit + 1)
    if 0 <= slash < len(text) - limit // 3:  # otherwise too little would be left
        return f"…{text[slash:]}"
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def bounded(text: str) -> str:
    """The visible text, cut where it is longer than any honest name."""
    return shorten(visible(text), _LONGEST)


def display_width(text: str) -> int:
    """Columns in a terminal: wide East Asian characters and emoji take two, combining marks and joiners none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if character == "\ufe0f":  # makes a narrow character an emoji, which is wide
        return 1
    if unicodedata.category(character) in ("Mn", "Me") or character in _JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _written_out(character: str) -> str:
    code = ord(character)
    if character in _JOINERS or unicodedata.category(character) not in _SHAPELESS:
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
