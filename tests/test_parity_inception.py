"""From image files to scores on the network of FID, with one checkpoint, through us and through the tools of the field.

The checkpoint is in the published layout with weights of nobody (`tests.inception`); the folders hold RGB, grey and
small images, PNG and JPEG. Each peer reads the same files with its own code, network and arithmetic.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import genmetrics_rt as gm
from genmetrics_rt.bundle import SHIPPED, Bundle
from genmetrics_rt.images import open_images

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of old packages, about each other
    pytest.importorskip("torchvision")
    pytest.importorskip("sklearn.datasets")
    torch_fidelity = pytest.importorskip("torch_fidelity")
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    clean_fid = pytest.importorskip("cleanfid.fid")
    pytest.importorskip("torchmetrics")
    import pytorch_fid.inception
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

inception = pytest.importorskip("tests.inception")  # needs torchvision and scikit-learn

pytestmark = pytest.mark.parity

COUNT = 48  # images a side
SUBSET = 40  # of KID
Array = NDArray[np.floating]


@dataclass(frozen=True)
class World:
    checkpoint: Path
    bundle: Bundle
    generated: Path
    reference: Path
    home: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A checkpoint that counts as published, the shipped graph filled from it, and two folders."""
    root = tmp_path_factory.mktemp("inception")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENMETRICS_HOME", str(root / "home"))
        checkpoint = inception.write_checkpoint(root / "weights.pth", counters=False)
        bundle = gm.fetch_bundle(as_published(checkpoint, root / "bundle"), weights=checkpoint)
    yield World(checkpoint, bundle, *inception.folders(root, COUNT), root / "home")


def as_published(checkpoint: Path, folder: Path) -> Bundle:
    """The shipped weight-free bundle, whose manifest takes this file for the publisher's."""
    shutil.copytree(SHIPPED / "inception-fid", folder)
    record = json.loads((folder / "manifest.json").read_text())
    source = record["weights"]["sources"][0]
    source |= {"sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(), "bytes": checkpoint.stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(record))
    return gm.load_bundle(folder)


@pytest.fixture(autouse=True)
def quiet_peers(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Their warnings are not ours; our features are kept between the tests."""
    monkeypatch.setenv("GENMETRICS_HOME", str(world.home))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def theirs(world: World) -> dict[str, Array]:
    """torch-fidelity's extractor on every generated image: all its taps."""
    taps = ["64", "192", "768", "2048", "logits_unbiased"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = FeatureExtractorInceptionV3("", taps, feature_extractor_weights_path=str(world.checkpoint))
    rows = []
    for image in rgb(world.generated):
        with torch.no_grad():
            rows.append(network(torch.from_numpy(image.transpose(2, 0, 1).copy())[None]))
    return {tap: np.concatenate([row[place].numpy() for row in rows]) for place, tap in enumerate(taps)}


def rgb(folder: Path) -> list[NDArray[np.uint8]]:
    """As every peer reads a file: Pillow's convert("RGB")."""
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())]


def ours(world: World, protocol: str, **metrics: Any) -> gm.Report:
    """A report by a protocol, with subsets of KID that fit the folders."""
    recipe = world.bundle.manifest.protocol(protocol)
    recipe = replace(recipe, metrics={**recipe.metrics, "kid": {"subset_size": SUBSET}, **metrics})
    return gm.evaluate(world.generated, world.reference, extractor=world.bundle, protocol=recipe)


def traces(world: World, protocol: str) -> float:
    """tr Σ1 + tr Σ2: the scale on which the matrix square roots of the peers err."""
    total = 0.0
    for side in (world.generated, world.reference):
        features = gm.extract_features(side, extractor=world.bundle, protocol=protocol)
        total += float(features.statistics().covariance.trace())
    return total


# The setting itself: a network that says something


def test_the_weights_and_the_folders_are_worth_comparing_on(world: World) -> None:
    report = ours(world, "tf1")
    features = gm.extract_features(world.reference, extractor=world.bundle)
    assert 0.3 < features.values.std(axis=0).mean() < 1
    assert report.scores["fid"].value > 0.05 * traces(world, "tf1")
    one_split = ours(world, "tf1", class_score={"splits": 1})
    assert 3 < one_split.scores["is"].value < 10


# Features


@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
@pytest.mark.parametrize("tap", ["64", "192", "768", "2048"])
def test_every_tap_is_that_of_torch_fidelity(world: World, theirs: dict[str, Array], tap: str, backend: str) -> None:
    features = gm.extract_features(world.generated, extractor=world.bundle, tap=tap, backend=backend, device="cpu")
    assert features.values.shape == theirs[tap].shape
    assert np.abs(features.values - theirs[tap]).max() <= 1e-4
    assert features.logits is not None
    scale = np.abs(theirs["logits_unbiased"]).max()
    assert np.abs(features.logits - theirs["logits_unbiased"]).max() <= 1e-5 * scale


def test_the_folded_graph_is_the_unfolded_network(world: World) -> None:
    """The spatial tap, which torch-fidelity lacks, against the module hooked where TensorFlow's name points."""
    network = inception.calibrated_network()
    seen = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda module, given, found: seen.append(found[:, :7].flatten(1)))
    extractor = gm.FeatureExtractor(world.bundle, protocol="adm", device="cpu")
    tensors = np.stack([extractor.prepare(image) for image in rgb(world.generated)[:6]])
    with torch.no_grad():
        features = network(torch.from_numpy(tensors))[0].numpy()
    taps = extractor.run_taps(tensors)
    assert taps["spatial"].shape == (6, 2023)
    assert np.abs(taps["spatial"] - seen[0].numpy()).max() <= 1e-4
    assert np.abs(taps["features"] - features).max() <= 1e-4


