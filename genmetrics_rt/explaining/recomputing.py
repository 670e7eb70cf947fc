"""The features of two sides by one recipe, computed once, to be scored with as many settings as wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import InputError
from genmetrics_rt.evaluation import evaluate
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.preparation import Preparation, PreparedSide, side_length
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.reference import Reference
from genmetrics_rt.report import Report
from genmetrics_rt.sides import FeatureRows, Side, open_side

# What may be said about how features are computed, with the defaults of `evaluate`.
DEFAULTS: Mapping[str, Any] = {
    "device": "auto",
    "backend": "onnx",
    "num_images": None,
    "seed": 0,
    "cache": True,
    "strict": False,
    "batch_size": None,
    "threads": None,
    "progress": None,
}


@dataclass(frozen=True)
class FeaturePair:
    """Both sides in one feature space, and how they came there."""

    generated: Reference
    reference: Reference
    device: str
    backend: str
    notes: tuple[str, ...]

    def report(
        self, protocol: str, settings: Mapping[str, Any], *, metrics: str | Sequence[str] | None, seed: int
    ) -> Report:
        """The scores on these features with other settings of the metrics, under the name of a protocol."""
        sides = (
            replace(side, extractor=replace(side.extractor, protocol=protocol), settings=settings)
            for side in (self.generated, self.reference)
        )
        report = evaluate(*sides, metrics=metrics, intervals=False, seed=seed)
        runtime = replace(report.runtime, device=self.device, backend=self.backend, notes=self.notes)
        return replace(report, runtime=runtime)


def open_images_of(side: Any, what: str) -> Side:
    """Open a side that consists of images, or of a generator. Raises `InputError` for features: no recipe changes them.

    ``what`` names the purpose in the message: "a protocol matrix".
    """
    opened = open_side(side)
    if isinstance(opened, Reference | FeatureRows):
        name = opened.summary.source if isinstance(opened, Reference) else opened.name
        raise InputError(
            f"{name}: these are features already, made by one recipe. {what} computes them by several: give the images."
        )
    return opened


def features_of(
    generated: Side,
    reference: Side,
    *,
    bundle: Bundle,
    protocol: Protocol,
    tap: str | None,
    options: Mapping[str, Any],
    what: str,
) -> FeaturePair:
    """The features of two opened sides, as `evaluate` computes them.

    ``options`` are all of `DEFAULTS` and ``precision``; ``what`` names this pass to a progress callback, beside the
    side.
    """
    preparation = Preparation(extractor=bundle, protocol=protocol, tap=tap, **_telling(what, options))
    preparation.choose_extractor(generated, reference)
    of_reference = preparation.features(reference, "reference", samples=side_length(generated))
    of_generated = preparation.features(generated, "generated", samples=of_reference.summary.num_images)
    opened = preparation.open_extractor()
    notes = tuple(preparation.store.notes)
    return FeaturePair(_kept(of_generated), _kept(of_reference), opened.device, opened.backend, notes)


def _telling(what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a progress callback that hears of which pass it is, since there are several."""
    callback: ProgressCallback | None = options["progress"]
    if callback is None:
        return dict(options)

    def tell(state: Progress) -> None:
        callback(replace(state, stage=f"{what}, {state.stage}"))

    return {**options, "progress": tell}


def _kept(side: PreparedSide) -> Reference:
    return Reference(side.features, side.extractor, side.summary)
