"""Small pictures as markup, alone or in pairs, as long as the page stays small."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from genmetrics_rt.render.markup import escape, name
from genmetrics_rt.render.names import bounded, prose, shorten
from genmetrics_rt.render.numbers import number
from genmetrics_rt.report import Gallery, Thumbnail

PICTURE_BYTES = 1_500_000  # of JPEG on one page; in base64 a third more, which leaves 1 MB for everything else
PAIRED = ("nearest_pairs",)  # keys of galleries in which every second picture belongs to the one before it
_CAPTION_NAME = 64  # characters
_TEXT = 600


class Pictures:
    """JPEGs as figures; those that would make the page too large are named only."""

    def __init__(self) -> None:
        self._left = PICTURE_BYTES

    def figure(
        self,
        jpeg: bytes | None,
        file_name: str,
        caption: str,
        alternative: str,
        *,
        missing: str = "no picture",
        text: str | None = None,
    ) -> str:
        """One picture with its file name and a caption; ``missing`` stands in its place where there is none.

        ``text`` is what stands there where the sides consist of texts.
        """
        size = len(jpeg or b"")
        if text is not None:
            # In its own direction, and none of it outside: "auto" isolates, and what overrides is written out.
            picture = f'<blockquote dir="auto">{escape(shorten(prose(text), _TEXT))}</blockquote>'
        elif jpeg and size <= self._left:
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
        missing = "cannot be read again"
        return self.figure(entry.jpeg, entry.name, caption, alternative, missing=missing, text=entry.text)

    def gallery(self, entry: Gallery) -> str:
        """A gallery with its question."""
        figures = [self.thumbnail(thumbnail) for thumbnail in entry.thumbnails]
        of_texts = any(thumbnail.text is not None for thumbnail in entry.thumbnails)
        shown = in_pairs(figures, of_texts) if entry.key in PAIRED else single(figures, of_texts)
        return f'<div class="gallery"><h3>{escape(entry.title)}</h3><p>{escape(entry.explanation)}</p>{shown}</div>'


def single(figures: Sequence[str], of_texts: bool = False) -> str:
    """Figures in rows; texts in wide ones."""
    return (
        f'<ul class="pictures{" texts" if of_texts else ""}">'
        + "".join(f"<li>{figure}</li>" for figure in figures)
        + "</ul>"
    )


def in_pairs(figures: Sequence[str], of_texts: bool = False) -> str:
    """Figures of which the first and the second, the third and the fourth … stay beside each other at every width."""
    pairs = ("".join(figures[start : start + 2]) for start in range(0, len(figures), 2))
    return (
        f'<ul class="pictures pairs{" texts" if of_texts else ""}">'
        + "".join(f"<li>{pair}</li>" for pair in pairs)
        + "</ul>"
    )


def in_rows(figures: Sequence[str], size: int) -> str:
    """Figures of which ``size`` at a time belong together and stay beside each other at every width."""
    groups = ("".join(figures[start : start + size]) for start in range(0, len(figures), size))
    return f'<ul class="pictures rows of-{size}">' + "".join(f"<li>{group}</li>" for group in groups) + "</ul>"
