"""Path length beside torch-fidelity: one generator, one distance, its own code around them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import genmetrics_rt as gm
from genmetrics_rt.generators import OpenGenerator
from genmetrics_rt.latent.path_length import draw_paths, path_distances, summarise

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("interpolate", ["lerp", "slerp_any", "slerp_unit"])
@pytest.mark.parametrize("name", ["digits-vae", "digits-gan"])
def test_the_same_generator_and_distance_give_the_same_length(
    name: str, interpolate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch_fidelity = pytest.importorskip("torch_fidelity")
        from torch_fidelity.sample_similarity_base import SampleSimilarityBase

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    opened = OpenGenerator(gm.Generator(name), device="cpu", threads=1)
    dim, on_sphere = opened.generator.latent_dim, interpolate == "slerp_unit"

    def normal(rng: np.random.RandomState, count: int) -> np.ndarray:
        return rng.randn(count, dim)

    def unit(rng: np.random.RandomState, count: int) -> np.ndarray:
        """Its latents on the sphere. It normalises the far end of a step only, so it needs latents of length 1."""
        drawn = rng.rand(count, dim)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=2), torch.nn.Tanh(), torch.nn.Conv2d(8, 8, 3, stride=2), torch.nn.Tanh()
    ).double()

    def of_tensors(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """A perceptual distance with random weights: squared difference of network features, as LPIPS has it."""
        with torch.no_grad():
            features = [network(images.double() / 127.5 - 1) for images in (first, second)]
            return ((features[0] - features[1]) ** 2).mean(dim=(1, 2, 3))

    def of_arrays(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        one, other = (
            torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))) for images in (first, second)
        )
        return of_tensors(one, other).numpy()

    class Similarity(SampleSimilarityBase):
        def __init__(self, name: str, **_: object) -> None:
            super().__init__(name)

        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return of_tensors(first, second)

    class Net(torch.nn.Module):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(opened.pixels(latents.numpy()).transpose(0, 3, 1, 2).copy())

    percentile = np.percentile  # numpy 2.4 has dropped the old name of this argument, which torch-fidelity 0.4 uses
    with warnings.catch_warnings(), monkeypatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(np, "percentile", lambda values, q, interpolation: percentile(values, q, method=interpolation))
        from torch_fidelity.registry import SAMPLE_SIMILARITY_REGISTRY

        SAMPLE_SIMILARITY_REGISTRY["of-this-test"] = Similarity
        try:
            theirs = torch_fidelity.calculate_metrics(
                input1=torch_fidelity.GenerativeModelModuleWrapper(Net(), dim, "unit" if on_sphere else "normal", 0),
                input1_model_num_samples=300, ppl=True, ppl_epsilon=1e-4, ppl_z_interp_mode=interpolate,
                ppl_sample_similarity="of-this-test", ppl_sample_similarity_dtype="float32",
                ppl_reduction="none", batch_size=64, cuda=False, verbose=False, rng_seed=2020,
            )  # fmt: skip
        finally:
            del SAMPLE_SIMILARITY_REGISTRY["of-this-test"]
            torch.set_num_threads(threads)
    paths = draw_paths(unit if on_sphere else normal, 300)
    distances = path_distances(
        lambda latents, _: opened.pixels(latents.astype(np.float32)), of_arrays, paths, interpolate=interpolate
    )
    ours = summarise(distances, paths, settings={})
    assert ours.num_kept == len(theirs["perceptual_path_length_raw"])
    assert ours.value == pytest.approx(theirs["perceptual_path_length_mean"], rel=1e-3)
    assert ours.std == pytest.approx(theirs["perceptual_path_length_std"], rel=1e-3)
    print(f"{name}, {interpolate}: {ours.value / theirs['perceptual_path_length_mean'] - 1:.1e} from torch-fidelity's")
