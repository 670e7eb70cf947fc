"""From an opened side to its features: which extractor is meant, how many images, what was skipped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle, list_bundles, load_bundle
from genmetrics_rt.cache import FeatureCache, cache_home
from genmetrics_rt.errors import EmptySide, FeatureMismatch, InputError
from genmetrics_rt.extraction import extract
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.fetch import fetch_bundle
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.manifest import Protocol as BundleProtocol
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.reference import UNRECORDED, Reference, taken_for
from genmetrics_rt.report import ExtractorSummary, SideSummary
from genmetrics_rt.scoring import Space
from genmetrics_rt.sides import FeatureRows, Side
from genmetrics_rt.sources import ImageSource
from genmetrics_rt.texts import TextSource

DEFAULT_EXTRACTOR = "scattering"
DEFAULT_TEXT_EXTRACTOR = "minilm"
_LOOKED_AT = 2_000  # texts, for how many are too long for the network
MAX_DEFAULT_SAMPLES = 10_000  # of a generator, when the reference has more images
# Names the fingerprint of features whose network we do not know.
GIVEN = "given"


def default_extractor() -> str:
    """The extractor that is meant where nobody names one. It never depends on what happens to be cached."""
    return os.environ.get("GENMETRICS_EXTRACTOR") or DEFAULT_EXTRACTOR


def _default_text_extractor() -> str:
    """The same for texts: the one of the environment only if it looks at texts."""
    named = os.environ.get("GENMETRICS_EXTRACTOR")
    return named if named and load_bundle(named).manifest.modality == "text" else DEFAULT_TEXT_EXTRACTOR


@dataclass(frozen=True)
class PreparedSide:
    """One side after its features were computed."""

    features: Features
    extractor: ExtractorSummary
    summary: SideSummary
    source: ImageSource | TextSource | None = None  # to show pictures of, or to quote
    computed: int = 0  # images that went through the network now
    seconds: float = 0.0

    @property
    def images(self) -> ImageSource | None:
        """The source, where it holds images."""
        return None if isinstance(self.source, TextSource) else self.source


@dataclass
class Preparation:
    """Everything needed to turn an opened side into features: the options, and the extractor once it is opened."""

    extractor: str | os.PathLike[str] | Bundle | None
    protocol: str | BundleProtocol | None
    tap: str | None
    device: str
    backend: str
    precision: str
    num_images: int | None
    seed: int
    cache: bool
    strict: bool
    batch_size: int | None
    threads: int | None
    progress: ProgressCallback | None
    opened: FeatureExtractor | None = None

    def __post_init__(self) -> None:
        self.store = FeatureCache(cache_home() if self.cache else None)
        self._space = "given"
        self._settings: Mapping[str, Any] = {}  # of metrics, fixed by the protocol
        self._taken_for: ExtractorSummary | None = None  # whose features a side is that does not say so itself
        if self.num_images is not None and (type(self.num_images) is not int or self.num_images < 1):
            raise InputError(f"num_images is {self.num_images!r}; it must be a whole number of at least 1.")
        if type(self.seed) is not int or self.seed < 0:
            raise InputError(f"seed is {self.seed!r}; it must be a whole number of at least 0.")

    def choose_extractor(self, *sides: Side, more_images: bool = False) -> None:
        """Settle which extractor is meant, and open it if any side consists of images, or if they come later."""
        saved = [side for side in sides if isinstance(side, Reference)]
        # What is known of one side is known of both: a file that says nothing comes last.
        saved.sort(key=lambda side: side.extractor.numeric_id == UNRECORDED)
        features = [side for side in sides if isinstance(side, FeatureRows)]
        texts = [side for side in sides if isinstance(side, TextSource)]
        pictures = [side for side in sides if not isinstance(side, Reference | FeatureRows | TextSource)]
        if texts and pictures:
            raise FeatureMismatch(
                f"{texts[0].name} holds texts and the other side images: no features are those of both. Give texts on "
                "both sides, or images on both."
            )
        images = more_images or len(sides) > len(saved) + len(features)
        if features and images:
            kind = "texts" if texts else "images"
            raise FeatureMismatch(
                f"One side consists of features and the other of {kind}. Give {kind} on both sides, or features on "
                "both."
            )
        if images and any(side.extractor.numeric_id == GIVEN for side in saved):
            raise FeatureMismatch(
                "The saved reference holds features that its maker gave, and nobody knows from which network. Give "
                "features of the same network on the other side, or make the reference again from its images."
            )
        if not images:
            self._without_images(saved)
            return
        if self.extractor is None:
            recorded = bool(saved) and saved[0].extractor.numeric_id != UNRECORDED
            default = _default_text_extractor if texts else default_extractor
            self.extractor = saved[0].extractor.name if recorded else _implied_extractor(saved) or default()
            if recorded and self.protocol is None:
                self.protocol = saved[0].extractor.protocol
            if recorded and self.tap is None:
                self.tap = saved[0].extractor.recipe.get("tap")
        if self.protocol is None:
            self.protocol = _implied_protocol(self.extractor, saved)
        self._require_modality("text" if texts else "image" if pictures else None)
        opened = self.open_extractor()
        self._space, self._settings, self._taken_for = opened.summary.name, opened.protocol.metrics, opened.summary

    def _require_modality(self, modality: str | None) -> None:
        """Before weights are fetched: whether the extractor looks at what the sides consist of, if that is known."""
        assert self.extractor is not None
        bundle = self.extractor if isinstance(self.extractor, Bundle) else load_bundle(self.extractor)
        mine = bundle.manifest.modality
        if modality is None or mine == modality or bundle.kind != "extractor":
            return
        other = DEFAULT_TEXT_EXTRACTOR if modality == "text" else DEFAULT_EXTRACTOR
        raise FeatureMismatch(
            f"{bundle.name} looks at {mine}s, and the sides are {modality}s. Use an extractor of {modality}s, such as "
            f"--extractor {other}."
        )

    @property
    def modality(self) -> str:
        """What the sides consist of, as far as it is known: ``"image"`` or ``"text"``."""
        return self._taken_for.modality if self._taken_for is not None else "image"

    def _without_images(self, saved: Sequence[Reference]) -> None:
        """Both sides are features already: nothing is extracted, so an extractor can only be named, not chosen."""
        if saved:
            self._space, self._settings = saved[0].extractor.name, saved[0].settings
            self._taken_for = saved[0].extractor
        if self.extractor is None and self.protocol is None:
            return
        if self.extractor is not None and saved and all(side.extractor.numeric_id == UNRECORDED for side in saved):
            if self.protocol is None:
                self.protocol = _implied_protocol(self.extractor, saved)
            opened = self.open_extractor()  # the user knows whose features they are
            self._space, self._settings, self._taken_for = opened.summary.name, opened.protocol.metrics, opened.summary
            return
        asked = self.protocol.name if isinstance(self.protocol, BundleProtocol) else self.protocol
        made_with = {side.extractor.protocol for side in saved}
        if self.extractor is not None:
            bundle = self.extractor if isinstance(self.extractor, Bundle) else load_bundle(self.extractor)
            asked, made_with = bundle.name, {side.extractor.name for side in saved}
        if asked not in made_with:
            origin = f", made with {', '.join(sorted(made_with))}" if made_with else ""
            raise InputError(
                f"{asked!r} cannot be applied: the sides are features already{origin}. Leave it out, or give the "
                "images."
            )

    def open_extractor(self) -> FeatureExtractor:
        """The feature network, opened once. Weights that are not on this machine are fetched."""
        if self.opened is None:
            assert self.extractor is not None
            bundle = self.extractor if isinstance(self.extractor, Bundle) else load_bundle(self.extractor)
            if bundle.is_weight_free:
                bundle = fetch_bundle(bundle, progress=self.progress)
            self.opened = FeatureExtractor(
                bundle,
                protocol=self.protocol,
                tap=self.tap,
                device=self.device,
                backend=self.backend,
                precision=self.precision,
                threads=self.threads,
                batch_size=self.batch_size,
            )
        return self.opened

    @property
    def space(self) -> str:
        """Whose features they are, in a word: the extractor's name, or "given"."""
        return self._space

    def space_of(self, side: Side | None) -> Space:
        """What can be scored on the features of a side; None stands for images that are still to come."""
        if isinstance(side, Reference):
            features, extractor = side.features, self._taken_for or side.extractor
            return Space(
                self.space,
                has_logits=features.logits is not None,
                has_spatial=features.spatial is not None,
                published=extractor.published,
                modality=extractor.modality,
            )
        if self.opened is None:
            return Space(self.space)
        return Space(
            self.space,
            has_logits="logits" in self.opened.bundle.manifest.taps,
            has_spatial=self.opened.protocol.spatial,
            published=self.opened.summary.published,
            modality=self.opened.modality,
        )

    def overrides(self) -> Mapping[str, Any]:
        """Settings of metrics that the protocol fixes."""
        return self._settings

    def features(self, side: Side, stage: str, *, samples: int | None) -> PreparedSide:
        """Turn an opened side into features. ``samples``: how many a generator should make if nobody said."""
        if isinstance(side, Reference):
            if self._taken_for is not None:
                side = taken_for(side, self._taken_for)
            if self.opened is not None:
                side.require_same_features(self.opened.summary)
            return PreparedSide(side.features, side.extractor, side.summary)
        if isinstance(side, FeatureRows):
            return self._given_features(side)
        if isinstance(side, Generator):
            count = self.num_images or min(samples or MAX_DEFAULT_SAMPLES, MAX_DEFAULT_SAMPLES)
            source = GeneratorSource(
                side,
                count,
                # Another seed on the reference side, so that a generator never meets its own samples there.
                seed=self.seed + (stage == "reference"),
                device=self.device,
                backend=self.backend,
                threads=self.threads,
            )
            return self._images(source, stage, sampled=True)
        return self._images(side, stage, sampled=False)

    def _images(self, source: ImageSource | TextSource, stage: str, *, sampled: bool) -> PreparedSide:
        extractor = self.open_extractor()
        chosen = None if sampled else _sample_positions(len(source), self.num_images, self.seed)
        positions = None if chosen is None else chosen.tolist()
        collector = FeatureCollector(seed=self.seed)
        run = extract(
            extractor, source, collector, positions=positions, cache=self.store, strict=self.strict, stage=stage,
            progress=self.progress,
        )  # fmt: skip
        if collector.num_images == 0:
            first = f" The first: {run.skipped[0].name}: {run.skipped[0].reason}." if run.skipped else ""
            what = "texts has a word in it" if extractor.modality == "text" else "files could be used as an image"
            raise EmptySide(f"{source.name}: none of {len(run.skipped):,} {what}.{first}")
        summary = SideSummary(
            num_images=collector.num_images,
            source=source.name,
            content_hash=run.content_hash,
            skipped=(*source.skipped, *run.skipped),
            notes=_cut_texts(source, collector, extractor),
        )
        return PreparedSide(collector.result(), extractor.summary, summary, source, run.computed, run.seconds)

    def _given_features(self, side: FeatureRows) -> PreparedSide:
        values = side.values
        positions = _sample_positions(len(values), self.num_images, self.seed)
        index = np.arange(len(values), dtype=np.int64) if positions is None else positions
        collector = FeatureCollector(seed=self.seed)
        collector.update(values[index], index=index, what=side.name)
        summary = SideSummary(num_images=len(index), source=side.name, content_hash="")
        return PreparedSide(collector.result(), given_features(values.shape[1]), summary)


