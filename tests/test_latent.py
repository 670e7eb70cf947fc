"""Jumps, factors, and the report on a latent space: on generators whose answer is known, and the shipped ones."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.generator_files import Factor
from genmetrics_rt.generators import OpenGenerator
from genmetrics_rt.latent.disentanglement import Disentanglement, disentanglement, factors_over
from genmetrics_rt.latent.path_length import draw_paths
from genmetrics_rt.latent.smoothness import Smoothness, measure_smoothness, smoothness_finding
from genmetrics_rt.perceptual import open_distance
from tests.test_generators import write_onnx


def normal(dim: int):
    return lambda rng, count: rng.randn(count, dim)


def quadratic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ((np.asarray(second, np.float64) - first) ** 2).reshape(len(first), -1).mean(axis=1)


@cache
def smoothness_of(name: str, seed: int = 2020, *, as_bytes: bool = False) -> Smoothness:
    opened = OpenGenerator(gm.Generator(name), device="cpu", threads=1)
    run = opened.images if as_bytes else opened.pixels
    distance = open_distance("scattering", device="cpu", threads=1)
    paths = draw_paths(normal(opened.generator.latent_dim), 24, seed=seed)
    return measure_smoothness(lambda z, _: run(z.astype(np.float32)), distance, paths, steps=8)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2020])
@pytest.mark.parametrize("name", ["digits-vae", "digits-gan"])
def test_a_network_never_jumps(name: str, seed: int, as_bytes: bool) -> None:
    found = smoothness_of(name, seed, as_bytes=as_bytes)
    assert smoothness_finding(found) is None
    assert found.worst_jump < 1e-3


@pytest.mark.parametrize("as_bytes", [False, True])
def test_stored_pictures_jump(as_bytes: bool) -> None:
    found = smoothness_of("digits-memoriser", as_bytes=as_bytes)
    finding = smoothness_finding(found)
    assert finding is not None
    assert (finding.key, finding.severity) == ("latent_jumps", "problem")
    assert "24 of 24 paths" in finding.claim
    assert found.median_jump > 0.5
    assert found.worst_share < 0.6  # a walk in steps alone does not show it: every step is another picture


def test_a_single_edge_is_found_where_it_is() -> None:
    """A smooth generator but for one edge at z0 = 0.3: paths that cross it jump there, the others do not."""

    def generate(latents: np.ndarray, _: object) -> np.ndarray:
        return 10 * latents + 100 * (latents[:, :1] > 0.3)

    paths = draw_paths(normal(3), 200)
    found = measure_smoothness(generate, quadratic, paths)
    crossing = (paths.start[:, 0] > 0.3) != (paths.end[:, 0] > 0.3)
    assert ((found.jumps > found.threshold) == crossing).all()
    edge = (0.3 - paths.start[:, 0]) / (paths.end[:, 0] - paths.start[:, 0])
    assert found.places[crossing] == pytest.approx(edge[crossing], abs=1 / (16 * 2**10))
    assert smoothness_finding(found) is not None
    even = measure_smoothness(lambda z, _: z, quadratic, paths)
    assert even.shares == pytest.approx(np.full(200, 1 / 16))  # a straight line in equal steps
    assert even.worst_jump < 1e-6
    assert smoothness_finding(even) is None


def test_few_paths_at_once_are_the_same_paths() -> None:
    paths = draw_paths(normal(3), 30, num_classes=2)
    whole, parts = (
        measure_smoothness(lambda z, y: np.tanh(z) + y[:, None], quadratic, paths, at_once=count) for count in (64, 7)
    )
    assert (whole.distances == parts.distances).all()
    assert (whole.jumps == parts.jumps).all()
    assert (whole.places == parts.places).all()


def test_one_picture_for_all_latents_is_not_rough() -> None:
    found = measure_smoothness(lambda z, _: np.ones((len(z), 4)), quadratic, draw_paths(normal(3), 20))
    assert (found.worst_jump, found.worst_share, found.num_jumping) == (0, 0, 0)
    assert smoothness_finding(found) is None


def picture(mixed: np.ndarray):
    """A disc whose position, size and colour are three numbers of the latent, after it was rotated by ``mixed``."""
    from scipy.special import ndtr

    y, x = np.mgrid[:32, :32]

    def generate(latents: np.ndarray, _: object) -> np.ndarray:
        position, size, colour = (part[:, None, None, None] for part in ndtr(latents @ mixed).T)
        away = np.hypot(x[..., None] - (4 + 24 * position), y[..., None] - 16)
        inside = np.clip(3 + 8 * size - away + 0.5, 0, 1)
        paint = np.concatenate([255 * colour, 120 + 0 * colour, 255 * (1 - colour)], axis=3)
        return np.rint(inside * paint + (1 - inside) * 30).astype(np.uint8)

    return generate


FACTORS = (Factor("position", (0,)), Factor("size", (1,)), Factor("colour", (2,)))


@cache
def predictability(rotated: bool) -> Disentanglement:
    mixed = np.linalg.qr(np.random.RandomState(0).randn(3, 3))[0] if rotated else np.eye(3)
    extract = FeatureExtractor("scattering", device="cpu", threads=1)
    return disentanglement(picture(mixed), lambda images: extract(images)[0], normal(3), FACTORS, named="scattering")


def test_independent_factors_score_higher_than_the_same_ones_rotated() -> None:
    independent, rotated = predictability(False), predictability(True)
    assert independent.interval[0] > rotated.interval[1]
    assert independent.score > 0.85
    assert rotated.score < 0.75
    assert rotated.score > rotated.chance == pytest.approx(1 / 3)
    for found in (independent, rotated):
        assert found.confusion.sum(axis=1) == pytest.approx(np.ones(3))
        assert found.score == pytest.approx(np.trace(found.confusion) / 3)
        assert all(0.2 < factor.effect < 1.2 for factor in found.factors)


def test_factors_that_do_the_same_score_chance() -> None:
    """Two latent dimensions whose sum is all that matters cannot be told apart."""
    found = disentanglement(
        lambda z, _: z, lambda z: np.tanh(z.sum(axis=1))[:, None] * np.ones(4), normal(2), FACTORS[:2]
    )
    assert found.is_chance
    assert found.score == pytest.approx(0.5, abs=0.05)


def test_what_a_factor_may_be() -> None:
    assert factors_over("dims", latent_dim=40, num_classes=0)[-1] == Factor("dimension 31", (31,))
    assert [factor.name for factor in factors_over("classes", latent_dim=3, num_classes=4)] == ["class", "latent"]
    with pytest.raises(gm.InputError, match="has no classes"):
        factors_over("classes", latent_dim=3, num_classes=0)
    with pytest.raises(gm.InputError, match="declared, dims or classes"):
        factors_over("everything", latent_dim=3, num_classes=0)
    with pytest.raises(gm.TooFewImages, match="there is 1"):
        disentanglement(lambda z, _: z, lambda z: z, normal(2), FACTORS[:1])
    with pytest.raises(gm.TooFewImages, match="79 latents"):
        disentanglement(lambda z, _: z, lambda z: z, normal(2), FACTORS[:2], num_bases=79)


@pytest.fixture(scope="module")
def report() -> gm.LatentReport:
    return gm.examine_latent_space("digits-memoriser", num_paths=100, factors="dims", device="cpu", threads=1)


def test_the_report_says_everything_in_every_form(report: gm.LatentReport) -> None:
    record = json.loads(report.to_json())
    assert record["schema"] == "genmetrics.latent/1"
    assert record["path_length"]["value"] == report.path_length.value
    assert len(record["path_length"]["distances"]) == 100
    assert record["path_length"]["settings"]["epsilon"] == 1e-4
    assert record["findings"][0]["key"] == "latent_jumps"
    assert record["generator"]["images_per_second"] > 0
    assert [factor["dims"] for factor in record["disentanglement"]["factors"]] == [[0], [1], [2], [3]]
    text, html = report.to_text(width=70), report.to_html()
    assert max(map(len, text.splitlines())) <= 70
    for told in ("jumps on 64 of 64 paths", "dimension 3", "wavelet scattering distance"):
        assert told in " ".join(text.split())
        assert told in html
    assert html.count("data:image/png;base64,") == len(report.strips)
    assert "<script" not in html
    assert "genmetrics-" in report.to_html(fragment=True)
    assert {strip.key for strip in report.strips} == {"worst_path", "median_path", "jump", "factor"}
    assert all(strip.frames.shape == (9, 32, 32, 3) for strip in report.strips)


def test_the_strips_show_the_paths_that_they_name(report: gm.LatentReport) -> None:
    """The frame at 0 is the picture of the start of the worst path; two frames beside a jump differ, others hardly."""
    opened = OpenGenerator(gm.Generator("digits-memoriser"), device="cpu", threads=1)
    row = report.path_length.worst[0]
    assert report.path_length.distances[row] == report.path_length.distances.max()
    first = opened.images(report.path_length.paths.start[row : row + 1].astype(np.float32))[0]
    assert np.abs(report.strips[0].frames[0].astype(int) - first).max() <= 1
    jump = next(strip for strip in report.strips if strip.key == "jump").frames.astype(float)
    steps = np.abs(np.diff(jump, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() > 5
    assert np.median(steps) < 0.2
    with Image.open(io.BytesIO(report.strips_png())) as sheet:
        assert sheet.format == "PNG"
        assert sheet.height > 64 * len(report.strips)


def test_a_smooth_generator_has_no_finding_and_the_interval_holds_more_paths() -> None:
    few = gm.examine_latent_space("digits-vae", num_paths=200, device="cpu", threads=1)
    other = gm.examine_latent_space("digits-vae", num_paths=200, seed=7, device="cpu", threads=1)
    assert few.findings == ()
    assert few.disentanglement is None
    assert abs(few.path_length.value - other.path_length.value) < 4 * np.hypot(
        few.path_length.standard_error, other.path_length.standard_error
    )
    again = gm.examine_latent_space("digits-vae", num_paths=200, device="cpu", threads=1)
    assert again.path_length.value == few.path_length.value


def test_bytes_drown_a_small_step_and_the_report_says_so() -> None:
    options = {"num_paths": 60, "device": "cpu", "threads": 1}
    fine = gm.examine_latent_space("digits-vae", **options).path_length
    drowned = gm.examine_latent_space("digits-vae", output="images", epsilon=1e-4, **options).path_length
    larger = gm.examine_latent_space("digits-vae", output="images", **options).path_length
    assert drowned.value > 5 * fine.value
    assert "mostly rounding" in drowned.notes[0]
    assert larger.settings["epsilon"] == 0.1
    assert larger.value == pytest.approx(fine.value, rel=0.5)
    assert "rounded to 8 bits" in larger.notes[0]
    assert fine.notes == ()


def test_a_distance_that_is_no_square_is_said() -> None:
    def root(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.sqrt(quadratic(first, second))

    found = gm.examine_latent_space("digits-vae", distance=root, num_paths=60, device="cpu", threads=1)
    assert "not four times" in found.path_length.notes[0]
    assert found.distance.name == "root"


def test_a_conditional_generator_and_its_class_factor(tmp_path: Path, tiny: Path) -> None:
    path = write_onnx(tmp_path / "conditional.onnx", classes=4)
    generator = gm.Generator(path, num_classes=4, output_range=(-1, 1))
    found = gm.examine_latent_space(
        generator, distance=quadratic, num_paths=60, factors="classes", extractor=tiny, device="cpu", threads=1
    )
    assert [factor.name for factor in found.disentanglement.factors] == ["class", "latent"]
    strips = {strip.title: strip for strip in found.strips if strip.key == "factor"}
    assert len(strips["class"].frames) == 4
    resized = gm.examine_latent_space(
        generator, distance=quadratic, num_paths=60, resize=64, sampling="full", interpolate="slerp_any", device="cpu"
    )
    assert resized.path_length.settings["resize"] == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_paths": 5}, "num_paths is 5"),
        ({"epsilon": 0}, "epsilon is 0"),
        ({"resize": 3}, "resize is 3"),
        ({"output": "floats"}, "output is 'floats'"),
        ({"seed": -1}, "seed is -1"),
        ({"interpolate": "slerp"}, "interpolation is 'slerp'"),
        ({"sampling": "half"}, "sampling is 'half'"),
        ({"distance": "no-such"}, "no perceptual distance 'no-such'"),
        ({"distance": 3}, "distance is 3"),
        ({"factors": "declared"}, "declares no factors"),
        ({"factors": "classes"}, "has no classes"),
    ],
)
def test_what_cannot_be_asked(options: dict, message: str) -> None:
    with pytest.raises(gm.InputError, match=message):
        gm.examine_latent_space("digits-vae", device="cpu", **options)


def test_a_nearly_black_generator_is_measured(tmp_path: Path) -> None:
    """Pixels up to 0.8 of 255: whoever passes such an array has forgotten to scale it, a generator has not."""
    path = write_onnx(tmp_path / "dark.onnx", activation="Sigmoid", bad=0.003)
    dark = gm.Generator(path, output_range=(0, 1))
    distance = open_distance("scattering", device="cpu", threads=1)
    for given in ("scattering", distance):
        report = gm.examine_latent_space(dark, distance=given, num_paths=20, device="cpu", threads=1)
        assert 0 < report.path_length.value < np.inf
    opened = OpenGenerator(dark, device="cpu", threads=1)
    first, second = (opened.pixels(np.full((1, 4), value, np.float32)) for value in (0.0, 1.0))
    assert 0.05 < max(first.max(), second.max()) < 1
    assert distance.of_pixels(first, second) > 0
    assert distance.maps(first, second, known_range=True).mean() > 0
    for wrong in (np.full_like(first, np.nan), first + 300):
        with pytest.raises(gm.InputError):
            distance.of_pixels(first, wrong)
    with pytest.raises(gm.InputError, match=r"images \* 255"):
        distance(first, second)


def test_a_generator_of_bytes_has_no_pixels(tiny_generator: Path) -> None:
    with pytest.raises(gm.InputError, match="gives 8 bits a pixel and nothing finer"):
        gm.examine_latent_space(tiny_generator, output="pixels", device="cpu")


def test_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "genmetrics_rt", "latent", "digits-gan", "-n", "50", "-q", "--json", "l.json",
         "--html", "l.html", "--png", "l.png"],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "perceptual path length" in done.stdout
    assert json.loads((tmp_path / "l.json").read_text())["path_length"]["num_paths"] == 50
    assert (tmp_path / "l.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "data:image/png" in (tmp_path / "l.html").read_text()
    folder = subprocess.run(
        [sys.executable, "-m", "genmetrics_rt", "latent", "scattering", "-q"],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert folder.returncode == 2
    assert "not a generator" in folder.stderr
