"""A frozen generator as a side: sampled with a seed, streamed, never written to disk.

Latents are drawn in blocks of 64 from ``default_rng([seed, block])``, so sample 1,000 is the same whether 1,001 or
50,000 samples are asked for, and whatever the batch size is.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray, as_image_batch
from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import InputError
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import RawImage

_BLOCK = 64  # latents drawn, and images made, at a time
_KEPT_BLOCKS = 8


class GeneratorSource:
    """An `ImageSource` of ``num_images`` samples of a generator bundle (kind ``generator``: latent in, images out)."""

    skipped: tuple[SkippedImage, ...] = ()

    def __init__(
        self,
        bundle: Bundle,
        num_images: int,
        *,
        seed: int = 0,
        device: str = "auto",
        backend: str = "onnx",
        threads: int | None = None,
    ) -> None:
        if bundle.kind != "generator":
            raise InputError(f"{bundle.name!r} is a {bundle.kind}, not a generator.")
        latent = bundle.manifest.latent
        if latent.get("distribution", "normal") not in ("normal", "uniform"):
            raise InputError(f"{bundle.name!r}: unknown latent distribution {latent['distribution']!r}.")
        self.name = f"{bundle.name} (seed {seed})"
        self._graph = open_graph(bundle, device=device, backend=backend, threads=threads)
        self._input = bundle.manifest.inputs[0].name
        self._output = bundle.manifest.outputs[0].name
        self._dim = int(latent["dim"])
        self._distribution = str(latent.get("distribution", "normal"))
        self._identity = f"{bundle.manifest.numeric_id()}/{self._distribution}/{seed}"
        self._num_images = num_images
        self._seed = seed
        self._blocks: OrderedDict[int, ImageArray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._num_images

    def entry_name(self, index: int) -> str:
        return f"sample {index}"

    def digest(self, index: int) -> str:
        """Known without making the image: the generator, the seed and the position determine it."""
        return hashlib.sha256(f"{self._identity}/{index}".encode()).hexdigest()

    def read(self, index: int) -> RawImage:
        block, row = divmod(index, _BLOCK)
        with self._lock:
            if block not in self._blocks:
                self._blocks[block] = self._make(block)
                if len(self._blocks) > _KEPT_BLOCKS:
                    self._blocks.popitem(last=False)
            image = self._blocks[block][row]
        return RawImage(name=self.entry_name(index), pixels=image)

    def latents(self, block: int) -> NDArray[np.float32]:
        """The latents (64, L) of one block."""
        rng = np.random.default_rng([self._seed, block])
        if self._distribution == "uniform":
            return rng.uniform(-1.0, 1.0, (_BLOCK, self._dim)).astype(np.float32)
        return rng.standard_normal((_BLOCK, self._dim), dtype=np.float32)

    def _make(self, block: int) -> ImageArray:
        return as_image_batch(self._graph.run({self._input: self.latents(block)})[self._output], what=self.name)
