"""A part on disk, and its leaves while they are computed: ``.npz`` without pickles, written whole or not at all.

``header`` is JSON as bytes (schema ``genmetrics.shard/1``): the job, which leaves, their content hashes, what was
skipped. Then, for each node of the tree of moments, ``mean_i``, ``moment_i`` (upper triangle), and ``spatial_mean_i``,
``spatial_moment_i`` where the protocol collects spatial features; and the kept rows: ``values``, ``index``, ``logits``.
A file of one leaf has the same form, with one node.

Parts come from other machines, so nothing in them is trusted: what a member must be follows from the header, and its
size is compared before memory is taken for it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.errors import InputError, UnreadableInput
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.scale.leaves import Job, Leaf, Moments, MomentTree, Rows

SCHEMA = "genmetrics.shard/1"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class PartHeader:
    """What a part says of itself. ``leaves`` are the numbers from ``first`` to before ``stop``."""

    job: Job
    index: int  # of this part
    of: int
    first: int
    stop: int
    content: tuple[str, ...]  # the content hash of each leaf
    skipped: tuple[SkippedImage, ...]
    num_images: int

    @property
    def name(self) -> str:
        return f"part {self.index} of {self.of}"

    @property
    def leaves(self) -> range:
        return range(self.first, self.stop)

    @property
    def positions(self) -> range:
        """The entries of the side that are in it."""
        return range(self.job.positions(self.first).start, self.job.positions(self.stop - 1).stop)


def leaves_of_part(num_leaves: int, index: int, of: int) -> range:
    """The leaves of a part: consecutive ones, as evenly as it goes."""
    return range(index * num_leaves // of, (index + 1) * num_leaves // of)


def write_leaf(path: Path, job: Job, leaf: Leaf, index: int, of: int) -> None:
    """Raises `InputError` where it cannot be written."""
    header = PartHeader(
        job, index, of, leaf.number, leaf.number + 1, (leaf.content_hash,), leaf.skipped,
        0 if leaf.moments is None else leaf.moments.num_images,
    )  # fmt: skip
    _write(path, header, [((0, leaf.number), leaf.moments)], [((0, leaf.number), leaf.spatial)], [leaf.rows])


def write_part(
    path: Path, header: PartHeader, moments: MomentTree, spatial: MomentTree, rows: Sequence[Rows], *, within: Path
) -> None:
    """Raises `InputError` where it cannot be written. It is renamed from ``within``, which a later run clears."""
    _write(path, header, moments.nodes(), spatial.nodes(), rows, within=within)


def read_header(path: Path) -> PartHeader:
    """Raises `UnreadableInput` with what is wrong."""
    with _opened(path) as stored:
        return _header(_record(path, stored))


def read_part(path: Path, moments: MomentTree, spatial: MomentTree) -> tuple[PartHeader, Rows]:
    """The header and the kept rows of a part; its moments go into the two trees, one after another.

    Raises `UnreadableInput` where anything is not what the header says, or the header is not what can be.
    """
    with _opened(path) as stored:
        record = _record(path, stored)
        header = _header(record)
        counts = [count for _, count in _nodes(record["nodes"], header)]
        spatial_counts = [count for _, count in _nodes(record["spatial_nodes"], header)]
        _require(sum(counts) == header.num_images, "its moments are not those of its images")
        _require(spatial_counts == counts or not any(spatial_counts), "its spatial moments are not those of its images")
        for prefix, tree in (("", moments), ("spatial_", spatial)):
            size = None if prefix else header.job.extractor.dimension
            for place, (node, num_images) in enumerate(_nodes(record[f"{prefix}nodes"], header)):
                state = None
                if num_images:
                    mean = _array(stored, f"{prefix}mean_{place}", np.float64, size)
                    size = len(mean)
                    triangle = _array(stored, f"{prefix}moment_{place}", np.float64, size * (size + 1) // 2)
                    _require(_is_finite(mean) and _is_finite(triangle), "NaN or infinity is among its moments")
                    state = Moments(num_images, mean, triangle)
                tree.add(state, node)
        return header, _rows(stored, header)


def _rows(stored: zipfile.ZipFile, header: PartHeader) -> Rows:
    positions = header.positions
    index = _array(stored, "index", np.int64, None)
    all_kept = header.job.max_kept >= header.job.num_entries
    _require(len(index) == header.num_images if all_kept else len(index) <= header.num_images, "rows are missing")
    if len(index):
        inside = positions.start <= index[0] and index[-1] < positions.stop
        _require(inside and bool((np.diff(index) > 0).all()), "its rows are not those of its images")
    values = _array(stored, "values", np.floating, len(index), header.job.extractor.dimension)
    _require(_is_finite(values), "NaN or infinity is among its rows")
    logits = _array(stored, "logits", np.floating, len(index), None) if "logits.npy" in stored.namelist() else None
    return Rows(values, index, logits)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as stored:
            yield stored
    except FileNotFoundError as error:
        raise UnreadableInput(
            f"{path} does not exist. Make it with genmetrics shard SIDE --index … -o {path}"
        ) from error
    except InputError:
        raise
    except Exception as error:  # of damaged bytes zipfile, json and numpy raise a dozen unrelated types
        raise UnreadableInput(
            f"{path} is no readable part ({error}). Delete it and make it again: genmetrics shard SIDE --index … "
            f"-o {path}"
        ) from error


def _record(path: Path, stored: zipfile.ZipFile) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(bytes(_array(stored, "header", np.uint8, None)))
    if record.get("schema") != SCHEMA:
        raise UnreadableInput(
            f"{path} is no part of a side: its schema is {record.get('schema')!r}, not {SCHEMA!r}. Parts are made by "
            "genmetrics shard."
        )
    return record


def _header(record: Mapping[str, Any]) -> PartHeader:
    job = Job.from_record(record["job"])
    for value in (job.num_entries, job.leaf_size, job.max_kept, job.extractor.dimension):
        _require(type(value) is int and value >= 1, "a size in its job is no whole number of at least 1")
    _require(type(job.seed) is int and isinstance(job.settings, dict), "its job is damaged")
    index, of, first, stop, num_images = (record[what] for what in ("index", "of", "first", "stop", "num_images"))
    _require(all(type(value) is int for value in (index, of, first, stop, num_images)), "a count is no whole number")
    _require(0 <= index < of <= job.num_leaves, f"there is no part {index} of {of}")
    leaves = leaves_of_part(job.num_leaves, index, of)
    _require(leaves.start <= first < stop <= leaves.stop, f"it holds the leaves {first} to {stop - 1}, of another part")
    header = PartHeader(
        job, index, of, first, stop,
        content=tuple(record["content"]),
        skipped=tuple(SkippedImage(**entry) for entry in record["skipped"]),
        num_images=num_images,
    )  # fmt: skip
    entries = len(header.positions)
    _require(len(header.content) == stop - first, "the content of a leaf is missing")
    _require(0 <= num_images <= entries <= num_images + len(header.skipped), "images are missing, or too many")
    return header


def _nodes(record: Iterable[Any], header: PartHeader) -> list[tuple[tuple[int, int], int]]:
    """The nodes of a tree with their numbers of images: together they are the leaves of the part."""
    nodes, leaf = [], header.first
    for level, number, count in record:
        _require(all(type(value) is int and value >= 0 for value in (level, number, count)), "a node is no numbers")
        _require(level < 64 and number << level == leaf, "the moments of a leaf are missing, or there twice")
        leaf = (number + 1) << level
        nodes.append(((level, number), count))
    _require(leaf == header.stop, "the moments of a leaf are missing, or there twice")
    return nodes


def _array(stored: zipfile.ZipFile, name: str, kind: type[np.generic], *shape: int | None) -> NDArray[Any]:
    """A member, of the type and shape that it must have; an axis of None may be of any length."""
    member = stored.getinfo(f"{name}.npy")
    plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
    _require(plain, f"{name} is compressed or encrypted, which no part is")
    assert stored.fp is not None
    _require(member.file_size <= os.fstat(stored.fp.fileno()).st_size, f"{name} is larger than the file")
    with stored.open(member) as file:
        _require(np.lib.format.read_magic(file) == (1, 0), f"{name} is of another version")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        _require(
            np.issubdtype(dtype, kind) and dtype.isnative and not fortran, f"{name} is {dtype}, not {kind.__name__}"
        )
        fits = len(found) == len(shape) and all(want in (None, axis) for want, axis in zip(shape, found, strict=True))
        _require(fits and min(found) >= 0, f"{name} has the shape {found}")
        _require(file.tell() + math.prod(found) * dtype.itemsize == member.file_size, f"{name} is cut off")
        array = np.empty(found, dtype)
        content, place = array.reshape(-1).view(np.uint8), 0
        while chunk := file.read(_CHUNK_BYTES):  # in one read there would be two copies for a moment
            content[place : place + len(chunk)] = np.frombuffer(chunk, np.uint8)
            place += len(chunk)
        return array


def _is_finite(array: NDArray[Any]) -> bool:
    return array.size == 0 or bool(np.isfinite(array.min()) and np.isfinite(array.max()))  # NaN comes through both


def _require(holds: bool, why: str) -> None:
    """`_opened` says which file it is, and what to do."""
    if not holds:
        raise ValueError(why)


def _write(
    path: Path,
    header: PartHeader,
    moments: Iterable[Any],
    spatial: Iterable[Any],
    rows: Sequence[Rows],
    *,
    within: Path | None = None,
) -> None:
    """Member by member into a temporary file, so that memory holds one node at a time; then renamed."""
    record: dict[str, Any] = {"schema": SCHEMA, **asdict(header)}
    within = within or path.parent
    temporary = within / f".{secrets.token_hex(8)}.part"
    try:
        within.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for prefix, nodes in (("", moments), ("spatial_", spatial)):
                    record[f"{prefix}nodes"] = []
                    for place, ((level, number), state) in enumerate(nodes):
                        count = 0 if state is None else state.num_images
                        record[f"{prefix}nodes"].append([level, number, count])
                        if state is not None:
                            _member(archive, f"{prefix}mean_{place}", [state.mean])
                            _member(archive, f"{prefix}moment_{place}", [state.triangle])
                kept = [part for part in rows if len(part.index)] or list(rows[:1])
                _member(archive, "values", [part.values for part in kept])
                _member(archive, "index", [part.index for part in kept])
                logits = [part.logits for part in kept if part.logits is not None]
                if logits:
                    _member(archive, "logits", logits)
                text = json.dumps(record, ensure_ascii=True).encode()
                _member(archive, "header", [np.frombuffer(text, dtype=np.uint8)])
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}. Name another file with -o.") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _member(archive: zipfile.ZipFile, name: str, arrays: Sequence[NDArray[Any]]) -> None:
    """One array, of pieces along its first axis that are never put together in memory."""
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(arrays[0].dtype), "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for array in arrays:
            member.write(np.ascontiguousarray(array, arrays[0].dtype).data)
