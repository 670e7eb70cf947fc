"""Several replicas of a service as one: their panes merged, never their scores averaged.

A mean of two Fréchet distances is no Fréchet distance: two replicas that each show one half of the classes score badly
each and well together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from genmetrics_rt.errors import EmptySide, FeatureMismatch, InputError, UnreadableInput
from genmetrics_rt.monitor.judging import Judge
from genmetrics_rt.monitor.panes import Pane, StateFolder, merge
from genmetrics_rt.monitor.worker import judge_of_folder
from genmetrics_rt.report import Report

_ATTEMPTS = 5  # at reading a folder whose monitor is at work


def merge_replicas(states: Sequence[str | os.PathLike[str]]) -> Report:
    """The report on the latest windows of several replicas together, from their state folders (or copies of them).

    All must have had the same reference, extractor and settings. Statistics are merged exactly, so the scores are those
    of one monitor that saw all of the images (to 1e-9); while replicas write, the latest finished panes count.

    Raises
    ------
    InputError
        No folder, the same one twice, or one that holds no state.
    FeatureMismatch
        Monitors of unlike references, extractors or settings.
    EmptySide
        No pane is finished yet.
    """
    folders = [Path(state).expanduser().resolve() for state in states]
    if not folders or len(set(folders)) < len(folders):
        raise InputError("Give the state folder of each replica once: one that counts twice would bend the scores.")
    judge: Judge | None = None
    panes, identities = [], set()
    for root in folders:
        if not (root / "state.json").is_file():
            raise InputError(f"{root} holds no state of a monitor: is it the folder given as state=?")
        identity, found = _latest(StateFolder(root))
        identities.add(identity)
        if len(identities) > 1:
            raise FeatureMismatch(f"The monitor of {root} had another reference, extractor or window than the others.")
        panes += found
        judge = judge or judge_of_folder(root)
    if not panes or judge is None:
        raise EmptySide("No replica has finished a pane yet.")
    return judge.judge(merge(panes, max_rows=judge.sizes.max_rows))[1]


def _latest(folder: StateFolder) -> tuple[str, list[Pane]]:
    """Identity and panes of a folder that may be written to meanwhile."""
    for _ in range(_ATTEMPTS):
        record = folder.load()
        try:
            return str(record["identity"]), folder.panes(record["panes"])
        except FileNotFoundError as error:  # the window moved on while it was read
            missing = error
    raise UnreadableInput(
        f"The panes that {folder.root / 'state.json'} names are not all there ({missing}). If no monitor writes there, "
        "the copy is not whole; else try again."
    )
