"""What a CUDA device could do at most, where the time of a call goes, and ways to call that are not the shipped one."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import genmetrics_rt as gm
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime
from genmetrics_rt.kernels import load_kernels
from tests.benchmarks.flops import gigaflops_per_image

DEVICE = os.environ.get("GENMETRICS_BENCH_DEVICE", "cuda")  # "cpu" tries the script out
OUTPUTS = ["features", "logits"]
BATCH = 128 if DEVICE == "cuda" else 4
PRECISIONS = ["fp32", "tf32", "fp16"] if DEVICE == "cuda" else ["fp32", "fp16"]


def beside(network: gm.FeatureExtractor, images: np.ndarray) -> tuple[float, float]:
    """Images/s of the same network one call at a time from ordinary memory, and with its inputs on the device."""
    with one_by_one(network):
        network.run(images)
        ordinary = len(images) / _best(lambda: network.run(images), 3)
    batch = images[: network.batch_size]
    return ordinary, len(batch) / _best(_on_device(network, batch), 5)


@contextmanager
def one_by_one(network: gm.FeatureExtractor) -> Iterator[None]:
    """The way without page-locked memory and with one call at a time, as on a CPU."""
    before = network._pool, network._ahead, getattr(network._graph, "_staged", None)
    network._pool, network._ahead, network._graph._staged = None, 0, None
    try:
        yield
    finally:
        network._pool, network._ahead, network._graph._staged = before


def _on_device(network: gm.FeatureExtractor, batch: np.ndarray) -> Callable[[], None]:
    """One call whose input is on the device and whose outputs stay there."""
    graph = network._graph
    if network.backend == "torchscript":
        from genmetrics_rt.graph_on_torch import torch_precision

        tensor = torch.from_numpy(batch).to(DEVICE)

        def call() -> None:
            with torch.inference_mode(), torch_precision(torch, graph.device, graph._precision):
                graph._module(tensor)
            _wait()

        return call
    return _bound(graph._session, batch)


def _bound(session: Any, batch: np.ndarray) -> Callable[[], None]:
    onnxruntime = import_onnxruntime()
    binding = session.io_binding()
    binding.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(batch, DEVICE, 0))
    for name in OUTPUTS:
        binding.bind_output(name, DEVICE)

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return call


def ceilings(bundle: gm.Bundle, images: np.ndarray) -> None:
    """The rates of the card itself: matrix products of every precision, and copies to it."""
    print("| the card | rate | images/s if that were all |\n| --- | ---: | ---: |")
    size = 8192 if DEVICE == "cuda" else 1024
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("fp16", torch.float16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = torch.randn(2, size, size, device=DEVICE, dtype=dtype)

        def product(a: torch.Tensor = a, b: torch.Tensor = b) -> None:
            a @ b
            _wait()

        rate = 2 * size**3 / _best(product, 5)
        print(f"| product, {name} | {rate / 1e12:.0f} TFLOP/s | {rate / 1e9 / gigaflops_per_image():.0f} |", flush=True)
        del a, b, product
    torch.backends.cuda.matmul.allow_tf32 = False
    ordinary = torch.from_numpy(images[:BATCH])
    for name, tensor in (
        ("ordinary", ordinary),
        ("page-locked", ordinary.pin_memory() if DEVICE == "cuda" else ordinary),
    ):
        target = torch.empty_like(tensor, device=DEVICE)

        def copy(tensor: torch.Tensor = tensor, target: torch.Tensor = target) -> None:
            target.copy_(tensor)
            _wait()

        seconds = _best(copy, 10)
        print(
            f"| copy from {name} memory | {tensor.nbytes / seconds / 1e9:.1f} GB/s | {BATCH / seconds:.0f} |",
            flush=True,
        )


def calls(bundle: gm.Bundle, images: np.ndarray) -> None:
    """Where the time of a call goes: steps in milliseconds a batch, and the kernels that take most of it."""
    batch = images[:BATCH]
    print(f"| one batch of {BATCH}, ms | gather | copy in | compute | outputs | all, one call | all, overlapped |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for precision in PRECISIONS:
        network = gm.FeatureExtractor(bundle, device=DEVICE, precision=precision, batch_size=BATCH)
        network.run(images[: 4 * BATCH])
        staged = network._graph._staged
        if staged is None or staged._is_off:
            print(f"| {precision} | not staged |")
            continue
        spent: dict[str, list[float]] = {"copy": [], "compute": [], "gather": [], "outputs": []}
        _timing(staged, spent)
        one_call = _best(lambda network=network: network.run(batch), 10)
        found = [1e3 * statistics.median(spent[name]) for name in ("gather", "copy", "compute", "outputs")]
        overlapped = _best(lambda network=network: network.run(images[: 4 * BATCH]), 3) / 4
        steps = " | ".join(f"{value:.1f}" for value in found)
        print(f"| {precision} | {steps} | {1e3 * one_call:.1f} | {1e3 * overlapped:.1f} |", flush=True)
    if DEVICE == "cuda":
        for precision in PRECISIONS:
            network = gm.FeatureExtractor(bundle, device=DEVICE, precision=precision)
            network.run(images[: 2 * BATCH])
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as trace:
                network.run(batch)
            print(f"\n| {precision}: kernel | calls | ms |\n| --- | ---: | ---: |")
            events = sorted(trace.key_averages(), key=lambda event: -event.self_device_time_total)
            for event in events[:9]:
                print(f"| {event.key[:90]} | {event.count} | {event.self_device_time_total / 1e3:.2f} |", flush=True)
            print(
                f"| all | {sum(e.count for e in events)} | {sum(e.self_device_time_total for e in events) / 1e3:.2f} |"
            )


def _timing(staged: Any, spent: dict[str, list[float]]) -> None:
    """Have the steps of staged runs note how long they take."""
    session, device = staged._session, staged._device
    fill, copy, io_binding, run = staged._fill, device.copy, session.io_binding, session.run_with_iobinding

    def timed(name: str, work: Callable) -> Callable:
        def wrapper(*given: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*given)
            finally:
                spent[name].append(time.perf_counter() - start)

        return wrapper

    def gather(*given: Any) -> Any:
        start = time.perf_counter()
        outcome = fill(*given)
        spent["gather"].append(time.perf_counter() - start - spent["copy"][-1])
        return outcome

    class Binding:
        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.bind_output, self.bind_ortvalue_input = inner.bind_output, inner.bind_ortvalue_input
            self.copy_outputs_to_cpu = timed("outputs", inner.copy_outputs_to_cpu)

    class Session:
        io_binding = staticmethod(lambda: Binding(io_binding()))
        run_with_iobinding = staticmethod(timed("compute", lambda binding: run(binding.inner)))

    device.copy, staged._fill, staged._session = timed("copy", copy), gather, Session
    for slot in staged._slots.queue:
        slot.binding, slot.device = None, {}


def variants(bundle: gm.Bundle, images: np.ndarray) -> None:
    """Other ways to call: more at once, and without the lock that has one run compute at a time."""
    from genmetrics_rt import graph_on_onnxruntime, staging

    images = np.concatenate([images[: 4 * BATCH]] * 2)
    print("| ways to call, images/s | " + " | ".join(PRECISIONS) + " |\n| --- |" + " ---: |" * len(PRECISIONS))
    rates: dict[str, list[float]] = {}
    for precision in PRECISIONS:
        for at_once in (1, 2, 3, 4):
            staging.AT_ONCE = graph_on_onnxruntime.AT_ONCE = at_once
            network = gm.FeatureExtractor(bundle, device=DEVICE, precision=precision, batch_size=BATCH)
            if at_once > 1:
                network._pool = network._pool or ThreadPoolExecutor(at_once)
            for locked in (True, False) if at_once > 1 else (True,):
                if network._graph._staged and not locked:
                    network._graph._staged._computing = _NoLock()
                network.run(images[: 4 * BATCH])
                rate = len(images) / _best(lambda network=network: network.run(images), 2)
                name = f"{at_once} at once{'' if locked else ', kernels side by side'}"
                rates.setdefault(name, []).append(rate)
            del network
    staging.AT_ONCE = graph_on_onnxruntime.AT_ONCE = 3
    for name, found in rates.items():
        print(f"| {name} | {' | '.join(f'{rate:.0f}' for rate in found)} |", flush=True)


def options(bundle: gm.Bundle, images: np.ndarray) -> None:
    """Other options of the session. In brackets the largest difference of a feature from fp32 with channels first, ≠ if
    two runs differ, and the seconds until the first answer.
    """
    onnxruntime = import_onnxruntime()
    batch, weights = images[:BATCH], bundle.read("weights.bin")
    print("| options of the session, kernels alone, images/s | fp32 | tf32 | fp16 |\n| --- | ---: | ---: | ---: |")
    shipped: Any = None
    for name, own in (
        ("channels first", {}),
        ("channels last", {"prefer_nhwc": "1"}),
        ("first, bias in the convolution", {"fuse_conv_bias": "1"}),
        ("last, bias in the convolution", {"prefer_nhwc": "1", "fuse_conv_bias": "1"}),
        ("last, exhaustive search", {"prefer_nhwc": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}),
    ):
        cells = []
        for graph, tf32 in (("graph.onnx", "0"), ("graph.onnx", "1"), ("graph.fp16.onnx", "0")):
            session_options = onnxruntime.SessionOptions()
            session_options.use_deterministic_compute = True
            session_options.log_severity_level = 4
            session_options.add_external_initializers_from_files_in_memory(["weights.bin"], [weights], [len(weights)])
            given = {"device_id": 0, "use_tf32": tf32, "cudnn_conv_algo_search": "HEURISTIC", **own}
            providers = [("CUDAExecutionProvider", given)] if DEVICE == "cuda" else ["CPUExecutionProvider"]
            try:
                start = time.perf_counter()
                session = onnxruntime.InferenceSession(bundle.read(graph), session_options, providers=providers)
                session.run(OUTPUTS[:1], {"images": batch})
                soonest = time.perf_counter() - start
                first, second = (session.run(OUTPUTS[:1], {"images": batch})[0] for _ in range(2))
                shipped = first if shipped is None else shipped
                unlike = "" if np.array_equal(first, second) else " ≠"
                rate = len(batch) / _best(_bound(session, batch), 5)
                cells.append(f"{rate:.0f} ({np.abs(first - shipped).max():.0e}{unlike}, {soonest:.1f} s)")
            except Exception as error:  # one option that a build lacks does not cost the others
                cells.append(str(error).splitlines()[0][:60])
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


class _NoLock:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *given: object) -> None:
        return None


def kernels(bundle: gm.Bundle, images: np.ndarray) -> None:
    """The kernels on this device, given arrays and giving arrays, beside NumPy and LAPACK on this machine's cores."""
    count, dimension = (10_000, 2048) if DEVICE == "cuda" else (600, 128)
    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((2, count, dimension)).astype(np.float32)
    a, b = (np.cov(side, rowvar=False) for side in (rows, others))
    numpy, device = load_kernels(), load_kernels("onnx", device=DEVICE)
    print(
        f"| kernels, {count} rows of {dimension} | NumPy, s | the frozen graph on {DEVICE}, s | relative difference |"
    )
    print("| --- | ---: | ---: | ---: |")
    for name, work in (
        ("knn_radii, k = 5", lambda kernels: kernels.knn_radii(rows, 5)),
        ("trace_sqrtm", lambda kernels: kernels.trace_sqrtm(a, b)),
    ):
        device_values = work(device)
        seconds = [_best(lambda which=which, work=work: work(which), 2) for which in (numpy, device)]
        difference = np.abs(device_values / work(numpy) - 1).max()
        print(f"| {name} | {seconds[0]:.2f} | {seconds[1]:.2f} | {difference:.1e} |", flush=True)
    moved = torch.from_numpy(rows.astype(np.float64))
    seconds = _best(lambda: (moved.to(DEVICE), _wait()), 3)
    print(f"copying these rows to the device as float64: {seconds:.3f} s")


PARTS = [ceilings, calls, variants, options, kernels]


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _best(work: Callable, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
