"""Arrays (npy, npz): images or features, known by their headers; none is loaded here."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from uploads.files import keep, size_of
from uploads.limits import Limits, Refused, Side, megabytes, refusing_damage, require_rows, too_many, too_many_pixels
from uploads.names import clean, named, shown_name
from uploads.statistics import REFERENCE, STATISTICS, features_summary, statistics_side

_ARRAY_HEADER = 16 << 10  # NumPy itself takes no more than 10,000 characters


def accept_npy(path: Path, folder: Path, limits: Limits) -> Side:
    name = shown_name(path)
    with path.open("rb") as file:
        array = _Array.read(file, size_of(path), name)
    kept = keep(path, folder / named(name, (".npy",)))
    if array.dtype.kind == "f" and len(array.shape) == 2:
        require_rows(name, array.shape[0], limits)
        count, dimension = array.shape
        return Side(kept, features_summary(count, dimension, size_of(kept)), "features", count)
    return _array_side(kept, name, {"": array}, limits)


def accept_npz(path: Path, members: Sequence[zipfile.ZipInfo], folder: Path, limits: Limits) -> Side:
    name = shown_name(path)
    arrays: dict[str, _Array] = {}
    with refusing_damage(name), zipfile.ZipFile(path) as archive:
        for member in members:
            key = member.filename.removesuffix(".npy")
            with archive.open(member) as opened:
                arrays[key] = _Array.read(opened, member.file_size, f"{name}: {clean(key)}")
    kept = keep(path, folder / named(name, (".npz",)))
    if arrays.keys() >= REFERENCE or arrays.keys() & STATISTICS:
        return statistics_side(kept, name, sum(member.file_size for member in members), limits)
    return _array_side(kept, name, arrays, limits)


@dataclass(frozen=True)
class _Array:
    """What an ``.npy`` says of itself, once that is known to be true of its size."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def read(cls, opened: IO[bytes], size: int, name: str) -> _Array:
        head = io.BytesIO(opened.read(_ARRAY_HEADER))  # a header may claim to be gigabytes long
        try:
            version = np.lib.format.read_magic(head)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(head)
        except Exception as error:  # numpy evaluates a literal there, with all that this may raise
            raise Refused(f"{name} is no readable array: its header is damaged. Save it again.") from error
        if dtype.hasobject:
            raise Refused(
                f"{name} holds Python objects (a pickle), which only running somebody's code could load, so it is not "
                "opened. Save an array of numbers: np.save(file, images)."
            )
        needed = head.tell() + math.prod(shape) * dtype.itemsize
        if needed != size or min(shape, default=0) < 0:
            raise Refused(
                f"{name} says it is an array {list(shape)} of {dtype}, which takes {needed:,} bytes, but there are "
                f"{size:,}: it is damaged, or made to fill the memory. Save it again."
            )
        return cls(shape, dtype)

    @property
    def may_be_images(self) -> bool:
        return self.dtype == np.uint8 and len(self.shape) in (3, 4)


def _array_side(kept: Path, name: str, arrays: dict[str, _Array], limits: Limits) -> Side:
    images = {key: array for key, array in arrays.items() if array.may_be_images}
    for array in images.values():
        if array.shape[0] > limits.num_files:
            raise too_many(f"{name} holds {array.shape[0]:,} images", limits)
        if math.prod(array.shape[1:3]) > limits.pixels:
            raise too_many_pixels(name, f"{array.shape[1]:,} × {array.shape[2]:,} pixels an image", limits)
    if not images:
        found = ", ".join(
            f"{key and clean(key)} {array.dtype}{list(array.shape)}".strip() for key, array in arrays.items()
        )
        raise Refused(
            f"{name} holds {found}. Expected images as uint8 (N, H, W, 3) or (N, H, W), or features as floats (N, D) "
            "in an .npy. Convert other pixels yourself, as only you know what is black and white in them."
        )
    key = next((key for key in ("images", "arr_0") if key in images), next(iter(images)))
    count, height, width = images[key].shape[:3]
    summary = f"{count:,} images in an array, {width:,} × {height:,}, {megabytes(size_of(kept))}"
    return Side(kept, summary, "images", count)
