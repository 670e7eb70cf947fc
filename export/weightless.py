"""The weight-free form: a graph whose parameters lie in a file that the publishers' checkpoints fill on the user's
machine (`genmetrics_rt.assembly`), and a TorchScript twin whose parameters are empty and filled by name.

What a topic gives: a module whose parameters are what the recipe fills (constants that are no weights are buffers, and
stay inside the graph), a recipe that says what each is called where it is published, and checkpoints of nobody with the
same values, in the published layout, on which the forms are proven to agree.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch

from export.blueprint import Blueprint
from export.freeze import FILES, halved, manifest_of, onnx_bytes, traced, without_debug_records
from export.verify import (
    IN_HALF_PRECISION,
    Agreement,
    Disagreement,
    compare,
    torchscript_without_warnings,
    with_agreement,
    write_manifest,
)
from genmetrics_rt.assembly import assemble
from genmetrics_rt.bundle import SHIPPED, Bundle
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.manifest import read_manifest

# What is done with a blueprint, the folder of its bundle, and checkpoints that fill it.
Step = Callable[[Blueprint, Path, Sequence[Path]], Agreement]
WEIGHTS_FILE = "weights.bin"
ALIGNMENT = 64  # bytes


def plain_copies(
    module: torch.nn.Module, published: Callable[[str], str] = str, *, layout: str = "torch", part: str | None = None
) -> dict[str, dict[str, str]]:
    """The ``copies`` of a recipe: every parameter of a module by its own name, and by that in the published file.

    Parameters
    ----------
    published
        Own name → published name; the same by default.
    part
        Which of several files they are in; None where there is one.
    """
    of_part = {} if part is None else {"part": part}
    return {name: {layout: published(name), **of_part} for name, _ in module.named_parameters()}


def freeze_command(
    argv: Sequence[str], topic: str, summary: str, names: Sequence[str], freeze: Callable[[str, Path], Agreement]
) -> int:
    """``python -m export TOPIC [NAME …] [-o FOLDER]``: freeze some or all networks of a topic."""
    parser = argparse.ArgumentParser(prog=f"python -m export {topic}", description=summary)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names)}; default: all")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED, help="folder that takes the bundles")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in names]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    for name in arguments.names or names:
        print(f"{name}\n{freeze(name, arguments.output / name).summary()}")
    return 0


def with_checkpoints(
    step: Step, blueprint: Blueprint, folder: Path, states: Sequence[Mapping[str, torch.Tensor]]
) -> Agreement:
    """Do a step (`freeze_weightless`, `verify_weightless`) with state dicts as files, one for each part."""
    with tempfile.TemporaryDirectory() as temporary:
        files = [Path(temporary) / f"{index}.pth" for index in range(len(states))]
        for file, state in zip(files, states, strict=True):
            torch.save(dict(state), file)
        return step(blueprint, folder, files)


def freeze_weightless(
    blueprint: Blueprint,
    folder: Path,
    checkpoints: Path | Sequence[Path],
    *,
    half: bool = False,
    data: Mapping[str, bytes] | None = None,
) -> Agreement:
    """Write the weight-free bundle, then fill it from checkpoints (any weights) and prove that its forms agree.

    Parameters
    ----------
    blueprint
        Its module is the (folded) network with the weights of ``checkpoints``; its ``extra`` holds ``weights`` (the
        sources) and ``recipe`` without offsets, which are added here.
    checkpoints
        One file for each part of the weights.
    half
        Write the half-precision twin too, which is for networks of convolutions.
    data
        Other files of the bundle by their names, such as a vocabulary.

    Raises
    ------
    Disagreement
        The forms differ by more than the tolerance.
    """
    blueprint.module.eval().requires_grad_(False)
    tensors = offsets({name: list(value.shape) for name, value in blueprint.module.named_parameters()})
    graph = externalised(onnx_bytes(blueprint), tensors)
    contents = {
        FILES["onnx"]: graph,
        **({FILES["onnx-fp16"]: halved(graph)} if half else {}),
        FILES["torchscript"]: emptied(blueprint),
        **(data or {}),
    }
    forms = {name: form for form, name in FILES.items()} | dict.fromkeys(data or {}, "data")
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "form": forms[name]}
    record = manifest_of(blueprint, files)
    size = max(entry["offset"] + 4 * _count(entry["shape"]) for entry in tensors.values())
    record["recipe"] = {"file": WEIGHTS_FILE, "bytes": size, **record["recipe"], "tensors": tensors}
    former = read_manifest(folder / "manifest.json").record if (folder / "manifest.json").exists() else None
    write_manifest(folder, record)

    agreement = verify_weightless(blueprint, folder, checkpoints)
    if not agreement.holds:
        raise Disagreement(f"{blueprint.name}: the frozen forms disagree.\n{agreement.summary()}")
    write_manifest(folder, with_agreement(record, agreement, former))
    return agreement


def verify_weightless(blueprint: Blueprint, folder: Path, checkpoints: Path | Sequence[Path]) -> Agreement:
    """Fill the bundle from checkpoints as a user would, and run its forms by the runtime's own code."""
    weightless = Bundle(folder, read_manifest(folder / "manifest.json"))
    rows = []
    with tempfile.TemporaryDirectory() as home, environment("GENMETRICS_HOME", home):
        bundle = assemble(weightless, checkpoints, unverified=True, name="filled")
        graphs = {
            form: (open_graph(bundle, backend=backend, device="cpu", precision=precision), tolerance)
            for form, backend, precision, tolerance in (
                ("onnx", "onnx", "fp32", blueprint.tolerance),
                ("onnx-fp16", "onnx", "fp16", IN_HALF_PRECISION),
                ("torchscript", "torchscript", "fp32", blueprint.tolerance),
            )
            if bundle.file_of_form(form)
        }
        for probe, inputs in blueprint.probes().items():
            expected = blueprint.eager(inputs)
            for form, (graph, tolerance) in graphs.items():
                found = graph.run(inputs)
                for output in blueprint.outputs:
                    rows.append(compare(probe, output.name, form, found[output.name], expected[output.name], tolerance))
    return Agreement(blueprint.tolerance, tuple(rows))


