"""Zips: of images; or of arrays (npz) or a pickle (pt), which `arrays` and `statistics` take."""

from __future__ import annotations

import itertools
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from uploads.archives import ENTRY_BYTES, Metered, irregular, look_into, require_inside, require_modest
from uploads.arrays import accept_npz
from uploads.files import keep, size_of
from uploads.limits import ADVICE, Limits, Refused, Side, refusing_damage
from uploads.names import clean, named, shown_name
from uploads.statistics import accept_pickle

_ZIP_ENDS = 1 << 18  # the end of a zip, with a comment of up to 64 kB, which zipfile reads twice


def accept_zip(path: Path, folder: Path, limits: Limits) -> Side:
    name = shown_name(path)
    members = _list_zip(path, limits)
    files = [member for member in members if not member.is_dir()]
    if not files:
        raise Refused(f"{name} is an archive without any file in it. {ADVICE}")
    if any(member.filename.rpartition("/")[2] == "data.pkl" for member in files):
        return accept_pickle(path, folder, limits)
    if all(member.filename.endswith(".npy") for member in files):
        return accept_npz(path, files, folder, limits)
    with zipfile.ZipFile(path) as archive:

        def opener(member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
            return lambda: archive.open(member)

        seen = look_into(name, [(member.filename, member.file_size, opener(member)) for member in files], limits)
    kept = keep(path, folder / named(name, (".zip",)))
    return Side(kept, seen.summary(size_of(kept)), "images", seen.num_images)


def _list_zip(path: Path, limits: Limits) -> list[zipfile.ZipInfo]:
    """The members of a zip, none of which is dangerous to look at."""
    name, packed = shown_name(path), size_of(path)
    with refusing_damage(name), path.open("rb") as file:
        # A directory costs ten times its size in memory, and zipfile reads all of it before anybody can count.
        budget = limits.num_files * ENTRY_BYTES + _ZIP_ENDS
        metered: Any = Metered(file, name, longest=budget, budget=budget)
        with zipfile.ZipFile(metered) as archive:
            members = archive.infolist()
            end = archive.start_dir
    unpacked = 0
    for member in members:
        shown = f"{name}: {clean(member.filename)}"
        require_inside(member.filename, shown)
        if member.flag_bits & 1:
            raise Refused(f"{shown} is encrypted, so it cannot be read. Pack the images again without a password.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise irregular(shown, "a link" if kind == stat.S_IFLNK else "a device or a pipe")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused(f"{shown} is compressed in an uncommon way. Pack the images as a usual zip (deflate).")
        unpacked += member.file_size
    require_modest(name, unpacked, packed, limits)
    places = sorted((member.header_offset, member.compress_size + len(member.orig_filename)) for member in members)
    for (start, size), (following, _) in itertools.pairwise([*places, (end, 0)]):
        if start < 0 or start + 30 + size > following:
            raise Refused(
                f"{name} holds files that overlap one another, as no honest archive does: refused as a decompression "
                "bomb. Pack the images again."
            )
    return members
