"""Texts one by one: a source is a list of texts that can be read in any order, again, and from any thread.

==================  ============================================================================
file                texts
==================  ============================================================================
``.txt``            a text a line
``.jsonl``          a JSON object a line, its field "text" or another; or a JSON string a line
``.csv``, ``.tsv``  the column "text" or another, by the header in the first row
==================  ============================================================================

All of them are UTF-8. As with images nothing vanishes: what is empty or cannot be read is in ``skipped`` by its line,
with the reason.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmetrics_rt.errors import EmptySide, InputError, MissingInput, UnreadableInput
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import IMAGE_SUFFIXES, MAX_FILE_BYTES

TEXT_SUFFIXES = frozenset({".txt", ".jsonl", ".ndjson", ".csv", ".tsv"})
DEFAULT_FIELD = "text"
SHIPPED_TEXTS = {"sentences": Path(__file__).parent / "examples" / "sentences.jsonl"}
MAX_CHARACTERS = 1_000_000  # of one text; a longer one is a whole file taken for a line

_SHOWN_FIELDS = 6
_LINE_ENDS = re.compile("\r\n|\n|\r")  # no others: a text may hold U+2028
_OTHER_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


@dataclass(frozen=True)
class RawText:
    """One text and what it is called."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """sha256 of the text, 64 hex digits: the same wherever it stands."""
        return hashlib.sha256(b"text\n" + self.text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class _Entry:
    """What a file holds at one place: a text, or the reason why there is none."""

    name: str
    text: str | None
    reason: str = ""


class TextSource:
    """One side made of texts, in memory. Thread-safe; reads like an `ImageSource`."""

    def __init__(self, name: str, entries: Iterable[_Entry]) -> None:
        self.name = name
        skipped: list[SkippedImage] = []
        self._names: list[str] = []
        self._texts: list[str] = []
        for entry in entries:
            reason = entry.reason or _why_not(entry.text)
            if reason or entry.text is None:
                skipped.append(SkippedImage(entry.name, reason))
                continue
            self._names.append(entry.name)
            self._texts.append(entry.text)
        self.skipped = tuple(skipped)
        if not self._texts:
            reasons = ", ".join(sorted({entry.reason for entry in skipped})[:3])
            raise EmptySide(
                f"{name} holds no text{f': {reasons}' if reasons else ''}. Metrics compare sets of texts: pass the "
                "file that holds them."
            )

    def __len__(self) -> int:
        return len(self._texts)

    def entry_name(self, index: int) -> str:
        """``line 17`` of a file, ``text 17`` of a list."""
        return self._names[index]

    def text(self, index: int) -> str:
        """The text itself."""
        return self._texts[index]

    def digest(self, index: int) -> str:
        """Content hash of a text, 64 hex digits."""
        return self.read(index).digest

    def read(self, index: int) -> RawText:
        """The text with its name."""
        return RawText(self._names[index], self._texts[index])


@dataclass(frozen=True)
class ExampleTexts:
    """Shipped texts: ``texts``, the ``topics`` that they are about, and ``is_reference``, one entry a text.

    ``reference`` is the half that stands behind the example's name; the other half is from the same sources and not
    in it, as the texts of a perfect model would be.
    """

    name: str
    texts: tuple[str, ...]
    topics: tuple[str, ...]
    is_reference: tuple[bool, ...]

    @property
    def reference(self) -> TextSource:
        """The half of the reference as a side."""
        rows = [row for row, chosen in enumerate(self.is_reference) if chosen]
        return TextSource(self.name, (_Entry(f"line {row + 1}", self.texts[row]) for row in rows))


def example_texts(name: str = "sentences") -> ExampleTexts:
    """The texts behind the name of a shipped example, with what is known of them. Raises `MissingInput`."""
    if name not in SHIPPED_TEXTS:
        raise MissingInput(f"There are no example texts {name!r}; there are {', '.join(SHIPPED_TEXTS)}.")
    lines = SHIPPED_TEXTS[name].read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return ExampleTexts(
        name,
        tuple(record["text"] for record in records),
        tuple(record["topic"] for record in records),
        tuple(record["part"] == "reference" for record in records),
    )


def are_texts(value: Any) -> bool:
    """Whether a value is a list, tuple or array of str."""
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(entry, str) for entry in value)
    return getattr(getattr(value, "dtype", None), "kind", "") == "U" and getattr(value, "ndim", 0) == 1


def texts_of(values: Sequence[str]) -> TextSource:
    """A list of str as a side. Raises `InputError` for names of image files, `EmptySide` where nothing is left."""
    texts = [str(value) for value in values]
    if all(Path(text[-20:]).suffix.lower() in IMAGE_SUFFIXES for text in texts):
        raise InputError(
            "A list of str is taken as texts, and these are names of image files. Give the folder that holds them."
        )
    return TextSource(f"list of {len(texts):,} texts", (_Entry(f"text {row}", text) for row, text in enumerate(texts)))


def read_texts(path: str | os.PathLike[str], *, field: str | None = None) -> TextSource:
    """Open a file of texts as a side.

    Parameters
    ----------
    path
        ``.txt``: a text a line; ``.jsonl``: a JSON object a line; ``.csv`` or ``.tsv`` with a header.
    field
        Which field or column holds the texts; None is "text".

    Raises
    ------
    MissingInput, UnreadableInput, EmptySide, InputError
        With the line, what is wrong there, and the way out.
    """
    place = Path(os.path.expanduser(path))
    name = os.fspath(path)
    suffix = place.suffix.lower()
    if suffix not in TEXT_SUFFIXES:
        raise InputError(
            f"{name} is no file of texts that is read here: expected {', '.join(sorted(TEXT_SUFFIXES))}, and the name "
            f"ends in {suffix or 'nothing'}."
        )
    if field is not None and suffix == ".txt":
        raise InputError(f"{name} has no fields: a .txt file holds a text a line. Leave the text field out.")
    content = _decoded(_content(place, name), name)
    if suffix == ".txt":
        return TextSource(name, _lines(content))
    wanted = DEFAULT_FIELD if field is None else field
    if suffix in (".csv", ".tsv"):
        return TextSource(name, _rows(content, "\t" if suffix == ".tsv" else ",", wanted, name))
    return TextSource(name, _records(content, wanted, name))


def _why_not(text: str | None) -> str:
    """Why a text cannot be used; empty where it can."""
    if text is None or not text.strip():
        return "empty"
    if len(text) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS:,} characters: a text is a sentence, a paragraph or a page"
    return ""


def _content(path: Path, name: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UnreadableInput(
                f"{name} has {size:,} bytes, and a file of texts is read up to {MAX_FILE_BYTES:,}. Take a sample of it."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MissingInput(f"{name} does not exist. Check the spelling, or give an absolute path.") from error
    except OSError as error:
        raise UnreadableInput(f"{name} cannot be read: {error.strerror or error}.") from error


def _decoded(content: bytes, name: str) -> str:
    for mark, encoding in _OTHER_ENCODINGS:
        if content.startswith(mark):
            raise UnreadableInput(
                f"{name} is {encoding} text (by its first bytes), and texts are read as UTF-8. Convert it: "
                f"iconv -f {encoding} -t UTF-8 {name} > utf8.txt"
            )
    at = content.find(b"\0")
    if at >= 0:
        raise UnreadableInput(
            f"{name} is no text file: there is a zero byte in line {_line_of(content, at):,}, as in binary files. Give "
            "a file of UTF-8 text; a set of images is a folder, .zip, .tar, .npy or .npz."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableInput(
            f"{name} is not UTF-8: line {_line_of(content, error.start):,} has the byte 0x{content[error.start]:02x}, "
            "which fits no character there. If it is an older Western encoding, convert it: "
            f"iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8.txt"
        ) from error


def _line_of(content: bytes, at: int) -> int:
    before = content[:at].replace(b"\r\n", b"\n")
    return 1 + before.count(b"\n") + before.count(b"\r")


def _lines(content: str) -> Iterator[_Entry]:
    lines = _LINE_ENDS.split(content)
    if lines and not lines[-1]:  # what follows the last line end is no line
        lines.pop()
    for number, line in enumerate(lines, 1):
        yield _Entry(f"line {number}", line, "" if line.strip() else "an empty line")


def _records(content: str, field: str, name: str) -> Iterator[_Entry]:
    first = True
    for entry in _lines(content):
        if entry.reason:
            yield entry
            continue
        assert entry.text is not None
        try:
            record = json.loads(entry.text)
        except (ValueError, RecursionError) as error:
            yield _Entry(entry.name, None, f"not JSON: {str(error)[:80]}")
            continue
        if isinstance(record, str):
            yield _Entry(entry.name, record)
            continue
        if not isinstance(record, dict):
            yield _Entry(entry.name, None, "neither a JSON object nor a string")
            continue
        if field not in record:
            if first:
                raise InputError(
                    f"{name}, {entry.name}: there is no field {field!r}. {_which_fields(list(record))} Name the one "
                    "that holds the texts: --text-field NAME, or read_texts(path, field=NAME)."
                )
            yield _Entry(entry.name, None, f"no field {field!r}")
            continue
        first = False
        value = record[field]
        yield _Entry(entry.name, value) if isinstance(value, str) else _Entry(entry.name, None, f"{field} is no string")


def _rows(content: str, delimiter: str, column: str, name: str) -> Iterator[_Entry]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [title.strip() for title in next(reader, [])]
        if column not in header:
            raise InputError(
                f"{name} has no column {column!r} in its first row. {_which_fields(header)} Name the one that holds "
                "the texts: --text-field NAME, or read_texts(path, field=NAME)."
            )
        place = header.index(column)
        before = reader.line_num
        for row in reader:
            line, before = f"line {before + 1}", reader.line_num
            if not row:
                yield _Entry(line, None, "an empty line")
            elif len(row) <= place:
                yield _Entry(line, None, f"no column {column!r}: the row has {len(row)} of {len(header)} columns")
            else:
                yield _Entry(line, row[place])
    except csv.Error as error:
        raise UnreadableInput(
            f"{name} is no table that can be read: {error}, in line {reader.line_num:,}. Quote texts that hold the "
            "separator or a line break, or use .jsonl."
        ) from error


def _which_fields(names: list[str]) -> str:
    if not names:
        return "It has none."
    shown = ", ".join(repr(entry[:40]) for entry in names[:_SHOWN_FIELDS])
    return f"It has {shown}{' and more' if len(names) > _SHOWN_FIELDS else ''}."
