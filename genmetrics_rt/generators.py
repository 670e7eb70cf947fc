"""A frozen generator at work: sampled with a seed, streamed, never written to disk.

Latents are drawn in blocks of 64 from ``default_rng([seed, block])``, classes from ``default_rng([seed, block, 1])``,
so sample 1,000 is the same whether 1,001 or 50,000 samples are asked for, and whatever the batch size of the
extractor is.
"""

from __future__ import annotations

import hashlib
import statistics
import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import GenmetricsError, InputError, MissingPackage, UnreadableInput, first_line
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.report import GeneratorSummary, SkippedImage
from genmetrics_rt.sources import RawImage

Latents = NDArray[np.float32]  # (N, L)
Labels = NDArray[np.int64]  # (N,)
Pixels = NDArray[np.float32]  # (N, H, W, 3) on 0..255, not rounded

_BLOCK = 64  # latents drawn, and images made, at a time
_KEPT_BYTES = 256_000_000  # of the blocks made last, which findings and galleries look at again
_CHANNELS = (1, 3)
_TIMED_BATCHES, _TIMED_SECONDS = 9, 1.5  # sampling is timed for so many batches or so long, whichever ends first


class OpenGenerator:
    """The graph of a generator on a device. Thread-safe.

    Raises `InputError` from its methods for what the network does that no images can be made of.
    """

    def __init__(
        self, generator: Generator, *, device: str = "auto", backend: str = "onnx", threads: int | None = None
    ) -> None:
        self.generator = generator
        chosen = _backend(generator, backend)
        self._graph = open_graph(generator.bundle, device=device, backend=chosen, threads=threads)
        self.device, self.backend = self._graph.device, self._graph.backend

    @property
    def gives_floats(self) -> bool:
        """Whether `pixels` are unrounded. False where the network gives 8 bits and nothing else."""
        return self.generator.pixel_output is not None or self.generator.output_range is not None

    def num_parameters(self) -> int | None:
        """Numbers that the network holds."""
        counted: int | None = getattr(self._graph, "num_parameters", None)
        return self.generator.num_parameters() if counted is None else counted

    def images(self, latents: Latents, labels: Labels | None = None) -> ImageArray:
        """Latents (N, L), and labels (N,) of a class-conditional generator → uint8 images (N, H, W, 3)."""
        output = self._outputs(latents, labels, (self.generator.image_output,))[0]
        return self._as_images(output)

    def pixels(self, latents: Latents, labels: Labels | None = None) -> Pixels:
        """The same as float32 on 0..255, unrounded where the network gives floats."""
        name = self.generator.pixel_output
        if name is None:
            output = self._outputs(latents, labels, (self.generator.image_output,))[0]
            channels_last = self._channels_last(output)
            if channels_last.dtype == np.uint8:
                return channels_last.astype(np.float32)
            return np.clip(self._scaled(channels_last), 0, 255).astype(np.float32)
        output = self._outputs(latents, labels, (name,))[0]
        self._require_finite(output)
        return output.astype(np.float32)

    def run(self, latents: Latents, labels: Labels | None = None) -> None:
        """One call of the network whose result nobody wants: for timing."""
        self._call(latents, labels)

    def _outputs(self, latents: Latents, labels: Labels | None, names: tuple[str, ...]) -> list[NDArray[Any]]:
        size = self.generator.batch_size
        parts: list[list[NDArray[Any]]] = [[] for _ in names]
        for start in range(0, len(latents), size):
            batch = latents[start : start + size]
            of_batch = None if labels is None else labels[start : start + size]
            count = len(batch)
            if count < size and self.generator.pads:
                batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
                of_batch = None if of_batch is None else np.concatenate([of_batch, of_batch[-1:].repeat(size - count)])
            outputs = self._call(batch, of_batch)
            for place, name in enumerate(names):
                output = outputs[name]
                if output.ndim == 0 or len(output) != len(batch):
                    raise InputError(
                        f"{self.generator.name} gives {name} of shape {list(output.shape)} for {len(batch)} latents: "
                        "its first axis is not the number of images. Export it with a free batch axis."
                    )
                parts[place].append(output[:count])
        return [np.concatenate(part) if len(part) > 1 else part[0] for part in parts]

    def _call(self, latents: Latents, labels: Labels | None) -> dict[str, NDArray[Any]]:
        generator = self.generator
        inputs: dict[str, NDArray[Any]] = {
            generator.latent_input: latents.reshape(len(latents), *generator.latent_shape)
        }
        if generator.label_input is not None:
            if labels is None:
                raise InputError(f"{generator.name} is class-conditional: each latent needs its label.")
            spec = generator.label_input
            one_hot = spec.dtype.startswith("float")
            inputs[spec.name] = np.eye(generator.num_classes, dtype=np.float32)[labels] if one_hot else labels
        try:
            return self._graph.run(inputs)
        except MissingPackage:
            raise
        except (GenmetricsError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise InputError(
                f"{generator.name} failed on {len(latents)} latents of shape {list(generator.latent_shape)}: "
                f"{first_line(error).rstrip('.')}. If memory ran out, take fewer at a time: --generator-batch 8 (in "
                "Python: batch_size=8). Else look at what the network expects."
            ) from error

    def _as_images(self, output: NDArray[Any]) -> ImageArray:
        channels_last = self._channels_last(output)
        if channels_last.dtype == np.uint8:
            return channels_last
        return np.rint(np.clip(self._scaled(channels_last), 0, 255)).astype(np.uint8)

    def _channels_last(self, output: NDArray[Any]) -> NDArray[Any]:
        """(N, H, W, 3) from what the network gives. Raises `UnreadableInput` where nothing says which axis is which."""
        name, layout, shape = self.generator.name, self.generator.output_layout, output.shape
        if layout is None:
            last = output.ndim == 4 and shape[-1] in _CHANNELS
            first = output.ndim == 4 and shape[1] in _CHANNELS
            if last and first:
                raise InputError(
                    f"{name} gives images of shape {list(shape[1:])}, and nothing says where its channels are. "
                    "Say it: --output-layout NHWC or NCHW (in Python: output_layout=)."
                )
            layout = "NHWC" if last else "NCHW" if first else "NHW" if output.ndim == 3 else ""
        if layout == "NCHW" and output.ndim == 4:
            output = output.transpose(0, 2, 3, 1)
        elif layout == "NHW" and output.ndim == 3:
            output = output[..., None]
        if not layout or output.ndim != 4 or output.shape[-1] not in _CHANNELS or 0 in output.shape:
            raise UnreadableInput(
                f"{name} gives an output of shape {list(shape)} for each batch, which are no images: expected "
                "(N, H, W, 3), (N, 3, H, W), or the same with one channel or none. Export it with the reshape inside."
            )
        if output.shape[-1] == 1:
            output = np.repeat(output, 3, axis=-1)
        return np.ascontiguousarray(output)

    def _scaled(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Float values on 0..255. Raises `InputError` for a range that nobody said, or values outside it."""
        self._require_finite(output)
        name, span = self.generator.name, self.generator.output_range
        low, high = float(output.min()), float(output.max())
        if span is None:
            if output.dtype.kind != "f":
                raise InputError(
                    f"{name} gives {output.dtype} from {low:g} to {high:g}; expected uint8 pixels or floats. Export it "
                    "with a cast to uint8."
                )
            likely = _likely_range(low, high)
            hint = f" If {likely} are what this range suggests: --output-range={likely}." if likely else ""
            raise InputError(
                f"{name} gives {output.dtype} values from {low:.4g} to {high:.4g}, and nothing says which of them are "
                f"black and white. Say it: --output-range=-1,1 or 0,1 (in Python: output_range=(-1, 1)).{hint}"
            )
        black, white = span
        half_a_level = (white - black) / 255 / 2
        if not self.generator.clip and (low < black - half_a_level or high > white + half_a_level):
            raise InputError(
                f"{name} gives values from {low:.4g} to {high:.4g}, and its output range is said to be {black:g} to "
                f"{white:g}. Say another --output-range, or --clip if its makers clip what is outside."
            )
        scaled: NDArray[np.float32] = ((output.astype(np.float32) - black) * (255 / (white - black))).astype(np.float32)
        return scaled

    def _require_finite(self, output: NDArray[Any]) -> None:
        if output.dtype.kind != "f" or np.isfinite(output).all():
            return
        bad = np.flatnonzero(~np.isfinite(output).reshape(len(output), -1).all(axis=1))
        raise InputError(
            f"{self.generator.name} gives NaN or infinity in {len(bad)} of {len(output)} images of a batch. No score "
            "is meaningful on them: look at its weights, at half precision, or at the latents that it expects."
        )


class GeneratorSource:
    """An `ImageSource` of ``num_images`` samples of a generator."""

    skipped: tuple[SkippedImage, ...] = ()

    def __init__(
        self,
        generator: Generator | Bundle,
        num_images: int,
        *,
        seed: int = 0,
        device: str = "auto",
        backend: str = "onnx",
        threads: int | None = None,
    ) -> None:
        self.generator = generator if isinstance(generator, Generator) else Generator(generator)
        how = f", {self.generator.how}" if self.generator.how else ""
        self.name = f"{self.generator.name} (seed {seed}{how})"
        self.opened = OpenGenerator(self.generator, device=device, backend=backend, threads=threads)
        self._identity = f"{self.generator.identity}/{seed}"
        self._num_images = num_images
        self._seed = seed
        self._blocks: OrderedDict[int, ImageArray] = OrderedDict()
        self._labels: dict[int, Labels | None] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._num_images

    def entry_name(self, index: int) -> str:
        """ "sample 17", or "cat/sample 17" of a class-conditional generator."""
        label = self.label(index)
        return f"sample {index}" if label is None else f"{self.generator.class_names[label]}/sample {index}"

    def label(self, index: int) -> int | None:
        """The class of a sample; None without classes."""
        labels = self.labels(index // _BLOCK)
        return None if labels is None else int(labels[index % _BLOCK])

    def digest(self, index: int) -> str:
        """Known without making the image: the generator, the seed and the position determine it."""
        return hashlib.sha256(f"{self._identity}/{index}".encode()).hexdigest()

    def read(self, index: int) -> RawImage:
        block, row = divmod(index, _BLOCK)
        with self._lock:
            if block not in self._blocks:
                made = self._blocks[block] = self._make(block)
                if len(self._blocks) > max(1, _KEPT_BYTES // made.nbytes):
                    self._blocks.popitem(last=False)
            image = self._blocks[block][row]
        return RawImage(name=self.entry_name(index), pixels=image)

    def latents(self, block: int) -> Latents:
        """The latents (64, L) of one block."""
        return draw_latents(np.random.default_rng([self._seed, block]), _BLOCK, self.generator)

    def labels(self, block: int) -> Labels | None:
        """The classes (64,) of one block; None without classes."""
        if block not in self._labels:
            self._labels[block] = self._draw_labels(block)
        return self._labels[block]

    def _draw_labels(self, block: int) -> Labels | None:
        count, classes = self.generator.num_classes, self.generator.classes
        if not count:
            return None
        if isinstance(classes, str) and classes == "uniform":
            return np.random.default_rng([self._seed, block, 1]).integers(0, count, _BLOCK, dtype=np.int64)
        places = np.arange(block * _BLOCK, (block + 1) * _BLOCK, dtype=np.int64)
        return places % count if isinstance(classes, str) else classes[places % len(classes)]

    def _make(self, block: int) -> ImageArray:
        return self.opened.images(self.latents(block), self.labels(block))

    def summary(self) -> GeneratorSummary:
        """Its size and its sampling speed, measured now: batches of the network alone, the median after a warm-up."""
        generator, opened = self.generator, self.opened
        size = generator.batch_size
        latents = np.concatenate([self.latents(block) for block in range(-(-size // _BLOCK))])[:size]
        labels = None
        if generator.num_classes:
            labels = np.arange(size, dtype=np.int64) % generator.num_classes
        with self._lock:
            made = next(iter(self._blocks.values()), None)
        if made is None:
            made = opened.images(latents, labels)  # the warm-up
        height, width = made.shape[1:3]
        seconds: list[float] = []
        while not seconds or (len(seconds) < _TIMED_BATCHES and sum(seconds) < _TIMED_SECONDS):
            start = time.perf_counter()
            opened.run(latents, labels)
            seconds.append(time.perf_counter() - start)
        each = statistics.median(seconds) / size
        return GeneratorSummary(
            name=generator.name,
            title=generator.title,
            latent_dim=generator.latent_dim,
            distribution=generator.distribution,
            truncation=generator.truncation,
            num_classes=generator.num_classes,
            image_size=(int(height), int(width)),
            size_bytes=generator.size_bytes,
            num_parameters=opened.num_parameters(),
            images_per_second=1 / each,
            seconds_per_image=each,
            batch_size=size,
            num_batches=len(seconds),
            device=opened.device,
            backend=opened.backend,
        )


def _backend(generator: Generator, backend: str) -> str:
    """What was said of this generator, else ``backend``, which must not run code that nobody has vouched for."""
    bundle = generator.bundle
    if generator.backend is None and backend == "torchscript" and not bundle.is_shipped:
        if bundle.file_of_form("torchscript") is None:
            raise InputError(
                f"{generator.name} holds no TorchScript graph, which the backend torchscript needs. Say that it runs "
                'as ONNX: --generator-backend onnx (in Python: gm.Generator(…, backend="onnx")).'
            )
        raise InputError(
            f"{generator.name} did not come with this package, and torch runs the code that a TorchScript graph "
            "carries. If you trust its maker, say so with --generator-backend torchscript (in Python: "
            'gm.Generator(…, backend="torchscript")). Else leave --backend at onnx, which runs no code of others.'
        )
    return generator.backend or backend


def draw_latents(rng: np.random.Generator, count: int, generator: Generator) -> Latents:
    """``count`` latents (count, L) of the generator's distribution."""
    shape = (count, generator.latent_dim)
    if generator.distribution == "uniform":
        return rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    drawn = rng.standard_normal(shape, dtype=np.float32)
    if generator.truncation is not None:
        outside = np.abs(drawn) > generator.truncation
        while outside.any():
            drawn[outside] = rng.standard_normal(int(outside.sum()), dtype=np.float32)
            outside = np.abs(drawn) > generator.truncation
    return drawn


def _likely_range(low: float, high: float) -> str:
    if -1.02 <= low < -0.05 and high <= 1.02:
        return "-1,1"
    if -0.02 <= low and high <= 1.02:
        return "0,1"
    return "0,255" if -0.5 <= low and 1.02 < high <= 255.5 else ""
