"""Names from outside, made safe to show and to keep."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

_NAME_BYTES = 200  # file systems take 255


def shown_name(path: Path) -> str:
    """The name of an uploaded file as it may be shown, and kept."""
    return clean(path.name)


def clean(name: str) -> str:
    """Of a name from outside: one line, no separators, no invisible or direction-changing characters, no markup."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    name = "".join("_" if _is_unsafe(character) else character for character in name).strip()
    if not name.strip(". "):
        return "file"
    stem, dot, suffix = name.rpartition(".") if len(name.rpartition(".")[2]) < 10 else (name, "", "")
    room = _NAME_BYTES - len((dot + suffix).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + suffix


def _is_unsafe(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] == "C" or kind in ("Zl", "Zp") or character in '<>:"|?*&`$'


def named(name: str, suffixes: Sequence[str]) -> str:
    """The name with one of these endings, by which genmetrics_rt knows what it is."""
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    return path.stem + (suffix if suffix in suffixes else suffixes[0]) if path.stem else "file" + suffixes[0]


class Names:
    """File names that no two files share, on any file system."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def unused(self, name: str) -> str:
        path = PurePosixPath(name)
        variants: Iterable[str] = (f"{path.stem} ({number}){path.suffix}" for number in itertools.count(2))
        free = next(variant for variant in itertools.chain([name], variants) if variant.casefold() not in self._used)
        self._used.add(free.casefold())
        return free
