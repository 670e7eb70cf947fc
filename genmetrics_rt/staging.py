"""Runs on a CUDA device with inputs in page-locked memory: one is copied to the device while another computes.

    rows → page-locked buffer → buffer on the device → bound to the session → run → outputs
           (host)               (a stream of its own)    (one run at a time)

From ordinary memory the driver copies by way of a small buffer of its own, and the caller waits. Page-locked memory it
reads directly. ONNX Runtime has an allocator for that and no way to it from Python, so it comes from the CUDA runtime
that ONNX Runtime itself has loaded; where that cannot be had, nothing is staged and runs go the ordinary way.
"""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Runs under way: one computes while the next are gathered and copied, which in half precision takes about as long.
# Each keeps one set of inputs here and on the device.
AT_ONCE = 3
# Bytes of the inputs of a run. Below, copying costs nothing worth saving; above, it is too much memory to lock.
LEAST, MOST = 1 << 20, 1 << 29

Rows: TypeAlias = NDArray[Any] | Sequence[NDArray[Any]]  # an array, or the rows to stack


class Device(Protocol):
    """Where a session computes, and how memory gets there."""

    kind: str  # in ONNX Runtime's words: "cuda"
    index: int

    def take(self, size: int) -> NDArray[np.uint8] | None:
        """Host memory that the device reads directly; None where there is none."""
        ...

    def copy(self, array: NDArray[Any], address: int) -> bool:
        """Copy to an address on the device, and wait until it is there. False where that fails."""
        ...


class StagedRuns:
    """The runs of one ONNX Runtime session, staged. Thread-safe; a caller beyond `AT_ONCE` waits.

    Computing is one run at a time, since kernels that share a device only take each other's time and memory.
    """

    def __init__(self, onnxruntime: Any, session: Any, device: Device) -> None:
        self._onnxruntime, self._session, self._device = onnxruntime, session, device
        self._computing = threading.Lock()
        self._slots: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for _ in range(AT_ONCE):
            self._slots.put(_Slot())
        self._before: dict[str, tuple[int, ...]] = {}
        self._is_off = False  # no more page-locked memory, or no copying from it: not tried again

    def run(self, outputs: Sequence[str], inputs: Mapping[str, tuple[Rows, DTypeLike]]) -> list[NDArray[Any]] | None:
        """Inputs with their types → the outputs by name; None where this run should go the ordinary way."""
        shapes = {name: _shape(rows) for name, (rows, _) in inputs.items()}
        # A graph that is called once, or with another shape each time, would only pay for the memory.
        is_first, self._before = shapes != self._before, shapes
        size = sum(np.dtype(dtype).itemsize * _count(shapes[name]) for name, (_, dtype) in inputs.items())
        if self._is_off or is_first or not LEAST <= size <= MOST:
            return None
        slot = self._slots.get()
        try:
            binding = slot.binding = slot.binding or self._session.io_binding()
            for name, (rows, dtype) in inputs.items():
                if not self._fill(slot, name, rows, shapes[name], np.dtype(dtype)):
                    self._is_off = True
                    return None
            for name in outputs:  # each time, else a run writes into the outputs of the one before
                binding.bind_output(name, self._device.kind, self._device.index)
            with self._computing:
                self._session.run_with_iobinding(binding)
            found: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
            return found
        finally:
            self._slots.put(slot)

    def _fill(self, slot: _Slot, name: str, rows: Rows, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        """Bring an input to its buffer on the device, which is bound; False where there is no memory for it."""
        size = dtype.itemsize * _count(shape)
        held = slot.host.get(name)
        if held is None or held.nbytes < size:
            held = self._device.take(size)
            if held is None:
                return False
            slot.host[name] = held
        array = held[:size].view(dtype).reshape(shape)
        if isinstance(rows, np.ndarray):
            np.copyto(array, rows, casting="unsafe")
        else:
            np.stack(rows, out=array, casting="unsafe")
        value = slot.device.get(name)
        if value is None or tuple(value.shape()) != shape:
            kind, index = self._device.kind, self._device.index
            value = self._onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype.type, kind, index)
            slot.device[name] = value
            slot.binding.bind_ortvalue_input(name, value)
        return self._device.copy(array, value.data_ptr())


