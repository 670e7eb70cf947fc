"""Generators and a reference → a `Scorecard`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from genmetrics_rt.bundle import Bundle, list_bundles, load_bundle
from genmetrics_rt.errors import InputError
from genmetrics_rt.evaluation import evaluate, make_reference
from genmetrics_rt.galleries import thumbnail
from genmetrics_rt.generator_files import Generator
from genmetrics_rt.generators import GeneratorSource
from genmetrics_rt.latent.examine import examine_latent_space
from genmetrics_rt.latent.report import LatentReport
from genmetrics_rt.likelihood.evaluation import likelihood_of_images
from genmetrics_rt.manifest import Protocol
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.provenance import library_versions, peak_memory
from genmetrics_rt.render import words
from genmetrics_rt.report import Report, Runtime, Thumbnail
from genmetrics_rt.scorecard import measuring
from genmetrics_rt.scorecard.card import Card, Found, Scorecard
from genmetrics_rt.sides import open_side
from genmetrics_rt.textbook import PROPERTIES, expectation
from genmetrics_rt.version import __version__

_PICTURES = 12  # samples that a card shows
_NUM_PATHS = 200  # of the path length; published figures take 10,000 and more


def make_scorecard(
    generators: Any,
    reference: Any,
    *,
    densities: Mapping[str, Any] | None = None,
    extractor: str | os.PathLike[str] | Bundle | None = None,
    protocol: str | Protocol | None = None,
    tap: str | None = None,
    distance: str = "scattering",
    num_paths: int = _NUM_PATHS,
    device: str = "auto",
    backend: str = "onnx",
    precision: str = "fp32",
    num_images: int | None = None,
    seed: int = 0,
    cache: bool = True,
    strict: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ProgressCallback | None = None,
) -> Scorecard:
    """Judge generators by six properties: sampling, quality, coverage, latent space, disentanglement, likelihood.

    Each is measured, or the card says why it cannot be. No single number comes out: a model that is best in all six is
    not known (Prince 2023).

    Parameters
    ----------
    generators
        One or several: `Generator`, bundles, or whatever a `Generator` takes.
    reference
        As in `evaluate`. Its features are computed once for all.
    densities
        Name of a generator → its density, as `likelihood_of_images` takes it. Bundles of kind ``density`` that name the
        generator are found by themselves.
    distance, num_paths
        Of the perceptual path length; see `examine_latent_space`.
    extractor, protocol, tap, device, backend, precision, num_images, seed, cache, strict, batch_size, threads
        As in `evaluate`.

    Raises
    ------
    InputError
        A generator that cannot be opened or run, or one of its kinds as in `evaluate`. What fails in one property alone
        stands in the card as its reason.
    """
    started = time.perf_counter()
    opened = [_generator(entry) for entry in _listed(generators)]
    names = _distinct([generator.name for generator in opened])
    unknown = set(densities or {}) - set(names)
    if unknown:
        raise InputError(
            f"A density is given for {', '.join(sorted(unknown))}, which is none of the generators: "
            f"{', '.join(names)}. Name it as the generator is named."
        )
    common: dict[str, Any] = {
        "extractor": extractor, "protocol": protocol, "tap": tap, "device": device, "backend": backend,
        "precision": precision, "num_images": num_images, "seed": seed, "cache": cache, "strict": strict,
        "batch_size": batch_size, "threads": threads,
    }  # fmt: skip
    made = make_reference(reference, progress=progress, **common)
    cards, reports = [], []
    for name, generator in zip(names, opened, strict=True):
        told = _named(progress, name)
        report = evaluate(generator, made, progress=told, **common)
        reports.append(report)
        found: dict[str, Found] = {
            **_of_report(report, generator),
            **_of_latent(
                generator, extractor or made.extractor.name, distance, num_paths, seed, device, threads, told
            ),
            "likelihood": _of_density(
                generator, (densities or {}).get(name), reference, num_images, seed, device, threads, told
            ),
        }  # fmt: skip
        cards.append(_card(name, generator, found, report, seed, device, threads))
    last = reports[-1]
    return Scorecard(
        cards=tuple(cards),
        reference=last.reference,
        extractor=last.extractor,
        runtime=Runtime(
            device=last.runtime.device,
            backend=last.runtime.backend,
            versions=library_versions(),
            seconds=time.perf_counter() - started,
            peak_memory_bytes=peak_memory(),
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        seed=seed,
        notes=tuple(dict.fromkeys(note for report in reports for note in report.runtime.notes)),
    )


def _named(progress: ProgressCallback | None, name: str) -> ProgressCallback | None:
    """Says of which generator it is told."""
    return progress and (lambda state: progress(replace(state, stage=f"{name}, {state.stage}")))


def _listed(generators: Any) -> list[Any]:
    if isinstance(generators, Sequence) and not isinstance(generators, str | bytes):
        if not generators:
            raise InputError("No generator was given. Give at least one: a bundle, or an ONNX file.")
        return list(generators)
    return [generators]


def _generator(value: Any) -> Generator:
    if isinstance(value, Generator):
        return value
    side = open_side(value)
    if not isinstance(side, Generator):
        raise InputError(
            f"{value} is a set of images, and a scorecard judges a generator: its speed and its latent space too. Give "
            "the frozen generator, or use `genmetrics evaluate` without --scorecard."
        )
    return side


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number where one occurs twice."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _of_report(report: Report, generator: Generator) -> dict[str, Found]:
    of_samples = {"quality": measuring.quality(report), "coverage": measuring.coverage(report)}
    if any(finding.key == "memorisation" for finding in report.findings):
        of_samples = {key: measuring.not_ranked(found) for key, found in of_samples.items()}
    calls = (generator.bundle.manifest.record.get("sampling") or {}).get("network_calls")
    return {
        "sampling": measuring.sampling(report.generators["generated"], calls if type(calls) is int else None),
        **of_samples,
    }


def _of_latent(
    generator: Generator,
    extractor: Any,
    distance: str,
    num_paths: int,
    seed: int,
    device: str,
    threads: int | None,
    progress: ProgressCallback | None,
) -> dict[str, Found]:
    kind = "declared" if generator.factors else "dims"
    words_of = {"declared": "those that it declares", "dims": "its latent dimensions, at most 32 of them"}
    options: dict[str, Any] = {
        "distance": distance, "num_paths": num_paths, "seed": seed, "extractor": extractor, "device": device,
        "threads": threads, "progress": progress,
    }  # fmt: skip
    looked = _tried(lambda: examine_latent_space(generator, factors=kind, **options))
    if isinstance(looked, LatentReport):
        return {
            "latent_space": measuring.latent_space(looked),
            "disentanglement": measuring.disentangled(looked.disentanglement, words_of[kind]),
        }
    # The factors may be what failed, as of a latent with a single dimension: the paths still count.
    paths = _tried(lambda: examine_latent_space(generator, **options))
    found = measuring.latent_space(paths) if isinstance(paths, LatentReport) else paths
    return {"latent_space": found, "disentanglement": looked}


def _of_density(
    generator: Generator,
    density: Any,
    reference: Any,
    num_images: int | None,
    seed: int,
    device: str,
    threads: int | None,
    progress: ProgressCallback | None,
) -> Found:
    density = density or _sibling(generator.bundle)
    if density is None:
        return Found(
            why_not="No density belongs to it, so it gives no image a probability. If there is one, freeze it as a "
            "bundle of kind density, and name it."
        )

    def measured() -> Found:
        report = likelihood_of_images(
            density, reference, generated=False, num_images=num_images, seed=seed, device=device, threads=threads,
            progress=progress,
        )  # fmt: skip
        return measuring.likelihood(report)

    found = _tried(measured)
    assert isinstance(found, Found)
    return found


def _sibling(generator: Bundle) -> Any:
    """The density bundle that says it belongs to this generator: the very one of that name, for names are free."""
    name = generator.name
    if name not in list_bundles("generator") or load_bundle(name).manifest.digest() != generator.manifest.digest():
        return None
    for density in list_bundles("density"):
        bundle = load_bundle(density)
        if (bundle.manifest.record.get("density") or {}).get("generator") == name:
            return bundle
    return None


def _tried(measure: Callable[[], Any]) -> Any:
    """What a measurement gives, or its error as a reason."""
    try:
        return measure()
    except InputError as error:
        return measuring.failed(error)


def _card(
    name: str,
    generator: Generator,
    found: Mapping[str, Found],
    report: Report,
    seed: int,
    device: str,
    threads: int | None,
) -> Card:
    family = str(generator.bundle.manifest.record.get("family") or "")
    return Card(
        name=name,
        title=generator.title,
        family=family,
        found={entry.key: replace(found[entry.key], expected=expectation(family, entry.key)) for entry in PROPERTIES},
        warnings=tuple(
            f"{finding.claim} {finding.evidence}"
            for finding in words.sorted_findings(report)
            if words.severity(finding) in ("problem", "warning")
        ),
        pictures=_pictures(generator, seed, device, threads),
    )


def _pictures(generator: Generator, seed: int, device: str, threads: int | None) -> tuple[Thumbnail, ...]:
    """The first samples, not chosen."""
    source = GeneratorSource(generator, _PICTURES, seed=seed, device=device, threads=threads)
    return tuple(
        Thumbnail(source.entry_name(index), thumbnail(source, index), float(index), f"sample {index}")
        for index in range(_PICTURES)
    )
