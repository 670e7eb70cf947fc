"""`genmetrics track`, and the table of `evaluate --by-class`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genmetrics_rt.cli_reports import JsonFile, give_with_json
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
from genmetrics_rt.terminal import give, progress, require_own_places


@say_errors
def track(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="DIR", help="A folder of checkpoints, or several: images or generators, by step."),
    ],
    reference: Annotated[str, typer.Argument(help="The real images, as for `evaluate`.")],
    extractor: Extractor = None,
    protocol: Protocol = None,
    tap: Tap = None,
    metrics: Annotated[str | None, typer.Option("--metrics", "-m", help="For instance fd,kid. [default: all]")] = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    precision: Precision = "fp32",
    num_images: NumImages = None,
    seed: Seed = 0,
    json_file: JsonFile = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a page with curves here, or to -.")] = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Score the checkpoints of a training run, and say which is the best beyond noise.

    A checkpoint is a folder or an archive of images, or a generator bundle, with its step in its name.

    \b
    genmetrics track digits-gan-checkpoints digits                  a shipped example
    genmetrics track run/ real/ --html progress.html                run/step_1000/, run/step_2000/, …
    genmetrics track out-10k.zip out-20k.zip real/ -m kid,coverage
    """
    from genmetrics_rt.tracking import track as follow

    outputs = {"--json": json_file, "--html": html_file}
    require_own_places(outputs, (*checkpoints, reference))
    with progress(quiet) as callback:
        done = follow(
            checkpoints[0] if len(checkpoints) == 1 else checkpoints,
            reference,
            extractor=extractor,
            protocol=protocol,
            tap=tap,
            metrics=metrics,
            device=device,
            backend=backend,
            precision=precision,
            num_images=num_images,
            seed=seed,
            cache=not no_cache,
            strict=strict,
            batch_size=batch_size,
            threads=threads,
            progress=callback,
        )
    give(done.to_text, {"--json": lambda: done.to_json() + "\n", "--html": done.to_html}, outputs)


def show_by_class(
    generated: Any,
    reference: str,
    *,
    json_file: str | None,
    quiet: bool,
    generated_labels: str | None = None,
    reference_labels: str | None = None,
    **options: Any,
) -> None:
    """Print, and write where asked, the scores by class. ``options`` as `evaluate_by_class`."""
    from genmetrics_rt.by_class import evaluate_by_class

    with progress(quiet) as callback:
        done = evaluate_by_class(
            generated,
            reference,
            generated_labels=generated_labels,
            reference_labels=reference_labels,
            progress=callback,
            **options,
        )
    give_with_json(done.to_text, done.to_dict(), json_file)
