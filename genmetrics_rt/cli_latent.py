"""`genmetrics latent`: how smooth a generator's latent space is, and whether its factors mean one thing each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmetrics_rt.cache import write_atomically
from genmetrics_rt.errors import InputError
from genmetrics_rt.generator_options import (
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
from genmetrics_rt.latent.examine import DEFAULT_PATHS, examine_latent_space
from genmetrics_rt.latent.path_length import SEED
from genmetrics_rt.options import BackendName, Device, Extractor, Quiet, Threads, say_errors
from genmetrics_rt.terminal import give, messages, progress, require_own_places, why_not_writable


@say_errors
def latent_space(
    generator: Annotated[str, typer.Argument(help="A generator: bundle, shipped name, .onnx or TorchScript file.")],
    distance: Annotated[
        str, typer.Option("--distance", help="Perceptual distance: scattering, lpips-vgg, lpips-alex, …")
    ] = "scattering",
    num_paths: Annotated[int, typer.Option("--num-paths", "-n", min=10, help="Pairs of latents.")] = DEFAULT_PATHS,
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", help="Step, as a share of a path. [default: 1e-4; 0.1 for 8-bit images]"),
    ] = None,
    interpolate: Annotated[
        str, typer.Option("--interpolation", help="lerp, slerp_any or slerp_unit (StyleGAN's, on the unit sphere).")
    ] = "lerp",
    sampling: Annotated[str, typer.Option("--sampling", help="end or full: where on the path the step lies.")] = "end",
    resize: Annotated[
        int | None, typer.Option("--resize", min=8, help="Pixels a side before the distance; torch-fidelity: 64.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="pixels (unrounded) or images (8 bits). [default: pixels if there]")
    ] = None,
    factors: Annotated[
        str | None, typer.Option("--factors", help="declared, dims or classes. [default: declared, if there are any]")
    ] = None,
    extractor: Extractor = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For latents, classes and places.")] = SEED,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
    png_file: Annotated[str | None, typer.Option("--png", help="Write the picture strips here, as one PNG.")] = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    quiet: Quiet = False,
    threads: Threads = None,
    latent_dim: LatentDim = None,
    latent: Latent = None,
    truncation: Truncation = None,
    num_classes: NumClasses = None,
    output_range: OutputRange = None,
    output_layout: OutputLayout = None,
    clip: Clip = False,
    generator_backend: GeneratorBackend = None,
    generator_batch: GeneratorBatch = None,
) -> None:
    """Perceptual path length of a GENERATOR, jumps in its latent space, and how far its factors are disentangled.

    \b
    genmetrics latent digits-vae                                  a shipped example
    genmetrics latent digits-memoriser --html latent.html         with pictures of the worst paths
    genmetrics latent model.onnx --output-range=-1,1 --distance lpips-vgg --resize 64 -n 10000
    """
    outputs = {"--json": json_file, "--html": html_file, "--png": png_file}
    if json_file == html_file == "-":
        raise InputError("--json and --html both go to standard output. Name a file for one of them.")
    if png_file == "-":
        raise InputError("--png is a picture and needs a file. Name one.")
    require_own_places(outputs, (generator,))
    if png_file is not None and (reason := why_not_writable(Path(png_file))):
        raise InputError(f"Cannot write {png_file}: {reason}. Name another file with --png.")
    side = generated_side(
        generator,
        latent_dim=latent_dim,
        latent=latent,
        truncation=truncation,
        num_classes=num_classes,
        classes=None,
        output_range=output_range,
        output_layout=output_layout,
        clip=clip,
        generator_backend=generator_backend,
        generator_batch=generator_batch,
    )
    with progress(quiet) as callback:
        report = examine_latent_space(
            side,
            distance=distance,
            num_paths=num_paths,
            epsilon=epsilon,
            interpolate=interpolate,
            sampling=sampling,
            resize=resize,
            output=output,
            factors=factors,
            extractor=extractor,
            seed=seed,
            device=device,
            backend=backend,
            threads=threads,
            progress=callback,
        )
    if png_file is not None:
        write_atomically(Path(png_file), report.strips_png())
        messages.print(f"wrote {png_file}", markup=False)
    texts = {"--json": json_file, "--html": html_file}
    give(report.to_text, {"--json": lambda: report.to_json() + "\n", "--html": report.to_html}, texts)
