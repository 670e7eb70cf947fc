"""Freeze a module: graph.onnx, graph.ts and, if asked for, graph.pt2, with a manifest that pins their hashes.

The files depend on the module and the tools alone: no time, path or user name gets into them, so that the same command
gives the same bytes twice. (Freezing one class twice in one process does not, for graph.ts: torch then numbers the
class names. graph.onnx, whose hash identifies the numbers, is the same always.)
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import warnings
import zipfile
from collections.abc import Collection
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from export.blueprint import Blueprint
from export.half import in_half, packed
from export.verify import Agreement, Disagreement, torchscript_without_warnings, verify, write_manifest
from genmetrics_rt.manifest import SCHEMA, Manifest
from genmetrics_rt.selftest import selftest_inputs, thinned

OPSET = 20
MAX_IR_VERSION = 10  # what onnxruntime 1.20 reads
FILES = {"onnx": "graph.onnx", "onnx-fp16": "graph.fp16.onnx", "torchscript": "graph.ts", "pt2": "graph.pt2"}
SELFTEST_SEED = 0


def freeze(blueprint: Blueprint, folder: Path, *, formats: Collection[str] = ("onnx", "torchscript")) -> Agreement:
    """Write the bundle of ``blueprint`` into ``folder``, then verify it.

    Raises
    ------
    Disagreement
        The frozen forms differ by more than the tolerance of the blueprint.
    """
    unknown = set(formats) - set(FILES)
    if unknown:
        raise ValueError(f"Unknown format {', '.join(sorted(unknown))}. Formats: {', '.join(FILES)}.")
    makers = {"onnx": onnx_bytes, "onnx-fp16": half_bytes, "torchscript": torchscript_bytes, "pt2": pt2_bytes}
    blueprint.module.eval().requires_grad_(False)

    contents = {
        form: makers[form](blueprint) for form in FILES if form in formats
    }  # all of them, or nothing is written

    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for form, name in FILES.items():
        if form not in formats:
            (folder / name).unlink(missing_ok=True)
            continue
        content = contents[form]
        (folder / name).write_bytes(content)
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "form": form}
    write_manifest(folder, manifest_of(blueprint, files))

    agreement = verify(folder, blueprint)
    if not agreement.holds:
        raise Disagreement(f"{blueprint.name}: the frozen forms disagree.\n{agreement.summary()}")
    return agreement


def onnx_bytes(blueprint: Blueprint) -> bytes:
    """The module as an ONNX file: opset 20, self-contained, letters of the shapes as free axes."""
    model = blueprint.onnx_model() if blueprint.onnx_model else exported(blueprint)
    model = normalise(packed(model) if blueprint.packed else model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def half_bytes(blueprint: Blueprint) -> bytes:
    """The ONNX file with its convolutions in half precision."""
    return halved(onnx_bytes(blueprint))


def halved(content: bytes) -> bytes:
    """An ONNX file in half precision. Parameters that lie outside stay where they are."""
    model = in_half(onnx.load_model_from_string(content))
    return model.SerializeToString(deterministic=True)


def torchscript_bytes(blueprint: Blueprint) -> bytes:
    """The module as TorchScript, without the debug records, which hold the paths of the source files."""
    with torchscript_without_warnings(), torch.no_grad():
        scripted = torch.jit.script(blueprint.module) if blueprint.torchscript == "script" else traced(blueprint)
        saved = io.BytesIO()
        torch.jit.save(scripted, saved)
    return without_debug_records(saved)


def traced(blueprint: Blueprint) -> torch.jit.ScriptModule:
    """The module as a trace of its example.

    A trace keeps the settings that convolutions were made under, whatever its host sets later. torch's own would allow
    TF32, so that the frozen network gave other numbers on CUDA than on a CPU.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        return torch.jit.trace(blueprint.module, _arguments(blueprint), check_trace=False)


def pt2_bytes(blueprint: Blueprint) -> bytes:
    """The module as a torch.export archive: the successor of TorchScript, for AOTInductor and ExecuTorch.

    Raises
    ------
    ValueError
        The module decides by its data, as the loops of `trace_sqrtm` and `knn_radii` do.
    """
    saved = io.BytesIO()
    try:
        program = torch.export.export(
            blueprint.module, _arguments(blueprint), dynamic_shapes=_dynamic_shapes(blueprint), strict=False
        )
    except GuardOnDataDependentSymNode as error:
        raise ValueError(
            f"{blueprint.name} has no pt2 form: torch.export follows no loop or branch that depends on the data. "
            "Use --format onnx,torchscript."
        ) from error
    torch.export.save(program, saved)
    return saved.getvalue()


def normalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that says what is computed and nothing about who made it, from which lines, with which version."""
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.producer_name = "genmetrics-rt"
    for name in ("producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        clean.ClearField(name)
    clean.ir_version = min(clean.ir_version, MAX_IR_VERSION)
    _strip(clean.graph)
    for function in clean.functions:
        _strip(function)
    used = {"", *(function.domain for function in clean.functions)}
    imports = sorted((entry for entry in clean.opset_import if entry.domain in used), key=lambda entry: entry.domain)
    del clean.opset_import[:]
    clean.opset_import.extend(imports)
    return clean


def exported(blueprint: Blueprint) -> onnx.ModelProto:
    """What torch.onnx.export makes of the module."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            blueprint.module,
            _arguments(blueprint),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            dynamic_shapes=_dynamic_shapes(blueprint),
            input_names=[spec.name for spec in blueprint.inputs],
            output_names=[spec.name for spec in blueprint.outputs],
            verbose=False,
        )
    return program.model_proto


def _arguments(blueprint: Blueprint) -> tuple[torch.Tensor, ...]:
    return tuple(blueprint.example[spec.name] for spec in blueprint.inputs)


def _dynamic_shapes(blueprint: Blueprint) -> tuple[dict[int, Any], ...]:
    """For each input, free axis → symbol; one symbol per letter."""
    letters = {axis for spec in blueprint.inputs for axis in spec.shape if isinstance(axis, str)}
    symbols = {letter: torch.export.Dim(letter, min=blueprint.least_sizes.get(letter)) for letter in sorted(letters)}
    return tuple(
        {index: symbols[axis] for index, axis in enumerate(spec.shape) if isinstance(axis, str)}
        for spec in blueprint.inputs
    )


def _strip(holder: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Remove doc strings, metadata and inferred shapes, in subgraphs too."""
    for name in ("doc_string", "metadata_props", "value_info"):
        holder.ClearField(name)
    for node in holder.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _strip(graph)
    if isinstance(holder, onnx.GraphProto):
        holder.ClearField("quantization_annotation")
        for value in [*holder.input, *holder.output, *holder.initializer]:
            value.ClearField("doc_string")
            value.ClearField("metadata_props")


def without_debug_records(saved: io.BytesIO) -> bytes:
    """The archive without source lines, and without the hash over all records, which would tell them apart."""
    cleaned = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(cleaned, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                target.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), source.read(name))
    return cleaned.getvalue()


def manifest_of(blueprint: Blueprint, files: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "name": blueprint.name,
        "version": blueprint.version,
        "kind": blueprint.kind,
        "title": blueprint.title,
        "label": blueprint.label,
        "licence": blueprint.licence,
        "files": files,
        "inputs": [_plain(spec) for spec in blueprint.inputs],
        "outputs": [_plain(spec) for spec in blueprint.outputs],
    }
    for role in ("taps", "protocols", "latent"):
        if getattr(blueprint, role):
            record[role] = getattr(blueprint, role)
    record["weights"] = None
    record |= blueprint.extra
    record["frozen"] = {"command": blueprint.command, "tools": tools(), "commit": _commit()} | record.get("frozen", {})
    if blueprint.selftest_range:
        record["selftest"] = _selftest(blueprint, Manifest(record))
    # The rows follow from `verify`, which runs the self-test and so needs the tolerance.
    record["agreement"] = {"tolerance": asdict(blueprint.tolerance), "rows": []}
    return json.loads(json.dumps(record))  # plain lists and dicts, whatever the blueprint was written with


def _plain(spec: Any) -> dict[str, Any]:
    return {**asdict(spec), "shape": list(spec.shape)}


def _selftest(blueprint: Blueprint, manifest: Manifest) -> dict[str, Any]:
    """What `genmetrics_rt.selftest` compares a user's machine with: a drawn input and the answer of the module."""
    letters = sorted({axis for spec in blueprint.inputs for axis in spec.shape if isinstance(axis, str)})
    plan: dict[str, Any] = {
        "seed": SELFTEST_SEED,
        "sizes": {letter: blueprint.selftest_sizes.get(letter, 2) for letter in letters},
        "range": {name: list(bounds) for name, bounds in blueprint.selftest_range.items()},
    }
    outputs = blueprint.eager(selftest_inputs(manifest, plan))
    plan["expected"] = {
        # float32 has nine significant digits, float64 seventeen
        name: [float(f"{value:.9g}") if output.dtype == np.float32 else value for value in thinned(output).tolist()]
        for name, output in outputs.items()
    }
    return plan


def tools() -> dict[str, str]:
    """The versions of everything that has a say in the bytes."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return versions | {name: metadata.version(name) for name in ("onnx", "onnxscript")}


def _commit() -> str:
    """The commit of the code, with "-dirty" where code differs from it. What a freeze writes itself does not count."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    return (git("rev-parse", "HEAD") or "unknown") + ("-dirty" if changed else "")
