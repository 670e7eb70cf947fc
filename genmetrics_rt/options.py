"""What the commands share: their options, and how errors become one message and an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from genmetrics_rt.cache import cache_home
from genmetrics_rt.errors import GenmetricsError, InputError
from genmetrics_rt.terminal import messages, why_not_writable
from genmetrics_rt.texts import read_texts

_FIELDS = (".jsonl", ".ndjson", ".csv", ".tsv")
_P = ParamSpec("_P")
_T = TypeVar("_T")


def say_errors(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn our errors into one message and an exit code; only a defect of ours shows a stack trace."""

    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return command(*args, **kwargs)
        except GenmetricsError as error:
            messages.print(f"error: {error}", style="red", markup=False)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            messages.print(f"Interrupted.{_what_is_left(kwargs)}")
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception:
            messages.print_exception()
            messages.print(
                "error: this is a defect of genmetrics-rt, not of your input. Please report it.", style="red"
            )
            raise typer.Exit(3) from None

    return wrapped


def _what_is_left(options: Mapping[str, Any]) -> str:
    """After Ctrl-C: whether what was finished is still there."""
    if "leaf" in options:
        return " Leaves that were finished are kept: the same command goes on from there."
    if "no_cache" not in options:
        return ""  # a command that computes no features
    if options["no_cache"] or why_not_writable(cache_home() / "features" / "block"):
        return " Nothing was kept: the same command starts again from the beginning."
    return " Features that were finished are in the cache: the same command goes on from there."


Extractor = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        "-e",
        help="Feature network: inception-fid, another name, or the folder of a bundle. [default: scattering]",
    ),
]
TextField = Annotated[
    str | None,
    typer.Option("--text-field", help="Field of a .jsonl, column of a .csv or .tsv that holds the texts. [text]"),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol", help="One of the extractor's recipes: whose numbers are meant. `bundles show` lists them."
    ),
]
Tap = Annotated[str | None, typer.Option("--tap", help="Features from another place of the network, for instance 768.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1. Never falls back silently.")]
BackendName = Annotated[str, typer.Option("--backend", help="onnx or torchscript.")]
Precision = Annotated[
    str, typer.Option("--precision", help="fp32; tf32 and fp16 are faster on a GPU and move the numbers (README).")
]
NumImages = Annotated[
    int | None,
    typer.Option(
        "--num-images",
        "-n",
        min=1,
        help="Use this many images of a side (a seeded sample); a saved reference stays whole.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="For subsets, latents and k-means.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor store features.")]
Strict = Annotated[bool, typer.Option("--strict", help="An image that cannot be read is an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results and errors.")]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Images per call of the network. [default: 8 on a CPU, 128 on a GPU]"),
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to use. [default: what is granted]")]


def with_text_field(sides: Mapping[str, Any], field: str | None) -> dict[str, Any]:
    """The sides, the files of texts among them opened by the field that was named."""
    if field is None:
        return dict(sides)
    opened = {
        what: read_texts(side, field=field) if isinstance(side, str) and Path(side).suffix.lower() in _FIELDS else side
        for what, side in sides.items()
    }
    if all(opened[what] is side for what, side in sides.items()):
        raise InputError(f"--text-field is for {', '.join(_FIELDS)}, and no side is such a file. Leave it out.")
    return opened
