"""The shipped extractor `scattering`: its forms agree, it runs where torch is not, and it is the study's."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genmetrics_rt.bundle import load_bundle
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.selftest import selftest_inputs

onnxruntime = pytest.importorskip("onnxruntime")
REPOSITORY = Path(__file__).parent.parent
STUDY = REPOSITORY.parent / "shared" / "embedded"


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("scattering")


@pytest.fixture(scope="module")
def graph(bundle):
    return open_graph(bundle, device="cpu", threads=2)


def random_images(count: int, seed: int = 0) -> np.ndarray:
    """Noise that was magnified by 1 to 32, so that every scale of the transform has something to see."""
    stream = np.random.RandomState(seed)
    images = []
    for index in range(count):
        factor = 2 ** (index % 6)
        side = 128 // factor
        images.append(np.kron(stream.uniform(0, 255, (3, side, side)), np.ones((factor, factor))))
    return np.stack(images).astype(np.float32)


def test_all_forms_agree_and_the_manifest_says_so(bundle, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from export.embedded import blueprint
    from export.freeze import onnx_bytes, tools
    from export.verify import verify

    shutil.copytree(bundle.path, tmp_path / "scattering")
    agreement = verify(tmp_path / "scattering")
    assert agreement.holds, agreement.summary()
    recorded = bundle.manifest.record["agreement"]
    assert {(row["inputs"], row["output"], row["pair"]) for row in recorded["rows"]} == {
        (row.inputs, row.output, row.pair) for row in agreement.rows
    }
    if bundle.manifest.record["frozen"]["tools"] == tools():  # another exporter may write the same graph otherwise
        assert onnx_bytes(blueprint(bundle.path)) == bundle.read("graph.onnx")


@pytest.mark.parametrize("change", ["weight", "padding", "epsilon"])
def test_verify_notices_one_changed_value(bundle, tmp_path, change):
    pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    from export.embedded import blueprint, probes
    from export.verify import verify
    from tests.test_export_freeze import change_padding, copy_with_graph

    def corrupt(graph) -> None:
        if change == "padding":
            change_padding(graph)
            return
        name, index, factor = {"weight": ("wavelets", 24, 1.01), "epsilon": ("offsets", 0, 1.05)}[change]
        constant = next(entry for entry in graph.initializer if entry.name == name)
        values = onnx.numpy_helper.to_array(constant).copy()
        values.reshape(-1)[index] *= factor
        constant.CopyFrom(onnx.numpy_helper.from_array(values, name))

    folder = copy_with_graph(bundle.path, tmp_path / "copy", corrupt)
    few = {"edges 4": probes()["edges 4"]}
    quick = replace(blueprint(folder), probes=lambda: few, numpy_reference=blueprint(folder).eager)
    assert not verify(folder, quick).holds


def test_runs_in_a_process_that_has_only_onnxruntime(bundle):
    script = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
images = np.random.RandomState(0).uniform(0, 255, (2, 3, 128, 128)).astype(np.float32)
features, coefficients = session.run(["features", "coefficients"], {"images": images})
assert not {"torch", "onnx", "export", "genmetrics_rt"} & set(sys.modules)
np.savez(sys.argv[2], features=features, coefficients=coefficients)
"""
    assert_foreign_process_agrees(bundle, script, "graph.onnx")


def test_runs_in_a_process_that_has_only_torch(bundle):
    pytest.importorskip("torch")
    script = """
import sys, numpy as np, torch
module = torch.jit.load(sys.argv[1]).eval()
images = np.random.RandomState(0).uniform(0, 255, (2, 3, 128, 128)).astype(np.float32)
with torch.inference_mode():
    features, coefficients = module(torch.from_numpy(images))
assert not {"onnxruntime", "onnx", "export", "genmetrics_rt"} & set(sys.modules)
np.savez(sys.argv[2], features=features.numpy(), coefficients=coefficients.numpy())
"""
    assert_foreign_process_agrees(bundle, script, "graph.ts")


