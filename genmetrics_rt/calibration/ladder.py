"""The ladder: what known damage of the reference itself scores, so that a number can be read as a degree of damage.

The reference is dealt into parts that share no image. Images of one part are damaged, from mild to severe, and scored
against another part, which is left as it is. Every rung has the same number of images: where modes are left out, a
spare part fills up the rows. The user's images, scored in the same numbers against the same part
(`score_like_rungs`), stand on the same ladder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from genmetrics_rt.cache import FeatureCache
from genmetrics_rt.calibration.damage import DAMAGES, DROP, NUM_MODES, Damage, DamagedSource, modes, without_modes
from genmetrics_rt.calibration.floor import MIN_REFERENCE, Floor, floors, some_rows
from genmetrics_rt.calibration.placing import Band, Place, place_on, sentence
from genmetrics_rt.decode import rules_in_force
from genmetrics_rt.distances import IntArray
from genmetrics_rt.errors import EmptySide, InputError, TooFewImages, UnknownMetric, UnreadableInput
from genmetrics_rt.extraction import extract
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.report import ExtractorSummary, Score, json_text
from genmetrics_rt.scoring import Space, choose_metrics, score
from genmetrics_rt.sources import ImageSource

SCHEMA = "genmetrics.ladder/1"
_SHARES = ("precision", "recall", "coverage", "prd_f8", "prd_f1_8", "mauve")


@dataclass(frozen=True)
class Reading:
    """A score of one rung with its 95 % interval; see `_readings` for scores that have none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """One damage at one severity: its readings by key, and how many damaged images they are made of.

    A score that could not be computed has no reading.
    """

    severity: float
    num_generated: int
    readings: Mapping[str, Reading]


