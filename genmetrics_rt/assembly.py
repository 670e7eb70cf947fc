"""A weight-free bundle and its publisher's checkpoint → a bundle that runs. No torch, no pickle code.

    checkpoint → hash → tensors (`checkpoint`, `tensorflow_graph`) → names of the recipe (`layouts`)
               → batch norm folded in float64 → weights.bin → tried once → renamed into place

The recipe in the manifest says which tensors of the checkpoint fill which initialiser of the graph:

    "recipe": {"file": "weights.bin", "bytes": 95331072, "epsilon": 0.001,
               "units":   {"Conv2d_1a_3x3": {"torch": "Conv2d_1a_3x3", "tensorflow": "conv", …}, …},
               "copies":  {"fc.weight": {"torch": "fc.weight", …}},
               "tensors": {"Conv2d_1a_3x3.weight": {"offset": 0, "shape": [32, 3, 3, 3]}, …}}

A unit is a convolution with its batch norm; it fills ``UNIT.weight`` and ``UNIT.bias``. All tensors are float32,
little-endian, at 64-byte offsets.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bundle import SHIPPED, Bundle, assembled_folder, assembled_home
from genmetrics_rt.errors import DamagedBundle, GenmetricsError, InputError, MissingInput, UnreadableInput
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.layouts import published_tensors
from genmetrics_rt.manifest import MAX_FILE_BYTES, Manifest, read_manifest

Tensors = Mapping[str, NDArray[Any]]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def assemble(bundle: Bundle, checkpoint: Path, *, unverified: bool = False, name: str | None = None) -> Bundle:
    """Fill a weight-free bundle from a checkpoint, into the cache. Returns the bundle that runs.

    Parameters
    ----------
    checkpoint
        The file as its publisher gives it: its sha256 must be one of those that the manifest lists.
    unverified, name
        Take a file of any other hash, under a name of your own. Reports made with it say so, and its scores do not go
        by the published names.

    Two processes may assemble at once: one of them is first, and both go on with its folder.

    Raises
    ------
    UnreadableInput
        Not a checkpoint, of an unknown hash, or lacking a tensor; the message names it.
    InputError
        A name that is taken, or a cache folder that cannot be written.
    """
    content = _read(checkpoint)
    digest = hashlib.sha256(content).hexdigest()
    source = next((entry for entry in bundle.manifest.weights["sources"] if entry.get("sha256") == digest), None)
    own_name = None
    if unverified:
        own_name = _require_own_name(name)
        folder = assembled_home() / "named" / own_name
    else:
        _require_published(bundle, source, checkpoint, content, digest)
        folder = assembled_folder(bundle)
        found = _whole(folder)
        if found is not None:
            return found
    recipe = bundle.manifest.record["recipe"]
    weights = fill(recipe, published_tensors(content, recipe, what=str(checkpoint)))
    record = _record(bundle.manifest, weights, digest, source, own_name)
    return _put_in_place(bundle, folder, weights, record)


def fill(recipe: Mapping[str, Any], tensors: Tensors) -> bytes:
    """The bytes of the weights file. ``tensors`` go by the recipe's names: ``UNIT.weight``, ``UNIT.gamma``,
    ``UNIT.beta``, ``UNIT.mean``, ``UNIT.variance``, and those of the copies.

    ``w·γ/√(σ² + ε)`` and ``β − μ·γ/√(σ² + ε)`` in float64, rounded once: the same bytes on every machine.
    """
    weights = bytearray(recipe["bytes"])
    for unit in recipe["units"]:
        part = {key: tensors[f"{unit}.{key}"].astype(np.float64) for key in ("gamma", "beta", "mean", "variance")}
        scale = part["gamma"] / np.sqrt(part["variance"] + recipe["epsilon"])
        weight = tensors[f"{unit}.weight"].astype(np.float64) * scale[:, None, None, None]
        _place(weights, recipe, f"{unit}.weight", weight)
        _place(weights, recipe, f"{unit}.bias", part["beta"] - part["mean"] * scale)
    for copied in recipe["copies"]:
        _place(weights, recipe, copied, tensors[copied])
    return bytes(weights)


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


def _require_published(
    bundle: Bundle, source: Mapping[str, Any] | None, checkpoint: Path, content: bytes, digest: str
) -> None:
    if source is not None:
        return
    published = bundle.manifest.weights["sources"]
    sizes = " or ".join(f"{size:,}" for size in sorted({entry["bytes"] for entry in published}))
    size = f" It has {len(content):,} bytes where the published file has {sizes}: was it downloaded whole?"
    raise UnreadableInput(
        f"{checkpoint} is not a published weights file of {bundle.name!r}: its sha256 is {digest}, and the first "
        f"of the published ones is {published[0]['sha256']}.{'' if f'{len(content):,}' in sizes else size} Get it from "
        f"{published[0]['urls'][0]}, or, to use these weights all the same under a name of your own, add "
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
    manifest: Manifest, weights: bytes, digest: str, source: Mapping[str, Any] | None, own_name: str | None
) -> dict[str, Any]:
    """The manifest of the assembled bundle: that of the weight-free one, its weights, and where they came from."""
    record = dict(manifest.record)
    weights_file = {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights), "form": "weights"}
    record["files"] = {**record["files"], record["recipe"]["file"]: weights_file}
    record["assembled"] = {"checkpoint_sha256": digest, "source": source["name"] if source else None}
    if own_name is not None:
        record["name"] = own_name
        record["title"] = f"{own_name}: the network of {manifest.name} with unverified weights"
        record["label"] = f"UNVERIFIED weights (sha256 {digest[:16]}…): not the published ones of {manifest.name}"
        record["published_scores"] = False
    return record


def _put_in_place(bundle: Bundle, folder: Path, weights: bytes, record: Mapping[str, Any]) -> Bundle:
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
    """One image of noise through the graph, since weights can be well-formed and still be nobody's."""
    stream = np.random.RandomState(0)
    inputs = {
        spec.name: stream.uniform(-1, 1, [1 if isinstance(axis, str) else axis for axis in spec.shape])
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