def _cut_texts(
    source: ImageSource | TextSource, collector: FeatureCollector, extractor: FeatureExtractor
) -> tuple[str, ...]:
    """A note on texts of which the network sees the beginning alone."""
    if not isinstance(source, TextSource):
        return ()
    positions = collector.result().index[:_LOOKED_AT].tolist()
    cut = sum(extractor.is_cut(source.text(position)) for position in positions)
    if not cut:
        return ()
    first = "" if collector.num_images <= _LOOKED_AT else "the first "
    return (
        f"Of {cut:,} of {first}{len(positions):,} texts, longer than it takes, the network sees the beginning alone.",
    )


def given_features(dimension: int, taken_for: str = "") -> ExtractorSummary:
    return ExtractorSummary(
        name="features",
        title="features given by the user" + (f", taken to be those of {taken_for}" if taken_for else ""),
        label="the numbers mean what these features mean",
        numeric_id=GIVEN,
        protocol="none",
        dimension=dimension,
    )


def _implied_extractor(saved: Sequence[Reference]) -> str | None:
    """The extractor that a statistics file speaks for, if the user has named none anywhere."""
    if os.environ.get("GENMETRICS_EXTRACTOR"):
        return None
    known = list_bundles("extractor")
    names = (entry.extractor.name for side in saved for entry in (side, *side.others))
    return next((name for name in names if name in known), None)


def _implied_protocol(extractor: str | os.PathLike[str] | Bundle | None, saved: Sequence[Reference]) -> str | None:
    """The protocol that a statistics file's name or layout speaks for, if this extractor has it."""
    if not saved or extractor is None:
        return None
    bundle = extractor if isinstance(extractor, Bundle) else load_bundle(extractor)
    names = (side.extractor.protocol for side in saved if side.extractor.numeric_id == UNRECORDED)
    return next((name for name in names if name in bundle.manifest.protocols), None)


def side_length(side: Side) -> int | None:
    """How many images a side has; None where nobody knows yet."""
    if isinstance(side, FeatureRows):
        return len(side.values)
    if isinstance(side, Reference):
        return side.summary.num_images
    return None if isinstance(side, Generator) else len(side)


def _sample_positions(length: int, num_images: int | None, seed: int) -> NDArray[np.int64] | None:
    """``num_images`` positions in order: a seeded uniform sample, since folders are often sorted by class."""
    if num_images is None or num_images == length:
        return None
    if num_images > length:
        raise InputError(f"num_images is {num_images:,}, but a side has only {length:,}. Use at most {length:,}.")
    return np.sort(np.random.default_rng(seed).choice(length, num_images, replace=False)).astype(np.int64)
