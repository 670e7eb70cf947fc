"""`genmetrics copies`: does the model repeat its training images?"""

from __future__ import annotations

from typing import Annotated

import typer

from genmetrics_rt.copying.finding import find_copies
from genmetrics_rt.errors import InputError
from genmetrics_rt.options import (
    BackendName,
    BatchSize,
    Device,
    Extractor,
    NoCache,
    Precision,
    Protocol,
    Quiet,
    Seed,
    Strict,
    Tap,
    Threads,
    say_errors,
)
from genmetrics_rt.terminal import give, progress, require_own_places


@say_errors
def copies(
    generated: Annotated[str, typer.Argument(help="Folder, zip, tar, npy/npz, features, generator, or example name.")],
    train: Annotated[str, typer.Argument(help="The images that the model was trained on: all of them.")],
    heldout: Annotated[
        str | None,
        typer.Option("--heldout", help="Images of the same kind that it was not trained on: they calibrate the test."),
    ] = None,
    extractor: Extractor = None,
    protocol: Protocol = None,
    tap: Tap = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    precision: Precision = "fp32",
    num_images: Annotated[
        int | None, typer.Option("--num-images", "-n", min=1, help="Use this many generated images.")
    ] = None,
    seed: Seed = 0,
    no_flips: Annotated[bool, typer.Option("--no-flips", help="Do not look at mirrored training images.")] = False,
    no_duplicates: Annotated[
        bool, typer.Option("--no-duplicates", help="Do not look for images that occur twice.")
    ] = False,
    num_pairs: Annotated[int, typer.Option("--pairs", min=0, help="How many of the closest pairs to show.")] = 24,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Test whether GENERATED images are copies of TRAIN images; find duplicates and leaks.

    \b
    genmetrics copies out/ train/ --heldout test/                   calibrated with the test set
    genmetrics copies out/ train/ --html copies.html                the closest pairs side by side
    genmetrics copies digits-memoriser digits                       a shipped example
    """
    outputs = {"--json": json_file, "--html": html_file}
    if json_file == html_file == "-":
        raise InputError("--json and --html both go to standard output. Name a file for one of them.")
    require_own_places(outputs, tuple(side for side in (generated, train, heldout) if side is not None))
    with progress(quiet) as callback:
        report = find_copies(
            generated,
            train,
            heldout,
            extractor=extractor,
            protocol=protocol,
            tap=tap,
            device=device,
            backend=backend,
            precision=precision,
            mirrored=not no_flips,
            duplicates=not no_duplicates,
            num_pairs=num_pairs,
            num_images=num_images,
            seed=seed,
            cache=not no_cache,
            strict=strict,
            batch_size=batch_size,
            threads=threads,
            progress=callback,
        )
    give(report.to_text, {"--json": lambda: report.to_json() + "\n", "--html": report.to_html}, outputs)
