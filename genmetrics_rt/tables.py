"""Tables of numbers that a training wrote: CSV with a header, or JSON lines, read row by row.

A CSV has one number in a cell; an empty cell is no number. In JSON lines, one object a line, a field may hold a number
or an array of them; null is no number. Which of the two a file is, its first character tells.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeAlias

import numpy as np

from genmetrics_rt.errors import MissingInput, UnreadableInput

MAX_BYTES = 200_000_000  # of a file
_MAX_LINE = 16_000_000  # characters of JSON in one line

Names: TypeAlias = "Sequence[str]"  # of one column: any of them will do
Row: TypeAlias = "dict[str, list[float]]"  # name → what stands there, where anything does


def read_rows(
    path: str | os.PathLike[str], needed: Sequence[Names], optional: Sequence[Names] = (), *, what: str
) -> Iterator[Row]:
    """Row by row the numbers under these columns; other columns are ignored. ``what`` names the file in errors.

    Raises
    ------
    MissingInput, UnreadableInput
        No such file; one that is too large, lacks a column, or holds something that is no number.
    """
    place = Path(path)
    if not place.is_file():
        raise MissingInput(f"There is no file {path}. Give the CSV or JSON lines of a {what}.")
    table = _Table(str(path), needed, tuple(name for names in (*needed, *optional) for name in names), what)
    try:
        if place.stat().st_size > MAX_BYTES:
            raise UnreadableInput(
                f"{path} is larger than {MAX_BYTES // 1_000_000} MB, more than is read of a {what}. "
                "Keep fewer steps, or fewer pictures at each."
            )
        with place.open(newline="", encoding="utf-8-sig") as file:
            yield from table.json_rows(file) if _first_character(file) == "{" else table.csv_rows(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableInput(f"{path} is no {what}: {error}. Give a CSV or JSON lines in UTF-8.") from error
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read: {error.strerror or error}.") from error


def _first_character(file: TextIO) -> str:
    while (character := file.read(1)).isspace():
        pass
    file.seek(0)
    return character


@dataclass(frozen=True)
class _Table:
    path: str
    needed: Sequence[Names]
    columns: Sequence[str]
    what: str

    def csv_rows(self, file: TextIO) -> Iterator[Row]:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        self._require(header, "has no column")
        at = [(name, header.index(name)) for name in self.columns if name in header]
        for cells in reader:
            row: Row = {}
            for name, index in at:
                if index < len(cells) and cells[index].strip():
                    try:
                        row[name] = [float(cells[index])]
                    except ValueError as error:
                        raise self._no_number(reader.line_num, name, cells[index]) from error
            if row:
                yield row

    def json_rows(self, file: TextIO) -> Iterator[Row]:
        number = 0
        while line := file.readline(_MAX_LINE + 1):
            number += 1
            if len(line) > _MAX_LINE:
                raise UnreadableInput(
                    f"Line {number} of {self.path} is longer than {_MAX_LINE:,} characters. Log fewer pictures at a "
                    "step, or part them: lines of one step are added up."
                )
            if line.isspace():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UnreadableInput(
                    f"Line {number} of {self.path} is no JSON ({error}). A {self.what} has one object a line."
                ) from error
            if not isinstance(record, dict):
                raise UnreadableInput(f"Line {number} of {self.path} is no JSON object: {line[:40].strip()}.")
            self._require(record, f"has, in line {number}, no")
            row: Row = {}
            for name in self.columns:
                value = record.get(name)
                if value is not None:
                    try:
                        row[name] = np.asarray(value, np.float64).ravel().tolist()
                    except (ValueError, TypeError, OverflowError) as error:
                        raise self._no_number(number, name, value) from error
            yield row

    def _require(self, there: Container[str], lacks: str) -> None:
        missing = [names[0] for names in self.needed if not any(name in there for name in names)]
        if missing:
            wanted = ", ".join(" or ".join(names) for names in self.needed)
            raise UnreadableInput(f"{self.path} {lacks} {', '.join(missing)}. A {self.what} has {wanted}.")

    def _no_number(self, line: int, name: str, value: object) -> UnreadableInput:
        return UnreadableInput(
            f"Line {line} of {self.path} has {str(value)[:40]!r} as {name}, which is no number. "
            f"A {self.what} holds numbers; leave out what is not known."
        )
