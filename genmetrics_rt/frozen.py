"""Run a frozen graph: ONNX Runtime by default, TorchScript where torch is there. The one file that knows both.

A guest in other people's processes: explicit thread counts, no spinning, no process-wide setter, no telemetry
(ONNX Runtime 1.29 and later write a device id and call home unless told not to before import).
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import DamagedBundle, DeviceUnavailable, GenmetricsError, InputError, MissingPackage
from genmetrics_rt.manifest import TensorSpec
from genmetrics_rt.onnx_file import check_external_data
from genmetrics_rt.staging import AT_ONCE, CudaDevice, Rows, StagedRuns
from genmetrics_rt.threads import threads_or_default

Backend = Literal["onnx", "torchscript"]
PRECISIONS = ("fp32", "tf32", "fp16")

_silent = False
_torch_settings = threading.Lock()  # they are those of the process: two calls at a time would put back each other's


def silence_onnxruntime() -> None:
    """Nothing of ONNX Runtime's own log on standard error: for a process that is ours alone, as the command's is.

    On CUDA it warns of plug-ins that nobody asked for and of cuDNN plans that it then replaces. Its logger belongs to
    the whole process, so inside somebody else's it is left alone.
    """
    global _silent
    _silent = True


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


def import_onnxruntime() -> Any:
    """The onnxruntime module, with its telemetry switched off before it is imported."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackage(
            "onnxruntime is not installed, and the frozen graphs need it. It is not a fixed dependency because its CPU "
            "and GPU packages overwrite each other. Run: pip install 'genmetrics-rt[cpu]'  (or 'genmetrics-rt[gpu]')"
        ) from error
    if _silent:
        onnxruntime.set_default_logger_severity(4)  # fatal
    return onnxruntime


