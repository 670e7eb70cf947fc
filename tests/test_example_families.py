"""The flow, the diffusion model and the densities of the examples: what the frozen files show, and that it is right."""

from __future__ import annotations

import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genmetrics_rt.bundle import SHIPPED, load_bundle
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.metrics.prd import prd_curve

GENERATORS = ("digits-flow", "digits-diffusion")
CONDITIONAL = "digits-cvae"
DENSITIES = ("digits-flow-density", "digits-vae-density")
LEVELS, DIM = 16, 64
DRAWS = (1, 5, 50, 500)
RECORD = SHIPPED.parent / "examples" / "README.md"


@pytest.fixture(scope="module")
def digits() -> dict[str, NDArray[Any]]:
    with np.load(SHIPPED.parent / "examples" / "digits.npz") as file:
        return {**file, "images": np.repeat(file["images"][..., None], 3, axis=-1)}


def samples(name: str, count: int) -> NDArray[np.uint8]:
    source = GeneratorSource(load_bundle(name), count, seed=0, device="cpu", threads=1)
    return np.stack([source.read(index).pixels for index in range(count)])


def log_weights(name: str, images: NDArray[np.uint8], draws: int, seed: int = 0) -> NDArray[np.float64]:
    """(N, K), in batches: a batch of 50 with 500 draws takes 6 MB."""
    bundle = load_bundle(name)
    graph, noise = open_graph(bundle, device="cpu", threads=1), bundle.manifest.record["density"]["noise"]
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, len(images), 50):
        batch = images[start : start + 50]
        shape = (len(batch), draws, noise["dim"])
        drawn = rng.random(shape) if noise["distribution"] == "uniform" else rng.standard_normal(shape)
        found.append(graph.run({"images": batch, "noise": drawn.astype(np.float32)})["log_weights"])
    return np.concatenate(found).astype(np.float64)


