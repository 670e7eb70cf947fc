"""The door for each kind of upload, found by what the files hold."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from uploads.arrays import accept_npy
from uploads.files import kind_of, size_of
from uploads.images import accept_images
from uploads.limits import ADVICE, Limits, Refused, Side, megabytes, too_many
from uploads.names import shown_name
from uploads.statistics import accept_pickle
from uploads.tars import accept_packed_tar, accept_tar
from uploads.zips import accept_zip


def accept(paths: Sequence[str | os.PathLike[str]], folder: Path, limits: Limits | None = None) -> Side:
    """Look at what was uploaded as one side, and keep it in ``folder``, which must not exist yet.

    Raises
    ------
    Refused
        Nothing usable, or something hostile, too large or ambiguous. Nothing of it is left then.
    """
    folder.mkdir(parents=True, mode=0o700)
    try:
        return _accept([Path(path) for path in paths], folder, limits or Limits())
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused("The server has no room left for this upload. Try again later, or with less.") from error
        raise


def _accept(paths: list[Path], folder: Path, limits: Limits) -> Side:
    if not paths:
        raise Refused(f"Nothing was uploaded for this side. {ADVICE}")
    if len(paths) > limits.num_files:
        raise too_many(f"{len(paths):,} files were uploaded", limits)
    total = sum(size_of(path) for path in paths)
    if total > limits.total_bytes:
        raise Refused(
            f"The upload has {megabytes(total)}, and at most {megabytes(limits.total_bytes)} a side are taken here. "
            "Upload fewer or smaller images, or evaluate them on your own machine: pip install genmetrics-rt."
        )
    kinds = [kind_of(path) for path in paths]
    containers = [path for path, kind in zip(paths, kinds, strict=True) if kind != "other"]
    if containers and len(paths) > 1:
        raise Refused(
            f"{shown_name(containers[0])} is an archive, an array or a file of statistics, and stands for a whole "
            f"side, but {len(paths):,} files were uploaded together. Upload it alone, or images only."
        )
    if not containers:
        return accept_images(paths, folder, limits)
    (path,) = paths
    return _DOORS[kinds[0]](path, folder, limits)


_DOORS: dict[str, Callable[[Path, Path, Limits], Side]] = {
    "zip": accept_zip,
    "tar": accept_tar,
    "gzip": accept_packed_tar,
    "bzip2": accept_packed_tar,
    "xz": accept_packed_tar,
    "npy": accept_npy,
    "pickle": accept_pickle,
}
