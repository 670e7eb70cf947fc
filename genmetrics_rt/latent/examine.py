"""The whole look at a latent space: path length, smoothness, factors, and the pictures that go with them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from genmetrics_rt.bundle import Bundle, load_bundle
from genmetrics_rt.errors import InputError
from genmetrics_rt.extractor import FeatureExtractor
from genmetrics_rt.fetch import fetch_bundle
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource, OpenGenerator
from genmetrics_rt.latent.disentanglement import Disentanglement, disentanglement, factors_over
from genmetrics_rt.latent.frames import factor_strip, path_strips
from genmetrics_rt.latent.interpolation import interpolation
from genmetrics_rt.latent.path_length import (
    EPSILON,
    EPSILON_OF_BYTES,
    SEED,
    TRIM,
    Distance,
    Paths,
    draw_paths,
    path_distances,
    resized,
    summarise,
)
from genmetrics_rt.latent.report import DistanceSummary, LatentReport
from genmetrics_rt.latent.smoothness import measure_smoothness, smoothness_finding
from genmetrics_rt.latent.space import LatentSpace
from genmetrics_rt.perceptual import PerceptualDistance, find_distance, open_distance
from genmetrics_rt.preparation import default_extractor
from genmetrics_rt.progress import Progress, ProgressCallback
from genmetrics_rt.provenance import library_versions, peak_memory
from genmetrics_rt.report import Finding, Runtime
from genmetrics_rt.version import __version__

DEFAULT_PATHS = 1000
_WALKED = 64  # paths that are walked whole
_AT_ONCE, _VALUES_AT_ONCE = 64, 1 << 24  # paths whose pictures are in memory together, and the values in those
_QUADRATIC = 1.5  # a distance that grows with a smaller power of the step makes the path length depend on ε
_SMALL_FOR_BYTES = 0.05  # below, the rounding of 8 bits is as large as what is measured


def examine_latent_space(
    generator: str | os.PathLike[str] | Bundle | Generator,
    *,
    distance: str | Distance = "scattering",
    num_paths: int = DEFAULT_PATHS,
    epsilon: float | None = None,
    interpolate: str = "lerp",
    sampling: str = "end",
    resize: int | None = None,
    output: str | None = None,
    factors: str | None = None,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    seed: int = SEED,
    device: str = "auto",
    backend: str = "onnx",
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> LatentReport:
    """Perceptual path length of a generator, whether its pictures jump, and whether its factors mean one thing each.

    Parameters
    ----------
    generator
        A `Generator`, or whatever it takes: a bundle, a shipped name, an ``.onnx`` file.
    distance
        A perceptual distance by name (``"scattering"``, ``"lpips-vgg"``), or a function of two batches of images
        (N, H, W, 3), float32 on 0..255, that gives (N,) numbers which grow with the square of a small change.
    num_paths
        Pairs of latents; published figures use 10,000 to 100,000.
    epsilon
        Length of a step, as a share of the path. None is 1e-4, or 0.1 where the images are rounded to 8 bits.
    interpolate
        ``"lerp"``, ``"slerp_any"`` (an arc that keeps lengths) or ``"slerp_unit"`` (StyleGAN: an arc on the unit
        sphere, to which both ends are brought).
    sampling
        ``"end"``: the step at the beginning of each path; ``"full"``: at a random place on it.
    resize
        Bring pictures to this size before the distance, as torch-fidelity and torchmetrics do with 64.
    output
        ``"pixels"``, unrounded, or ``"images"``, 8 bits. None is the first where the generator has it.
    factors
        ``"declared"`` by the generator, ``"dims"``: every latent dimension (the first 32), or ``"classes"``: the class
        against the rest of the latent. None is the declared ones, and nothing where there are none.
    extractor
        Features for the factors; None is `GENMETRICS_EXTRACTOR`, else ``"scattering"``.
    seed
        Of ``RandomState``: latents of one end, of the other, classes, places.
    device, backend, threads
        Where and how the networks run.

    Raises
    ------
    InputError
        One of its kinds, with fact, meaning and way out; see `genmetrics_rt.errors`.
    """
    started = time.perf_counter()
    _check(num_paths, epsilon, resize, output, seed)
    interpolation(interpolate)
    described = generator if isinstance(generator, Generator) else Generator(generator)
    named, measure = _open_distance(distance, resize, device=device, backend=backend, threads=threads)
    opened = OpenGenerator(described, device=device, backend=backend, threads=threads)
    if output == "pixels" and not opened.gives_floats:
        raise InputError(
            f"{described.name} gives 8 bits a pixel and nothing finer, so output pixels is not there. Leave it out, or "
            "export the generator with an output pixels (float32 on 0…255) too."
        )
    latents = LatentSpace(opened, as_bytes=output == "images" or not opened.gives_floats)
    if epsilon is None:
        epsilon = EPSILON_OF_BYTES if latents.as_bytes else EPSILON
    chosen = factors_over(
        factors or "declared",
        latent_dim=described.latent_dim,
        num_classes=described.num_classes,
        declared=described.factors,
    )
    if factors == "declared" and not chosen:
        raise InputError(f"{described.name} declares no factors. Use --factors dims to look at its latent dimensions.")

    summary = GeneratorSource(described, 1, device=device, backend=backend, threads=threads).summary()
    at_once = max(1, min(_AT_ONCE, _VALUES_AT_ONCE // (3 * summary.image_size[0] * summary.image_size[1])))
    paths = draw_paths(latents.draw, num_paths, seed=seed, num_classes=described.num_classes, sampling=sampling)
    distances = path_distances(
        latents.pixels,
        measure,
        paths,
        epsilon=epsilon,
        interpolate=interpolate,
        batch_size=at_once,
        progress=_shown(progress, "paths", num_paths),
    )
    settings = {
        "epsilon": epsilon,
        "interpolation": interpolate,
        "sampling": sampling,
        "resize": resize,
        "output": "images" if latents.as_bytes else "pixels",
        "trim": TRIM,
        "seed": seed,
    }
    notes = _notes(latents, epsilon, paths, measure, interpolate, at_once)
    length = summarise(distances, paths, settings=settings, notes=notes)
    walked = paths.rows(slice(_WALKED))
    smooth = measure_smoothness(latents.pixels, measure, walked, interpolate=interpolate, at_once=at_once)
    judged = [finding for finding in (smoothness_finding(smooth),) if finding]
    found = None
    if chosen:
        extract = _features(extractor, device=device, backend=backend, threads=threads, progress=progress)
        found = disentanglement(
            latents.images,
            lambda images: extract(images)[0],
            latents.draw,
            chosen,
            num_classes=described.num_classes,
            seed=seed,
            named=extract.summary.name,
            declared=factors in (None, "declared"),
            progress=_shown_of(progress, "factors", "images"),
        )
        judged += [finding for finding in (_entangled(found),) if finding]
    return LatentReport(
        path_length=length,
        smoothness=smooth,
        disentanglement=found,
        findings=tuple(judged),
        strips=(
            *path_strips(latents, length, smooth, walked, interpolate),
            *(factor_strip(latents, factor, seed) for factor in chosen),
        ),
        generator=summary,
        distance=named,
        seed=seed,
        runtime=Runtime(
            device=opened.device,
            backend=opened.backend,
            versions=library_versions(),
            seconds=time.perf_counter() - started,
            peak_memory_bytes=peak_memory(),
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
    )


def _check(num_paths: int, epsilon: float | None, resize: int | None, output: str | None, seed: int) -> None:
    if type(num_paths) is not int or num_paths < 10:
        raise InputError(f"num_paths is {num_paths!r}; it must be a whole number of at least 10, better 1,000.")
    if epsilon is not None and not 0 < epsilon <= 0.5:
        raise InputError(f"epsilon is {epsilon!r}; it is a small share of the path, such as 1e-4.")
    if resize is not None and (type(resize) is not int or resize < 8):
        raise InputError(f"resize is {resize!r}; it must be a whole number of at least 8 pixels, such as 64.")
    if output not in (None, "pixels", "images"):
        raise InputError(f"output is {output!r}; use pixels or images.")
    if type(seed) is not int or not 0 <= seed < 1 << 32:
        raise InputError(f"seed is {seed!r}; it must be a whole number from 0 to 4,294,967,295.")


def _open_distance(
    distance: str | Distance, resize: int | None, *, device: str, backend: str, threads: int | None
) -> tuple[DistanceSummary, Distance]:
    if isinstance(distance, str):
        bundle, _ = find_distance(distance)
        bundle.require_weights()
        opened = open_distance(distance, device=device, backend=backend, threads=threads)
        named = DistanceSummary(opened.name, opened.title, opened.label, opened.numeric_id)
        measure: Distance = opened.of_pixels  # a generator's, whose range is known however dark they are
    elif callable(distance):
        name = getattr(distance, "name", getattr(distance, "__name__", "distance"))
        named = DistanceSummary(
            str(name),
            str(getattr(distance, "title", name)),
            str(getattr(distance, "label", "the numbers mean what this distance means")),
            str(getattr(distance, "numeric_id", "given")),
        )
        measure = distance.of_pixels if isinstance(distance, PerceptualDistance) else distance
    else:
        raise InputError(f"distance is {distance!r}; give the name of one, or a function of two batches of images.")
    if resize is None:
        return named, measure
    size = resize
    return named, lambda first, second: measure(resized(first, size), resized(second, size))


def _features(
    extractor: str | os.PathLike[str] | Bundle | None, *, device: str, backend: str, threads: int | None,
    progress: ProgressCallback | None,
) -> FeatureExtractor:  # fmt: skip
    bundle = extractor if isinstance(extractor, Bundle) else load_bundle(extractor or default_extractor())
    if bundle.is_weight_free:
        bundle = fetch_bundle(bundle, progress=progress)
    return FeatureExtractor(bundle, device=device, backend=backend, threads=threads)


def _notes(
    latents: LatentSpace, epsilon: float, paths: Paths, measure: Distance, interpolate: str, at_once: int
) -> tuple[str, ...]:
    notes = []
    if latents.as_bytes and epsilon < _SMALL_FOR_BYTES:
        notes.append(
            f"The images are rounded to 8 bits, and a step of {epsilon:g} of a path changes them by less than that: "
            f"the number is mostly rounding. Use --epsilon {EPSILON_OF_BYTES:g}, or a generator with an output pixels."
        )
    elif latents.as_bytes:
        notes.append(
            f"The images are rounded to 8 bits, so the step is {epsilon:g} of a path and not {EPSILON:g}: the number "
            "is near the one of unrounded pixels where the generator is smooth, and blind to jumps no less."
        )
    few = paths.rows(slice(at_once))
    single, double = (
        float(np.median(path_distances(latents.pixels, measure, few, epsilon=step, interpolate=interpolate)) * step**2)
        for step in (epsilon, 2 * epsilon)
    )
    power = float(np.log2(double / single)) if single > 0 and double > 0 else 2.0
    if power < _QUADRATIC and not latents.as_bytes:
        notes.append(
            f"Twice the step makes this distance {2**power:.2g} times as large, not four times: d / ε² then depends on "
            "ε, so compare only at the same ε. A distance that grows with the square of a change is meant here."
        )
    return tuple(notes)


def _entangled(found: Disentanglement) -> Finding | None:
    """Factors that a generator declares and that nobody could tell apart."""
    if not found.declared or not found.is_chance:
        return None
    return Finding(
        key="latent_entangled",
        severity="warning",
        claim="The declared factors cannot be told apart by what they change.",
        evidence=f"Held-out pairs are named rightly {100 * found.score:.0f} % of the time, and guessing gets "
        f"{100 * found.chance:.0f} %.",
        advice="Look at the strips of the factors: if each changes everything, the latent is mixed; if none changes "
        "anything visible, these features do not see the factors (try another --extractor).",
    )


def _shown(progress: ProgressCallback | None, stage: str, total: int) -> Callable[[int], None] | None:
    show = _shown_of(progress, stage, "paths")
    if show is None:
        return None
    return lambda done: show(done, total)


def _shown_of(progress: ProgressCallback | None, stage: str, unit: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    begun, shown = time.perf_counter(), 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.perf_counter()
        if now - shown > 0.1 or done == total:
            shown = now
            rate = done / max(now - begun, 1e-9)
            progress(Progress(stage, done, total, rate, (total - done) / rate, 0, unit=unit))

    return show
