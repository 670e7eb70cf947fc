"""What holds for every archive: nothing hostile in it, not too much of it, and images among its members."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import IO, Any

from uploads.images import SUFFIXES, Seen
from uploads.limits import ADVICE, Limits, Refused, megabytes, refusing_damage, too_large, too_many
from uploads.names import clean

HARMLESS_BYTES = 64_000_000  # an archive that unpacks to less may have any ratio
LISTING_SECONDS = 4.0  # an honest archive within the limits is listed in half a second
ENTRY_BYTES = 1_024  # of a zip's directory, for each file; of a tar's headers four times as many


def look_into(name: str, files: Sequence[tuple[str, int, Callable[[], IO[bytes]]]], limits: Limits) -> Seen:
    """Look at the members that genmetrics_rt will read as images: (name, size, how to open it)."""
    images = [entry for entry in files if _may_be_image(entry[0])]
    if not images:
        suffixes = Counter(PurePosixPath(entry[0]).suffix.lower() or "no ending" for entry in files)
        found = ", ".join(f"{count:,} × {clean(suffix)}" for suffix, count in suffixes.most_common(3))
        hint = " Unpack the archives inside it first." if suffixes.keys() & {".zip", ".tar", ".gz", ".tgz"} else ""
        raise Refused(f"{name} holds no images, but {found}.{hint} {ADVICE}")
    if len(images) > limits.num_files:
        raise too_many(f"{name} holds {len(images):,} images", limits)
    seen = Seen()
    for member, size, opener in images:
        shown = clean(member)
        if size > limits.file_bytes:
            raise too_large(f"{name}: {shown}", size, limits)
        with refusing_damage(name), opener() as opened:  # where the headers of a zip contradict its directory
            seen.look(shown, opened, limits)
    seen.require_any(f"{name} holds {len(images):,} {'file' if len(images) == 1 else 'files'}")
    return seen


def _may_be_image(member: str) -> bool:
    parts = PurePosixPath(member.replace("\\", "/")).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(member).suffix.lower() in SUFFIXES


class Metered:
    """An open file for a parser that trusts it: so many bytes and so much time, then the upload is refused."""

    def __init__(self, file: IO[bytes], name: str, *, longest: int, budget: int) -> None:
        self._file, self._name, self._longest, self._left = file, name, longest, budget
        self._end = time.monotonic() + LISTING_SECONDS

    def read(self, size: int = -1) -> bytes:
        most = min(self._longest, self._left)
        content = self._file.read(most + 1 if size < 0 else min(size, most + 1))
        self._left -= len(content)
        if len(content) > most or time.monotonic() > self._end:
            raise Refused(
                f"The list of files in {self._name} is longer than that of any archive taken here. Pack fewer images, "
                "under short names."
            )
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def irregular(shown: str, what: str) -> Refused:
    return Refused(f"{shown} is {what}, and an archive of images needs none. Pack the image files themselves.")


def require_inside(member: str, shown: str) -> None:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member):
        raise Refused(f"{shown} points outside the archive, so all of it is refused. Pack the folder itself again.")


def require_modest(name: str, unpacked: int, packed: int, limits: Limits) -> None:
    if unpacked > limits.unpacked_bytes:
        raise Refused(
            f"{name} unpacks to more than {megabytes(limits.unpacked_bytes)}, which is not taken here. Upload a "
            "random sample of the images, or evaluate all on your own machine: pip install genmetrics-rt."
        )
    if unpacked > HARMLESS_BYTES and unpacked > limits.ratio * packed:
        raise Refused(
            f"{name} would unpack from {megabytes(packed)} to {megabytes(unpacked)} or more: refused as a "
            "decompression bomb, since no real images are packed like this. Upload the images themselves."
        )
