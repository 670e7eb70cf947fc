"""`genmetrics perceptual`: how different pictures look, pair by pair, and how diverse a set is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import typer

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.cache import write_atomically
from genmetrics_rt.errors import InputError
from genmetrics_rt.options import Device, Quiet, Seed, Strict, Threads, say_errors
from genmetrics_rt.pairwise.comparing import perceptual_distance, perceptual_diversity
from genmetrics_rt.perceptual import DEFAULT
from genmetrics_rt.terminal import give, messages, progress, require_own_places


@say_errors
def perceptual(
    first: Annotated[str, typer.Argument(help="An image, or images: folder, zip, tar, npy/npz, generator.")],
    second: Annotated[
        str | None,
        typer.Argument(help="What FIRST is compared with, matched by name (or by order); not with --diversity."),
    ] = None,
    net: Annotated[
        str, typer.Option("--net", help="scattering, lpips-alex, lpips-vgg, lpips-squeeze, vgg or vgg-style.")
    ] = DEFAULT,
    diversity: Annotated[
        bool, typer.Option("--diversity", help="How different the images of FIRST look from each other.")
    ] = False,
    num_pairs: Annotated[
        int | None, typer.Option("--pairs", min=1, help="With --diversity: so many. [default: all, at most 1,000]")
    ] = None,
    resize: Annotated[
        bool, typer.Option("--resize", help="Bring the second image to the size of the first where they differ.")
    ] = False,
    map_file: Annotated[
        str | None, typer.Option("--map", help="Of one pair: write a picture of where it differs, a PNG, here.")
    ] = None,
    json_file: Annotated[str | None, typer.Option("--json", help="Write JSON here; - is standard output.")] = None,
    html_file: Annotated[str | None, typer.Option("--html", help="Write a self-contained page here, or to -.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    strict: Strict = False,
    quiet: Quiet = False,
    threads: Threads = None,
) -> None:
    """Compare pictures pair by pair: how different they look.

    \b
    genmetrics perceptual a.png b.png --map where.png          two pictures, and where they differ
    genmetrics perceptual out/ real/ --html pairs.html         folders, matched by name
    genmetrics perceptual out/ real/ --net lpips-alex          LPIPS; its weights are fetched the first time
    genmetrics perceptual out/ --diversity                     pairs within a set: lower is less diverse
    """
    outputs = {"--json": json_file, "--html": html_file}
    if json_file == html_file == "-":
        raise InputError("--json and --html both go to standard output. Name a file for one of them.")
    if map_file == "-":
        raise InputError("--map is a picture, which is not written to standard output. Name a file, such as map.png.")
    require_own_places({**outputs, "--map": map_file}, tuple(side for side in (first, second) if side is not None))
    common: dict[str, Any] = {"net": net, "resize": resize, "seed": seed, "device": device, "strict": strict}
    common["threads"] = threads
    if diversity:
        if second is not None:
            raise InputError("--diversity looks at one set of images. Leave SECOND out, or leave --diversity out.")
        if map_file is not None:
            raise InputError("--map is for one pair. Leave it out: --html shows maps of several pairs.")
    elif second is None:
        raise InputError("What should FIRST be compared with? Give SECOND, or --diversity for pairs within FIRST.")
    elif num_pairs is not None:
        raise InputError("--pairs goes with --diversity: between two sides all pairs are compared.")
    with progress(quiet) as callback:
        if diversity:
            report = perceptual_diversity(first, num_pairs=num_pairs, progress=callback, **common)
        else:
            report = perceptual_distance(first, second, progress=callback, **common)
    if map_file is not None and report.heat is None:
        why = "these are several pairs" if len(report.pairs) > 1 else f"{net} has no map of where pictures differ"
        raise InputError(f"--map is for one pair with a map; {why}. Leave it out: --html shows what there is.")
    give(report.to_text, {"--json": lambda: report.to_json() + "\n", "--html": report.to_html}, outputs)
    if map_file is not None and report.heat is not None:
        _write_png(report.heat, map_file)


def _write_png(heat: ImageArray, place: str) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(heat).save(buffer, "PNG")
    try:
        write_atomically(Path(place), buffer.getvalue())
    except OSError as error:
        raise InputError(f"Cannot write {place}: {error.strerror or error}. Name another file with --map.") from error
    messages.print(f"wrote {place}", markup=False)
