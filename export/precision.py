"""What a reduced precision does to an extractor and its scores: measured, and kept in the bundle's agreement table.

    python -m export precision inception-fid --device cuda
    python -m export precision inception-fid --weights checkpoint.pth --generated out/ --reference real/

Two sides are evaluated in every precision that the device has; what counts is the change against fp32 there. The rows
stay when the bundle is frozen again, as long as its graphs are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import genmetrics_rt as gm
from export.blueprint import Blueprint
from export.registry import WEIGHTLESS
from export.verify import write_manifest
from export.weightless import environment
from genmetrics_rt.assembly import assemble
from genmetrics_rt.bundle import Bundle, list_bundles, load_bundle
from genmetrics_rt.errors import DeviceUnavailable, InputError, UnreadableInput
from genmetrics_rt.explaining.glosses import effect_of_precision
from genmetrics_rt.frozen import PRECISIONS
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime
from genmetrics_rt.manifest import read_manifest

DIGITS, IMAGES = ("digits-gan", "digits"), 256  # the sides where none are named: samples and images that all have


def main(argv: Sequence[str]) -> int:
    """Measure, write the rows into the manifest, and print them."""
    parser = argparse.ArgumentParser(prog="python -m export precision", description=str(__doc__).splitlines()[0])
    parser.add_argument("bundle", metavar="NAME|FOLDER", help="an extractor of images")
    parser.add_argument("--device", default="cpu", help="cpu (fp16 alone), cuda or cuda:1 (tf32 too)")
    parser.add_argument("--weights", type=Path, nargs="*", help="the published checkpoints; default: weights of nobody")
    parser.add_argument("--whose", default="", help="whose weights they are, in words for the table")
    parser.add_argument("--generated", help=f"a side; default: {IMAGES} samples of {DIGITS[0]}")
    parser.add_argument("--reference", help=f"a side; default: {IMAGES} of {DIGITS[1]}")
    arguments = parser.parse_args(argv)
    if bool(arguments.generated) != bool(arguments.reference):
        parser.error("--generated and --reference go together")
    folder = list_bundles().get(arguments.bundle, Path(arguments.bundle))
    sides = (arguments.generated, arguments.reference) if arguments.generated else DIGITS
    count = None if arguments.generated else IMAGES

    def measure(bundle: Bundle, weights: str) -> list[dict[str, Any]]:
        return effects(bundle, *sides, device=arguments.device, weights=arguments.whose or weights, num_images=count)

    with tempfile.TemporaryDirectory() as home, environment("GENMETRICS_HOME", home):
        rows = _with_weights(folder, arguments.weights, measure)
    if not rows:
        raise InputError(
            f"{folder.name} has no reduced precision on {arguments.device}: fp16 takes a graph frozen as onnx-fp16, "
            "tf32 a CUDA device."
        )
    keep(folder, rows)
    for row in rows:
        print(effect_of_precision(row))
    return 0


def effects(
    bundle: Bundle, generated: Any, reference: Any, *, device: str, weights: str, num_images: int | None = None
) -> list[dict[str, Any]]:
    """A row for each reduced precision that works on the device: errors of features, and changes of the scores.

    ``weights`` says whose they are; of each side ``num_images`` are taken, or all.
    """
    rows: list[dict[str, Any]] = []
    features: list[np.ndarray] = []
    scores: dict[str, float] = {}
    for precision in PRECISIONS:  # fp32 is the first
        try:
            sides = [
                gm.make_reference(
                    side, extractor=bundle, device=device, precision=precision, num_images=num_images, cache=False
                )
                for side in (generated, reference)
            ]
        except (DeviceUnavailable, InputError):
            if precision == "fp32":
                raise
            continue
        found = [side.features.values for side in sides]
        report = gm.evaluate(*sides, intervals=False)
        values = {key: float(score.value) for key, score in report.scores.items() if score.value is not None}
        if precision == "fp32":
            features, scores = found, values
            continue
        pairs = list(zip(features, found, strict=True))
        rows.append(
            {
                "precision": precision,
                "device": _name_of(device),
                "onnxruntime": import_onnxruntime().__version__,
                "weights": weights,
                "sides": [str(generated), str(reference)],
                "images": [len(side) for side in features],
                "feature_error": _rounded(max(float(np.abs(a - b).max()) for a, b in pairs)),
                "scores": {
                    key: {"fp32": _rounded(value, 6), "relative_change": _rounded((values[key] - value) / value)}
                    for key, value in scores.items()
                    if value
                },
            }
        )
    return rows


def keep(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Into the manifest, in the place of earlier rows of the same precision and device."""
    record = read_manifest(folder / "manifest.json").record
    new = {(row["precision"], row["device"]) for row in rows}
    table = record.get("agreement") or {}
    kept = [row for row in table.get("precisions", ()) if (row["precision"], row["device"]) not in new]
    write_manifest(folder, {**record, "agreement": {**table, "precisions": [*kept, *rows]}})


def _with_weights(folder: Path, weights: Sequence[Path] | None, measure: Callable[[Bundle, str], Any]) -> Any:
    """What ``measure`` finds in the bundle, filled first where it came without weights."""
    bundle = Bundle(folder, read_manifest(folder / "manifest.json"))
    if not bundle.is_weight_free:
        return measure(load_bundle(folder), "its own")
    if weights:
        try:
            return measure(assemble(bundle, weights), "the published ones")
        except UnreadableInput:  # of no known hash
            digest = hashlib.sha256(weights[0].read_bytes()).hexdigest()
            return measure(assemble(bundle, weights, unverified=True, name="filled"), f"of sha256 {digest[:12]}")
    if bundle.name not in WEIGHTLESS:
        raise InputError(f"{bundle.name} came without weights. Give them with --weights.")

    def step(_: Blueprint, folder: Path, checkpoints: Path | Sequence[Path]) -> Any:
        return measure(assemble(bundle, checkpoints, unverified=True, name="filled"), "of nobody")

    return importlib.import_module(WEIGHTLESS[bundle.name]).with_weights_of_nobody(bundle.name, step, folder)


def _name_of(device: str) -> str:
    return "CPU" if device == "cpu" else torch.cuda.get_device_name(device if ":" in device else "cuda:0")


def _rounded(value: float, digits: int = 2) -> float:
    return float(f"{value:.{digits}g}")
