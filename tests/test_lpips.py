"""LPIPS and the VGG loss: against the package `lpips` with the same weights, and cases that can be worked out by hand.

The linear weights are the published ones, which the package carries; the networks behind them have random weights,
given to both sides.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from export.perceptual import LINEAR, WEIGHT_FREE, verify  # noqa: E402
from export.perceptual.lpips import BACKBONES, Lpips  # noqa: E402
from export.perceptual.vgg import CONTENT, STYLE, VggLoss, gram  # noqa: E402
from genmetrics_rt.assembly import assemble  # noqa: E402
from genmetrics_rt.bundle import SHIPPED, Bundle, load_bundle  # noqa: E402
from genmetrics_rt.checkpoints.checkpoint import flatten, read_checkpoint  # noqa: E402
from genmetrics_rt.errors import InputError, MissingBundle, UnreadableInput  # noqa: E402
from genmetrics_rt.perceptual import PerceptualDistance, find_distance, open_distance  # noqa: E402

# Sum of all weights of each layer, and where it is known the largest (spec of the converter, taken from the files).
CHECK_SUMS = {
    "alex": ((2.34953231, 0.49213886), (16.14302748, 1.04715502), (39.26843925, 1.32356691), (27.19717844, 0.74773610),
             (20.31717710, 0.41306958)),
    "vgg": ((6.92599170, 1.28281617), (8.85833401, 0.47568023), (17.51500605, 0.50654650), (51.52132303, 0.58728051),
            (47.03485376, 0.45843714)),
    "squeeze": tuple((total, None) for total in (5.69010078, 1.18527949, 16.32656541, 71.01262409, 37.37072321,
                                                 24.26287240, 17.59055275)),
}  # fmt: skip
SIZES = ((64, 64), (97, 71), (51, 128), (33, 35))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def linear_file(backbone: str) -> Path:
    package = pytest.importorskip("lpips")
    return Path(package.__file__).parent / "weights" / "v0.1" / f"{backbone}.pth"


def pairs(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Noise against noise, and a picture against its noisy copy."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    blocks = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3)).repeat(8, axis=0).repeat(8, axis=1)
    smooth = blocks[:height, :width]
    noisy = np.clip(smooth + rng.normal(0, 10, smooth.shape), 0, 255)
    return np.stack([noise[0], smooth]).astype(np.uint8), np.stack([noise[1], noisy]).astype(np.uint8)


def published(backbone: str):
    """The package's own network with random trunk and published linear weights, and the trunk under published names."""
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, about how the package calls it
        peer = lpips.LPIPS(net=backbone, version="0.1", pnet_rand=True, verbose=False).eval()
    for parameter in peer.net.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, -0.05, 0.05)
    trunk = {f"features.{name.split('.', 1)[1]}": value for name, value in peer.net.state_dict().items()}
    return peer, trunk


def filled(name: str, folder: Path, *files: Path) -> Bundle:
    return assemble(load_bundle(name), list(files), unverified=True, name=f"{name}-of-nobody")


