"""What a perfect model would score: the floor at the user's numbers of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genmetrics_rt.calibration.floor import Floor, floors
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.metrics.density_coverage import expected_coverage
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.scoring import settings_for

SETTINGS = settings_for({}, seed=0)
KEYS = ("fd", "kid", "precision", "recall", "density", "coverage")


def side(rows: np.ndarray) -> Features:
    collector = FeatureCollector()
    collector.update(rows.astype(np.float32))
    return collector.result()


def draw(count: int, seed: int, dimension: int = 8) -> Features:
    return side(np.random.default_rng([3, seed]).standard_normal((count, dimension)))


def scored(generated: Features, reference: Features, keys: tuple[str, ...] = KEYS) -> dict[str, float]:
    from genmetrics_rt.report import ExtractorSummary
    from genmetrics_rt.scoring import Space, score

    nobody = ExtractorSummary("features", "", "", "", "", generated.dimension)
    comparison = Comparison(generated, reference, "", 0, SETTINGS, intervals=False)
    return {key: entry.value for key, entry in score(comparison, keys, nobody, Space(""))[0].items()}


@pytest.fixture(scope="module")
def found() -> dict[str, Floor]:
    return floors(draw(600, 0), 400, KEYS, SETTINGS)


def test_closed_forms(found: dict[str, Floor]) -> None:
    assert found["kid"].value == 0 and found["density"].value == 1
    assert found["coverage"].value == expected_coverage(600, 400)
    for floor in found.values():
        assert floor.low < floor.value < floor.high or floor.value in (0, 1)
        assert floor.how and floor.reason is None


@pytest.mark.parametrize("sizes", [(400, 600), (600, 600), (200, 800)])
def test_the_frechet_distance_of_fresh_sets_is_its_floor(sizes: tuple[int, int]) -> None:
    """The mean over fresh pairs of one distribution, at the user's numbers and not at those of the parts."""
    num_generated, num_reference = sizes
    floor = floors(draw(num_reference, 1), num_generated, ("fd",), SETTINGS)["fd"]
    fresh = [scored(draw(num_generated, 100 + i), draw(num_reference, 200 + i), ("fd",))["fd"] for i in range(40)]
    assert floor.value == pytest.approx(np.mean(fresh), rel=0.12)
    assert np.mean([floor.low <= value <= floor.high for value in fresh]) >= 0.8


def draw_spatial(count: int, seed: int) -> Features:
    """Spatial rows of more dimensions and another scale than the features beside them.

    In 16 equal dimensions one floor scatters by 4 % of itself over references (of 30), well within what is asked.
    """
    rows = 2 * np.random.default_rng([4, seed]).standard_normal((count, 16))
    collector = FeatureCollector()
    collector.update(draw(count, seed).values, spatial=rows.astype(np.float32))
    return collector.result()


@pytest.mark.parametrize("sizes", [(400, 600), (200, 800)])
def test_the_spatial_frechet_distance_of_fresh_sets_is_its_floor(sizes: tuple[int, int]) -> None:
    num_generated, num_reference = sizes
    floor = floors(draw_spatial(num_reference, 1), num_generated, ("fd", "sfid"), SETTINGS)["sfid"]
    pairs = [(draw_spatial(num_generated, 100 + i), draw_spatial(num_reference, 200 + i)) for i in range(40)]
    fresh = [scored(*pair, ("sfid",))["sfid"] for pair in pairs]
    assert floor.value == pytest.approx(np.mean(fresh), rel=0.12)
    assert np.mean([floor.low <= value <= floor.high for value in fresh]) >= 0.8
    assert (floor.num_generated, floor.num_reference) == sizes


def test_a_floor_that_is_asked_for_beside_others_changes_none_of_them() -> None:
    reference = draw_spatial(200, 0)
    alone, beside = (floors(reference, 150, keys, SETTINGS)["fd"] for keys in (("fd",), ("fd", "sfid")))
    assert alone == beside


def test_a_fresh_set_is_within_and_another_distribution_is_not(found: dict[str, Floor]) -> None:
    reference = draw(600, 0)
    inside = [
        {key: found[key].holds(value) for key, value in scored(draw(400, 50 + i), reference).items()} for i in range(20)
    ]
    for key in KEYS:
        assert np.mean([entry[key] for entry in inside]) >= 0.8, key
    far = scored(side(np.random.default_rng(9).standard_normal((400, 8)) * 0.6 + 0.5), reference)
    assert not any(found[key].holds(far[key]) for key in ("fd", "kid", "recall", "coverage"))


def test_always_alike_and_moved_by_the_seed() -> None:
    first, again, other = (floors(draw(200, 0), 200, ("fd",), SETTINGS, seed=seed)["fd"] for seed in (0, 0, 1))
    assert first == again and first.value != other.value


def test_where_there_is_none() -> None:
    few = floors(draw(79, 0), 50, KEYS, SETTINGS)
    assert all(floor.value is None and "79 images" in floor.reason for floor in few.values())
    other = floors(draw(100, 0), 50, ("sfid",), SETTINGS)["sfid"]
    assert other.value is None and "no rows of spatial features" in other.reason
    saved = replace(draw_spatial(100, 0), spatial_values=None)  # as a reference file has it
    assert saved.spatial is not None
    other = floors(saved, 50, ("fd", "sfid"), SETTINGS)
    assert other["sfid"].value is None and "no rows of spatial features" in other["sfid"].reason
    assert other["fd"].value is not None
    with pytest.raises(ValueError, match="repetitions"):
        floors(draw(100, 0), 50, KEYS, SETTINGS, repetitions=1)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_coverage_of_the_floors() -> None:
    """Reference and model drawn anew: the model's score lies within the floor in about 95 of 100 cases."""
    hits = dict.fromkeys(KEYS, 0)
    for repetition in range(200):
        reference = draw(400, 1000 + repetition)
        floor = floors(reference, 300, KEYS, SETTINGS)
        for key, value in scored(draw(300, 5000 + repetition), reference).items():
            hits[key] += floor[key].holds(value)
    print({key: count / 200 for key, count in hits.items()})
    assert all(0.88 <= count / 200 <= 1 for count in hits.values())
