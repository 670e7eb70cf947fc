"""How much a side may be, what it is once taken, and the words in which an upload is refused."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import genmetrics_rt as gm


class Refused(gm.InputError):
    """An upload that is not taken: what it is, what that means, and what to do instead."""


@dataclass(frozen=True)
class Limits:
    """How much one side may be."""

    num_files: int = 5_000  # images
    num_rows: int = 50_000  # of features
    total_bytes: int = 500_000_000  # of all files together, or of the one archive or array file
    file_bytes: int = 50_000_000  # of one image
    unpacked_bytes: int = 1_000_000_000  # of an archive or array file
    ratio: int = 200  # unpacked to packed
    pixels: int = 50_000_000  # of one image
    statistics_bytes: int = 300_000_000


@dataclass(frozen=True)
class Side:
    """What `gm.evaluate` may be given."""

    path: Path
    summary: str  # "300 PNG images, 32 × 32, 0.4 MB"
    kind: str  # "images" | "features" | "statistics"
    num_images: int | None  # that seem usable; None where nobody knows


ADVICE = "Upload PNG, JPEG or WebP images, or a zip of them."


def too_many(what: str, limits: Limits) -> Refused:
    return Refused(
        f"{what}: more than the {limits.num_files:,} a side that are taken here. Upload a random sample of them, or "
        "evaluate all on your own machine: pip install genmetrics-rt."
    )


def too_large(what: str, size: int, limits: Limits) -> Refused:
    return Refused(
        f"{what} has {megabytes(size)}, and one image may have {megabytes(limits.file_bytes)} here. Leave it out, or "
        "save it smaller."
    )


def too_many_pixels(name: str, what: str, limits: Limits) -> Refused:
    return Refused(
        f"{name} says it has {what}; more than {limits.pixels:,} are not decoded here (a decompression bomb says so "
        "too). Leave it out, or save it smaller."
    )


def require_rows(name: str, rows: int, limits: Limits) -> None:
    if rows > limits.num_rows:
        raise Refused(
            f"{name} holds features of {rows:,} images, and at most {limits.num_rows:,} are taken here. Upload a "
            "random sample of the rows, or their mean and covariance."
        )


@contextlib.contextmanager
def refusing_damage(name: str) -> Iterator[None]:
    """On damaged bytes the parsers raise whatever comes; to the visitor all of it means one thing."""
    try:
        yield
    except (Refused, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refused(f"{name} is damaged or cut off ({error or type(error).__name__}). Make it again.") from error


def megabytes(size: int) -> str:
    if size < 50_000:
        return f"{size / 1e3:,.1f} kB"
    return f"{size / 1e6:,.{1 if size < 10_000_000 else 0}f} MB"
