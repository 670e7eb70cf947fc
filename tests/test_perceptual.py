"""How different pictures look: the distance without weights, pairs of two sides, diversity of one, and the command."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.calibration.damage import damaged
from genmetrics_rt.cli_perceptual import perceptual
from genmetrics_rt.errors import EmptySide, InputError, MissingBundle, MissingInput, TooFewImages, UnreadableInput
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.pairwise.measuring import MIN_PAIRS, mean_interval
from genmetrics_rt.pairwise.report import Rung
from genmetrics_rt.render.heat import heat_map
from genmetrics_rt.render.pairs_page import like

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def distance() -> gm.PerceptualDistance:
    return gm.open_distance("scattering", device="cpu", threads=1)


def picture(seed: int, height: int = 96, width: int = 96) -> Picture:
    """Overlapping shaded discs of all sizes on a shaded ground: edges and smooth parts, as photographs have."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    canvas = rng.uniform(60, 190, 3) + (x[..., None] / width) * rng.uniform(-40, 40, 3)
    for _ in range(60):
        radius = 4 * rng.random() ** -0.6
        inside = (x - rng.uniform(0, width)) ** 2 + (y - rng.uniform(0, height)) ** 2 < radius**2
        canvas[inside] = np.clip(rng.uniform(0, 255) + rng.normal(0, 25, 3), 0, 255)
    return np.rint(canvas.clip(0, 255)).astype(np.uint8)


def between(distance: gm.PerceptualDistance, a: Picture, b: Picture) -> float:
    return float(distance(a[None], b[None])[0])


def squared_error(a: Picture, b: Picture) -> float:
    return float(((a.astype(np.float64) - b) ** 2).mean())


def save(folder: Path, images: dict[str, Picture]) -> Path:
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return folder


# The distance


def test_equal_pictures_have_distance_0_and_order_does_not_matter(distance: gm.PerceptualDistance) -> None:
    a, b = np.stack([picture(0), picture(1)]), np.stack([picture(2), picture(3)])
    assert distance(a, a).tolist() == [0, 0]
    assert distance(a, b).tolist() == distance(b, a).tolist()
    assert (distance(a, b) > 0.3).all()
    assert distance.label.startswith("training-free") and "not LPIPS" in distance.label


@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg"])
def test_more_damage_is_more_distance(distance: gm.PerceptualDistance, kind: str) -> None:
    severities = {"blur": (0.5, 1, 2, 4), "noise": (2, 5, 10, 20, 40), "jpeg": (90, 60, 30, 10)}[kind]
    for seed in range(6):
        image = picture(seed)
        found = [between(distance, image, damaged(image, kind, severity)) for severity in severities]
        assert found == sorted(found) and found[0] > 0


def test_a_shift_by_a_pixel_counts_less_than_blur_of_the_same_squared_error(distance: gm.PerceptualDistance) -> None:
    """The eye forgives it, and the squared error does not."""
    for seed in range(6):
        image = picture(seed)
        shifted = np.concatenate([image[:, :1], image[:, :-1]], axis=1)
        error = squared_error(image, shifted)
        low, high = 0.2, 8.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if squared_error(image, damaged(image, "blur", middle)) < error else (low, middle)
            )
        blurred = damaged(image, "blur", high)
        assert squared_error(image, blurred) == pytest.approx(error, rel=0.05)
        assert between(distance, image, shifted) < 0.9 * between(distance, image, blurred)


def test_unrounded_pixels_and_small_steps_are_told_apart(distance: gm.PerceptualDistance) -> None:
    """Quadratic near 0, below what 8 bits can hold: the path length is made of such steps."""
    image = picture(4)[None].astype(np.float32) * 0.8 + 20
    step = np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    near, nearer = (float(distance(image, image + size * step)[0]) for size in (0.02, 0.01))
    assert near / nearer == pytest.approx(4, rel=0.02)
    np.testing.assert_allclose(
        distance(picture(4)[None], picture(5)[None]), distance(picture(4)[None].astype(float), picture(5)[None])
    )


def test_pairs_do_not_depend_on_each_other(distance: gm.PerceptualDistance) -> None:
    a = np.stack([picture(seed, 40, 56) for seed in range(40)])
    b = a[::-1]
    alone = [between(distance, one, other) for one, other in zip(a, b, strict=True)]
    np.testing.assert_allclose(distance(a, b), alone, rtol=1e-5)
    assert distance(a[:0], b[:0]).shape == (0,)


