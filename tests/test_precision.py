"""Precision is chosen, named in every report, and never mixed: fp32, tf32 on CUDA, fp16 by a frozen twin."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import genmetrics_rt as gm
from export.blueprint import Tolerance
from export.half import IN_HALF, in_half
from export.precision import effects, keep
from export.verify import Agreement, with_agreement
from genmetrics_rt.bundle import list_bundles
from genmetrics_rt.cli import app
from genmetrics_rt.manifest import read_manifest
from tests import makers

SIDE = makers.SIZE
COUNT = 30


def convolutional() -> onnx.GraphProto:
    """Two convolutions, one value that both a convolution and an average take, an average and a matrix product."""
    rng = np.random.default_rng(1)
    first, second = (rng.standard_normal(shape).astype(np.float32) / 4 for shape in ((8, 3, 3, 3), (12, 8, 3, 3)))
    head = rng.standard_normal((12, 12)).astype(np.float32) / 4
    nodes = [
        helper.make_node("Conv", ["images", "first"], ["low"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["low"], ["shared"]),
        helper.make_node("Conv", ["shared", "second"], ["high"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["shared", "axes"], ["level"], keepdims=0),
        helper.make_node("ReduceMean", ["high", "axes"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "head"], ["mixed"]),
        helper.make_node("Concat", ["mixed", "level"], ["features"], axis=1),
    ]
    arrays = {"first": first, "second": second, "head": head, "axes": np.array([2, 3], np.int64)}
    return helper.make_graph(
        nodes,
        "convolutional",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 20])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a convolutional graph and its twin in half precision."""
    folder = tmp_path_factory.mktemp("bundles") / "both"
    makers.make_extractor(folder, dimension=20, name="both")
    record = json.loads((folder / "manifest.json").read_text())
    del record["files"]
    makers.write_bundle(folder, convolutional(), record)
    model = onnx.load(folder / "graph.onnx")
    (folder / "graph.fp16.onnx").write_bytes(in_half(model).SerializeToString())
    makers.write_manifest(folder, record)
    return folder


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sides")
    return makers.image_folder(root / "out", COUNT, seed=1), makers.image_folder(root / "real", COUNT, seed=2)


@pytest.fixture(scope="module")
def reports(both: Path, sides: tuple[Path, Path]) -> dict[str, gm.Report]:
    return {
        precision: gm.evaluate(*sides, extractor=both, precision=precision, device="cpu")
        for precision in ("fp32", "fp16")
    }


def refused(bundle: Path | str, **options: str) -> str:
    with pytest.raises(gm.GenmetricsError) as error:
        gm.FeatureExtractor(bundle, **options)
    assert isinstance(error.value, gm.InputError | gm.DeviceUnavailable)
    return str(error.value)


# The twin