# Scores


def test_tf1_gives_the_scores_of_torch_fidelity(world: World) -> None:
    peer = torch_fidelity.calculate_metrics(
        input1=str(world.generated),
        input2=str(world.reference),
        fid=True,
        isc=True,
        kid=True,
        kid_subset_size=SUBSET,
        batch_size=1,  # its loader stacks images, and these differ in size
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
        feature_extractor_weights_path=str(world.checkpoint),
    )
    scores = ours(world, "tf1").scores
    fid, kid = peer["frechet_inception_distance"], peer["kernel_inception_distance_mean"]
    assert abs(scores["fid"].value - fid) <= 1e-4 * fid
    assert abs(scores["kid"].value - kid) <= 1e-4 * kid + 1e-7
    assert scores["is"].value - 1 == pytest.approx(peer["inception_score_mean"] - 1, rel=1e-4)
    assert scores["is"].details["std_over_splits"] == pytest.approx(peer["inception_score_std"], rel=1e-3)


def test_pytorch_fid_gives_the_scores_of_pytorch_fid(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.load(world.checkpoint, weights_only=True)
    state |= {f"{name.removesuffix('.running_var')}.num_batches_tracked": torch.tensor(0)
              for name in list(state) if name.endswith(".running_var")}  # fmt: skip
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *given, **options: state)
    paths = [str(world.generated), str(world.reference)]
    peer = fid_score.calculate_fid_given_paths(paths, batch_size=1, device="cpu", dims=2048, num_workers=0)
    found = ours(world, "pytorch-fid").scores["fid"].value
    assert abs(found - peer) <= 1e-4 * peer + 1e-5 * traces(world, "pytorch-fid")


def test_clean_gives_the_scores_of_clean_fid(world: World) -> None:
    network = inception.calibrated_network()

    def features(batch: Any) -> Any:  # what its TorchScript file does with images that are resized already
        with torch.no_grad():
            return network((batch - 128) / 128)[0]

    options = {"mode": "clean", "custom_feat_extractor": features, "num_workers": 0, "batch_size": 8,
               "device": torch.device("cpu"), "use_dataparallel": False, "verbose": False}  # fmt: skip
    sides = (str(world.generated), str(world.reference))
    peer = clean_fid.compute_fid(*sides, **options)
    scores = ours(world, "clean").scores
    assert abs(scores["fid"].value - peer) <= 1e-4 * peer + 1e-5 * traces(world, "clean")


def test_torchmetrics_gives_the_scores_of_torchmetrics(world: World) -> None:
    network = {"feature_extractor_weights_path": str(world.checkpoint)}
    fid = FrechetInceptionDistance(feature=2048, **network)
    kid = KernelInceptionDistance(feature=fid.inception, subset_size=COUNT, subsets=2)  # all images: no chance left
    for folder, real in ((world.generated, False), (world.reference, True)):
        for image in rgb(folder):
            batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
            fid.update(batch, real=real)
            kid.update(batch, real=real)
    report = ours(world, "torchmetrics", kid={"subset_size": COUNT})
    peer = float(fid.compute())
    assert abs(report.scores["fid"].value - peer) <= 1e-4 * peer
    assert report.scores["kid"].value == pytest.approx(float(kid.compute()[0]), rel=1e-4)


