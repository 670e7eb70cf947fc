"""What is said of images, said of texts: the scores and rules are the same, and so are most of their words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genmetrics_rt.report import Finding, Gallery, Report, Score

# Not inside names: num_images, --num-images, ImageNet.
_WORDS = re.compile(r"(?<![\w./-])([Ii]mage|[Pp]icture)(s?)(?![\w-])")
_PHRASES = (("look like", "are like"), ("looks like", "is like"), ("skipped files", "skipped texts"))


def of_texts(sentence: str) -> str:
    """A sentence of ours about images as one about texts."""
    for before, after in _PHRASES:
        sentence = sentence.replace(before, after)
    return _WORDS.sub(lambda found: ("Text" if found[1][0].isupper() else "text") + found[2], sentence)


def said(sentence: str, modality: str) -> str:
    """A sentence of ours about images, of what the sides really consist of."""
    return of_texts(sentence) if modality == "text" else sentence


def report_of_texts(report: Report) -> Report:
    """A report whose every sentence speaks of texts. Numbers, keys, names and quoted texts stay as they are."""
    return replace(
        report,
        scores={key: _score(score) for key, score in report.scores.items()},
        findings=tuple(map(_finding, report.findings)),
        galleries=tuple(map(_gallery, report.galleries)),
    )


def _score(score: Score) -> Score:
    floor = score.floor and replace(score.floor, how=of_texts(score.floor.how))
    return replace(
        score,
        name=of_texts(score.name),
        meaning=of_texts(score.meaning),
        comparable_with=of_texts(score.comparable_with),
        reason=score.reason and of_texts(score.reason),
        placement=of_texts(score.placement),
        details=_details(score.details),
        floor=floor,
    )


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    return {key: of_texts(value) if isinstance(value, str) else value for key, value in details.items()}


def _finding(finding: Finding) -> Finding:
    claim, evidence, advice = map(of_texts, (finding.claim, finding.evidence, finding.advice))
    return replace(finding, claim=claim, evidence=evidence, advice=advice)


def _gallery(gallery: Gallery) -> Gallery:
    thumbnails = tuple(replace(entry, caption=of_texts(entry.caption)) for entry in gallery.thumbnails)
    title, explanation = of_texts(gallery.title), of_texts(gallery.explanation)
    return replace(gallery, title=title, explanation=explanation, thumbnails=thumbnails)
