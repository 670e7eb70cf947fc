"""Several replicas of a service as one: their panes merged, never their scores averaged.

A mean of two Fréchet distances is no Fréchet distance: two replicas that each show one half of the classes score badly
each and well together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from genmetrics_rt.errors import EmptySide, FeatureMismatch, InputError
from genmetrics_rt.monitor.judging import Judge
from genmetrics_rt.monitor.panes import StateFolder, merge
from genmetrics_rt.monitor.worker import judge_of_folder
from genmetrics_rt.report import Report


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
        folder = StateFolder(root)
        record = folder.load()
        identities.add(record["identity"])
        if len(identities) > 1:
            raise FeatureMismatch(f"The monitor of {root} had another reference, extractor or window than the others.")
        panes += folder.panes(record["panes"])
        judge = judge or judge_of_folder(root)
    if not panes or judge is None:
        raise EmptySide("No replica has finished a pane yet.")
    return judge.judge(merge(panes, max_rows=judge.sizes.max_rows))[1]
