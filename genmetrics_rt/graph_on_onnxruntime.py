"""A graph in an ONNX Runtime session: explicit threads, no spinning, no telemetry, weights that never touch the disk.

ONNX Runtime 1.29 and later write a device id and call home unless told not to before import.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import (
    DamagedBundle,
    DeviceUnavailable,
    GenmetricsError,
    InputError,
    MissingPackage,
    first_line,
)
from genmetrics_rt.graph_call import as_array, parse_device, rows_of, shapes_of
from genmetrics_rt.onnx_file import check_external_data
from genmetrics_rt.staging import AT_ONCE, CudaDevice, Rows, StagedRuns

_silent = False


def silence_onnxruntime() -> None:
    """Nothing of ONNX Runtime's own log on standard error: for a process that is ours alone, as the command's is.

    On CUDA it warns of plug-ins that nobody asked for and of cuDNN plans that it then replaces. Its logger belongs to
    the whole process, so inside somebody else's it is left alone.
    """
    global _silent
    _silent = True


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
                f"ONNX Runtime refuses {name} of bundle {bundle.name!r}: {first_line(error)}"
            ) from error
        del weights  # ONNX Runtime reads them while it opens the session, and no longer
        self._staged = _staged(onnxruntime, self._session, self.device)
        self.calls_at_once = AT_ONCE if self._staged else 1
        self._inputs = bundle.manifest.inputs
        self._outputs = [output.name for output in bundle.manifest.outputs]

    def run(self, inputs: Mapping[str, Rows]) -> dict[str, NDArray[Any]]:
        given = {spec.name: (rows_of(inputs, spec), spec.dtype) for spec in self._inputs}
        try:
            outputs = self._staged.run(self._outputs, given) if self._staged else None
            if outputs is None:
                outputs = self._session.run(self._outputs, {name: as_array(*one) for name, one in given.items()})
        except Exception as error:
            raise GenmetricsError(f"The frozen graph failed on {shapes_of(given)}: {first_line(error)}") from error
        return dict(zip(self._outputs, outputs, strict=True))


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
    kind, index = parse_device(device)
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


def _staged(onnxruntime: Any, session: Any, device: str) -> StagedRuns | None:
    """Runs by way of page-locked memory, on CUDA and where there is such memory."""
    kind, index = parse_device(device)
    found = CudaDevice.open(onnxruntime, index) if kind == "cuda" else None
    return StagedRuns(onnxruntime, session, found) if found else None
