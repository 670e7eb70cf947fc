"""The network of FID as it ships, without weights, and as the workshop freezes it with them: whole, and by itself."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import genmetrics_rt as gm
from tests import makers

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
onnx = pytest.importorskip("onnx")

ROOT = Path(__file__).parents[1]
SIDE = 299
SIZES = {
    "features": 2048, "logits": 1008, "spatial": 2023,
    "features_64": 64, "features_192": 192, "features_768": 768,
}  # fmt: skip
TAPS = {
    "features": "features", "logits": "logits", "spatial": "spatial",
    "64": "features_64", "192": "features_192", "768": "features_768", "2048": "features",
}  # fmt: skip
# Of each protocol: resize, rounding, scale, settings of the Fréchet distance and of the class score, spatial tap.
UNSHUFFLED = {"shuffle": False}
PROTOCOLS: dict[str, tuple[str, str, float, dict[str, Any], dict[str, Any], bool]] = {
    "tf1": ("bilinear-tf1", "none", 1 / 128, {}, {}, False),
    "pytorch-fid": ("bilinear", "none", 2 / 255, {}, {}, False),
    "clean": ("pillow-bicubic", "clip", 1 / 128, {}, {}, False),
    "torchmetrics": ("triangle-antialias", "none", 1 / 128, {}, {"split_rule": "ceil"}, False),
    "adm": ("bilinear-tf1", "none", 1 / 128, {}, {**UNSHUFFLED, "split_rule": "blocks", "block_size": 5000}, True),
    "stylegan3": ("bilinear-tf1", "none", 1 / 128, {"ddof": 0}, UNSHUFFLED, False),
}
FLOATS = 23_885_392  # of the published checkpoint
WEIGHTS = 95_330_944  # bytes of weights.bin
Array = NDArray[Any]


# What ships


@pytest.fixture(scope="module")
def shipped() -> gm.Bundle:
    """The bundle in the wheel; no test puts its weights into the folder that this looks into."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENMETRICS_HOME", "/nonexistent")
        return gm.load_bundle("inception-fid")


