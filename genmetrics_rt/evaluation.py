"""The whole story on one page: two sides → features → scores → report."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from genmetrics_rt.arrays import as_image_batch
from genmetrics_rt.bundle import Bundle
from genmetrics_rt.diagnosis.evidence import Evidence
from genmetrics_rt.diagnosis.rules import diagnose
from genmetrics_rt.diagnosis.text_traits import TextTraits, text_traits_of
from genmetrics_rt.diagnosis.traits import Traits, traits_of
from genmetrics_rt.errors import EmptySide, FeatureMismatch, InputError
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.galleries import build_galleries
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.likelihood.evaluation import likelihoods_for_findings
from genmetrics_rt.likelihood.files import Likelihoods, read_likelihoods
from genmetrics_rt.likelihood.model import names_density
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.meaning import floors_of, with_floors, with_ladder
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.preparation import GIVEN, Preparation, PreparedSide, given_features, side_length
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.provenance import library_versions, peak_memory
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import ExtractorSummary, Finding, LadderScale, Report, Runtime, SideSummary
from genmetrics_rt.scoring import Space, choose_metrics, report_fingerprint, score, settings_for
from genmetrics_rt.sides import FeatureRows, open_side
from genmetrics_rt.texts import TextSource
from genmetrics_rt.training_log import TrainingLog
from genmetrics_rt.training_log_files import read_training_log
from genmetrics_rt.version import __version__
from genmetrics_rt.wording import report_of_texts


def evaluate(
    generated: Any,
    reference: Any,
    *,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    metrics: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    intervals: bool = True,
    ladder: bool = False,
    training_log: str | os.PathLike[str] | None = None,
    likelihoods: str | os.PathLike[str] | Bundle | None = None,
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Report:
    """Score generated images against reference images.

    Parameters
    ----------
    generated, reference
        Each a folder, ``.zip``, ``.tar``, ``.npy``/``.npz``, uint8 array (N, H, W, 3), float features (N, D),
        `Reference`, statistics that another tool saved (pytorch-fid, ADM, clean-fid, EDM, torch-fidelity), generator
        (a bundle, an ``.onnx`` file, or a `Generator`), texts (``.txt``, ``.jsonl``, ``.csv``, `read_texts`, a list of
        str), or the name of a shipped example or of a public reference that was fetched; see `genmetrics_rt.sides`.
    extractor
        Feature network: a shipped name or the folder of a bundle. Default: the one that a saved `Reference` was made
        with, else `GENMETRICS_EXTRACTOR`, else ``"scattering"``, and ``"minilm"`` of texts. It never depends on what
        happens to be cached.
    protocol
        One of the extractor's protocols by name, or a `Protocol` of your own; None is its default.
    tap
        One of the extractor's feature taps, such as ``"768"`` of the Inception; None is that of the published scores.
    metrics
        Keys such as ``"fd,kid"`` or ``["precision", "recall"]``; None is those of every report that the features
        allow, ``"all"`` those on request too. The network runs once on each image, whatever is asked for.
    device, backend, threads, batch_size
        Where and how the network runs; see `FeatureExtractor`. They move numbers by rounding only.
    precision
        ``"fp32"``; ``"tf32"`` and ``"fp16"`` are faster on a GPU and move numbers, so reports name them.
    intervals
        Say how sure each score is, by standard error and 95 % interval, what a perfect model would score, and what is
        wrong (the findings): from the same features and, for the findings, a sample of the pictures.
    ladder
        Say to which known damage of the reference (blur, noise, JPEG, modes left out) each score corresponds. Runs the
        network on damaged reference images, once for each reference: about ten times as many as there are.
    training_log
        A log of discriminator outputs (`read_training_log`): findings about the training too.
    likelihoods
        A table of log-likelihoods (`genmetrics_rt.likelihood.files.read_likelihoods`), or a frozen density, such as
        ``"digits-vae-density"``, that gives them to up to 1,000 images of each side: whether they agree with the
        quality of the samples.
    num_images
        Use this many images of each side: a seeded sample of a folder, the first samples of a generator. A saved
        `Reference` stays whole.
    seed
        For subsets, latents and k-means. KID and the class score keep the seed of their reference implementation.
    cache
        Keep features on disk, keyed by content, and reuse them.
    strict
        An image that cannot be read is an error, not a skipped image.
    progress
        Called with a `Progress` at most ten times a second.

    Raises
    ------
    InputError
        One of its kinds, with fact, meaning and way out; see `genmetrics_rt.errors`.
    """
    start = time.perf_counter()
    if not intervals and (training_log is not None or likelihoods is not None):
        raise InputError("A training log and likelihoods are for the findings, and intervals=False makes none.")
    log = None if training_log is None else read_training_log(training_log)
    likely, density = None, None
    if isinstance(likelihoods, Bundle) or names_density(likelihoods):
        density = likelihoods
    elif likelihoods is not None:
        likely = read_likelihoods(likelihoods)
    preparation = Preparation(
        extractor,
        protocol,
        tap,
        device,
        backend,
        precision,
        num_images,
        seed,
        cache,
        strict,
        batch_size,
        threads,
        progress,
    )

    # Open both sides before any work: a wrong path must not cost minutes.
    generated_side, reference_side = open_side(generated), open_side(reference)
    preparation.choose_extractor(generated_side, reference_side)
    choose_metrics(metrics, preparation.space_of(generated_side))
    if ladder and preparation.modality == "text":
        raise InputError(
            "The damages of the ladder are those of pictures (blur, noise, JPEG), and for texts there are none yet. "
            "Leave the ladder out: what a perfect model scores stands beside every score."
        )

    # The reference first: it decides how many samples a generator is asked for.
    of_reference = preparation.features(reference_side, "reference", samples=side_length(generated_side))
    of_generated = preparation.features(generated_side, "generated", samples=of_reference.summary.num_images)
    if density is not None:
        likely = likelihoods_for_findings(
            density,
            of_generated.source,
            of_reference.source,
            named=reference,
            device=device,
            threads=threads,
            seed=seed,
            progress=progress,
        )
    return _report(
        of_generated,
        of_reference,
        metrics,
        preparation,
        start,
        intervals,
        judged=intervals,
        ladder=ladder,
        training_log=log,
        likelihoods=likely,
    )


def make_reference(
    side: Any,
    *,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Reference:
    """Compute the features of one side once, to be scored against many times. Parameters as in `evaluate`.

    A million images stream through in bounded memory: mean and covariance are those of all of them, and at most
    50,000 feature rows (a seeded uniform sample) are kept for the metrics that look at neighbours.
    """
    preparation = Preparation(
        extractor,
        protocol,
        tap,
        device,
        backend,
        precision,
        num_images,
        seed,
        cache,
        strict,
        batch_size,
        threads,
        progress,
    )
    opened = open_side(side)
    preparation.choose_extractor(opened)
    done = preparation.features(opened, "reference", samples=None)
    settings = preparation.overrides()
    return Reference(features=done.features, extractor=done.extractor, summary=done.summary, settings=settings)


def extract_features(side: Any, **options: Any) -> Features:
    """The features (N, D) of one side, and its logits where the network has classes. Options as `make_reference`."""
    return make_reference(side, **options).features


class Evaluation:
    """Scores images as they come, from a loop or a service, without files. Thread-safe; images are not kept.

        with gm.Evaluation("reference/") as evaluation:
            for batch in loader:
                evaluation.update(batch)            # uint8 (N, H, W, 3)
            report = evaluation.compute()

    ``update`` may be called from any thread; ``compute`` as often as wanted; ``merge`` takes in what another
    evaluation against the same reference has seen. Parameters as in `evaluate`.
    """

    def __init__(
        self,
        reference: Any,
        *,
        extractor: str | os.PathLike[str] | Bundle | None = None,
        protocol: str | Protocol | None = None,
        tap: str | None = None,
        metrics: str | Sequence[str] | None = None,
        device: str = "auto",
        backend: str = "onnx",
        precision: str = "fp32",
        intervals: bool = True,
        seed: int = 0,
        cache: bool = True,
        strict: bool = False,
        batch_size: int | None = None,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._start = time.perf_counter()
        self._preparation = Preparation(
            extractor,
            protocol,
            tap,
            device,
            backend,
            precision,
            None,
            seed,
            cache,
            strict,
            batch_size,
            threads,
            progress,
        )
        reference_side = open_side(reference)
        if isinstance(reference_side, FeatureRows):
            raise InputError("Evaluation takes images, so its reference must be images or a saved Reference.")
        self._preparation.choose_extractor(reference_side, more_images=True)
        self._extractor = self._preparation.open_extractor()
        choose_metrics(metrics, self._preparation.space_of(None))
        self._metrics, self._intervals = metrics, intervals
        self._reference = self._preparation.features(reference_side, "reference", samples=None)
        self._lock = threading.Lock()
        self._collector = FeatureCollector(seed=seed)

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def num_images(self) -> int:
        """Generated images seen so far."""
        with self._lock:
            return self._collector.num_images

    def update(self, images: Any) -> None:
        """Add generated images: uint8 (N, H, W, 3), (N, H, W) or one (H, W, 3); anything with ``__dlpack__`` too.

        Against a reference of texts, a list of str.
        """
        of_texts = self._extractor.modality == "text"
        values, logits = self._extractor(images if of_texts else as_image_batch(images, what="update"))
        with self._lock:
            self._collector.update(values, logits, what="update")

    def merge(self, other: Evaluation) -> None:
        """Take in the images that another evaluation has seen. Raises `FeatureMismatch` for unlike features."""
        if other is self:
            raise InputError("An evaluation cannot be merged with itself: its images would count twice.")
        if self._extractor.summary != other._extractor.summary:
            raise FeatureMismatch("The two evaluations use different extractors or protocols and cannot be merged.")
        first, second = sorted((self, other), key=id)  # one order for everybody, so that two merges cannot deadlock
        with first._lock, second._lock:
            self._collector.merge(other._collector)

    def compute(self) -> Report:
        """The report on everything seen so far."""
        with self._lock:
            if self._collector.num_images == 0:
                raise EmptySide("No generated image has arrived: call update(images) before compute().")
            features = self._collector.result()
        summary = SideSummary(num_images=features.num_images, source="stream", content_hash="")
        generated = PreparedSide(features, self._extractor.summary, summary)
        return _report(generated, self._reference, self._metrics, self._preparation, self._start, self._intervals)


def _report(
    generated: PreparedSide,
    reference: PreparedSide,
    metrics: str | Sequence[str] | None,
    preparation: Preparation,
    start: float,
    intervals: bool,
    *,
    judged: bool = False,
    ladder: bool = False,
    training_log: TrainingLog | None = None,
    likelihoods: Likelihoods | None = None,
) -> Report:
    """Score two finished sides and put words, pictures and provenance around the numbers."""
    if generated.features.dimension != reference.features.dimension:
        raise FeatureMismatch(
            f"{generated.summary.source} has {generated.features.dimension} feature dimensions and "
            f"{reference.summary.source} has {reference.features.dimension}. Both must come from the same network."
        )
    extractor = common_extractor(generated.extractor, reference.extractor)
    settings = settings_for(preparation.overrides(), seed=preparation.seed)
    space = Space(
        extractor.name,
        has_logits=generated.features.logits is not None,
        has_spatial=generated.features.spatial is not None,
        published=extractor.published,
        modality=extractor.modality,
    )
    keys = choose_metrics(metrics, space)
    comparison = Comparison(
        generated.features, reference.features, extractor.name, preparation.seed, settings, intervals
    )
    scores, curves = score(comparison, keys, extractor, space)
    scales: tuple[LadderScale, ...] = ()
    findings: tuple[Finding, ...] = ()
    if judged:
        floors = floors_of(scores, comparison, extractor, reference.summary, preparation.store)
        scores = with_floors(scores, floors)
        evidence = Evidence(
            comparison,
            scores,
            floors,
            generated_source=generated.source,
            reference_source=reference.source,
            generated_traits=_traits(generated, preparation.threads),
            reference_traits=_traits(reference, preparation.threads),
            generated_texts=_text_traits(generated, preparation.opened),
            reference_texts=_text_traits(reference, preparation.opened),
            of_texts=extractor.modality == "text",
            training_log=training_log,
            likelihoods=likelihoods,
        )
        findings = diagnose(evidence)
    if ladder:
        scores, scales = with_ladder(
            scores,
            comparison,
            extractor,
            reference.summary,
            preparation.store,
            network=preparation.opened,
            source=reference.images,
            progress=preparation.progress,
        )
    computed, seconds = generated.computed + reference.computed, generated.seconds + reference.seconds
    neighbours = any(key in keys for key in ("precision", "recall", "density", "coverage"))
    report = Report(
        scores=scores,
        findings=findings,
        generated=generated.summary,
        reference=reference.summary,
        extractor=extractor,
        fingerprint=report_fingerprint(extractor, settings),
        curves=curves,
        galleries=build_galleries(comparison, generated.source, reference.source) if neighbours else (),
        scales=scales,
        seed=preparation.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        generators={
            what: side.source.summary()
            for what, side in (("generated", generated), ("reference", reference))
            if isinstance(side.source, GeneratorSource)
        },
        runtime=Runtime(
            device=preparation.opened.device if preparation.opened else "none",
            backend=preparation.opened.backend if preparation.opened else "none",
            versions=library_versions(),
            seconds=time.perf_counter() - start,
            peak_memory_bytes=peak_memory(),
            images_per_second=computed / seconds if computed and seconds else None,
            notes=tuple(preparation.store.notes),
        ),
    )
    return report_of_texts(report) if extractor.modality == "text" else report


def _text_traits(side: PreparedSide, extractor: FeatureExtractor | None) -> TextTraits | None:
    if not isinstance(side.source, TextSource) or extractor is None:
        return None
    return text_traits_of(side.source, side.features.index, extractor.pieces_per_word)


def _traits(side: PreparedSide, threads: int | None) -> Traits | None:
    if side.images is None:
        return None
    return traits_of(side.images, positions=side.features.index, threads=threads)


def common_extractor(generated: ExtractorSummary, reference: ExtractorSummary) -> ExtractorSummary:
    """Whose features both sides are. Only the user knows of given ones, so a number made with them says so."""
    if (generated.numeric_id, generated.protocol) == (reference.numeric_id, reference.protocol):
        return generated
    for given, other in ((generated, reference), (reference, generated)):
        if given.numeric_id == GIVEN:
            return given_features(given.dimension, taken_for=other.name)
    raise FeatureMismatch(
        f"The generated side was made with {generated.name} ({generated.protocol}), the reference with "
        f"{reference.name} ({reference.protocol}). Numbers from different features mean nothing together: make "
        "one of them again with the extractor of the other."
    )
