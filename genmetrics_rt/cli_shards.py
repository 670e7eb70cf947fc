"""`genmetrics shard` and `genmetrics merge`: a side of a million images, in as many processes as there is room for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmetrics_rt.errors import InputError
from genmetrics_rt.features import MAX_KEPT
from genmetrics_rt.options import (
    BackendName,
    BatchSize,
    Device,
    Extractor,
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
from genmetrics_rt.reference import require_npz
from genmetrics_rt.render.numbers import counted
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.scale.sharding import make_shard, merge_shards
from genmetrics_rt.terminal import messages, progress, require_own_places, why_not_writable

_NAMED = 10  # unreadable files that are listed on the terminal; the file holds all


@say_errors
def shard(
    side: Annotated[str, typer.Argument(help="The images, as for `reference`; a generator with --num-images.")],
    index: Annotated[int, typer.Option("--index", min=0, help="Which part, from 0.")],
    of: Annotated[int, typer.Option("--of", min=1, help="How many parts there are.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, for instance part_3.npz.")],
    extractor: Extractor = None,
    protocol: Protocol = None,
    tap: Tap = None,
    device: Device = "auto",
    backend: BackendName = "onnx",
    precision: Precision = "fp32",
    num_images: Annotated[
        int | None, typer.Option("--num-images", "-n", min=1, help="How many a generator makes, all parts together.")
    ] = None,
    seed: Seed = 0,
    kept: Annotated[
        int, typer.Option("--kept", min=1, help="Rows of the whole side kept for KID and the neighbour metrics.")
    ] = MAX_KEPT,
    leaf: Annotated[
        int | None, typer.Option("--leaf", min=1, help="Entries of a leaf, the unit of resuming. [default: by size]")
    ] = None,
    text_field: TextField = None,
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Store all features too: 12 kB an image. Going on needs no cache."),
    ] = False,
    strict: Strict = False,
    quiet: Quiet = False,
    batch_size: BatchSize = None,
    threads: Threads = None,
) -> None:
    """Compute one part of a large side; `merge` joins them. Call it again after it was killed: it goes on.

    \b
    genmetrics shard real/ --index 0 --of 8 -o part_0.npz        on one machine
    genmetrics shard real/ --index 1 --of 8 -o part_1.npz        on another
    genmetrics merge part_*.npz -o real.stats.npz
    genmetrics evaluate out/ real.stats.npz
    """
    _require_writable(output, (side,))
    with progress(quiet) as callback:
        done = make_shard(
            with_text_field({"side": side}, text_field)["side"],
            output,
            index=index,
            of=of,
            extractor=extractor,
            protocol=protocol,
            tap=tap,
            device=device,
            backend=backend,
            precision=precision,
            num_images=num_images,
            seed=seed,
            max_kept=kept,
            leaf_size=leaf,
            cache=cache,
            strict=strict,
            batch_size=batch_size,
            threads=threads,
            progress=callback,
        )
    went_on = f", {done.resumed:,} of its leaves from an earlier run" if done.resumed else ""
    messages.print(
        f"{output}: part {index} of {of}, {counted(done.num_images, done.modality)} of {done.num_entries:,}, "
        f"{done.extractor} features{went_on}.",
        markup=False,
    )
    for note in done.notes:
        messages.print(note, markup=False)
    _name_skipped(done.skipped)


@say_errors
def merge(
    parts: Annotated[list[str], typer.Argument(help="All files that `shard` wrote of one side, in any order.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, for instance real.stats.npz.")],
) -> None:
    """Join the parts of a side into one file that `evaluate` takes on either side.

    \b
    genmetrics merge part_*.npz -o real.stats.npz
    """
    _require_writable(output, tuple(parts))
    done = merge_shards(parts)
    done.save(output)
    images = counted(done.summary.num_images, done.extractor.modality)
    messages.print(f"{output}: {images}, {done.extractor.name} features.", markup=False)
    for note in done.summary.notes:
        messages.print(note, markup=False)
    _name_skipped(done.summary.skipped)


def _require_writable(output: Path, inputs: tuple[str, ...]) -> None:
    require_npz(output)
    require_own_places({"--output": str(output)}, inputs)
    reason = why_not_writable(output)
    if reason:
        raise InputError(f"Cannot write {output}: {reason}. Name another file with -o.")


def _name_skipped(skipped: tuple[SkippedImage, ...]) -> None:
    if not skipped:
        return
    messages.print(f"{counted(len(skipped), 'file')} skipped:", markup=False)
    for entry in skipped[:_NAMED]:
        messages.print(f"  {entry.name}: {entry.reason}", markup=False)
    if len(skipped) > _NAMED:
        messages.print(f"  … and {len(skipped) - _NAMED:,} more; the file lists all.", markup=False)
