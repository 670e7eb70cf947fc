"""Get the weights that do not ship: download a publisher's file by its hash and assemble the bundle from it.

Only `genmetrics bundles fetch` and the first `evaluate` (or `reference`) that names an extractor without weights come
here; `load_bundle` and `FeatureExtractor` open no socket.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genmetrics_rt.assembly import assemble
from genmetrics_rt.bundle import Bundle, load_bundle, package_hint
from genmetrics_rt.cache import cache_home
from genmetrics_rt.download import DownloadProgress, download
from genmetrics_rt.errors import InputError
from genmetrics_rt.progress import Progress, ProgressCallback


def fetch_bundle(
    bundle: str | os.PathLike[str] | Bundle,
    *,
    weights: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    mirrors: Sequence[str] = (),
    unverified: bool = False,
    name: str | None = None,
    progress: ProgressCallback | None = None,
) -> Bundle:
    """Make a bundle that runs from one whose weights do not ship.

    Parameters
    ----------
    weights
        A file that you have already, instead of a download, or the files where the weights come in several parts: the
        sha256 of each must be a published one.
    mirrors
        Other addresses of the published files, tried first. The hash decides what is taken.
    unverified, name
        With ``weights``: take files of any hash, under a name of your own that every report will carry.
    progress
        Called with a `Progress` in bytes.

    Returns
    -------
    Bundle
        As `load_bundle` of the same name will find it from now on.

    Raises
    ------
    InputError
        One of its kinds: no network, a hash that is not the published one, a file that is no checkpoint, a bundle that
        needs no weights, a cache that cannot be written.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    if (unverified or name) and weights is None:
        raise InputError("Only a file of your own can be taken unverified: name it with --weights FILE.")
    if name and not unverified:
        raise InputError("A name of its own is for unverified weights: add --unverified, or leave --name out.")
    if not bundle.manifest.weights:
        raise InputError(f"{bundle.name!r} carries its weights already: there is nothing to fetch.")
    if weights is not None:
        files = [weights] if isinstance(weights, str | os.PathLike) else weights
        paths = [Path(file).expanduser() for file in files]
        return assemble(bundle, paths, unverified=unverified, name=name)
    if not bundle.is_weight_free:
        bundle.verify()
        return bundle
    checkpoints, downloaded = [], []
    for sources in bundle.manifest.weight_parts.values():
        installed = _installed(bundle, sources, progress)
        if installed is None:
            downloaded.append(_downloaded(bundle, sources[0], mirrors, progress))
        checkpoints.append(installed or downloaded[-1])
    assembled = assemble(bundle, checkpoints)
    for checkpoint in downloaded:
        checkpoint.unlink(missing_ok=True)  # its tensors are in the bundle now
    return assembled


def _installed(bundle: Bundle, sources: Sequence[Mapping[str, Any]], progress: ProgressCallback | None) -> Path | None:
    """The published file in an installed package that carries it, if it is that file to the byte. Imports nothing."""
    for source in sources:
        package = source.get("package")
        if (
            not package or not str(package["module"]).isidentifier()
        ):  # of a dotted name, Python would import the parents
            continue
        found = importlib.util.find_spec(package["module"])
        if found is None or found.origin is None:
            continue
        file = Path(found.origin).parent / str(package["file"])
        try:
            with file.open("rb") as content:
                same = hashlib.file_digest(content, "sha256").hexdigest() == source["sha256"]
        except OSError:
            continue
        if same:
            if progress is not None:
                size = source["bytes"]
                stage = f"weights of {bundle.name} from the installed package {package['name']}"
                progress(Progress(stage, size, size, 0.0, None, 0, unit="bytes"))
            return file
    return None


def _downloaded(
    bundle: Bundle, source: Mapping[str, Any], mirrors: Sequence[str], progress: ProgressCallback | None
) -> Path:
    """The file of one source, in the cache, its hash checked."""
    if source.get("sha256") is None:
        raise InputError(
            f"The hash of {source['urls'][0]} is not known, so it is not downloaded for you. Get it yourself and run "
            f"`genmetrics bundles fetch {bundle.name} --weights FILE --unverified --name NAME`."
        )
    checkpoint = cache_home() / "downloads" / f"{source['sha256'][:16]}-{_file_name(source)}"
    several = " for each of its files" if len(bundle.manifest.weight_parts) > 1 else ""
    download(
        [*mirrors, *source["urls"]],
        checkpoint,
        sha256=source["sha256"],
        size=source.get("bytes"),
        progress=in_bytes(f"weights of {bundle.name}", progress),
        way_out=(
            f"Without a network here: get the file of {source['urls'][0]} on another machine and run "
            f"`genmetrics bundles fetch {bundle.name} --weights FILE`{several}.{package_hint(source)}"
        ),
    )
    return checkpoint


def _file_name(source: Mapping[str, Any]) -> str:
    return Path(urlsplit(source["urls"][0]).path).name or "weights"


def in_bytes(what: str, callback: ProgressCallback | None) -> DownloadProgress | None:
    """The progress of a download, told to a callback that takes a `Progress`."""
    if callback is None:
        return None
    start = time.perf_counter()

    def show(done: int, total: int | None) -> None:
        rate = done / max(time.perf_counter() - start, 1e-3)
        left = None if total is None else (total - done) / max(rate, 1.0)
        callback(Progress(what, done, total or done, rate, left, 0, unit="bytes"))

    return show