@pytest.mark.parity
@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_is_the_published_package(backbone: str, tmp_path: Path) -> None:
    peer, trunk = published(backbone)
    torch.save(trunk, tmp_path / "trunk.pth")
    distance = open_distance(filled(f"lpips-{backbone}", tmp_path, tmp_path / "trunk.pth", linear_file(backbone)))
    assert distance.name == f"lpips-{backbone}-of-nobody/lpips-{backbone}"  # never by the published name
    assert find_distance(distance.name)[0].name == f"lpips-{backbone}-of-nobody"
    assert find_distance(f"lpips-{backbone}")[0].is_weight_free
    for size in SIZES:
        first, second = pairs(*size)
        a, b = (torch.from_numpy(side).permute(0, 3, 1, 2) / 127.5 - 1 for side in (first, second))
        with torch.no_grad():
            expected = peer(a, b).flatten().numpy()
            peer.spatial = True
            where = peer(a, b)[:, 0].numpy()
            peer.spatial = False
        found, maps = distance.measure(first, second, maps=True)
        assert expected.min() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(maps, where, rtol=1e-5, atol=1e-5 * where.max())
        np.testing.assert_allclose(distance(first.astype(np.float32), second), found, rtol=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_published_linear_weights_are_the_ones_whose_hash_is_in_the_manifest(backbone: str) -> None:
    content = linear_file(backbone).read_bytes()
    sources = load_bundle(f"lpips-{backbone}").manifest.weights["sources"]
    (source,) = (entry for entry in sources if entry["part"] == "lin")
    assert hashlib.sha256(content).hexdigest() == source["sha256"] == LINEAR[backbone][0]
    assert len(content) == source["bytes"]
    tensors = flatten(read_checkpoint(content, what=backbone))
    assert len(tensors) == len(CHECK_SUMS[backbone])
    for layer, (total, largest) in enumerate(CHECK_SUMS[backbone]):
        weight = tensors[f"lin{layer}.model.1.weight"]
        assert weight.shape == (1, BACKBONES[backbone].channels[layer], 1, 1) and weight.min() >= 0
        assert weight.astype(np.float64).sum() == pytest.approx(total, rel=1e-6)
        assert largest is None or weight.max() == pytest.approx(largest, rel=1e-6)


class Given(Lpips):
    """LPIPS on features that are given, one layer per entry: what follows the network, alone."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        super().__init__(BACKBONES["alex"])
        self.lin = torch.nn.ModuleList(torch.nn.Conv2d(len(weight), 1, 1, bias=False) for weight in weights)
        for lin, weight in zip(self.lin, weights, strict=True):
            lin.weight.data = weight[None, :, None, None]
        self.features, self.last = torch.nn.Sequential(*[torch.nn.Identity()] * len(weights)), range(len(weights))
        self.shift, self.scale = torch.tensor(-1.0), torch.tensor(1 / 127.5)  # so that the input passes unchanged


def features(*rows: list[float]) -> torch.Tensor:
    """(1, C, 4, 4) with the same vector everywhere."""
    return torch.tensor(rows).mean(0)[None, :, None, None].expand(1, len(rows[0]), 4, 4)


@torch.no_grad()
def test_cases_worked_out_by_hand() -> None:
    ones = Given([torch.ones(3)] * 5)  # without weights: the squared difference, summed over channels
    e1, e2, zero = features([1.0, 0.0, 0.0]), features([0.0, 5.0, 0.0]), features([0.0, 0.0, 0.0])
    assert ones(e1, e2)[0].item() == pytest.approx(10, abs=1e-5)  # orthogonal: 2 a layer
    assert Given([torch.ones(3)] * 7)(e1, e2)[0].item() == pytest.approx(14, abs=1e-5)
    assert ones(e1, e1)[0].item() == 0
    assert ones(e1, 9 * e1)[0].item() == pytest.approx(0, abs=1e-9)  # only directions count
    weighted = Given([torch.tensor([0.25, 0.5, 4.0])])
    assert weighted(e1, e2)[0].item() == pytest.approx(0.75, abs=1e-6)  # w_1 + w_2
    assert weighted(e1, zero)[0].item() == pytest.approx(0.25, abs=1e-6)  # 0 / (0 + 1e-10) is 0: w_1
    np.testing.assert_allclose(weighted(e1, e2)[1], np.full((1, 4, 4), 0.75), rtol=1e-6)


@torch.no_grad()
def test_the_gram_matrix_and_the_content_loss_by_hand() -> None:
    found = gram(torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1))
    np.testing.assert_allclose(found[0], [[0.5, 1], [1, 2]])
    assert (found**2).mean().item() == pytest.approx(1.5625)  # the code's mean over C² entries
    assert (found**2).sum().item() == pytest.approx(6.25)  # the paper's squared Frobenius norm

    class Shifted(VggLoss):
        """Features that differ by a constant."""

        def _layers(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
            return {layer: images * 0 + images.mean() for layer in {CONTENT, *STYLE}}

    black, white = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 7.0)
    content, _, where = Shifted()(black, white)
    assert content.item() == pytest.approx(49)  # c²
    np.testing.assert_allclose(where, np.full((1, 8, 8), 49), rtol=1e-6)


def test_the_vgg_loss_is_that_of_torchvisions_layers(tmp_path: Path) -> None:
    """Against a walk through torchvision's own network."""
    from torchvision import models

    torch.manual_seed(5)
    network = models.vgg16(weights=None).features.eval()
    torch.save({f"features.{name}": value for name, value in network.state_dict().items()}, tmp_path / "vgg.pth")
    bundle = filled("vgg-loss", tmp_path, tmp_path / "vgg.pth")
    first, second = pairs(40, 56)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    layers = []
    for side in (first, second):
        x = ((torch.from_numpy(side) / 255 - mean) / deviation).permute(0, 3, 1, 2)
        kept = {}
        with torch.no_grad():
            for index, layer in enumerate(network[:23]):
                x = layer(x)
                kept[index] = x.clone()
        layers.append(kept)
    content = ((layers[0][15] - layers[1][15]) ** 2).mean(dim=(1, 2, 3)).numpy()
    style = np.zeros(2)
    for index in (3, 8, 15, 22):
        a, b = (torch.einsum("nchw,ndhw->ncd", kept[index], kept[index]) for kept in layers)
        style += (((a - b) / layers[0][index][0].numel()) ** 2).mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(PerceptualDistance(bundle, "vgg")(first, second), content, rtol=2e-5)
    of_style = PerceptualDistance(bundle, "vgg-style")
    np.testing.assert_allclose(of_style(first, second), style, rtol=2e-4)
    np.testing.assert_array_equal(of_style(first, first), 0)
    with pytest.raises(InputError, match="has no map"):
        of_style.maps(first, second)
    assert PerceptualDistance(bundle, "vgg").numeric_id != of_style.numeric_id


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_least_size_is_the_least(backbone: str) -> None:
    """One pixel less leaves a layer of the network empty."""
    module, least = Lpips(BACKBONES[backbone]).eval(), BACKBONES[backbone].least_side
    for side, fits in ((least, True), (least - 1, False)):
        image = torch.rand(1, 3, side, side) * 255
        try:
            with torch.no_grad():
                found = bool(torch.isfinite(module(image, image.flip(3))[0]).all())
        except RuntimeError:
            found = False
        assert found is fits
    assert load_bundle(f"lpips-{backbone}").manifest.record["least_side"] == least


def test_too_small_is_said_with_the_least_size(tmp_path: Path) -> None:
    _, trunk = published("squeeze")
    torch.save(trunk, tmp_path / "trunk.pth")
    distance = open_distance(filled("lpips-squeeze", tmp_path, tmp_path / "trunk.pth", linear_file("squeeze")))
    with pytest.raises(UnreadableInput, match="at least 17 × 17"):
        distance(*pairs(16, 40))


def test_two_files_from_the_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from genmetrics_rt.cli import app

    _, trunk = published("squeeze")
    torch.save(trunk, tmp_path / "trunk.pth")
    files = ["--weights", str(tmp_path / "trunk.pth"), "--weights", str(linear_file("squeeze"))]
    fetch = ["bundles", "fetch", "lpips-squeeze", *files]
    done = CliRunner().invoke(app, [*fetch, "--unverified", "--name", "mine"])
    assert done.exit_code == 0 and "genmetrics perceptual A B --net mine/lpips-squeeze" in done.stderr
    refused = CliRunner().invoke(app, fetch)
    assert refused.exit_code == 2 and "trunk.pth" in refused.stderr  # its hash is not the published one
    np.save(tmp_path / "a.npy", pairs(40, 40)[0])
    np.save(tmp_path / "b.npy", pairs(40, 40)[1])
    told = CliRunner().invoke(
        app, ["perceptual", str(tmp_path / "a.npy"), str(tmp_path / "b.npy"), "--net", "mine/lpips-squeeze"]
    )
    assert told.exit_code == 0 and "UNVERIFIED" in told.stdout


@pytest.mark.parametrize("name", ["lpips-alex", "vgg-style"])
def test_without_weights_it_says_how_to_get_them(name: str) -> None:
    assert find_distance(name)[0].is_weight_free
    with pytest.raises(MissingBundle, match="bundles fetch"):
        open_distance(name)


@pytest.mark.proof
@pytest.mark.parametrize("name", WEIGHT_FREE)
def test_the_shipped_graphs_agree_with_the_code(name: str) -> None:
    agreement = verify(SHIPPED / name)
    assert agreement.holds, agreement.summary()
