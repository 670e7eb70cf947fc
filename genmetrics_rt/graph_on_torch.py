"""The TorchScript twin of a graph, for hosts that have torch already. The one file of the package that imports it."""

from __future__ import annotations

import contextlib
import io
import queue
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import DamagedBundle, DeviceUnavailable, InputError, MissingPackage, first_line
from genmetrics_rt.graph_call import as_array, parse_device, rows_of
from genmetrics_rt.staging import AT_ONCE, Rows

_torch_settings = threading.Lock()  # they are those of the process: two calls at a time would put back each other's


class TorchScriptGraph:
    """The TorchScript twin of a graph, for hosts that have torch already."""

    backend = "torchscript"

    def __init__(self, bundle: Bundle, *, device: str, precision: str) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingPackage(
                "The TorchScript backend needs torch, which is not installed. "
                "Run: pip install 'genmetrics-rt[torch]'  or leave --backend at onnx."
            ) from error
        name = bundle.file_of_form("torchscript")
        if name is None:
            raise DamagedBundle(f"Bundle {bundle.name!r} holds no TorchScript graph. Use --backend onnx.")
        if precision == "tf32":
            raise InputError(
                "A TorchScript graph has its IEEE convolutions frozen in, so it cannot compute in TF32. "
                "Use --backend onnx, or --precision fp32 or fp16."
            )
        kind, index = parse_device(device)
        if kind == "cuda" and not torch.cuda.is_available():
            raise DeviceUnavailable(f"{device} was asked for, but torch sees no CUDA device. Use --device cpu.")
        if kind == "auto":
            kind = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = "cpu" if kind == "cpu" else f"cuda:{index}"
        bundle.require_weights()
        with warnings.catch_warnings():
            # torch deprecates TorchScript; hosts that still load it need no reminder from a guest.
            warnings.simplefilter("ignore")
            try:
                self._module = torch.jit.load(io.BytesIO(bundle.read(name)), map_location=self.device).eval()
            except RuntimeError as error:
                raise DamagedBundle(f"torch refuses {name} of bundle {bundle.name!r}: {first_line(error)}") from error
        _fill_parameters(torch, self._module, bundle)
        self._torch = torch
        self._precision = precision
        self.calls_at_once = 1 if self.device == "cpu" else AT_ONCE
        # A few that stay: torch keeps memory for each stream that it has ever seen.
        self._streams: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(0 if self.device == "cpu" else AT_ONCE):
            self._streams.put(torch.cuda.Stream(self.device))
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)  # those streams would not wait until the weights have arrived
        self._inputs = bundle.manifest.inputs
        self._outputs = [output.name for output in bundle.manifest.outputs]

    @property
    def num_parameters(self) -> int:
        """Numbers in its parameters and buffers."""
        tensors = [*self._module.parameters(), *self._module.buffers()]
        return sum(int(tensor.numel()) for tensor in tensors)

    def run(self, inputs: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
        torch = self._torch
        arrays = [np.ascontiguousarray(as_array(rows_of(inputs, spec), spec.dtype)) for spec in self._inputs]
        with torch.inference_mode(), self._own_stream():
            tensors = [self._on_device(torch.from_numpy(array)) for array in arrays]
            with torch_precision(torch, self.device, self._precision), self._as_it_stands():
                outputs = self._module(*tensors)
            if isinstance(outputs, torch.Tensor):
                outputs = (outputs,)
            return {
                name: output.float().cpu().numpy() if output.dtype == torch.float16 else output.cpu().numpy()
                for name, output in zip(self._outputs, outputs, strict=True)
            }

    def _as_it_stands(self) -> contextlib.AbstractContextManager[Any]:
        """On CUDA torch would compile fused kernels on the second call: minutes for hundreds of small operations."""
        return contextlib.nullcontext() if self.device == "cpu" else self._torch.jit.optimized_execution(False)

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        """On CUDA a stream that no other call has, so that what one copies overlaps what another computes."""
        if self.device == "cpu":
            yield
            return
        stream = self._streams.get()
        try:
            with self._torch.cuda.stream(stream):
                yield
        finally:
            self._streams.put(stream)

    def _on_device(self, tensor: Any) -> Any:
        """By way of page-locked memory, which a CUDA device reads directly."""
        return tensor if self.device == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)


@contextlib.contextmanager
def torch_precision(torch: Any, device: str, precision: str) -> Iterator[None]:
    """For one call: IEEE float32, or half-precision convolutions, whatever the host has set, which is put back."""
    kind = device.split(":")[0]
    half = torch.autocast(kind, torch.float16) if precision == "fp16" else contextlib.nullcontext()
    if kind == "cpu":
        with half:
            yield
        return
    matmul = torch.backends.cuda.matmul
    with _torch_settings:
        before = matmul.allow_tf32
        matmul.allow_tf32 = False
        # torch lets convolutions use TF32 unless told otherwise. A trace has been told already; a script has not.
        flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        try:
            with flags, half:
                yield
        finally:
            matmul.allow_tf32 = before


def _fill_parameters(torch: Any, module: Any, bundle: Bundle) -> None:
    """Give an emptied TorchScript module (every parameter at stride 0) the bundle's weights, by name."""
    name = bundle.file_of_form("weights")
    if name is None:
        return
    weights = bundle.read(name)
    tensors = (bundle.manifest.record.get("recipe") or {}).get("tensors") or {}
    for parameter_name, parameter in module.named_parameters():
        entry = tensors.get(parameter_name)
        if entry is None or list(entry["shape"]) != list(parameter.shape):
            raise DamagedBundle(f"The recipe of bundle {bundle.name!r} does not fill {parameter_name} of its graph.")
        values = np.frombuffer(weights, "<f4", parameter.numel(), entry["offset"]).reshape(entry["shape"])
        parameter.data = torch.from_numpy(values.copy()).to(parameter.device)
