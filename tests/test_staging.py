"""Runs by way of page-locked memory, several calls at a time and several devices: all that needs no CUDA to be shown.

ONNX Runtime's own bindings run here on the CPU, with a device that copies by `memmove` in the place of CUDA's.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import genmetrics_rt as gm
from genmetrics_rt import graph_on_onnxruntime as sessions
from genmetrics_rt import staging
from genmetrics_rt.cache import FeatureCache
from genmetrics_rt.extraction import extract
from genmetrics_rt.extractor import CHUNK, FeatureExtractor
from genmetrics_rt.features import FeatureCollector
from genmetrics_rt.frozen import GraphOnSeveral, open_graph
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime
from genmetrics_rt.images import open_images
from genmetrics_rt.progress import Progress
from genmetrics_rt.staging import AT_ONCE, CudaDevice, StagedRuns
from tests import makers
from tests.test_frozen import FakeRuntime

SIDE = 8


class HostDevice:
    """The CPU as a device: its memory is ordinary, and copying is one `memmove`."""

    kind, index = "cpu", 0

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.copied = 0
        self.has_memory = self.has_copying = True

    def take(self, size: int) -> np.ndarray | None:
        self.taken.append(size)
        return np.full(size, 255, np.uint8) if self.has_memory else None

    def copy(self, array: np.ndarray, address: int) -> bool:
        if self.has_copying:
            ctypes.memmove(address, array.ctypes.data, array.nbytes)
            self.copied += 1
        return self.has_copying


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> HostDevice:
    """Every graph that is opened stages its runs through it, however small they are."""
    found = HostDevice()
    monkeypatch.setattr(staging, "LEAST", 0)
    monkeypatch.setattr(sessions, "_staged", lambda runtime, session, where: StagedRuns(runtime, session, found))
    return found


@pytest.fixture
def ordinary(tiny: Path) -> Callable[[np.ndarray], np.ndarray]:
    session = onnxruntime.InferenceSession(tiny / "graph.onnx", providers=["CPUExecutionProvider"])
    return lambda images: session.run(["features"], {"images": images})[0]


def batches(count: int, rows: int = 4) -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((count, rows, 3, SIDE, SIDE), dtype=np.float32))


# --- runs of one session ------------------------------------------------------------------------------------------


def test_staged_runs_give_the_same_bits(
    tiny: Path, device: HostDevice, ordinary: Callable[[np.ndarray], np.ndarray]
) -> None:
    graph = open_graph(gm.load_bundle(tiny), device="cpu", threads=1)
    first, *others = batches(6)
    graph.run({"images": first})
    assert device.copied == 0  # a graph that is called once takes no such memory
    found = [graph.run({"images": batch})["features"] for batch in others]
    assert device.copied == len(others) and device.taken == [first.nbytes]
    for batch, features in zip(others, found, strict=True):  # also the first, after the others ran
        np.testing.assert_array_equal(features, ordinary(batch))


def test_rows_are_stacked_where_they_are_needed(
    tiny: Path, device: HostDevice, ordinary: Callable[[np.ndarray], np.ndarray]
) -> None:
    graph = open_graph(gm.load_bundle(tiny), device="cpu", threads=1)
    (batch,) = batches(1)
    for _ in range(2):
        np.testing.assert_array_equal(graph.run({"images": list(batch)})["features"], ordinary(batch))
    assert device.copied == 1
    as_float64 = graph.run({"images": list(batch.astype(np.float64))})["features"]
    np.testing.assert_array_equal(as_float64, ordinary(batch))


def test_shapes_may_change_between_runs(
    tiny: Path, device: HostDevice, ordinary: Callable[[np.ndarray], np.ndarray]
) -> None:
    graph = open_graph(gm.load_bundle(tiny), device="cpu", threads=1)
    for rows in (4, 4, 7, 7, 2, 2, 4, 4):
        (batch,) = batches(1, rows)
        np.testing.assert_array_equal(graph.run({"images": batch})["features"], ordinary(batch))
    of_one = 3 * SIDE * SIDE * 4
    assert device.copied == 4 and device.taken == [4 * of_one, 7 * of_one]  # a smaller one fits in


@pytest.mark.parametrize("most", ["less", "more"])
def test_what_is_too_small_or_too_large_goes_the_ordinary_way(
    tiny: Path, device: HostDevice, monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    (batch,) = batches(1)
    monkeypatch.setattr(staging, "LEAST", batch.nbytes + (most == "less"))
    monkeypatch.setattr(staging, "MOST", batch.nbytes - (most == "more"))
    graph = open_graph(gm.load_bundle(tiny), device="cpu", threads=1)
    assert all(len(graph.run({"images": batch})["features"]) == 4 for _ in range(3)) and device.taken == []


@pytest.mark.parametrize("missing", ["has_memory", "has_copying"])
def test_without_such_memory_it_goes_the_ordinary_way_and_does_not_ask_again(
    tiny: Path, device: HostDevice, ordinary: Callable[[np.ndarray], np.ndarray], missing: str
) -> None:
    setattr(device, missing, False)
    graph = open_graph(gm.load_bundle(tiny), device="cpu", threads=1)
    for batch in batches(4):
        np.testing.assert_array_equal(graph.run({"images": batch})["features"], ordinary(batch))
    assert len(device.taken) == 1


def test_many_threads_share_a_few_buffers(
    tiny: Path, device: HostDevice, ordinary: Callable[[np.ndarray], np.ndarray]
) -> None:
    graph = open_graph(gm.load_bundle(tiny), device="cpu", threads=1)
    assert graph.calls_at_once == AT_ONCE
    given = batches(64)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: graph.run({"images": batch})["features"], given))
    for batch, features in zip(given, found, strict=True):
        np.testing.assert_array_equal(features, ordinary(batch))
    assert len(device.taken) <= AT_ONCE


def test_a_run_that_fails_says_why_and_leaves_the_buffers(tiny: Path, device: HostDevice) -> None:
    graph = open_graph(gm.load_bundle(tiny), device="cpu", threads=1)
    wrong = np.zeros((4, 3, SIDE, SIDE + 1), np.float32)
    for _ in range(2 * AT_ONCE + 1):
        with pytest.raises(gm.GenmetricsError, match=r"failed on images float32\[4, 3, 8, 9\]"):
            graph.run({"images": wrong})
    (batch,) = batches(1)
    assert all(len(graph.run({"images": batch})["features"]) == 4 for _ in range(2))


def test_an_input_is_copied_while_another_run_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run waits, inside the session, until a second input has arrived on the device."""
    monkeypatch.setattr(staging, "LEAST", 0)
    device, second_is_here = HostDevice(), threading.Event()
    computing = []

    class Binding:
        bind_ortvalue_input = bind_output = staticmethod(lambda *given: None)
        copy_outputs_to_cpu = staticmethod(lambda: [np.zeros(1)])

    def run_with_iobinding(binding: Binding) -> None:
        computing.append(1)
        assert len(computing) == 1  # one at a time
        assert second_is_here.wait(30)
        computing.pop()

    def copy(array: np.ndarray, address: int) -> bool:
        device.copied += 1
        if device.copied == 2:
            second_is_here.set()
        return True

    device.copy = copy  # type: ignore[method-assign]
    session = SimpleNamespace(io_binding=Binding, run_with_iobinding=run_with_iobinding)
    runs = StagedRuns(onnxruntime, session, device)
    given = {"x": (np.zeros((2, 2), np.float32), "float32")}
    assert runs.run(["y"], given) is None  # the first of a shape
    with ThreadPoolExecutor(2) as pool:
        assert all(outputs is not None for outputs in pool.map(lambda _: runs.run(["y"], given), range(2)))


