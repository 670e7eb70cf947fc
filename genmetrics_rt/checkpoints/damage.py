"""How a file that came from elsewhere is refused: one error, whatever was wrong with its bytes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from genmetrics_rt.errors import InputError, UnreadableInput

AGAIN = "Get the file from its publisher again."
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SHOWN_CHARACTERS = 120
_WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


class Damage(ValueError):
    """Why a file cannot be used, in the words that follow its name, and the way out."""

    def __init__(self, reason: str, way_out: str = AGAIN) -> None:
        super().__init__(reason)
        self.way_out = way_out


@contextlib.contextmanager
def refusing_damage(what: str) -> Iterator[None]:
    """Raise `UnreadableInput`, which names the file, for whatever goes wrong while its bytes are read."""
    try:
        yield
    except InputError:
        raise
    except Damage as damage:
        raise UnreadableInput(f"{what} {damage}. {damage.way_out}") from damage
    except Exception as error:  # On damaged bytes a parser raises whatever comes; to the caller all means one thing.
        raise UnreadableInput(f"{what} is damaged: {str(error) or type(error).__name__}. {AGAIN}") from error


def refuse_web_page(content: memoryview) -> None:
    """Raise `Damage` for the commonest wrong file: the page that says why the download failed."""
    if bytes(content[:512]).lstrip().lower().startswith(_WEB_PAGES):
        raise Damage("is a web page and no file of weights: the download went wrong", "Download it again.")


def shown(text: str) -> str:
    """A name out of a file, fit for a message: short, and harmless to a terminal."""
    text = _UNPRINTABLE.sub("\ufffd", text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
