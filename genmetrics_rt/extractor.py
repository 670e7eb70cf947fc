"""A frozen feature network with its protocol: images or texts in memory → tensors → batches of one size → features."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FeatureArray, ImageArray, as_image, as_image_batch
from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.errors import DamagedBundle, InputError
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.manifest import Manifest, Protocol
from genmetrics_rt.report import ExtractorSummary
from genmetrics_rt.resize import resize, to_tensor
from genmetrics_rt.staging import Rows
from genmetrics_rt.threads import threads_or_default
from genmetrics_rt.wordpiece import WordPiece

CHUNK = 128  # images that are extracted and cached together, see `genmetrics_rt.extraction`
# Images per call of the network. On a CPU more is not faster, and takes memory; a GPU wants a whole chunk.
BATCH_SIZE_ON_CPU, BATCH_SIZE_ON_GPU = 8, CHUNK
BATCH_SIZE_OF_TEXTS = 16  # on a CPU
TOKENS_STEP = 16  # texts are filled up to a multiple of it

_Tensors: TypeAlias = NDArray[Any] | Sequence[NDArray[Any]]  # prepared images, stacked or not; or the tokens of texts


class FeatureExtractor:
    """A frozen feature network with one protocol. Thread-safe.

    Parameters
    ----------
    extractor
        Name of a shipped extractor, or the path of a bundle.
    protocol
        One of the protocols of its manifest by name, or a `Protocol` of your own; None is its default.
    tap
        Which of the network's feature taps (``"64"``, ``"192"``, ``"768"``, ``"2048"`` of the Inception); None is that
        of the published scores.
    device, backend, precision
        As in `genmetrics_rt.frozen.open_graph`.
    threads
        Threads that decode, and threads inside one call of the network; None is `available_threads`.
    batch_size
        Images per call of the network, at most 128, the size of a chunk: more is taken as 128. None is 8 on a CPU and
        128 on a GPU. Every call has this
        size (the last of a chunk is padded), so features do not depend on how many images there are; they do not
        depend on ``batch_size`` beyond 1e-5.
    spinning
        As in `genmetrics_rt.frozen.open_graph`: idle threads of the network spin for the next call. Worth it only for
        a job that has the machine to itself; `evaluate` leaves it off.

    Opens no socket.
    """

    def __init__(
        self,
        extractor: str | os.PathLike[str] | Bundle,
        *,
        protocol: str | Protocol | None = None,
        tap: str | None = None,
        device: str = "auto",
        backend: str = "onnx",
        precision: str = "fp32",
        threads: int | None = None,
        batch_size: int | None = None,
        spinning: bool = False,
    ) -> None:
        bundle = extractor if isinstance(extractor, Bundle) else load_bundle(extractor)
        if bundle.kind != "extractor":
            raise InputError(
                f"{bundle.name!r} is a {bundle.kind}, not an extractor. `genmetrics bundles list` names the extractors."
            )
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
        manifest = bundle.manifest
        self.bundle = bundle
        self.protocol: Protocol = protocol if isinstance(protocol, Protocol) else manifest.protocol(protocol)
        self.threads = threads_or_default(threads)
        self._graph = open_graph(
            bundle, backend=backend, device=device, precision=precision, threads=self.threads, spinning=spinning
        )
        self._tokeniser = WordPiece.of_bundle(bundle) if manifest.modality == "text" else None
        on_cpu = BATCH_SIZE_ON_CPU if self._tokeniser is None else BATCH_SIZE_OF_TEXTS
        self.batch_size = batch_size or (on_cpu if self._graph.device == "cpu" else BATCH_SIZE_ON_GPU)
        self.batch_size = min(self.batch_size, CHUNK)  # a batch never crosses chunks: more would only be padding
        calls = self._graph.calls_at_once
        self._pool = ThreadPoolExecutor(calls, "genmetrics-network") if calls > 1 else None
        self._inputs = [spec.name for spec in manifest.inputs]
        self._taps = _chosen_taps(manifest, tap, spatial=self.protocol.spatial)
        dimension = next(spec.shape[-1] for spec in manifest.outputs if spec.name == self._taps["features"])
        if not isinstance(dimension, int):
            raise DamagedBundle(f"The manifest of {bundle.name!r} does not say how many features there are.")
        self.summary = ExtractorSummary(
            name=manifest.name,
            title=manifest.title,
            label=manifest.label,
            numeric_id=manifest.numeric_id(self.protocol, tap or "features", precision),
            protocol=self.protocol.name,
            dimension=dimension,
            published=self._taps["features"] == manifest.taps["features"] and manifest.published_by(self.protocol),
            recipe=_recipe_lines(manifest, self.protocol, tap or "features", precision),
            modality=manifest.modality,
        )

    @property
    def device(self) -> str:
        """Where the graph really runs: ``"cpu"``, ``"cuda:0"`` or ``"cuda:0,cuda:1"``."""
        return self._graph.device

    @property
    def backend(self) -> str:
        """What runs it: ``"onnx"`` or ``"torchscript"``."""
        return self._graph.backend

    @property
    def taps(self) -> tuple[str, ...]:
        """What the network is asked for: ``features``, and ``logits`` and ``spatial`` if any."""
        return tuple(self._taps)

    @property
    def calls_ahead(self) -> int:
        """Calls worth having under way while the next is gathered: none on a CPU, where both take the same cores."""
        return self._graph.calls_at_once - 1

    def prepare(self, image: ImageArray) -> NDArray[np.float32]:
        """One uint8 image (H, W, 3), or grey (H, W) or (H, W, 1) → the tensor that the graph takes, by the protocol."""
        return to_tensor(resize(as_image(image), self.protocol), self.protocol)

    @property
    def modality(self) -> str:
        """What it looks at: ``"image"`` or ``"text"``."""
        return self.summary.modality

    def tokens(self, text: str) -> NDArray[np.int64]:
        """(T,) the tokens of one text, of an extractor of texts."""
        if self._tokeniser is None:
            raise InputError(f"{self.summary.name} looks at images and has no tokeniser. For texts there is minilm.")
        return np.array(self._tokeniser(text), dtype=np.int64)

    def is_cut(self, text: str) -> bool:
        """Whether a text is longer than the network sees: what is behind its last token counts for nothing."""
        return self._tokeniser is not None and self._tokeniser.is_longer(text)

    def pieces_per_word(self, text: str) -> tuple[int, int]:
        """Pieces of the vocabulary in a text, and words."""
        return (0, 0) if self._tokeniser is None else self._tokeniser.pieces_per_word(text)

    def __call__(self, images: Iterable[Any]) -> tuple[FeatureArray, FeatureArray | None]:
        """uint8 images as for `prepare`, of any and even unlike sizes → features (N, D) and logits (N, C) or None.

        One array is a batch, as in `Evaluation.update`: (N, H, W, 3), (N, H, W) or a single (H, W, 3). An extractor of
        texts takes str instead.
        """
        if self._tokeniser is not None:
            images = images if isinstance(images, str) else list(images)
            if isinstance(images, str) or not all(isinstance(text, str) for text in images):
                raise InputError(f"{self.summary.name} takes a list of str. For images there are other extractors.")
            tokens = [self.tokens(text) for text in images]
            return self.run(tokens) if tokens else self._nothing()
        if hasattr(images, "shape"):
            images = as_image_batch(images)
        tensors = [self.prepare(image) for image in images]
        return self.run(np.stack(tensors)) if tensors else self._nothing()

    def run(
        self, tensors: NDArray[np.float32] | Sequence[NDArray[np.int64]]
    ) -> tuple[FeatureArray, FeatureArray | None]:
        """Prepared tensors (N, …) → features (N, D) and logits (N, C) or None, in calls of ``batch_size``.

        Of texts, the tokens (T,) of each.
        """
        outputs = self.run_taps(tensors)
        return outputs["features"], outputs.get("logits")

    def run_taps(self, tensors: NDArray[np.float32] | Sequence[NDArray[np.int64]]) -> dict[str, FeatureArray]:
        """Prepared tensors (N, …) → what the taps in use give: ``features``, and ``logits`` and ``spatial`` if any."""
        if len(tensors) == 0:
            return self.no_rows()
        return self._run(tensors, map if self._pool is None else self._pool.map)

    def begin(self, tensors: Sequence[NDArray[Any]]) -> Future[dict[str, FeatureArray]]:
        """As `run_taps`, of one row or more: done on return on a CPU, under way on a GPU. See ``calls_ahead``."""
        if self._pool is not None:
            return self._pool.submit(self._run, tensors)
        done: Future[dict[str, FeatureArray]] = Future()
        done.set_result(self._run(tensors))
        return done

    def no_rows(self) -> dict[str, FeatureArray]:
        """What `run_taps` gives for no images."""
        sizes = {"features": self.summary.dimension}
        return {role: np.empty((0, sizes.get(role, 0)), np.float32) for role in self._taps}

    def _run(self, tensors: _Tensors, each: Callable[..., Iterable[Any]] = map) -> dict[str, FeatureArray]:
        """As `run_taps`, of one row or more. ``each`` is how the batches are gone through: one by one, or in a pool."""
        if self._tokeniser is None:
            return self._in_batches(tensors, each)
        # Texts of one width together, so that the features of a text do not depend on those beside it.
        widths = np.array([self._width(tokens) for tokens in tensors])
        rows = [np.flatnonzero(widths == width) for width in np.unique(widths)]
        blocks = [self._in_batches([tensors[row] for row in own.tolist()], each) for own in rows]
        back = np.argsort(np.concatenate(rows))
        return {role: np.concatenate([block[role] for block in blocks])[back] for role in self._taps}

    def _in_batches(self, tensors: _Tensors, each: Callable[..., Iterable[Any]]) -> dict[str, FeatureArray]:
        batches = [tensors[start : start + self.batch_size] for start in range(0, len(tensors), self.batch_size)]
        gathered: dict[str, list[FeatureArray]] = {role: [] for role in self._taps}
        for batch, outputs in zip(batches, each(self._one_call, batches), strict=True):
            for role, output in self._taps.items():
                gathered[role].append(outputs[output][: len(batch)])
        return {role: np.concatenate(blocks) for role, blocks in gathered.items()}

    def _one_call(self, batch: _Tensors) -> dict[str, NDArray[Any]]:
        return self._graph.run(self._call(batch))

    def _width(self, tokens: NDArray[np.int64]) -> int:
        """Tokens that a text takes in a batch: its own, filled up to the next of a few widths."""
        assert self._tokeniser is not None
        return min(-(-len(tokens) // TOKENS_STEP) * TOKENS_STEP, self._tokeniser.max_length)

    def _call(self, batch: _Tensors) -> dict[str, Rows]:
        """The inputs of one call of ``batch_size`` rows, those that are missing filled up with zeros."""
        if self._tokeniser is None:
            missing = self.batch_size - len(batch)
            return {self._inputs[0]: [*batch, *[np.zeros_like(batch[0])] * missing] if missing else batch}
        shape = (self.batch_size, max(self._width(tokens) for tokens in batch))
        tokens, counts = np.full(shape, self._tokeniser.padding, np.int64), np.zeros(shape, np.int64)
        for row, own in enumerate(batch):
            tokens[row, : len(own)] = own
            counts[row, : len(own)] = 1
        return {self._inputs[0]: tokens, self._inputs[1]: counts}

    def _nothing(self) -> tuple[FeatureArray, FeatureArray | None]:
        empty = self.no_rows()
        return empty["features"], empty.get("logits")


def _chosen_taps(manifest: Manifest, tap: str | None, *, spatial: bool) -> dict[str, str]:
    """Role → output for the roles in use: features, logits where there are any, spatial where the protocol wants it."""
    taps = manifest.taps
    if tap is not None and tap not in taps:
        raise InputError(f"Extractor {manifest.name!r} has no tap {tap!r}. It has: {', '.join(sorted(taps))}.")
    if spatial and "spatial" not in taps:
        raise DamagedBundle(f"A protocol of {manifest.name!r} collects a spatial tap that its manifest does not name.")
    wanted = {"features": taps[tap or "features"]}
    for role in ("logits", *(["spatial"] if spatial else [])):
        if role in taps:
            wanted[role] = taps[role]
    return wanted


def _recipe_lines(manifest: Manifest, protocol: Protocol, tap: str, precision: str) -> dict[str, Any]:
    """Every line of the recipe that features depend on, by its name: what `explain` compares."""
    lines = manifest.numeric_lines(protocol)
    graph, weights = (", ".join(lines[part] or ()) or None for part in ("graph", "weights"))
    of_protocol = protocol.numeric_part()
    if manifest.modality == "image":
        of_protocol |= {"size": list(protocol.size), "orientation": protocol.orientation}
    return {
        "graph": graph,
        "weights": weights,
        "tap": "features" if manifest.taps[tap] == manifest.taps["features"] else tap,
        "precision": precision,
        **of_protocol,
    }
