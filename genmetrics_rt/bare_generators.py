"""A bare ONNX or TorchScript file of a generator, as if somebody had written a manifest for it."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genmetrics_rt.bundle import Bundle, list_bundles, load_bundle
from genmetrics_rt.errors import InputError, MissingBundle, MissingInput, UnreadableInput
from genmetrics_rt.manifest import SCHEMA, Manifest, TensorSpec
from genmetrics_rt.onnx_file import external_data
from genmetrics_rt.onnx_signature import GraphValue, read_signature

_TORCHSCRIPT_SUFFIXES = (".pt", ".ts", ".pth", ".jit", ".torchscript")


def is_generator_file(path: Path) -> bool:
    """Whether a file is an ONNX model by its name, or a TorchScript archive by what lies in it."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return path.is_file()
    if suffix not in _TORCHSCRIPT_SUFFIXES or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def open_generator(
    source: str | os.PathLike[str] | Bundle, shape: tuple[int, ...] | None, num_classes: int | None, backend: str | None
) -> Bundle:
    """The bundle of what was given: itself, a folder, a shipped name, or a file.

    ``shape`` of a latent and ``num_classes`` describe a TorchScript file, which says neither, and ``backend`` whether
    it may run.
    """
    if isinstance(source, Bundle):
        return source
    path = Path(source).expanduser()
    if is_generator_file(path):
        is_onnx = path.suffix.lower() == ".onnx"
        return _onnx_file(path, backend) if is_onnx else _torchscript_file(path, shape, num_classes, backend)
    if path.is_file():
        raise UnreadableInput(
            f"{source} is no generator: expected the folder of a bundle, an .onnx file, or a TorchScript file "
            "(torch.jit.save). A file of weights alone says nothing about the network."
        )
    if path.suffix.lower() in (".onnx", *_TORCHSCRIPT_SUFFIXES):
        raise MissingInput(f"{source} does not exist. Check the spelling, or give an absolute path.")
    try:
        return load_bundle(source)
    except MissingBundle as error:
        raise MissingBundle(
            f"There is no generator {str(source)!r}: no file or bundle here, and no shipped one "
            f"({', '.join(list_bundles('generator'))}). Give an .onnx file, or the folder of a bundle."
        ) from error


def _onnx_file(path: Path, backend: str | None) -> Bundle:
    if backend == "torchscript":
        raise InputError(f"{path} is an ONNX file, which the backend torchscript cannot run. Leave the backend out.")
    content = _read(path)
    signature = read_signature(content, what=str(path))
    files = {path.name: _file_entry(content, "onnx")}
    for name in {entry.get("location", "") for entry in external_data(content)}:
        if len(files) > 1 or name in ("", ".", "..") or Path(name).name != name:
            raise UnreadableInput(
                f"{path} keeps its weights in several files, or outside its folder. Export it with one file of "
                "weights beside it, or with the weights inside."
            )
        try:
            files[name] = _file_entry((path.parent / name).read_bytes(), "weights")
        except OSError as error:
            raise MissingInput(
                f"{path} keeps its weights in {name}, which cannot be read beside it ({error.strerror}). Copy both."
            ) from error
    return _bare_bundle(path, files, _specs(signature.inputs), _specs(signature.outputs))


def _torchscript_file(
    path: Path, shape: tuple[int, ...] | None, num_classes: int | None, backend: str | None
) -> Bundle:
    if backend != "torchscript":
        raise InputError(
            f"{path} is TorchScript: torch runs the code that such a file carries. If you trust its maker, say so with "
            '--generator-backend torchscript (in Python: gm.Generator(…, backend="torchscript")). An .onnx file '
            "carries no code."
        )
    if shape is None:
        raise InputError(
            f"{path} is TorchScript, which does not say how long its latent vectors are. Say it: --latent-dim 128 "
            "(in Python: latent_dim=128)."
        )
    inputs = [TensorSpec("latent", "float32", ("N", *shape))]
    if num_classes:
        inputs.append(TensorSpec("labels", "int64", ("N",)))
    files = {path.name: _file_entry(_read(path), "torchscript")}
    return _bare_bundle(path, files, inputs, [TensorSpec("images", "unknown", ())])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read: {error.strerror or error}.") from error


def _file_entry(content: bytes, form: str) -> dict[str, Any]:
    return {"form": form, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _bare_bundle(
    path: Path, files: Mapping[str, Any], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Bundle:
    """The file as if somebody had written a manifest for it: opened by the same code, with the same checks."""
    record = {
        "schema": SCHEMA,
        "name": path.name,
        "version": "",
        "kind": "generator",
        "files": dict(files),
        "inputs": [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)} for spec in inputs],
        "outputs": [{"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)} for spec in outputs],
    }
    return Bundle(path=path.resolve().parent, manifest=Manifest(record=record))


def _specs(values: Sequence[GraphValue]) -> list[TensorSpec]:
    return [TensorSpec(value.name, value.dtype, value.shape or ()) for value in values]
