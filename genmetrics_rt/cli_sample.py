"""`genmetrics sample`: pictures of a generator as files."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

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
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.options import Device, Quiet, Seed, Threads, say_errors
from genmetrics_rt.render.numbers import counted
from genmetrics_rt.sample_files import write_samples
from genmetrics_rt.terminal import messages, progress


@say_errors
def sample(
    generator: Annotated[str, typer.Argument(help="A generator: bundle, shipped name, .onnx or TorchScript file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder, or a .zip or .npz file; must not exist.")],
    num_images: Annotated[int, typer.Option("--num-images", "-n", min=1, help="How many.")] = 1000,
    seed: Seed = 0,
    device: Device = "auto",
    quiet: Quiet = False,
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
    """Write samples of a GENERATOR as PNG, without loss: sample i is the same however many are asked for.

    \b
    genmetrics sample digits-gan -o digits/ -n 1000
    genmetrics sample model.onnx -o samples.zip --output-range=-1,1
    genmetrics sample biggan.onnx -o out/ --truncation 0.5 --classes balanced
    """
    side = generated_side(
        generator,
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
    described = side if isinstance(side, Generator) else Generator(side)
    source = GeneratorSource(described, num_images, seed=seed, device=device, threads=threads)
    with _ended_in_order(), progress(quiet) as callback:
        place = write_samples(source, output, progress=callback)
    messages.print(f"{place}: {counted(num_images, 'image')} of {source.name}.", markup=False)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM, as a scheduler sends it, leaves nothing behind either: it becomes an exit with the code of a shell."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return

    def end(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop the removal
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
