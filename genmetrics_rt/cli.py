"""The `genmetrics` command. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import genmetrics_rt as gm
from genmetrics_rt.cli_adversarial import adversarial
from genmetrics_rt.cli_bundles import bundles_app
from genmetrics_rt.cli_copies import copies
from genmetrics_rt.cli_latent import latent_space
from genmetrics_rt.cli_likelihood import likelihood
from genmetrics_rt.cli_paper import report as paper
from genmetrics_rt.cli_perceptual import perceptual
from genmetrics_rt.cli_references import references_app
from genmetrics_rt.cli_reports import compare, explain, refuse_options, show_matrix
from genmetrics_rt.cli_sample import sample
from genmetrics_rt.cli_scorecard import scorecard as scorecard_command
from genmetrics_rt.cli_scorecard import show_scorecard
from genmetrics_rt.cli_shards import merge, shard
from genmetrics_rt.cli_track import show_by_class, track
from genmetrics_rt.errors import InputError
from genmetrics_rt.gate import Condition
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
from genmetrics_rt.graph_on_onnxruntime import silence_onnxruntime
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
    TextField,
    Threads,
    say_errors,
    with_text_field,
)
from genmetrics_rt.preparation import default_extractor
from genmetrics_rt.reference import LAYOUTS, require_npz, write_statistics
from genmetrics_rt.render.numbers import counted
from genmetrics_rt.scale.ray_engine import evaluate_with_ray
from genmetrics_rt.terminal import (
    drop_stdout,
    give,
    messages,
    print_result,
    progress,
    require_own_places,
    unwritable_stdout,
    why_not_writable,
)

app = typer.Typer(
    name="genmetrics",
    help="Scores a generative model from frozen, hash-checked metric graphs.\n\n"
    "\b\n"
    "genmetrics evaluate digits-gan digits              a shipped example, nothing to download\n"
    "genmetrics evaluate out/ real/ --html report.html  two folders\n"
    "genmetrics evaluate out/ real/ -e inception-fid    published-comparable FID\n"
    "genmetrics doctor                                  what is there, what is missing",
    epilog="\b\n"
    "Exit codes:\n"
    "  0    done\n"
    "  1    a --fail-if holds\n"
    "  2    wrong usage or input\n"
    "  3    something failed on our side\n"
    "  130  interrupted\n"
    "  141  nobody reads the output any more",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bundles_app, name="bundles", no_args_is_help=True)
app.add_typer(references_app, name="references", no_args_is_help=True)


@say_errors
def _print_version(asked: bool) -> None:
    if asked:
        print_result(f"genmetrics-rt {gm.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@say_errors
def evaluate(
    generated: Annotated[str, typer.Argument(help="Folder, zip, tar, npy/npz, texts, features, generator or example.")],
    reference: Annotated[str, typer.Argument(help="The real images: the same kinds, or a file of `reference`.")],
    extractor: Extractor = None,
    protocol: Protocol = None,
    tap: Tap = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", "-m", help="For instance fd,kid; or all. [default: the usual ones]")
    ] = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    precision: Precision = "fp32",
    num_images: NumImages = None,
    seed: Seed = 0,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
    markdown_file: Annotated[str | None, typer.Option("--markdown", help="Write Markdown here, or to -.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", help="Exit with 1 if this holds: 'kid>0.05'. Repeatable.")
    ] = None,
    no_intervals: Annotated[
        bool, typer.Option("--no-intervals", help="Scores alone, faster: no intervals, no perfect model, no findings.")
    ] = False,
    ladder: Annotated[
        bool,
        typer.Option("--ladder", help="To which damage of the reference a score corresponds; slow the first time."),
    ] = False,
    training_log: Annotated[
        str | None,
        typer.Option(
            "--training-log", help="A log of discriminator outputs, as for `adversarial`: findings on the training."
        ),
    ] = None,
    likelihoods: Annotated[
        str | None,
        typer.Option("--likelihoods", help="A density bundle, or log-likelihoods of both sides: whether they mislead."),
    ] = None,
    text_field: TextField = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
    protocol_matrix: Annotated[
        bool, typer.Option("--protocol-matrix", help="The same images under all protocols of the extractor.")
    ] = False,
    scorecard: Annotated[
        bool, typer.Option("--scorecard", help="Of a generator: speed, latent space and likelihood beside the scores.")
    ] = False,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: the images of both sides by Ray Data (extra [ray]).")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Of --engine ray. [default: what the cluster has room for]")
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="A score for each class: a folder is a class, or see the next two.")
    ] = False,
    generated_labels: Annotated[
        str | None, typer.Option("--generated-labels", help="Classes of the generated images: CSV name,class or JSON.")
    ] = None,
    reference_labels: Annotated[
        str | None, typer.Option("--reference-labels", help="The same for the reference.")
    ] = None,
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
    """Score GENERATED images against REFERENCE images.

    \b
    genmetrics evaluate digits-gan digits                        a shipped example
    genmetrics evaluate out/ real/                               two folders
    genmetrics evaluate out.zip real.npz --html report.html      a page to send on
    genmetrics evaluate out/ real.stats.npz --json -             against `genmetrics reference`
    genmetrics evaluate gen.npy real.npy --metrics fd,kid        your own features (N, D)
    genmetrics evaluate out/ real/ --fail-if 'coverage<0.6'      a gate for CI
    genmetrics evaluate out/ real/ -e inception-fid --protocol-matrix
    genmetrics evaluate gen.txt real.txt                         texts, one a line; .jsonl, .csv too
    genmetrics evaluate out/ real/ --by-class                    out/cat/, out/dog/ … and real/cat/, …
    genmetrics evaluate model.onnx real/ --output-range=-1,1     a generator, sampled as it is needed
    genmetrics evaluate 'out-{000..099}.tar' s3://real/images --engine ray --workers 16
    """
    for_findings = {"--training-log": training_log, "--likelihoods": likelihoods}
    of_one = {"--html": html_file, "--markdown": markdown_file, "--fail-if": fail_if, **for_findings}
    if no_intervals:
        refuse_options("--no-intervals makes no findings", for_findings)
    if protocol_matrix:
        refuse_options("--protocol-matrix makes a report for each protocol", {"--protocol": protocol, **of_one})
        refuse_options("--protocol-matrix scores whole sides", {"--by-class": by_class, "--ladder": ladder})
    if by_class:
        refuse_options("--by-class scores each class by itself", {**of_one, "--ladder": ladder})
    if scorecard:
        other = {"--markdown": markdown_file, "--fail-if": fail_if, "--metrics": metrics, **for_findings}
        ways = {"--by-class": by_class, "--protocol-matrix": protocol_matrix, "--ladder": ladder}
        refuse_options("--scorecard shows six properties", {**other, **ways, "--no-intervals": no_intervals})
    if engine not in ("local", "ray"):
        raise InputError(f"--engine {engine!r} is unknown. Use local or ray.")
    local_only = {
        "--by-class": by_class, "--protocol-matrix": protocol_matrix, "--scorecard": scorecard, "--ladder": ladder,
        "--likelihoods": likelihoods,
    }  # fmt: skip
    for option, value in local_only.items():
        if value and engine == "ray":
            raise InputError(f"--engine ray keeps no images, and {option} needs them. Leave one of them out.")
    if workers is not None and engine == "local":
        raise InputError("--workers is for --engine ray. For more threads in one process there is --threads.")
    conditions = [Condition.parse(text) for text in fail_if or []]
    for condition in conditions:
        condition.require_computed(metrics, published=_published(extractor, protocol, tap, (generated, reference)))
    outputs = {"--json": json_file, "--html": html_file, "--markdown": markdown_file}
    require_own_places(outputs, (generated, reference))
    side = generated_side(
        generated,
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
    side, against = with_text_field({"generated": side, "reference": reference}, text_field).values()
    options: dict[str, Any] = {
        "extractor": extractor,
        "tap": tap,
        "metrics": metrics,
        "device": device,
        "backend": backend,
        "precision": precision,
        "num_images": num_images,
        "seed": seed,
        "cache": not no_cache,
        "strict": strict,
        "batch_size": batch_size,
        "threads": threads,
    }
    if protocol_matrix:
        show_matrix(side, against, quiet=quiet, json_file=json_file, **options)
        return
    options |= {"protocol": protocol}
    if scorecard:
        del options["metrics"]
        show_scorecard([side], reference, json_file=json_file, html_file=html_file, quiet=quiet, **options)
        return
    options |= {"intervals": not no_intervals}
    if by_class:
        labels = {"generated_labels": generated_labels, "reference_labels": reference_labels}
        show_by_class(side, against, quiet=quiet, json_file=json_file, **labels, **options)
        return
    with progress(quiet) as callback:
        if engine == "ray":
            options |= {"workers": workers, "threads": threads or 1, "cache": False if no_cache else None}
            report = evaluate_with_ray(side, against, training_log=training_log, progress=callback, **options)
        else:
            report = gm.evaluate(
                side,
                against,
                ladder=ladder,
                training_log=training_log,
                likelihoods=likelihoods,
                progress=callback,
                **options,
            )
    writers = {"--json": lambda: report.to_json() + "\n", "--html": report.to_html, "--markdown": report.to_markdown}
    give(report.to_text, writers, outputs)
    held = [condition for condition in conditions if condition.holds(report)]
    for condition in held:
        messages.print(
            f"failed: {condition.text} holds ({condition.key} is {condition.value(report):.6g})", style="red"
        )
    if held:
        raise typer.Exit(1)


def _published(
    extractor: str | None, protocol: str | None, tap: str | None, sides: tuple[str, ...]
) -> bool | str | None:
    """Whether scores will go by their published names; None where a file of statistics decides on the extractor."""
    if extractor is None and any(Path(side).suffix in (".npz", ".pkl", ".pt", ".pth") for side in sides):
        return None
    manifest = gm.load_bundle(extractor or default_extractor()).manifest
    return tap is None and bool(manifest.protocols) and manifest.published_by(manifest.protocol(protocol))


@app.command()
@say_errors
def reference(
    side: Annotated[str, typer.Argument(help="The images: folder, zip, tar, npy/npz, generator, or example name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, for instance real.stats.npz.")],
    extractor: Extractor = None,
    protocol: Protocol = None,
    tap: Tap = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    precision: Precision = "fp32",
    num_images: NumImages = None,
    seed: Seed = 0,
    text_field: TextField = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
    layout: Annotated[
        str, typer.Option("--layout", help="ours, or for other tools: pytorch-fid, adm (needs --protocol adm).")
    ] = "ours",
) -> None:
    """Compute the features of the real images once, to be scored against many times.

    \b
    genmetrics reference real/ -o real.stats.npz
    genmetrics evaluate out/ real.stats.npz
    genmetrics reference real/ -e inception-fid -o real.npz --layout pytorch-fid     for other tools to read
    """
    if layout not in ("ours", *LAYOUTS):
        raise InputError(f"--layout {layout!r} is unknown. Use ours, {', '.join(LAYOUTS)}.")
    require_npz(output)
    require_own_places({"--output": str(output)}, (side,))
    reason = why_not_writable(output)
    if reason:
        raise InputError(f"Cannot write {output}: {reason}. Name another file with -o.")
    with progress(quiet) as callback:
        done = gm.make_reference(
            with_text_field({"side": side}, text_field)["side"],
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
            progress=callback,
        )
    if layout == "ours":
        done.save(output)
    else:
        write_statistics(done, output, layout)
    kind = "texts" if done.extractor.modality == "text" else "files"
    skipped = f", {len(done.summary.skipped):,} {kind} skipped" if done.summary.skipped else ""
    images = counted(done.summary.num_images, done.extractor.modality)
    messages.print(f"{output}: {images}, {done.extractor.name} features{skipped}.", markup=False)


app.command()(compare)
app.command()(explain)
app.command()(copies)
app.command()(likelihood)
app.command()(adversarial)
app.command()(perceptual)
app.command()(track)
app.command()(sample)
app.command("latent")(latent_space)
app.command()(shard)
app.command()(merge)
app.command("scorecard")(scorecard_command)
app.command("report")(paper)


@app.command()
@say_errors
def doctor() -> None:
    """What is installed, what is missing, and the line that installs it."""
    from genmetrics_rt.doctor import examine

    marks = {"ok": "ok     ", "missing": "missing", "problem": "PROBLEM"}
    problem = False
    for check in examine():
        problem |= check.state == "problem"
        print_result(f"{marks[check.state]}  {check.name:<24} {check.detail}")
        if check.remedy:
            print_result(f"{'':<9}{'':<24} → {check.remedy}")
    if problem:
        raise typer.Exit(3)


def main() -> None:
    """Entry point of the `genmetrics` command."""
    if sys.stdout is None:  # closed by the caller: `>&-`
        sys.stdout = open(os.devnull, "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that this terminal's encoding lacks is no defect
    silence_onnxruntime()
    try:
        app()
    except OSError as error:  # the commands let none through: it comes from printing the help
        drop_stdout()
        messages.print(f"error: {unwritable_stdout(error)}", style="red", markup=False)
        sys.exit(2)
