"""Log-likelihoods from files, in nats, one for each image: ``.npy``, ``.npz``, CSV with a header, or JSON lines."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import MissingInput, UnreadableInput
from genmetrics_rt.tables import read_rows

_LARGEST = 2_000_000_000  # bytes of an array file
_WHAT = "table of likelihoods"
_VALUES = ("log_likelihood", "log_likelihoods", "log_prob", "log_probability", "log_density", "ll", "test")
_NEGATED = ("nll", "negative_log_likelihood")
_TRAIN = ("train_log_likelihood", "train")
_IS_TRAIN = ("is_train",)
_WEIGHTS = ("log_weights", "log_weight")
_REFERENCE, _GENERATED = ("reference_log_likelihood", "reference"), ("generated_log_likelihood", "generated")


@dataclass(frozen=True)
class LogLikelihoods:
    """What one file holds, in nats: of images outside the training set or of which nobody says so (N,), of training
    images (M,) where they are marked, or the log-weights (N, K) of an importance-weighted bound.
    """

    name: str
    values: FloatArray
    train: FloatArray | None = None
    log_weights: FloatArray | None = None


@dataclass(frozen=True)
class Likelihoods:
    """Of reference images that the model was not trained on (n,), of its own samples (m,), and of training images (k,)
    where they are known; in nats.
    """

    of_reference: FloatArray
    of_generated: FloatArray
    of_train: FloatArray | None = None


def read_log_likelihoods(path: str | os.PathLike[str], *, log_weights: bool = False) -> LogLikelihoods:
    """Read the log-likelihoods that a model gave to single images, in nats.

    ========== =========================================================================================================
    ``.npy``   (N,); with ``log_weights`` (N, K), K importance weights of each image
    ``.npz``   ``log_likelihood`` (N,), ``train`` (M,) or ``is_train`` (N,) if known; or ``log_weights`` (N, K); of a
               single array the name does not matter
    CSV        a column ``log_likelihood`` (or ``nll``, which is its negative), and ``is_train`` with 1 and 0 if known
    JSON lines the same fields, a number or an array of them each; or ``log_weights``, an array a line for each image
    ========== =========================================================================================================

    Raises
    ------
    MissingInput, UnreadableInput
        No such file, one that is damaged, or one that holds something else.
    """
    place = Path(path)
    if not place.is_file():
        raise MissingInput(
            f"There is no file {path}. Give the log-likelihoods of images: .npy, .npz, CSV or JSON lines."
        )
    if place.suffix.lower() == ".npy":
        values = _load(place)
        return _of_arrays({_WEIGHTS[0] if log_weights else _VALUES[0]: values}, str(path))
    if place.suffix.lower() == ".npz":
        arrays = _load_all(place)
        if len(arrays) == 1:
            arrays = {_WEIGHTS[0] if log_weights or _WEIGHTS[0] in arrays else _VALUES[0]: next(iter(arrays.values()))}
        return _of_arrays(arrays, str(path))
    return _of_weight_rows(path) if log_weights else _of_rows(path)


def read_likelihoods(path: str | os.PathLike[str]) -> Likelihoods:
    """Read a CSV with the columns ``reference_log_likelihood`` and ``generated_log_likelihood``, an image a row.

    An empty cell is no image, so that there may be more of one kind; a third column ``train_log_likelihood`` is of
    training images. JSON lines do as well, with numbers or arrays of them, and an ``.npz`` of arrays with these names.
    Raises `MissingInput` and `UnreadableInput`.
    """
    needed = (_REFERENCE[0], _GENERATED[0])
    found: dict[str, list[float] | NDArray[Any]] = {}
    if Path(path).suffix.lower() == ".npz" and Path(path).is_file():
        arrays = _load_all(Path(path))
        for names in (_REFERENCE, _GENERATED, _TRAIN):
            found[names[0]] = next(
                (_as_floats(arrays[name], str(path)).ravel() for name in names if name in arrays), np.empty(0)
            )
    else:
        rows: dict[str, list[float]] = {name: [] for name in (*needed, _TRAIN[0])}
        for row in read_rows(path, [(name,) for name in needed], [_TRAIN[:1]], what=_WHAT):
            for name, values in row.items():
                rows[name] += values
        found.update(rows)
    sides = {name: np.asarray(values, np.float64) for name, values in found.items()}
    for name in needed:
        if not len(sides[name]) or np.isnan(sides[name]).any():
            raise UnreadableInput(f"{path} has no {name}, or one that is no number. Give both sides' likelihoods.")
    train = sides[_TRAIN[0]]
    return Likelihoods(sides[needed[0]], sides[needed[1]], train if len(train) else None)


def _of_arrays(arrays: dict[str, NDArray[Any]], name: str) -> LogLikelihoods:
    weights = _first(arrays, _WEIGHTS)
    if weights is not None:
        if weights.ndim != 2 or 0 in weights.shape:
            raise UnreadableInput(
                f"{name} holds log-weights of the shape {weights.shape}. They have K numbers for each image: (N, K)."
            )
        return LogLikelihoods(name, np.empty(0), log_weights=_as_floats(weights, name))
    values, negated = _first(arrays, _VALUES), _first(arrays, _NEGATED)
    if values is None and negated is not None:
        values = -_as_floats(negated, name)
    if values is None:
        raise UnreadableInput(
            f"{name} has the arrays {', '.join(arrays) or 'none'}, and none is called log_likelihood. Save it as: "
            "np.savez(FILE, log_likelihood=…)."
        )
    if values.ndim == 0 or values.size != len(values):
        raise UnreadableInput(
            f"{name} has the shape {values.shape} where one log-likelihood for each image is expected, (N,). If it "
            "holds the log-weights of an importance-weighted bound, say so: --log-weights."
        )
    flat = _as_floats(values, name).ravel()
    train, marks = _first(arrays, _TRAIN), _first(arrays, _IS_TRAIN)
    if marks is not None:
        return _parted(flat, _as_floats(marks, name).ravel(), name)
    return LogLikelihoods(name, flat, None if train is None else _as_floats(train, name).ravel())


def _of_rows(path: str | os.PathLike[str]) -> LogLikelihoods:
    names = (*_VALUES[:-1], *_NEGATED)
    values: list[float] = []
    marks: list[float] = []
    for row in read_rows(path, [names], [_IS_TRAIN], what=_WHAT):
        found = next(((name, row[name]) for name in names if name in row), None)
        if found is None:
            continue
        name, entries = found
        values += [-entry for entry in entries] if name in _NEGATED else entries
        given = row.get(_IS_TRAIN[0], [])
        marks += given * len(entries) if len(given) == 1 else given
    if not values:
        raise UnreadableInput(f"{path} has no log-likelihood. Give one for each image.")
    if marks:
        return _parted(np.array(values), np.array(marks), str(path))
    return LogLikelihoods(str(path), np.array(values))


def _of_weight_rows(path: str | os.PathLike[str]) -> LogLikelihoods:
    rows = [row.get("log_weights") or row.get("log_weight") or [] for row in read_rows(path, [_WEIGHTS], what=_WHAT)]
    if not rows or len({len(row) for row in rows}) > 1 or not rows[0]:
        raise UnreadableInput(
            f"{path} does not hold equally many log-weights for each image. Give JSON lines with an array log_weights "
            "a line, or an .npy of the shape (N, K)."
        )
    return LogLikelihoods(str(path), np.empty(0), log_weights=np.array(rows))


def _parted(values: FloatArray, marks: FloatArray, name: str) -> LogLikelihoods:
    """Training images apart from the others, by what is_train says of each."""
    if len(marks) != len(values) or not np.isin(marks, (0.0, 1.0)).all():
        raise UnreadableInput(
            f"{name}: is_train says 1 or 0 of each image, and here it does not. Leave it out, or mend it."
        )
    train = marks == 1
    if train.all():
        raise UnreadableInput(f"{name} has training images alone. Give others too, or leave is_train out.")
    return LogLikelihoods(name, values[~train], values[train] if train.any() else None)


def _first(arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _as_floats(values: NDArray[Any], name: str) -> FloatArray:
    if values.dtype.kind not in "biuf":
        raise UnreadableInput(f"{name} holds {values.dtype} where numbers are expected. Save floats.")
    return values.astype(np.float64)


def _load(path: Path) -> NDArray[Any]:
    try:
        # Mapped first: a header that promises more than the file holds is refused before memory is taken.
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableInput(f"{path} is not a readable .npy array: {error}. Save it again.") from error


def _load_all(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise UnreadableInput(f"{path} unpacks to {size / 1e9:.1f} GB, more than is read of log-likelihoods.")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    # RuntimeError: encrypted, or (as NotImplementedError) packed in a way that nobody here unpacks.
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        if isinstance(error, UnreadableInput):
            raise
        raise UnreadableInput(f"{path} is not a readable .npz: {error}. Save it again.") from error
