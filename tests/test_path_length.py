"""Perceptual path length on generators whose answer is known in closed form (spec §4.22), and beside torch-fidelity."""

from __future__ import annotations

import math

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.latent.interpolation import lerp, slerp_any, slerp_unit
from genmetrics_rt.latent.path_length import (
    Paths,
    draw_paths,
    path_distances,
    resized,
    summarise,
    trimmed,
)


def normal(dim: int):
    return lambda rng, count: rng.randn(count, dim)


def quadratic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ((np.asarray(second, np.float64) - first) ** 2).reshape(len(first), -1).sum(axis=1)


def test_a_linear_generator_has_its_closed_form() -> None:
    """d/ε² = |A(z1 − z0)|² exactly, whatever ε and place; expectation 2 tr(AᵀA)."""
    matrix = np.random.RandomState(0).randn(5, 7)
    for sampling in ("end", "full"):
        paths = draw_paths(normal(5), 4000, sampling=sampling)
        found = path_distances(lambda z, _: z @ matrix, quadratic, paths, epsilon=0.01)
        exact = (((paths.end - paths.start) @ matrix) ** 2).sum(axis=1)
        assert found == pytest.approx(exact, rel=1e-9)
        assert found.mean() == pytest.approx(2 * np.trace(matrix.T @ matrix), rel=0.04)


@pytest.mark.parametrize(
    ("dim", "expected"),
    # E[W²] of the angle W between two random directions: pi²/3, (pi² − 4)/2, and from its density by quadrature.
    [(2, math.pi**2 / 3), (3, (math.pi**2 - 4) / 2), (128, 2.4752750), (512, 2.4693580)],
)
@pytest.mark.parametrize("sampling", ["end", "full"])
def test_an_arc_on_the_unit_sphere(dim: int, expected: float, sampling: str) -> None:
    """Identity generator on unit latents: (2 sin(εW/2)/ε)² with W the angle, exactly."""
    count, epsilon = 6000 if dim < 100 else 1500, 1e-3
    rng = np.random.RandomState(1)
    ends = [latents / np.linalg.norm(latents, axis=1, keepdims=True) for latents in rng.randn(2, count, dim)]
    paths = Paths(*ends, rng.uniform(size=count) if sampling == "full" else np.zeros(count), None)
    found = path_distances(lambda z, _: z, quadratic, paths, epsilon=epsilon, interpolate="slerp_unit")
    angle = np.arccos((ends[0] * ends[1]).sum(axis=1))
    arc = (np.abs(np.cos(angle)) < 1 - 1e-6) & (angle > 0.01)  # else the line is taken, or rounding shows
    assert arc.mean() > 0.99
    assert found[arc] == pytest.approx(((2 * np.sin(epsilon * angle / 2) / epsilon) ** 2)[arc], rel=1e-6)
    assert found.mean() == pytest.approx(expected, abs=5 * found.std() / math.sqrt(count))


@pytest.mark.parametrize(("dim", "expected"), [(2, 3.2898681), (3, 2.9348022), (128, 2.4752750)])
def test_the_ends_of_an_arc_on_the_sphere_may_be_of_any_length(dim: int, expected: float) -> None:
    """Identity generator on raw normals: E[W²] of spec §4.22, as StyleGAN normalises both ends too."""
    count = 20_000 if dim < 100 else 2000
    paths = draw_paths(normal(dim), count, sampling="full")
    found = path_distances(lambda z, _: z, quadratic, paths, epsilon=1e-3, interpolate="slerp_unit")
    assert found.mean() == pytest.approx(expected, abs=4 * found.std() / math.sqrt(count))
    assert found.std() / math.sqrt(count) < 0.025
    unit = [ends / np.linalg.norm(ends, axis=1, keepdims=True) for ends in (paths.start, paths.end)]
    same = path_distances(
        lambda z, _: z, quadratic, Paths(*unit, paths.place, None), epsilon=1e-3, interpolate="slerp_unit"
    )
    assert found == pytest.approx(same, rel=1e-6, abs=1e-9)


