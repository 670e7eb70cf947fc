"""The `genmetrics` command. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

import genmetrics_rt as gm
from genmetrics_rt.cache import cache_home
from genmetrics_rt.errors import GenmetricsError, InputError
from genmetrics_rt.gate import Condition
from genmetrics_rt.reference import require_npz
from genmetrics_rt.terminal import (
    drop_stdout,
    messages,
    print_result,
    progress,
    require_own_places,
    terminal_width,
    unwritable_stdout,
    why_not_writable,
    write_files,
)

app = typer.Typer(
    name="genmetrics",
    help="Scores a generative model from frozen, hash-checked metric graphs.\n\n"
    "\b\n"
    "genmetrics evaluate digits-gan digits              a shipped example, nothing to download\n"
    "genmetrics evaluate out/ real/ --html report.html  two folders\n"
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
bundles_app = typer.Typer(help="The frozen graphs: what is there, and whether it is what it should be.")
app.add_typer(bundles_app, name="bundles", no_args_is_help=True)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _say_errors(command: Callable[_P, _T]) -> Callable[_P, _T]:
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
    """After Ctrl-C: whether the features that were finished are still there."""
    if "no_cache" not in options:
        return ""  # a command that computes no features
    if options["no_cache"] or why_not_writable(cache_home() / "features" / "block"):
        return " Nothing was kept: the same command starts again from the beginning."
    return " Features that were finished are in the cache: the same command goes on from there."


Extractor = Annotated[
    str | None,
    typer.Option(
        "--extractor", "-e", help="Feature network: a shipped name or the folder of a bundle. [default: scattering]"
    ),
]
Protocol = Annotated[
    str | None, typer.Option("--protocol", help="One of the extractor's recipes from pixels to input.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1. Never falls back silently.")]
BackendName = Annotated[str, typer.Option("--backend", help="onnx or torchscript.")]
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
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images per call of the network.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads to use. [default: what is granted]")]


@_say_errors
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
@_say_errors
def evaluate(
    generated: Annotated[str, typer.Argument(help="Folder, zip, tar, npy/npz, features, generator, or example name.")],
    reference: Annotated[str, typer.Argument(help="The real images: the same kinds, or a file of `reference`.")],
    extractor: Extractor = None,
    protocol: Protocol = None,
    metrics: Annotated[str | None, typer.Option("--metrics", "-m", help="For instance fd,kid. [default: all]")] = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    num_images: NumImages = None,
    seed: Seed = 0,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
    markdown_file: Annotated[str | None, typer.Option("--markdown", help="Write Markdown here, or to -.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", help="Exit with 1 if this holds: 'kid>0.05'. Repeatable.")
    ] = None,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = 32,
    threads: Threads = None,
) -> None:
    """Score GENERATED images against REFERENCE images.

    \b
    genmetrics evaluate digits-gan digits                        a shipped example
    genmetrics evaluate out/ real/                               two folders
    genmetrics evaluate out.zip real.npz --html report.html      a page to send on
    genmetrics evaluate out/ real.stats.npz --json -             against `genmetrics reference`
    genmetrics evaluate gen.npy real.npy --metrics fd,kid        your own features (N, D)
    genmetrics evaluate out/ real/ --fail-if 'coverage<0.6'      a gate for CI
    """
    conditions = [Condition.parse(text) for text in fail_if or []]
    for condition in conditions:
        condition.require_computed(metrics)
    outputs = {"--json": json_file, "--html": html_file, "--markdown": markdown_file}
    require_own_places(outputs, (generated, reference))
    with progress(quiet) as callback:
        report = gm.evaluate(
            generated,
            reference,
            extractor=extractor,
            protocol=protocol,
            metrics=metrics,
            device=device,
            backend=backend,
            num_images=num_images,
            seed=seed,
            cache=not no_cache,
            strict=strict,
            batch_size=batch_size,
            threads=threads,
            progress=callback,
        )
    # The answer first, and the files even if nobody reads it: nothing computed is lost.
    writers = {"--json": lambda: report.to_json() + "\n", "--html": report.to_html, "--markdown": report.to_markdown}
    printed = [option for option, place in outputs.items() if place == "-"]
    try:
        print_result(writers[printed[0]]() if printed else report.to_text(width=min(110, terminal_width())))
    finally:
        write_files({place: writers[option]() for option, place in outputs.items() if place not in (None, "-")})
    held = [condition for condition in conditions if condition.holds(report)]
    for condition in held:
        messages.print(
            f"failed: {condition.text} holds ({condition.key} is {condition.value(report):.6g})", style="red"
        )
    if held:
        raise typer.Exit(1)


@app.command()
@_say_errors
def reference(
    side: Annotated[str, typer.Argument(help="The images: folder, zip, tar, npy/npz, generator, or example name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, for instance real.stats.npz.")],
    extractor: Extractor = None,
    protocol: Protocol = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    num_images: NumImages = None,
    seed: Seed = 0,
    no_cache: NoCache = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = 32,
    threads: Threads = None,
) -> None:
    """Compute the features of the real images once, to be scored against many times.

    \b
    genmetrics reference real/ -o real.stats.npz
    genmetrics evaluate out/ real.stats.npz
    """
    require_npz(output)
    require_own_places({"--output": str(output)}, (side,))
    reason = why_not_writable(output)
    if reason:
        raise InputError(f"Cannot write {output}: {reason}. Name another file with -o.")
    with progress(quiet) as callback:
        done = gm.make_reference(
            side,
            extractor=extractor,
            protocol=protocol,
            device=device,
            backend=backend,
            num_images=num_images,
            seed=seed,
            cache=not no_cache,
            strict=strict,
            batch_size=batch_size,
            threads=threads,
            progress=callback,
        )
    done.save(output)
    skipped = f", {len(done.summary.skipped):,} files skipped" if done.summary.skipped else ""
    messages.print(f"{output}: {done.summary.num_images:,} images, {done.extractor.name} features{skipped}.")


@bundles_app.command("list")
@_say_errors
def bundles_list() -> None:
    """Name, kind and purpose of every shipped bundle."""
    rows = [gm.load_bundle(name).manifest for name in gm.list_bundles()]
    width = max(len(manifest.name) for manifest in rows)
    for manifest in rows:
        print_result(f"{manifest.name:<{width}}  {manifest.kind:<10} {manifest.title}")


@bundles_app.command("path")
@_say_errors
def bundles_path(name: Annotated[str, typer.Argument(help="Name or folder of a bundle.")]) -> None:
    """The folder of a bundle, for other programs that want to load its graph."""
    print_result(f"{gm.load_bundle(name).path}")


@bundles_app.command("verify")
@_say_errors
def bundles_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names or folders. [default: all shipped]")] = None,
    backend: BackendName = "onnx",
    device: Device = "cpu",
) -> None:
    """Check every hash, run the self-test, and print how far this machine deviates from the workshop."""
    from genmetrics_rt.frozen import open_graph
    from genmetrics_rt.selftest import measure

    wrong = False
    bundles = [gm.load_bundle(name) for name in names or gm.list_bundles()]
    width = max(len(bundle.name) for bundle in bundles)
    output_width = max(len(output.name) for bundle in bundles for output in bundle.manifest.outputs)
    for bundle in bundles:
        bundle.verify()
        deviations = measure(bundle, open_graph(bundle, backend=backend, device=device))
        for deviation in deviations:
            wrong |= not deviation.holds
            state = "holds" if deviation.holds else "DEVIATES"
            print_result(
                f"{bundle.name:<{width}}  {deviation.output:<{output_width}}  {state}: "
                f"{deviation.absolute:.1e} absolute, {deviation.relative:.1e} relative"
            )
        if not deviations:
            print_result(f"{bundle.name:<{width}}  hashes hold (no self-test in its manifest)")
    if wrong:
        raise GenmetricsError(
            "This machine's runtime computes other numbers than the workshop's, beyond the tolerance of the manifest. "
            "Scores made here are not comparable. Try another onnxruntime version, and report this one."
        )


@app.command()
@_say_errors
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
    try:
        app()
    except OSError as error:  # the commands let none through: it comes from printing the help
        drop_stdout()
        messages.print(f"error: {unwritable_stdout(error)}", style="red", markup=False)
        sys.exit(2)
