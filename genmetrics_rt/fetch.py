"""Get the weights that do not ship: download a publisher's file by its hash and assemble the bundle from it.

Only `genmetrics bundles fetch` and the first `evaluate` (or `reference`) that names an extractor without weights come
here; `load_bundle` and `FeatureExtractor` open no socket.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genmetrics_rt.assembly import assemble
from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.cache import cache_home
from genmetrics_rt.download import DownloadProgress, download
from genmetrics_rt.errors import InputError
from genmetrics_rt.extraction import Progress, ProgressCallback


def fetch_bundle(
    bundle: str | os.PathLike[str] | Bundle,
    *,
    weights: str | os.PathLike[str] | None = None,
    mirrors: Sequence[str] = (),
    unverified: bool = False,
    name: str | None = None,
    progress: ProgressCallback | None = None,
) -> Bundle:
    """Make a bundle that runs from one whose weights do not ship.

    Parameters
    ----------
    weights
        A file that you have already, instead of a download: its sha256 must be a published one.
    mirrors
        Other addresses of the published file, tried first. The hash decides what is taken.
    unverified, name
        With ``weights``: take a file of any hash, under a name of your own that every report will carry.
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
        return assemble(bundle, Path(weights).expanduser(), unverified=unverified, name=name)
    if not bundle.is_weight_free:
        bundle.verify()
        return bundle
    source = bundle.manifest.weights["sources"][0]
    checkpoint = cache_home() / "downloads" / f"{source['sha256'][:16]}-{_file_name(source)}"
    download(
        [*mirrors, *source["urls"]],
        checkpoint,
        sha256=source["sha256"],
        size=source["bytes"],
        progress=in_bytes(f"weights of {bundle.name}", progress),
        way_out=(
            f"Without a network here: get the file of {source['urls'][0]} on another machine and run "
            f"`genmetrics bundles fetch {bundle.name} --weights FILE`."
        ),
    )
    assembled = assemble(bundle, checkpoint)
    checkpoint.unlink(missing_ok=True)  # its tensors are in the bundle now
    return assembled


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