def test_the_twin_is_a_cast_at_each_border_and_nothing_else(both: Path) -> None:
    model, twin = (onnx.load(both / name) for name in ("graph.onnx", "graph.fp16.onnx"))
    onnx.checker.check_model(twin, full_check=True)
    assert twin.graph.initializer == model.graph.initializer  # filled from the same file of weights
    assert (twin.graph.input, twin.graph.output) == (model.graph.input, model.graph.output)
    kept = [node.op_type for node in twin.graph.node if node.op_type != "Cast"]
    assert kept == [node.op_type for node in model.graph.node]
    inferred = onnx.shape_inference.infer_shapes(twin, strict_mode=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.output]}
    for node in twin.graph.node:
        if node.op_type in ("Conv", "Relu"):
            assert kinds[node.output[0]] == TensorProto.FLOAT16, node.op_type
        if node.op_type in ("ReduceMean", "MatMul"):
            assert kinds[node.output[0]] == TensorProto.FLOAT and node.op_type not in IN_HALF
    casts = [node.output[0] for node in twin.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(set(casts))  # each value crosses a border once


def test_a_graph_without_convolutions_has_no_twin(tiny: Path) -> None:
    with pytest.raises(ValueError, match="no convolution"):
        in_half(onnx.load(tiny / "graph.onnx"))


def test_half_precision_is_near_and_not_equal(both: Path, sides: tuple[Path, Path]) -> None:
    whole, half = (
        gm.extract_features(sides[0], extractor=both, precision=precision, device="cpu").values
        for precision in ("fp32", "fp16")
    )
    assert whole.dtype == half.dtype == np.float32
    error = np.abs(whole - half).max() / np.abs(whole).max()
    assert 0 < error < 2e-3  # float16 has 11 bits


# What reports say


def test_a_report_names_its_precision_and_its_numbers_have_another_identity(reports: dict[str, gm.Report]) -> None:
    for precision, report in reports.items():
        assert report.extractor.recipe["precision"] == precision
    assert reports["fp32"].extractor.numeric_id != reports["fp16"].extractor.numeric_id
    assert reports["fp32"].fingerprint != reports["fp16"].fingerprint
    values = [report.scores["fd"].value for report in reports.values()]
    assert values[0] != values[1] and values[0] == pytest.approx(values[1], rel=0.02)


def test_fp32_is_the_identity_that_bundles_had_before(both: Path) -> None:
    manifest = gm.load_bundle(both).manifest
    protocol = manifest.protocol()
    assert manifest.numeric_id(protocol) == manifest.numeric_id(protocol, "features", "fp32")
    ids = {manifest.numeric_id(protocol, "features", precision) for precision in ("fp32", "tf32", "fp16")}
    assert len(ids) == 3


def test_features_of_one_precision_are_not_taken_for_those_of_another(both: Path, sides: tuple[Path, Path]) -> None:
    """The cache was filled by the first run; without it the second gives the same."""
    for precision in ("fp32", "fp16", "fp32"):
        cached = gm.evaluate(*sides, extractor=both, precision=precision, device="cpu")
        fresh = gm.evaluate(*sides, extractor=both, precision=precision, device="cpu", cache=False)
        assert cached.scores["fd"].value == fresh.scores["fd"].value


def test_a_saved_reference_of_another_precision_is_refused(both: Path, sides: tuple[Path, Path]) -> None:
    reference = gm.make_reference(sides[1], extractor=both, precision="fp16", device="cpu")
    with pytest.raises(gm.FeatureMismatch, match=r"precision \(fp16 there, fp32 here\).* Use --precision fp16,"):
        gm.evaluate(sides[0], reference, extractor=both, device="cpu")
    report = gm.evaluate(sides[0], reference, extractor=both, precision="fp16", device="cpu")
    assert report.extractor.recipe["precision"] == "fp16"


def test_the_difference_between_precisions_is_explained(
    both: Path, sides: tuple[Path, Path], reports: dict[str, gm.Report]
) -> None:
    explanation = gm.explain(*reports.values(), generated=sides[0], reference=sides[1], extractor=both, device="cpu")
    assert [(entry.line, entry.first, entry.second) for entry in explanation.recipe] == [("precision", "fp32", "fp16")]
    assert explanation.attribution is not None
    (step,) = explanation.attribution.steps
    assert step.difference.line == "precision"
    for key in ("fd", "kid"):
        assert step.before[key] == reports["fp32"].scores[key].value
        assert step.after[key] == reports["fp16"].scores[key].value
    text = explanation.to_text(width=110)
    assert "IEEE float32 throughout" in text and "convolutions in half precision" in text


def test_the_command(both: Path, sides: tuple[Path, Path], reports: dict[str, gm.Report]) -> None:
    arguments = ["evaluate", *map(str, sides), "-e", str(both), "-m", "fd", "--device", "cpu", "--json", "-", "-q"]
    done = CliRunner().invoke(app, [*arguments, "--precision", "fp16"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["scores"]["fd"]["value"] == reports["fp16"].scores["fd"].value
    assert found["extractor"]["recipe"]["precision"] == "fp16"


# What cannot be


# What the workshop measured


def test_the_effect_of_a_precision_is_kept_in_the_agreement_table(
    both: Path, sides: tuple[Path, Path], reports: dict[str, gm.Report], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(both, tmp_path / "both"))
    rows = effects(gm.load_bundle(folder), *map(str, sides), device="cpu", weights="its own")
    assert [(row["precision"], row["device"], row["images"]) for row in rows] == [("fp16", "CPU", [COUNT, COUNT])]
    whole, half = (reports[precision].scores["fd"].value for precision in ("fp32", "fp16"))
    assert rows[0]["scores"]["fd"] == {
        "fp32": float(f"{whole:.6g}"),
        "relative_change": float(f"{(half - whole) / whole:.2g}"),
    }
    assert 0 < rows[0]["feature_error"] < 2e-2

    other = {**rows[0], "device": "another card"}
    keep(folder, [other])
    keep(folder, rows)
    keep(folder, rows)  # in the place of the former ones
    manifest = gm.load_bundle(folder).manifest
    assert manifest.record["agreement"]["precisions"] == [other, *rows]
    assert manifest.numeric_id(manifest.protocol()) == gm.load_bundle(both).manifest.numeric_id(manifest.protocol())
    shown = CliRunner().invoke(app, ["bundles", "show", str(folder)]).stdout
    assert f"precision fp16 on CPU: features by up to {rows[0]['feature_error']:.1e}; fd " in shown


def test_a_table_measured_anew_keeps_the_effects_of_the_same_graphs() -> None:
    table = Agreement(Tolerance(absolute=0.0, relative=0.0), ())
    record = {"name": "some", "files": {"graph.onnx": {"sha256": "1"}}}
    former = {**record, "agreement": {"rows": [], "precisions": [{"precision": "tf32"}]}}
    assert with_agreement(record, table, former)["agreement"]["precisions"] == [{"precision": "tf32"}]
    changed = {**former, "files": {"graph.onnx": {"sha256": "2"}}}
    assert "precisions" not in with_agreement(record, table, changed)["agreement"]


def test_the_table_of_fids_network_names_what_tf32_and_fp16_do() -> None:
    rows = read_manifest(list_bundles()["inception-fid"] / "manifest.json").record["agreement"]["precisions"]
    assert {(row["precision"], row["device"]) for row in rows} >= {("fp16", "CPU"), ("tf32", "NVIDIA H200")}


def test_unknown_precision(tiny: Path) -> None:
    assert "Use fp32, tf32, fp16" in refused(tiny, precision="bf16")


def test_tf32_is_of_cuda(tiny: Path) -> None:
    assert "CUDA devices only" in refused(tiny, precision="tf32", device="cpu")


def test_a_bundle_without_a_twin_says_how_to_freeze_one(tiny: Path) -> None:
    assert "--format onnx,onnx-fp16" in refused(tiny, precision="fp16")


# TorchScript


def test_torchscript_has_no_tf32() -> None:
    pytest.importorskip("torch")
    assert "--backend onnx" in refused("scattering", precision="tf32", backend="torchscript")


def test_torchscript_computes_in_half_precision_by_itself() -> None:
    pytest.importorskip("torch")
    tensors = np.random.default_rng(0).uniform(
        0, 1, (4, *gm.load_bundle("digits-classifier").manifest.inputs[0].shape[1:])
    )
    whole, half = (
        gm.FeatureExtractor("digits-classifier", backend="torchscript", precision=precision, device="cpu").run(
            tensors.astype(np.float32)
        )[0]
        for precision in ("fp32", "fp16")
    )
    assert half.dtype == np.float32
    assert 0 < np.abs(whole - half).max() / np.abs(whole).max() < 1e-2


@pytest.mark.parametrize("name", [name for name, path in list_bundles().items() if (path / "graph.ts").exists()])
def test_no_shipped_trace_lets_a_host_switch_tf32_on(name: str) -> None:
    """A trace keeps what its convolutions were made under: benchmark, deterministic, cuDNN, and last TF32."""
    with zipfile.ZipFile(list_bundles()[name] / "graph.ts") as archive:
        code = "\n".join(archive.read(entry).decode() for entry in archive.namelist() if entry.endswith(".py"))
    calls = re.findall(r"torch\._convolution\(.*", code)
    assert all(call.endswith("False, True, True, False)") for call in calls)
    if name in ("inception-fid", "scattering"):
        assert len(calls) >= 39
