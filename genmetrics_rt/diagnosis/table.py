"""Tables of numbers that a training wrote: CSV with a header; an empty cell is no number."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from genmetrics_rt.errors import MissingInput, UnreadableInput


def read_rows(
    path: str | os.PathLike[str], needed: Sequence[str], optional: Sequence[str] = (), *, what: str
) -> Iterator[dict[str, float]]:
    """Row by row the numbers under these columns; other columns are ignored. ``what`` names the file in errors.

    Raises
    ------
    MissingInput, UnreadableInput
        No such file; a missing column, or a cell that is no number.
    """
    place = Path(path)
    if not place.is_file():
        raise MissingInput(f"{path} does not exist. Give the CSV file of a {what}.")
    try:
        with place.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise UnreadableInput(f"{path} has no column {', '.join(missing)}. A {what} has {', '.join(needed)}.")
            for row in reader:
                yield {name: float(row[name]) for name in (*needed, *optional) if (row.get(name) or "").strip()}
    except (ValueError, TypeError, csv.Error) as error:
        if isinstance(error, UnreadableInput):
            raise
        raise UnreadableInput(f"{path} is no {what}: {error}. Give a CSV with {', '.join(needed)}.") from error
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read: {error.strerror or error}.") from error
