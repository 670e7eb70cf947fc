"""`genmetrics likelihood`: what log-likelihoods say, from files or from a frozen density."""

from __future__ import annotations

import math
import re
from typing import Annotated

import typer

from genmetrics_rt.bundle import list_bundles
from genmetrics_rt.errors import InputError
from genmetrics_rt.likelihood.evaluation import likelihood_of_files, likelihood_of_images
from genmetrics_rt.likelihood.model import DEFAULT_WEIGHTS, names_density
from genmetrics_rt.likelihood.window import parzen_of_images
from genmetrics_rt.metrics.likelihood import offset_bits
from genmetrics_rt.options import BackendName, BatchSize, Device, Quiet, Seed, Strict, Threads, say_errors
from genmetrics_rt.terminal import give, progress, require_own_places


@say_errors
def likelihood(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE… | DENSITY IMAGES | --parzen SAMPLES IMAGES",
            help="Files of log-likelihoods; or a frozen density and images; or samples and images.",
        ),
    ],
    train: Annotated[
        list[str] | None,
        typer.Option("--train", help="The same of training images: a file for each FILE, or images. Repeatable."),
    ] = None,
    generated: Annotated[
        str | None, typer.Option("--generated", help="The model's own samples. [default: of the density's generator]")
    ] = None,
    dims: Annotated[
        int | None, typer.Option("--dims", min=1, help="Dimensions D of an image: 3072 for 32 × 32 in colour.")
    ] = None,
    shape: Annotated[str | None, typer.Option("--shape", help="The same as 32x32x3.")] = None,
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            help="What the density was modelled on: discrete (no bits to add), [0,1], [-1,1], '(x+u)/127.5-1', or "
            "what x was divided by.",
        ),
    ] = "discrete",
    levels: Annotated[int, typer.Option("--levels", min=2, help="Values of a pixel: 256 for 8 bits.")] = 256,
    log_weights: Annotated[
        bool, typer.Option("--log-weights", help="The files hold K importance weights of each image, (N, K).")
    ] = False,
    samples: Annotated[
        int, typer.Option("--samples", "-k", min=1, help="Importance samples of each image under a density.")
    ] = DEFAULT_WEIGHTS,
    parzen: Annotated[
        bool, typer.Option("--parzen", help="A Parzen window around SAMPLES, on IMAGES; read its warning.")
    ] = False,
    sigma: Annotated[float | None, typer.Option("--sigma", help="Width of that window. [default: chosen]")] = None,
    num_images: Annotated[
        int | None, typer.Option("--num-images", "-n", min=1, help="Use this many images of a side (a seeded sample).")
    ] = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    seed: Seed = 0,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """NLL, bits/dim, overfitting, and importance-weighted bounds, from log-likelihoods or a frozen density.

    \b
    genmetrics likelihood digits-vae-density digits                     a shipped example
    genmetrics likelihood test.npy --train train.npy --shape 32x32x3    nats of each image
    genmetrics likelihood a.npy b.csv --dims 784 --scale '[0,1]'        densities of x/256; several models
    genmetrics likelihood weights.npy --log-weights                     (N, K) importance weights
    genmetrics likelihood --parzen samples/ test/                       the window of Goodfellow et al. 2014
    """
    outputs = {"--json": json_file, "--html": html_file}
    if json_file == html_file == "-":
        raise InputError("--json and --html both go to standard output. Name a file for one of them.")
    sides = [*inputs, *(train or ()), *([generated] if generated else ())]
    require_own_places(outputs, tuple(sides))
    dims = _dims(dims, shape)
    if parzen:
        _require_two(inputs, "--parzen takes SAMPLES and IMAGES")
        report = parzen_of_images(*inputs, sigma=sigma, num_images=num_images, seed=seed)
    elif names_density(inputs[0]) or inputs[0] in list_bundles():
        _require_two(inputs, "a density takes IMAGES")
        if len(train or ()) > 1:
            raise InputError("One density has one set of training images. Give --train once.")
        with progress(quiet) as callback:
            report = likelihood_of_images(
                *inputs,
                train=train[0] if train else None,
                generated=generated,
                num_weights=samples,
                num_images=num_images,
                dims=dims,
                offset=offset_bits(scale, levels=levels),
                device=device,
                backend=backend,
                threads=threads,
                batch_size=batch_size or 64,
                strict=strict,
                seed=seed,
                progress=callback,
            )
    else:
        report = likelihood_of_files(
            inputs, train=train or (), dims=dims, scale=scale, levels=levels, log_weights=log_weights
        )
    give(report.to_text, {"--json": lambda: report.to_json() + "\n", "--html": report.to_html}, outputs)


def _dims(dims: int | None, shape: str | None) -> int | None:
    if shape is None:
        return dims
    if not re.fullmatch(r"\d+([x×,]\d+)*", shape) or "0" in re.split(r"[x×,]", shape):
        raise InputError(f"--shape {shape!r} is no shape. Write it as 32x32x3.")
    found = math.prod(int(side) for side in re.split(r"[x×,]", shape))
    if dims is not None and dims != found:
        raise InputError(f"--dims {dims} and --shape {shape}, which is {found}, disagree. Leave one of them out.")
    return found


def _require_two(inputs: list[str], what: str) -> None:
    if len(inputs) != 2:
        raise InputError(f"{what[:1].upper()}{what[1:]}: two arguments, and {len(inputs)} were given.")
