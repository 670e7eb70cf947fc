"""`genmetrics compare`, `genmetrics explain`, and the table of `evaluate --protocol-matrix`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import genmetrics_rt as gm
from genmetrics_rt.errors import InputError, MissingInput, UnreadableInput
from genmetrics_rt.options import (
    BackendName,
    BatchSize,
    Device,
    NoCache,
    NumImages,
    Quiet,
    Strict,
    Threads,
    say_errors,
)
from genmetrics_rt.report import json_text
from genmetrics_rt.terminal import give, progress, require_own_places

JsonFile = Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")]


@say_errors
def compare(
    reports: Annotated[list[str], typer.Argument(help="Two or more reports that `evaluate --json` wrote.")],
    json_file: JsonFile = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
) -> None:
    """Put saved reports side by side; what is not comparable is said, not shown.

    \b
    genmetrics evaluate out-1/ real/ --json A.json
    genmetrics evaluate out-2/ real/ --json B.json
    genmetrics compare A.json B.json
    genmetrics compare A.json B.json --html models.html    the table and all curves over each other
    """
    outputs = {"--json": json_file, "--html": html_file}
    require_own_places(outputs, tuple(reports))
    files = read_reports(reports)
    table = gm.compare(
        {name: report for name, (_, report) in files.items()}, files={n: f for n, (f, _) in files.items()}
    )
    give(table.to_text, {"--json": lambda: table.to_json() + "\n", "--html": table.to_html}, outputs)


@say_errors
def explain(
    first: Annotated[str, typer.Argument(metavar="A.json", help="A report that `evaluate --json` wrote.")],
    second: Annotated[str, typer.Argument(metavar="B.json", help="Another one.")],
    generated: Annotated[
        str | None, typer.Option("--generated", help="The generated images: compute again, line by line.")
    ] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The real images; needed with those.")] = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", "-e", help="The bundle, if it has no name on this machine.")
    ] = None,
    json_file: JsonFile = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    num_images: NumImages = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Say why the numbers of two saved reports differ; with the images, by how much each line moves them.

    \b
    genmetrics explain A.json B.json
    genmetrics explain A.json B.json --generated out/ --reference real/
    """
    sides = tuple(side for side in (generated, reference) if side is not None)
    require_own_places({"--json": json_file}, (first, second, *sides))
    (one, (_, a)), (other, (_, b)) = read_reports([first, second]).items()
    with progress(quiet or not sides) as callback:
        explanation = gm.explain(
            a,
            b,
            generated=generated,
            reference=reference,
            names=(one, other),
            extractor=extractor,
            device=device,
            backend=backend,
            num_images=num_images,
            cache=not no_cache,
            strict=strict,
            batch_size=batch_size,
            threads=threads,
            progress=callback,
        )
    give_with_json(explanation.to_text, explanation.to_dict(), json_file)


def refuse_options(what: str, given: Mapping[str, object]) -> None:
    """Raise `InputError` for options that mean one report. ``given``: option → what the user gave, if anything."""
    for option, value in given.items():
        if value:
            raise InputError(
                f"{what}, and {option} is about one report on all. Leave one of them out; with --json FILE everything "
                "is written."
            )


def show_matrix(generated: Any, reference: str, *, json_file: str | None, quiet: bool, **options: Any) -> None:
    """Print, and write where asked, the same images under all protocols. ``options`` as `protocol_matrix`."""
    from genmetrics_rt.explaining.protocol_table import matrix_record
    from genmetrics_rt.explaining.protocol_table_text import render_matrix

    with progress(quiet) as callback:
        reports = gm.protocol_matrix(generated, reference, progress=callback, **options)
    bundle = gm.load_bundle(options["extractor"] or next(iter(reports.values())).extractor.name)
    titles = {name: protocol.title for name, protocol in bundle.manifest.protocols.items()}
    give_with_json(lambda *, width: render_matrix(reports, titles, width), matrix_record(reports), json_file)


def give_with_json(text: Callable[..., str], record: Mapping[str, Any], json_file: str | None) -> None:
    """The answer to standard output, the JSON where it is wanted."""
    give(text, {"--json": lambda: json_text(record) + "\n"}, {"--json": json_file})


def read_reports(paths: Sequence[str]) -> dict[str, tuple[str, gm.Report]]:
    """Short name → (path, report): the file's stem; where two are alike, the generated side; else the path."""
    if len({str(Path(path).expanduser().resolve()) for path in paths}) < len(paths):
        raise InputError("The same report was named twice, and it does not differ from itself. Name two files.")
    reports = [(path, _read(path)) for path in paths]
    for name in (lambda path, _: Path(path).stem, lambda _, report: report.generated.source, lambda path, _: path):
        by_name = {name(path, report): (path, report) for path, report in reports}
        if len(by_name) == len(reports):
            break
    return by_name


def _read(path: str) -> gm.Report:
    file = Path(path).expanduser()
    try:
        return gm.Report.from_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInput(
            f"{path} does not exist. Write it with: genmetrics evaluate GENERATED REFERENCE --json {path}"
        ) from error
    except (OSError, UnicodeDecodeError, UnreadableInput) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UnreadableInput(
            f"{path} cannot be read as a report: {why} Give a file that `genmetrics evaluate … --json FILE` wrote."
        ) from error
