"""Tables with as many columns of numbers as there are reports or scores: what does not fit stands in a block below."""

from __future__ import annotations

from collections.abc import Sequence

from genmetrics_rt.render.names import display_width
from genmetrics_rt.render.text import row

_GAP = 2  # columns between cells, as `row` sets them
_WIDEST_HEAD = 16
_WIDEST_NAME = 32


def number_table(corner: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int) -> list[str]:
    """Lines of a table: a name at the left of each row, then one cell under each head, standing right.

    ``rows`` holds (name, cells), with as many cells as there are heads. No line is wider than ``width``.
    """
    name_width = min(
        _WIDEST_NAME, width // 2, max(display_width(name) for name in (corner, *(name for name, _ in rows)))
    )
    widths = [
        max(min(_WIDEST_HEAD, display_width(head)), *(display_width(cells[place]) for _, cells in rows), 1)
        for place, head in enumerate(heads)
    ]
    lines: list[str] = []
    for start, stop in _blocks(widths, width - name_width):
        sizes = (name_width, *widths[start:stop])
        right = range(1, len(sizes))
        lines += [""] if lines else []
        lines += row((corner, *heads[start:stop]), sizes, right=right)
        lines.append("-" * (sum(sizes) + _GAP * (len(sizes) - 1)))
        for name, cells in rows:
            lines += row((name, *cells[start:stop]), sizes, right=right)
    return lines


def _blocks(widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """The columns that stand beside each other: (first, behind the last) of each block."""
    blocks, start, used = [], 0, 0
    for place, width in enumerate(widths):
        if place > start and used + width + _GAP > room:
            blocks.append((start, place))
            start, used = place, 0
        used += width + _GAP
    return [*blocks, (start, len(widths))]
