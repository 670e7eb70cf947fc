"""A frozen density, and the log-likelihoods that it gives to images: streamed, with noise that is seeded by image.

A bundle of kind ``density`` takes images uint8 (N, H, W, 3) as they are, and gives ``log_likelihood`` (N,), or with an
input ``noise`` (N, K, L) the ``log_weights`` (N, K) of K importance samples. Its manifest says in ``density`` how many
dimensions the likelihood is of, and the bits to add for the scale that it was modelled on.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, ImageArray
from genmetrics_rt.bundle import Bundle, list_bundles, load_bundle
from genmetrics_rt.decode import decode
from genmetrics_rt.errors import DamagedBundle, EmptySide, GenmetricsError, InputError, UnreadableInput
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.manifest import SCHEMA, Manifest, TensorSpec
from genmetrics_rt.metrics.importance import ImportanceBounds, collect_bounds, image_bounds, require_sizes
from genmetrics_rt.onnx_signature import read_signature
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import ImageSource, Undecodable

QUANTITIES = ("log_probability", "log_density")
DISTRIBUTIONS = ("normal", "uniform")
DEFAULT_WEIGHTS = 64  # importance samples of each image
_BATCH = 64  # images read at a time
_MOST_NOISE = 4_000_000  # numbers in one call of the graph


@dataclass(frozen=True)
class DensityRun:
    """The log-likelihoods of the images that could be read, in order, and the others with their reasons."""

    log_likelihoods: FloatArray  # (N,)
    positions: NDArray[np.int64]  # (N,) in the source
    bounds: ImportanceBounds | None  # where the density takes noise
    skipped: tuple[SkippedImage, ...]
    seconds: float  # in the density alone: without opening it, and without reading images


class Density:
    """A frozen density, opened. Thread-safe.

    Parameters
    ----------
    source
        A bundle of kind ``density``: its name, its folder, or a `Bundle`; or an ``.onnx`` file with the same inputs and
        outputs, of which ``dims`` and ``offset`` must be said.
    dims, offset
        Of an ``.onnx`` file: how many dimensions the likelihood is of, and the bits to add to each (`offset_bits`).
    device, backend, threads
        As in `genmetrics_rt.frozen.open_graph`.

    Raises
    ------
    InputError
        No density, or one whose manifest or graph does not fit the above.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Bundle,
        *,
        dims: int | None = None,
        offset: float = 0.0,
        device: str = "auto",
        backend: str = "onnx",
        threads: int | None = None,
    ) -> None:
        self.bundle = _open(source, dims, offset)
        manifest = self.bundle.manifest
        self.name, self.title = self.bundle.name, manifest.title
        about = _checked(manifest)
        self.dims = int(about["dim"])
        self.levels = int(about.get("levels", 256))
        self.offset = float(about.get("offset_bits", 0.0))
        self.quantity = str(about.get("quantity", "log_probability"))
        self.is_bound = bool(about.get("bound", False))
        self.generator: str | None = about.get("generator")
        noise = about.get("noise")
        self.noise_dim = int(noise["dim"]) if noise else None
        self.noise_distribution = str(noise.get("distribution", "normal")) if noise else None
        self._shape = tuple(axis if isinstance(axis, int) else None for axis in manifest.inputs[0].shape[1:])
        # Images, and samples of each, in every call of a graph that was exported for so many.
        self._fixed_images = _fixed(manifest.inputs[0], 0)
        self._fixed_samples = _fixed(manifest.inputs[1], 1) if noise else None
        self._images = manifest.inputs[0].name
        self._noise = manifest.inputs[1].name if noise else ""
        self._output = manifest.outputs[0].name
        self._graph = open_graph(self.bundle, device=device, backend=backend, threads=threads)
        self.device, self.backend = self._graph.device, backend

    def log_likelihoods(
        self,
        source: ImageSource,
        *,
        positions: Sequence[int] | None = None,
        num_weights: int = DEFAULT_WEIGHTS,
        sizes: Sequence[int] | None = None,
        seed: int = 0,
        batch_size: int = _BATCH,
        strict: bool = False,
        stage: str = "likelihood",
        progress: ProgressCallback | None = None,
    ) -> DensityRun:
        """Run the images of a source through the density.

        The noise of an image comes from ``default_rng([seed, position, 2])``, so that it depends neither on the batch
        nor on which other images there are, nor is it the latent of a sample (`genmetrics_rt.generators`). A graph with
        a fixed batch axis takes batches of that size, whatever ``batch_size`` is.

        Raises
        ------
        EmptySide, UnreadableInput, InputError
            No image can be read (or, with ``strict``, one cannot), images of a size that the density does not take, or
            a graph that fails, or an answer that is no number.
        """
        if type(num_weights) is not int or num_weights < 1:
            raise InputError(f"The number of importance samples is {num_weights!r}; it must be at least 1.")
        chosen = list(range(len(source)) if positions is None else positions)
        widths = require_sizes(sizes, num_weights) if self._noise else ()
        batch_size = self._fixed_images or batch_size
        start, told, seconds = time.perf_counter(), 0.0, 0.0
        values: list[FloatArray] = []
        bounds: list[tuple[FloatArray, FloatArray]] = []
        used: list[int] = []
        skipped: list[SkippedImage] = []
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="genmetrics-decode") as reading:
            coming = reading.submit(_read, source, chosen[:batch_size])
            for first in range(0, len(chosen), batch_size):
                images, places, unusable = coming.result()
                following = first + batch_size
                coming = reading.submit(_read, source, chosen[following : following + batch_size])
                if strict and unusable:
                    raise UnreadableInput(
                        f"{source.name}: {unusable[0].name} cannot be used: {unusable[0].reason}. Without strict it is "
                        "skipped and listed."
                    )
                skipped += unusable
                if places:
                    batch = self._batch(images, source, places)
                    before = time.perf_counter()
                    found = self._weights(batch, places, num_weights, seed) if self._noise else self._run(batch)
                    seconds += time.perf_counter() - before
                    self._require_numbers(found.reshape(len(found), -1), source, places)
                    if self._noise:
                        bounds.append(image_bounds(found, widths))
                        values.append(bounds[-1][0][:, -1])
                    else:
                        values.append(found)
                    used += places
                now, done = time.perf_counter() - start, min(following, len(chosen))
                if progress is not None and (now - told >= 0.1 or done == len(chosen)):
                    told, rate = now, done / now if now > 0 else 0.0
                    progress(Progress(stage, done, len(chosen), rate, (len(chosen) - done) / rate if rate else None, 0))
        if not used:
            reason = f" The first: {skipped[0].name}: {skipped[0].reason}." if skipped else ""
            raise EmptySide(f"{source.name}: none of {len(chosen):,} images could be used.{reason}")
        joined = None
        if bounds:
            joined = collect_bounds(widths, *(np.concatenate(parts) for parts in zip(*bounds, strict=True)))
        return DensityRun(
            np.concatenate(values),
            np.array(used, np.int64),
            joined,
            (*source.skipped, *skipped),
            seconds,
        )

    def noise(self, position: int, num_weights: int, seed: int) -> NDArray[np.float32]:
        """(K, L) the noise of one image."""
        assert self.noise_dim is not None
        # A stream of its own: with [seed, position] a VAE's sample would meet the latent that it was made of.
        rng = np.random.default_rng([seed, position, 2])
        shape = (num_weights, self.noise_dim)
        if self.noise_distribution == "uniform":
            return rng.random(shape, dtype=np.float32)
        return rng.standard_normal(shape, dtype=np.float32)

    def _weights(self, batch: ImageArray, places: Sequence[int], num_weights: int, seed: int) -> FloatArray:
        """(N, K), as many images and samples in one call as fit the memory that is meant for noise."""
        assert self.noise_dim is not None
        at_once = self._fixed_samples or max(1, min(num_weights, _MOST_NOISE // self.noise_dim))  # samples of an image
        images = self._fixed_images or max(1, _MOST_NOISE // (at_once * self.noise_dim))
        rows = []
        for start in range(0, len(batch), images):
            block, own = batch[start : start + images], places[start : start + images]
            noise = np.stack([self.noise(position, num_weights, seed) for position in own])
            parts = [self._run(block, noise[:, first : first + at_once]) for first in range(0, num_weights, at_once)]
            rows.append(np.concatenate(parts, axis=1))
        return np.concatenate(rows)

    def _run(self, images: ImageArray, noise: NDArray[np.float32] | None = None) -> FloatArray:
        """(N,), or (N, K) with noise: one call, filled up where the graph was exported for a number of images."""
        inputs: dict[str, NDArray[Any]] = {self._images: _filled(images, 0, self._fixed_images)}
        wanted = images.shape[:1] if noise is None else noise.shape[:2]
        if noise is not None:
            inputs[self._noise] = _filled(_filled(noise, 0, self._fixed_images), 1, self._fixed_samples)
        shape = inputs[self._noise or self._images].shape[: len(wanted)]
        try:
            output = np.asarray(self._graph.run(inputs)[self._output], np.float64)
        except InputError:
            raise
        except GenmetricsError as error:
            raise InputError(
                f"The density {self.name!r} cannot be run: {error}. If memory ran out, take fewer images at a time "
                "(--batch-size 8, in Python batch_size=8). Else look at what its graph expects."
            ) from error
        if output.shape != shape:
            raise DamagedBundle(
                f"The density {self.name!r} answers with the shape {output.shape} where {shape} is expected: one "
                f"{'log-weight for each image and sample' if self._noise else 'log-likelihood for each image'}."
            )
        return output[tuple(slice(count) for count in wanted)]

    def _batch(self, images: Sequence[ImageArray], source: ImageSource, places: Sequence[int]) -> ImageArray:
        wanted = next((image.shape for image in images), ())
        wanted = tuple(fixed or own for fixed, own in zip(self._shape, wanted, strict=True))
        for image, place in zip(images, places, strict=True):
            if image.shape != wanted:
                raise InputError(
                    f"{source.name}: {source.entry_name(place)} has {image.shape[0]} × {image.shape[1]} pixels, and "
                    f"the density {self.name!r} takes {wanted[0]} × {wanted[1]}. A likelihood belongs to one size: "
                    "give the images as the model was trained on them."
                )
        return np.stack(images)

    def _require_numbers(self, found: FloatArray, source: ImageSource, places: Sequence[int]) -> None:
        bad = np.isnan(found).any(axis=1) | np.isposinf(found).any(axis=1)
        if bad.any():
            names = ", ".join(source.entry_name(places[row]) for row in np.flatnonzero(bad)[:3])
            raise InputError(
                f"The density {self.name!r} answers NaN or infinity for {int(bad.sum())} images, for instance {names}. "
                "A mean over them says nothing: look at the model there."
            )


def names_density(value: Any) -> bool:
    """Whether a value means a density: a bundle of that kind, its name or folder, or an ``.onnx`` file."""
    if isinstance(value, Bundle):
        return value.kind == "density"
    if not isinstance(value, str | os.PathLike):
        return False
    path = Path(value)
    if str(value) in list_bundles("density") or (path.suffix.lower() == ".onnx" and path.is_file()):
        return True
    return (path / "manifest.json").is_file() and load_bundle(path).kind == "density"


def _open(source: str | os.PathLike[str] | Bundle, dims: int | None, offset: float) -> Bundle:
    if isinstance(source, Bundle):
        bundle = source
    elif Path(source).suffix.lower() == ".onnx" and Path(source).is_file():
        bundle = _of_file(Path(source), dims, offset)
    else:
        bundle = load_bundle(source)
    if bundle.kind != "density":
        known = ", ".join(list_bundles("density"))
        raise InputError(
            f"{bundle.name!r} is a bundle of kind {bundle.kind}, which gives no likelihoods. Give one of kind density"
            f"{f': {known}' if known else ''}."
        )
    return bundle


def _of_file(path: Path, dims: int | None, offset: float) -> Bundle:
    """A bundle around a bare ONNX file: its inputs and outputs by what the graph says."""
    if dims is None:
        raise InputError(
            f"{path} is a bare graph and does not say how many dimensions its likelihood is of. Say it: --dims 3072 or "
            "--shape 32x32x3; and --scale, what it was modelled on."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read: {error.strerror or error}.") from error
    signature = read_signature(content, what=str(path))
    sides = {
        name: [{"name": value.name, "dtype": value.dtype, "shape": list(value.shape or ())} for value in values]
        for name, values in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }
    about: dict[str, Any] = {"dim": dims, "offset_bits": offset, "quantity": "log_density" if offset else QUANTITIES[0]}
    if len(sides["inputs"]) > 1:
        length = (signature.inputs[1].shape or ("",))[-1]
        if not isinstance(length, int):
            raise InputError(f"{path} does not fix how long the noise of its second input is. Give it as a bundle.")
        about |= {"noise": {"dim": length, "distribution": "normal"}, "bound": True}
    entry = {"form": "onnx", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    record = {
        "schema": SCHEMA, "name": path.stem, "version": "1", "kind": "density", "files": {path.name: entry},
        "density": about, **sides,
    }  # fmt: skip
    return Bundle(path=path.parent, manifest=Manifest(record))


def _checked(manifest: Manifest) -> Mapping[str, Any]:
    """The entry ``density`` of a manifest, after it was held against inputs and outputs. Raises `DamagedBundle`."""
    about = manifest.record.get("density")
    complaint = ""
    if not isinstance(about, dict) or type(about.get("dim")) is not int or about["dim"] < 1:
        complaint = "density.dim is missing"
    elif about.get("quantity", QUANTITIES[0]) not in QUANTITIES:
        complaint = f"density.quantity is none of {', '.join(QUANTITIES)}"
    elif not isinstance(about.get("offset_bits", 0.0), int | float):
        complaint = "density.offset_bits is no number"
    elif type(about.get("levels", 256)) is not int or about.get("levels", 256) < 2:
        complaint = "density.levels is no whole number of at least 2"
    elif not manifest.inputs or not manifest.outputs:
        complaint = "its graph lacks an input or an output"
    else:
        noise = about.get("noise")
        images = manifest.inputs[0]
        if images.dtype != "uint8" or len(images.shape) != 4 or images.shape[-1] != 3:
            complaint = "its first input is not uint8 images (N, H, W, 3)"
        elif noise is not None and (
            not isinstance(noise, dict)
            or type(noise.get("dim")) is not int
            or noise["dim"] < 1
            or noise.get("distribution", "normal") not in DISTRIBUTIONS
        ):
            complaint = f"density.noise lacks its dim, or its distribution is none of {', '.join(DISTRIBUTIONS)}"
        elif len(manifest.inputs) != (2 if noise else 1):
            complaint = "its graph has noise as an input and its manifest none, or the other way round"
    if complaint:
        raise DamagedBundle(f"The density {manifest.name!r} cannot be used: {complaint}.")
    assert isinstance(about, dict)
    return about


def _fixed(spec: TensorSpec, axis: int) -> int | None:
    """The size of an axis that a graph was exported with; None where it is free."""
    size = spec.shape[axis] if axis < len(spec.shape) else None
    return size if isinstance(size, int) else None


def _filled(rows: NDArray[Any], axis: int, size: int | None) -> NDArray[Any]:
    """Rows up to ``size`` along an axis, by repeating the last."""
    lacking = 0 if size is None else size - rows.shape[axis]
    if lacking <= 0:
        return rows
    return np.concatenate([rows, np.repeat(rows.take([-1], axis), lacking, axis)], axis)


def _read(source: ImageSource, positions: Sequence[int]) -> tuple[list[ImageArray], list[int], list[SkippedImage]]:
    images, places, skipped = [], [], []
    for position in positions:
        try:
            images.append(decode(source.read(position), alpha="white"))
            places.append(position)
        except Undecodable as error:
            skipped.append(SkippedImage(source.entry_name(position), str(error)))
    return images, places, skipped
