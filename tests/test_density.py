"""Likelihoods from files and from frozen densities whose likelihood is known, to the report and the command."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.cli import app
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.images import open_images
from genmetrics_rt.likelihood import window
from genmetrics_rt.likelihood.files import read_log_likelihoods
from genmetrics_rt.likelihood.model import names_density
from tests.densities import HALF_LOG_TAU, make_gaussian, make_linear_vae
from tests.makers import make_generator

LN2 = math.log(2)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)


def gaussian_log_density(images: np.ndarray, mean: float = 0.5, sigma: float = 0.25) -> np.ndarray:
    """By hand, of y = x / 256."""
    standard = (images / 256 - mean) / sigma
    return (-0.5 * standard**2 - math.log(sigma) - HALF_LOG_TAU).reshape(len(images), -1).sum(axis=1)


# Densities


def test_bits_of_a_known_density(tmp_path: Path, images: np.ndarray) -> None:
    """An exact Gaussian, frozen in float64: its bits/dim to 1e-9."""
    report = gm.likelihood_of_images(make_gaussian(tmp_path / "gaussian"), images, device="cpu")
    (entry,) = report.entries
    expected = gaussian_log_density(images)
    assert entry.log_likelihoods["test"] == pytest.approx(expected, abs=1e-9)
    assert entry.test.bits_per_dim == pytest.approx(-expected.mean() / (48 * LN2) + 8, abs=1e-9)
    assert (entry.dims, entry.offset, entry.is_bound, entry.bounds) == (48, 8.0, True, None)
    assert entry.train is None and entry.generated is None
    middle = np.full((1, 4, 4, 3), 128, np.uint8)  # at its mean: 7.3257480648 bits, by hand
    at_mean = gm.likelihood_of_images(tmp_path / "gaussian", middle, device="cpu").entries[0].test.bits_per_dim
    assert at_mean == pytest.approx(7.3257480648, abs=1e-9)


def test_bounds_of_a_linear_vae_rise_to_its_exact_likelihood(tmp_path: Path) -> None:
    """y ~ N(0, 2) exactly. With the posterior as q every L_k is that; with the prior L_k rises towards it."""
    images = np.full((60, 2, 2, 3), 128, np.uint8)
    images[:, 0, 0, 0] = np.random.default_rng(0).integers(60, 200, 60)
    y = (images[:, 0, 0, 0] - 128.0) / 32
    exact = -(y**2) / 4 - 0.5 * math.log(4 * math.pi)
    options: dict[str, Any] = {"device": "cpu", "num_weights": 1000}
    tight = gm.likelihood_of_images(make_linear_vae(tmp_path / "a", posterior=True), images, **options).entries[0]
    assert tight.log_likelihoods["test"] == pytest.approx(exact, abs=1e-9)
    assert tight.bounds is not None and tight.bounds.values == pytest.approx((exact.mean(),) * 7, abs=1e-9)
    assert tight.test.bits_per_dim == pytest.approx(-exact.mean() / LN2 + 5, abs=1e-9)

    report = gm.likelihood_of_images(make_linear_vae(tmp_path / "b"), images, **options)
    bounds = report.entries[0].bounds
    assert bounds is not None and bounds.sizes == (1, 5, 10, 50, 100, 500, 1000) and bounds.is_rising
    # The ELBO of the prior, by hand: −½ ln 2π − (y² + 1) / 2.
    assert bounds.values[0] == pytest.approx(np.mean(-HALF_LOG_TAU - (y**2 + 1) / 2), abs=0.02)
    assert bounds.values[-1] == pytest.approx(exact.mean(), abs=0.01)
    assert bounds.values[0] < bounds.values[1] < bounds.values[-1]


def test_noise_belongs_to_an_image(tmp_path: Path) -> None:
    """It depends on seed and position alone: not on the batch, not on the number of images, not on memory."""
    images = np.random.default_rng(0).integers(0, 256, (23, 2, 2, 3), dtype=np.uint8)
    model, source = gm.Density(make_linear_vae(tmp_path / "vae"), device="cpu"), open_images(images)
    whole = model.log_likelihoods(source, num_weights=16).log_likelihoods
    for batch_size in (1, 7):
        other = model.log_likelihoods(source, num_weights=16, batch_size=batch_size).log_likelihoods
        assert other == pytest.approx(whole, abs=1e-12)
    some = model.log_likelihoods(source, num_weights=16, positions=[3, 20])
    assert some.log_likelihoods == pytest.approx(whole[[3, 20]], abs=1e-12)
    assert some.positions.tolist() == [3, 20]
    assert not np.allclose(model.log_likelihoods(source, num_weights=16, seed=1).log_likelihoods, whole)
    assert np.array_equal(model.noise(5, 4, 0), model.noise(5, 16, 0)[:4])


def test_little_memory_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import genmetrics_rt.likelihood.model as module

    images = np.random.default_rng(0).integers(0, 256, (9, 2, 2, 3), dtype=np.uint8)
    model, source = gm.Density(make_linear_vae(tmp_path / "vae"), device="cpu"), open_images(images)
    whole = model.log_likelihoods(source, num_weights=30).log_likelihoods
    for most in (1, 7, 65):
        monkeypatch.setattr(module, "_MOST_NOISE", most)
        assert model.log_likelihoods(source, num_weights=30).log_likelihoods == pytest.approx(whole, abs=1e-12)


def test_a_graph_for_a_fixed_number_of_images_is_filled_up(tmp_path: Path, images: np.ndarray) -> None:
    """Of images, and of noise: 40 images in calls of 16, 10 samples in calls of 4."""
    options: dict[str, Any] = {"device": "cpu", "num_weights": 10}
    fixed = gm.likelihood_of_images(make_gaussian(tmp_path / "fixed", batch=16), images, **options).entries[0]
    assert fixed.log_likelihoods["test"] == pytest.approx(gaussian_log_density(images), abs=1e-9)
    free, filled = (
        gm.likelihood_of_images(folder, images[:, :2, :2], batch_size=7, **options).entries[0].log_likelihoods["test"]
        for folder in (
            make_linear_vae(tmp_path / "free"),
            make_linear_vae(tmp_path / "filled", batch=16, samples=4),
        )
    )
    assert filled == pytest.approx(free, abs=1e-12)
    bare = tmp_path / "fixed" / "graph.onnx"
    assert len(gm.likelihood_of_images(bare, images, dims=48, **options).entries[0].log_likelihoods["test"]) == 40


def test_a_graph_that_fails_is_an_error_of_the_input(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = gm.Density(make_gaussian(tmp_path / "gaussian"), device="cpu")

    def fails(inputs: Any) -> Any:
        raise gm.GenmetricsError("The frozen graph failed")

    monkeypatch.setattr(model._graph, "run", fails)
    with pytest.raises(gm.InputError, match="'gaussian' cannot be run: The frozen graph failed"):
        gm.likelihood_of_images(model, images)


def test_the_noise_is_no_latent_of_a_sample() -> None:
    """Else a VAE's own sample would be judged with the very latent that made it."""
    noise = gm.Density("digits-vae-density", device="cpu").noise(0, 64, 0)
    latents = GeneratorSource(gm.Generator("digits-vae"), 64, device="cpu").latents(0)
    assert noise.shape == latents.shape and not np.isin(noise, latents).any()


