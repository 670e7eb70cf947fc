"""A bundle: a folder with a manifest and frozen graphs, trusted only after every hash has been checked.

Schema ``genmetrics.bundle/1``. Read order: manifest (size bounded) → names → sizes → hashes → bytes.
The bytes whose hash was checked are the bytes that are used: nothing is opened twice.

Where the weights are their publisher's, the bundle that ships is weight-free: its manifest says where they are had and
how they fill the graph (`genmetrics_rt.assembly`). What is assembled from them lies in the cache and is found here.

What is refused: an unknown schema or kind; file names that are not plain names inside the folder (no separator,
no ``..``, no link); a size or hash that differs; graphs whose external data points outside ``weights.bin``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmetrics_rt.cache import cache_home
from genmetrics_rt.errors import DamagedBundle, InputError, MissingBundle

SCHEMA = "genmetrics.bundle/1"
KINDS = ("extractor", "kernel", "distance", "generator")
FORMS = ("onnx", "torchscript", "pt2", "weights", "data")
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 8 << 30
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SHIPPED = Path(__file__).parent / "bundles"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph. ``shape`` mixes letters (free axes) and numbers."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    meaning: str = ""
    units: str = ""


@dataclass(frozen=True)
class Protocol:
    """A named, complete recipe from decoded uint8 RGB pixels to the tensor that the graph takes.

    The tensor is ``pixels * scale + offset``, resized to ``size`` by ``resize`` with ``rounding``, in ``layout``.
    """

    name: str
    size: tuple[int, int]
    resize: str
    rounding: str
    alpha: str
    layout: str
    dtype: str
    scale: float
    offset: float
    metrics: Mapping[str, Any]  # settings of metrics that this protocol fixes: {"kid": {"subset_size": 1000}}
    default: bool = False
    orientation: str = "applied"  # of EXIF: "applied" or "ignored"
    title: str = ""  # whose numbers it reproduces
    spatial: bool = False  # whether the network's spatial tap is collected too, for sFID

    def numeric_part(self) -> dict[str, Any]:
        """What of the recipe changes features, and nothing else."""
        part = {
            key: getattr(self, key)
            for key in ("size", "resize", "rounding", "alpha", "layout", "dtype", "scale", "offset")
        }
        # Said only where it is not the rule, so that what was made before there was a choice keeps its numeric id.
        return part if self.orientation == "applied" else {**part, "orientation": self.orientation}


@dataclass(frozen=True)
class Manifest:
    """The checked content of ``manifest.json``."""

    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def version(self) -> str:
        return str(self.record["version"])

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def title(self) -> str:
        return str(self.record.get("title") or self.name)

    @property
    def label(self) -> str:
        return str(self.record.get("label") or "")

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return tuple(_tensor_spec(entry) for entry in self.record["inputs"])

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(_tensor_spec(entry) for entry in self.record["outputs"])

    @property
    def taps(self) -> Mapping[str, str]:
        """Role → output name: ``{"features": "features", "logits": "logits"}``."""
        return dict(self.record.get("taps") or {})

    @property
    def weights(self) -> Mapping[str, Any]:
        """Where the weights are had that the bundle does not carry: ``sources``, each with URLs, sha256 and layout."""
        return dict(self.record.get("weights") or {})

    @property
    def published(self) -> bool:
        """Whether scores on these features go by their published names, as ``fid`` and ``is`` do."""
        return self.record.get("published_scores") is True

    @property
    def latent(self) -> Mapping[str, Any]:
        return dict(self.record.get("latent") or {})

    @property
    def protocols(self) -> Mapping[str, Protocol]:
        return {name: _protocol(name, entry) for name, entry in (self.record.get("protocols") or {}).items()}

    def protocol(self, name: str | None = None) -> Protocol:
        """The protocol of that name, or the default one."""
        protocols = self.protocols
        if name is None:
            return next((entry for entry in protocols.values() if entry.default), next(iter(protocols.values())))
        if name not in protocols:
            raise InputError(
                f"Extractor {self.name!r} has no protocol {name!r}. It supports: {', '.join(sorted(protocols))}."
            )
        return protocols[name]

    def digest(self) -> str:
        """Proves integrity: sha256 of the canonical JSON of the whole manifest."""
        return _digest(self.record)

    def numeric_id(self, protocol: Protocol | None = None, tap: str = "features") -> str:
        """Identifies what the numbers mean: graph, weights, tap and the numeric part of the protocol, nothing else.

        A re-freeze with other tools that yields the same graph keeps it, so old reports stay comparable.
        """
        return _digest(
            {"schema": "genmetrics.numeric/1", "kind": self.kind, **self.numeric_lines(protocol, tap)},
        )

    def numeric_lines(self, protocol: Protocol | None = None, tap: str = "features") -> dict[str, Any]:
        """What the numeric id is made of, line by line."""
        files = self.record["files"]
        weights = [files[name]["sha256"] for name in sorted(files) if files[name]["form"] == "weights"]
        lines = {
            "graph": [files[name]["sha256"] for name in sorted(files) if files[name]["form"] == "onnx"],
            "weights": weights or None,
            # How weights came into their file does not matter once they are there, whatever they were read from.
            "recipe": None if weights else self.record.get("recipe"),
            "protocol": protocol.numeric_part() if protocol else None,
        }
        output = self.taps.get(tap)
        return lines if output == self.taps.get("features") else {**lines, "tap": output}


@dataclass(frozen=True)
class Bundle:
    """A folder whose manifest was checked. Files are hash-checked when they are read."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def kind(self) -> str:
        return self.manifest.kind

    @property
    def is_weight_free(self) -> bool:
        """Whether its weights have to be fetched before the graph can run."""
        return bool(self.manifest.weights) and self.file_of_form("weights") is None

    def require_weights(self) -> None:
        """Raise `MissingBundle` for a weight-free bundle, with the two ways to the weights."""
        if not self.is_weight_free:
            return
        source = self.manifest.weights["sources"][0]
        raise MissingBundle(
            f"The weights of {self.name!r} are not on this machine: they belong to their publisher and are fetched "
            f"once ({source['bytes'] / 1e6:,.0f} MB, checked by sha256). Run: genmetrics bundles fetch {self.name}  or "
            f"with the file of {source['urls'][0]}: genmetrics bundles fetch {self.name} --weights FILE"
        )

    def file_of_form(self, form: str) -> str | None:
        """The name of the file that holds this form of the graph (``onnx``, ``torchscript``), if there is one."""
        files = self.manifest.record["files"]
        return next((name for name in sorted(files) if files[name]["form"] == form), None)

    def read(self, name: str) -> bytes:
        """The bytes of one file, after its size and sha256 were compared with the manifest.

        Raises
        ------
        DamagedBundle
            Missing, of another size, or of another hash.
        """
        entry = self.manifest.record["files"].get(name)
        if entry is None:
            raise DamagedBundle(f"Bundle {self.name!r} lists no file {name!r}.")
        path = self.path / name
        if path.is_symlink():
            raise DamagedBundle(f"{path} is a link. The files of a bundle must lie inside its folder.")
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DamagedBundle(f"Bundle {self.name!r} lacks its file {name} ({error.strerror}). {_RESTORE}") from error
        if size != entry["bytes"]:  # before reading: a huge file must not be taken into memory
            raise DamagedBundle(
                f"{name} of bundle {self.name!r} has {size:,} bytes; its manifest says {entry['bytes']:,}. {_RESTORE}"
            )
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != entry["sha256"]:
            raise DamagedBundle(
                f"{name} of bundle {self.name!r} is not the file that was frozen: sha256 is {found[:12]}…, "
                f"the manifest says {entry['sha256'][:12]}…. It was damaged or changed, so it is not run. {_RESTORE}"
            )
        return content

    def verify(self) -> None:
        """Check every file of the manifest."""
        for name in self.manifest.record["files"]:
            self.read(name)


