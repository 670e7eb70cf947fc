"""Which class each image is of: by the folder that it lies in, by a file of labels, or by a sequence."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.errors import EmptySide, InputError, MissingInput, TooFewImages, UnreadableInput
from genmetrics_rt.features import Features
from genmetrics_rt.render.numbers import count, counted
from genmetrics_rt.sources import Entries, ImageSource
from genmetrics_rt.texts import TextSource

Labels: TypeAlias = "dict[str, str] | list[str] | None"  # by name, by position, by folder

_MAX_BYTES = 256 << 20  # of a label file


def label_table(labels: Any) -> Labels:
    """Labels as given: a file, a mapping, or a sequence in the order of the images. None is the folders."""
    if labels is None:
        return None
    if isinstance(labels, str | os.PathLike):
        return _read_labels(Path(labels).expanduser())
    if isinstance(labels, Mapping):
        return {str(name): str(of) for name, of in labels.items()}
    return [str(of) for of in (labels.tolist() if hasattr(labels, "tolist") else labels)]


def classes_of(features: Features, source: ImageSource | TextSource | None, name: str, labels: Labels) -> NDArray[Any]:
    """(n,) the class of each feature row of a side called ``name``.

    Raises `InputError` where a row has none, and `TooFewImages` where there are no rows.
    """
    if not len(features.values):
        raise TooFewImages(
            f"{name} holds only mean and covariance, and classes are sets of single images. Give the images."
        )
    positions = features.index.tolist()
    if isinstance(labels, list):
        if max(positions) >= len(labels):
            raise InputError(
                f"{name}: {count(len(labels))} labels were given, and there are at least "
                f"{count(max(positions) + 1)} images. Give one label for each image, in order."
            )
        return np.array([labels[position] for position in positions], dtype=object)
    if source is None:
        raise InputError(
            f"{name} has no file names to tell classes by. Give the labels as a sequence, in the order of the rows."
        )
    if labels is None and isinstance(source, TextSource):
        raise InputError(
            f"{name} holds texts, which lie in no class folders. Give their classes: labels in order, or by line."
        )
    names = [source.entry_name(position) for position in positions]
    if labels is None:
        inside = [source.inner_name(position) for position in positions] if isinstance(source, Entries) else names
        found = [entry.split("/", 1)[0] if "/" in entry else None for entry in inside]
        how = "lie in no class folder. Sort the images into one folder for each class, or give labels"
    else:
        found = [labels.get(entry) for entry in names]
        how = "have no label. Label every image by its path below the root"
    unknown = [entry for entry, of in zip(names, found, strict=True) if of is None]
    if unknown:
        raise InputError(
            f"{name}: {count(len(unknown))} of {counted(len(names), 'image')} {how} (the first: {unknown[0]})."
        )
    return np.array(found, dtype=object)


def _read_labels(path: Path) -> dict[str, str]:
    """``name,class`` as CSV, with a heading or without, or ``{name: class}`` as JSON."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UnreadableInput(f"{path} is larger than {_MAX_BYTES >> 20} MB: that is no file of labels.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingInput(f"{path} does not exist. Give a CSV of name,class or a JSON object.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{path} cannot be read: {error}. Give a CSV of name,class or a JSON object.") from error
    if path.suffix.lower() == ".json":
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnreadableInput(f"{path} is no JSON: {error}. Write an object of name: class.") from error
        if not isinstance(record, dict) or not all(isinstance(of, str | int) for of in record.values()):
            raise UnreadableInput(f"{path} is no JSON object of name: class, such as {{'1.png': 'cat'}}.")
        return {name: str(of) for name, of in record.items()}
    table: dict[str, str] = {}
    try:
        lines = list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise UnreadableInput(f"{path} is no CSV: {error}. Write a line name,class for each image.") from error
    for number, cells in enumerate(lines, start=1):
        if not cells:
            continue
        if len(cells) != 2:
            raise UnreadableInput(f"{path}, line {number}: {counted(len(cells), 'cell')} instead of name,class.")
        name, of = (cell.strip() for cell in cells)
        if number == 1 and of.lower() in ("class", "label"):
            continue
        if table.get(name, of) != of:
            raise UnreadableInput(f"{path}, line {number}: {name} has two classes, {table[name]} and {of}.")
        table[name] = of
    if not table:
        raise EmptySide(f"{path} holds no labels. Write a line name,class for each image.")
    return table
