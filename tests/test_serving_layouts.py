"""`genmetrics bundles export`: what is written parses, fits Triton's fields, loads, and computes the same."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

import genmetrics_rt as gm
from genmetrics_rt.bundle import SHIPPED
from genmetrics_rt.cli import app
from genmetrics_rt.manifest import read_manifest
from genmetrics_rt.serving_layouts import check_model, parse_config, write_serving_layout

WHOLE = [path.parent.name for path in sorted(SHIPPED.glob("*/manifest.json")) if not read_manifest(path).weights]


@pytest.mark.parametrize("name", WHOLE)
def test_every_bundle_that_ships_whole(name: str, tmp_path: Path) -> None:
    bundle = gm.load_bundle(name)
    done = write_serving_layout(bundle, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    config = parse_config((tmp_path / name / "config.pbtxt").read_text())
    assert config["name"] == name and config["backend"] == "onnxruntime"
    assert [entry["name"] for entry in config["input"]] == [spec.name for spec in bundle.manifest.inputs]
    assert (config["max_batch_size"] == 0) == (bundle.kind == "kernel") == ("dynamic_batching" not in config)
    assert done.deviations and all(deviation.holds for deviation in done.deviations)
    assert json.loads((tmp_path / name / "manifest.json").read_text()) == bundle.manifest.record


def test_the_configuration_in_full(tmp_path: Path) -> None:
    write_serving_layout(gm.load_bundle("digits-cvae"), tmp_path, max_batch=16)
    config = parse_config((tmp_path / "digits-cvae" / "config.pbtxt").read_text())
    assert config["max_batch_size"] == 16
    assert config["input"] == [
        {"name": "latent", "data_type": "TYPE_FP32", "dims": [6]},
        {"name": "labels", "data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}},
    ]
    assert config["output"][0] == {"name": "images", "data_type": "TYPE_UINT8", "dims": [32, 32, 3]}
    assert config["dynamic_batching"] == {"preferred_batch_size": [8, 16], "max_queue_delay_microseconds": 5000}
    assert config["instance_group"] == [{"count": 1, "kind": "KIND_AUTO"}]
    assert [entry["key"] for entry in config["parameters"]] == ["genmetrics_graph_sha256", "genmetrics_kind"]


def test_weights_lie_beside_the_graph(tmp_path: Path) -> None:
    """A graph with external data becomes a folder, as the backend wants it; onnxruntime finds the weights there."""
    pytest.importorskip("torch")
    from genmetrics_rt.assembly import assemble
    from tests.test_assembly import saved, tensors, world

    bundle = assemble(*world(tmp_path, saved(tensors())))
    write_serving_layout(bundle, tmp_path / "models")
    model = tmp_path / "models" / bundle.name / "1" / "model.onnx"
    assert sorted(path.name for path in model.iterdir()) == ["model.onnx", "weights.bin"]
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])
    spec = bundle.manifest.inputs[0]
    images = np.random.RandomState(0).uniform(0, 1, (3, *spec.shape[1:])).astype(np.float32)
    expected = gm.FeatureExtractor(bundle, batch_size=3).run(images)[0]
    outputs = dict(
        zip([output.name for output in session.get_outputs()], session.run(None, {spec.name: images}), strict=True)
    )
    assert np.allclose(outputs["features"], expected, atol=1e-6)


def test_kserve(tmp_path: Path) -> None:
    bundle = gm.load_bundle("scattering")
    write_serving_layout(bundle, tmp_path, layout="kserve", storage_uri="s3://models/genmetrics")
    text = (tmp_path / "inference-service.yaml").read_text()
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load(text)
    assert service["apiVersion"] == "serving.kserve.io/v1beta1" and service["kind"] == "InferenceService"
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "onnx"} and model["protocolVersion"] == "v2"
    assert model["storageUri"] == "s3://models/genmetrics"
    assert {"name": "NVIDIA_TF32_OVERRIDE", "value": "0"} in model["env"]


def test_a_second_model_does_not_take_the_place_of_the_first(tmp_path: Path, tiny: Path) -> None:
    options = {"layout": "kserve", "storage_uri": "s3://models/genmetrics"}
    write_serving_layout(gm.load_bundle("digits-gan"), tmp_path, **options)
    before = (tmp_path / "inference-service.yaml").read_text()
    with pytest.raises(gm.InputError, match=r"inference-service\.yaml is there already"):
        write_serving_layout(gm.load_bundle(tiny), tmp_path, **options)
    assert (tmp_path / "inference-service.yaml").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-gan", "inference-service.yaml"]


@pytest.mark.parametrize("failing", ["inference-service.yaml", "tiny"])
def test_both_or_neither(tmp_path: Path, tiny: Path, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full between the model and its service leaves nothing."""

    def full(move: object) -> object:
        def moved(source: object, target: object) -> object:
            if Path(str(target)).name == failing:
                raise OSError(28, "No space left on device")
            return move(source, target)  # type: ignore[operator]

        return moved

    monkeypatch.setattr(os, "replace", full(os.replace))
    monkeypatch.setattr(Path, "replace", full(Path.replace))
    with pytest.raises(gm.InputError, match="No space left"):
        write_serving_layout(
            gm.load_bundle(tiny), tmp_path / "m", layout="kserve", storage_uri="s3://models/genmetrics"
        )
    assert not list((tmp_path / "m").iterdir())