def test_stylegan3_divides_by_n_and_adm_by_n_minus_one(world: World) -> None:
    """Their formulas on the features: both take TensorFlow 1's resize."""
    tf1, adm, stylegan3 = (ours(world, name) for name in ("tf1", "adm", "stylegan3"))
    assert adm.scores["fid"].value == tf1.scores["fid"].value
    assert adm.scores["fid"].fingerprint == tf1.scores["fid"].fingerprint
    assert stylegan3.scores["fid"].fingerprint != tf1.scores["fid"].fingerprint
    sides = [
        gm.extract_features(side, extractor=world.bundle).values.astype(np.float64)
        for side in (world.generated, world.reference)
    ]
    gap = np.square(sides[0].mean(axis=0) - sides[1].mean(axis=0)).sum()
    share = (COUNT - 1) / COUNT
    assert stylegan3.scores["fid"].value - gap == pytest.approx(share * (tf1.scores["fid"].value - gap), rel=1e-9)
    logits = gm.extract_features(world.generated, extractor=world.bundle).logits.astype(np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    whole = np.exp((p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1).mean())
    assert adm.scores["is"].value == pytest.approx(whole, rel=1e-9)  # one block: fewer than 5,000 images
    parts = [part for i in range(10) for part in [p[i * COUNT // 10 : (i + 1) * COUNT // 10]]]
    in_order = np.mean([np.exp((q * (np.log(q) - np.log(q.mean(axis=0)))).sum(axis=1).mean()) for q in parts])
    assert stylegan3.scores["is"].value == pytest.approx(in_order, rel=1e-9)


def test_sfid_is_the_frechet_distance_of_the_spatial_tap(world: World) -> None:
    extractor = gm.FeatureExtractor(world.bundle, protocol="adm", device="cpu")
    sides = []
    for folder in (world.generated, world.reference):
        tensors = np.stack([extractor.prepare(image) for image in rgb(folder)])
        sides.append(extractor.run_taps(tensors)["spatial"])
    expected = gm.frechet_distance(*sides)
    report = ours(world, "adm")
    assert report.scores["sfid"].value == pytest.approx(expected, rel=1e-6)
    assert "sfid" not in ours(world, "tf1").scores


# The protocols differ from each other where they should


def test_identical_folders_get_different_numbers_by_protocol(world: World) -> None:
    found = {name: ours(world, name).scores["fid"].value for name in ("tf1", "pytorch-fid", "clean", "torchmetrics")}
    values = sorted(found.values())
    assert all(above > below * 1.0005 for below, above in pairwise(values)), found


# The files are whole in a process that knows nothing of us


def test_the_onnx_form_runs_by_onnxruntime_alone(world: World, theirs: dict[str, Array], tmp_path: Path) -> None:
    extractor = gm.FeatureExtractor(world.bundle, device="cpu")
    source = open_images(world.generated)
    np.save(tmp_path / "in.npy", np.stack([extractor.prepare(image) for image in rgb(world.generated)[:3]]))
    assert len(source) == COUNT
    foreign(
        "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'\n"
        "import numpy as np, onnxruntime\n"
        f"session = onnxruntime.InferenceSession(r'{world.bundle.path}/graph.onnx', "
        "providers=['CPUExecutionProvider'])\n"
        f"found = session.run(['features'], {{'images': np.load(r'{tmp_path}/in.npy')}})[0]\n"
        f"np.save(r'{tmp_path}/out.npy', found)\n",
        without=("torch", "genmetrics_rt"),
    )
    assert np.abs(np.load(tmp_path / "out.npy") - theirs["2048"][:3]).max() <= 1e-4


def test_the_torchscript_form_runs_by_torch_alone(world: World, theirs: dict[str, Array], tmp_path: Path) -> None:
    extractor = gm.FeatureExtractor(world.bundle, device="cpu")
    np.save(tmp_path / "in.npy", np.stack([extractor.prepare(image) for image in rgb(world.generated)[:3]]))
    foreign(
        "import json, warnings, numpy as np, torch\n"
        "warnings.simplefilter('ignore')\n"
        f"folder = r'{world.bundle.path}'\n"
        "module = torch.jit.load(folder + '/graph.ts')\n"
        "tensors = json.load(open(folder + '/manifest.json'))['recipe']['tensors']\n"
        "weights = bytearray(open(folder + '/weights.bin', 'rb').read())\n"
        "for name, parameter in module.named_parameters():\n"
        "    at, shape = tensors[name]['offset'], tensors[name]['shape']\n"
        "    values = torch.frombuffer(weights, dtype=torch.float32, count=parameter.numel(), offset=at)\n"
        "    parameter.data = values.reshape(shape).clone()\n"
        f"images = torch.from_numpy(np.load(r'{tmp_path}/in.npy'))\n"
        "with torch.no_grad():\n"
        f"    np.save(r'{tmp_path}/out.npy', module(images)[0].numpy())\n",
        without=("onnxruntime", "genmetrics_rt"),
    )
    assert np.abs(np.load(tmp_path / "out.npy") - theirs["2048"][:3]).max() <= 1e-4


def foreign(code: str, *, without: tuple[str, ...]) -> None:
    """Run code in a process where some packages cannot be imported."""
    blocked = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in without)
    subprocess.run([sys.executable, "-c", blocked + code], check=True, cwd="/", timeout=300)
