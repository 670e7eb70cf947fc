"""The few pieces of HTML that every section is made of. Whatever goes in is escaped here and nowhere else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from genmetrics_rt.render.names import bounded, prose, shorten, visible


def escape(text: str) -> str:
    """A sentence or a label: one line, shapeless characters written out, safe in text and in attributes."""
    return html.escape(prose(text), quote=True)


def commands(text: str) -> str:
    """A sentence in which commands stand between backticks."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def name(text: str, limit: int) -> str:
    """A name from outside: isolated from the direction of the text around it; where it is cut, whole in its title."""
    shown, whole = shorten(visible(text), limit), bounded(text)
    title = f' title="{html.escape(whole)}"' if whole != shown else ""
    return f"<bdi{title}>{html.escape(shown)}</bdi>"


def code(text: str) -> str:
    """A hash or a fingerprint, whole: it may break anywhere."""
    return f"<code>{html.escape(bounded(text))}</code>" if text else "–"


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """A list of terms and finished HTML; rows without content are left out."""
    return (
        "<dl>"
        + "".join(f"<div><dt>{escape(term)}</dt><dd>{entry}</dd></div>" for term, entry in rows if entry)
        + ("</dl>")
    )


def section(key: str, title: str, content: str, *, lead: str = "") -> str:
    """A section with its heading, and an introduction in finished HTML."""
    introduction = f'<p class="lead">{lead}</p>' if lead else ""
    return (
        f'<section id="{key}" aria-labelledby="{key}-heading"><h2 id="{key}-heading">{escape(title)}</h2>'
        f"{introduction}{content}</section>\n"
    )


def details(summary: str, content: str) -> str:
    """What is there for those who ask; ``summary`` is text, ``content`` finished HTML."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text cells; the numbers stand right."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
