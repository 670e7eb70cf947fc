"""Log-likelihoods that a model gives to single images, for the finding that they mislead."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.errors import UnreadableInput
from genmetrics_rt.tables import read_rows

_COLUMNS = ("reference_log_likelihood", "generated_log_likelihood")


@dataclass(frozen=True)
class Likelihoods:
    """Of reference images that the model was not trained on (n,), and of its own samples (m,), in nats."""

    of_reference: FloatArray
    of_generated: FloatArray


def read_likelihoods(path: str | os.PathLike[str]) -> Likelihoods:
    """Read a CSV with the columns ``reference_log_likelihood`` and ``generated_log_likelihood``, an image a row.

    An empty cell is no image, so that there may be more of one kind. JSON lines do as well, with numbers or arrays of
    them. Raises `MissingInput` and `UnreadableInput`.
    """
    found: dict[str, list[float]] = {name: [] for name in _COLUMNS}
    for row in read_rows(path, [(name,) for name in _COLUMNS], what="table of likelihoods"):
        for name, values in row.items():
            found[name] += values
    sides = [np.array(found[name], np.float64) for name in _COLUMNS]
    for name, side in zip(_COLUMNS, sides, strict=True):
        if not len(side) or np.isnan(side).any():
            raise UnreadableInput(f"{path} has no {name}, or one that is no number. Give both sides' likelihoods.")
    return Likelihoods(*sides)