@dataclass(frozen=True)
class Ladder:
    """Damage → its rungs from mild to severe, all scored against the same part of the reference."""

    rungs: Mapping[str, tuple[Rung, ...]]
    damages: tuple[Damage, ...]
    floors: Mapping[str, Floor]  # at the numbers of images of the rungs
    titles: Mapping[str, str]  # key → "Fréchet distance on scattering features"
    higher_is_better: Mapping[str, bool]
    num_generated: int  # damaged images a rung
    num_reference: int  # images of the part that they are scored against
    num_rows: int  # of the reference, which was dealt
    seed: int
    spare: bool  # whether a part was kept to fill up rungs of left-out modes

    def places(self, key: str, value: float, *, interval: tuple[float, float] | None = None) -> tuple[Place, ...]:
        """Where a score stands on the rungs of each damage, in the order of ``damages``.

        ``value`` is a score at the ladder's numbers of images, as `score_like_rungs` gives it; with its ``interval``
        the statements are as wide as it asks for. Raises `UnknownMetric` for a key that is not on the ladder.
        """
        if key not in self.titles:
            raise UnknownMetric(f"{key!r} is not on this ladder. These are: {', '.join(self.titles)}.")
        low, high = interval or (value, value)
        return tuple(
            place_on(damage, self.bands(damage.key, key), min(low, value), max(high, value), self.higher_is_better[key])
            for damage in self.damages
        )

    def place(self, key: str, value: float, *, interval: tuple[float, float] | None = None) -> str:
        """The same in words: "Lies between blur σ = 1.1 px and σ = 1.6 px; …". Never beyond the outermost rungs."""
        return sentence(self.places(key, value, interval=interval), self.floors.get(key), value)

    def bands(self, damage: str, key: str) -> tuple[Band, ...]:
        """Severity and interval of each rung that has a reading."""
        return tuple(
            Band(rung.severity, rung.readings[key].low, rung.readings[key].high)
            for rung in self.rungs[damage]
            if key in rung.readings
        )

    def to_dict(self) -> dict[str, Any]:
        """The ladder as plain JSON values."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """The ladder as JSON text, schema ``genmetrics.ladder/1``."""
        return json_text(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> Ladder:
        """Read what `to_json` wrote. Raises `UnreadableInput`."""
        try:
            record = json.loads(text)
            if record.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            return cls(
                **{
                    **record,
                    "rungs": {key: tuple(map(_rung, rungs)) for key, rungs in record["rungs"].items()},
                    "damages": tuple(
                        Damage(**{**entry, "severities": tuple(entry["severities"])}) for entry in record["damages"]
                    ),
                    "floors": {key: Floor(**entry) for key, entry in record["floors"].items()},
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise UnreadableInput(f"Not a {SCHEMA} file: {error!r}. Build the ladder again.") from error


def build_ladder(
    reference: Features,
    num_generated: int,
    keys: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    *,
    extractor: FeatureExtractor | ExtractorSummary,
    source: ImageSource | None = None,
    content_hash: str = "",
    damages: Sequence[Damage] = DAMAGES,
    max_images: int | None = None,
    seed: int = 0,
    cache: FeatureCache | None = None,
    progress: ProgressCallback | None = None,
) -> Ladder:
    """Damage images of one part of a reference and score them against another part.

    Parameters
    ----------
    reference : Features
        With ``index`` into ``source``.
    num_generated : int
        Images of the user: as many are damaged, or a third of the reference (half of it, if no modes are left out), or
        ``max_images``, whichever is least. They are scored against everything that is left.
    keys, settings
        As in a report; see `genmetrics_rt.scoring`.
    extractor, source
        The network and the images of the reference. Without ``source``, or with a summary in place of the network,
        only the damage that needs no images is there: modes left out.
    content_hash : str
        Of the reference. With it and a ``cache``, a ladder is built once; a damaged entry is built again.
    progress
        Called with the stage "ladder".

    Raises
    ------
    TooFewImages
        A reference of fewer than 80 rows.
    InputError
        No damage that can be done, or no image.
    """
    rows = len(reference.values)
    if rows < MIN_REFERENCE:
        raise TooFewImages(
            f"The reference has {rows} rows of features, and a ladder needs {MIN_REFERENCE}: a part of them is "
            "damaged, and the others stay the reference. Give more images."
        )
    summary = extractor.summary if isinstance(extractor, FeatureExtractor) else extractor
    network = extractor if isinstance(extractor, FeatureExtractor) and source is not None else None
    chosen = tuple(damage for damage in damages if damage.key == DROP or network is not None)
    if not chosen or num_generated < 1 or (max_images is not None and max_images < 1):
        raise InputError("A ladder needs a damage and an image: give the reference's images, and at least 1 of each.")
    space = Space(
        summary.name,
        has_logits=reference.logits is not None,
        published=summary.published,
    )
    keys = choose_metrics([key for key in keys if key in space.keys()], space)
    spare = any(damage.key == DROP for damage in chosen)
    size = min(num_generated, rows // (3 if spare else 2), max_images or rows)

    # Built before?
    name = _name(reference, size, keys, settings, summary, content_hash, chosen, seed)
    if cache is not None and content_hash:
        stored = cache.get(name)
        if stored is not None:
            with contextlib.suppress(KeyError, UnicodeDecodeError, UnreadableInput):  # of another version: built again
                return Ladder.from_json(bytes(stored["ladder"]).decode())

    parts = deal(rows, size, seed, spare=spare)
    others = some_rows(reference, parts.reference)
    pool = np.concatenate([parts.damaged, parts.spare])
    turns = modes(reference.values[pool], seed=seed) if spare else None
    floor = floors(reference, size, keys, settings, num_reference=len(parts.reference), seed=seed)
    meter = _Overall(sum(len(d.severities) for d in chosen if d.key != DROP) * size, progress)
    rungs: dict[str, tuple[Rung, ...]] = {}
    scores: dict[str, Score] = {}
    for damage in chosen:
        made = []
        for severity in damage.severities:
            if damage.key == DROP:
                assert turns is not None
                side = some_rows(reference, pool[without_modes(turns, severity)][:size])
            else:
                assert network is not None and source is not None
                side = _features_of_damaged(
                    network, source, reference, parts.damaged, damage.key, severity, seed, meter
                )
            found = _scores(side, others, keys, settings, summary, space, seed)
            scores |= found
            made.append(Rung(severity, len(side.values), _readings(found, floor)))
        rungs[damage.key] = tuple(made)
    ladder = Ladder(
        rungs=rungs,
        damages=chosen,
        floors=floor,
        titles={key: scores[key].name for key in keys if key in scores},
        higher_is_better={key: scores[key].higher_is_better for key in keys if key in scores},
        num_generated=size,
        num_reference=len(parts.reference),
        num_rows=rows,
        seed=seed,
        spare=spare,
    )
    if cache is not None and content_hash:
        cache.put(name, {"ladder": np.frombuffer(ladder.to_json().encode(), dtype=np.uint8)})
    return ladder


def score_like_rungs(
    ladder: Ladder,
    generated: Features,
    reference: Features,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    extractor: ExtractorSummary,
) -> dict[str, Score]:
    """The scores of the user's images made like those of the rungs: as many of them, against the same part.

    These are what `Ladder.place` takes. Scores depend on the numbers of images, so those of a report, which are made
    of all images, stand on no rung. Raises `InputError` for a reference that the ladder was not built from.
    """
    if len(reference.values) != ladder.num_rows:
        raise InputError(
            f"The ladder was built from {ladder.num_rows} rows of features, and this reference has "
            f"{len(reference.values)}: build a ladder from it."
        )
    parts = deal(ladder.num_rows, ladder.num_generated, ladder.seed, spare=ladder.spare)
    rows = len(generated.values)
    drawn = np.random.default_rng(ladder.seed).permutation(rows)[: ladder.num_generated]
    space = Space(extractor.name, has_logits=generated.logits is not None, published=extractor.published)
    keys = [key for key in ladder.titles if key in space.keys()]
    sides = some_rows(generated, np.sort(drawn)), some_rows(reference, parts.reference)
    return _scores(*sides, keys, settings, extractor, space, ladder.seed)


class Parts(NamedTuple):
    """Rows of a reference, each in one part."""

    damaged: IntArray
    spare: IntArray
    reference: IntArray


def deal(num_rows: int, size: int, seed: int, *, spare: bool) -> Parts:
    """``size`` rows to be damaged, as many to spare (or none), and all others as the reference."""
    dealt = np.random.default_rng(seed).permutation(num_rows)
    end = 2 * size if spare else size
    return Parts(np.sort(dealt[:size]), np.sort(dealt[size:end]), np.sort(dealt[end:]))


def _features_of_damaged(
    network: FeatureExtractor,
    source: ImageSource,
    reference: Features,
    rows: IntArray,
    key: str,
    severity: float,
    seed: int,
    meter: _Overall,
) -> Features:
    protocol = network.protocol
    damaged = DamagedSource(
        source, key, severity, seed=seed, alpha=protocol.alpha, orientation=protocol.orientation
    )  # fmt: skip
    collector = FeatureCollector(seed=seed)
    # Not into the cache: the ladder is, and the features of all rungs take more room than those of the reference.
    extract(network, damaged, collector, positions=reference.index[rows].tolist(), progress=meter.next(len(rows)))
    if collector.num_images == 0:
        raise EmptySide(f"{source.name}: none of its images can be read any more. Is the folder still there?")
    return collector.result()


def _scores(
    generated: Features,
    reference: Features,
    keys: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    summary: ExtractorSummary,
    space: Space,
    seed: int,
) -> dict[str, Score]:
    comparison = Comparison(generated, reference, summary.name, seed, settings)
    try:
        return score(comparison, keys, summary, space)[0]
    except TooFewImages:  # nothing at all can be said of so few
        return {}


def _readings(scores: Mapping[str, Score], floor: Mapping[str, Floor]) -> dict[str, Reading]:
    """Values with their intervals; where the images are too few for one, it is as wide as the floor's."""
    readings = {}
    for key, entry in scores.items():
        if entry.value is None:
            continue
        low, high = floor[key].low, floor[key].high
        reach = 0.0 if low is None or high is None else (high - low) / 2
        low, high = entry.interval or (entry.value - reach, entry.value + reach)
        if key in _SHARES:
            low, high = max(low, 0.0), min(high, 1.0)
        readings[key] = Reading(entry.value, low, high)
    return readings