# --- CUDA's own calls ---------------------------------------------------------------------------------------------


class FakeCuda:
    """The functions of the CUDA runtime that are called, over ordinary memory. ``broken`` are those that fail."""

    def __init__(self, *broken: str) -> None:
        self.log: list[str] = []
        self.held: dict[int, Any] = {}
        for name in (
            "cudaSetDevice", "cudaHostAlloc", "cudaFreeHost", "cudaMemcpyAsync", "cudaStreamCreateWithFlags",
            "cudaStreamSynchronize", "cudaStreamDestroy", "cudaGetLastError",
        ):  # fmt: skip
            setattr(self, name, self._function(name, name in broken))

    def _function(self, name: str, broken: bool) -> Callable[..., int]:
        def function(*given: Any) -> int:
            self.log.append(name)
            if broken:
                return 2
            if name == "cudaHostAlloc":
                block = (ctypes.c_uint8 * given[1])()
                given[0]._obj.value = ctypes.addressof(block)
                self.held[ctypes.addressof(block)] = block
            elif name == "cudaFreeHost":
                del self.held[given[0].value]
            elif name == "cudaMemcpyAsync":
                ctypes.memmove(*given[:3])
            return 0

        return function


def opened(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, index: int = 1) -> CudaDevice | None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name, **options: cuda)
    return CudaDevice.open(SimpleNamespace(cuda_version="13.0"), index)


