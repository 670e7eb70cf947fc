"""A report as a table for a terminal: no colour codes, no control character, no line wider than asked."""

from __future__ import annotations

from collections.abc import Sequence

from genmetrics_rt.render import words
from genmetrics_rt.render.names import display_width, prose, shorten, visible
from genmetrics_rt.render.numbers import counted, duration, memory, plain_number, rate
from genmetrics_rt.render.reading import read
from genmetrics_rt.report import Report, Score

NARROWEST = 40  # columns
_SIDE_BY_SIDE = 76  # columns from which the meaning stands beside the number instead of below it
_GAP = "  "
_NUMBERS = (1, 3)  # the columns of the score table that stand right: value, best


def render_text(report: Report, width: int = 100) -> str:
    """The report as plain text with no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    blocks = [
        _header(report, width),
        _paragraphs(read(report, plain_number).sentences, width),
        _findings(report, width),
        _scores(report, width),
        _footer(report, width),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` terminal columns, broken at spaces; a longer word is broken where it must be."""
    lines, line = [], ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if display_width(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        while display_width(word) > width:
            cut = _fitting(word, width)
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [*lines, line] if line else lines


def _header(report: Report, width: int) -> list[str]:
    extractor, generated, reference = report.extractor, report.generated, report.reference
    about = f"{prose(extractor.title)}, protocol {prose(extractor.protocol)}"
    lines = []
    for what, side in (("generated", generated), ("reference", reference)):
        images = counted(side.num_images, "image")
        lines += labelled(what, f"{shorten(visible(side.source), 120)} ({images})", width)
        for note in side.notes:
            lines += labelled("", prose(note), width)
    lines += labelled("features", about, width)
    if extractor.label:
        lines += labelled("", prose(extractor.label), width)
    for what, side in (("generated", generated), ("reference", reference)):
        if side.skipped:
            told = f"{counted(len(side.skipped), f'{what} file')}: {words.skip_reasons(side)}"
            lines += labelled("SKIPPED", told, width)
    return lines


def _findings(report: Report, width: int) -> list[str]:
    lines = []
    for entry in words.sorted_findings(report):
        text = f"{prose(entry.claim)} {prose(entry.evidence)} {prose(entry.advice)}"
        lines += labelled(words.SEVERITIES[words.severity(entry)], text, width)
    return lines


def _scores(report: Report, width: int) -> list[str]:
    if not report.scores:
        return []
    scores = list(report.scores.values())
    names = [words.short_name(score, report)[0] for score in scores]
    values = [_value(score) for score in scores]
    directions = ["higher" if score.higher_is_better else "lower" for score in scores]
    best = ["" if score.best is None else f"{score.best:g}" for score in scores]

    heads = (prose(words.space(report)), "value", "better", "best", "what it says")
    fixed = max(map(len, [*values, heads[1]])) + len("higher") + max(map(len, [*best, heads[3]])) + 4 * len(_GAP)
    beside = width >= _SIDE_BY_SIDE
    room = max(12, (30 if beside else width) - (0 if beside else fixed - len(_GAP)))
    name_width = min(room, max(map(display_width, [*names, heads[0]])))
    widths = (
        name_width,
        max(map(len, [*values, heads[1]])),
        len("higher"),
        max(map(len, [*best, heads[3]])),
        width - name_width - fixed if beside else 0,
    )
    lines = row(heads if beside else heads[:4], widths, right=_NUMBERS)
    lines.append("-" * (width if beside else sum(widths) + 3 * len(_GAP)))
    for score, name, value, way, ideal in zip(scores, names, values, directions, best, strict=True):
        told = " ".join(_told(score, report))
        lines += row((name, value, way, ideal, told)[: 5 if beside else 4], widths, right=_NUMBERS)
        if not beside:
            lines += [_GAP + line for line in wrap(told, width - len(_GAP))]
    return lines


def _told(score: Score, report: Report) -> list[str]:
    """What stands beside a number: the first sentence of the meaning, or why there is none; then every reservation."""
    if score.value is None:
        return [prose(score.reason or "No reason was given.")]
    facts, notes = words.details(score, report, plain_number)
    facts = [fact for fact in facts if fact.startswith(("standard deviation", "one subset", "a perfect model"))]
    beside = [*words.uncertainty(score, plain_number), *facts]
    first, dot, _ = prose(score.meaning).partition(". ")
    return [first + dot.rstrip(), *notes, *([f"({'; '.join(beside)})"] if beside else [])]


def _value(score: Score) -> str:
    return "none" if score.value is None else words.value(score, plain_number)


def _footer(report: Report, width: int) -> list[str]:
    runtime = report.runtime
    speed = f", {rate(runtime.images_per_second)}" if runtime.images_per_second is not None else ""
    peak = f", {memory(runtime.peak_memory_bytes)} at most" if runtime.peak_memory_bytes is not None else ""
    lines = []
    for note in runtime.notes:
        lines += labelled("note", prose(note), width)
    published = words.published_note(report)
    if published:
        lines += labelled("compare", published, width)
    lines += labelled("fingerprint", visible(report.fingerprint), width)
    made = f"genmetrics-rt {prose(report.version)}, {prose(runtime.device)}, {prose(runtime.backend)}"
    lines += labelled(
        "made", f"{words.moment(report.created)}, {made}, {duration(runtime.seconds)}{speed}{peak}", width
    )
    return lines


def labelled(label: str, text: str, width: int) -> list[str]:
    """``fingerprint  7d1f…``: a label in its column, the text wrapped beside it."""
    return row((label, text), (11, width - 11 - len(_GAP)))


def _paragraphs(sentences: Sequence[str], width: int) -> list[str]:
    return [line for sentence in sentences for line in wrap(sentence, width)]


def row(cells: Sequence[str], widths: Sequence[int], *, right: Sequence[int] = ()) -> list[str]:
    """Cells side by side, each wrapped in its column; ``right`` names the columns that stand right."""
    columns = [wrap(cell, width) for cell, width in zip(cells, widths, strict=False)]
    lines = []
    for index in range(max(map(len, columns))):
        parts = [column[index] if index < len(column) else "" for column in columns]
        spaces = [" " * (width - display_width(part)) for part, width in zip(parts, widths, strict=False)]
        padded = [
            space + part if place in right else part + space
            for place, (part, space) in enumerate(zip(parts, spaces, strict=True))
        ]
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _fitting(word: str, width: int) -> int:
    """How many characters of the word fit."""
    taken = 0
    for index, character in enumerate(word):
        taken += display_width(character)
        if taken > width:
            return max(index, 1)
    return len(word)
