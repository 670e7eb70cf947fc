"""A part on disk, and its leaves while they are computed: ``.npz`` without pickles, written whole or not at all.

``header`` is JSON as bytes (schema ``genmetrics.shard/1``): the job, which leaves, their content hashes, what was
skipped. Then, for each node of the tree of moments, ``mean_i``, ``moment_i`` (upper triangle), and ``spatial_mean_i``,
``spatial_moment_i`` where the protocol collects spatial features; and the kept rows: ``values``, ``index``, ``logits``.
A file of one leaf has the same form, with one node.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.errors import InputError, UnreadableInput
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.scale.leaves import Job, Leaf, Moments, MomentTree, Rows

SCHEMA = "genmetrics.shard/1"


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


def write_part(path: Path, header: PartHeader, moments: MomentTree, spatial: MomentTree, rows: Sequence[Rows]) -> None:
    """Raises `InputError` where it cannot be written."""
    _write(path, header, moments.nodes(), spatial.nodes(), rows)


def read_header(path: Path) -> PartHeader:
    """Raises `UnreadableInput` with what is wrong."""
    with _opened(path) as stored:
        return _header(path, stored)


def read_part(path: Path, moments: MomentTree, spatial: MomentTree) -> tuple[PartHeader, Rows]:
    """The header and the kept rows of a part; its moments go into the two trees, one after another."""
    with _opened(path) as stored:
        record = _record(path, stored)
        for prefix, tree in (("", moments), ("spatial_", spatial)):
            for place, (level, number, num_images) in enumerate(record[f"{prefix}nodes"]):
                state = None
                if num_images:
                    mean, triangle = (stored[f"{prefix}{what}_{place}"] for what in ("mean", "moment"))
                    state = Moments(num_images, mean, triangle)
                tree.add(state, (level, number))
        logits = stored["logits"] if "logits" in stored.files else None
        return _header(path, stored), Rows(stored["values"], stored["index"], logits)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            yield stored
    except FileNotFoundError as error:
        raise UnreadableInput(
            f"{path} does not exist. Make it with genmetrics shard SIDE --index … -o {path}"
        ) from error
    except InputError:
        raise
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UnreadableInput(
            f"{path} is no readable part ({error}). Delete it and make it again: genmetrics shard SIDE --index … "
            f"-o {path}"
        ) from error


def _record(path: Path, stored: Any) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(bytes(stored["header"]))
    if record.get("schema") != SCHEMA:
        raise UnreadableInput(
            f"{path} is no part of a side: its schema is {record.get('schema')!r}, not {SCHEMA!r}. Parts are made by "
            "genmetrics shard."
        )
    return record


def _header(path: Path, stored: Any) -> PartHeader:
    record = _record(path, stored)
    return PartHeader(
        job=Job.from_record(record["job"]),
        index=int(record["index"]),
        of=int(record["of"]),
        first=int(record["first"]),
        stop=int(record["stop"]),
        content=tuple(record["content"]),
        skipped=tuple(SkippedImage(**entry) for entry in record["skipped"]),
        num_images=int(record["num_images"]),
    )


def _write(
    path: Path, header: PartHeader, moments: Iterable[Any], spatial: Iterable[Any], rows: Sequence[Rows]
) -> None:
    """Member by member into a temporary file, so that memory holds one node at a time; then renamed."""
    record: dict[str, Any] = {"schema": SCHEMA, **asdict(header)}
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
