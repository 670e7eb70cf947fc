"""The ring of panes: a window is the merger of the last few, and nothing is ever taken out of a sum again.

A pane is what some hundred images leave behind: mean and covariance of all of them, and rows of features (of all, or
the ones whose content hashes lowest where they are many). What is made of the merged statistics is incremental: the
Fréchet distance, and the means of the traits. What looks at neighbours or at pairs (kid, precision, recall, density,
coverage) is computed anew from the kept rows of the window.

Rows go by the hash of their own bytes: which of them are kept, and their order. So a window's scores depend neither on
the order of arrival nor on which replica of a service saw which image.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FeatureArray, FloatArray
from genmetrics_rt.cache import write_atomically
from genmetrics_rt.diagnosis.traits import Traits
from genmetrics_rt.errors import UnreadableInput
from genmetrics_rt.features import Features
from genmetrics_rt.statistics import FeatureStatistics, StatisticsAccumulator

# Columns of the traits of an image that no file header is needed for.
TRAITS = ("widths", "heights", "blockiness", "grey", "brightness", "contrast", "high_frequency")


@dataclass(frozen=True)
class Pane:
    """What the images of one stretch of the stream left behind; also a whole window, once panes are merged."""

    num_images: int
    statistics: FeatureStatistics  # of all of them
    rows: FeatureArray  # (n, D) in the order of their hashes
    logits: FeatureArray | None  # (n, C) of the same rows
    traits: FloatArray  # (t, 7) of a few of the images
    started: float  # seconds of Unix time
    ended: float

    @property
    def features(self) -> Features:
        """As a side: statistics of all images, and the kept rows."""
        return self.first_rows(len(self.rows))

    def first_rows(self, count: int) -> Features:
        """As a side of which ``count`` rows are kept: a uniform sample, as hashes are blind to what they hash."""
        rows = self.rows[:count]
        return Features(
            values=rows,
            index=np.arange(len(rows), dtype=np.int64),
            num_images=self.num_images,
            logits=None if self.logits is None else self.logits[:count],
            all_statistics=self.statistics,
        )

    def all_traits(self) -> Traits:
        """The traits as the diagnosis takes them."""
        columns = dict(zip(TRAITS, self.traits.T, strict=True))
        count = len(self.traits)
        grey = columns.pop("grey") > 0
        return Traits(formats=("pixels",) * count, jpeg_quality=np.full(count, np.nan), grey=grey, **columns)

    def to_bytes(self) -> bytes:
        """An ``.npz``; `from_bytes` reads it."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {
            "mean": self.statistics.mean,
            "covariance": self.statistics.covariance,
            "rows": self.rows,
            "traits": self.traits,
            "when": np.array([self.started, self.ended]),
            "num_images": np.array(self.num_images),
        }
        if self.logits is not None:
            arrays["logits"] = self.logits
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Pane:
        """What `to_bytes` wrote. Raises `UnreadableInput`."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            count = int(arrays["num_images"])
            return cls(
                num_images=count,
                statistics=FeatureStatistics(arrays["mean"], arrays["covariance"], count),
                rows=arrays["rows"],
                logits=arrays.get("logits"),
                traits=arrays["traits"],
                started=float(arrays["when"][0]),
                ended=float(arrays["when"][1]),
            )
        except Exception as error:  # numpy raises what it likes for a file that is damaged
            raise UnreadableInput(
                f"A pane of the monitor's state is damaged ({error}). Remove its folder, or give another."
            ) from error


def merge(panes: Sequence[Pane], *, max_rows: int) -> Pane:
    """All of the panes as one: statistics by Chan's formula, the ``max_rows`` rows of lowest hash."""
    accumulator = StatisticsAccumulator()
    for pane in panes:
        accumulator.merge(StatisticsAccumulator._of(pane.statistics))
    rows = np.concatenate([pane.rows for pane in panes])
    logits = [pane.logits for pane in panes if pane.logits is not None]
    kept = by_hash(rows)[:max_rows]
    return Pane(
        num_images=accumulator.num_images,
        statistics=accumulator.result(),
        rows=rows[kept],
        logits=np.concatenate(logits)[kept] if len(logits) == len(panes) else None,
        traits=np.concatenate([pane.traits for pane in panes]),
        started=min(pane.started for pane in panes),
        ended=max(pane.ended for pane in panes),
    )


