"""A weight-free bundle and its publisher's checkpoint → a bundle that runs. No torch, no pickle code.

    checkpoints → hash → tensors (`checkpoint`, `tensorflow_graph`) → names of the recipe (`layouts`)
                → batch norm folded in float64 → weights.bin → tried once → renamed into place

The recipe in the manifest says which tensors of the checkpoints fill which initialiser of the graph:

    "recipe": {"file": "weights.bin", "bytes": 95331072, "epsilon": 0.001,
               "units":   {"Conv2d_1a_3x3": {"torch": "Conv2d_1a_3x3", "tensorflow": "conv", …}, …},
               "copies":  {"fc.weight": {"torch": "fc.weight", …}},
               "tensors": {"Conv2d_1a_3x3.weight": {"offset": 0, "shape": [32, 3, 3, 3]}, …}}

A unit is a convolution with its batch norm; it fills ``UNIT.weight`` and ``UNIT.bias``. A copy is taken as it is.
Either may be absent. Where weights come in several files, an entry names its own with ``"part": "lin"``, as the sources
in the manifest do: sources of one part are alternatives, and one of each part is needed. All tensors are float32 (half
precision is widened), little-endian, at 64-byte offsets.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import SHIPPED, Bundle, assembled_folder, assembled_home
from genmetrics_rt.errors import DamagedBundle, GenmetricsError, InputError, MissingInput, UnreadableInput
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.layouts import part_held, published_tensors, recipe_parts
from genmetrics_rt.manifest import DEFAULT_PART, MAX_FILE_BYTES, Manifest, read_manifest

Tensors = Mapping[str, NDArray[Any]]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@dataclass(frozen=True)
class _Checkpoint:
    """A file of weights, and which published one it is, if any."""

    path: Path
    content: bytes
    sha256: str
    source: Mapping[str, Any] | None
    part: str

    def record(self) -> dict[str, Any]:
        return {"checkpoint_sha256": self.sha256, "source": self.source["name"] if self.source else None}


def assemble(
    bundle: Bundle, checkpoints: Path | Sequence[Path], *, unverified: bool = False, name: str | None = None
) -> Bundle:
    """Fill a weight-free bundle from its checkpoints, into the cache. Returns the bundle that runs.

    Parameters
    ----------
    checkpoints
        The file as its publisher gives it, or the files where there are several parts, in any order: the sha256 of each
        must be one of those that the manifest lists.
    unverified, name
        Take files of any other hash, under a name of your own. Reports made with it say so, and its scores do not go
        by the published names.

    Two processes may assemble at once: one of them is first, and both go on with its folder.

    Raises
    ------
    UnreadableInput
        Not a checkpoint, of an unknown hash, or lacking a tensor; the message names it.
    InputError
        A part without a file, or with two; a name that is taken, or a cache folder that cannot be written.
    """
    paths = [checkpoints] if isinstance(checkpoints, Path) else list(checkpoints)
    own_name = _require_own_name(name) if unverified else None
    given = [_identified(bundle, path, unverified=unverified) for path in paths]
    _require_each_part(bundle, given)
    if own_name is not None:
        folder = assembled_home() / "named" / own_name
    else:
        folder = assembled_folder(bundle)
        found = _whole(folder)
        if found is not None:
            return found
    weights = fill(bundle.manifest.record["recipe"], _tensors(bundle, given))
    record = _record(bundle.manifest, weights, given, own_name)
    del given  # as large as the weights, and the trial run below holds those twice more
    return _put_in_place(bundle, folder, weights, record)


def _identified(bundle: Bundle, path: Path, *, unverified: bool) -> _Checkpoint:
    """A file with its part: by its hash, or where that is unknown and may be, by the names of its tensors."""
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    source = next((entry for entry in bundle.manifest.weights["sources"] if entry.get("sha256") == digest), None)
    if source is not None:
        return _Checkpoint(path, content, digest, source, str(source.get("part", DEFAULT_PART)))
    if not unverified:
        raise _not_published(bundle, path, content, digest)
    recipe = bundle.manifest.record["recipe"]
    return _Checkpoint(path, content, digest, None, part_held(content, recipe, what=str(path)))


def _require_each_part(bundle: Bundle, given: Sequence[_Checkpoint]) -> None:
    """One file of each part that the recipe asks for."""
    parts = recipe_parts(bundle.manifest.record["recipe"])
    for part in parts:
        files = [file for file in given if file.part == part]
        if len(files) > 1:
            raise InputError(
                f"{files[0].path} and {files[1].path} both hold the {part!r} weights of {bundle.name!r}. Give one."
            )
        if not files:
            source = bundle.manifest.weight_parts[part][0]
            raise InputError(
                f"{bundle.name!r} is filled from {len(parts)} files, and the {part!r} weights are missing: get "
                f"{source['urls'][0]} and name every file, each with its own --weights FILE."
            )


def _tensors(bundle: Bundle, given: Sequence[_Checkpoint]) -> Tensors:
    recipe = bundle.manifest.record["recipe"]
    tensors: dict[str, NDArray[Any]] = {}
    for file in given:
        tensors |= published_tensors(file.content, recipe, what=str(file.path), part=file.part)
    return tensors


def fill(recipe: Mapping[str, Any], tensors: Tensors) -> bytearray:
    """The bytes of the weights file. ``tensors`` go by the recipe's names: ``UNIT.weight``, ``UNIT.gamma``,
    ``UNIT.beta``, ``UNIT.mean``, ``UNIT.variance``, and those of the copies.

    ``w·γ/√(σ² + ε)`` and ``β − μ·γ/√(σ² + ε)`` in float64, rounded once: the same bytes on every machine.
    """
    weights = bytearray(recipe["bytes"])
    for unit in recipe.get("units") or {}:
        norm = {key: tensors[f"{unit}.{key}"].astype(np.float64) for key in ("gamma", "beta", "mean", "variance")}
        scale = norm["gamma"] / np.sqrt(norm["variance"] + recipe["epsilon"])
        weight = tensors[f"{unit}.weight"].astype(np.float64) * scale[:, None, None, None]
        _place(weights, recipe, f"{unit}.weight", weight)
        _place(weights, recipe, f"{unit}.bias", norm["beta"] - norm["mean"] * scale)
    for copied in recipe.get("copies") or {}:
        _place(weights, recipe, copied, tensors[copied])
    return weights


def _place(weights: bytearray, recipe: Mapping[str, Any], name: str, values: NDArray[Any]) -> None:
    entry = recipe["tensors"][name]
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(values, dtype="<f4")
    if not np.isfinite(rounded).all():
        raise UnreadableInput(f"{name} exceeds float32 once its batch norm is folded in: these are no trained weights.")
    content = rounded.tobytes()
    if len(content) != 4 * math.prod(entry["shape"]):
        raise UnreadableInput(f"{name} has shape {list(values.shape)}; the graph needs {entry['shape']}.")
    weights[entry["offset"] : entry["offset"] + len(content)] = content


def _read(checkpoint: Path) -> bytes:
    try:
        size = checkpoint.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UnreadableInput(f"{checkpoint} has {size:,} bytes; no weights file that is known is as large.")
        return checkpoint.read_bytes()
    except FileNotFoundError as error:
        raise MissingInput(f"{checkpoint} does not exist. Give the path of the weights file.") from error
    except OSError as error:
        raise UnreadableInput(f"{checkpoint} cannot be read: {error.strerror}. Give the path of a file.") from error


def _not_published(bundle: Bundle, checkpoint: Path, content: bytes, digest: str) -> UnreadableInput:
    published = bundle.manifest.weights["sources"]
    first = published[0]
    sizes = " or ".join(f"{size:,}" for size in sorted({entry["bytes"] for entry in published if entry.get("bytes")}))
    size = ""
    if sizes and f"{len(content):,}" not in sizes:
        size = f" It has {len(content):,} bytes where the published file has {sizes}: was it downloaded whole?"
    if first.get("sha256"):
        known = f"its sha256 is {digest}, and the first of the published ones is {first['sha256']}"
    else:
        known = f"its sha256 is {digest}, and nobody has published that of the right one"
    return UnreadableInput(
        f"{checkpoint} is not a published weights file of {bundle.name!r}: {known}.{size} Get it from "
        f"{first['urls'][0]}, or, to use these weights all the same under a name of your own, add "
        "--unverified --name NAME: every report will say so."
    )


def _require_own_name(name: str | None) -> str:
    if not name:
        raise InputError("Unverified weights need a name of their own, which reports will carry: add --name NAME.")
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(f"{name!r} cannot be the name of a bundle: use letters, digits, '.', '_' and '-'.")
    if (SHIPPED / name).exists():
        raise InputError(f"{name!r} is a shipped bundle. Unverified weights need another name.")
    return name


def _whole(folder: Path) -> Bundle | None:
    """The assembled bundle in a folder if every hash holds. A damaged one is removed: it can be made again."""
    if not (folder / "manifest.json").is_file():
        return None
    try:
        found = Bundle(folder, read_manifest(folder / "manifest.json"))
        found.verify()
        return found
    except DamagedBundle:
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _record(
    manifest: Manifest, weights: bytearray, given: Sequence[_Checkpoint], own_name: str | None
) -> dict[str, Any]:
    """The manifest of the assembled bundle: that of the weight-free one, its weights, and where they came from."""
    record = dict(manifest.record)
    weights_file = {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights), "form": "weights"}
    record["files"] = {**record["files"], record["recipe"]["file"]: weights_file}
    if len(given) == 1:
        record["assembled"] = given[0].record()
    else:
        record["assembled"] = {"parts": {file.part: file.record() for file in given}}
    if own_name is not None:
        hashes = ", ".join(f"{file.sha256[:16]}…" for file in given if file.source is None)
        hashes = hashes or f"{given[0].sha256[:16]}…"
        record["name"] = own_name
        record["title"] = f"{own_name}: the network of {manifest.name} with unverified weights"
        record["label"] = f"UNVERIFIED weights (sha256 {hashes}): not the published ones of {manifest.name}"
        record["published_scores"] = False
        record.pop("selftest", None)  # its answers, if any, are those of the published weights
    return record


def _put_in_place(bundle: Bundle, folder: Path, weights: bytearray, record: Mapping[str, Any]) -> Bundle:
    """Write the folder under another name, run its graph once, and rename it: there whole, or not at all."""
    temporary = folder.parent / f".{secrets.token_hex(8)}.part"
    try:
        temporary.mkdir(parents=True)
        for name in bundle.manifest.record["files"]:
            (temporary / name).write_bytes(bundle.read(name))
        (temporary / record["recipe"]["file"]).write_bytes(weights)
        (temporary / "manifest.json").write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        _require_running(Bundle(temporary, read_manifest(temporary / "manifest.json")))
        if record["name"] != bundle.name:  # under a name of the user's: the new file is meant
            shutil.rmtree(folder, ignore_errors=True)
        try:
            temporary.replace(folder)
        except OSError:
            if not (folder / "manifest.json").is_file():
                raise
            # Another process was first, with the same bytes.
    except OSError as error:
        raise InputError(
            f"Cannot assemble {record['name']!r} in {folder.parent}: {error.strerror or error} (it needs "
            f"{len(weights) / 1e6:,.0f} MB). Make room, or set GENMETRICS_HOME to another folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Bundle(folder, read_manifest(folder / "manifest.json"))


def _require_running(bundle: Bundle) -> None:
    """One image of noise through the graph, since weights can be well-formed and still be nobody's.

    Free axes are 1 long, or what the recipe's ``sizes`` says, where a network takes no image as small.
    """
    stream = np.random.RandomState(0)
    sizes = bundle.manifest.record["recipe"].get("sizes") or {}
    inputs = {
        spec.name: stream.uniform(-1, 1, [sizes.get(axis, 1) if isinstance(axis, str) else axis for axis in spec.shape])
        for spec in bundle.manifest.inputs
    }
    outputs = open_graph(bundle, device="cpu").run(inputs)
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise UnreadableInput(
                f"With these weights the network answers NaN or infinity ({name}), so they were not installed. Get the "
                "file that its publisher lists."
            )


def remove(name: str, bundle: Bundle) -> Path:
    """Delete the assembled folder of a bundle. Raises `InputError` for one that was not assembled here."""
    if assembled_home() not in bundle.path.parents:
        raise InputError(
            f"{name!r} was not assembled here, so there is nothing to remove. `genmetrics bundles list` says what was."
        )
    try:
        shutil.rmtree(bundle.path)
    except OSError as error:
        raise GenmetricsError(f"Cannot remove {bundle.path}: {error.strerror or error}.") from error
    return bundle.path
