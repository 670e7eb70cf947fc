"""Progress over training: every checkpoint against one reference, and which is the best beyond noise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import InputError
from genmetrics_rt.evaluation import evaluate, make_reference
from genmetrics_rt.explaining.comparing import OF_BOTH_SIDES
from genmetrics_rt.explaining.differences import catalogue_key
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.paired import Standing, standing
from genmetrics_rt.preparation import default_extractor
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.reference import Reference
from genmetrics_rt.render import words
from genmetrics_rt.render.names import prose, shorten, visible
from genmetrics_rt.render.numbers import count, counted, plain_number
from genmetrics_rt.render.paper import plus_minus
from genmetrics_rt.render.table import number_table
from genmetrics_rt.render.text import NARROWEST, labelled, row
from genmetrics_rt.render.track_drawing import Panel, Point, track_page
from genmetrics_rt.report import Report, Score, json_text
from genmetrics_rt.sides import FeatureRows, open_side
from genmetrics_rt.training_run import find_checkpoints

SCHEMA = "genmetrics.track/1"
_NOISE = "± is one standard error; * the best beyond noise, ~ the leading one or not told apart from it."


@dataclass(frozen=True)
class Track:
    """The reports of a training run: step → report, in the order of training."""

    reports: Mapping[int, Report]
    standings: Mapping[str, Standing[int]]  # by key; of scores that two checkpoints have
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.to_text()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the scores that some checkpoint has."""
        return tuple(dict.fromkeys(key for report in self.reports.values() for key in report.scores))

    def to_text(self, *, width: int = 100) -> str:
        """Scores by step and the best of each, for a terminal: no line wider than ``width`` columns (at least 40)."""
        width = max(width, NARROWEST)
        about = [line for label, text in self._about() for line in labelled(label, text, width)]
        cells = [
            (count(step), [self._cell(report.scores.get(key), step) for key in self.keys])
            for step, report in self.reports.items()
        ]
        heads = [f"{key} {'↑' if self._any(key).higher_is_better else '↓'}" for key in self.keys]
        widest = min(max((len(key) for key in self.standings), default=0), width // 3)
        verdicts = [
            line
            for key, found in self.standings.items()
            for line in row((key, _sentence(found)), (widest, width - widest - 2))
        ]
        notes = [line for note in (_NOISE, *self.notes) for line in labelled("note", note, width)]
        blocks = (about, number_table("step", heads, cells, width), verdicts, notes)
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def to_dict(self) -> dict[str, Any]:
        """The track as plain JSON values, schema ``genmetrics.track/1``; curves are in ``reports`` only."""
        records = {step: report.to_dict() for step, report in self.reports.items()}
        last = list(records.values())[-1]
        return {
            "schema": SCHEMA,
            "reference": last["reference"],
            "extractor": last["extractor"],
            "fingerprint": last["fingerprint"],
            "seed": last["seed"],
            "version": last["version"],
            "checkpoints": [
                {"step": step, "generated": record["generated"], "scores": record["scores"]}
                for step, record in records.items()
            ],
            "standings": {
                key: {
                    "title": words.short_name(self._any(key), self._last)[0],
                    "higher_is_better": found.higher_is_better,
                    "leader": found.leader,
                    "beyond_noise": found.beyond_noise,
                    "not_told_apart": list(found.not_told_apart),
                    "differences": [
                        {"step": step, **vars(difference), "corrected_p_value": found.p_values[step]}
                        for step, difference in found.differences.items()
                    ],
                    "verdict": _sentence(found),
                }
                for key, found in self.standings.items()
            },
            "notes": list(self.notes),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """The same as JSON text."""
        return json_text(self.to_dict(), indent=indent)

    def to_html(self, *, fragment: bool = False) -> str:
        """One self-contained page with a curve for each score: no script, no external request.

        ``fragment``: one ``<div class="genmetrics">`` to be put into another page, as `Report.to_html`.
        """
        report = self._last
        panels = [self._panel(key) for key in self.keys]
        rows = [
            (count(step), *(self._cell(entry.scores.get(key), step) for key in self.keys))
            for step, entry in self.reports.items()
        ]
        return track_page(
            title=f"{counted(len(self.reports), 'checkpoint')} against {shorten(prose(report.reference.source), 60)}",
            facts=tuple(self._about()),
            panels=[panel for panel in panels if panel.points],
            columns=("step", *self.keys),
            rows=rows,
            notes=(_NOISE, *self.notes),
            fingerprint=report.fingerprint,
            created=report.created,
            version=report.version,
            fragment=fragment,
        )

    @property
    def _last(self) -> Report:
        return list(self.reports.values())[-1]

    def _any(self, key: str) -> Score:
        return next(report.scores[key] for report in self.reports.values() if key in report.scores)

    def _about(self) -> list[tuple[str, str]]:
        steps, last = list(self.reports), self._last
        numbers = sorted({report.generated.num_images or 0 for report in self.reports.values()})
        images = count(numbers[0]) + (f" to {count(numbers[-1])}" if len(numbers) > 1 else "")
        reference = shorten(visible(last.reference.source), 120)
        about = [
            ("checkpoints", f"{count(len(steps))}, step {count(steps[0])} to {count(steps[-1])}, {images} images each"),
            ("reference", f"{reference} ({counted(last.reference.num_images, 'image')})"),
            ("features", prose(f"{last.extractor.title}, protocol {last.extractor.protocol}")),
        ]
        return [*about, ("", prose(last.extractor.label))] if last.extractor.label else about

    def _cell(self, score: Score | None, step: int) -> str:
        if score is None or score.value is None:
            return "none"
        found = self.standings.get(score.key)
        mark = found.mark(step) if found else ""
        told = (
            plus_minus(score.value, score.standard_error) if score.standard_error else words.value(score, plain_number)
        )
        return f"{told}{mark or ' '}"

    def _panel(self, key: str) -> Panel:
        score, found = self._any(key), self.standings.get(key)
        title = words.short_name(score, self._last)[0]
        points = []
        for step, report in self.reports.items():
            entry = report.scores.get(key)
            if entry is None or entry.value is None:
                continue
            leading = found is not None and (step == found.leader or step in found.not_told_apart)
            points.append(Point(step, entry.value, entry.interval, leading=leading))
        return Panel(
            key, title, words.direction(score), tuple(points), _sentence(found) if found else "",
            is_distance=not score.higher_is_better and score.best == 0,
            told_apart=found is not None and found.noise_known,
        )  # fmt: skip


def track(
    checkpoints: Any,
    reference: Any,
    *,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    metrics: str | Sequence[str] | None = None,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    intervals: bool = True,
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Track:
    """Score the checkpoints of a training run against one reference, whose features are computed once.

    The best checkpoint of a score is one that beats every other beyond noise: by the paired jackknife of
    `paired_difference` between the leading one and each other, corrected by Holm for being many.

    Parameters
    ----------
    checkpoints
        A folder of checkpoints, several of them, or step → whatever `evaluate` takes as generated. A checkpoint is
        a folder or an archive of images or a generator bundle with a number in its name: the step. Generators draw the
        same latents at every step.
    reference
        As in `evaluate`, and so are all other parameters.

    Raises
    ------
    InputError
        Fewer than two checkpoints, two of one step, or one of its kinds as in `evaluate`.
    """
    sides = find_checkpoints(checkpoints)
    if len(sides) < 2:
        raise InputError(
            f"Progress over training needs two checkpoints or more, and there is {count(len(sides))}. For one, use "
            "evaluate."
        )
    for side in sides.values():
        open_side(side)  # before any work: a wrong path must not cost minutes
    opened = open_side(reference)
    if extractor is None and not isinstance(opened, Reference | FeatureRows):
        extractor = default_extractor()  # settled once: it may be a folder, which a reference knows by name only
    common: dict[str, Any] = {
        "extractor": extractor, "protocol": protocol, "tap": tap, "device": device, "backend": backend,
        "precision": precision, "num_images": num_images, "seed": seed, "cache": cache, "strict": strict,
        "batch_size": batch_size, "threads": threads,
    }  # fmt: skip
    made = opened if isinstance(opened, Reference) else make_reference(reference, progress=progress, **common)
    reports = {
        step: evaluate(
            side, made, metrics=metrics, intervals=intervals, progress=_of_step(step, progress), **common
        )
        for step, side in sides.items()
    }  # fmt: skip
    return Track(reports, _standings(reports), tuple(_notes(reports)))


def _standings(reports: Mapping[int, Report]) -> dict[str, Standing[int]]:
    keys = dict.fromkeys(key for report in reports.values() for key in report.scores)
    found = {
        key: standing({step: report.scores[key] for step, report in reports.items() if key in report.scores})
        for key in keys
    }
    return {key: entry for key, entry in found.items() if entry is not None}


def _sentence(found: Standing[int]) -> str:
    """The verdict in words; the best is named only if it is one."""
    if found.beyond_noise:
        return f"Step {count(found.leader)} is the best, beyond noise."
    which = f"step {count(found.leader)} has the {'highest' if found.higher_is_better else 'lowest'} value"
    if not found.noise_known:
        return f"{which.capitalize()}. How sure that is is not known: there are no standard errors."
    others = [count(step) for step in found.not_told_apart]
    if len(others) == len(found.differences):
        return f"No checkpoint is better than another beyond noise; {which}."
    return f"No checkpoint is better than all others beyond noise: {which}, and {_listed(others)} may be as good."


def _notes(reports: Mapping[int, Report]) -> list[str]:
    numbers = {report.generated.num_images for report in reports.values()}
    keys = dict.fromkeys(key for report in reports.values() for key in report.scores)
    touched = [key for key in keys if catalogue_key(key) in OF_BOTH_SIDES]
    notes = []
    if len(numbers) > 1 and touched:
        notes.append(
            f"The numbers of generated images differ, and {', '.join(touched)} depend on them: part of a difference "
            "may be the numbers. Give --num-images, at most the smallest."
        )
    for step, report in reports.items():
        if report.generated.skipped:
            notes.append(f"Step {count(step)}: {counted(len(report.generated.skipped), 'file')} skipped.")
    notes += dict.fromkeys(prose(note) for report in reports.values() for note in report.runtime.notes)
    return notes


def _of_step(step: int, progress: ProgressCallback | None) -> ProgressCallback | None:
    """The same callback, told which step the images are of."""
    if progress is None:
        return None

    def told(state: Progress) -> None:
        progress(replace(state, stage=f"step {step}") if state.stage == "generated" else state)

    return told


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