def test_the_seconds_are_those_of_the_density_alone(
    tmp_path: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that reading an image moves by 100 and a call of the graph by 2."""
    import genmetrics_rt.likelihood.model as module

    clock = [0.0]
    model, source = gm.Density(make_gaussian(tmp_path / "gaussian"), device="cpu"), open_images(images)
    read, graph_run = source.read, model._graph.run

    def slow_read(index: int) -> Any:
        clock[0] += 100
        return read(index)

    def slow_run(inputs: Any) -> Any:
        clock[0] += 2
        return graph_run(inputs)

    monkeypatch.setattr(source, "read", slow_read)
    monkeypatch.setattr(model._graph, "run", slow_run)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert model.log_likelihoods(source).seconds == 2
    assert clock[0] == 100 * len(images) + 2
    monkeypatch.undo()
    report = gm.likelihood_of_images(model, images)
    assert 0 < report.entries[0].seconds_per_image * len(images) < report.runtime.seconds
    assert "seconds_per_image" in report.to_json()


def test_a_shipped_example_is_parted_and_samples_are_looked_at(tmp_path: Path) -> None:
    """The digits know which of them are training images; the generator that the manifest names gives samples."""
    folder = make_gaussian(tmp_path / "gaussian", size=32, mean=0.3, sigma=0.4, generator="digits-vae")
    entry = gm.likelihood_of_images(folder, "digits", num_images=30, device="cpu").entries[0]
    assert {key: own.num_images for key, own in entry.estimates.items()} == {"test": 30, "train": 30, "generated": 30}
    example = gm.example_images()
    held_out = gaussian_log_density(np.repeat(example.images[~example.is_train][..., None], 3, axis=-1), 0.3, 0.4)
    assert all(np.abs(held_out - value).min() < 1e-6 for value in entry.log_likelihoods["test"])
    alone = gm.likelihood_of_images(folder, "digits", num_images=5, generated=False, device="cpu").entries[0]
    assert alone.generated is None
    named = gm.likelihood_of_images(
        folder, example.images[:6], train=example.images[6:10], generated=example.images[10:13], device="cpu"
    ).entries[0]
    assert {key: own.num_images for key, own in named.estimates.items()} == {"test": 6, "train": 4, "generated": 3}


@pytest.mark.parametrize("name", ["digits-vae-density", "digits-flow-density"])
def test_bounds_of_the_shipped_densities_rise_with_k(name: str) -> None:
    """And both models are better than one that knows nothing, which has log2(17) = 4.09 bits/dim."""
    entry = gm.likelihood_of_images(name, "digits", num_images=60, num_weights=100, device="cpu").entries[0]
    assert entry.bounds is not None and entry.bounds.sizes == (1, 5, 10, 50, 100)
    assert all(later > earlier for earlier, later in itertools.pairwise(entry.bounds.values))
    assert entry.test.bits_per_dim is not None and 1 < entry.test.bits_per_dim < math.log2(17) - 1
    assert set(entry.estimates) == {"test", "train", "generated"}


def test_a_bare_graph_says_nothing_of_itself(tmp_path: Path, images: np.ndarray) -> None:
    path = make_gaussian(tmp_path / "gaussian") / "graph.onnx"
    with pytest.raises(gm.InputError, match="how many dimensions"):
        gm.likelihood_of_images(path, images, device="cpu")
    offset = gm.offset_bits("[0,1]")
    entry = gm.likelihood_of_images(path, images, dims=48, offset=offset, device="cpu").entries[0]
    expected = -gaussian_log_density(images).mean() / (48 * LN2) + 8
    assert entry.test.bits_per_dim == pytest.approx(expected, abs=1e-9)
    noisy = make_linear_vae(tmp_path / "vae") / "graph.onnx"
    found = gm.likelihood_of_images(noisy, images[:, :2, :2], dims=1, num_weights=5, device="cpu").entries[0]
    assert found.num_weights == 5 and found.bounds is not None


def test_what_is_no_density_or_does_not_fit(tmp_path: Path, images: np.ndarray) -> None:
    folder = make_gaussian(tmp_path / "gaussian")
    for given, meaning in (
        ("digits-vae", "generator, which gives no likelihoods"),
        (make_generator(tmp_path / "generator"), "generator, which gives no likelihoods"),
        (tmp_path / "nowhere", "No bundle"),
    ):
        with pytest.raises(gm.InputError, match=meaning):
            gm.likelihood_of_images(given, images)
    for side, meaning in (
        (np.zeros((2, 5, 4, 3), np.uint8), "5 × 4 pixels"),
        (np.zeros((4, 7), np.float32), "has none"),
    ):
        with pytest.raises(gm.InputError, match=meaning):
            gm.likelihood_of_images(folder, side, device="cpu")
    for about, meaning in (
        ({"dim": 0}, "density.dim"),
        ({"quantity": "elbo"}, "density.quantity"),
        ({"levels": 1}, "density.levels"),
        ({"offset_bits": "8"}, "density.offset_bits"),
        ({"noise": {"dim": 3}}, "noise as an input"),
        ({"noise": {"dim": 0}}, "density.noise"),
        ({"noise": {"dim": 1, "distribution": "cauchy"}}, "density.noise"),
    ):
        with pytest.raises(gm.DamagedBundle, match=meaning):
            gm.Density(make_gaussian(tmp_path / "odd", **about), device="cpu")
    assert names_density(folder) and names_density(folder / "graph.onnx")
    assert not names_density("digits-vae") and not names_density(np.zeros(3)) and not names_density(tmp_path)


def test_images_that_cannot_be_read_are_told(tmp_path: Path, images: np.ndarray) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, pixels in enumerate(images[:5]):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "3.png").write_bytes(b"nothing")
    density = make_gaussian(tmp_path / "gaussian")
    entry = gm.likelihood_of_images(density, folder, device="cpu").entries[0]
    assert entry.test.num_images == 4 and [own.name for own in entry.skipped] == ["3.png"]
    assert entry.log_likelihoods["test"] == pytest.approx(gaussian_log_density(images[[0, 1, 2, 4]]), abs=1e-9)
    with pytest.raises(gm.UnreadableInput, match=r"3\.png"):
        gm.likelihood_of_images(density, folder, strict=True, device="cpu")
    for index in (0, 1, 2, 4):
        (folder / f"{index}.png").write_bytes(b"nothing")
    with pytest.raises(gm.EmptySide, match="none of 5"):
        gm.likelihood_of_images(density, folder, device="cpu")


# Files


def test_every_kind_of_file_says_the_same(tmp_path: Path) -> None:
    values, marks = np.array([-1.5, -2.25, -3.0]), [1, 0, 0]
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", log_likelihood=values)
    np.savez(tmp_path / "c.npz", whatever=values.astype(np.float32))
    (tmp_path / "d.csv").write_text("name,log_likelihood\nx,-1.5\ny,-2.25\nz,-3\n")
    (tmp_path / "e.csv").write_text("nll\n1.5\n2.25\n3\n")
    (tmp_path / "f.jsonl").write_text('{"log_prob": -1.5}\n{"log_prob": [-2.25, -3]}\n')
    for name in ("a.npy", "b.npz", "c.npz", "d.csv", "e.csv", "f.jsonl"):
        found = read_log_likelihoods(tmp_path / name)
        assert found.values.tolist() == values.tolist() and found.train is None, name
    np.savez(tmp_path / "g.npz", log_likelihood=values, is_train=marks)
    np.savez(tmp_path / "h.npz", test=values[1:], train=values[:1])
    (tmp_path / "i.csv").write_text("log_likelihood,is_train\n-1.5,1\n-2.25,0\n-3,0\n")
    for name in ("g.npz", "h.npz", "i.csv"):
        found = read_log_likelihoods(tmp_path / name)
        assert found.train is not None
        assert (found.values.tolist(), found.train.tolist()) == ([-2.25, -3.0], [-1.5]), name
    weights = np.array([[0.0, math.log(3)], [1.0, 1.0]])
    np.save(tmp_path / "w.npy", weights)
    np.savez(tmp_path / "w.npz", log_weights=weights)
    (tmp_path / "w.jsonl").write_text("".join(json.dumps({"log_weights": row}) + "\n" for row in weights.tolist()))
    for name in ("w.npy", "w.npz", "w.jsonl"):
        found = read_log_likelihoods(tmp_path / name, log_weights=True)
        assert found.log_weights is not None and found.log_weights.tolist() == weights.tolist(), name


@pytest.mark.parametrize(
    ("name", "content", "meaning"),
    [
        ("a.npy", np.zeros((3, 2)), "--log-weights"),
        ("a.npy", np.array(["x"]), "numbers are expected"),
        ("a.npy", np.float64(1), r"shape \(\)"),
        ("a.npz", {"first": np.zeros(2), "second": np.zeros(2)}, "none is called log_likelihood"),
        ("a.npz", {"log_likelihood": np.zeros(2), "is_train": np.array([0, 2])}, "is_train"),
        ("a.npz", {"log_likelihood": np.zeros(2), "is_train": np.ones(2)}, "training images alone"),
        ("a.npy", b"no array", "not a readable .npy"),
        ("a.npz", b"no archive", "not a readable .npz"),
        ("a.csv", b"loss\n1\n", "no column"),
        ("a.csv", b"log_likelihood\n", "no log-likelihood"),
        ("a.jsonl", b'{"log_likelihood": "x"}', "no number"),
    ],
)
def test_a_bad_file_is_refused_with_a_reason(tmp_path: Path, name: str, content: Any, meaning: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises(gm.UnreadableInput, match=meaning):
        read_log_likelihoods(path)
    with pytest.raises(gm.MissingInput):
        read_log_likelihoods(tmp_path / "nowhere.npy")


@pytest.mark.parametrize("at, value", [(6, 1), (8, 99), (45, 0xFF)])  # encrypted; packed otherwise; a broken stream
def test_a_damaged_archive_is_refused(tmp_path: Path, at: int, value: int) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, log_likelihood=np.arange(1000.0))
    content = bytearray(path.read_bytes())
    content[at] = value
    if at < 10:  # a field of the central directory too, two bytes further on
        content[content.find(b"PK\x01\x02") + at + 2] = value
    else:
        content[at : at + 300] = bytes([value]) * 300
    path.write_bytes(content)
    with pytest.raises(gm.UnreadableInput, match=r"not a readable \.npz"):
        read_log_likelihoods(path)


def test_weights_of_unlike_length_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.jsonl"
    path.write_text('{"log_weights": [1, 2]}\n{"log_weights": [1]}\n')
    with pytest.raises(gm.UnreadableInput, match="equally many"):
        read_log_likelihoods(path, log_weights=True)


# Report and command


def keys(report: gm.LikelihoodReport) -> set[str]:
    return {finding.key for finding in report.findings}


def test_findings_of_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nats = 3.0 * 3072 * LN2
    np.save(tmp_path / "test.npy", rng.normal(-nats, 50, 300))
    np.save(tmp_path / "same.npy", rng.normal(-nats, 50, 300))
    np.save(tmp_path / "known.npy", rng.normal(-nats + 40, 50, 300))
    test, options = tmp_path / "test.npy", {"dims": 3072}
    assert keys(gm.likelihood_of_files(test, train=tmp_path / "same.npy", **options)) == set()
    assert keys(gm.likelihood_of_files(test, train=tmp_path / "known.npy", **options)) == {"overfitting"}
    assert keys(gm.likelihood_of_files(tmp_path / "known.npy", train=test, **options)) == {"unlike_splits"}
    assert keys(gm.likelihood_of_files(test, scale="[0,1]", **options)) == {"implausible_bits"}
    np.save(tmp_path / "density.npy", rng.normal(nats, 50, 300))  # of y in [0, 1]: 5 bits/dim with the offset
    (finding,) = gm.likelihood_of_files(tmp_path / "density.npy", **options).findings
    assert finding.key == "implausible_bits" and "5.001 on [0,1]" in finding.advice
    right = gm.likelihood_of_files(tmp_path / "density.npy", scale="[0,1]", **options)
    assert keys(right) == set() and right.entries[0].test.bits_per_dim == pytest.approx(5.0, abs=0.01)
    np.save(tmp_path / "impossible.npy", np.array([-1.0, -np.inf]))
    assert keys(gm.likelihood_of_files(tmp_path / "impossible.npy")) == {"impossible_images"}
    np.save(tmp_path / "weights.npy", rng.normal(-80, 10, (50, 64)))
    assert keys(gm.likelihood_of_files(tmp_path / "weights.npy", log_weights=True)) == {"loose_bound"}
    with pytest.raises(gm.InputError, match="as many"):
        gm.likelihood_of_files([test, test], train=test)


def test_the_window_warns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples, real = rng.integers(0, 256, (2, 60, 4, 4), dtype=np.uint8)
    report = gm.parzen_of_images(samples, real)
    parzen = report.entries[0].parzen
    assert "parzen_window" in keys(report) and parzen is not None
    assert report.entries[0].dims == 16  # grey: one channel
    assert (parzen.num_samples, len(parzen.log_likelihoods)) == (60, 30)
    given = gm.parzen_of_images(samples, real, sigma=0.3).entries[0].parzen
    flat = [side.reshape(60, -1) / 255 for side in (samples, real)]
    expected = gm.parzen_window(*flat, sigma=0.3)
    assert given is not None and given.mean == pytest.approx(expected.mean, abs=1e-9)
    on_vectors = gm.parzen_of_images(*flat, sigma=0.3).entries[0].parzen
    assert on_vectors is not None and on_vectors.mean == pytest.approx(expected.mean, abs=1e-9)
    with pytest.raises(gm.InputError, match="same of both"):
        gm.parzen_of_images(samples, flat[1])
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(samples[0]).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no picture")
    with pytest.raises(gm.UnreadableInput, match=r"b\.png cannot be used"):
        gm.parzen_of_images(folder, real)


def test_a_window_judges_a_seeded_sample_of_a_large_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genmetrics_rt.likelihood.window._MAX_REFERENCE", 20)
    samples, real = np.random.default_rng(0).integers(0, 256, (2, 60, 4, 4), dtype=np.uint8)
    vectors = [side.reshape(60, -1) / 255 for side in (samples, real)]
    for sides in ((samples, real), vectors):
        (entry,) = gm.parzen_of_images(*sides, sigma=0.3).entries
        found = entry.log_likelihoods["test"]
        assert len(found) == 20 and entry.images.endswith(", a seeded sample of 20 of 60")
        (other,) = gm.parzen_of_images(*sides, sigma=0.3, seed=1).entries
        assert not np.array_equal(found, other.log_likelihoods["test"])
        (all_of_them,) = gm.parzen_of_images(*sides, sigma=0.3, num_images=60).entries
        assert all_of_them.test.num_images == 60 and "sample" not in all_of_them.images
        assert np.isclose(found[:, None], all_of_them.log_likelihoods["test"]).any(axis=1).all()


def test_a_window_that_memory_cannot_hold_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, real = np.random.default_rng(0).integers(0, 256, (2, 60, 4, 4), dtype=np.uint8)
    most = 8 * 48 * 30  # bytes of thirty images of 4 × 4 in colour
    monkeypatch.setattr(window, "_MOST_BYTES", most)
    reads: list[int] = []
    image = window._image
    monkeypatch.setattr(window, "_image", lambda source, at: reads.append(at) or image(source, at))
    with pytest.raises(gm.InputError, match=r"60 times 48 numbers .* Take fewer: -n 30"):
        gm.parzen_of_images(samples, real)
    assert len(reads) == 1
    assert gm.parzen_of_images(samples, real, num_images=30).entries[0].parzen is not None
    with pytest.raises(gm.InputError, match="num_images is 0"):
        gm.parzen_of_images(samples, real, num_images=0)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["likelihood", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["likelihood", *arguments])
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


def test_the_command_on_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    test, train = str(tmp_path / "test.npy"), str(tmp_path / "train.npy")
    np.save(test, rng.normal(-6388, 10, 50))
    np.save(train, rng.normal(-6300, 10, 50))
    text = run(test, "--train", train, "--shape", "32x32x3")
    assert "bits/dim" in text and "training" in text and "overfits" in text
    assert all(len(line) <= 110 for line in text.splitlines())
    record = json.loads(run(test, "--dims", "3072", "--json", "-"))
    assert record["schema"] == "genmetrics.likelihood/1"
    assert record["entries"][0]["test"]["bits_per_dim"] == pytest.approx(3.0, abs=0.01)
    page = tmp_path / "page.html"
    several = run(test, train, "--dims", "3072", "--html", str(page))
    assert "test.npy, test" in several and "train.npy, test" in several
    html = page.read_text()
    assert "<script" not in html and "Bits per dimension" in html and html.count("<svg") >= 2
    assert "unknown" in run(test)
    assert "disagree" in refused(test, "--dims", "3", "--shape", "2x2")
    assert "no shape" in refused(test, "--shape", "axb")
    assert "scale" in refused(test, "--dims", "3", "--scale", "[0,3]")
    assert "overwrite" in refused(test, "--json", test)


def test_the_command_on_a_density(tmp_path: Path) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (12, 2, 2, 3), dtype=np.uint8))
    vae, page = str(make_linear_vae(tmp_path / "vae")), tmp_path / "page.html"
    text = run(vae, str(images), "--samples", "20", "--device", "cpu", "-q", "--html", str(page))
    assert "L_k" in text and "≤" in text and "20" in text
    assert "Bounds" in page.read_text()
    assert "two arguments" in refused(vae)
    assert "two arguments" in refused(str(images), "--parzen")
    assert "width" in run("--parzen", str(images), str(images))


def test_a_report_is_wide_as_asked_and_escapes_names(tmp_path: Path) -> None:
    path = tmp_path / "<b>&.npy"
    np.save(path, np.random.default_rng(0).normal(-50, 3, 40))
    report = gm.likelihood_of_files(path, dims=10)
    for width in (40, 60, 120):
        assert all(len(line) <= width for line in report.to_text(width=width).splitlines())
    assert "<b>" not in report.to_html() and "&lt;b&gt;" in report.to_html()
    assert report.to_html(fragment=True).startswith('<div class="genmetrics"')
    assert str(report) == report.to_text()
