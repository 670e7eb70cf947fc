"""Frozen graphs in ONNX Runtime: weights beside the graph, devices that do not work, threads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import genmetrics_rt as gm
from genmetrics_rt.frozen import open_graph
from tests import makers
from tests.test_bundle import external_graph

WEIGHTS = np.random.default_rng(3).standard_normal((192, 12)).astype(np.float32)
IMAGES = np.random.default_rng(4).random((2, 3, 8, 8), dtype=np.float32)


def with_weights_beside(folder: Path, graph: onnx.GraphProto | None = None) -> Path:
    """The tiny bundle, but its features are ``images @ weights`` with the weights in ``weights.bin``."""
    makers.make_extractor(folder)
    entries = json.loads((folder / "manifest.json").read_text())
    del entries["files"]
    if graph is None:
        tensor = onnx.TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=WEIGHTS.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(WEIGHTS.nbytes))):
            tensor.external_data.add(key=key, value=value)
        nodes = [
            helper.make_node("Flatten", ["images"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["features"]),
        ]
        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])
        features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 12])
        graph = helper.make_graph(nodes, "beside", [images], [features], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "graph.onnx").write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(WEIGHTS.tobytes())
    makers.write_manifest(folder, entries)
    return folder


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    return with_weights_beside(tmp_path / "beside")


@pytest.mark.parametrize("place", ["elsewhere", "beside a decoy", "in the bundle"])
def test_weights_beside_the_graph_are_those_of_the_bundle(
    beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    here = beside if place == "in the bundle" else tmp_path / "here"
    here.mkdir(exist_ok=True)
    if place == "beside a decoy":
        (here / "weights.bin").write_bytes(bytes(WEIGHTS.nbytes))
    monkeypatch.chdir(here)
    found = open_graph(gm.load_bundle(beside), device="cpu", threads=1).run({"images": IMAGES})["features"]
    np.testing.assert_allclose(found, IMAGES.reshape(2, -1) @ WEIGHTS, rtol=1e-4, atol=1e-5)


def test_tampered_weights_are_not_run(beside: Path) -> None:
    (beside / "weights.bin").write_bytes(bytes(WEIGHTS.nbytes))
    with pytest.raises(gm.DamagedBundle, match=r"weights\.bin .* not the file that was frozen"):
        open_graph(gm.load_bundle(beside), device="cpu")


def test_weights_that_would_be_read_from_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the branches of an If, ONNX Runtime does not look at what it was given in memory."""
    folder = with_weights_beside(tmp_path / "deep", external_graph("weights.bin", 0, WEIGHTS.nbytes))
    (tmp_path / "weights.bin").write_bytes(bytes(WEIGHTS.nbytes))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(gm.DamagedBundle, match="ONNX Runtime refuses"):
        open_graph(gm.load_bundle(folder), device="cpu")


class FakeRuntime:
    """As onnxruntime-gpu on a machine where CUDA does not work, or does."""

    __version__ = "1.20.0"

    def __init__(self, *, cuda_works: bool) -> None:
        self.cuda_works = cuda_works

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print("Failed to load libcudnn.so.9")

    def SessionOptions(self) -> Any:
        return SimpleNamespace(add_session_config_entry=lambda name, value: None)

    def InferenceSession(self, content: bytes, options: Any, providers: list[Any]) -> Any:
        opened = [entry if isinstance(entry, str) else entry[0] for entry in providers]
        if not self.cuda_works and opened[0] == "CUDAExecutionProvider":
            print("*************** EP Error ***************")
            opened = opened[1:]
        return SimpleNamespace(get_providers=lambda: opened, disable_fallback=lambda: None)


@pytest.mark.parametrize(
    ("device", "cuda_works", "expected"),
    [("auto", False, "cpu"), ("auto", True, "cuda:0"), ("cpu", False, "cpu"), ("cuda:1", True, "cuda:1")],
)
def test_auto_is_cuda_only_where_it_works(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    device: str,
    cuda_works: bool,
    expected: str,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime(cuda_works=cuda_works))
    assert open_graph(gm.load_bundle(tiny), device=device).device == expected
    assert capsys.readouterr().out == ""  # standard output may be a report


def test_cuda_by_name_is_never_the_cpu(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime(cuda_works=False))
    with pytest.raises(gm.DeviceUnavailable, match="cuda:0 was asked for"):
        open_graph(gm.load_bundle(tiny), device="cuda")


def test_an_onnxruntime_too_old_for_weights_beside_the_graph_is_named(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime(cuda_works=False))
    with pytest.raises(gm.MissingPackage, match=r"onnxruntime 1\.20\.0 .*onnxruntime>=1\.24"):
        open_graph(gm.load_bundle(beside), device="cpu")


@pytest.mark.parametrize("threads", [0, -1])
def test_no_thread_is_no_number_of_threads(tiny: Path, threads: int) -> None:
    with pytest.raises(gm.InputError, match=f"threads is {threads}"):
        open_graph(gm.load_bundle(tiny), threads=threads)