def test_the_map_says_where(distance: gm.PerceptualDistance) -> None:
    image = picture(6, 96, 120)
    other = image.copy()
    other[16:40, 72:100] = damaged(image, "noise", 30.0)[16:40, 72:100]
    found = distance.maps(image[None], other[None])
    assert found.shape == (1, 96, 120) and found.dtype == np.float32
    assert found[0, 16:40, 72:100].mean() > 20 * found[0, 56:, :48].mean()
    assert found.mean() == pytest.approx(between(distance, image, other), rel=0.1)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (np.zeros((2, 16, 16, 3), np.uint8), np.zeros((1, 16, 16, 3), np.uint8), "same number of images"),
        (np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 18, 3), np.uint8), "same size"),
        (np.zeros((1, 3, 16, 16), np.uint8), np.zeros((1, 3, 16, 16), np.uint8), r"transpose\(0, 2, 3, 1\)"),
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), r"image\[None\]"),
        (np.zeros((1, 7, 16, 3), np.uint8), np.zeros((1, 7, 16, 3), np.uint8), "at least 8 × 8"),
        (np.zeros((1, 16, 16, 3), int), np.zeros((1, 16, 16, 3), int), "uint8 or floats"),
        (np.full((1, 16, 16, 3), 0.7), np.full((1, 16, 16, 3), 0.2), r"images \* 255"),
        (np.full((1, 16, 16, 3), -0.7), np.full((1, 16, 16, 3), 0.2), r"\(images \+ 1\) \* 127.5"),
        (np.full((1, 16, 16, 3), 300.0), np.full((1, 16, 16, 3), 90.0), "expected 0…255"),
        (np.full((1, 16, 16, 3), np.nan), np.full((1, 16, 16, 3), 90.0), "NaN"),
        (np.broadcast_to(np.uint8(0), (1, 3000, 3000, 3)),) * 2 + ("at most 8,388,608 pixels",),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(
    distance: gm.PerceptualDistance, first: np.ndarray, second: np.ndarray, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        distance(first, second)


def test_no_distance_is_advised_that_refuses_too(tmp_path: Path) -> None:
    a, b = (tmp_path / name for name in ("a.png", "b.png"))
    for path in (a, b):
        Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(path)
    with pytest.raises(UnreadableInput, match=r"Enlarge both pictures of a pair\.$"):
        gm.perceptual_distance(a, b, device="cpu", threads=1)
    large = gm.open_distance("scattering", device="cpu", threads=1)
    large.name, large.least_side = "large", 32
    with pytest.raises(UnreadableInput, match=r"Enlarge both .*, or choose .* such as scattering\.$"):
        large.require_size(16, 40, "these")
    with pytest.raises(UnreadableInput, match=r"Enlarge both pictures of a pair\.$"):
        large.require_size(7, 40, "these")


def test_names_of_distances() -> None:
    assert set(gm.list_distances()) >= {"scattering", "lpips-alex", "lpips-vgg", "lpips-squeeze", "vgg", "vgg-style"}
    with pytest.raises(MissingBundle, match="Did you mean 'scattering'"):
        gm.open_distance("scatering")
    with pytest.raises(InputError, match="of kind extractor"):
        gm.open_distance(gm.load_bundle("scattering"))
    assert gm.open_distance(gm.load_bundle("scattering-distance"), device="cpu", threads=1).name == "scattering"


def test_it_is_its_formula(distance: gm.PerceptualDistance) -> None:
    """Written out a second time, with scipy in float64, from the page that defines it."""
    from scipy.ndimage import correlate

    binomial = np.outer(*[np.array([1, 4, 6, 4, 1]) / 16] * 2)
    y, x = np.mgrid[-3:4, -3:4].astype(np.float64)
    wavelets = []
    for angle in np.arange(6) * np.pi / 6:
        along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
        envelope = np.exp(-(along**2 + (across * 4 / 6) ** 2) / (2 * 0.8**2))
        wave = envelope * np.exp(1j * 3 * np.pi / 4 * along)
        wavelet = wave - envelope * wave.sum() / envelope.sum()
        wavelets.append(wavelet / np.abs(wavelet).sum())
    opponent = np.array([[0.299, 0.587, 0.114], [0.5, 0, -0.5], [-0.25, 0.5, -0.25]]) / 255

    def energies(plane: np.ndarray) -> np.ndarray:
        found = []
        for wavelet in wavelets:
            real, imaginary = (correlate(plane, part, mode="nearest") for part in (wavelet.real, wavelet.imag))
            found.append(np.log(correlate(np.hypot(real, imaginary), binomial, mode="nearest") + 0.01))
        return np.stack(found)

    a, b = picture(0, 52, 67), damaged(picture(0, 52, 67), "noise", 15.0)
    expected = 0.0
    first, second = (np.einsum("oc,hwc->ohw", opponent, image.astype(np.float64)) for image in (a, b))
    for level in range(5):
        if level:
            first, second = (
                np.stack([correlate(plane, binomial, mode="nearest")[::2, ::2] for plane in side])
                for side in (first, second)
            )
        squared = [((energies(u) - energies(v)) ** 2).mean() for u, v in zip(first, second, strict=True)]
        expected += 2 / 3 * squared[0] + (squared[1] + squared[2]) / 6
        if level >= 2:
            expected += ((first - second) ** 2).sum(axis=0).mean()
    assert between(distance, a, b) == pytest.approx(expected, rel=2e-5)


# Pairs of two sides


def test_folders_are_matched_by_name(distance: gm.PerceptualDistance, tmp_path: Path) -> None:
    images = {f"{index}.png": picture(index, 40, 40) for index in range(12)}
    noisy = {name: damaged(image, "noise", 3.0 * index) for index, (name, image) in enumerate(images.items())}
    noisy = {name.replace("3.png", "3.bmp"): image for name, image in noisy.items()}  # another suffix is no obstacle
    a = save(tmp_path / "a", {**images, "lonely.png": picture(50, 40, 40)})
    b = save(tmp_path / "b", {**noisy, "extra.png": picture(51, 40, 40)})
    report = gm.perceptual_distance(a, b, device="cpu", threads=1)
    assert len(report.pairs) == 12
    assert report.only_first == ("lonely.png",) and report.only_second == ("extra.png",)
    by_name = {pair.first: pair.distance for pair in report.pairs}
    for index, (name, image) in enumerate(images.items()):
        expected = between(distance, image, damaged(image, "noise", 3.0 * index))
        assert by_name[name] == pytest.approx(expected, rel=1e-5)
    values = [pair.distance for pair in report.pairs]
    assert values == sorted(values, reverse=True) and by_name["0.png"] == 0
    assert report.mean == pytest.approx(np.mean(values)) and report.median == pytest.approx(np.median(values))
    assert report.interval is None  # twelve pairs are too few for it
    assert [entry.why for entry in report.shown] == ["worst"] * 6 + ["median"] * 3
    assert report.settings["matched"] == "by name" and "by order" not in report.to_text() + report.to_html()
    text = report.to_text(width=80)
    assert "1 image of" in text and "lonely.png" in text and max(map(len, text.splitlines())) <= 80


def test_an_archive_is_matched_with_a_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", {"x/1.png": picture(0, 32, 32), "y/1.png": picture(1, 32, 32)})
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for name in ("y/1.png", "x/1.png"):
            archive.write(folder / name, name)
    report = gm.perceptual_distance(folder, tmp_path / "b.zip", device="cpu", threads=1, pictures=False)
    assert [pair.distance for pair in report.pairs] == [0, 0] and report.shown == ()


def test_names_that_match_nothing_are_told(tmp_path: Path) -> None:
    a = save(tmp_path / "a", {"1.png": picture(0, 32, 32), "2.png": picture(1, 32, 32)})
    b = save(tmp_path / "b", {"inner/1.png": picture(0, 32, 32)})
    with pytest.raises(InputError, match=r"'1.png', '2.png' on one side and 'inner/1.png' on the other"):
        gm.perceptual_distance(a, b)


def test_arrays_go_by_order(tmp_path: Path) -> None:
    a = np.stack([picture(seed, 32, 32) for seed in range(3)])
    report = gm.perceptual_distance(a, a[[0, 2, 1]], device="cpu", threads=1)
    assert report.distances[0] == 0 and report.distances[1] == report.distances[2] > 0
    assert report.interval is None  # three pairs say nothing of the spread
    np.save(tmp_path / "a.npy", a)
    assert gm.perceptual_distance(tmp_path / "a.npy", a, device="cpu", threads=1).mean == 0
    with pytest.raises(InputError, match=r"3 images and .* has 2"):
        gm.perceptual_distance(a, a[:2])
    one = gm.perceptual_distance(a[0], a[1], device="cpu", threads=1)
    assert len(one.pairs) == 1 and one.heat is not None and one.heat.shape == (32, 32, 3)


def test_a_generator_or_an_example_stands_where_a_folder_can(tmp_path: Path, tiny_generator: Path) -> None:
    """They have no names, so pairs go by order; a generator makes as many images as the other side has."""
    digits = gm.example_images("digits").images
    report = gm.perceptual_distance("digits-vae", digits[:50], seed=3, device="cpu", threads=1, pictures=False)
    samples = np.stack(
        [GeneratorSource(gm.Generator("digits-vae"), 50, seed=3).read(index).pixels for index in range(50)]
    )
    expected = gm.perceptual_distance(samples, digits[:50], device="cpu", threads=1, pictures=False)
    np.testing.assert_allclose(report.distances, expected.distances, rtol=1e-5)
    assert report.first == "digits-vae (seed 3)" and report.settings["matched"] == "by order"
    assert report.interval is not None and report.interval[0] < report.mean < report.interval[1]
    assert "by order: images of an array or a generator have no names" in report.to_text()
    assert "matched by order" in report.to_html()
    folder = save(tmp_path / "a", {f"{index}.png": picture(index, 8, 8) for index in range(4)})
    for first, second in ((folder, tiny_generator), (gm.Generator(tiny_generator), str(folder))):
        found = gm.perceptual_distance(first, second, device="cpu", threads=1, pictures=False)
        assert len(found.pairs) == 4 and found.only_first == found.only_second == ()
    both = gm.perceptual_distance(tiny_generator, tiny_generator, device="cpu", threads=1, pictures=False)
    assert len(both.pairs) == 1000 and both.mean == 0
    with pytest.raises(InputError, match="no pictures"):
        gm.perceptual_distance("sentences", folder)
    with pytest.raises(MissingInput, match="Did you mean 'digits-gan'"):
        gm.perceptual_distance("digits-gam", folder)


def test_dark_pictures_that_were_resized_are_compared(tmp_path: Path) -> None:
    """Values of a 255th of white come from files of 8 bits, so their range is known."""
    a = save(tmp_path / "a", {"1.png": np.eye(32, dtype=np.uint8)[..., None].repeat(3, axis=-1)})
    b = save(tmp_path / "b", {"1.png": np.eye(48, dtype=np.uint8)[..., None].repeat(3, axis=-1)})
    report = gm.perceptual_distance(a, b, resize=True, device="cpu", threads=1)
    assert report.mean >= 0 and report.heat is not None


def test_sizes_that_differ_need_a_word(tmp_path: Path) -> None:
    a = save(tmp_path / "a", {"1.png": picture(0, 40, 40), "2.png": picture(1, 40, 40)})
    b = save(tmp_path / "b", {"1.png": picture(0, 40, 40), "2.png": picture(1, 48, 60)})
    with pytest.raises(UnreadableInput, match=r"2.png and 2.png differ in size: 40 × 40 and 60 × 48 .*--resize"):
        gm.perceptual_distance(a, b, device="cpu", threads=1)
    report = gm.perceptual_distance(a, b, resize=True, device="cpu", threads=1)
    assert [pair.resized for pair in report.pairs] == [True, False]
    assert "2.png (resized)" in report.to_text()


def test_images_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    a = save(tmp_path / "a", {"1.png": picture(0, 32, 32), "2.png": picture(1, 32, 32)})
    b = save(tmp_path / "b", {"1.png": picture(0, 32, 32)})
    (b / "2.png").write_bytes(b"no picture")
    report = gm.perceptual_distance(a, b, device="cpu", threads=1)
    assert [pair.first for pair in report.pairs] == ["1.png"] and [entry.name for entry in report.skipped] == ["2.png"]
    assert "1 file that cannot be used: 2.png" in report.to_html()
    with pytest.raises(UnreadableInput, match=r"2.png cannot be used"):
        gm.perceptual_distance(a, b, strict=True, device="cpu", threads=1)
    (b / "1.png").write_bytes(b"nor this")
    with pytest.raises(EmptySide, match="None of 2 pairs"):
        gm.perceptual_distance(a, b, device="cpu", threads=1)


@pytest.mark.parametrize("law", ["exponential", "normal"])
def test_the_interval_of_the_mean_holds_from_the_fewest_pairs_on(law: str) -> None:
    """Of 2,000 samples of a skewed and of an even law: 92 % at least, of which three standard errors are chance."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        values = rng.exponential(1.0, MIN_PAIRS) if law == "exponential" else rng.normal(1.0, 1.0, MIN_PAIRS)
        error, interval = mean_interval(values)
        assert error is not None and interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert 0.92 - 0.018 <= held / 2000 <= 0.95 + 0.018


def test_the_error_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(2.0, 5000)
    error, _ = mean_interval(values)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(5000), rel=0.1)
    assert mean_interval(values[: MIN_PAIRS - 1]) == (None, None)


# Diversity


def test_a_narrow_set_is_less_diverse() -> None:
    wide = np.stack([picture(seed, 32, 32) for seed in range(80)])
    narrow = wide[np.arange(80) % 3]
    found = {name: gm.perceptual_diversity(side, device="cpu", threads=1) for name, side in
             (("wide", wide), ("narrow", narrow), ("equal", wide[[0] * 80]))}  # fmt: skip
    assert len(found["wide"].pairs) == 40
    assert found["wide"].interval[0] > found["narrow"].interval[1]
    assert found["equal"].mean == 0 and "Diversity" in found["equal"].to_html()
    again = gm.perceptual_diversity(wide, device="cpu", threads=1)
    assert again.distances.tolist() == found["wide"].distances.tolist()
    other = gm.perceptual_diversity(wide, seed=1, num_pairs=10, device="cpu", threads=1)
    names = [name for pair in other.pairs for name in (pair.first, pair.second)]
    assert len(set(names)) == 20  # no image is in two pairs


def test_a_generator_and_an_example_can_be_asked_for_their_diversity() -> None:
    vae = gm.perceptual_diversity("digits-vae", num_pairs=30, device="cpu", threads=1)
    real = gm.perceptual_diversity("digits", num_pairs=30, device="cpu", threads=1, pictures=False)
    assert len(vae.pairs) == 30 and 0 < vae.mean < 3 * real.mean
    assert vae.shown[0].why == "nearest" and vae.scale == ()


def test_too_few_for_diversity(tmp_path: Path) -> None:
    with pytest.raises(TooFewImages, match="has one image"):
        gm.perceptual_diversity(picture(0)[None])
    with pytest.raises(InputError, match="enough for 1 to 2 pairs"):
        gm.perceptual_diversity(np.stack([picture(seed, 32, 32) for seed in range(4)]), num_pairs=3)
    with pytest.raises(InputError, match="no pictures"):
        gm.perceptual_diversity(np.zeros((10, 4), np.float32))


# What it says


def test_a_distance_is_told_in_known_damage() -> None:
    scale = gm.perceptual_scale(picture(0), device="cpu", threads=1)
    blur = [rung.distance for rung in scale if rung.kind == "blur"]
    assert blur == sorted(blur) and len(blur) == 4
    rungs = (Rung("blur", "σ = 1 px", 0.1), Rung("JPEG", "quality 30", 0.4))
    assert like(0.11, rungs) == "about like blur σ = 1 px"
    assert like(0.2, rungs) == "between blur σ = 1 px and JPEG quality 30"
    assert like(0.01, rungs) == "less than blur σ = 1 px" and like(3.0, rungs) == "more than JPEG quality 30"
    assert like(0.0, rungs) == "" and like(1.0, ()) == ""


def test_colours_of_the_map() -> None:
    shown = heat_map(np.array([[0.0, 1.0, 2.0, 9.0]]), 2.0)
    assert shown[0, 0].tolist() == [0, 0, 4] and shown[0, 2].tolist() == shown[0, 3].tolist() == [252, 255, 164]
    lightness = heat_map(np.linspace(0, 1, 64)[None], 1.0)[0] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(lightness) > 0).all()
    assert (heat_map(np.zeros((2, 2)), 0.0) == [0, 0, 4]).all()


def test_nothing_in_a_page_is_active(tmp_path: Path) -> None:
    folder = tmp_path / "<b>"
    save(folder, {"<img src=x>.png": picture(0, 32, 32)})
    page = gm.perceptual_distance(folder, folder, device="cpu", threads=1).to_html()
    assert "<img src=x>" not in page and "<b>" not in page and "&lt;img src=x&gt;" in page
    fragment = gm.perceptual_distance(folder, folder, device="cpu", threads=1).to_html(fragment=True)
    assert fragment.startswith('<div class="genmetrics"')


# The command


def run(*arguments: object):
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(perceptual)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_two_pictures_and_where_they_differ(tmp_path: Path) -> None:
    image = picture(3, 64, 80)
    save(tmp_path, {"a.png": image, "b.png": damaged(image, "jpeg", 10.0)})
    result = run(
        tmp_path / "a.png", tmp_path / "b.png", "--map", tmp_path / "m.png", "--json", tmp_path / "r.json",
        "--html", tmp_path / "r.html", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "distance" in result.stdout and "which is" in result.stdout and "not LPIPS" in result.stdout
    with Image.open(tmp_path / "m.png") as heat:
        assert heat.size == (80, 64) and heat.mode == "RGB"
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["schema"] == "genmetrics.pairs/1" and record["num_pairs"] == 1 and record["distance"]["numeric_id"]
    assert (tmp_path / "r.html").read_text().count("data:image/jpeg") == 3


def test_json_on_standard_output_is_only_json(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", {f"{index}.png": picture(index, 32, 32) for index in range(4)})
    result = run(folder, "--diversity", "--json", "-", "-q", "--device", "cpu")
    assert json.loads(result.stdout)["kind"] == "within" and result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("{a}",), "Give SECOND, or --diversity"),
        (("{a}", "{a}", "--diversity"), "Leave SECOND out"),
        (("{a}", "{a}", "--pairs", "3"), "--pairs goes with --diversity"),
        (("{a}", "--diversity", "--map", "m.png"), "--map is for one pair"),
        (("{a}", "{a}", "--map", "m.png"), "these are several pairs"),
        (("{a}", "{a}", "--map", "-"), "not written to standard output"),
        (("{a}", "{a}", "--json", "-", "--html", "-"), "both go to standard output"),
        (("{a}", "{a}", "--net", "lpips"), "no perceptual distance"),
        (("{a}/0.png", "nowhere.png"), "does not exist"),
    ],
)
def test_wrong_usage_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a", {f"{index}.png": picture(index, 32, 32) for index in range(2)})
    result = run(*(argument.replace("{a}", "a") for argument in arguments))
    assert result.exit_code == 2 and told in " ".join(result.stderr.split()), result.output


def test_memory_is_bounded_by_batches() -> None:
    """Two thousand pairs are decoded a few at a time: a source that counts what is alive."""
    from genmetrics_rt.pairwise import measuring

    sizes = []
    images = iter(measuring._Loaded(index, picture(0, 32, 32), picture(1, 32, 32), False) for index in range(300))
    for batch in measuring._batches(images):
        sizes.append(len(batch))
    assert sum(sizes) == 300 and max(sizes) == 64


@pytest.mark.data
def test_photographs(distance: gm.PerceptualDistance, data: Path) -> None:
    """CIFAR-10's photographs: rising damage is rising distance for nearly every one of 50."""
    with zipfile.ZipFile(data / "images" / "cifake_test.zip") as archive:
        names = [name for name in archive.namelist() if "REAL" in name and name.endswith(".jpg")][:50]
        images = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])
    for kind, severities in (("blur", (0.5, 1.0, 2.0)), ("noise", (4.0, 10.0, 25.0)), ("jpeg", (80.0, 40.0, 10.0))):
        found = np.stack(
            [distance(images, np.stack([damaged(image, kind, s) for image in images])) for s in severities]
        )
        assert (np.diff(found, axis=0) > 0).all(axis=0).mean() >= 0.95