class _Slot:
    """The buffers of one run that is under way. They are kept for the next."""

    def __init__(self) -> None:
        self.binding: Any = None
        self.host: dict[str, NDArray[np.uint8]] = {}
        self.device: dict[str, Any] = {}


class CudaDevice:
    """A CUDA device by the calls of the CUDA runtime that need no torch and no compiler."""

    kind = "cuda"

    _NON_BLOCKING = 1  # cudaStreamNonBlocking: waits for nobody's default stream
    _PORTABLE = 1  # cudaHostAllocPortable: page-locked for every device
    _HOST_TO_DEVICE = 1

    def __init__(self, runtime: Any, index: int, stream: ctypes.c_void_p) -> None:
        self._runtime, self.index, self._stream = runtime, index, stream
        weakref.finalize(self, runtime.cudaStreamDestroy, stream).atexit = False

    @classmethod
    def open(cls, onnxruntime: Any, index: int) -> CudaDevice | None:
        """The device, by the library that ONNX Runtime has loaded; None where that is not to be found."""
        major = str(getattr(onnxruntime, "cuda_version", "")).split(".")[0]
        if not major.isdigit():
            return None
        try:
            if sys.platform == "win32":
                runtime = ctypes.CDLL(f"cudart64_{major}.dll")
            else:
                runtime = ctypes.CDLL(f"libcudart.so.{major}", mode=os.RTLD_NOLOAD)
            _declare(runtime)
        except (OSError, AttributeError):
            return None
        stream = ctypes.c_void_p()
        if _failed(runtime, runtime.cudaSetDevice(index)) or _failed(
            runtime, runtime.cudaStreamCreateWithFlags(ctypes.byref(stream), cls._NON_BLOCKING)
        ):
            return None
        return cls(runtime, index, stream)

    def take(self, size: int) -> NDArray[np.uint8] | None:
        pointer = ctypes.c_void_p()
        if not self._is_current() or _failed(
            self._runtime, self._runtime.cudaHostAlloc(ctypes.byref(pointer), size, self._PORTABLE)
        ):
            return None
        assert pointer.value
        block = (ctypes.c_uint8 * size).from_address(pointer.value)
        # When the last view of it is gone. Not at exit, when the driver may be gone before.
        weakref.finalize(block, self._runtime.cudaFreeHost, pointer).atexit = False
        return np.frombuffer(memoryview(block), np.uint8)

    def copy(self, array: NDArray[Any], address: int) -> bool:
        runtime, source = self._runtime, array.ctypes.data
        return self._is_current() and not (
            _failed(runtime, runtime.cudaMemcpyAsync(address, source, array.nbytes, self._HOST_TO_DEVICE, self._stream))
            or _failed(runtime, runtime.cudaStreamSynchronize(self._stream))
        )

    def _is_current(self) -> bool:
        """Make it the device of this thread, as the run that follows does anyway."""
        return not _failed(self._runtime, self._runtime.cudaSetDevice(self.index))


def _failed(runtime: Any, code: int) -> bool:
    if code:
        runtime.cudaGetLastError()  # else somebody else's next check finds ours
    return bool(code)


def _declare(runtime: Any) -> None:
    """The types of the arguments: a size or an address is cut to 32 bits otherwise."""
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for name, types in {
        "cudaSetDevice": [number],
        "cudaHostAlloc": [ctypes.POINTER(pointer), size, ctypes.c_uint],
        "cudaFreeHost": [pointer],
        "cudaMemcpyAsync": [pointer, pointer, size, number, pointer],
        "cudaStreamCreateWithFlags": [ctypes.POINTER(pointer), ctypes.c_uint],
        "cudaStreamSynchronize": [pointer],
        "cudaStreamDestroy": [pointer],
        "cudaGetLastError": [],
    }.items():
        function = getattr(runtime, name)
        function.argtypes, function.restype = types, number


def _shape(rows: Rows) -> tuple[int, ...]:
    return rows.shape if isinstance(rows, np.ndarray) else (len(rows), *rows[0].shape)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