def test_interpolations_keep_what_they_promise() -> None:
    rng = np.random.RandomState(2)
    start, end = rng.randn(2, 50, 6)
    t = rng.uniform(size=50)
    for between in (lerp, slerp_any):
        assert between(start, end, 0.0) == pytest.approx(start)
        assert between(start, end, 1.0) == pytest.approx(end)
    assert np.linalg.norm(slerp_unit(start, end, t), axis=1) == pytest.approx(np.ones(50))
    arc = slerp_any(start, end, t)
    unit = [latents / np.linalg.norm(latents, axis=1, keepdims=True) for latents in (start, end)]
    angle = np.arccos((unit[0] * unit[1]).sum(axis=1))
    equal = slerp_any(unit[0], unit[1], t)  # of unit latents the arc stays on the sphere, at t of the angle
    assert np.arccos((equal * unit[0]).sum(axis=1)) == pytest.approx(t * angle, abs=1e-6)
    assert arc.shape == start.shape


def test_where_no_arc_exists_the_line_is_taken() -> None:
    start = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    end = np.array([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])
    assert slerp_any(start, end, 0.25) == pytest.approx(lerp(start, end, 0.25))


def test_trimming_keeps_what_stylegan_keeps() -> None:
    """Percentile 1 as 'lower', 99 as 'higher': of 1..1000 the values 10..991; of 1..100 all."""
    values = np.random.RandomState(0).permutation(np.arange(1, 1001)).astype(float)
    kept = values[trimmed(values)]
    assert (kept.min(), kept.max(), len(kept)) == (10, 991, 982)
    assert trimmed(np.arange(1.0, 101)).all()
    assert trimmed(values, None, None).all()


def test_the_draws_are_those_of_the_reference_implementations() -> None:
    """RandomState(2020): all latents of one end, all of the other, then the classes, then the places."""
    paths = draw_paths(normal(3), 10, num_classes=4, sampling="full")
    rng = np.random.RandomState(2020)
    assert (paths.start == rng.randn(10, 3)).all()
    assert (paths.end == rng.randn(10, 3)).all()
    assert (paths.labels == rng.randint(0, 4, (10,))).all()
    assert (paths.place == rng.uniform(size=10)).all()


def test_both_ends_of_a_path_have_one_class() -> None:
    seen = []

    def generate(latents: np.ndarray, labels: np.ndarray) -> np.ndarray:
        seen.append(labels.copy())
        return latents

    path_distances(generate, quadratic, draw_paths(normal(3), 10, num_classes=4), epsilon=0.1)
    assert (seen[0] == seen[1]).all()


def test_the_interval_holds_the_truth() -> None:
    """The trimmed mean of a law with a heavy tail, 200 times: the interval must hold it about 95 times in 100."""
    rng = np.random.RandomState(3)
    million = rng.lognormal(0, 1, 1_000_000)
    truth = million[trimmed(million)].mean()
    held = 0
    for _ in range(200):
        values = rng.lognormal(0, 1, 300)
        low, high = summarise(values, Paths(values, values, values, None), settings={}).interval
        held += low <= truth <= high
    assert 178 <= held <= 199


def test_a_distance_that_is_not_finite_is_refused() -> None:
    with pytest.raises(gm.InputError, match="not finite on 10 of 10"):
        path_distances(lambda z, _: z, lambda a, b: np.full(len(a), np.nan), draw_paths(normal(3), 10))


@pytest.mark.parametrize("shape", [(32, 32), (96, 80), (128, 128), (100, 50)])
def test_resizing_is_that_of_torch_fidelity(shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    images = np.random.RandomState(0).uniform(0, 255, (2, *shape, 3)).astype(np.float32)
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2))
    if shape[0] > 64 and shape[1] > 64:
        expected = torch.nn.functional.interpolate(tensor, (64, 64), mode="area")
    else:
        expected = torch.nn.functional.interpolate(tensor, (64, 64), mode="bilinear", align_corners=False)
    assert np.abs(resized(images, 64) - expected.numpy().transpose(0, 2, 3, 1)).max() < 2e-3
