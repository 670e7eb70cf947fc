"""The tab that explains: which metric matters when, what good and bad values look like, and when not to trust them."""

from __future__ import annotations

from pathlib import Path

import gradio as gr


def build() -> None:
    """The tab's content."""
    gr.Markdown(Path(__file__).with_name("about.md").read_text(encoding="utf-8"))
