"""A frozen graph as a model repository: for Triton (``config.pbtxt``), and for KServe, which runs Triton.

    FOLDER/NAME/config.pbtxt            names, dtypes, dims, dynamic batching
    FOLDER/NAME/manifest.json           protocol, licence and hashes: what the numbers mean
    FOLDER/NAME/1/model.onnx            the graph; with weights beside it a folder that holds both
    FOLDER/inference-service.yaml       only for KServe

What is written is looked at again: the configuration is parsed and checked against the fields of Triton's
model_config.proto, and the graph is opened from there by onnxruntime and compared with the configuration.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.cache import write_atomically
from genmetrics_rt.errors import DamagedBundle, InputError, UnreadableInput
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime
from genmetrics_rt.manifest import Manifest, TensorSpec
from genmetrics_rt.onnx_file import check_external_data, external_data
from genmetrics_rt.selftest import Deviation, measure

LAYOUTS = ("triton", "kserve")
MAX_BATCH, MAX_DELAY_MICROSECONDS = 32, 5_000

_TYPES = {
    "bool": "TYPE_BOOL", "uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "int64": "TYPE_INT64",
    "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64",
}  # fmt: skip
_ONNX_TYPES = {
    "tensor(bool)": "TYPE_BOOL", "tensor(uint8)": "TYPE_UINT8", "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64", "tensor(float16)": "TYPE_FP16", "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}  # fmt: skip
# The fields that are written, by message, as model_config.proto defines them: a scalar type, or a message of its own.
_MESSAGES: dict[str, dict[str, Any]] = {
    "config": {
        "name": str, "backend": str, "max_batch_size": int, "input": "tensor", "output": "tensor",
        "dynamic_batching": "batching", "instance_group": "group", "parameters": "parameter",
    },
    "tensor": {"name": str, "data_type": tuple(_TYPES.values()), "dims": [int], "reshape": "reshape"},
    "reshape": {"shape": [int]},
    "batching": {"preferred_batch_size": [int], "max_queue_delay_microseconds": int},
    "group": {"count": int, "kind": ("KIND_AUTO", "KIND_CPU", "KIND_GPU")},
    "parameter": {"key": str, "value": "value"},
    "value": {"string_value": str},
}  # fmt: skip
_REPEATED = {"input", "output", "instance_group", "parameters"}


@dataclass(frozen=True)
class Exported:
    """A model repository that was written and checked."""

    folder: Path  # holds the folder of the model
    model: str
    max_batch_size: int  # 0: calls are not batched
    deviations: tuple[Deviation, ...]  # the bundle's self-test on the graph that was written; empty without one


def write_serving_layout(
    bundle: Bundle,
    folder: Path,
    *,
    layout: str = "triton",
    max_batch: int = MAX_BATCH,
    storage_uri: str | None = None,
) -> Exported:
    """Write the model repository of a bundle into ``folder``, whole or not at all, and check what was written.

    Parameters
    ----------
    layout
        ``"triton"``, or ``"kserve"``: the same with an InferenceService beside it.
    max_batch
        Images that the server may put into one call; kernels are never batched.
    storage_uri
        Where the InferenceService finds the folder once you have put it there (``s3://…``, ``pvc://…``); for KServe.

    Raises
    ------
    InputError
        An unknown layout, a place that is taken or cannot be written, a storage address too many or missing.
    MissingBundle, DamagedBundle
        Weights that are not here; a hash that does not hold, or a graph that is not what its manifest says.
    """
    if layout not in LAYOUTS:
        raise InputError(f"No layout {layout!r}. These exist: {', '.join(LAYOUTS)}.")
    if max_batch < 1:
        raise InputError(f"max_batch is {max_batch}; it must be at least 1.")
    if (layout == "kserve") != (storage_uri is not None):
        why = (
            "KServe fetches the folder from where you put it" if layout == "kserve" else "Triton is told where it lies"
        )
        does = "Name that place with" if layout == "kserve" else "Leave out"
        raise InputError(f"{why}. {does} --storage-uri, for instance s3://models/genmetrics.")
    if storage_uri is not None and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s\"'\\]+", storage_uri):
        raise InputError(f"{storage_uri!r} is no address of a storage. Use for instance s3://models/genmetrics.")
    bundle.require_weights()
    place, service = folder / bundle.name, folder / "inference-service.yaml"
    for taken in (place, service) if storage_uri is not None else (place,):
        if taken.exists():
            raise InputError(f"{taken} is there already. Delete it, or name another folder with -o.")
    temporary = folder / f".{secrets.token_hex(8)}.part"
    try:
        _write_model(bundle, temporary, max_batch)
        deviations = check_model(temporary, bundle)
        if storage_uri is not None:
            write_atomically(service, _inference_service(bundle.name, storage_uri).encode())
        try:
            temporary.replace(place)
        except OSError:
            if storage_uri is not None:
                service.unlink()  # not there without its model
            raise
    except OSError as error:
        raise InputError(f"Cannot write {place}: {error.strerror or error}. Name another folder with -o.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(folder, bundle.name, _max_batch(bundle.manifest, max_batch), deviations)


def check_model(folder: Path, bundle: Bundle) -> tuple[Deviation, ...]:
    """Open a written model as a server does, and run the bundle's self-test on it.

    Raises
    ------
    UnreadableInput
        A configuration that is no such text, or with a field that Triton does not know.
    DamagedBundle
        A graph that onnxruntime refuses, that does not fit its configuration, or that computes other numbers.
    """
    config = parse_config((folder / "config.pbtxt").read_text(encoding="utf-8"))
    onnxruntime = import_onnxruntime()
    model = folder / "1" / "model.onnx"
    path = model / "model.onnx" if model.is_dir() else model
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated types here
        raise DamagedBundle(f"ONNX Runtime refuses {path}: {str(error).splitlines()[0]}") from error
    for what, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        told = {entry["name"]: entry for entry in config[what]}
        found = {value.name: value for value in values}
        if set(told) != set(found):
            raise DamagedBundle(f"{path} has the {what}s {sorted(found)}, and config.pbtxt names {sorted(told)}.")
        for name, value in found.items():
            shape = [axis if isinstance(axis, int) else -1 for axis in value.shape]
            expected = _full_shape(told[name], batched=config["max_batch_size"] > 0)
            if _ONNX_TYPES.get(value.type) != told[name]["data_type"] or shape != expected:
                raise DamagedBundle(
                    f"{path}: {what} {name} is {value.type} {shape}, and config.pbtxt says {told[name]['data_type']} "
                    f"{expected}."
                )
    deviations = measure(bundle, _Session(session))
    wrong = next((deviation for deviation in deviations if not deviation.holds), None)
    if wrong is not None:
        raise DamagedBundle(
            f"{path} computes other numbers than the workshop's: {wrong.output} deviates by {wrong.absolute:.1e}. "
            "Run genmetrics bundles verify to see whether this machine's runtime is the reason."
        )
    return deviations


class _Session:
    """An onnxruntime session in the form that the self-test takes."""

    backend, device, calls_at_once = "onnx", "cpu", 1

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [output.name for output in session.get_outputs()]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        given = {name: np.asarray(values) for name, values in inputs.items()}
        return dict(zip(self._names, self._session.run(self._names, given), strict=True))


# Writing.


def _write_model(bundle: Bundle, place: Path, max_batch: int) -> None:
    graph = bundle.file_of_form("onnx")
    if graph is None:
        raise DamagedBundle(f"Bundle {bundle.name!r} holds no ONNX graph, and the server runs that.")
    content = bundle.read(graph)
    check_external_data(content, bundle)
    weights = bundle.file_of_form("weights")
    version = place / "1"
    if weights is not None and external_data(content):
        (version / "model.onnx").mkdir(parents=True)  # of several files the backend takes a folder of this name
        (version / "model.onnx" / "model.onnx").write_bytes(content)
        (version / "model.onnx" / weights).write_bytes(bundle.read(weights))
    else:
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(content)
    for name, entry in bundle.manifest.record["files"].items():
        if entry["form"] == "data":  # a vocabulary: the client needs it
            (place / name).write_bytes(bundle.read(name))
    manifest = json.dumps(bundle.manifest.record, indent=1, ensure_ascii=False) + "\n"
    (place / "manifest.json").write_text(manifest, encoding="utf-8")
    digest = bundle.manifest.record["files"][graph]["sha256"]
    (place / "config.pbtxt").write_text(config_text(bundle.manifest, max_batch, digest), encoding="utf-8")


def config_text(manifest: Manifest, max_batch: int, graph_sha256: str) -> str:
    """The ``config.pbtxt`` of a graph for Triton's onnxruntime backend."""
    batch = _max_batch(manifest, max_batch)
    lines = [
        f'name: "{manifest.name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {batch}",
        *_tensors("input", manifest.inputs, batched=batch > 0),
        *_tensors("output", manifest.outputs, batched=batch > 0),
    ]
    if batch:
        sizes = [size for size in (8, batch) if size <= batch]
        lines += [
            "dynamic_batching {",
            f"  preferred_batch_size: [ {', '.join(map(str, sorted(set(sizes))))} ]",
            f"  max_queue_delay_microseconds: {MAX_DELAY_MICROSECONDS}",
            "}",
        ]
    lines += ["instance_group [ { count: 1 kind: KIND_AUTO } ]"]
    for key, value in (("genmetrics_graph_sha256", graph_sha256), ("genmetrics_kind", manifest.kind)):
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"


def _tensors(what: str, specs: tuple[TensorSpec, ...], *, batched: bool) -> Iterator[str]:
    yield f"{what} ["
    for place, spec in enumerate(specs):
        dims = [axis if isinstance(axis, int) else -1 for axis in spec.shape[batched:]]
        # A scalar has no dims, which Triton does not allow: one element, reshaped to none.
        shape = f"dims: [ {', '.join(map(str, dims))} ]" if dims else "dims: [ 1 ] reshape { shape: [ ] }"
        comma = "," if place + 1 < len(specs) else ""
        yield f'  {{ name: "{spec.name}" data_type: {_TYPES[spec.dtype]} {shape} }}{comma}'
    yield "]"


def _max_batch(manifest: Manifest, max_batch: int) -> int:
    """0 where calls must not be put together: the first axis is no batch, as in a kernel."""
    specs = (*manifest.inputs, *manifest.outputs)
    return max_batch if manifest.kind != "kernel" and all(spec.shape[:1] == ("N",) for spec in specs) else 0


def _full_shape(entry: Mapping[str, Any], *, batched: bool) -> list[int]:
    dims = entry["reshape"].get("shape", []) if "reshape" in entry else entry["dims"]
    return [-1, *dims] if batched else list(dims)


def _inference_service(model: str, storage_uri: str) -> str:
    """KServe's resource: its Triton runtime serves the folder by the v2 protocol."""
    name = re.sub("[^a-z0-9-]+", "-", model.lower()).strip("-")
    return f"""apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
  annotations:
    serving.kserve.io/enable-prometheus-scraping: "true"
spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      runtime: kserve-tritonserver
      protocolVersion: v2
      storageUri: "{storage_uri}"
      env:
        # On a GPU the runtime rounds factors to TF32 unless told not to: those would be other features.
        - name: NVIDIA_TF32_OVERRIDE
          value: "0"
      resources:
        requests:
          cpu: "1"
          memory: 2Gi
"""


# Reading.


def parse_config(text: str) -> dict[str, Any]:
    """A ``config.pbtxt`` as dicts and lists, checked against the fields that Triton has.

    Raises `UnreadableInput` for text that is none, an unknown field, a value of another type, or a field given twice.
    """
    tokens = _Tokens(text)
    config = _message(tokens, "config", end=None)
    missing = [name for name in ("name", "backend", "max_batch_size", "input", "output") if name not in config]
    if missing:
        raise UnreadableInput(f"The configuration has no {' and no '.join(missing)}.")
    return config


class _Tokens:
    def __init__(self, text: str) -> None:
        pattern = re.compile(r'\s+|#[^\n]*|("(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*|-?\d+|[\[\]{}:,])|(.)')
        self._all: list[str] = []
        for match in pattern.finditer(text):
            if match.group(2):
                raise UnreadableInput(f"{match.group(2)!r} has no place in a configuration.")
            if match.group(1):
                self._all.append(match.group(1))
        self._at = 0

    @property
    def next(self) -> str | None:
        return self._all[self._at] if self._at < len(self._all) else None

    def take(self, *expected: str) -> str:
        token = self.next
        if token is None or (expected and token not in expected):
            raise UnreadableInput(f"The configuration has {token or 'its end'} where {' or '.join(expected)} belongs.")
        self._at += 1
        return token


def _message(tokens: _Tokens, kind: str, *, end: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while tokens.next != end:
        field = tokens.take() if tokens.next is not None else tokens.take("}")
        if field not in _MESSAGES[kind]:
            raise UnreadableInput(f"A {kind} of Triton has no field {field!r}.")
        form = _MESSAGES[kind][field]
        if tokens.next == ":":
            tokens.take(":")
        values = [_value(tokens, form, field)]
        if isinstance(values[0], list):
            (values,) = values
        if isinstance(form, list):
            found[field] = found.get(field, []) + values
        elif field in _REPEATED:
            found[field] = found.get(field, []) + values
        elif field in found or len(values) != 1:
            raise UnreadableInput(f"A {kind} has one {field}, and here are more.")
        else:
            found[field] = values[0]
    if end is not None:
        tokens.take(end)
    return found


def _value(tokens: _Tokens, form: Any, field: str) -> Any:
    if tokens.next == "[":
        tokens.take("[")
        values = []
        while tokens.next != "]":
            values.append(_value(tokens, form, field))
            if tokens.next != "]":
                tokens.take(",", "]")
        tokens.take("]")
        return values
    if isinstance(form, str):
        tokens.take("{")
        return _message(tokens, form, end="}")
    token = tokens.take()
    kind = form[0] if isinstance(form, list) else form
    if kind is str and token.startswith('"'):
        return json.loads(token)
    if kind is int and re.fullmatch(r"-?\d+", token):
        return int(token)
    if isinstance(kind, tuple) and token in kind:
        return token
    raise UnreadableInput(f"{token} is no value of {field}.")
