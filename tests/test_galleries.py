"""Which images a report shows: by realism, and those that coverage does not count; and how the page shows them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.features import Features
from genmetrics_rt.galleries import PICTURES, build_galleries, thumbnail
from genmetrics_rt.manifold import Manifold
from genmetrics_rt.metrics.density_coverage import density_coverage
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.report import Gallery, Report, SideSummary
from genmetrics_rt.sources import ArraySource, FolderSource
from tests import makers, reports


def galleries(generated: Any, reference: Any, **overrides: dict[str, Any]) -> dict[str, Gallery]:
    """The galleries of two sets of features, with some picture for each row."""
    sides = [Features(np.asarray(rows, float), np.arange(len(rows)), len(rows)) for rows in (generated, reference)]
    sources = [ArraySource(makers.pictures(len(rows)), name) for rows, name in ((generated, "g"), (reference, "r"))]
    settings = {
        "precision": {"nearest_k": 3, "border_counts": True, **overrides.get("precision", {})},
        "density": {"nearest_k": 5, "border_counts": False, **overrides.get("density", {})},
    }
    built = build_galleries(Comparison(*sides, "tiny", 0, settings), *sources)
    return {gallery.key: gallery for gallery in built}


def cloud(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, 2))


@pytest.mark.parametrize(
    ("count", "precision_k", "density_k", "keys"),
    [
        (8, 10, 3, {"uncovered", "nearest_pairs"}),
        (8, 3, 10, {"least_realistic", "most_realistic", "nearest_pairs"}),
        (8, 7, 7, {"least_realistic", "most_realistic", "uncovered", "nearest_pairs"}),
        (8, 8, 8, {"nearest_pairs"}),
        (1, 1, 1, set()),
    ],
)
def test_each_gallery_needs_images_for_its_own_k_only(
    count: int, precision_k: int, density_k: int, keys: set[str]
) -> None:
    found = galleries(
        cloud(count, 0, shift=3), cloud(30, 1), precision={"nearest_k": precision_k}, density={"nearest_k": density_k}
    )
    assert set(found) == keys


def test_a_protocol_with_a_large_k_does_not_stop_the_evaluation_of_few_images(tmp_path: Path) -> None:
    metrics = {"precision": {"nearest_k": 10}, "density": {"nearest_k": 3}}
    extractor = makers.make_extractor(tmp_path / "large-k", protocol={**makers.PROTOCOL, "metrics": metrics})
    report = gm.evaluate(makers.pictures(8, seed=1), makers.pictures(8, seed=2), extractor=extractor)
    assert report.scores["precision"].value is None and report.scores["density"].value is not None
    assert not {gallery.key for gallery in report.galleries} & {"least_realistic", "most_realistic"}


@pytest.mark.parametrize("border_counts", [False, True])
def test_the_uncovered_are_those_that_coverage_does_not_count(border_counts: bool) -> None:
    """On a grid most distances equal a radius, so the border decides."""
    reference = np.array([[x, y] for x in range(8) for y in range(8)], float)
    generated = reference[::3] + np.array([1, 0])
    settings = {"nearest_k": 1, "border_counts": border_counts}
    coverage = density_coverage(generated, reference, **settings).coverage
    gallery = galleries(generated, reference, density=settings)["uncovered"]
    count = round((1 - coverage) * len(reference))
    nearer = "as near as" if border_counts else "nearer than"
    assert gallery.explanation.startswith(
        f"{count} of 64 reference images have no generated image {nearer} their 1 nearest reference neighbours."
    )
    ratios = [picture.value for picture in gallery.thumbnails]
    assert len(ratios) == min(count, PICTURES) and ratios == sorted(ratios, reverse=True)
    assert min(ratios) > 1 if border_counts else min(ratios) >= 1


def test_a_distance_that_only_its_square_tells_from_the_radius_is_covered() -> None:
    far = 2.0**26  # √(far² + 1) is far in float64
    reference, generated = [[0, 0], [far, 1]], [[-far, 0], [-9 * far, 0]]
    settings = {"nearest_k": 1, "border_counts": False}
    assert density_coverage(np.array(generated), np.array(reference), **settings).coverage == 0.5
    gallery = galleries(generated, reference, precision=settings, density=settings)["uncovered"]
    assert [picture.name for picture in gallery.thumbnails] == ["image 1"]


def test_full_coverage_has_no_gallery_of_the_uncovered() -> None:
    same = cloud(30, 0)
    assert "uncovered" not in galleries(same, same)


def test_the_least_realistic_come_first_and_the_words_on_realism_hold() -> None:
    """Below 1 is outside the smaller half of the balls, which may well be inside a larger one."""
    generated, reference = cloud(60, 0, shift=1), cloud(60, 1)
    manifold = Manifold(generated, reference, nearest_k=3, realism_k=3)
    realism = gm.realism(generated, reference, manifold=manifold)
    radii = manifold.reference_radii[:, 2]
    distances = np.linalg.norm(generated[:, None] - reference[None], axis=2)
    smaller = radii < np.median(radii)
    assert ((realism < 1) == (distances > radii)[:, smaller].all(axis=1)).all()
    assert (manifold.generated_inside(3, border_counts=True) & (realism < 1)).any()

    found = galleries(generated, reference)
    assert "outside the smaller half of the balls" in found["least_realistic"].explanation
    least, most = ([picture.value for picture in found[f"{end}_realistic"].thumbnails] for end in ("least", "most"))
    assert least == sorted(realism)[:PICTURES] and most == sorted(realism, reverse=True)[:PICTURES]


def test_a_picture_that_is_gone_is_none(tmp_path: Path) -> None:
    folder = makers.image_folder(tmp_path / "images", 2)
    source = FolderSource(folder, "images")
    (folder / "0001.png").unlink()
    assert (thumbnail(source, 0) or b"").startswith(b"\xff\xd8") and thumbnail(source, 1) is None


TWINS = [[0, 0], [1, 0], [5, 0], [5, 4], [20, 0], [20, 0]]


def test_the_nearest_pairs_are_near_by_the_scale_of_the_reference_image() -> None:
    """The next reference images lie 1, 1, 4, 4, 0 and 0 away: beside twins there is no scale, on them there is 0."""
    generated = [[0.5, 0], [5, 1], [20, 0], [20, 1], [1, 0], [5, 5], [0, 0.9], [0, 30]]
    pictures = galleries(generated, TWINS)["nearest_pairs"].thumbnails
    names = [picture.name for picture in pictures]
    assert list(zip(names[::2], names[1::2], strict=True)) == [
        ("image 2", "image 4"), ("image 4", "image 1"), ("image 1", "image 2"), ("image 5", "image 3"),
        ("image 0", "image 0"), ("image 6", "image 0"),
    ]  # fmt: skip
    assert [picture.value for picture in pictures[::2]] == pytest.approx([0, 0, 0.25, 0.25, 0.5, 0.9])
    assert [picture.value for picture in pictures[::2]] == [picture.value for picture in pictures[1::2]]
    captions = [picture.caption for picture in pictures]
    assert captions[0] == captions[2] == "the same features"
    assert captions[4] == "0.25 × the distance to the next reference image"
    assert set(captions[1::2]) == {"the reference image closest to it"}


def test_beside_twins_alone_there_is_no_nearest_pair() -> None:
    assert "nearest_pairs" not in galleries([[20, 1], [21, 0], [0, 1]], [[0, 0], [0, 0], [20, 0], [20, 0]])


@pytest.mark.parametrize("readable", [(True, False), (False, True)])
def test_pairs_need_the_pictures_of_both_sides(readable: tuple[bool, bool]) -> None:
    sides = [Features(np.asarray(rows, float), np.arange(len(rows)), len(rows)) for rows in (TWINS, TWINS)]
    sources = [ArraySource(makers.pictures(6), "s") if found else None for found in readable]
    settings = {
        "precision": {"nearest_k": 3, "border_counts": True},
        "density": {"nearest_k": 5, "border_counts": False},
    }
    built = build_galleries(Comparison(*sides, "tiny", 0, settings), *sources)
    assert "nearest_pairs" not in [gallery.key for gallery in built]


# On the page


def test_three_galleries_of_large_pictures_stay_below_3_mb_and_name_every_file() -> None:
    names = [f"bilder/Straßenübersicht_{index:04d}.png" for index in range(36)]
    large = [reports.jpeg(index, 220, noise=True) for index in range(12)]
    assert 36 * len(large[0]) > 3e6 > 12 * len(large[0])
    keys = ("least_realistic", "most_realistic", "uncovered")
    rows = [reports.gallery(key, names[12 * row :][:12], large) for row, key in enumerate(keys)]
    nasty = reports.skipped(*((f"{index}" + '"' * 600, f"{index} " + "<" * 400) for index in range(2000)))
    report = reports.report(
        galleries=tuple(rows), generated=SideSummary(9, "x", "", nasty), reference=SideSummary(9, "y", "", nasty)
    )
    page = reports.Page(text := report.to_html())
    assert len(text.encode()) < 3e6
    assert len(page.having("src")) > 12 and "left out to keep this page small" in page.text
    assert all(name in page.text for name in names)


def test_usual_pictures_are_all_there() -> None:
    names = [f"{index}.png" for index in range(12)]
    keys = ("least_realistic", "most_realistic", "uncovered")
    page = reports.Page(reports.report(galleries=tuple(reports.gallery(key, names) for key in keys)).to_html())
    assert len(page.having("src")) == 36 and "left out to keep" not in page.text


def test_a_pair_stays_beside_itself_and_survives_json() -> None:
    pairs = galleries([[1, 0], [5, 1], [0, 0.9]], TWINS, density={"nearest_k": 2}, precision={"nearest_k": 2})
    report = reports.report(galleries=(pairs["nearest_pairs"],))
    (listed,) = re.findall(r'<ul class="pictures pairs">(.*?)</ul>', report.to_html(), re.S)
    items = re.findall("<li>(.*?)</li>", listed, re.S)
    assert [re.findall('class="file"><bdi>(.*?)</bdi>', item) for item in items] == [
        ["image 0", "image 1"], ["image 1", "image 2"], ["image 2", "image 0"],
    ]  # fmt: skip
    assert "`image 1` (0.25 × the distance to the next reference image) beside `image 2`" in report.to_markdown()
    read = Report.from_json(report.to_json())
    assert read.galleries[0].key == "nearest_pairs" and read.galleries[0].thumbnails[2].value == 0.25
    assert 'class="pictures pairs"' in read.to_html()


def test_a_picture_is_named_by_its_file_and_its_number_even_where_it_is_gone() -> None:
    page = reports.Page(reports.full().to_html())
    assert page.having("alt") == ["a.png, realism 0.41", "ü/b.png, realism 0.44", "c.png, 2.13 × its radius away"]
    assert "cannot be read again" in page.text and "d.png" in page.text and "2.08 × its radius away" in page.text


def test_a_long_name_is_cut_for_reading_and_whole_for_asking() -> None:
    name = "Donaudampfschifffahrtsgesellschaft/" * 4 + "Kapitän_0001.png"
    page = reports.Page(reports.report(galleries=(reports.gallery("uncovered", [name]),)).to_html())
    assert "…/Donaudampfschifffahrtsgesellschaft/Kapitän_0001.png" in page.text and name not in page.text
    assert page.having("title") == [name]
