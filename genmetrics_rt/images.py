"""The door to images: looks at what was given, and opens it as a source whose images are read one by one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from genmetrics_rt.archives import TAR_ENDINGS, TarSource, ZipSource, open_npz
from genmetrics_rt.datasets import PARQUET_ENDINGS, open_dataset, open_folder_of_sets
from genmetrics_rt.errors import EmptySide, InputError, MissingInput, UnreadableInput
from genmetrics_rt.sources import (
    IMAGE_SUFFIXES,
    OTHER_IMAGE_SUFFIXES,
    ArraySource,
    FolderSource,
    ImageSource,
)


def open_images(value: Any, *, name: str | None = None) -> ImageSource:
    """Open a folder, ``.zip``, ``.tar`` (also ``.gz .bz2 .xz``), ``.npy`` or ``.npz`` of uint8 images, or an array.

    Also Parquet with image bytes, and a folder of tars or of Parquet files.

    Nothing is decoded yet; ``name`` is what messages and reports call it.

    Raises
    ------
    MissingInput, UnreadableInput, EmptySide, InputError
        With what was found instead of images, and what could be passed.
    """
    if not isinstance(value, str | os.PathLike):
        return ArraySource(value, name)
    path = Path(os.path.expanduser(value))
    name = name or os.fspath(value)
    if not os.path.exists(path):
        raise MissingInput(f"{name} does not exist. Check the spelling, or give an absolute path.")
    if path.is_dir():
        try:
            return FolderSource(path, name)
        except EmptySide:
            sets = open_folder_of_sets(path, name)
            if sets is None:
                raise
            return sets
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UnreadableInput(f"{name} is no regular file. Give a folder, archive or array file that holds the images.")
    if suffix in PARQUET_ENDINGS:
        return open_dataset(os.fspath(value), name)
    if suffix == ".zip":
        return ZipSource(path, name)
    if path.name.lower().endswith(TAR_ENDINGS):
        return TarSource(path, name)
    if suffix == ".npz":
        return open_npz(path, name)
    if suffix == ".npy":
        return _open_npy(path, name)
    if suffix in IMAGE_SUFFIXES | OTHER_IMAGE_SUFFIXES:
        raise InputError(f"{name} is a single image. A side is a set of images: give the folder that holds them.")
    raise UnreadableInput(
        f"{name} is no set of images that is read here: expected a folder, .zip, .tar(.gz, .bz2, .xz), .parquet, .npy "
        f"or .npz, and the file ends in {suffix or 'nothing'}."
    )


def _open_npy(path: Path, name: str) -> ArraySource:
    """Memory-mapped; an array of Python objects, which only pickle code could load, is refused by numpy."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableInput(f"{name} is not a readable .npy array: {error}. Make or download it again.") from error
    return ArraySource(array, name)
