"""`genmetrics scorecard`: generators side by side in the six properties that such models are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from genmetrics_rt.bare_generators import is_generator_file
from genmetrics_rt.errors import InputError
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generator_options import (
    Classes,
    Clip,
    GeneratorBackend,
    GeneratorBatch,
    Latent,
    LatentDim,
    NumClasses,
    OutputLayout,
    OutputRange,
    Truncation,
    generated_side,
)
from genmetrics_rt.options import (
    BackendName,
    BatchSize,
    Device,
    Extractor,
    NoCache,
    NumImages,
    Precision,
    Protocol,
    Quiet,
    Seed,
    Strict,
    Tap,
    Threads,
    say_errors,
)
from genmetrics_rt.scorecard.scoring import make_scorecard
from genmetrics_rt.terminal import give, progress, require_own_places


@say_errors
def scorecard(
    sides: Annotated[
        list[str], typer.Argument(metavar="GENERATOR... REFERENCE", help="Frozen generators, then the real images.")
    ],
    density: Annotated[
        list[str] | None,
        typer.Option("--density", help="GENERATOR=DENSITY: a density bundle, where none names it itself. Repeatable."),
    ] = None,
    extractor: Extractor = None,
    protocol: Protocol = None,
    tap: Tap = None,
    distance: Annotated[
        str, typer.Option("--distance", help="Of the path length: scattering, or lpips-vgg and the like.")
    ] = "scattering",
    device: Device = "auto",
    backend: BackendName = "onnx",
    precision: Precision = "fp32",
    num_images: NumImages = None,
    seed: Seed = 0,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
    latent_dim: LatentDim = None,
    latent: Latent = None,
    truncation: Truncation = None,
    num_classes: NumClasses = None,
    classes: Classes = None,
    output_range: OutputRange = None,
    output_layout: OutputLayout = None,
    clip: Clip = False,
    generator_backend: GeneratorBackend = None,
    generator_batch: GeneratorBatch = None,
) -> None:
    """Judge GENERATORs by sampling cost, quality, coverage, latent space, disentanglement and likelihood.

    Options of generators are for every .onnx and TorchScript file among them; where there is none, for all.

    \b
    genmetrics scorecard digits-vae digits-gan digits-flow digits-diffusion digits
    genmetrics scorecard model.onnx real/ --output-range=-1,1 --html card.html
    genmetrics scorecard flow.onnx real/ --density flow.onnx=flow-density/
    """
    if len(sides) < 2:
        raise InputError("A scorecard needs a generator and the real images: genmetrics scorecard GENERATOR REFERENCE.")
    require_own_places({"--json": json_file, "--html": html_file}, tuple(sides))
    generators = described_sides(
        sides[:-1],
        latent_dim=latent_dim,
        latent=latent,
        truncation=truncation,
        num_classes=num_classes,
        classes=classes,
        output_range=output_range,
        output_layout=output_layout,
        clip=clip,
        generator_backend=generator_backend,
        generator_batch=generator_batch,
    )
    show_scorecard(
        generators,
        sides[-1],
        json_file=json_file,
        html_file=html_file,
        quiet=quiet,
        densities=_densities(density or []),
        distance=distance,
        extractor=extractor,
        protocol=protocol,
        tap=tap,
        device=device,
        backend=backend,
        precision=precision,
        num_images=num_images,
        seed=seed,
        cache=not no_cache,
        strict=strict,
        batch_size=batch_size,
        threads=threads,
    )


def show_scorecard(
    generators: Sequence[Any], reference: str, *, json_file: str | None, html_file: str | None, quiet: bool,
    **options: Any
) -> None:  # fmt: skip
    """Make the scorecard and write it where it was asked for."""
    outputs = {"--json": json_file, "--html": html_file}
    if json_file == html_file == "-":
        raise InputError("--json and --html both go to standard output. Name a file for one of them.")
    require_own_places(outputs, (*(str(entry) for entry in generators), reference))
    with progress(quiet) as callback:
        made = make_scorecard(generators, reference, progress=callback, **options)
    give(made.to_text, {"--json": lambda: made.to_json() + "\n", "--html": made.to_html}, outputs)


def described_sides(sides: Sequence[str], **options: Any) -> list[str | Generator]:
    """The sides, with the options of generators applied to the bare files, or to all where none is one."""
    bare = [side for side in sides if is_generator_file(Path(side).expanduser())]
    return [generated_side(side, **options) if side in bare or not bare else side for side in sides]


def _densities(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        generator, equals, density = text.partition("=")
        if not (generator and equals and density):
            raise InputError(f"--density {text!r} is not GENERATOR=DENSITY. Name the generator, then its density.")
        pairs[generator] = density
    return pairs