@pytest.fixture(scope="module")
def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint: torchvision's network with the 1,008 classes and without auxiliary head."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        network = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_the_files_are_those_of_the_manifest_and_small(shipped: gm.Bundle) -> None:
    assert shipped.is_weight_free
    shipped.verify()
    files = shipped.manifest.record["files"]
    assert {name: entry["form"] for name, entry in files.items()} == {
        "graph.fp16.onnx": "onnx-fp16",
        "graph.onnx": "onnx",
        "graph.ts": "torchscript",
    }
    assert {path.name for path in shipped.path.iterdir()} == {"manifest.json", *files}
    assert all(entry["bytes"] < (100_000 if name.endswith(".onnx") else 300_000) for name, entry in files.items())
    for name, entry in files.items():
        content = (shipped.path / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"])


def test_the_recipe_fills_every_tensor_of_the_network_once(
    shipped: gm.Bundle, published_shapes: dict[str, tuple[int, ...]]
) -> None:
    recipe = shipped.manifest.record["recipe"]
    units = [name.removesuffix(".conv.weight") for name in published_shapes if name.endswith(".conv.weight")]
    assert len(units) == 94 and list(recipe["units"]) == units
    assert recipe["epsilon"] == 1e-3 and recipe["copies"].keys() == {"fc.weight"}
    expected = {}
    for unit in units:
        expected[f"{unit}.weight"] = published_shapes[f"{unit}.conv.weight"]
        expected[f"{unit}.bias"] = published_shapes[f"{unit}.bn.bias"]
    expected["fc.weight"] = published_shapes["fc.weight"]
    tensors = recipe["tensors"]
    assert len(tensors) == 189 and {name: tuple(entry["shape"]) for name, entry in tensors.items()} == expected

    # What folding leaves out of the checkpoint: three of the four vectors of each batch norm, and the bias of fc.
    channels = sum(expected[f"{unit}.bias"][0] for unit in units)
    floats = sum(int(np.prod(shape)) for shape in expected.values())
    assert floats == FLOATS - 3 * channels - 1008
    at = 0
    for entry in sorted(tensors.values(), key=lambda entry: entry["offset"]):
        assert entry["offset"] % 64 == 0 and at <= entry["offset"] < at + 64  # no overlap, no hole
        at = entry["offset"] + 4 * int(np.prod(entry["shape"]))
    assert at == recipe["bytes"] == WEIGHTS and recipe["file"] == "weights.bin"


def test_every_layout_names_each_tensor_once(shipped: gm.Bundle) -> None:
    recipe = shipped.manifest.record["recipe"]
    for layout in ("torch", "torchscript", "tensorflow"):
        names = [names[layout] for names in (*recipe["units"].values(), *recipe["copies"].values())]
        assert len(set(names)) == 95
    assert all(names["torch"] == unit for unit, names in recipe["units"].items())
    for unit, scope in {  # of TensorFlow's graph: the ends of its counting, and both kinds of nesting
        "Conv2d_1a_3x3": "conv",
        "Conv2d_4a_3x3": "conv_4",
        "Mixed_5b.branch_pool": "mixed/tower_2/conv",
        "Mixed_6a.branch3x3dbl_3": "mixed_3/tower/conv_2",
        "Mixed_6d.branch1x1": "mixed_6/conv",
        "Mixed_7a.branch7x7x3_4": "mixed_8/tower_1/conv_3",
        "Mixed_7c.branch3x3dbl_3b": "mixed_10/tower_1/mixed/conv_1",
    }.items():
        assert recipe["units"][unit]["tensorflow"] == scope
    assert recipe["copies"]["fc.weight"]["tensorflow"] == "softmax/weights"


def test_the_sources_are_the_published_files(shipped: gm.Bundle) -> None:
    first, second = shipped.manifest.weights["sources"]
    assert (first["bytes"], first["sha256"], first["layout"]) == (
        95_628_359,
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "torch",
    )
    assert [url.rpartition("/")[2] for url in first["urls"]] == [
        "pt_inception-2015-12-05-6726825d.pth",
        "weights-inception-2015-12-05-6726825d.pth",
    ]
    assert (second["bytes"], second["sha256"], second["layout"]) == (
        95_607_719,
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        "torchscript",
    )
    for source in (first, second):
        assert all(url.startswith("https://") for url in source["urls"]) and "Apache-2.0" in source["licence"]


@pytest.mark.parametrize("name", ["graph.onnx", "graph.fp16.onnx"])
def test_an_onnx_graph_holds_no_weights(shipped: gm.Bundle, name: str) -> None:
    model = onnx.load(shipped.path / name, load_external_data=False)
    tensors = dict(shipped.manifest.record["recipe"]["tensors"])
    inside = 0
    for initializer in model.graph.initializer:
        if initializer.data_location != onnx.TensorProto.EXTERNAL:
            inside += len(initializer.SerializeToString())
            continue
        entry = tensors.pop(initializer.name)
        assert list(initializer.dims) == entry["shape"], initializer.name
        assert {item.key: item.value for item in initializer.external_data} == {
            "location": "weights.bin",
            "offset": str(entry["offset"]),
            "length": str(4 * int(np.prod(entry["shape"]))),
        }
        assert not initializer.raw_data and not initializer.float_data
    assert not tensors and inside < 2000  # shapes and axes


def test_the_torchscript_twin_holds_no_weights(shipped: gm.Bundle) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript
        module = torch.jit.load(str(shipped.path / "graph.ts"))
    tensors = shipped.manifest.record["recipe"]["tensors"]
    parameters = dict(module.named_parameters())
    assert {name: list(value.shape) for name, value in parameters.items()} == {
        name: entry["shape"] for name, entry in tensors.items()
    }
    for name, value in parameters.items():
        assert set(value.stride()) == {0} and value.untyped_storage().nbytes() == 4, name
    assert not list(module.named_buffers())


def test_taps_and_outputs(shipped: gm.Bundle) -> None:
    manifest = shipped.manifest
    assert manifest.taps == TAPS and manifest.published
    assert {spec.name: spec.shape for spec in manifest.outputs} == {name: ("N", size) for name, size in SIZES.items()}
    assert [(spec.name, spec.dtype, spec.shape) for spec in manifest.inputs] == [
        ("images", "float32", ("N", 3, SIDE, SIDE))
    ]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols(shipped: gm.Bundle, name: str) -> None:
    resize, rounding, scale, of_distance, of_classes, spatial = PROTOCOLS[name]
    manifest = shipped.manifest
    assert list(manifest.protocols) == list(PROTOCOLS)
    found = manifest.protocol(name)
    assert (found.size, found.layout, found.dtype) == ((SIDE, SIDE), "NCHW", "float32")
    assert (found.resize, found.rounding, found.scale, found.offset) == (resize, rounding, scale, -1.0)
    assert (found.alpha, found.orientation, found.spatial) == ("drop", "ignored", spatial)
    assert (found.metrics.get("fd", {}), found.metrics.get("class_score", {})) == (of_distance, of_classes)
    assert set(found.metrics) <= {"fd", "class_score"} and found.title
    assert found.default == (name == "tf1") == (manifest.protocol() == found)


def test_only_protocols_that_change_features_change_the_numeric_id(shipped: gm.Bundle) -> None:
    manifest = shipped.manifest
    ids = {name: manifest.numeric_id(protocol) for name, protocol in manifest.protocols.items()}
    assert ids["tf1"] == ids["adm"] == ids["stylegan3"] and len(set(ids.values())) == 4
    tf1 = manifest.protocol("tf1")
    assert manifest.numeric_id(tf1, "2048") == ids["tf1"] != manifest.numeric_id(tf1, "768")


# With weights


@dataclass(frozen=True)
class Frozen:
    checkpoint: Path
    folder: Path  # what `python -m export inception --weights` wrote
    assembled: gm.Bundle  # the shipped graph filled from the same checkpoint
    images: Array  # uint8 (N, H, W, 3)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    """A checkpoint in the published layout, with counters."""
    from export.inception.synthetic import synthetic_checkpoint

    tensors = synthetic_checkpoint(seed=0)
    counters = {
        f"{name.removesuffix('running_var')}num_batches_tracked": torch.tensor(7)
        for name in tensors
        if name.endswith(".running_var")
    }
    return {**tensors, **counters}


@pytest.fixture(scope="module")
def frozen(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frozen]:
    """The command in this process. Of its proof only ONNX Runtime on one image; the whole takes minutes (see below)."""
    import export.inception
    import export.verify
    from export.__main__ import main

    root = tmp_path_factory.mktemp("frozen")
    torch.save(state, root / "weights.pth")
    forms = export.verify._forms
    probe = np.random.default_rng(0).uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENMETRICS_HOME", str(root / "home"))
        patch.setattr(export.inception, "probes", lambda: {"noise": {"images": probe}})
        patch.setattr(export.verify, "_forms", lambda *given: [form for form in forms(*given) if form[0] == "onnx"])
        arguments = ["--weights", str(root / "weights.pth"), "-o", str(root / "full")]
        assert main(["inception", *arguments, "--format", "onnx,torchscript,pt2"]) == 0
        assembled = fetched(root / "weights.pth", "mine")
    yield Frozen(root / "weights.pth", root / "full", assembled, makers.pictures(4, seed=5, size=72))


def fetched(checkpoint: Path, name: str) -> gm.Bundle:
    return gm.fetch_bundle("inception-fid", weights=checkpoint, unverified=True, name=name)


@pytest.fixture(scope="module")
def extractor(frozen: Frozen) -> gm.FeatureExtractor:
    return gm.FeatureExtractor(frozen.folder, device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def tensors(frozen: Frozen, extractor: gm.FeatureExtractor) -> Array:
    return np.stack([extractor.prepare(image) for image in frozen.images])


@pytest.fixture(scope="module")
def expected(frozen: Frozen, tensors: Array) -> dict[str, Array]:
    """All taps, by the assembled bundle."""
    extractor = gm.FeatureExtractor(frozen.assembled, protocol="adm", device="cpu", batch_size=4)
    return extractor.run_taps(tensors)


def require_close(found: Array, expected: Array, limit: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= limit * max(1.0, float(np.abs(expected).max()))


def test_the_images_and_weights_tell_networks_apart(expected: dict[str, Array]) -> None:
    assert expected["features"].std(axis=0).mean() > 1e-2 and expected["spatial"].std() > 1e-2


def test_a_bundle_with_weights_is_whole_in_three_forms(frozen: Frozen) -> None:
    bundle = gm.load_bundle(frozen.folder)
    bundle.verify()
    files = bundle.manifest.record["files"]
    assert {name: entry["form"] for name, entry in files.items()} == {
        "graph.onnx": "onnx",
        "graph.ts": "torchscript",
        "graph.pt2": "pt2",
    }
    assert {path.name for path in frozen.folder.iterdir()} == {"manifest.json", *files}
    assert not bundle.is_weight_free and not bundle.manifest.weights and "recipe" not in bundle.manifest.record
    assert all(95_300_000 < entry["bytes"] < 99_000_000 for entry in files.values())
    assert bundle.manifest.taps == TAPS and list(bundle.manifest.protocols) == list(PROTOCOLS)
    rows = bundle.manifest.record["agreement"]["rows"]
    assert {(row["pair"], row["output"]) for row in rows} == {
        (pair, output) for pair in ("eager-onnx", "manifest-onnx") for output in SIZES
    }
    model = onnx.load(frozen.folder / "graph.onnx", load_external_data=False)
    assert all(entry.data_location != onnx.TensorProto.EXTERNAL for entry in model.graph.initializer)


@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_both_backends_give_the_features_of_the_assembled_bundle(
    frozen: Frozen, tensors: Array, expected: dict[str, Array], backend: str
) -> None:
    extractor = gm.FeatureExtractor(frozen.folder, protocol="adm", backend=backend, device="cpu", batch_size=4)
    assert extractor.backend == backend
    found = extractor.run_taps(tensors)
    assert found.keys() == expected.keys() == {"features", "logits", "spatial"}
    for role, values in found.items():
        require_close(values, expected[role])


def test_both_backends_score(frozen: Frozen, tmp_path: Path) -> None:
    out, real = (makers.image_folder(tmp_path / name, 4, seed=seed) for name, seed in (("out", 1), ("real", 2)))
    options = {"extractor": frozen.folder, "protocol": "adm", "device": "cpu", "batch_size": 4}
    reference = gm.make_reference(real, **options)
    reports = [gm.evaluate(out, reference, backend=backend, **options) for backend in ("onnx", "torchscript")]
    assert [report.runtime.backend for report in reports] == ["onnx", "torchscript"]
    first, second = ({key: entry.value for key, entry in report.scores.items()} for report in reports)
    assert {"sfid", "kid"} < first.keys() and first.keys() & {"fid", "fd"}
    for key in ("sfid", "kid", *(first.keys() & {"fid", "fd"})):
        assert first[key] is not None and first[key] == pytest.approx(second[key], rel=1e-3), key


def test_features_do_not_depend_on_the_batch_size(
    frozen: Frozen, extractor: gm.FeatureExtractor, tensors: Array
) -> None:
    first = extractor.run_taps(tensors)
    for batch_size in (1, 3):
        other = gm.FeatureExtractor(frozen.folder, device="cpu", batch_size=batch_size)
        assert other.batch_size == batch_size
        for role, values in other.run_taps(tensors).items():
            require_close(values, first[role])
    backwards = extractor.run_taps(tensors[::-1])
    for role, values in backwards.items():
        require_close(values[::-1], first[role])


def test_every_tap_is_that_of_torch_fidelity(frozen: Frozen) -> None:
    """Of the bundle that the workshop wrote; tests/test_parity_inception.py looks at the assembled one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old packages, about each other
        module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
        names = ["64", "192", "768", "2048"]
        peer = module.FeatureExtractorInceptionV3("", names, feature_extractor_weights_path=str(frozen.checkpoint))
        with torch.no_grad():
            theirs = peer(torch.from_numpy(frozen.images.transpose(0, 3, 1, 2).copy()))
    for name, values in zip(names, theirs, strict=True):
        extractor = gm.FeatureExtractor(frozen.folder, tap=name, device="cpu", batch_size=4)
        found, _ = extractor(frozen.images)
        assert extractor.summary.dimension == int(name) and extractor.summary.published == (name == "2048")
        require_close(found, values.numpy(), 1e-4)
    with pytest.raises(gm.InputError, match=r"no tap '2047'.*192, 2048, 64, 768"):
        gm.FeatureExtractor(frozen.folder, tap="2047")


@pytest.mark.parametrize("change", ["legacy", "no counters"])
def test_the_container_and_the_counters_do_not_matter(
    frozen: Frozen, state: dict[str, Any], change: str, tmp_path: Path
) -> None:
    tensors = {name: value for name, value in state.items() if change == "legacy" or "num_batches" not in name}
    assert len(tensors) == (566 if change == "legacy" else 472)
    torch.save(tensors, tmp_path / "other.pth", _use_new_zipfile_serialization=change != "legacy")
    assert (tmp_path / "other.pth").read_bytes()[:2] != frozen.checkpoint.read_bytes()[:2] or change != "legacy"
    other = fetched(tmp_path / "other.pth", "other")
    assert other.read("weights.bin") == frozen.assembled.read("weights.bin")
    assert other.manifest.numeric_id(other.manifest.protocol()) == frozen.assembled.manifest.numeric_id(
        frozen.assembled.manifest.protocol()
    )
    assert len(other.read("weights.bin")) == WEIGHTS


def test_onnxruntime_alone_runs_it(frozen: Frozen, tensors: Array, expected: dict[str, Array], tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", tensors)
    foreign(
        "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'\n"
        "import numpy, onnxruntime\n"
        "os.link('graph.onnx', OUT + '/moved.onnx')\n"  # it needs nothing beside it
        "session = onnxruntime.InferenceSession(OUT + '/moved.onnx', providers=['CPUExecutionProvider'])\n"
        "found = session.run(['features', 'spatial'], {'images': numpy.load(OUT + '/in.npy')})\n"
        "numpy.savez(OUT + '/out.npz', features=found[0], spatial=found[1])\n",
        frozen.folder,
        tmp_path,
        without=("torch", "genmetrics_rt", "onnx", "scipy", "PIL"),
    )
    with np.load(tmp_path / "out.npz") as found:
        for role in ("features", "spatial"):
            require_close(found[role], expected[role])


def test_torch_alone_runs_it(frozen: Frozen, tensors: Array, expected: dict[str, Array], tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", tensors[:2])
    foreign(
        "import numpy, torch, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "images = torch.from_numpy(numpy.load(OUT + '/in.npy'))\n"
        "with torch.no_grad():\n"
        "    for form, load in (('ts', torch.jit.load), ('pt2', lambda name: torch.export.load(name).module())):\n"
        "        found = load('graph.' + form)(images)\n"
        "        numpy.savez(OUT + '/' + form, features=found[0].numpy(), spatial=found[2].numpy())\n",
        frozen.folder,
        tmp_path,
        without=("onnxruntime", "genmetrics_rt", "export", "torchvision", "onnx"),
    )
    for form in ("ts", "pt2"):
        with np.load(tmp_path / f"{form}.npz") as found:
            for role in ("features", "spatial"):
                require_close(found[role], expected[role][:2])


def foreign(code: str, folder: Path, out: Path, *, without: tuple[str, ...]) -> None:
    """Run code inside the bundle's folder, in a process where some packages cannot be imported."""
    blocked = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in without)
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}OUT = {str(out)!r}\n{code}"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_wrong_wish_is_refused_before_anything_is_written(
    frozen: Frozen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from export.__main__ import main

    with pytest.raises(SystemExit) as refused:
        main(["inception", "--weights", str(frozen.checkpoint)])
    assert refused.value.code == 2 and "--weights needs --output" in capsys.readouterr().err
    arguments = ["--weights", str(frozen.checkpoint), "-o", str(tmp_path / "out"), "--format", "onnx,tflite"]
    assert main(["inception", *arguments]) == 2
    assert "tflite" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_the_command_proves_every_form_on_every_probe(state: dict[str, Any], tmp_path: Path) -> None:
    """The real command, NumPy included: minutes."""
    torch.save(state, tmp_path / "weights.pth")
    command = [sys.executable, "-m", "export", "inception", "--weights", str(tmp_path / "weights.pth")]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "full"), "--format", "onnx,torchscript,pt2"],
        cwd=ROOT, capture_output=True, text=True, timeout=1700,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FAIL" not in done.stdout and len(done.stdout.splitlines()) == 6 * len(SIZES)
    record = json.loads((tmp_path / "full" / "manifest.json").read_text())
    assert {row["inputs"] for row in record["agreement"]["rows"]} == {
        "random 1", "faint 1", "blocks 2", "edges 3", "self-test",
    }  # fmt: skip
    gm.load_bundle(tmp_path / "full").verify()
