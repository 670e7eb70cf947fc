"""A report as a table for a terminal: no colour codes, no control character, no line wider than asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genmetrics_rt.render import words
from genmetrics_rt.render.names import display_width, prose, shorten, visible
from genmetrics_rt.render.numbers import counted, duration, memory, plain_number, rate
from genmetrics_rt.render.reading import read
from genmetrics_rt.render.sampling import generator_lines
from genmetrics_rt.report import Report, Score

NARROWEST = 40  # columns
_SIDE_BY_SIDE = 100  # columns from which the meaning stands beside the number instead of below it
_GAP = "  "
_TEXTS = 4  # of a gallery
_QUOTED = 160  # characters of a text
_WITH_INTERVALS = 76  # columns from which intervals have a column of their own


def render_text(report: Report, width: int = 100) -> str:
    """The report as plain text with no line wider than ``width`` columns (at least 40)."""
    width = max(width, NARROWEST)
    blocks = [
        _header(report, width),
        _paragraphs(read(report, plain_number).sentences, width),
        _findings(report, width),
        _texts(report, width),
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
        images = counted(side.num_images, words.noun(report))
        lines += labelled(what, f"{shorten(visible(side.source), 120)} ({images})", width)
        for note in side.notes:
            lines += labelled("", prose(note), width)
        if what in report.generators:
            for term, told in generator_lines(report.generators[what]):
                lines += labelled(f"  {term.lower()}", told, width)
    lines += labelled("features", about, width)
    if extractor.label:
        lines += labelled("", prose(extractor.label), width)
    for what, side in (("generated", generated), ("reference", reference)):
        if side.skipped:
            kind = "text" if report.extractor.modality == "text" else "file"
            told = f"{counted(len(side.skipped), f'{what} {kind}')}: {words.skip_reasons(side)}"
            lines += labelled("SKIPPED", told, width)
    return lines


def _findings(report: Report, width: int) -> list[str]:
    lines = []
    for entry in words.sorted_findings(report):
        text = f"{prose(entry.claim)} {prose(entry.evidence)} {prose(entry.advice)}"
        lines += labelled(words.SEVERITIES[words.severity(entry)], text, width)
    return lines


def _texts(report: Report, width: int) -> list[str]:
    """Where the sides consist of texts, the first of each gallery: there is no picture that a terminal cannot show."""
    lines = []
    for gallery in report.galleries:
        shown = [entry for entry in gallery.thumbnails[:_TEXTS] if entry.text is not None]
        if shown:
            lines += wrap(prose(gallery.title), width)
        for entry in shown:
            told = f"{shorten(prose(entry.text or ''), _QUOTED)}  [{prose(entry.name)}, {prose(entry.caption)}]"
            lines += row(("", told), (1, width - 1 - len(_GAP)))
    return lines


def _scores(report: Report, width: int) -> list[str]:
    if not report.scores:
        return []
    scores = list(report.scores.values())
    columns = [
        _Column(prose(words.space(report)), [words.short_name(score, report)[0] for score in scores]),
        _Column("value", [_value(score) for score in scores], right=True),
        _Column("better", ["higher" if score.higher_is_better else "lower" for score in scores]),
        _Column("best", ["" if score.best is None else f"{score.best:g}" for score in scores], right=True),
    ]
    intervals = _Column("95 % interval", [_interval(score) for score in scores], right=True)
    in_column = width >= _WITH_INTERVALS and any(intervals.cells)
    if in_column:
        columns.insert(2, intervals)
    beside = width >= _SIDE_BY_SIDE
    told = [" ".join(_told(score, report, interval=not in_column)) for score in scores]

    fixed = sum(column.width for column in columns[1:]) + len(_GAP) * (len(columns) - 1)
    room = max(12, 30 if beside else width - fixed)
    widths = [min(room, columns[0].width), *(column.width for column in columns[1:])]
    if beside:
        columns.append(_Column("what it says", told))
        widths.append(width - sum(widths) - len(_GAP) * len(widths))
    right = [place for place, column in enumerate(columns) if column.right]
    lines = row([column.head for column in columns], widths, right=right)
    lines.append("-" * (sum(widths) + len(_GAP) * (len(widths) - 1)))
    for index, text in enumerate(told):
        lines += row([column.cells[index] for column in columns], widths, right=right)
        if not beside:
            lines += [_GAP + line for line in wrap(text, width - len(_GAP))]
    return lines


@dataclass(frozen=True)
class _Column:
    """Of the score table."""

    head: str
    cells: Sequence[str]
    right: bool = False

    @property
    def width(self) -> int:
        return max(map(display_width, [*self.cells, self.head]))


def _interval(score: Score) -> str:
    return "" if score.interval is None else " … ".join(map(plain_number, score.interval))


def _told(score: Score, report: Report, *, interval: bool) -> list[str]:
    """What stands beside a number: the first sentence of the meaning, or why there is none; then every reservation."""
    if score.value is None:
        return [prose(score.reason or "No reason was given.")]
    facts, notes = words.details(score, report, plain_number)
    facts = [
        fact for fact in facts if fact.startswith(("standard deviation", "one subset", "a perfect model", "of which"))
    ]
    if interval and score.interval is not None:
        facts.insert(0, f"95 % interval {_interval(score)}")
    first, dot, _ = prose(score.meaning).partition(". ")
    return [first + dot.rstrip(), *notes, *([f"({'; '.join(facts)})"] if facts else [])]


def _value(score: Score) -> str:
    return "none" if score.value is None else words.value(score, plain_number)


def _footer(report: Report, width: int) -> list[str]:
    runtime = report.runtime
    speed = ""
    if runtime.images_per_second is not None:
        speed = f", {words.of_sides(rate(runtime.images_per_second), report)}"
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
