"""Verify a bundle: its module run eagerly, as TorchScript, as ONNX and in NumPy must give the same numbers.

The yardstick is the eager module, rebuilt from the code of today with the fitted state of the bundle's graph.ts. The
other forms are loaded from the bytes of the bundle, after their hashes were checked.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import torch
from numpy.typing import NDArray

from export.blueprint import Arrays, Blueprint, Tolerance
from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime
from genmetrics_rt.selftest import measure

IN_HALF_PRECISION = Tolerance(absolute=0.0, relative=0.02)  # float16 has 11 bits, and errors add up over the layers
MAX_SHARE_OFF_BY_ONE = 0.01  # of the values of an integer output, which rounding may move by one level


class Disagreement(RuntimeError):
    """The forms of a bundle give different numbers."""


@dataclass(frozen=True)
class Row:
    """One output of one form against the eager module on one probe. Infinite where shapes or types differ."""

    inputs: str
    output: str
    pair: str
    max_absolute: float
    max_relative: float  # to the largest magnitude of the eager output
    holds: bool


@dataclass(frozen=True)
class Agreement:
    """The whole table."""

    tolerance: Tolerance
    rows: tuple[Row, ...]

    @property
    def holds(self) -> bool:
        return bool(self.rows) and all(row.holds for row in self.rows)

    def record(self) -> dict[str, Any]:
        """The manifest's entry ``agreement``."""
        rows = [
            {
                "inputs": row.inputs,
                "output": row.output,
                "pair": row.pair,
                "max_absolute": float(f"{row.max_absolute:.1e}"),
                "max_relative": float(f"{row.max_relative:.1e}"),
            }
            for row in self.rows
        ]
        return {"tolerance": asdict(self.tolerance), "rows": rows}

    def summary(self) -> str:
        """The worst row of each pair and output, one a line."""
        worst: dict[tuple[str, str], Row] = {}
        for row in self.rows:
            key = row.pair, row.output
            if key not in worst or (not row.holds, row.max_absolute) > (not worst[key].holds, worst[key].max_absolute):
                worst[key] = row
        return "\n".join(
            f"{'ok  ' if row.holds else 'FAIL'} {row.pair:24} {row.output:16} "
            f"max |difference| {row.max_absolute:.2g}, relative {row.max_relative:.2g} ({row.inputs})"
            for row in worst.values()
        )


def verify(folder: Path, blueprint: Blueprint | None = None) -> Agreement:
    """Measure the agreement of every form on every probe and, where all hold, write the table into the manifest.

    Two floats agree by `Tolerance`; an integer output may differ by one level on 1 % of its values.

    Raises
    ------
    DamagedBundle
        A file is not the one whose hash the manifest names.
    """
    bundle = load_bundle(folder)
    bundle.verify()
    if blueprint is None:
        from export.registry import BLUEPRINTS  # here: the topics themselves import this module

        if bundle.name not in BLUEPRINTS:
            raise ValueError(
                f"export/registry.py knows no code for bundle {bundle.name!r}, so there is nothing to verify it "
                "against. Name its factory: python -m export verify FOLDER --blueprint MODULE.py:FACTORY"
            )
        blueprint = BLUEPRINTS[bundle.name](Path(folder))
    blueprint.module.eval()

    forms = list(_forms(bundle, blueprint))
    rows = []
    for probe, inputs in blueprint.probes().items():
        expected = blueprint.eager(inputs)
        for form, run in forms:
            found = run(inputs)
            for spec in blueprint.outputs:
                values = found[spec.name]
                if form == "numpy" and values.shape == expected[spec.name].shape:
                    values = values.astype(spec.dtype)  # a NumPy twin may work in float64 throughout
                tolerance = IN_HALF_PRECISION if form == "onnx-fp16" else blueprint.tolerance
                rows.append(compare(probe, spec.name, form, values, expected[spec.name], tolerance))
    if bundle.file_of_form("onnx"):
        for found in measure(bundle, open_graph(bundle, device="cpu", threads=1)):
            rows.append(Row("self-test", found.output, "manifest-onnx", found.absolute, found.relative, found.holds))
    agreement = Agreement(blueprint.tolerance, tuple(rows))
    if agreement.holds:
        write_manifest(folder, with_agreement(bundle.manifest.record, agreement, bundle.manifest.record))
    return agreement