def bound(weights: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
    """L_K of each image."""
    return np.logaddexp.reduce(weights[:, :draws], axis=1) - math.log(draws)


# The frozen files.


@pytest.mark.parametrize("name", GENERATORS)
def test_a_latent_decides_its_picture(name: str) -> None:
    graph = open_graph(load_bundle(name), device="cpu", threads=1)
    latent = np.random.default_rng(5).standard_normal((9, DIM), dtype=np.float32)
    first, again = graph.run({"latent": latent}), graph.run({"latent": latent})
    assert first["images"].shape == first["pixels"].shape == (9, 32, 32, 3)
    assert len(np.unique(first["images"].reshape(9, -1), axis=0)) == 9
    for output in ("images", "pixels"):
        np.testing.assert_array_equal(first[output], again[output])
    alone = np.concatenate([graph.run({"latent": latent[row : row + 1]})["pixels"] for row in range(9)])
    np.testing.assert_allclose(alone, first["pixels"], atol=0.01)


def test_the_conditional_vae_draws_the_class_that_it_is_told() -> None:
    bundle = load_bundle(CONDITIONAL)
    assert bundle.manifest.record["classes"] == {"count": 10, "names": [str(digit) for digit in range(10)]}
    latent = np.random.default_rng(4).standard_normal((500, bundle.manifest.latent["dim"]), dtype=np.float32)
    labels = np.arange(500) % 10
    images = open_graph(bundle, device="cpu", threads=1).run({"latent": latent, "labels": labels})["images"]
    _, logits = FeatureExtractor("digits-classifier", device="cpu", threads=1, batch_size=256)(images)
    assert (logits.argmax(axis=1) == labels).mean() >= 0.95
    of_one_class = images[labels == 3].reshape(50, -1)
    assert len(np.unique(of_one_class, axis=0)) == 50  # and the latent still decides how


def test_the_diffusion_model_calls_its_network_fifty_times_in_a_loop() -> None:
    onnx = pytest.importorskip("onnx")
    bundle = load_bundle("digits-diffusion")
    assert bundle.manifest.record["sampling"] == {"network_calls": 50}
    model = onnx.load_model_from_string(bundle.read("graph.onnx"))
    loop = next(node for node in model.graph.node if node.op_type == "Loop")
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert constants[loop.input[0]] == 50


def test_families_and_their_order(digits: dict[str, NDArray[Any]]) -> None:
    """The diffusion model draws better than the flow, and covers at least what the GAN covers."""
    extractor = FeatureExtractor("digits-classifier", device="cpu", threads=1, batch_size=256)
    reference = extractor(digits["images"])[0]
    curves = {
        name: prd_curve(extractor(samples(name, len(reference)))[0], reference, seed=0)
        for name in ("digits-gan", *GENERATORS)
    }
    assert curves["digits-diffusion"].f1_8 > curves["digits-flow"].f1_8 + 0.03
    assert curves["digits-diffusion"].f8 > curves["digits-gan"].f8 + 0.03
    assert curves["digits-diffusion"].f1_8 > 0.9


@pytest.mark.parametrize("name", GENERATORS)
def test_they_do_not_memorise(name: str, digits: dict[str, NDArray[Any]]) -> None:
    from scipy.spatial.distance import cdist

    rows = digits["images"][..., 0].reshape(len(digits["images"]), -1) / 255.0
    known, fresh = rows[digits["is_train"]], rows[~digits["is_train"]]
    drawn = samples(name, len(fresh))[..., 0].reshape(len(fresh), -1) / 255.0
    assert cdist(drawn, known).min(axis=1).mean() > 0.6 * cdist(fresh, known).min(axis=1).mean()


def test_the_importance_weighted_bound_of_the_vae_rises_with_k(digits: dict[str, NDArray[Any]]) -> None:
    held_out = digits["images"][~digits["is_train"]]
    weights = log_weights("digits-vae-density", held_out, DRAWS[-1])
    bounds = [bound(weights, draws) for draws in DRAWS]
    for lower, higher in pairwise(bounds):
        gain = higher - lower
        # Paired over images: more than three standard errors.
        assert gain.mean() > 3 * gain.std(ddof=1) / math.sqrt(len(gain)) > 0


@pytest.mark.parametrize("name", DENSITIES)
def test_new_digits_are_a_little_less_probable_than_those_trained_on_and_noise_much_less(
    name: str, digits: dict[str, NDArray[Any]]
) -> None:
    bits = {}
    noise = np.random.default_rng(0).permuted(digits["images"][:100, ::4, ::4, :1].reshape(100, -1), axis=1)
    shuffled = noise.reshape(100, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    pictures = {
        "training": digits["images"][digits["is_train"]][:500],
        "held out": digits["images"][~digits["is_train"]][:500],
        "shuffled": shuffled,
    }
    for part, images in pictures.items():
        bits[part] = -bound(log_weights(name, images, 20), 20).mean() / (DIM * math.log(2))
    assert 1.5 < bits["training"] < bits["held out"] < bits["training"] + 0.3
    assert bits["held out"] < 2.7 < math.log2(LEVELS + 1) < bits["shuffled"]


def test_the_flow_finds_its_own_samples_probable(digits: dict[str, NDArray[Any]]) -> None:
    drawn = bound(log_weights("digits-flow-density", samples("digits-flow", 200), 20), 20)
    real = bound(log_weights("digits-flow-density", digits["images"][:200], 20), 20)
    assert abs(drawn.mean() - real.mean()) < 0.25 * abs(real.mean())


@pytest.mark.parametrize("name", DENSITIES)
def test_the_draws_are_independent_of_each_other_and_of_the_other_images(
    name: str, digits: dict[str, NDArray[Any]]
) -> None:
    bundle = load_bundle(name)
    graph, length = open_graph(bundle, device="cpu", threads=1), bundle.manifest.record["density"]["noise"]["dim"]
    noise = np.random.default_rng(1).random((4, 3, length), dtype=np.float32)
    images = digits["images"][:4]
    together = graph.run({"images": images, "noise": noise})["log_weights"]
    alone = graph.run({"images": images[2:3], "noise": noise[2:3, 1:2]})["log_weights"]
    np.testing.assert_allclose(alone[0, 0], together[2, 1], rtol=1e-5)


def test_the_record_states_what_these_files_score(digits: dict[str, NDArray[Any]]) -> None:
    text = RECORD.read_text(encoding="utf-8")
    section = text.partition("`digits-vae-density`:")[2]
    row = next(line for line in section.splitlines() if line.startswith("| 5 |"))
    stated, error = (float(part) for part in row.split("|")[3].split("±"))
    held_out = digits["images"][~digits["is_train"]]
    found = bound(log_weights("digits-vae-density", held_out, 5, seed=3), 5).mean()
    assert abs(found - stated) < error


def test_the_new_bundles_weigh_little() -> None:
    files = [file for name in (*GENERATORS, CONDITIONAL, *DENSITIES) for file in (SHIPPED / name).iterdir()]
    assert sum(file.stat().st_size for file in files) <= 1_050_000


# The mathematics, on small modules: these need torch, and no frozen file.


def small_flow() -> Any:
    """A flow of four dimensions whose couplings say something."""
    torch = pytest.importorskip("torch")
    from export.examples.flow import Flow

    torch.manual_seed(0)
    flow = Flow(4, 2, couplings=3, width=5).eval().to(torch.float64)
    for coupling in flow.couplings:
        torch.nn.init.normal_(coupling.last.weight, std=0.3)
    flow.fit_axes(3 * torch.rand(500, 4, dtype=torch.float64))
    return flow


def test_the_log_density_of_the_flow_is_the_change_of_variables() -> None:
    """ln p(v) = ln N(z; 0, I) + ln |det ∂z/∂v|, with the determinant of the Jacobian that autograd finds."""
    torch = pytest.importorskip("torch")
    flow = small_flow()
    values = 3 * torch.rand(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = flow.log_density(values)
        latents, _ = flow(values)
    for value, latent, log_density in zip(values, latents, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], value)
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(latent).sum()
        assert float(log_density) == pytest.approx(float(normal + torch.linalg.slogdet(jacobian)[1]), abs=1e-9)


def test_the_density_of_the_flow_sums_up_to_what_its_samples_say() -> None:
    """∫ p over the cube [0, 3]⁴, by points in it, is the share of samples that fall into the cube."""
    torch = pytest.importorskip("torch")
    flow = small_flow()
    draws = torch.Generator().manual_seed(2)
    with torch.no_grad():
        points = 3 * torch.rand(200_000, 4, dtype=torch.float64, generator=draws)
        densities = flow.log_density(points).exp() * 3**4
        drawn = flow.inverse(torch.randn(200_000, 4, dtype=torch.float64, generator=draws))
    inside = ((drawn >= 0) & (drawn <= 3)).all(dim=1).double()
    error = math.hypot(float(densities.std()), float(inside.std())) / math.sqrt(200_000)
    assert float(inside.mean()) < 0.99  # else it would show little
    assert abs(float(densities.mean() - inside.mean())) < 4 * error


@pytest.mark.parametrize("which", ["small", "shipped"])
def test_sampling_inverts_the_density(which: str) -> None:
    torch = pytest.importorskip("torch")
    if which == "small":
        flow, tolerance = small_flow(), 1e-9
        latents = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    else:
        from export.registry import BLUEPRINTS

        flow, tolerance = BLUEPRINTS["digits-flow"](SHIPPED / "digits-flow").module.flow, 2e-3
        latents = torch.randn(50, DIM, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert float((flow(flow.inverse(latents))[0] - latents).abs().max()) < tolerance


def test_flow_and_density_are_the_same_network() -> None:
    pytest.importorskip("torch")
    from export.verify import frozen_state

    generator, density = (frozen_state(SHIPPED / name) for name in ("digits-flow", "digits-flow-density"))
    shared = {name for name in generator if name.startswith("flow.")}
    assert shared == {name for name in density if name.startswith("flow.")}
    for name in shared:
        np.testing.assert_array_equal(generator[name].numpy(), density[name].numpy())


def test_the_decoder_of_the_likelihood_is_that_of_the_vae() -> None:
    pytest.importorskip("torch")
    from export.verify import frozen_state

    vae, density = frozen_state(SHIPPED / "digits-vae"), frozen_state(SHIPPED / "digits-vae-density")
    layers = [name for name in vae if name.startswith("decoder.")]
    assert len(layers) == 8
    for name in layers:
        np.testing.assert_array_equal(vae[name].half().numpy(), density[f"likelihood.{name}"].numpy())


def test_a_log_weight_of_the_vae_is_its_definition() -> None:
    """ln N(z; 0, I) + Σ ln Binomial(x; 16, p(z)) − ln q(z|x), with the distributions of torch."""
    torch = pytest.importorskip("torch")
    from torch.distributions import Binomial, Normal

    from export.examples.networks import Decoder
    from export.examples.vae_density import Proposal, VaeLikelihood

    torch.manual_seed(0)
    likelihood = VaeLikelihood(Decoder(3, 1, 4), Proposal(16, 3, LEVELS, width=8)).eval().to(torch.float64)
    levels = torch.randint(LEVELS + 1, (5, 16)).to(torch.float64)
    noise = torch.randn(5, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        found = likelihood(levels, noise)
        mean, log_deviation = likelihood.proposal(levels)
        proposal = Normal(mean[:, None], log_deviation.exp()[:, None])
        latents = proposal.loc + proposal.scale * noise
        chance = likelihood.decoder(latents.flatten(0, 1)).reshape(5, 2, 16)
        expected = (
            Normal(0.0, 1.0).log_prob(latents).sum(dim=2)
            + Binomial(LEVELS, chance).log_prob(levels[:, None]).sum(dim=2)
            - proposal.log_prob(latents).sum(dim=2)
        )
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)


def test_ddim_with_the_exact_network_ends_at_the_only_picture() -> None:
    """Of one picture x the best v is known: √a (x_t − √a x) / √(1 − a) − √(1 − a) x. Every latent must end at x."""
    torch = pytest.importorskip("torch")
    from export.examples.diffusion import NETWORK_CALLS, Step

    picture = torch.linspace(-1.0, 1.0, 6)

    class Exact(torch.nn.Module):
        def forward(self, noisy: Any, waves: Any) -> Any:
            at = int((step.waves - waves).abs().sum(dim=1).argmin())
            signal, noise = step.signal[at], step.noise[at]
            return signal * (noisy - signal * picture) / noise - noise * picture

    step = Step(Exact())
    noisy = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    for index in range(NETWORK_CALLS):
        noisy = step(noisy, torch.tensor(index))
    np.testing.assert_allclose(noisy.numpy(), np.tile(picture.numpy(), (4, 1)), atol=1e-4)


def test_shown_pictures_are_taken_back_to_their_levels(digits: dict[str, NDArray[Any]]) -> None:
    torch = pytest.importorskip("torch")
    from export.examples.display import Display, NativeLevels

    datasets = pytest.importorskip("sklearn.datasets")
    back = NativeLevels(8, LEVELS)
    found = back(torch.from_numpy(digits["images"])).numpy()
    np.testing.assert_array_equal(found, datasets.load_digits().data)
    levels = torch.randint(LEVELS + 1, (300, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    np.testing.assert_array_equal(back(Display(8)(levels / LEVELS)[0]).numpy(), levels.flatten(1).numpy())


# The workshop.


@pytest.mark.parametrize("name", (*GENERATORS, CONDITIONAL, *DENSITIES))
def test_the_shipped_graphs_agree_with_the_modules_of_today(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from export.freeze import onnx_bytes, tools
    from export.registry import BLUEPRINTS
    from export.verify import verify

    folder = Path(shutil.copytree(load_bundle(name).path, tmp_path / name))
    agreement = verify(folder)
    assert agreement.holds, agreement.summary()
    assert {row.pair for row in agreement.rows} >= {"eager-torchscript", "eager-onnx", "eager-numpy"}
    bundle = load_bundle(folder)
    assert "CC-BY-4.0" in bundle.manifest.record["licence"]
    assert "hand-written digits" in bundle.manifest.record["frozen"]["data"]
    if bundle.manifest.record["frozen"]["tools"] == tools():  # another exporter may write the same graph otherwise
        assert onnx_bytes(BLUEPRINTS[name](folder)) == bundle.read("graph.onnx")


def test_the_command_trains_the_families(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    pytest.importorskip("sklearn")
    from export.examples.data import load_digits
    from export.examples.train import train_families

    shutil.copytree(SHIPPED / "digits-vae", tmp_path / "bundles" / "digits-vae")
    threads, said = torch.get_num_threads(), []
    try:
        train_families(load_digits(), tmp_path, effort=1e-3, say=said.append)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    assert len(said) == 4
    for name in (*GENERATORS, CONDITIONAL, *DENSITIES):
        bundle = load_bundle(tmp_path / "bundles" / name)
        bundle.verify()
        assert bundle.kind == ("density" if name in DENSITIES else "generator")
