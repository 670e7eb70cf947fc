"""``manifest.json``: what a bundle holds, what its graph takes and gives, and how pictures become its input.

Schema ``genmetrics.bundle/1``. What is refused: an unknown schema or kind; file names that are not plain names inside
the folder (no separator, no ``..``, no link); a size that no file here can have.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from genmetrics_rt.errors import DamagedBundle, InputError

SCHEMA = "genmetrics.bundle/1"
KINDS = ("extractor", "kernel", "distance", "generator", "density")
FORMS = ("onnx", "onnx-fp16", "torchscript", "pt2", "weights", "data")
MODALITIES = ("image", "text")
FULL_PRECISION = "fp32"
DEFAULT_PART = "weights"  # of a recipe whose tensors all come from one file
CROPS = ("none", "shorter-side", "centre-square")
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 8 << 30
Factor: TypeAlias = float | tuple[float, float, float]  # one for all channels, or red, green, blue

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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

    The tensor is ``pixels * scale + offset``, cropped by ``crop``, resized to ``size`` by ``resize`` with ``rounding``,
    in ``layout``.
    """

    name: str
    size: tuple[int, int]
    resize: str
    rounding: str
    alpha: str
    layout: str
    dtype: str
    scale: Factor
    offset: Factor
    metrics: Mapping[str, Any]  # settings of metrics that this protocol fixes: {"kid": {"subset_size": 1000}}
    default: bool = False
    orientation: str = "applied"  # of EXIF: "applied" or "ignored"
    title: str = ""  # whose numbers it reproduces
    spatial: bool = False  # whether the network's spatial tap is collected too, for sFID
    crop: str = "none"  # what of an image that is no square is seen: see `genmetrics_rt.resize`
    published: str = ""  # the name under which scores by it are published, such as "cmmd"; empty for no name of its own

    def numeric_part(self) -> dict[str, Any]:
        """What of the recipe changes features, and nothing else."""
        part = {
            key: getattr(self, key)
            for key in ("size", "resize", "rounding", "alpha", "layout", "dtype", "scale", "offset")
        }
        # Said only where it is not the rule, so that what was made before there was a choice keeps its numeric id.
        rules = {"orientation": "applied", "crop": "none"}
        return part | {key: getattr(self, key) for key, rule in rules.items() if getattr(self, key) != rule}


@dataclass(frozen=True)
class TextProtocol(Protocol):
    """The recipe from a text to the tokens that the graph takes. What is said of pixels has no meaning here."""

    size: tuple[int, int] = (0, 0)
    resize: str = "none"
    rounding: str = "none"
    alpha: str = "none"
    layout: str = "NT"
    dtype: str = "int64"
    scale: Factor = 1.0
    offset: Factor = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    tokeniser: Mapping[str, Any] = field(default_factory=dict)  # its record, with the vocabulary by its sha256

    def numeric_part(self) -> dict[str, Any]:
        """What of the recipe changes features, and nothing else."""
        return {"tokeniser": dict(self.tokeniser)}


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
    def weight_parts(self) -> Mapping[str, list[Mapping[str, Any]]]:
        """Part → the sources it can be had from, the first of them preferred. One file of each part is needed."""
        parts: dict[str, list[Mapping[str, Any]]] = {}
        for source in self.weights.get("sources", ()):
            parts.setdefault(str(source.get("part", DEFAULT_PART)), []).append(source)
        return parts

    @property
    def modality(self) -> str:
        """What an extractor looks at: ``"image"`` or ``"text"``."""
        return str(self.record.get("modality", "image"))

    @property
    def published(self) -> bool:
        """Whether scores on these features go by their published names, as ``fid`` and ``is`` do."""
        return self.record.get("published_scores") is True

    def published_by(self, protocol: Protocol) -> bool | str:
        """The same of one protocol: True as above, or the name that its scores are published under; False on weights
        that nobody has published.
        """
        if self.record.get("published_scores") is False:
            return False
        return protocol.published or self.published

    @property
    def latent(self) -> Mapping[str, Any]:
        return dict(self.record.get("latent") or {})

    @property
    def protocols(self) -> Mapping[str, Protocol]:
        protocol = _protocol if self.modality == "image" else self._text_protocol
        return {name: protocol(name, entry) for name, entry in (self.record.get("protocols") or {}).items()}

    def _text_protocol(self, name: str, entry: Mapping[str, Any]) -> Protocol:
        tokeniser = dict(self.record["tokeniser"])
        vocabulary = self.record["files"][tokeniser["vocabulary"]]["sha256"]
        return TextProtocol(
            name=name,
            metrics=dict(entry.get("metrics") or {}),
            default=bool(entry.get("default", False)),
            title=str(entry.get("title", "")),
            tokeniser={**tokeniser, "vocabulary": vocabulary},
        )

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

    def numeric_id(
        self, protocol: Protocol | None = None, tap: str = "features", precision: str = FULL_PRECISION
    ) -> str:
        """Identifies what the numbers mean: graph, weights, tap, the numeric part of the protocol, and a precision
        other than float32; nothing else.

        A re-freeze with other tools that yields the same graph keeps it, so old reports stay comparable.
        """
        record = {"schema": "genmetrics.numeric/1", "kind": self.kind, **self.numeric_lines(protocol, tap)}
        return _digest(record if precision == FULL_PRECISION else {**record, "precision": precision})

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
    if not is_plain_name(record.get("name")):
        yield f"name {record.get('name')!r} is not a plain name"
    if not isinstance(record.get("version"), str):
        yield "version is missing"
    files = record.get("files")
    if not isinstance(files, dict) or not files:
        yield "files is missing"
        return
    for name, entry in files.items():
        if not is_plain_name(name) or name == "manifest.json":
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
        if record.get("modality", "image") not in MODALITIES:
            yield f"modality {record['modality']!r} is none of {', '.join(MODALITIES)}"
        elif record.get("modality") == "text":
            yield from _tokeniser_complaints(record)
            protocols = {}
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


