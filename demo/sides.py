"""One side of a comparison as the page asks for it: a shipped example, or what a visitor uploads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

import genmetrics_rt as gm
import uploads

UPLOADED = "my upload"
GENERATED = {
    "digits-gan": "Digits of a GAN (example)",
    "digits-vae": "Digits of a VAE (example)",
    "digits-memoriser": "Digits of a model that copies (example)",
}
REFERENCE = {"digits": "Real digits (example)"}
_KINDS = "A zip or tar, many images, an array (.npy, .npz), or a file of statistics"


class SideInput:
    """A choice between the examples and an upload."""

    def __init__(self, label: str, examples: dict[str, str]) -> None:
        choices = [(title, name) for name, title in examples.items()] + [("My own images (upload below)", UPLOADED)]
        self.choice = gr.Dropdown(choices, value=next(iter(examples)), label=label)
        self.files = gr.File(label=f"{label}: {_KINDS}", file_count="multiple", type="filepath", height=130)
        quiet = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
        # What was done last is meant: an upload is used as soon as it is there, and an example takes its place.
        self.files.upload(lambda: UPLOADED, None, self.choice, **quiet)
        self.files.clear(lambda: next(iter(examples)), None, self.choice, **quiet)
        self.choice.input(
            lambda chosen, files: files if chosen == UPLOADED else None, [self.choice, self.files], self.files, **quiet
        )

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.choice, self.files]


def take(choice: str, files: Sequence[str] | None, folder: Path, *, what: str) -> uploads.Side:
    """The side that was asked for; an upload is looked at and kept in ``folder``."""
    if not files and choice != UPLOADED:
        return uploads.Side(path=Path(choice), summary=choice, kind="images", num_images=None)
    if not files:
        raise gm.InputError(f"There is no upload for the {what} side. Drop a zip or some images, or pick an example.")
    return uploads.accept(files, folder)


def named(summary: uploads.Side, files: Sequence[str] | None) -> str:
    """What a report calls the side: the name of the upload, never where it lies."""
    if not files:
        return str(summary.path)
    return Path(files[0]).name if len(files) == 1 else f"{len(files):,} uploaded files"
