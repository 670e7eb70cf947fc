"""Known damages: deterministic, of the same shape, worse with severity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from genmetrics_rt.calibration.damage import DAMAGES, DROP, DamagedSource, damaged, modes, without_modes
from genmetrics_rt.errors import InputError
from genmetrics_rt.images import open_images
from tests import makers

PICTURES = makers.pictures(6, seed=3, size=40)


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage.key != DROP], ids=lambda d: d.key)
def test_more_of_it_moves_the_pixels_further(damage) -> None:
    for image in PICTURES:
        moved = [
            np.abs(damaged(image, damage.key, severity).astype(int) - image).mean() for severity in damage.severities
        ]
        assert all(first < second for first, second in pairwise(moved)), damage.key
        again = damaged(image, damage.key, damage.severities[1])
        assert again.shape == image.shape and again.dtype == np.uint8
        assert np.array_equal(again, damaged(image, damage.key, damage.severities[1]))


def test_no_damage_is_none() -> None:
    assert np.array_equal(damaged(PICTURES[0], "blur", 0), PICTURES[0])
    assert np.array_equal(damaged(PICTURES[0], "noise", 0), PICTURES[0])


def test_blur_of_an_impulse_is_its_gaussian() -> None:
    """The centre of a normalised Gaussian of σ = 2 is 1/(2π σ²) of what it was."""
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    assert damaged(image, "blur", 2)[20, 20, 0] == round(255 / (2 * np.pi * 4))


def test_what_cannot_be() -> None:
    for key, severity in (("fog", 1), ("blur", -1), ("jpeg", 0), ("noise", float("nan"))):
        with pytest.raises(InputError):
            damaged(PICTURES[0], key, severity)


def test_modes_are_left_out_in_one_order() -> None:
    rows = np.concatenate([np.random.default_rng(0).normal(9 * centre, 0.1, (30, 2)) for centre in range(20)])
    turns = modes(rows)
    assert sorted(np.unique(turns)) == list(range(20))
    left = [without_modes(turns, share) for share in (0, 0.1, 0.25, 0.5, 0.75)]
    assert left[0].all() and left[1].sum() == 540
    assert all((more | less == more).all() for more, less in pairwise(left))
    with pytest.raises(InputError):
        without_modes(turns, 1.0)


def test_a_damaged_source_reads_what_the_damage_makes(tmp_path) -> None:
    source = open_images(makers.image_folder(tmp_path / "in", 4, seed=3, size=40))
    noisy = DamagedSource(source, "noise", 8.0)
    assert len(noisy) == 4 and noisy.entry_name(0) == source.entry_name(0)
    assert noisy.digest(0) not in (source.digest(0), DamagedSource(source, "noise", 16.0).digest(0))
    first, again = noisy.read(1).pixels, noisy.read(1).pixels
    assert np.array_equal(first, again) and not np.array_equal(first, PICTURES[1])