def _tokeniser_complaints(record: Mapping[str, Any]) -> Iterator[str]:
    tokeniser = record.get("tokeniser")
    vocabulary = tokeniser.get("vocabulary") if isinstance(tokeniser, dict) else None
    if not isinstance(tokeniser, dict) or not isinstance(tokeniser.get("kind"), str):
        yield "tokeniser is missing"
    elif not isinstance(vocabulary, str) or record["files"].get(vocabulary, {}).get("form") != "data":
        yield "tokeniser.vocabulary names no file of form data"
    elif type(tokeniser.get("max_length")) is not int or not 2 < tokeniser["max_length"] <= 1 << 16:
        yield "tokeniser.max_length is missing"
    elif len(record.get("inputs") or ()) != 2:
        yield "a network of texts takes two inputs: the tokens, and which of them count"


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
        elif not (type(source.get("bytes")) is int and 0 < source["bytes"] <= MAX_FILE_BYTES) and (
            source.get("bytes") is not None or source.get("sha256") is None  # the hash decides; a size is good to know
        ):
            yield f"weights: the size of source {source['name']} is missing"
        elif not is_plain_name(source.get("part", DEFAULT_PART)):
            yield f"weights: the part of source {source['name']} is not a plain name"


def is_plain_name(name: Any) -> bool:
    """Letters, digits, ``.``, ``_`` and ``-``, with no ``..``: a name that stays inside its folder."""
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
    crop = str(entry.get("crop", "none"))
    if crop not in CROPS or (crop != "none" and height != width):
        raise ValueError(f"crop {crop!r} to {height} × {width}")
    return Protocol(
        name=name,
        size=(height, width),
        resize=str(entry["resize"]),
        rounding=str(entry["rounding"]),
        alpha=str(entry["alpha"]),
        layout=str(entry["layout"]),
        dtype=str(entry["dtype"]),
        scale=factor(entry["scale"]),
        offset=factor(entry["offset"]),
        metrics=dict(entry.get("metrics") or {}),
        default=bool(entry.get("default", False)),
        orientation=str(entry.get("orientation", "applied")),
        title=str(entry.get("title", "")),
        spatial=bool(entry.get("spatial", False)),
        crop=crop,
        published=str(entry.get("published", "")),
    )


def factor(value: Any) -> Factor:
    """A number for all channels, or a tuple of three. Raises `ValueError` for anything else."""
    if isinstance(value, list | tuple):
        red, green, blue = (float(channel) for channel in value)
        return red, green, blue
    return float(value)


def _digest(record: Any) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
