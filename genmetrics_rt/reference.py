"""A side whose features were computed before, kept in one file, with everything needed to refuse a wrong use.

File: an ``.npz`` without pickles. ``header`` (JSON as bytes, schema ``genmetrics.reference/1``), ``mean`` (D,),
``covariance`` (D, D) float64 with ddof 1 over ALL images, ``values`` (n, D) kept feature rows, ``index`` (n,) their
positions in the source, ``logits`` (n, C) where the network has classes, ``spatial_mean`` (S,) and
``spatial_covariance`` (S, S) where the protocol collects spatial features; their rows would double the file.

What other tools write has no header (`genmetrics_rt.statistics_files`): it becomes a `Reference` whose extractor is
`UNRECORDED`, and `taken_for` says whose features it is taken to hold.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.cache import write_atomically
from genmetrics_rt.errors import FeatureMismatch, InputError, UnreadableInput
from genmetrics_rt.features import FeatureCollector, Features
from genmetrics_rt.report import ExtractorSummary, SideSummary, SkippedImage
from genmetrics_rt.statistics import FeatureStatistics
from genmetrics_rt.statistics_files import StatisticsFile, read_all

SCHEMA = "genmetrics.reference/1"
UNRECORDED = "unrecorded"  # the numeric id, and perhaps the protocol, of what a file's maker did not write down
LAYOUTS = ("pytorch-fid", "adm")  # that `write_statistics` writes
# What is not negative: averages of the Inception's features, which all come out of a ReLU.
_POOLED = {64, 192, 768, 2048}
_GRID = (17, 17, 7)  # rows, columns and channels of the Inception's spatial features


@dataclass(frozen=True)
class Reference:
    """Features of one side with their origin. Made by `make_reference`, accepted wherever a side is."""

    features: Features
    extractor: ExtractorSummary
    summary: SideSummary
    settings: Mapping[str, Any] = field(default_factory=dict)  # of metrics, fixed by the protocol
    others: tuple[Reference, ...] = ()  # what the same file holds of other networks

    def __repr__(self) -> str:
        return (
            f"Reference(num_images={self.summary.num_images}, extractor={self.extractor.name!r}, "
            f"source={self.summary.source!r})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises `InputError` when the name does not end in ``.npz`` or the place cannot be written.
        """
        require_npz(Path(path))
        statistics, spatial = self.features.statistics(), self.features.spatial
        header: dict[str, Any] = {
            "schema": SCHEMA,
            "extractor": asdict(self.extractor),
            "summary": asdict(self.summary),
        }
        header["settings"] = dict(self.settings)
        arrays: dict[str, Any] = {
            "header": np.frombuffer(json.dumps(header, ensure_ascii=False).encode(), dtype=np.uint8),
            "mean": statistics.mean,
            "covariance": statistics.covariance,
            "values": self.features.values,
            "index": self.features.index,
        }
        if self.features.logits is not None:
            arrays["logits"] = self.features.logits
        if spatial is not None:
            arrays.update(spatial_mean=spatial.mean, spatial_covariance=spatial.covariance)
        _write(Path(path), arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Reference:
        """Read a file that `save` wrote. Raises `UnreadableInput` with what is wrong."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                header = json.loads(bytes(stored["header"]))
                if header.get("schema") != SCHEMA:
                    raise UnreadableInput(f"{path}: schema {header.get('schema')!r} is not {SCHEMA!r}.")
                arrays = {name: stored[name] for name in stored.files if name != "header"}
            summary = header["summary"]
            summary["skipped"] = tuple(SkippedImage(**entry) for entry in summary["skipped"])
            summary["notes"] = tuple(summary.get("notes", ()))
            num_images = summary["num_images"] if summary["num_images"] is None else int(summary["num_images"])
            spatial = None
            if "spatial_mean" in arrays:
                spatial = FeatureStatistics(arrays["spatial_mean"], arrays["spatial_covariance"], num_images)
            reference = cls(
                features=Features(
                    values=arrays["values"],
                    index=arrays["index"],
                    num_images=num_images,
                    logits=arrays.get("logits"),
                    all_statistics=FeatureStatistics(arrays["mean"], arrays["covariance"], num_images),
                    spatial=spatial,
                ),
                extractor=ExtractorSummary(**header["extractor"]),
                summary=SideSummary(**summary),
                settings=dict(header["settings"]),
            )
        except UnreadableInput:
            raise
        except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise UnreadableInput(
                f"{path} is not a readable reference file ({error}). "
                f"Make one with: genmetrics reference IMAGES -o {path}"
            ) from error
        return reference

    def require_same_features(self, extractor: ExtractorSummary) -> None:
        """Raise `FeatureMismatch` unless this file was made with the same extractor and protocol.

        Of a file whose maker recorded neither, see `taken_for`, only what cannot be is refused.
        """
        mine = self.extractor
        if mine.numeric_id == UNRECORDED:
            taken_for(self, extractor)
            return
        if (mine.numeric_id, mine.protocol) != (extractor.numeric_id, extractor.protocol):
            raise FeatureMismatch(
                f"{self.summary.source}: these statistics were made with {mine.name} ({mine.protocol}, "
                f"{mine.numeric_id[:12]}), and the other side uses {extractor.name} ({extractor.protocol}, "
                f"{extractor.numeric_id[:12]}). {_what_differs(mine, extractor)}Numbers from different features mean "
                f"nothing together. Use {_options_of(mine, extractor)}, or make the file again from its images."
            )


def _what_differs(mine: ExtractorSummary, other: ExtractorSummary) -> str:
    """The lines of one network's recipe that differ, as a sentence; nothing of two networks."""
    if mine.name != other.name:
        return ""
    lines = [line for line in mine.recipe if line in other.recipe and mine.recipe[line] != other.recipe[line]]
    told = ", ".join(
        line if line in ("graph", "weights") else f"{line} ({mine.recipe[line]} there, {other.recipe[line]} here)"
        for line in lines
    )
    return f"What differs: {told}. " if told else ""


def _options_of(mine: ExtractorSummary, other: ExtractorSummary) -> str:
    """The options that bring the other side to this file's features."""
    if mine.name != other.name:
        return f"--extractor {mine.name}"
    options = [f"--protocol {mine.protocol}"] if mine.protocol != other.protocol else []
    for line in ("tap", "precision"):
        if line in mine.recipe and mine.recipe[line] != other.recipe.get(line, mine.recipe[line]):
            options.append(f"--{line} {mine.recipe[line]}")
    return " ".join(options) or f"the {mine.name} that it was made with"


def require_npz(path: Path) -> None:
    """Raise `InputError` unless a reference file of this name would be read again."""
    if path.suffix.lower() != ".npz":
        better = path.with_suffix(".npz") if path.name else path / "reference.npz"
        raise InputError(f"{path}: the name of a reference file must end in .npz. Use for instance {better}.")


def is_reference_file(path: Path) -> bool:
    """Whether an ``.npz`` carries our header (cheap: looks at the member names only)."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
    return {"header.npy", "mean.npy", "covariance.npy"} <= names


def open_statistics(
    path: Path, *, name: str | None = None, num_images: int | None = None, protocol: str | None = None
) -> Reference:
    """A statistics file of another tool as a side. Raises as `read_all`.

    ``name`` is what messages call the file; ``num_images`` and ``protocol`` are what its publisher says of it.
    """
    files = [replace(file, num_images=file.num_images or num_images) for file in read_all(path, name=name)]
    first, *others = (replace(files[0], protocol=protocol or files[0].protocol), *files[1:])
    return replace(_unrecorded(first), others=tuple(_unrecorded(file) for file in others))


def _unrecorded(file: StatisticsFile) -> Reference:
    spatial = None
    if file.spatial_mean is not None and file.spatial_covariance is not None:
        order = _by_channels(len(file.spatial_mean))
        mean, covariance = file.spatial_mean[order], file.spatial_covariance[np.ix_(order, order)]
        spatial = FeatureStatistics(mean, covariance, file.num_images, file.ddof)
    if file.features is not None:
        collector = FeatureCollector()
        collector.update(file.features, what=file.name)
        features = collector.result()
    else:
        assert file.mean is not None and file.covariance is not None
        statistics = FeatureStatistics(file.mean, file.covariance, file.num_images, file.ddof)
        features = Features(
            values=np.empty((0, file.dimension), np.float32),
            index=np.empty(0, np.int64),
            num_images=file.num_images,
            all_statistics=statistics if file.num_images is None else statistics.with_ddof(1),
            spatial=spatial,
        )
    extractor = ExtractorSummary(
        name=file.network or "features",
        title="features of an unrecorded network"
        + (f", by their number or the file's name those of {file.network}" if file.network else ""),
        label="the statistics file does not say which network and protocol made it",
        numeric_id=UNRECORDED,
        protocol=file.protocol or UNRECORDED,
        dimension=file.dimension,
    )
    summary = SideSummary(file.num_images, file.name, content_hash="", notes=_notes(file))
    return Reference(features, extractor, summary)


def _by_channels(size: int) -> NDArray[np.intp]:
    """Where each of our spatial features (channel, row, column) stands in guided-diffusion's (row, column, channel)."""
    order = np.arange(size)
    return order.reshape(_GRID).transpose(2, 0, 1).ravel() if size == math.prod(_GRID) else order


def _notes(file: StatisticsFile) -> tuple[str, ...]:
    if file.features is not None:
        return (f"Features of {file.num_images:,} images, made by an unrecorded tool ({file.layout} layout).",)
    count = "an unknown number of" if file.num_images is None else f"{file.num_images:,}"
    notes = [
        f"Statistics only (mean and covariance) of {count} images, made by an unrecorded tool ({file.layout} layout, "
        f"whose tools use ddof {file.ddof}). KID, precision, recall, density, coverage and PRD need single images and "
        "cannot be computed from it."
    ]
    if file.holds_images:
        notes.append("The images in the file were not looked at: for those scores, give them in a file of their own.")
    return tuple(notes)


def taken_for(reference: Reference, extractor: ExtractorSummary) -> Reference:
    """A side of an unrecorded extractor as features of this one, with a note that says so.

    A recorded one is returned as it is. Where neither side is recorded, nothing speaks against one common origin but
    what their names say. Raises `FeatureMismatch` where it cannot hold these features: another number of
    dimensions, another network, or negative means where the network has none.
    """
    if reference.extractor.numeric_id != UNRECORDED or reference.extractor == extractor:
        return reference
    candidates = (reference, *reference.others)
    fitting = [side for side in candidates if not _why_not(side, extractor)]
    if not fitting:
        reasons = "; ".join(dict.fromkeys(_why_not(side, extractor) for side in candidates))
        raise FeatureMismatch(
            f"{reference.summary.source} cannot hold {extractor.name} features: {reasons}. Use the extractor that it "
            "was made with, or make statistics from the images: genmetrics reference IMAGES -o FILE."
        )
    side = fitting[0]
    notes, implied = list(side.summary.notes), side.extractor.protocol
    if extractor.numeric_id == UNRECORDED:
        if UNRECORDED not in (implied, extractor.protocol):
            return side  # each names its own protocol: the caller refuses what differs
    else:
        notes.append(f"Taken to be features of {extractor.name}, protocol {extractor.protocol}.")
    if implied not in (UNRECORDED, extractor.protocol):
        notes.append(
            f"Its name or layout speaks for the protocol {implied}, and the other side uses {extractor.protocol}: "
            f"if so, the scores compare with no others. Try --protocol {implied}."
        )
    summary = replace(side.summary, notes=tuple(notes))
    return replace(side, extractor=extractor, summary=summary, others=())


def _why_not(side: Reference, extractor: ExtractorSummary) -> str:
    """Why these cannot be features of this extractor; empty where they can."""
    mine, needed = side.features.dimension, extractor.dimension
    if ("dinov2" in side.extractor.name) != ("dinov2" in extractor.name) and side.extractor.name != "features":
        return f"it holds those of {side.extractor.name}"
    if mine != needed:
        way = ""
        if {mine, needed} <= _POOLED:
            way = f" (pytorch-fid makes {mine} with --dims {mine}; --tap {mine} takes these of inception-fid)"
        return f"its statistics have {mine} dimensions, the features {needed}{way}"
    low = float(side.features.statistics().mean.min())
    if extractor.name == "inception-fid" and needed in _POOLED and low < -1e-6:
        return f"its mean goes down to {low:.3g}, and these features are never negative"
    return ""


def write_statistics(reference: Reference, path: str | os.PathLike[str], layout: str) -> None:
    """Write the statistics of a side for other tools, whole or not at all.

    Parameters
    ----------
    layout
        ``"pytorch-fid"``: an ``.npz`` of mu (D,) and sigma (D, D), as pytorch-fid, TTUR, clean-fid and EDM read it.
        ``"adm"``: mu_s (S,) and sigma_s (S, S) of the spatial features as well, as guided-diffusion reads it. Always
        float64, with ddof 1, as `numpy.cov` gives it to those tools.

    Raises
    ------
    InputError
        An unknown layout, a name that does not end in ``.npz``, a place that cannot be written, or ``"adm"`` for a side
        without spatial features.
    """
    if layout not in LAYOUTS:
        raise InputError(f"No layout {layout!r}. These exist: {', '.join(LAYOUTS)}.")
    require_npz(Path(path))
    statistics, spatial = reference.features.statistics().with_ddof(1), reference.features.spatial
    arrays = {"mu": statistics.mean, "sigma": statistics.covariance}
    if layout == "adm":
        if spatial is None:
            raise InputError(
                f"The layout adm has statistics of spatial features, and {reference.summary.source} has none. Collect "
                "them with --extractor inception-fid --protocol adm, or write the layout pytorch-fid."
            )
        spatial, order = spatial.with_ddof(1), np.argsort(_by_channels(len(spatial.mean)))
        arrays.update(mu_s=spatial.mean[order], sigma_s=spatial.covariance[np.ix_(order, order)])
    _write(Path(path), {key: np.asarray(array, np.float64) for key, array in arrays.items()})


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror or error}. Name another file with -o.") from error