def _rung(record: Mapping[str, Any]) -> Rung:
    readings = {key: Reading(**entry) for key, entry in record["readings"].items()}
    return Rung(record["severity"], record["num_generated"], readings)


def _name(
    reference: Features,
    size: int,
    keys: Sequence[str],
    settings: Mapping[str, Any],
    summary: ExtractorSummary,
    content_hash: str,
    damages: Sequence[Damage],
    seed: int,
) -> str:
    """Under which a ladder is stored: everything that its numbers depend on."""
    record = {
        "schema": SCHEMA,
        "content": content_hash,
        "rows": hashlib.sha256(reference.index.tobytes()).hexdigest(),
        "numeric_id": summary.numeric_id,
        "protocol": summary.protocol,
        "keys": list(keys),
        "settings": settings,
        "num_generated": size,
        "damages": [dataclasses.asdict(damage) for damage in damages],
        "num_modes": NUM_MODES,
        "seed": seed,
        "decoding": rules_in_force(),
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class _Overall:
    """One bar for all rungs: counts on from rung to rung."""

    def __init__(self, total: int, callback: ProgressCallback | None) -> None:
        self._total, self._callback, self._before = total, callback, 0

    def next(self, count: int) -> ProgressCallback | None:
        """The callback of the next rung, which has ``count`` images."""
        before, callback = self._before, self._callback
        self._before += count
        if callback is None:
            return None

        def show(state: Progress) -> None:
            done = before + state.done
            left = (self._total - done) / state.images_per_second if state.images_per_second else None
            callback(replace(state, stage="ladder", done=done, total=self._total, seconds_left=left))

        return show
