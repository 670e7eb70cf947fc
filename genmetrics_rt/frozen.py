"""Run a frozen graph: ONNX Runtime by default, TorchScript where torch is there, several devices at a time.

A guest in other people's processes: explicit thread counts, no spinning, no process-wide setter, no telemetry.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import InputError
from genmetrics_rt.graph_call import parse_device
from genmetrics_rt.graph_on_onnxruntime import OnnxGraph
from genmetrics_rt.graph_on_torch import TorchScriptGraph
from genmetrics_rt.staging import Rows
from genmetrics_rt.threads import threads_or_default

Backend = Literal["onnx", "torchscript"]
PRECISIONS = ("fp32", "tf32", "fp16")


class FrozenGraph(Protocol):
    """A graph that is ready to run. Thread-safe; holds no state between calls."""

    backend: str
    device: str  # where it really runs: "cpu", "cuda:0" or "cuda:0,cuda:1"
    calls_at_once: int  # calls from as many threads overlap; 1: more than one at a time gain nothing

    def run(self, inputs: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
        """Inputs by name, each an array or a list of its rows → all outputs by name."""
        ...


def open_graph(
    bundle: Bundle,
    *,
    backend: str = "onnx",
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    spinning: bool = False,
) -> FrozenGraph:
    """Load the graph of a bundle, after its hash was checked, onto a device.

    Parameters
    ----------
    backend
        ``"onnx"`` or ``"torchscript"``.
    device
        ``"auto"`` (CUDA if it works, else CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; several as ``"cuda:0,cuda:1"``:
        one session on each, and every call goes to the one with the fewest under way.
    precision
        ``"fp32"``, IEEE float32 throughout; ``"tf32"``, factors rounded to 10 bits, with backend "onnx" on CUDA only;
        ``"fp16"``, convolutions in half precision, with float32 inputs, averages and outputs. The last two move
        numbers (README), so they are never chosen for you.
    threads
        Threads inside one call; None is `available_threads`. The TorchScript backend leaves this to torch,
        whose only setting is process-wide.
    spinning
        Let idle threads spin for the next call: faster for a batch job, costly in a service.

    Raises
    ------
    DeviceUnavailable
        The device that was named is not there, or cannot compute in that precision. There is no silent fall-back.
    InputError
        An unknown backend, device or precision, or fewer than one thread.
    MissingPackage
        onnxruntime (or torch) is not installed, or too old for a bundle with a weights file.
    DamagedBundle
        A hash, size, or the graph itself does not hold.
    """
    count = threads_or_default(threads)
    if precision not in PRECISIONS:
        raise InputError(f"Unknown precision {precision!r}. Use {', '.join(PRECISIONS)}.")
    devices = _several(device)
    if len(devices) > 1:
        options: dict[str, Any] = {"backend": backend, "precision": precision, "threads": threads, "spinning": spinning}
        return GraphOnSeveral([open_graph(bundle, device=one, **options) for one in devices])
    if backend == "onnx":
        return OnnxGraph(bundle, device=device, precision=precision, threads=count, spinning=spinning)
    if backend == "torchscript":
        return TorchScriptGraph(bundle, device=device, precision=precision)
    raise InputError(f"Unknown backend {backend!r}. Use 'onnx' or 'torchscript'.")


class GraphOnSeveral:
    """One graph on several devices, a session each. A call goes to the one with the fewest under way."""

    def __init__(self, graphs: Sequence[FrozenGraph]) -> None:
        self._graphs = list(graphs)
        self.backend = graphs[0].backend
        self.device = ",".join(graph.device for graph in graphs)
        self.calls_at_once = sum(graph.calls_at_once for graph in graphs)
        self._under_way = [0] * len(graphs)
        self._turn = threading.Lock()

    def run(self, inputs: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
        with self._turn:
            chosen = min(range(len(self._graphs)), key=self._under_way.__getitem__)
            self._under_way[chosen] += 1
        try:
            return self._graphs[chosen].run(inputs)
        finally:
            with self._turn:
                self._under_way[chosen] -= 1


def _several(device: str) -> list[str]:
    """The devices of a list such as ``cuda:0,cuda:1``; a single one as it is."""
    names = [name.strip() for name in device.split(",")]
    if len(names) > 1:
        found = [parse_device(name) for name in names]
        if {kind for kind, _ in found} != {"cuda"} or len(set(found)) < len(found):
            raise InputError(f"Several devices must be CUDA ones, each named once: cuda:0,cuda:1. Not {device!r}.")
    return names