def with_agreement(
    record: Mapping[str, Any], agreement: Agreement, former: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The manifest with this table. What reduced precisions do is kept from a former one of the same graphs."""
    table = agreement.record()
    if former and former.get("files") == record["files"] and "precisions" in (former.get("agreement") or {}):
        table["precisions"] = former["agreement"]["precisions"]
    return {**record, "agreement": table}


def write_manifest(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` into the folder of a bundle."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")


def frozen_state(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters and buffers of a bundle's TorchScript form, by name, after its hash was checked."""
    bundle = load_bundle(folder)
    name = bundle.file_of_form("torchscript")
    if name is None:
        raise ValueError(
            f"{folder} holds no TorchScript form, from which the fitted state is taken. Name a bundle that does: "
            f"python -m export verify FOLDER --blueprint {bundle.name}"
        )
    module = _load_torchscript(bundle.read(name))
    return {name: value.clone() for name, value in [*module.named_parameters(), *module.named_buffers()]}


@contextlib.contextmanager
def torchscript_without_warnings() -> Iterator[None]:
    """The one place that silences torch's deprecation of TorchScript.

    torch points to torch.export instead. Hosts written in C++ and Java load nothing else yet, so TorchScript stays one
    of the forms until they can.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is deprecated")
        yield


def _forms(bundle: Bundle, blueprint: Blueprint) -> Iterator[tuple[str, Callable[[Arrays], Arrays]]]:
    """Every form of the bundle but the eager one, with what runs it."""
    names = [spec.name for spec in blueprint.outputs]
    by_form = {form: bundle.file_of_form(form) for form in ("onnx", "onnx-fp16", "torchscript", "pt2")}

    if name := by_form["torchscript"]:
        yield "torchscript", _torch_runner(_load_torchscript(bundle.read(name)), blueprint)
    if name := by_form["pt2"]:
        with warnings.catch_warnings():
            # torch 2.11 warns of its own way to read the parameters.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            program = torch.export.load(io.BytesIO(bundle.read(name)))
        yield "pt2", _torch_runner(program.module(), blueprint)
    if by_form["onnx-fp16"]:
        yield "onnx-fp16", open_graph(bundle, device="cpu", precision="fp16", threads=1).run
    if name := by_form["onnx"]:
        content = bundle.read(name)
        onnxruntime = import_onnxruntime()
        levels = onnxruntime.GraphOptimizationLevel
        for form, level in (("onnx", levels.ORT_ENABLE_ALL), ("onnx unoptimised", levels.ORT_DISABLE_ALL)):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = level
            options.intra_op_num_threads = 1
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            yield form, lambda inputs, s=session: dict(zip(names, s.run(names, inputs), strict=True))
        if blueprint.numpy_reference is None and blueprint.in_numpy:
            evaluator = onnx.reference.ReferenceEvaluator(onnx.load_model_from_string(content))
            yield "numpy", lambda inputs: dict(zip(names, evaluator.run(names, inputs), strict=True))
    if blueprint.numpy_reference is not None:
        yield "numpy", blueprint.numpy_reference


def _torch_runner(module: torch.nn.Module, blueprint: Blueprint) -> Callable[[Arrays], Arrays]:
    def run(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            given = module(*(torch.from_numpy(inputs[spec.name].copy()) for spec in blueprint.inputs))
        tensors = (given,) if isinstance(given, torch.Tensor) else given
        return {spec.name: tensor.numpy() for spec, tensor in zip(blueprint.outputs, tensors, strict=True)}

    return run


def _load_torchscript(content: bytes) -> torch.jit.ScriptModule:
    with torchscript_without_warnings():
        return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()


def compare(
    probe: str, output: str, form: str, found: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance
) -> Row:
    absolute = relative = math.inf
    holds = False
    if found.shape == expected.shape and found.dtype == expected.dtype:
        difference, scale = _difference(found, expected), _magnitude(expected)
        absolute = float(difference.max(initial=0.0))
        relative = absolute / scale if scale else absolute
        if expected.dtype.kind == "f":
            holds = absolute <= tolerance.absolute + tolerance.relative * scale
        else:
            holds = absolute <= 1 and float((difference > 0).mean()) <= MAX_SHARE_OFF_BY_ONE
    return Row(probe, output, f"eager-{form}", absolute, relative, holds)


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """|found − expected|; 0 where both are the same infinity or both NaN, infinite where only one is finite."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    return np.where(np.isnan(difference), np.inf, difference)


def _magnitude(values: NDArray[Any]) -> float:
    finite = np.abs(values.astype(np.float64))
    return float(finite[np.isfinite(finite)].max(initial=0.0))
