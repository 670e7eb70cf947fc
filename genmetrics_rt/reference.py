"""A side whose features were computed before, kept in one file, with everything needed to refuse a wrong use.

File: an ``.npz`` without pickles. ``header`` (JSON as bytes, schema ``genmetrics.reference/1``), ``mean`` (D,),
``covariance`` (D, D) float64 with ddof 1 over ALL images, ``values`` (n, D) kept feature rows, ``index`` (n,) their
positions in the source, ``logits`` (n, C) where the network has classes.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genmetrics_rt.cache import write_atomically
from genmetrics_rt.errors import FeatureMismatch, InputError, UnreadableInput
from genmetrics_rt.features import Features
from genmetrics_rt.report import ExtractorSummary, SideSummary, SkippedImage
from genmetrics_rt.statistics import FeatureStatistics

SCHEMA = "genmetrics.reference/1"


@dataclass(frozen=True)
class Reference:
    """Features of one side with their origin. Made by `make_reference`, accepted wherever a side is."""

    features: Features
    extractor: ExtractorSummary
    summary: SideSummary
    settings: Mapping[str, Any] = field(default_factory=dict)  # of metrics, fixed by the protocol

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
        statistics = self.features.statistics()
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
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        try:
            write_atomically(Path(path), buffer.getvalue())
        except OSError as error:
            raise InputError(f"Cannot write {path}: {error.strerror or error}. Name another file with -o.") from error

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
            reference = cls(
                features=Features(
                    values=arrays["values"],
                    index=arrays["index"],
                    num_images=int(summary["num_images"]),
                    logits=arrays.get("logits"),
                    all_statistics=FeatureStatistics(
                        mean=arrays["mean"],
                        covariance=arrays["covariance"],
                        num_images=int(summary["num_images"]),
                        ddof=1,
                    ),
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
        """Raise `FeatureMismatch` unless this file was made with the same extractor and protocol."""
        mine = self.extractor
        if (mine.numeric_id, mine.protocol) != (extractor.numeric_id, extractor.protocol):
            raise FeatureMismatch(
                f"{self.summary.source}: these statistics were made with {mine.name} ({mine.protocol}, "
                f"{mine.numeric_id[:12]}), and the other side uses {extractor.name} ({extractor.protocol}, "
                f"{extractor.numeric_id[:12]}). Numbers from different features mean nothing together. "
                f"Use --extractor {mine.name}, or make the file again from its images."
            )


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
