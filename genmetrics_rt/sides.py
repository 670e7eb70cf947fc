"""What a side may be, and how each is opened: the one place that looks at what the user passed.

===========================================  =======================================================
given                                        becomes
===========================================  =======================================================
folder, .zip, .tar, .npy/.npz of uint8       `ImageSource`
URL, pattern of tars, .parquet               the same; see `genmetrics_rt.datasets`
uint8 array (N, H, W, 3) or (N, H, W)        `ImageSource`
float array (N, D), .npy of one              features, as they are
`Reference`, or a file that it saved         `Reference`
another tool's statistics: .npz, .pkl, .pt   `Reference` of an unrecorded extractor
a public reference that was fetched          the same, by its name
generator bundle (shipped name or folder)    `Generator`: sampled once it is known how many
.onnx, TorchScript file, `Generator`         the same
``"digits"``                                 the shipped example images
.txt, .jsonl, .csv, .tsv; a list of str      `TextSource`
``"sentences"``                              the shipped example texts
===========================================  =======================================================
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import as_features, as_numpy
from genmetrics_rt.bare_generators import is_generator_file
from genmetrics_rt.bundle import Bundle, list_bundles, load_bundle
from genmetrics_rt.datasets import names_dataset, open_dataset
from genmetrics_rt.errors import InputError, MissingInput, UnreadableInput
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.images import open_images
from genmetrics_rt.manifest import MAX_MANIFEST_BYTES
from genmetrics_rt.public_references import list_references, open_reference
from genmetrics_rt.reference import Reference, is_reference_file, open_statistics
from genmetrics_rt.sources import ImageSource
from genmetrics_rt.statistics_files import is_statistics_file
from genmetrics_rt.texts import (
    SHIPPED_TEXTS,
    TEXT_SUFFIXES,
    TextSource,
    are_texts,
    example_texts,
    read_texts,
    texts_of,
)

EXAMPLES = Path(__file__).parent / "examples"
SHIPPED_IMAGES = {"digits": EXAMPLES / "digits.npz"}


@dataclass(frozen=True)
class ExampleImages:
    """Shipped pictures: ``images`` (N, H, W) uint8, ``labels`` (N,) of their classes, and ``is_train`` (N,), which of
    them the shipped models were trained on.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.integer]
    is_train: NDArray[np.bool_]


@dataclass(frozen=True)
class FeatureRows:
    """Features that the user made."""

    name: str
    values: NDArray[np.floating]


Side: TypeAlias = "ImageSource | TextSource | FeatureRows | Reference | Generator"


def example_images(name: str = "digits") -> ExampleImages:
    """The pictures behind the name of a shipped example, with what is known of them. Raises `MissingInput`."""
    if name not in SHIPPED_IMAGES:
        raise MissingInput(f"There are no example images {name!r}; there are {', '.join(SHIPPED_IMAGES)}.")
    with np.load(SHIPPED_IMAGES[name]) as file:
        return ExampleImages(file["images"], file["labels"], file["is_train"])


def open_side(value: Any) -> Side:
    """Open whatever stands for a set of images. Cheap: nothing is decoded or sampled yet.

    Raises
    ------
    MissingInput, UnreadableInput, EmptySide, InputError, NonFiniteFeatures
        With what is wrong and what could be passed instead.
    """
    if isinstance(value, Reference | Generator | FeatureRows | TextSource):
        return value
    if isinstance(value, Bundle):
        return _generator(value, value.name)
    if isinstance(value, str | Path):
        return _open_path(value)
    if are_texts(value):
        return texts_of(value)
    array = as_numpy(value)
    if array.dtype.kind in "fiu" and array.ndim == 2 and array.dtype != np.uint8:
        return FeatureRows(f"features {array.shape}", as_features(array))
    return open_images(array)


def _open_path(value: str | Path) -> Side:
    if value == "":  # to the operating system this would be the current folder
        raise InputError("An empty path was given for a side: is a shell variable unset? Give a folder or file.")
    if isinstance(value, str):
        value = value.removeprefix("file://")
    path = Path(value).expanduser()
    try:
        if not path.exists():
            return open_dataset(str(value)) if names_dataset(str(value)) else _open_shipped(str(value))
        _require_readable(path)
    except PermissionError as error:
        raise UnreadableInput(
            f"{value} cannot be read: permission denied. Fix its permissions, or give a copy that you may read."
        ) from error
    if path.is_dir() and _is_bundle(path):
        return _generator(load_bundle(path), str(value))
    if path.suffix.lower() in TEXT_SUFFIXES and path.is_file():
        return read_texts(path)
    if path.suffix.lower() == ".npz" and is_reference_file(path):
        return Reference.load(path)
    if is_generator_file(path):
        return Generator(path)
    if is_statistics_file(path):
        return open_statistics(path, name=str(value))
    if path.suffix.lower() == ".npy" and _is_feature_file(path):
        return FeatureRows(str(value), as_features(np.load(path, allow_pickle=False), what=str(value)))
    return open_images(path)


def _require_readable(path: Path) -> None:
    """Raise `PermissionError` here, before a parser takes it for damage."""
    if path.is_dir():
        os.scandir(path).close()
    elif path.is_file():
        path.open("rb").close()


def _is_bundle(folder: Path) -> bool:
    """Whether the manifest.json in it, if any, is one of ours. Others lie beside plain images."""
    manifest = folder / "manifest.json"
    try:
        if manifest.stat().st_size > MAX_MANIFEST_BYTES:
            return False
        record = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and str(record.get("schema")).startswith("genmetrics.bundle/")


def _open_shipped(name: str) -> Side:
    if name in SHIPPED_IMAGES:
        return open_images(SHIPPED_IMAGES[name], name=name)
    if name in SHIPPED_TEXTS:
        return example_texts(name).reference
    if name in list_bundles():
        return _generator(load_bundle(name), name)
    public = [entry.name for entry in list_references()]
    if name in public:
        return open_reference(name)
    known = sorted([*SHIPPED_IMAGES, *SHIPPED_TEXTS, *list_bundles("generator")])
    near = difflib.get_close_matches(name, [*known, *public], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MissingInput(
        f"{name!r} does not exist: it is no folder or file here, and no shipped example ({', '.join(known)}) "
        f"or public reference (genmetrics references list).{hint}"
    )


def _generator(bundle: Bundle, given: str) -> Generator:
    if bundle.kind != "generator":
        hints = {
            "extractor": f" That is an extractor: use -e {given}.",
            "density": f" A density gives likelihoods: genmetrics likelihood {given} IMAGES.",
        }
        hint = hints.get(bundle.kind, "")
        raise InputError(
            f"{bundle.name!r} is a bundle of kind {bundle.kind}. Only a generator can stand for a set of images.{hint}"
        )
    return Generator(bundle)


def _is_feature_file(path: Path) -> bool:
    """Whether an ``.npy`` holds a 2-D float array: looks at the header only."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError):
        return False  # open_images says what is wrong with it
    return bool(array.ndim == 2 and array.dtype.kind == "f")
