"""Leaves: the units that a large side is cut into, and their join, which has the same bits however they were grouped.

A leaf is a run of consecutive entries of the side. Where leaves begin depends on the side and the features alone, never
on how many parts or workers there are. Each ends as mean and centred second moment (`StatisticsAccumulator`), and they
are merged along one binary tree over their numbers: leaf 6 with leaf 7, both with leaves 4 and 5, and so on.

Rows for the metrics that look at neighbours are a uniform sample by the smallest hashes of (position, seed). Every leaf
knows the number of all entries, so it keeps only rows that can still be among the smallest of all.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FeatureArray, require_finite
from genmetrics_rt.cache import FeatureCache
from genmetrics_rt.datasets import JoinedSource
from genmetrics_rt.decode import rules_in_force
from genmetrics_rt.errors import EmptySide, TooFewImages, UnreadableInput
from genmetrics_rt.extraction import Extraction, extract
from genmetrics_rt.extractor import CHUNK, FeatureExtractor
from genmetrics_rt.features import MAX_KEPT, Features, row_priorities
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import ExtractorSummary, SideSummary, SkippedImage
from genmetrics_rt.sources import ImageSource, RowNames
from genmetrics_rt.statistics import StatisticsAccumulator
from genmetrics_rt.texts import TextSource

MAX_LEAVES, MIN_LEAVES = 1_024, 16  # of a side; fewer where it has fewer chunks
_PROBES = 16  # entries whose content stands for that of the side
_BLOCK_ROWS = 2_048  # features that enter a leaf's statistics at a time: the cost of a merger is that of D rows

_Node: TypeAlias = tuple[int, int]  # level and number in the tree: (0, k) is leaf k, (1, k) leaves 2k and 2k + 1


@dataclass(frozen=True)
class Job:
    """What all leaves of one side have in common: they join only if all of this is the same."""

    num_entries: int
    entries: str  # hash of the names of all entries and of the content of a few
    leaf_size: int
    seed: int
    max_kept: int
    extractor: ExtractorSummary
    settings: Mapping[str, Any]  # of metrics, fixed by the protocol
    decoding: str  # what pixels depend on beside the bytes
    source: str = ""  # the name of the side; may differ, as the same images lie at other places on other machines

    @classmethod
    def of(
        cls,
        source: ImageSource | TextSource,
        extractor: FeatureExtractor,
        settings: Mapping[str, Any],
        *,
        seed: int,
        max_kept: int = MAX_KEPT,
        leaf_size: int | None = None,
    ) -> Job:
        """Of an opened side and network."""
        job = cls(
            num_entries=len(source),
            entries=_hash_of_entries(source),
            leaf_size=leaf_size or default_leaf_size(len(source), extractor.summary.dimension),
            seed=seed,
            max_kept=max_kept,
            extractor=extractor.summary,
            settings=dict(settings),
            decoding=rules_in_force() if extractor.modality == "image" else "",
            source=source.name,
        )
        return cls.from_record(json.loads(json.dumps(job.as_record())))  # equal to what is read from a file

    @property
    def num_leaves(self) -> int:
        return -(-self.num_entries // self.leaf_size)

    def positions(self, leaf: int) -> range:
        """The entries of a leaf."""
        return range(leaf * self.leaf_size, min((leaf + 1) * self.leaf_size, self.num_entries))

    @property
    def highest_kept(self) -> int:
        """The hash above which no row can be among the ``max_kept`` smallest, but for unreadable images.

        Hashes are uniform, so the count below a limit is binomial: the limit lies eight standard deviations and one
        row in sixteen above what is wanted.
        """
        wanted = self.max_kept + self.max_kept / 16 + 8 * math.sqrt(self.max_kept)
        return 2**64 - 1 if wanted >= self.num_entries else int(wanted / self.num_entries * 2**64)

    def differences(self, other: Job) -> list[str]:
        """What keeps leaves of two jobs apart, in words: this one's is named first."""
        mine, theirs = self.extractor, other.extractor
        told = [
            f"{what} ({here} and {there})"
            for what, here, there in (
                ("the extractor", mine.name, theirs.name),
                ("the protocol", mine.protocol, theirs.protocol),
                ("the number of entries", f"{self.num_entries:,}", f"{other.num_entries:,}"),
                ("the size of a leaf", f"{self.leaf_size:,}", f"{other.leaf_size:,}"),
                ("the seed", self.seed, other.seed),
                ("the size of the sample", f"{self.max_kept:,}", f"{other.max_kept:,}"),
                ("the decoding", self.decoding, other.decoding),
            )
            if here != there
        ]
        if mine.name == theirs.name:
            told += [
                f"{line} ({mine.recipe[line]} and {theirs.recipe.get(line)})"
                for line in mine.recipe
                if mine.recipe[line] != theirs.recipe.get(line) and mine.protocol == theirs.protocol
            ]
        if self.num_entries == other.num_entries and self.entries != other.entries:
            told.append("the names or the content of the images")
        if not told and (mine.numeric_id, dict(self.settings)) != (theirs.numeric_id, dict(other.settings)):
            told.append("the frozen network or the settings of its protocol")
        return told

    def as_record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Job:
        return cls(**{**record, "extractor": ExtractorSummary(**record["extractor"])})


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and upper triangle of the second moment (D(D + 1)/2,) of ``num_images`` features."""

    num_images: int
    mean: NDArray[np.float64]
    triangle: NDArray[np.float64]

    @classmethod
    def of(cls, accumulator: StatisticsAccumulator) -> Moments | None:
        return cls(accumulator.num_images, *accumulator.state()) if accumulator.num_images else None

    def accumulator(self) -> StatisticsAccumulator:
        return StatisticsAccumulator.from_state(self.num_images, self.mean, self.triangle)


@dataclass(frozen=True)
class Rows:
    """Kept features (n, D), their positions (n,) and logits (n, C)."""

    values: NDArray[np.floating]
    index: NDArray[np.int64]
    logits: FeatureArray | None = None


@dataclass(frozen=True)
class Leaf:
    """What one leaf ends as. ``moments`` is None where none of its images could be used."""

    number: int
    content_hash: str
    skipped: tuple[SkippedImage, ...]
    moments: Moments | None
    spatial: Moments | None
    rows: Rows


@dataclass
class LeafCollector:
    """Takes the features of one leaf as they come from the network."""

    highest_kept: int
    seed: int
    statistics: StatisticsAccumulator = field(default_factory=StatisticsAccumulator)
    spatial: StatisticsAccumulator = field(default_factory=StatisticsAccumulator)

    def __post_init__(self) -> None:
        self._waiting: list[NDArray[np.floating]] = []
        self._num_waiting = 0
        self._kept: list[Rows] = []

    def update(
        self,
        values: NDArray[np.floating],
        logits: FeatureArray | None = None,
        index: NDArray[np.int64] | None = None,
        *,
        spatial: FeatureArray | None = None,
        what: str = "features",
    ) -> None:
        """Add a block, with its positions in the side."""
        if len(values) == 0:
            return
        require_finite(values, what=what)
        assert index is not None, "rows are sampled by their positions"
        self._waiting.append(values)
        self._num_waiting += len(values)
        if self._num_waiting >= _BLOCK_ROWS:
            self._flush()
        if spatial is not None:
            self.spatial.update(spatial)
        kept = row_priorities(index, self.seed) <= np.uint64(self.highest_kept)
        if kept.any():
            self._kept.append(Rows(values[kept], index[kept], None if logits is None else logits[kept]))

    def _flush(self) -> None:
        if self._waiting:
            self.statistics.update(np.concatenate(self._waiting))
        self._waiting, self._num_waiting = [], 0

    def result(self, number: int, content_hash: str, skipped: tuple[SkippedImage, ...], dimension: int) -> Leaf:
        self._flush()
        return Leaf(
            number,
            content_hash,
            skipped,
            Moments.of(self.statistics),
            Moments.of(self.spatial),
            joined_rows(self._kept, dimension),
        )


def run_leaf(
    job: Job,
    number: int,
    source: ImageSource | TextSource,
    extractor: FeatureExtractor,
    *,
    cache: FeatureCache | None = None,
    strict: bool = False,
    stage: str = "images",
    progress: ProgressCallback | None = None,
) -> tuple[Leaf, Extraction]:
    """Compute one leaf; also how its images were read: see `unread`. Raises as `extract` does."""
    collector = LeafCollector(job.highest_kept, job.seed)
    run = extract(
        extractor,
        source,
        collector,
        positions=job.positions(number),
        cache=cache,
        strict=strict,
        stage=stage,
        progress=progress,
    )
    return collector.result(number, run.content_hash, run.skipped, extractor.summary.dimension), run


@dataclass(frozen=True)
class Unread:
    """A leaf with images that could not be read just now. It is not kept: they would be lost for good."""

    leaf: int
    num_images: int
    example: SkippedImage | None = None


def unread(number: int, run: Extraction) -> Unread | None:
    """None where a leaf may be kept."""
    if not run.transient:
        return None
    # Which of the skipped ones they are, an extraction does not say, unless they are all.
    return Unread(number, run.transient, run.skipped[0] if run.transient == len(run.skipped) else None)


def unread_error(job: Job, found: Sequence[Unread], kept: str) -> UnreadableInput:
    """What is said at the end of a pass that left leaves out. ``kept`` says what is not lost."""
    what = f"{job.extractor.modality}s"
    leaves = ", ".join(f"{entry.leaf} ({entry.num_images:,})" for entry in found[:10])
    example = next((entry.example for entry in found if entry.example), None)
    instance = f", for instance {example.name}: {example.reason}" if example else ""
    return UnreadableInput(
        f"{job.source}: {sum(entry.num_images for entry in found):,} {what} could not be read just now{instance}. They "
        f"are of {len(found):,} of {job.num_leaves:,} leaves: {leaves}{' …' if len(found) > 10 else ''}. {kept} What "
        "stays unreadable: put an empty file in its place, and it is skipped and listed."
    )


class MomentTree:
    """Moments of leaves, merged in a fixed binary tree: the same bits in whatever order and grouping they arrive."""

    def __init__(self) -> None:
        self._nodes: dict[_Node, StatisticsAccumulator] = {}

    def add(self, moments: Moments | StatisticsAccumulator | None, node: _Node) -> None:
        """Put in a leaf, or what several of them were merged to. None stands for one without a usable image."""
        state = moments.accumulator() if isinstance(moments, Moments) else moments or StatisticsAccumulator()
        level, number = node
        while (level, number ^ 1) in self._nodes:
            sibling = self._nodes.pop((level, number ^ 1))
            first, second = (sibling, state) if number & 1 else (state, sibling)
            first.merge(second)
            state, level, number = first, level + 1, number >> 1
        self._nodes[level, number] = state

    def merge(self, other: MomentTree) -> None:
        """Take in the nodes of another tree, which are left without meaning."""
        for node, state in other._nodes.items():
            self.add(state, node)

    def nodes(self) -> Iterator[tuple[_Node, Moments | None]]:
        """What is left, in order: at most two nodes a level."""
        for node in self._in_order():
            yield node, Moments.of(self._nodes[node])

    def result(self) -> StatisticsAccumulator:
        """All of it as one."""
        whole = StatisticsAccumulator()
        for node in self._in_order():
            whole.merge(self._nodes[node])
        moments = Moments.of(whole)  # one triangle for both: where rounding differs, the upper one holds
        return whole if moments is None else moments.accumulator()

    def __getstate__(self) -> list[tuple[_Node, Moments | None]]:
        return list(self.nodes())  # half of each moment says all

    def __setstate__(self, nodes: list[tuple[_Node, Moments | None]]) -> None:
        self.__init__()  # type: ignore[misc]
        for node, moments in nodes:
            self.add(moments, node)

    def _in_order(self) -> list[_Node]:
        return sorted(self._nodes, key=lambda node: node[1] << node[0])


def reference_of(
    job: Job,
    moments: MomentTree,
    spatial: MomentTree,
    rows: Iterable[Rows],
    skipped: Iterable[SkippedImage],
    *notes: str,
) -> Reference:
    """All leaves of a side as a `Reference`. ``notes`` say how they were computed, for a report.

    It has no content hash: that of one process is over the digests of all images in order, which nobody has in one
    place, and another one would say that the images are others.
    """
    found, whole = _sample(list(rows), job), moments.result()
    lost = tuple(skipped)
    if whole.num_images == 0:
        first = f" The first: {lost[0].name}: {lost[0].reason}." if lost else ""
        raise EmptySide(f"{job.source}: none of {job.num_entries:,} entries could be used.{first}")
    if whole.num_images == 1:
        raise TooFewImages(f"{job.source} has one image that can be used. Mean and covariance need at least 2.")
    told = [*notes]
    if len(found.index) < whole.num_images:
        told.append(
            f"KID and the metrics that look at neighbours see a uniform sample of {len(found.index):,} of its "
            f"{whole.num_images:,} images (smallest hashes of position and seed {job.seed}); mean and covariance are "
            "those of all."
        )
    other = spatial.result()
    return Reference(
        features=Features(
            values=found.values,
            index=found.index,
            num_images=whole.num_images,
            logits=found.logits,
            all_statistics=whole.result(),
            spatial=other.result() if other.num_images > 1 else None,
        ),
        extractor=job.extractor,
        summary=SideSummary(
            num_images=whole.num_images,
            source=job.source,
            content_hash="",
            skipped=lost,
            notes=tuple(told),
        ),
        settings=dict(job.settings),
    )


def joined_rows(parts: Iterable[Rows], dimension: int) -> Rows:
    """Rows one after another; none of ``dimension`` features where there are none."""
    parts = [part for part in parts if len(part.index)]
    if not parts:
        return Rows(np.empty((0, dimension), np.float32), np.empty(0, np.int64))
    logits = [part.logits for part in parts if part.logits is not None]
    return Rows(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.index for part in parts]),
        np.concatenate(logits) if logits else None,
    )


def _sample(parts: Sequence[Rows], job: Job) -> Rows:
    """The ``max_kept`` rows of smallest hash, by position. Copied once: they may be half a gigabyte."""
    parts = [part for part in parts if len(part.index)]
    if not parts:
        return joined_rows((), job.extractor.dimension)
    index = np.concatenate([part.index for part in parts])
    kept = np.arange(len(index))
    if len(index) > job.max_kept:
        kept = np.argpartition(row_priorities(index, job.seed), job.max_kept)[: job.max_kept]
    kept = kept[np.argsort(index[kept])]
    place = np.full(len(index), -1)  # of each row in the result; −1: not there
    place[kept] = np.arange(len(kept))
    values = np.empty((len(kept), parts[0].values.shape[1]), parts[0].values.dtype)
    first_logits = parts[0].logits
    logits = None if first_logits is None else np.empty((len(kept), first_logits.shape[1]), first_logits.dtype)
    start = 0
    for part in parts:
        own = place[start : start + len(part.index)]
        start += len(part.index)
        values[own[own >= 0]] = part.values[own >= 0]
        if logits is not None and part.logits is not None:
            logits[own[own >= 0]] = part.logits[own >= 0]
    return Rows(values, index[kept], logits)


def default_leaf_size(num_entries: int, dimension: int) -> int:
    """Entries of a leaf: twice as many as there are features, so that its state is no larger than half of the rows.

    Small sides are cut into `MIN_LEAVES` nevertheless, and none into more than `MAX_LEAVES`. A multiple of a chunk.
    """
    wanted = max(min(2 * dimension, num_entries // MIN_LEAVES), num_entries / MAX_LEAVES, 1)
    return CHUNK * math.ceil(wanted / CHUNK)


def _hash_of_entries(source: ImageSource | TextSource) -> str:
    digest, count = hashlib.sha256(), len(source)
    for name in _names(source):
        digest.update(name.encode("utf-8", "surrogatepass") + b"\0")
    for probe in sorted({probe * (count - 1) // max(1, _PROBES - 1) for probe in range(_PROBES)}):
        digest.update(source.digest(probe).encode())
    return digest.hexdigest()


def _names(source: ImageSource | TextSource) -> Iterator[str]:
    """What tells the entries of two sides apart. Names that only count are not written out: there may be a billion."""
    if isinstance(source, GeneratorSource):
        yield f"{len(source)} samples"  # which ones, the digests say: a generator lies elsewhere on other machines
        return
    if not isinstance(source, JoinedSource):
        yield from (source.entry_name(position) for position in range(len(source)))
        return
    for file, names in source.listing():
        yield f"{file}, {len(names)} entries"
        if not isinstance(names, RowNames):
            yield from names