def offsets(shapes: Mapping[str, list[int]]) -> dict[str, dict[str, Any]]:
    """Name → offset and shape in the weights file, in the order of the network, each at a multiple of 64 bytes."""
    tensors, at = {}, 0
    for name, shape in shapes.items():
        tensors[name] = {"offset": at, "shape": shape}
        at += -(-4 * _count(shape) // ALIGNMENT) * ALIGNMENT
    return tensors


def externalised(content: bytes, tensors: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The ONNX graph with every parameter as external data. Constants of shapes stay inside, where ONNX Runtime needs
    them to infer shapes.
    """
    model = onnx.load_model_from_string(content)
    left = set(tensors)
    for initializer in model.graph.initializer:
        if initializer.name not in tensors:
            continue
        entry = tensors[initializer.name]
        if list(initializer.dims) != entry["shape"]:
            raise ValueError(f"{initializer.name} was exported as {list(initializer.dims)}, not {entry['shape']}.")
        initializer.ClearField("raw_data")
        initializer.data_location = onnx.TensorProto.EXTERNAL
        size = 4 * _count(entry["shape"])
        for key, value in (("location", WEIGHTS_FILE), ("offset", entry["offset"]), ("length", size)):
            initializer.external_data.add(key=key, value=str(value))
        left.remove(initializer.name)
    if left:
        raise ValueError(f"The exporter renamed or dropped {', '.join(sorted(left)[:5])}.")
    return model.SerializeToString(deterministic=True)


def emptied(blueprint: Blueprint) -> bytes:
    """The TorchScript twin with every parameter a single zero at stride 0: names and shapes, but no values."""
    with torchscript_without_warnings(), torch.no_grad():
        module = traced(blueprint)
        values = [(parameter, parameter.data) for parameter in module.parameters()]  # shared with the eager module
        for parameter, value in values:
            parameter.data = torch.zeros(()).expand(value.shape)
        saved = io.BytesIO()
        torch.jit.save(module, saved)
        for parameter, value in values:
            parameter.data = value
    return without_debug_records(saved)


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """An environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _count(shape: list[int]) -> int:
    return int(torch.Size(shape).numel())