class OnnxGraph:
    """A graph in an ONNX Runtime session."""

    backend = "onnx"

    def __init__(self, bundle: Bundle, *, device: str, precision: str, threads: int, spinning: bool) -> None:
        onnxruntime = import_onnxruntime()
        name = _onnx_file(bundle, precision)
        bundle.require_weights()
        content = bundle.read(name)
        check_external_data(content, bundle)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.use_deterministic_compute = True
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        weights = _hand_over_weights(onnxruntime, options, bundle, name)

        try:
            self._session, self.device = _open_session(onnxruntime, content, options, device, precision)
        except GenmetricsError:
            raise
        except Exception as error:  # onnxruntime raises a dozen unrelated types here
            raise DamagedBundle(
                f"ONNX Runtime refuses {name} of bundle {bundle.name!r}: {_first_line(error)}"
            ) from error
        del weights  # ONNX Runtime reads them while it opens the session, and no longer
        self._staged = _staged(onnxruntime, self._session, self.device)
        self.calls_at_once = AT_ONCE if self._staged else 1
        self._inputs = bundle.manifest.inputs
        self._outputs = [output.name for output in bundle.manifest.outputs]

    def run(self, inputs: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
        given = {spec.name: (_given(inputs, spec), spec.dtype) for spec in self._inputs}
        try:
            outputs = self._staged.run(self._outputs, given) if self._staged else None
            if outputs is None:
                outputs = self._session.run(self._outputs, {name: _array(*one) for name, one in given.items()})
        except Exception as error:
            raise GenmetricsError(f"The frozen graph failed on {_shapes(given)}: {_first_line(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))


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
        kind, index = _parse_device(device)
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
                raise DamagedBundle(f"torch refuses {name} of bundle {bundle.name!r}: {_first_line(error)}") from error
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
        arrays = [np.ascontiguousarray(_array(_given(inputs, spec), spec.dtype)) for spec in self._inputs]
        with torch.inference_mode(), self._own_stream():
            tensors = [self._on_device(torch.from_numpy(array)) for array in arrays]
            with _torch_precision(torch, self.device, self._precision), self._as_it_stands():
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


@contextlib.contextmanager
def _torch_precision(torch: Any, device: str, precision: str) -> Iterator[None]:
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


def _hand_over_weights(onnxruntime: Any, options: Any, bundle: Bundle, graph: str) -> bytes | None:
    """Give the session the bundle's weights file in memory, its hash checked. The bytes must live until it is open.

    A session that is made from bytes would otherwise look for ``weights.bin`` in the current directory, whoever put it
    there.
    """
    name = bundle.file_of_form("weights")
    if name is None:
        return None
    if not hasattr(options, "add_external_initializers_from_files_in_memory"):
        raise MissingPackage(
            f"Bundle {bundle.name!r} keeps its weights beside the graph, which onnxruntime {onnxruntime.__version__} "
            "cannot be given in memory. Run: pip install --upgrade 'onnxruntime>=1.24'  (or 'onnxruntime-gpu>=1.24')"
        )
    weights = bundle.read(name)
    options.add_external_initializers_from_files_in_memory([name], [weights], [len(weights)])
    # For tensors inside the branches of an If or Loop it turns to the disk all the same. The graph file is no folder,
    # so it finds nothing there and refuses the graph.
    folder = os.path.abspath(bundle.path / graph)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return weights


def _onnx_file(bundle: Bundle, precision: str) -> str:
    """The ONNX graph for this precision: TF32 is a way to run that of float32, half precision a graph of its own."""
    form = "onnx-fp16" if precision == "fp16" else "onnx"
    name = bundle.file_of_form(form)
    if name is not None:
        return name
    if form == "onnx":
        raise DamagedBundle(f"Bundle {bundle.name!r} holds no ONNX graph. Use --backend torchscript.")
    raise InputError(
        f"Bundle {bundle.name!r} holds no graph in half precision. Use --precision fp32, or freeze it with "
        "--format onnx,onnx-fp16."
    )


def _require_cuda_for_tf32(where: str) -> None:
    if where == "cpu":
        raise DeviceUnavailable(
            "TF32 exists on CUDA devices only, and this run would use the CPU. Use --precision fp32."
        )


def _open_session(onnxruntime: Any, content: bytes, options: Any, device: str, precision: str) -> tuple[Any, str]:
    """An ONNX Runtime session, and the device that it really runs on."""
    where, providers = _providers(onnxruntime, device, precision)
    with contextlib.nullcontext() if where == "cpu" else _standard_output_kept_clean():
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    # Else a call that fails would open the session again: on the CPU, and from weights that are no longer in memory.
    session.disable_fallback()
    found = session.get_providers()[0]
    if where != "cpu" and found != "CUDAExecutionProvider":
        if device != "auto":
            raise DeviceUnavailable(
                f"{where} was asked for, but ONNX Runtime could only open {found}. "
                "Its CUDA libraries are probably missing: run `genmetrics doctor`, or use --device cpu."
            )
        where = "cpu"
    if precision == "tf32":
        _require_cuda_for_tf32(where)
    return session, where


def _standard_output_kept_clean() -> contextlib.AbstractContextManager[Any]:
    """ONNX Runtime prints what fails with CUDA; standard output may be somebody's JSON."""
    return contextlib.redirect_stdout(sys.stderr)


def _providers(onnxruntime: Any, device: str, precision: str) -> tuple[str, list[Any]]:
    """The device that will be used and ONNX Runtime's word for it ("execution provider", used in this file only)."""
    kind, index = _parse_device(device)
    available = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if kind == "cuda" and not available:
        raise DeviceUnavailable(
            f"{device} was asked for, but this onnxruntime ({onnxruntime.__version__}) has no CUDA. "
            "Run: pip uninstall onnxruntime && pip install 'genmetrics-rt[gpu]'  or use --device cpu."
        )
    if kind == "cpu" or not available:
        return "cpu", ["CPUExecutionProvider"]
    if hasattr(onnxruntime, "preload_dlls"):  # CUDA libraries that came with pip are found only after this
        with _standard_output_kept_clean():
            onnxruntime.preload_dlls()
    # TF32 is on by default in ONNX Runtime and moves features in the third digit.
    use_tf32 = "1" if precision == "tf32" else "0"
    options = {"device_id": index, "use_tf32": use_tf32, "cudnn_conv_algo_search": "HEURISTIC"}
    if precision != "fp32":
        options["prefer_nhwc"] = "1"  # what tensor cores want: 12 to 14 % faster
    return f"cuda:{index}", [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _parse_device(device: str) -> tuple[str, int]:
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    if match is None or (match[2] is not None and match[1] != "cuda"):
        raise InputError(f"Unknown device {device!r}. Use auto, cpu, cuda or cuda:1.")
    return match[1], int(match[2] or 0)


def _several(device: str) -> list[str]:
    """The devices of a list such as ``cuda:0,cuda:1``; a single one as it is."""
    names = [name.strip() for name in device.split(",")]
    if len(names) > 1:
        found = [_parse_device(name) for name in names]
        if {kind for kind, _ in found} != {"cuda"} or len(set(found)) < len(found):
            raise InputError(f"Several devices must be CUDA ones, each named once: cuda:0,cuda:1. Not {device!r}.")
    return names


def _staged(onnxruntime: Any, session: Any, device: str) -> StagedRuns | None:
    """Runs by way of page-locked memory, on CUDA and where there is such memory."""
    kind, index = _parse_device(device)
    found = CudaDevice.open(onnxruntime, index) if kind == "cuda" else None
    return StagedRuns(onnxruntime, session, found) if found else None


def _given(inputs: Mapping[str, Rows], spec: TensorSpec) -> Rows:
    if spec.name not in inputs:
        raise InputError(f"The frozen graph needs an input {spec.name!r} ({spec.dtype} {list(spec.shape)}).")
    rows = inputs[spec.name]
    of_arrays = isinstance(rows, list) and bool(rows) and isinstance(rows[0], np.ndarray)
    return rows if of_arrays else np.asarray(rows)


def _array(rows: Rows, dtype: str) -> NDArray[Any]:
    return np.asarray(rows if isinstance(rows, np.ndarray) else np.stack(rows), dtype=dtype)


def _shapes(given: Mapping[str, tuple[Rows, str]]) -> str:
    return ", ".join(f"{name} {dtype}{list(np.shape(rows))}" for name, (rows, dtype) in given.items())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0][:300]
