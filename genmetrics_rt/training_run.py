"""The checkpoints of a training run as they lie on disk: which there are, and of which step each is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genmetrics_rt.archives import TAR_ENDINGS
from genmetrics_rt.errors import InputError, MissingInput, UnreadableInput
from genmetrics_rt.render.numbers import count
from genmetrics_rt.sides import EXAMPLES

_ENDINGS = (".zip", ".npz", ".npy", *TAR_ENDINGS)  # of files that can be checkpoints
_NAMED_STEP = re.compile(r"(?:step|iter|iteration|epoch|kimg|tick|checkpoint|ckpt|snapshot)s?[-_=. ]*(\d+)", re.I)


def find_checkpoints(given: Any) -> dict[int, Any]:
    """Step → checkpoint in the order of training, from what `track` takes.

    Of one folder, whatever lies in it with a number in its name; of several paths, each one itself, unless its
    subfolders say "step", "iter", "epoch", "kimg", "checkpoint" or "snapshot".

    Raises
    ------
    MissingInput, UnreadableInput, InputError
        A path that does not exist or cannot be read, no number in a name, or one step twice.
    """
    if isinstance(given, Mapping):
        if not all(type(step) is int for step in given):
            raise InputError("A mapping of checkpoints goes from the step, a whole number, to the images of that step.")
        return dict(sorted(given.items()))
    paths = [given] if isinstance(given, str | os.PathLike) else list(given)
    found: list[tuple[int, Path]] = []
    for place in paths:
        path = _place(place)
        inside = _inside(path, explicit=len(paths) > 1)
        step = step_of(path.name)
        if inside:
            found += inside
        elif len(paths) > 1 and step is not None:
            found.append((step, path))
        else:
            raise InputError(
                f"{place} is no checkpoint and holds none: a checkpoint is a folder or an archive of images, or a "
                "generator bundle, with its step in its name, such as step_1000."
            )
    steps: dict[int, Path] = {}
    for step, path in sorted(found):
        if step in steps:
            raise InputError(
                f"{steps[step]} and {path} are both step {count(step)}. Give the checkpoints of one training run, "
                "each with its own number."
            )
        steps[step] = path
    return dict(steps)


def step_of(name: str) -> int | None:
    """The number behind "step" and the like in a name, else the last in it: ``step_00100``, ``fakes-200.zip``."""
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    stem = name[: len(name) - len(ending)]
    numbers = _NAMED_STEP.findall(stem) or re.findall(r"\d+", stem)
    return int(numbers[-1]) if numbers else None


def _place(given: Any) -> Path:
    path = Path(given).expanduser()
    if path.exists():
        return path
    shipped = EXAMPLES / str(given)
    if str(given) and shipped.is_dir() and shipped.parent == EXAMPLES:
        return shipped
    raise MissingInput(
        f"{str(given)!r} does not exist. Give the folder of the checkpoints, or try the shipped example: "
        "genmetrics track digits-gan-checkpoints digits"
    )


def _inside(path: Path, *, explicit: bool) -> list[tuple[int, Path]]:
    """What lies in a folder with a step in its name; with ``explicit``, only if the name says so by a word."""
    if not path.is_dir() or (path / "manifest.json").is_file():
        return []
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read: {error.strerror or error}. Fix its permissions.") from error
    found = []
    for entry in entries:
        step = step_of(entry.name)
        usable = entry.is_dir() or entry.name.lower().endswith(_ENDINGS)
        if step is None or not usable or entry.name.startswith("."):
            continue
        if not explicit or _NAMED_STEP.search(entry.name):
            found.append((step, entry))
    return found
