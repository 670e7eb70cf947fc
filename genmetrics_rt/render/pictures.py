"""Small pictures as markup, alone or in pairs, as long as the page stays small."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from genmetrics_rt.render.markup import escape, name
from genmetrics_rt.render.names import bounded
from genmetrics_rt.render.numbers import number
from genmetrics_rt.report import Gallery, Thumbnail

PICTURE_BYTES = 1_500_000  # of JPEG on one page; in base64 a third more, which leaves 1 MB for everything else
PAIRED = ("nearest_pairs",)  # keys of galleries in which every second picture belongs to the one before it
_CAPTION_NAME = 64  # characters


class Pictures:
    """JPEGs as figures; those that would make the page too large are named only."""

    def __init__(self) -> None:
        self._left = PICTURE_BYTES

    def figure(
        self, jpeg: bytes | None, file_name: str, caption: str, alternative: str, *, missing: str = "no picture"
    ) -> str:
        """One picture with its file name and a caption; ``missing`` stands in its place where there is none."""
        size = len(jpeg or b"")
        if jpeg and size <= self._left:
            self._left -= size
            source = base64.b64encode(jpeg).decode("ascii")
            picture = f'<img src="data:image/jpeg;base64,{source}" alt="{escape(alternative)}">'
        else:
            picture = f'<div class="no-picture">{"left out to keep this page small" if jpeg else missing}</div>'
        return (
            f'<figure>{picture}<figcaption><span class="file">{name(file_name, _CAPTION_NAME)}</span>'
            f'<span class="figure">{escape(caption)}</span></figcaption></figure>'
        )

    def thumbnail(self, entry: Thumbnail) -> str:
        """A picture of a report."""
        caption = entry.caption or number(entry.value)
        alternative = f"{bounded(entry.name)}, {caption}"
        return self.figure(entry.jpeg, entry.name, caption, alternative, missing="cannot be read again")

    def gallery(self, entry: Gallery) -> str:
        """A gallery with its question."""
        figures = [self.thumbnail(thumbnail) for thumbnail in entry.thumbnails]
        shown = in_pairs(figures) if entry.key in PAIRED else single(figures)
        return f'<div class="gallery"><h3>{escape(entry.title)}</h3><p>{escape(entry.explanation)}</p>{shown}</div>'


def single(figures: Sequence[str]) -> str:
    """Figures in rows."""
    return '<ul class="pictures">' + "".join(f"<li>{figure}</li>" for figure in figures) + "</ul>"


def in_pairs(figures: Sequence[str]) -> str:
    """Figures of which the first and the second, the third and the fourth … stay beside each other at every width."""
    pairs = ("".join(figures[start : start + 2]) for start in range(0, len(figures), 2))
    return '<ul class="pictures pairs">' + "".join(f"<li>{pair}</li>" for pair in pairs) + "</ul>"
