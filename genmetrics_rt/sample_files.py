"""Samples of a generator as files: PNG in a folder or zip, or one array in an ``.npz``. Whole, or not at all."""

from __future__ import annotations

import functools
import io
import os
import re
import secrets
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.errors import InputError
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.sources import RawImage

_NOT_PLAIN = re.compile(r"[^\w.+-]+")
_SHOWN_EVERY = 0.1  # seconds between two calls of the progress


def write_samples(
    source: GeneratorSource, output: str | os.PathLike[str], *, progress: ProgressCallback | None = None
) -> Path:
    """Write every sample of a source: a folder, or a ``.zip`` or ``.npz`` by the ending of ``output``.

    Pictures are PNG, so no value changes; their names are numbers, in whose order a folder is read. The samples of a
    class-conditional generator lie in one folder for each class. An ``.npz`` holds ``images`` uint8 (N, H, W, 3), and
    ``labels`` (N,) where there are classes.

    It is written under a temporary name beside the place and renamed, so that a run that is interrupted leaves
    nothing behind.

    Raises
    ------
    InputError
        Something is there already, or nothing can be written there.
    """
    place = Path(output).expanduser()
    if str(output) == "":
        raise InputError("-o names an empty path: is a shell variable unset? Name a folder, or a .zip or .npz file.")
    ending = place.suffix.lower()
    _require_free(place, is_folder=ending not in (".zip", ".npz"))
    temporary = place.absolute().parent / f".{place.name}.{secrets.token_hex(4)}.part"
    try:
        place.absolute().parent.mkdir(parents=True, exist_ok=True)
        images = _read(source, progress)
        if ending == ".npz":
            _write_npz(temporary, source, images)
        elif ending == ".zip":
            _write_zip(temporary, source, images)
        else:
            _write_folder(temporary, source, images)
        _require_free(place, is_folder=ending not in (".zip", ".npz"))  # made by somebody else meanwhile
        os.replace(temporary, place)
    except OSError as error:
        _remove(temporary)
        raise InputError(f"Cannot write {place}: {error.strerror or error}. Nothing was left there.") from error
    except BaseException:
        _remove(temporary)
        raise
    return place


def file_name(source: GeneratorSource, index: int) -> str:
    """``000017.png``, or ``cat/000017.png``: numbers of one length, so that their order is that of the samples."""
    digits = max(6, len(str(len(source) - 1)))
    label = source.label(index)
    if label is None:
        return f"{index:0{digits}d}.png"
    return f"{_folders(source.generator.class_names)[label]}/{index:0{digits}d}.png"


@functools.lru_cache(maxsize=4)
def _folders(names: tuple[str, ...]) -> tuple[str, ...]:
    """One for each class: its number where its name is no folder name, or where two classes would share it."""
    plain = [_NOT_PLAIN.sub("_", name).strip(".")[:80] for name in names]
    shared = Counter(name.casefold() for name in plain)  # as some file systems compare them
    return tuple(name if name and shared[name.casefold()] == 1 else f"{label:04d}" for label, name in enumerate(plain))


def _require_free(place: Path, *, is_folder: bool) -> None:
    if not os.path.lexists(place):
        return
    if is_folder and place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
        return  # an empty folder may be filled
    raise InputError(f"{place} exists already, and nothing is overwritten. Name another place with -o, or remove it.")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _read(source: GeneratorSource, progress: ProgressCallback | None) -> Iterator[tuple[int, ImageArray]]:
    start, shown, total = time.perf_counter(), 0.0, len(source)
    for index in range(total):
        raw: RawImage = source.read(index)
        assert raw.pixels is not None
        yield index, raw.pixels
        now = time.perf_counter()
        if progress is not None and (now - shown > _SHOWN_EVERY or index == total - 1):
            shown, done = now, index + 1
            rate = done / max(now - start, 1e-9)
            progress(Progress("samples", done, total, rate, (total - done) / rate, 0))


def _png(image: ImageArray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _write_folder(root: Path, source: GeneratorSource, images: Iterator[tuple[int, ImageArray]]) -> None:
    root.mkdir()
    for index, image in images:
        path = root / file_name(source, index)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_png(image))


def _write_zip(path: Path, source: GeneratorSource, images: Iterator[tuple[int, ImageArray]]) -> None:
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for index, image in images:
            archive.writestr(zipfile.ZipInfo(file_name(source, index)), _png(image))


def _write_npz(path: Path, source: GeneratorSource, images: Iterator[tuple[int, ImageArray]]) -> None:
    """Image by image: the array is never in memory as a whole."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            for index, image in images:
                if index == 0:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (len(source), *image.shape)}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(image).tobytes())
        if source.generator.num_classes:
            labels = np.array([source.label(index) for index in range(len(source))], dtype=np.int64)
            with archive.open("labels.npy", "w") as file:
                np.lib.format.write_array(file, labels)
