"""What a generator costs, in words: the same lines in text, Markdown and HTML."""

from __future__ import annotations

from genmetrics_rt.render.names import prose
from genmetrics_rt.render.numbers import count, counted, duration, memory, rate
from genmetrics_rt.report import GeneratorSummary


def generator_lines(entry: GeneratorSummary) -> tuple[tuple[str, str], ...]:
    """(term, text) of one generator: how fast it samples, how large it is, what it takes."""
    batches = "median of " + counted(entry.num_batches, "batch").replace("batchs", "batches")
    speed = (
        f"{rate(entry.images_per_second)}, {_each(entry.seconds_per_image)} each: {count(entry.batch_size)} at a time "
        f"on {prose(entry.device)} by {prose(entry.backend)}, {batches}, the network alone"
    )
    size = memory(entry.size_bytes) if entry.size_bytes >= 10_000_000 else f"{entry.size_bytes / 1e6:.2g} MB"
    if entry.num_parameters is not None:
        size += f", {counted(entry.num_parameters, 'parameter')}"
    latent = counted(entry.latent_dim, "number")
    kind = {"normal": "N(0, 1)", "uniform": "uniform on -1 to 1"}.get(entry.distribution, prose(entry.distribution))
    if entry.truncation is not None:
        kind = f"N(0, 1) within ±{entry.truncation:g}"
    takes = f"{latent}, {kind}" + (f", and one of {entry.num_classes:,} classes" if entry.num_classes else "")
    height, width = entry.image_size
    return ("Sampling", speed), ("Size", size), ("Latent", f"{takes}; images of {width} × {height}")


def _each(seconds: float) -> str:
    """``3.3 µs``, ``12 ms``, ``1.4 s``"""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.2g} µs"
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.1 else duration(seconds)