def test_what_is_refused(tmp_path: Path, tiny: Path) -> None:
    bundle = gm.load_bundle(tiny)
    for options, told in (
        ({"layout": "seldon"}, "These exist: triton, kserve"),
        ({"layout": "kserve"}, "Name that place with --storage-uri"),
        ({"storage_uri": "s3://x"}, "Leave out --storage-uri"),
        ({"layout": "kserve", "storage_uri": 's3://x" evil: "'}, "no address of a storage"),
        ({"max_batch": 0}, "at least 1"),
    ):
        with pytest.raises(gm.InputError, match=told):
            write_serving_layout(bundle, tmp_path, **options)
    assert not list(tmp_path.iterdir())
    write_serving_layout(bundle, tmp_path)
    with pytest.raises(gm.InputError, match="there already"):
        write_serving_layout(bundle, tmp_path)
    with pytest.raises(gm.MissingBundle, match="bundles fetch"):
        write_serving_layout(gm.load_bundle("inception-fid"), tmp_path)


def test_a_wrong_repository_is_seen(tmp_path: Path, tiny: Path) -> None:
    bundle = gm.load_bundle(tiny)
    write_serving_layout(bundle, tmp_path)
    model = tmp_path / bundle.name
    config = (model / "config.pbtxt").read_text()
    for old, new, told in (
        (
            "dims: [ 12 ]",
            "dims: [ 13 ]",
            r"features is tensor\(float\) \[-1, 12\], and config.pbtxt says .* \[-1, 13\]",
        ),
        ("TYPE_FP32", "TYPE_FP16", "says TYPE_FP16"),
        ('name: "images"', 'name: "pictures"', r"has the inputs \['images'\], and config.pbtxt names \['pictures'\]"),
    ):
        (model / "config.pbtxt").write_text(config.replace(old, new, 1))
        with pytest.raises(gm.DamagedBundle, match=told):
            check_model(model, bundle)
    (model / "config.pbtxt").write_text(config)
    (model / "1" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(gm.DamagedBundle, match="ONNX Runtime refuses"):
        check_model(model, bundle)


def test_another_network_is_seen_by_its_numbers(tmp_path: Path) -> None:
    write_serving_layout(gm.load_bundle("digits-gan"), tmp_path)
    write_serving_layout(gm.load_bundle("digits-memoriser"), tmp_path)  # the same inputs and outputs
    shutil.copy(tmp_path / "digits-memoriser/1/model.onnx", tmp_path / "digits-gan/1/model.onnx")
    with pytest.raises(gm.DamagedBundle, match="computes other numbers"):
        check_model(tmp_path / "digits-gan", gm.load_bundle("digits-gan"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name: "a" frobnicate: 3', "no field 'frobnicate'"),
        ('name: "a" name: "b"', "one name"),
        ('max_batch_size: "8"', '"8" is no value of max_batch_size'),
        ('input [ { name: "x" data_type: TYPE_FP31 } ]', "TYPE_FP31 is no value"),
        ('input [ { name: "x" dims: [ 1, } ]', "no value of dims"),
        ('input { name: "x"', "its end"),
        ("name: 'a'", "has no place"),
        ('name: "a"', "no backend"),
    ],
)
def test_texts_that_are_no_configuration(text: str, told: str) -> None:
    with pytest.raises(gm.UnreadableInput, match=told):
        parse_config(text)


def test_both_ways_to_write_a_list() -> None:
    one = 'name: "a" backend: "onnxruntime" max_batch_size: 0 input { name: "x" dims: 3 dims: 4 } output [ ]  # why'
    assert parse_config(one)["input"] == [{"name": "x", "dims": [3, 4]}]


def test_the_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["bundles", "export", "scattering", "--layout", "triton", "-o", str(tmp_path / "m")]
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "m" / "scattering")
    assert "up to 32 images a call" in result.stderr and "self-test features" in result.stderr
    again = CliRunner().invoke(app, ["bundles", "export", "scattering", "-o", str(tmp_path / "m")])
    assert again.exit_code == 2 and "there already" in again.stderr