def assert_foreign_process_agrees(bundle, script: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # -I: nothing of this repository is importable there
        written = Path(folder, "outputs.npz")
        command = [sys.executable, "-I", "-c", script, str(bundle.path / name), str(written)]
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        with np.load(written) as outputs:
            found = {key: outputs[key] for key in outputs}
    plan = bundle.manifest.record["selftest"]
    assert plan["seed"] == 0 and plan["sizes"] == {"N": 2} and plan["range"] == {"images": [0.0, 255.0]}
    for output, expected in plan["expected"].items():
        stride = -(-found[output].size // 512)
        np.testing.assert_allclose(found[output].ravel()[::stride], expected, rtol=0, atol=1e-4)


def test_torchscript_and_onnx_backends_agree(bundle, graph):
    pytest.importorskip("torch")
    inputs = selftest_inputs(bundle.manifest, {"seed": 3, "sizes": {"N": 5}, "range": {"images": [0, 255]}})
    twin = open_graph(bundle, backend="torchscript", device="cpu").run(inputs)
    for name, values in graph.run(inputs).items():
        np.testing.assert_allclose(twin[name], values, rtol=0, atol=1e-4)


def test_features_do_not_depend_on_the_batch(graph):
    images = random_images(64)
    together = graph.run({"images": images})["features"]
    for size in (1, 7, 64):
        parts = [graph.run({"images": images[at : at + size]})["features"] for at in range(0, 64, size)]
        np.testing.assert_allclose(np.concatenate(parts), together, rtol=0, atol=1e-5)


def test_features_do_not_depend_on_the_number_of_threads(bundle):
    images = random_images(24)
    one, many = (open_graph(bundle, device="cpu", threads=count).run({"images": images}) for count in (1, 4))
    np.testing.assert_allclose(many["features"], one["features"], rtol=0, atol=1e-5)


def test_extreme_images_have_finite_features(graph):
    checkers = np.indices((128, 128)).sum(0) % 2 * 255
    images = [np.full((3, 128, 128), level) for level in (0, 1, 127.5, 255)] + [np.stack([checkers] * 3)]
    outputs = graph.run({"images": np.stack(images).astype(np.float32)})
    assert all(np.isfinite(values).all() for values in outputs.values())
    # A constant image is the farthest: study, section 6, "max |feature| about 9.7" for one grey level.
    assert np.abs(outputs["features"]).max() < 30


def test_layout_covers_the_coefficients_and_names_the_chroma(bundle, graph):
    layout = bundle.manifest.record["layout"]
    ends = [start + length for _, start, length in layout]
    assert [start for _, start, _ in layout] == [0, *ends[:-1]] and ends[-1] == 588
    grey, tinted = np.full((2, 3, 128, 128), 128, np.float32)
    tinted[0] += random_images(6)[-1, 0] / 4  # red blocks
    tinted[0] += random_images(3)[-1, 0] / 4
    tinted -= (tinted * np.float32([[[0.299]], [[0.587]], [[0.114]]])).sum(0) - 128  # at the same luma
    outputs = graph.run({"images": np.stack([grey, tinted])})["coefficients"]
    moved = {block: np.abs(outputs[1] - outputs[0])[at : at + length].max() for block, at, length in layout}
    assert all(moved[f"c.{scale}"] > 1 for scale in range(5))
    assert all(moved[f"s1.{scale}"] < 1e-2 for scale in range(5))


def test_size_and_protocol(bundle):
    assert 300_000 < bundle.manifest.record["files"]["graph.onnx"]["bytes"] < 360_000
    protocol = bundle.manifest.protocol()
    assert (protocol.name, protocol.size, protocol.resize) == ("scattering", (128, 128), "triangle-antialias")
    assert (protocol.scale, protocol.offset, protocol.alpha, protocol.rounding) == (1.0, 0.0, "white", "none")


def test_procedural_images_are_those_of_the_study():
    pytest.importorskip("torch")
    from export.embedded.procedural import procedural_images

    # sha256 of the first 8 images of seed 0, made by the study's own generator (numpy 2.4.6).
    golden = "3c7b1f9ec9c31a03830bf11502c673693811adef8c87bf4232fbcafe2515bb76"
    assert hashlib.sha256(procedural_images(8, seed=0).tobytes()).hexdigest() == golden


def test_morlet_wavelets_have_no_mean_and_unit_norm():
    pytest.importorskip("torch")
    from export.embedded.scattering import morlet_bank

    bank = morlet_bank()
    assert bank.shape == (12, 1, 7, 7)
    np.testing.assert_allclose(bank.sum((1, 2, 3)), 0, atol=1e-7)
    modulus = np.hypot(bank[:6], bank[6:])
    np.testing.assert_allclose(modulus.sum((1, 2, 3)), 1, atol=1e-6)
    # Angle 0 waves along x, angle 3 (π/2) along y.
    np.testing.assert_allclose(bank[3, 0], bank[0, 0].T, atol=1e-7)


def test_ridge_whitening_of_a_known_covariance():
    pytest.importorskip("torch")
    from export.embedded.calibration import ridge_whitening

    projection = ridge_whitening(np.diag([1.0, 7.0, 3.0]), 2)
    # √((1 + 1) / (λ + 1)) on the axes of variance 7 and 3: 0.5 and √0.5
    np.testing.assert_allclose(projection, [[0, 0], [0.5, 0], [0, np.sqrt(0.5)]], atol=1e-12)


@pytest.mark.data
def test_agrees_with_the_study_on_real_photos(graph, study, photos):
    outputs = graph.run({"images": photos})
    for name, file in (("features", "scatter_v1.onnx"), ("coefficients", "scatter_v1_588.onnx")):
        session = onnxruntime.InferenceSession(str(study / file), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"images": photos})
        np.testing.assert_allclose(outputs[name], expected, rtol=0, atol=1e-3)


@pytest.mark.data
def test_layout_is_that_of_the_study(bundle, study):
    assert bundle.manifest.record["layout"] == json.loads((study / "layout_588.json").read_text())


@pytest.fixture
def study():
    if not STUDY.is_dir():
        pytest.skip("the study of the extractor is not beside this repository")
    return STUDY


@pytest.fixture
def photos():
    archive = STUDY.parent / "data" / "images" / "cifake_test.zip"
    if not archive.is_file():
        pytest.skip("the developers' images are not beside this repository")
    with zipfile.ZipFile(archive) as source:
        names = sorted(name for name in source.namelist() if "REAL" in name and name.endswith(".jpg"))
        chosen = names[:: len(names) // 32][:32]
        images = [Image.open(io.BytesIO(source.read(name))).convert("RGB").resize((128, 128)) for name in chosen]
    return np.stack([np.asarray(image, np.float32).transpose(2, 0, 1) for image in images])
