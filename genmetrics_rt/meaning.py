"""What the scores mean: beside each, what a perfect model would score; and where asked for, the degree of damage.

Both are computed from the reference alone and kept in the cache: they are paid for once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from genmetrics_rt.cache import FeatureCache
from genmetrics_rt.calibration.floor import Floor, floors
from genmetrics_rt.calibration.ladder import Ladder, build_ladder, score_like_rungs
from genmetrics_rt.errors import TooFewImages
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.report import ExtractorSummary, LadderScale, PerfectModel, ScaleDamage, ScaleRung, Score, SideSummary
from genmetrics_rt.sources import ImageSource

_REPETITIONS, _FEWER = 8, 5  # deals of the reference; fewer where a Fréchet distance is dear
_DEAR = 512  # dimensions
_SCHEMA = "genmetrics.floors/1"


def with_floors(scores: Mapping[str, Score], found: Mapping[str, Floor]) -> dict[str, Score]:
    """The scores, each with what a perfect model would get at these numbers of images, where that can be said."""
    return {key: replace(score, floor=_perfect(found.get(key))) for key, score in scores.items()}


def with_ladder(
    scores: Mapping[str, Score],
    comparison: Comparison,
    extractor: ExtractorSummary,
    reference: SideSummary,
    cache: FeatureCache,
    *,
    network: FeatureExtractor | None,
    source: ImageSource | None,
    progress: ProgressCallback | None,
) -> tuple[dict[str, Score], tuple[LadderScale, ...]]:
    """The scores, each with its place among known damages of the reference in words; and the scales to be drawn.

    Raises `TooFewImages` for a reference of too few images.
    """
    ladder = build_ladder(
        comparison.reference,
        comparison.generated.num_images or 1,
        [key for key, score in scores.items() if score.value is not None],
        comparison.settings,
        extractor=network or extractor,
        source=source,
        content_hash=reference.content_hash,
        seed=comparison.seed,
        cache=cache,
        progress=progress,
    )
    own = score_like_rungs(ladder, comparison.generated, comparison.reference, comparison.settings, extractor=extractor)
    placed, scales = dict(scores), []
    for key, score in own.items():
        if score.value is None or key not in ladder.titles or key not in placed:
            continue
        placement = ladder.place(key, score.value, interval=score.interval)
        placed[key] = replace(placed[key], placement=placement)
        scales.append(_scale(key, score, ladder, placement))
    return placed, tuple(scales)


def floors_of(
    scores: Mapping[str, Score],
    comparison: Comparison,
    extractor: ExtractorSummary,
    reference: SideSummary,
    cache: FeatureCache,
) -> dict[str, Floor]:
    """The floors of the scores that have a value: from the cache, or from parts of the reference."""
    keys = [key for key, score in scores.items() if score.value is not None]
    num_generated = comparison.generated.num_images or len(comparison.generated.values)
    if num_generated < 1:  # a file of statistics that does not say of how many images
        return {}
    name = ""
    if reference.content_hash:
        record = {
            "schema": _SCHEMA,
            "content": reference.content_hash,
            "rows": hashlib.sha256(comparison.reference.index.tobytes()).hexdigest(),
            "numeric_id": extractor.numeric_id,
            "protocol": extractor.protocol,
            "keys": list(keys),
            "settings": comparison.settings,
            "spatial_rows": comparison.reference.spatial_values is not None,
            "num_generated": num_generated,
            "seed": comparison.seed,
        }
        name = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        stored = cache.get(name)
        if stored is not None:
            return {key: Floor(**entry) for key, entry in json.loads(bytes(stored["floors"]).decode()).items()}
    try:
        found = floors(
            comparison.reference,
            num_generated,
            keys,
            comparison.settings,
            seed=comparison.seed,
            repetitions=_FEWER if comparison.reference.dimension > _DEAR else _REPETITIONS,
        )
    except TooFewImages:
        return {}
    if name:
        text = json.dumps({key: asdict(floor) for key, floor in found.items()})
        cache.put(name, {"floors": np.frombuffer(text.encode(), dtype=np.uint8)})
    return found


def _perfect(floor: Floor | None) -> PerfectModel | None:
    if floor is None or floor.value is None or floor.low is None or floor.high is None:
        return None
    return PerfectModel(floor.value, floor.low, floor.high, floor.num_generated, floor.num_reference, floor.how)


def _scale(key: str, score: Score, ladder: Ladder, placement: str) -> LadderScale:
    assert score.value is not None
    damages = tuple(
        ScaleDamage(
            damage.title,
            tuple(
                ScaleRung(damage.measured(rung.severity), reading.value, reading.low, reading.high)
                for rung in ladder.rungs[damage.key]
                if (reading := rung.readings.get(key)) is not None
            ),
        )
        for damage in ladder.damages
    )
    return LadderScale(
        key=key,
        title=ladder.titles[key],
        value=score.value,
        interval=score.interval,
        floor=_perfect(ladder.floors.get(key)),
        damages=damages,
        num_generated=ladder.num_generated,
        num_reference=ladder.num_reference,
        placement=placement,
    )
