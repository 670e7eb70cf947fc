"""One part of a large side, computed by itself; and all parts joined into a `Reference`."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import FeatureMismatch, InputError, MissingInput, UnreadableInput
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.features import MAX_KEPT
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.preparation import Preparation
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.reference import Reference, require_npz
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.scale.leaves import (
    Job,
    MomentTree,
    Rows,
    Unread,
    reference_of,
    run_leaf,
    unread,
    unread_error,
)
from genmetrics_rt.scale.part_files import (
    PartHeader,
    leaves_of_part,
    read_header,
    read_part,
    write_leaf,
    write_part,
)
from genmetrics_rt.sides import FeatureRows, open_side
from genmetrics_rt.sources import ImageSource
from genmetrics_rt.texts import TextSource


@dataclass(frozen=True)
class Shard:
    """One finished part."""

    path: Path
    index: int
    of: int
    num_images: int  # in this part
    num_entries: int  # of the whole side
    extractor: str
    modality: str
    skipped: tuple[SkippedImage, ...]
    resumed: int  # leaves that an earlier run had finished
    computed: int  # images that went through the network now
    notes: tuple[str, ...] = ()  # of the feature cache


def make_shard(
    side: Any,
    path: str | os.PathLike[str],
    *,
    index: int,
    of: int,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    num_images: int | None = None,
    seed: int = 0,
    max_kept: int = MAX_KEPT,
    leaf_size: int | None = None,
    cache: bool = False,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Shard:
    """Compute one of ``of`` parts of a side, wherever there is room for it, and write it to ``path``.

    Call it again after it was killed: finished leaves lie beside the file, in ``<path>.leaves``, and are not computed
    again. A part that is finished is left as it is. A leaf with images that could not be read just now (a store that
    does not answer) is not kept: the others are computed, then an error says so.

    Parameters
    ----------
    side
        Images or texts as in `evaluate`; a generator with ``num_images``.
    index, of
        Which part, from 0 to ``of`` − 1. It takes a run of consecutive leaves.
    max_kept
        Rows of the whole side, not of a part, that are kept for the metrics that look at neighbours.
    leaf_size
        Entries of a leaf, the same for all parts; None is `default_leaf_size`.
    cache
        Store the features of every image too, which is not needed to go on later: 12 kB an image for Inception.

    The others are those of `make_reference`.

    Raises
    ------
    InputError
        Besides the reasons of `make_reference`: an ``index`` that does not exist, more parts than leaves, or a file or
        leaves under this name that belong to another job, with what differs.
    UnreadableInput
        Images that could not be read just now; with ``strict`` also one that can never be used.
    """
    path = Path(path)
    require_npz(path)
    _require_index(index, of)
    preparation = Preparation(
        extractor, protocol, tap, device, backend, precision, num_images, seed, cache, strict, batch_size, threads,
        progress,
    )  # fmt: skip
    source = open_source(side, preparation)
    network = preparation.open_extractor()
    job = Job.of(
        source, network, preparation.overrides(), seed=seed, max_kept=_at_least_one(max_kept, "max_kept"),
        leaf_size=None if leaf_size is None else _at_least_one(leaf_size, "leaf_size"),
    )  # fmt: skip
    if of > job.num_leaves:
        leaves = "which is one leaf" if job.num_leaves == 1 else f"which are {job.num_leaves:,} leaves"
        raise InputError(
            f"{source.name} has {len(source):,} entries, {leaves} of {job.leaf_size:,}; it "
            f"cannot be cut into {of:,} parts. Use --of {job.num_leaves} at most."
        )
    part = _Part(path, job, index, of, strict, source.skipped)
    if path.exists():
        return part.finished(resumed=len(part.leaves), computed=0)
    told = _Told(progress, f"part {index} of {of}", total=sum(len(job.positions(number)) for number in part.leaves))
    try:
        resumed, computed = _run_leaves(part, source, network, preparation, told)
        if not path.exists():
            part.join()
    except InputError:
        if not path.exists():
            raise
        resumed, computed = len(part.leaves), 0  # another process finished it meanwhile, and took the leaves away
    return replace(part.finished(resumed=resumed, computed=computed), notes=tuple(preparation.store.notes))


def merge_shards(paths: Sequence[str | os.PathLike[str]]) -> Reference:
    """All parts of a side as one `Reference`, the same to the last bit in however many parts it was computed.

    Mean and covariance are those of all images; rows are a uniform sample of at most ``max_kept``, whose size stands
    in the notes. Memory holds a few states of D(D + 1)/2 moments and the sample, whatever the number of images.

    Raises
    ------
    UnreadableInput
        A file that is no part, or damaged.
    FeatureMismatch
        Parts of unlike sides, extractors or protocols, with what differs.
    InputError
        A part that is there twice, or parts that are missing, by their numbers.
    """
    if not paths:
        raise InputError("There is nothing to merge. Give the files that genmetrics shard wrote.")
    files: dict[Path, PartHeader] = {}
    places = set[Path]()
    for path in map(Path, paths):
        if path.resolve() in places:
            raise InputError(f"{path} is named twice, and its images would count twice. Name each part once.")
        places.add(path.resolve())
        files[path] = read_header(path)
    first_path, first = next(iter(files.items()))
    by_index: dict[int, Path] = {}
    for path, header in files.items():
        differences = first.job.differences(header.job)
        if differences:
            raise FeatureMismatch(
                f"{first_path} and {path} are no parts of one side: {', '.join(differences)} differ. Merge parts of "
                "one side that were made with the same options."
            )
        if header.of != first.of:
            raise InputError(
                f"{first_path} is one of {first.of} parts and {path} one of {header.of}: some images would count twice "
                "and others not at all. Merge parts of one --of."
            )
        leaves = leaves_of_part(header.job.num_leaves, header.index, header.of)
        if header.leaves != leaves:
            raise InputError(
                f"{path} holds {len(header.leaves):,} of the {len(leaves):,} leaves of {header.name}: it is one "
                "of those that a part is made of. Name the file that genmetrics shard was given with -o."
            )
        if header.index in by_index:
            raise InputError(
                f"{by_index[header.index]} and {path} are both {header.name}: its images would count twice. Leave one "
                "out."
            )
        by_index[header.index] = path
    missing = list(itertools.islice((index for index in range(first.of) if index not in by_index), 20))
    if missing:
        count = first.of - len(by_index)
        named = ", ".join(map(str, missing)) + (" …" if count > len(missing) else "")
        raise MissingInput(
            f"Of {first.of} parts {count} {'is' if count == 1 else 'are'} missing: {named}. Make "
            f"{'it' if count == 1 else 'them'} with genmetrics shard {first.job.source} --index {missing[0]} "
            f"--of {first.of} -o FILE, or the scores would be those of other images than you think."
        )
    moments, spatial = MomentTree(), MomentTree()
    headers, rows = [], list[Rows]()
    for index in range(first.of):
        header, own = read_part(by_index[index], moments, spatial)
        headers.append(header)
        rows.append(own)
    return reference_of(
        first.job,
        moments,
        spatial,
        rows,
        [entry for header in headers for entry in header.skipped],
        f"Merged from {first.of} parts of together {first.job.num_leaves:,} leaves.",
    )


def open_source(side: Any, preparation: Preparation, *, sample_seed: int | None = None) -> ImageSource | TextSource:
    """A side that can be cut into leaves, with its extractor chosen. Raises `InputError` for the others.

    ``sample_seed`` is that of a generator; None is the seed of the preparation.
    """
    opened = open_side(side)
    if isinstance(opened, Reference | FeatureRows):
        raise InputError(
            f"{opened.summary.source if isinstance(opened, Reference) else opened.name} consists of features already; "
            "there is nothing to cut. Give images, texts or a generator."
        )
    preparation.choose_extractor(opened)
    if isinstance(opened, Generator):
        if preparation.num_images is None:
            raise InputError(f"{opened.name} makes as many images as one asks for. Say how many: --num-images 1000000.")
        return GeneratorSource(
            opened, preparation.num_images, seed=preparation.seed if sample_seed is None else sample_seed,
            device=preparation.device, backend=preparation.backend, threads=preparation.threads,
        )  # fmt: skip
    if preparation.num_images is not None:
        raise InputError(
            f"--num-images says how many a generator makes, and {opened.name} is stored. Leave it out: parts take all."
        )
    return opened


@dataclass(frozen=True)
class _Part:
    """The part that is asked for, its file and the folder of its leaves."""

    path: Path
    job: Job
    index: int
    of: int
    strict: bool
    beside: tuple[SkippedImage, ...]  # what lay beside the entries; listed with the first part

    @property
    def leaves(self) -> range:
        return leaves_of_part(self.job.num_leaves, self.index, self.of)

    @property
    def folder(self) -> Path:
        return self.path.with_name(self.path.name + ".leaves")

    def file_of(self, number: int) -> Path:
        return self.folder / f"{number:06}.npz"

    def require_same(self, path: Path, leaves: range) -> PartHeader:
        """The header of what lies at ``path``. Raises `FeatureMismatch` where it is not what this run would write."""
        found = read_header(path)
        differences = found.job.differences(self.job)
        if (found.index, found.of) != (self.index, self.of):
            differences.append(f"the part ({found.index} of {found.of} and {self.index} of {self.of})")
        elif found.leaves != leaves:
            differences.append("the leaves in it")
        if differences:
            raise FeatureMismatch(
                f"{path} is there already, from another job: {', '.join(differences)} differ. Delete it, or name "
                "another file with -o."
            )
        if self.strict and (found.skipped or self.beside):
            first = (*self.beside, *found.skipped)[0]
            raise UnreadableInput(
                f"{path} was made without strict: {first.name} cannot be used: {first.reason}. With strict every file "
                "must be usable; without it, this one is skipped and listed."
            )
        return found

    def finished(self, *, resumed: int, computed: int) -> Shard:
        """The file that is there, and nothing else of it."""
        header = self.require_same(self.path, self.leaves)
        for pattern in ("[0-9]*.npz", ".*.part"):  # the second of runs that were killed while they wrote
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: it holds what is not ours
            self.folder.rmdir()
        return Shard(
            path=self.path,
            index=self.index,
            of=self.of,
            num_images=header.num_images,
            num_entries=self.job.num_entries,
            extractor=self.job.extractor.name,
            modality=self.job.extractor.modality,
            skipped=header.skipped,
            resumed=resumed,
            computed=computed,
        )

    def join(self) -> None:
        """Write the part from the files of its leaves; memory holds the rows and a few states."""
        moments, spatial = MomentTree(), MomentTree()
        headers, rows = [], list[Rows]()
        for number in self.leaves:
            header, own = read_part(self.file_of(number), moments, spatial)
            headers.append(header)
            rows.append(own)
        whole = replace(
            headers[0],
            stop=headers[-1].stop,
            content=tuple(content for header in headers for content in header.content),
            skipped=(
                *(self.beside if self.index == 0 else ()),
                *(entry for header in headers for entry in header.skipped),
            ),
            num_images=sum(header.num_images for header in headers),
        )
        write_part(self.path, whole, moments, spatial, rows, within=self.folder)


def _run_leaves(
    part: _Part, source: ImageSource | TextSource, network: FeatureExtractor, preparation: Preparation, told: _Told
) -> tuple[int, int]:
    """Compute the leaves that are not there yet. How many were, and how many images went through the network."""
    job, found = part.job, list[Unread]()
    resumed = computed = 0
    for number in part.leaves:
        file, images = part.file_of(number), len(job.positions(number))
        if part.path.exists():  # another process was faster
            return resumed, computed
        if file.exists():
            part.require_same(file, range(number, number + 1))
            resumed += 1
        else:
            leaf, run = run_leaf(
                job, number, source, network, cache=preparation.store, strict=part.strict, stage="part",
                progress=told.of_leaf(),
            )  # fmt: skip
            computed += run.computed
            missing = unread(number, run)
            if missing is None:
                write_leaf(file, job, leaf, part.index, part.of)
            else:
                found.append(missing)
                if missing.num_images == images:
                    break  # nothing can be read at all
        told.before += images
    if found:
        raise unread_error(job, found, "The others are kept: the same command goes on from there.")
    return resumed, computed


@dataclass
class _Told:
    """The progress of leaves, told as that of the part."""

    progress: ProgressCallback | None
    stage: str
    total: int
    before: int = 0  # images of the leaves that are done

    def of_leaf(self) -> ProgressCallback | None:
        progress = self.progress
        if progress is None:
            return None

        def tell(state: Progress) -> None:
            rate, done = state.images_per_second, self.before + state.done
            left = (self.total - done) / rate if rate else None
            progress(replace(state, stage=self.stage, done=done, total=self.total, seconds_left=left))

        return tell


def _require_index(index: int, of: int) -> None:
    if of < 1:
        raise InputError(f"--of is {of}; a side has at least one part.")
    if not 0 <= index < of:
        raise InputError(f"--index is {index}, and of {of} parts there are the numbers 0 to {of - 1}.")


def _at_least_one(value: int, what: str) -> int:
    if value < 1:
        raise InputError(f"{what} is {value}; it must be at least 1.")
    return value