class OpenPane:
    """The pane that is being filled."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.num_images = 0
        self._rows: list[FeatureArray] = []
        self._logits: list[FeatureArray] = []
        self._traits: list[FloatArray] = []

    def add(self, rows: FeatureArray, logits: FeatureArray | None, traits: FloatArray) -> None:
        """Features (n, D), logits (n, C) or None, and traits (t, 7) of some of the images."""
        self.num_images += len(rows)
        self._rows.append(rows)
        self._traits.append(traits)
        if logits is not None:
            self._logits.append(logits)

    def finish(self, ended: float, *, max_rows: int) -> Pane:
        """The pane of all that came. Needs two images."""
        accumulator = StatisticsAccumulator()
        rows = np.concatenate(self._rows)
        accumulator.update(rows)
        kept = by_hash(rows)[:max_rows]
        return Pane(
            num_images=self.num_images,
            statistics=accumulator.result(),
            rows=rows[kept],
            logits=np.concatenate(self._logits)[kept] if self._logits else None,
            traits=np.concatenate(self._traits),
            started=self.started,
            ended=ended,
        )


def by_hash(rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """(N,) positions of the rows (N, D) in the order of a hash of their bytes.

    Equal rows (a picture that comes again and again) are told apart by counting them, so that each is kept with the
    same chance as any other row.
    """
    words = np.ascontiguousarray(rows, dtype=np.float32).view(np.uint32)
    odd = np.random.default_rng(2021).integers(0, 2**63, words.shape[1], dtype=np.uint64) * 2 + 1
    mixed = np.zeros(len(words), np.uint64)
    for start in range(0, len(words), 4096):  # the products are twice as wide as the rows
        block = words[start : start + 4096].astype(np.uint64) * odd
        block ^= block >> np.uint64(31)
        mixed[start : start + 4096] = block.sum(axis=1, dtype=np.uint64)
    order = np.argsort(mixed, kind="stable")
    begins = np.r_[True, np.diff(mixed[order]) != 0] if len(order) else np.zeros(0, bool)
    before = np.arange(len(order)) - np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    mixed[order] += before.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.argsort(mixed ^ (mixed >> np.uint64(27)), kind="stable")


class StateFolder:
    """Panes and what goes with them on disk: a file for each pane, and ``state.json``, which is written last.

    Each file is there whole or not at all, so after a crash the folder holds the last finished pane but one or all.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._named_before: set[str] = set()

    def load(self, name: str = "state.json") -> dict[str, Any]:
        """A record of the folder, by default the one on its panes; empty where there is none."""
        try:
            record: dict[str, Any] = json.loads((self.root / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UnreadableInput(
                f"{self.root / name} is damaged ({error}). Remove the folder of the monitor's state, or give another."
            ) from error
        return record

    def panes(self, numbers: Sequence[int]) -> list[Pane]:
        """The panes of these numbers. Raises `FileNotFoundError` for one that is no longer there."""
        return [Pane.from_bytes(self._path(number).read_bytes()) for number in numbers]

    def save(self, record: dict[str, Any], new: Mapping[int, Pane]) -> None:
        """Write new panes, then the record that names all of its panes, then remove what has not been named for long.

        Those of the record before stay once more, for who reads the folder meanwhile.
        """
        for number, pane in new.items():
            write_atomically(self._path(number), pane.to_bytes())
        write_atomically(self.root / "state.json", json.dumps(record).encode())
        named = {self._path(number).name for number in record["panes"]}
        for path in self.root.glob("pane-*.npz"):
            if path.name not in named | self._named_before:
                path.unlink(missing_ok=True)
        self._named_before = named

    def save_file(self, name: str, content: bytes) -> None:
        """Another file of the folder, whole or not at all."""
        write_atomically(self.root / name, content)

    def save_open(self, pane: Pane) -> None:
        """A pane that is not full yet, when a worker stops in peace."""
        write_atomically(self.root / "open.npz", pane.to_bytes())

    def drop_open(self) -> None:
        """Forget what `save_open` left: it is of a monitor with other settings."""
        (self.root / "open.npz").unlink(missing_ok=True)

    def take_open(self) -> Pane | None:
        """What `save_open` left. It is there once only, so that nothing can be counted twice."""
        path = self.root / "open.npz"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        path.unlink()
        return Pane.from_bytes(content)

    def _path(self, number: int) -> Path:
        return self.root / f"pane-{number:08d}.npz"
