"""Which image of one side belongs to which of the other: by name where they have names, else by order."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from genmetrics_rt.arrays import as_numpy
from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import InputError
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.reference import Reference
from genmetrics_rt.sides import FeatureRows, Side, open_side
from genmetrics_rt.sources import IMAGE_SUFFIXES, ArraySource, Entries, ImageSource, Undecodable
from genmetrics_rt.texts import TextSource

_NAMED = 5  # names that a message gives as examples
_UNNAMED = (ArraySource, GeneratorSource)


@dataclass(frozen=True)
class Matching:
    """Positions that belong together, in the order of the first side, and the names that nothing belongs to."""

    couples: tuple[tuple[int, int], ...]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    by_order: bool = False  # one of the sides has no names


class ImageFile(Entries):
    """One image file as a source of one image."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        super().__init__(name, [path.name])

    def _content(self, index: int) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise Undecodable(f"cannot be read: {error.strerror or error}", transient=True) from error


def open_pictures(value: Any) -> ImageSource | Generator:
    """As `open_side`, and also one image: a file, or an array (H, W, 3). Raises `InputError` for no pictures."""
    if isinstance(value, str | os.PathLike):
        path = Path(value).expanduser()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            return ImageFile(path, os.fspath(value))
        side = open_side(os.fspath(value))
    elif isinstance(value, Generator | Bundle | Reference | FeatureRows | TextSource):
        side = open_side(value)
    else:
        array = as_numpy(value)
        return ArraySource(array[None] if array.ndim == 3 and array.shape[-1] == 3 else array)
    return require_pictures(side)


def require_pictures(side: Side) -> ImageSource | Generator:
    """The side, unless it holds no pictures."""
    if isinstance(side, TextSource | FeatureRows | Reference):
        raise InputError("Features, statistics and texts hold no pictures to compare. Give the images themselves.")
    return side


def match(first: ImageSource, second: ImageSource) -> Matching:
    """Match two sides.

    Images of arrays and of generators have no names, so with one of these on either side it is the order that counts.
    Two single files are one pair whatever their names. Else the relative paths decide; where one has no partner of its
    own path, the path without its suffix does (``a/1.png`` and ``a/1.jpg``), if only one file of each side has it.

    Raises
    ------
    InputError
        Nothing belongs together, or sides without names are not of one length.
    """
    if isinstance(first, ImageFile) and isinstance(second, ImageFile):
        return Matching(((0, 0),))
    if isinstance(first, _UNNAMED) or isinstance(second, _UNNAMED):
        if len(first) != len(second):
            raise InputError(
                f"{first.name} has {len(first):,} images and {second.name} has {len(second):,}. Images of an array "
                "have no names, so pairs go by order, which needs as many on both sides."
            )
        return Matching(tuple((index, index) for index in range(len(first))), by_order=True)
    return _by_name(first, second)


def _by_name(first: ImageSource, second: ImageSource) -> Matching:
    left, right = ([side.entry_name(index) for index in range(len(side))] for side in (first, second))
    where = {name: index for index, name in enumerate(right)}
    partner = {index: where[name] for index, name in enumerate(left) if name in where}
    taken = set(partner.values())
    free_left = [index for index in range(len(left)) if index not in partner]
    free_right = [index for index in range(len(right)) if index not in taken]
    stems = {stem: index for stem, index in _unique_stems(right, free_right).items()}
    for stem, index in _unique_stems(left, free_left).items():
        if stem in stems:
            partner[index] = stems[stem]
            taken.add(stems[stem])
    if not partner:
        raise InputError(
            f"No image of {first.name} has a partner in {second.name}: pairs are matched by their path inside the "
            f"folder or archive, without the suffix, and the names are {_some(left)} on one side and {_some(right)} on "
            "the other. Name the images alike, give the folders that hold them directly, or give arrays, whose "
            "order counts."
        )
    return Matching(
        couples=tuple(sorted(partner.items())),
        only_first=tuple(name for index, name in enumerate(left) if index not in partner),
        only_second=tuple(name for index, name in enumerate(right) if index not in taken),
    )


def _unique_stems(names: list[str], positions: list[int]) -> dict[str, int]:
    """Path without suffix → position, for the stems that one of these names has alone."""
    stems = {index: str(PurePosixPath(names[index]).with_suffix("")) for index in positions}
    counts = Counter(stems.values())
    return {stem: index for index, stem in stems.items() if counts[stem] == 1}


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
