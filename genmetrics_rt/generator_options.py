"""The options that say how a generator is sampled, and how they become a side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genmetrics_rt.bare_generators import is_generator_file
from genmetrics_rt.class_labels import label_table
from genmetrics_rt.errors import InputError
from genmetrics_rt.generator_files import Generator

LatentDim = Annotated[
    str | None,
    typer.Option(
        "--latent-dim", help="Generator file: length of a latent, such as 128 or 100x1x1, if it is not fixed."
    ),
]
Latent = Annotated[
    str | None, typer.Option("--latent", help="Generator: normal, uniform or truncnorm. [default: normal]")
]
Truncation = Annotated[
    float | None, typer.Option("--truncation", help="Generator: latents outside ± this are drawn again (truncnorm).")
]
NumClasses = Annotated[
    int | None, typer.Option("--num-classes", min=1, help="Generator file: how many classes it has.")
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", help="Generator: uniform, balanced, or a file of labels (CSV name,class or JSON)."),
]
OutputRange = Annotated[
    str | None,
    typer.Option("--output-range", help="Generator file: black and white of a float output: -1,1 or 0,1 or 0,255."),
]
OutputLayout = Annotated[str | None, typer.Option("--output-layout", help="Generator file: NHWC, NCHW or NHW.")]
Clip = Annotated[bool, typer.Option("--clip", help="Generator file: clip values outside --output-range.")]
GeneratorBackend = Annotated[
    str | None,
    typer.Option("--generator-backend", help="onnx, or torchscript: torch then runs the code that it carries."),
]
GeneratorBatch = Annotated[
    int | None, typer.Option("--generator-batch", min=1, help="Generator: images it makes at a time. [default: 64]")
]


def generated_side(
    side: str,
    *,
    latent_dim: str | None,
    latent: str | None,
    truncation: float | None,
    num_classes: int | None,
    classes: str | None,
    output_range: str | None,
    output_layout: str | None,
    clip: bool,
    generator_backend: str | None,
    generator_batch: int | None,
) -> str | Generator:
    """The side as it was given, or the generator that the options describe. They are for a generator alone."""
    options: dict[str, Any] = {
        "latent_dim": None if latent_dim is None else _latent_dim(latent_dim),
        "latent": latent,
        "truncation": truncation,
        "num_classes": num_classes,
        "output_range": None if output_range is None else _output_range(output_range),
        "output_layout": None if output_layout is None else output_layout.upper(),
        "clip": clip or None,
        "backend": generator_backend,
        "batch_size": generator_batch,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if not given and classes is None and not is_generator_file(Path(side).expanduser()):
        return side
    if classes in (None, "uniform", "balanced"):
        return Generator(side, **given, classes=classes or "uniform")
    generator = Generator(side, **given)
    return Generator(side, **given, classes=_class_list(str(classes), generator))


def _latent_dim(text: str) -> int | tuple[int, ...]:
    parts = text.lower().split("x")
    if not all(part.isdigit() for part in parts):
        raise InputError(f"--latent-dim {text!r} is no size. Write 128, or 100x1x1.")
    return int(parts[0]) if len(parts) == 1 else tuple(map(int, parts))


def _output_range(text: str) -> tuple[float, float]:
    try:
        black, white = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--output-range {text!r} is not black and white. Write --output-range=-1,1") from error
    return black, white


def _class_list(path: str, generator: Generator) -> list[int]:
    """The classes of a file of labels, in its order, as numbers of this generator's classes."""
    table = label_table(path)
    numbers = {name: index for index, name in enumerate(generator.class_names)}
    labels = list(table.values()) if isinstance(table, dict) else list(table or ())
    unknown = sorted({label for label in labels if label not in numbers})
    if unknown:
        known = ", ".join(list(numbers)[:6]) + (", …" if len(numbers) > 6 else "")
        raise InputError(f"{path} names the class {unknown[0]!r}, which {generator.name} does not have ({known}).")
    return [numbers[label] for label in labels]