def test_page_locked_memory_is_given_back_with_its_last_view(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    device = opened(monkeypatch, cuda)
    assert device is not None and device.index == 1
    block = device.take(1000)
    assert block is not None and block.dtype == np.uint8 and len(block) == 1000
    view = block[:800].view(np.float32).reshape(10, 20)
    view[:] = np.arange(200).reshape(10, 20)
    target = np.zeros(200, np.float32)
    assert device.copy(view, target.ctypes.data)
    np.testing.assert_array_equal(target, np.arange(200))
    assert cuda.log.index("cudaMemcpyAsync") < cuda.log.index("cudaStreamSynchronize")
    del block
    gc.collect()
    assert len(cuda.held) == 1
    del view
    gc.collect()
    assert cuda.held == {} and "cudaGetLastError" not in cuda.log
    del device
    gc.collect()
    assert cuda.log[-1] == "cudaStreamDestroy"


@pytest.mark.parametrize("broken", ["cudaHostAlloc", "cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_what_cuda_refuses_is_no_error_of_somebody_else(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    cuda = FakeCuda(broken)
    device = opened(monkeypatch, cuda)
    assert device is not None
    source, target = np.zeros(10, np.uint8), np.zeros(10, np.uint8)
    given = device.take(10)
    assert (given is None) == (broken == "cudaHostAlloc")
    assert device.copy(source, target.ctypes.data) == (broken == "cudaHostAlloc")
    assert cuda.log[cuda.log.index(broken) + 1] == "cudaGetLastError"


def test_nothing_is_staged_where_the_runtime_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(monkeypatch, FakeCuda("cudaStreamCreateWithFlags")) is None
    assert opened(monkeypatch, FakeCuda("cudaSetDevice")) is None
    monkeypatch.setattr(ctypes, "CDLL", lambda name, **options: SimpleNamespace())  # a library without these functions
    assert CudaDevice.open(SimpleNamespace(cuda_version="13.0"), 0) is None
    monkeypatch.undo()
    assert CudaDevice.open(SimpleNamespace(cuda_version="13.0"), 0) is None  # no such library is loaded here
    assert CudaDevice.open(SimpleNamespace(cuda_version=""), 0) is None
    assert CudaDevice.open(SimpleNamespace(), 0) is None


def test_a_cpu_graph_is_not_staged(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaDevice, "open", lambda *given: pytest.fail("asked for CUDA"))
    graph = open_graph(gm.load_bundle(tiny), device="cpu")
    assert graph.calls_at_once == 1 and FeatureExtractor(tiny, device="cpu")._pool is None


# --- several calls at a time --------------------------------------------------------------------------------------


def extracted(
    extractor: FeatureExtractor, source: Any, cache: FeatureCache | None = None, **options: Any
) -> tuple[np.ndarray, Any]:
    collector = FeatureCollector()
    done = extract(extractor, source, collector, cache=cache, **options)
    return collector.result().values, done


@pytest.mark.parametrize("batch_size", [16, CHUNK])
def test_features_come_in_order_and_are_those_of_a_cpu(
    tiny: Path, device: HostDevice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, batch_size: int
) -> None:
    pictures = makers.pictures(3 * CHUNK + 40, size=SIDE)
    overlapping = FeatureExtractor(tiny, device="cpu", threads=2, batch_size=batch_size)
    monkeypatch.setattr(sessions, "_staged", lambda *given: None)
    one_by_one = FeatureExtractor(tiny, device="cpu", threads=2, batch_size=batch_size)
    assert overlapping._pool is not None and one_by_one._pool is None
    cache = FeatureCache(tmp_path)
    expected, _ = extracted(one_by_one, open_images(pictures))
    found, done = extracted(overlapping, open_images(pictures), cache)
    again, cached = extracted(overlapping, open_images(pictures), cache)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again, expected)
    assert done.computed == len(pictures) and cached.computed == 0 and device.copied > 0
    tensors = np.stack([one_by_one.prepare(picture) for picture in pictures])
    for role, values in one_by_one.run_taps(tensors).items():
        np.testing.assert_array_equal(overlapping.run_taps(tensors)[role], values)
    assert overlapping.run_taps(tensors[:0])["features"].shape == (0, 12)


def test_a_file_that_cannot_be_read_costs_the_others_nothing(tiny: Path, device: HostDevice, tmp_path: Path) -> None:
    folder = makers.image_folder(tmp_path / "images", CHUNK + 30)
    damaged = sorted(folder.iterdir())[5]
    damaged.write_bytes(b"damaged")
    extractor = FeatureExtractor(tiny, device="cpu", threads=2)
    seen: list[Progress] = []
    threads = set()

    def progress(state: Progress) -> None:
        seen.append(state)
        threads.add(threading.current_thread())

    values, done = extracted(extractor, open_images(folder), progress=progress)
    assert len(values) == done.computed == CHUNK + 29 and [image.name for image in done.skipped] == [damaged.name]
    assert (seen[-1].done, seen[-1].total) == (CHUNK + 30, CHUNK + 30)
    assert threads == {threading.current_thread()}  # a callback is never called from a thread of ours


def test_what_the_network_raises_reaches_the_caller(
    tiny: Path, device: HostDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = FeatureExtractor(tiny, device="cpu", threads=1)

    def fail(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        raise gm.GenmetricsError("out of memory")

    monkeypatch.setattr(extractor._graph, "run", fail)
    with pytest.raises(gm.GenmetricsError, match="out of memory"):
        extracted(extractor, open_images(makers.pictures(2 * CHUNK, size=SIDE)))


# --- several devices ----------------------------------------------------------------------------------------------


class Recorded:
    """A graph that counts its calls, and waits in the first until it is told to go on."""

    backend, calls_at_once = "onnx", 1

    def __init__(self, inner: Any, device: str) -> None:
        self._inner, self.device, self.calls = inner, device, 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        self.calls += 1
        assert self.may_go_on.wait(30)
        found: dict[str, np.ndarray] = self._inner.run(inputs)
        return found


@pytest.fixture
def two(tiny: Path) -> Iterator[tuple[Recorded, Recorded]]:
    bundle = gm.load_bundle(tiny)
    graphs = [Recorded(open_graph(bundle, device="cpu", threads=1), f"cuda:{index}") for index in range(2)]
    yield graphs[0], graphs[1]
    for graph in graphs:
        graph.may_go_on.set()


def test_several_devices_share_the_calls_and_keep_the_order(
    tiny: Path, two: tuple[Recorded, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    several = GraphOnSeveral(two)
    assert (several.device, several.calls_at_once, several.backend) == ("cuda:0,cuda:1", 2, "onnx")
    pictures = makers.pictures(6 * CHUNK + 5, size=SIDE)
    expected, _ = extracted(FeatureExtractor(tiny, device="cpu", threads=2), open_images(pictures))
    monkeypatch.setattr("genmetrics_rt.extractor.open_graph", lambda *given, **options: several)
    extractor = FeatureExtractor(tiny, device="cuda:0,cuda:1", threads=2)
    assert extractor.batch_size == CHUNK and extractor.device == "cuda:0,cuda:1"
    found, _ = extracted(extractor, open_images(pictures))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # in calls of another size
    assert two[0].calls + two[1].calls == 7


def test_a_slow_device_gets_fewer_calls(two: tuple[Recorded, Recorded]) -> None:
    slow, fast = two
    slow.may_go_on.clear()
    several = GraphOnSeveral(two)
    given = batches(10)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(several.run, {"images": batch}) for batch in given]
        for call in calls[1:]:
            call.result(30)
        assert (slow.calls, fast.calls) == (1, 9)
        slow.may_go_on.set()
        calls[0].result(30)
    several.run({"images": given[0]})
    assert slow.calls == 2  # both idle: the first again


@pytest.mark.parametrize("devices", ["cuda:0,cuda:1", "cuda:1, cuda:3,cuda:2"])
def test_each_named_device_gets_a_session(tiny: Path, monkeypatch: pytest.MonkeyPatch, devices: str) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime(cuda_works=True))
    assert open_graph(gm.load_bundle(tiny), device=devices).device == devices.replace(" ", "")


@pytest.mark.parametrize("devices", ["cpu,cpu", "cuda:0,cpu", "auto,cuda:1", "cuda:0,cuda:0", "cuda,cuda:0", "cuda:0,"])
def test_a_list_of_devices_that_makes_no_sense_is_refused(tiny: Path, devices: str) -> None:
    with pytest.raises(gm.InputError, match=r"Several devices must be CUDA ones|Unknown device"):
        open_graph(gm.load_bundle(tiny), device=devices)


# --- on CUDA itself -----------------------------------------------------------------------------------------------

needs_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="this onnxruntime has no CUDA"
)


@needs_cuda
def test_on_cuda_staged_runs_give_the_bits_of_ordinary_ones(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "LEAST", 0)
    bundle = gm.load_bundle(tiny)
    graph = open_graph(bundle, device="cuda")
    assert isinstance(graph, sessions.OnnxGraph) and graph.calls_at_once == AT_ONCE and graph._staged is not None
    given = batches(40, rows=32)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: graph.run({"images": list(batch)})["features"], given))
    assert not graph._staged._is_off and any(slot.host for slot in graph._staged._slots.queue)
    monkeypatch.setattr(sessions, "_staged", lambda *given: None)
    plain = open_graph(bundle, device="cuda")
    for batch, features in zip(given, found, strict=True):
        np.testing.assert_array_equal(features, plain.run({"images": batch})["features"])


@needs_cuda
def test_on_cuda_page_locked_memory_is_the_devices_own() -> None:
    import_onnxruntime().preload_dlls()
    device = CudaDevice.open(onnxruntime, 0)
    assert device is not None
    block = device.take(1 << 20)
    assert block is not None and len(block) == 1 << 20
    block[:] = np.arange(1 << 20) % 251
    value = onnxruntime.OrtValue.ortvalue_from_shape_and_type([1 << 20], np.uint8, "cuda", 0)
    assert device.copy(block, value.data_ptr())
    np.testing.assert_array_equal(value.numpy(), block)


@needs_cuda
@pytest.mark.parametrize("backend", ["onnx", "torchscript"])
def test_on_cuda_features_are_those_of_the_cpu(backend: str) -> None:
    pictures = makers.pictures(3 * CHUNK + 7, size=64)
    on_cuda, _ = extracted(FeatureExtractor("scattering", device="cuda", backend=backend), open_images(pictures))
    on_cpu, _ = extracted(FeatureExtractor("scattering", device="cpu", backend=backend), open_images(pictures))
    np.testing.assert_allclose(on_cuda, on_cpu, rtol=1e-3, atol=1e-3)
