"""What any way to run a graph needs: the inputs of a call, and the device it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.errors import InputError
from genmetrics_rt.manifest import TensorSpec
from genmetrics_rt.staging import Rows


def rows_of(inputs: Mapping[str, Rows], spec: TensorSpec) -> Rows:
    """What was given for an input of the manifest: an array, or a list of rows that are still apart."""
    if spec.name not in inputs:
        raise InputError(f"The frozen graph needs an input {spec.name!r} ({spec.dtype} {list(spec.shape)}).")
    rows = inputs[spec.name]
    of_arrays = isinstance(rows, list) and bool(rows) and isinstance(rows[0], np.ndarray)
    return rows if of_arrays else np.asarray(rows)


def as_array(rows: Rows, dtype: str) -> NDArray[Any]:
    """As one array."""
    return np.asarray(rows if isinstance(rows, np.ndarray) else np.stack(rows), dtype=dtype)


def shapes_of(given: Mapping[str, tuple[Rows, str]]) -> str:
    """For messages: name, type and shape of each input."""
    return ", ".join(f"{name} {dtype}{list(np.shape(rows))}" for name, (rows, dtype) in given.items())


def parse_device(device: str) -> tuple[str, int]:
    """``"auto"``, ``"cpu"`` or ``"cuda"``, and which of the cards. Raises `InputError` for another word."""
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    if match is None or (match[2] is not None and match[1] != "cuda"):
        raise InputError(f"Unknown device {device!r}. Use auto, cpu, cuda or cuda:1.")
    return match[1], int(match[2] or 0)