_RESTORE = "Install genmetrics-rt again, or restore the folder from where you got it."


def load_bundle(name_or_path: str | os.PathLike[str]) -> Bundle:
    """Open a shipped bundle by name, or any bundle by the path of its folder.

    A shipped bundle without weights is answered by what was assembled from it, once that is in the cache.
    Opens no socket. Files are hash-checked when they are read.

    Raises
    ------
    MissingBundle
        Neither a shipped name nor a folder with a manifest.
    DamagedBundle
        The manifest is unreadable, of an unknown schema or kind, or names files it must not.
    """
    folder = Path(name_or_path)
    if isinstance(name_or_path, str) and _PLAIN_NAME.fullmatch(name_or_path):
        folder = list_bundles().get(name_or_path, folder)
    if not (folder / "manifest.json").is_file():
        near = difflib.get_close_matches(str(name_or_path), list_bundles(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MissingBundle(
            f"No bundle {str(name_or_path)!r}: neither a shipped name nor a folder with a manifest.json.{hint} "
            f"Extractors: {', '.join(list_bundles('extractor'))}. `genmetrics bundles list` shows every bundle."
        )
    return assembled_from(Bundle(path=folder, manifest=read_manifest(folder / "manifest.json")))


def list_bundles(kind: str | None = None) -> dict[str, Path]:
    """Every bundle that has a name here: the shipped ones, then those assembled under a name of the user's."""
    shipped = {manifest.parent.name: manifest.parent for manifest in sorted(SHIPPED.glob("*/manifest.json"))}
    named = {
        manifest.parent.name: manifest.parent
        for manifest in sorted((assembled_home() / "named").glob("*/manifest.json"))
        if manifest.parent.name not in shipped
    }
    return {
        name: folder
        for name, folder in {**shipped, **named}.items()
        if kind is None or read_manifest(folder / "manifest.json").kind == kind
    }


def assembled_home() -> Path:
    """Where assembled bundles lie: ``DIGEST/`` for a shipped one with its published weights, ``named/NAME/`` else."""
    return cache_home() / "bundles"


def assembled_folder(bundle: Bundle) -> Path:
    """Where a weight-free bundle lies with its published weights, once assembled. Another graph, another folder."""
    return assembled_home() / f"{bundle.name}-{bundle.manifest.digest()[:16]}"


def assembled_from(bundle: Bundle) -> Bundle:
    """The assembled form of a weight-free bundle if it is in the cache; every other bundle as it is."""
    if not bundle.is_weight_free or not (assembled_folder(bundle) / "manifest.json").is_file():
        return bundle
    folder = assembled_folder(bundle)
    return Bundle(path=folder, manifest=read_manifest(folder / "manifest.json"))


def read_manifest(path: Path) -> Manifest:
    """Read and check ``manifest.json``. Raises `DamagedBundle` with the first thing that is wrong."""
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise DamagedBundle(f"{path}: a manifest of more than {MAX_MANIFEST_BYTES:,} bytes is refused.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DamagedBundle(f"{path} is not JSON: {error}.") from error
    for complaint in _complaints(record):
        raise DamagedBundle(f"{path}: {complaint}.")
    return Manifest(record=record)


def _complaints(record: Any) -> Iterator[str]:
    """Everything wrong with a manifest, most fundamental first."""
    if not isinstance(record, dict):
        yield "not a JSON object"
        return
    if record.get("schema") != SCHEMA:
        yield f"schema {record.get('schema')!r} is not {SCHEMA!r}: it was made for another version of this package"
    if record.get("kind") not in KINDS:
        yield f"kind {record.get('kind')!r} is none of {', '.join(KINDS)}"
    if not _is_plain_name(record.get("name")):
        yield f"name {record.get('name')!r} is not a plain name"
    if not isinstance(record.get("version"), str):
        yield "version is missing"
    files = record.get("files")
    if not isinstance(files, dict) or not files:
        yield "files is missing"
        return
    for name, entry in files.items():
        if not _is_plain_name(name) or name == "manifest.json":
            yield f"file name {name!r} is not a plain name inside the folder"
        elif not isinstance(entry, dict) or entry.get("form") not in FORMS:
            yield f"file {name}: form is none of {', '.join(FORMS)}"
        elif not (isinstance(entry.get("sha256"), str) and re.fullmatch("[0-9a-f]{64}", entry["sha256"])):
            yield f"file {name}: sha256 is not 64 hex digits"
        elif not (type(entry.get("bytes")) is int and 0 <= entry["bytes"] <= MAX_FILE_BYTES):
            yield f"file {name}: bytes is not a size up to {MAX_FILE_BYTES:,}"
    for side in ("inputs", "outputs"):
        yield from _tensor_complaints(side, record.get(side))
    yield from _role_complaints(record)


def _tensor_complaints(side: str, entries: Any) -> Iterator[str]:
    if not isinstance(entries, list) or not entries:
        yield f"{side} is missing"
        return
    for entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("name", "dtype")):
            yield f"{side}: an entry lacks name or dtype"
        elif not isinstance(entry.get("shape"), list) or not all(
            isinstance(axis, str) or (type(axis) is int and 0 <= axis <= 1 << 20) for axis in entry["shape"]
        ):
            yield f"{side}: the shape of {entry['name']} is not a list of letters and sizes"


def _role_complaints(record: Mapping[str, Any]) -> Iterator[str]:
    outputs = {entry.get("name") for entry in record.get("outputs") or [] if isinstance(entry, dict)}
    if record.get("kind") == "extractor":
        taps = record.get("taps")
        if not isinstance(taps, dict) or "features" not in taps or not set(taps.values()) <= outputs:
            yield "taps must name the output that holds the features"
        protocols = record.get("protocols")
        if not isinstance(protocols, dict) or not protocols:
            yield "protocols is missing"
            return
        for name, entry in protocols.items():
            try:
                _protocol(name, entry)
            except (KeyError, TypeError, ValueError) as error:
                yield f"protocol {name!r}: {error!r}"
    weights = record.get("weights")
    if weights is not None:
        yield from _weights_complaints(weights)
    if record.get("kind") == "generator":
        latent = record.get("latent")
        if not isinstance(latent, dict) or type(latent.get("dim")) is not int or not 0 < latent["dim"] <= 1 << 20:
            yield "latent.dim is missing"


def _weights_complaints(weights: Any) -> Iterator[str]:
    sources = weights.get("sources") if isinstance(weights, dict) else None
    if not isinstance(sources, list) or not sources:
        yield "weights.sources is missing"
        return
    for source in sources:
        if not isinstance(source, dict) or not all(isinstance(source.get(key), str) for key in ("name", "layout")):
            yield "weights: a source lacks name or layout"
        elif not (isinstance(source.get("urls"), list) and source["urls"]):
            yield f"weights: source {source['name']} has no urls"
        elif source.get("sha256") is not None and not re.fullmatch("[0-9a-f]{64}", str(source["sha256"])):
            yield f"weights: the sha256 of source {source['name']} is not 64 hex digits"
        elif not (type(source.get("bytes")) is int and 0 < source["bytes"] <= MAX_FILE_BYTES):
            yield f"weights: the size of source {source['name']} is missing"


def _is_plain_name(name: Any) -> bool:
    return isinstance(name, str) and ".." not in name and _PLAIN_NAME.fullmatch(name) is not None


def _tensor_spec(entry: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(
        name=entry["name"],
        dtype=entry["dtype"],
        shape=tuple(entry["shape"]),
        meaning=str(entry.get("meaning", "")),
        units=str(entry.get("units", "")),
    )


def _protocol(name: str, entry: Mapping[str, Any]) -> Protocol:
    height, width = (int(side) for side in entry["size"])
    if not (0 < height <= 4096 and 0 < width <= 4096):
        raise ValueError(f"size {height} × {width}")
    return Protocol(
        name=name,
        size=(height, width),
        resize=str(entry["resize"]),
        rounding=str(entry["rounding"]),
        alpha=str(entry["alpha"]),
        layout=str(entry["layout"]),
        dtype=str(entry["dtype"]),
        scale=float(entry["scale"]),
        offset=float(entry["offset"]),
        metrics=dict(entry.get("metrics") or {}),
        default=bool(entry.get("default", False)),
        orientation=str(entry.get("orientation", "applied")),
        title=str(entry.get("title", "")),
        spatial=bool(entry.get("spatial", False)),
    )


def _digest(record: Any) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
