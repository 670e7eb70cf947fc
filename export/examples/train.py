"""Train everything, measure it, freeze it: the story of `python -m export examples`."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from export.examples import classifier as classifiers
from export.examples import cvae as cvaes
from export.examples import diffusion as diffusions
from export.examples import flow as flows
from export.examples import gan as gans
from export.examples import vae as vaes
from export.examples import vae_density as vae_densities
from export.examples.blueprints import new_blueprint
from export.examples.classifier import Classifier, train_classifier
from export.examples.cvae import train_cvae
from export.examples.data import ExampleData
from export.examples.diffusion import train_diffusion
from export.examples.flow import FlowDensity, FlowGenerator, train_flow
from export.examples.gan import GanTraining, LogEntry, train_gan
from export.examples.memoriser import Memoriser
from export.examples.networks import Generator, stored_in_half
from export.examples.prove import (
    Extract,
    Nearness,
    SeedResult,
    accuracy,
    classify,
    draw,
    nearness,
    prd_between,
    recognised_share,
)
from export.examples.vae import train_vae
from export.examples.vae_density import VaeDensity, train_proposal
from export.freeze import freeze
from export.verify import frozen_state
from genmetrics_rt.bundle import SHIPPED

SHIPPED_SEED = 0  # the first, by rule: seeds are not chosen by their results
CLASSIFIER_SEED = 0
JUDGE_SEED = 1000
LARGEST_FAMILY_SIDE = 8  # the flow and the diffusion model are dense networks of few parameters
JUDGE_WIDTHS, JUDGE_FEATURES = (24, 32, 64), 48  # another network than the shipped one

Say = Callable[[str], None]


@dataclass(frozen=True)
class Judges:
    """The classifier that ships, and one that does not, trained apart from it."""

    shipped: Classifier
    judge: Classifier
    shipped_accuracy: float  # on held-out pictures
    judge_accuracy: float
    real_recognised: float  # share of held-out real pictures that are recognised: what the best generator could reach


@dataclass(frozen=True)
class Evidence:
    """All that was measured in one run of the command."""

    data: ExampleData
    judges: Judges | None  # None when the data has no classes
    seeds: tuple[SeedResult, ...]
    nearness: tuple[Nearness, ...]
    effort: float


def run(data: ExampleData, *, num_seeds: int, output: Path, effort: float = 1.0, say: Say = print) -> Evidence:
    """Train on ``data`` with the seeds 0 … num_seeds − 1, freeze those of seed 0 into ``output``.

    ``effort`` multiplies all training steps: 0.01 is a smoke test.
    """
    _settle_arithmetic()
    shown = data.shown()

    # The judges.
    judges = _train_judges(data, shown, effort) if data.labels is not None else None
    if judges:
        say(f"classifier {judges.shipped_accuracy:.1%} on held-out pictures, judge {judges.judge_accuracy:.1%}")
    spaces = _feature_spaces(data, judges)
    reference = {space: extract(shown) for space, extract in spaces.items()}

    # The generators. Those of the first seed are kept.
    train, held_out = torch.from_numpy(data.train), torch.from_numpy(data.held_out)
    results: list[SeedResult] = []
    kept: tuple[Generator, GanTraining] | None = None
    for seed in range(num_seeds):
        vae = train_vae(train, seed=seed, steps=_scaled(vaes.STEPS, effort))
        gan = train_gan(train, held_out, seed=seed, steps=_scaled(gans.STEPS, effort))
        if seed == SHIPPED_SEED:
            kept = vae, gan
        results.append(_measure(seed, vae, gan.generator, len(shown), reference, spaces, judges))
        say(_line(results[-1]))
    assert kept is not None
    memoriser = _memoriser(data)
    near = nearness(
        draw(memoriser, int((~data.is_train).sum()), SHIPPED_SEED),
        shown[data.is_train],
        shown[~data.is_train],
        {"pixels": lambda images: images.reshape(len(images), -1) / 255.0, **spaces},
    )

    # The bundles and the files beside them.
    vae, gan = kept
    modules = {"vae": vae, "gan": gan.generator, "memoriser": memoriser}
    if judges:
        modules["classifier"] = judges.shipped
    with np.errstate(over="ignore", invalid="ignore"):  # onnx's NumPy sigmoid computes, and drops, a second branch
        for role, module in modules.items():
            freeze(new_blueprint(role, module, data), output / "bundles" / f"{data.name}-{role}")
        _write_examples(data, shown, gan, output / "examples")
    return Evidence(data, judges, tuple(results), tuple(near), effort)


def takes_families(data: ExampleData) -> bool:
    """Whether flow, diffusion model and the rest are made of these pictures: grey ones, 8 × 8, whose classes are known.

    What `load_images` reads is larger, so this means the digits.
    """
    _, channels, native, _ = data.pixels.shape
    return channels == 1 and native <= LARGEST_FAMILY_SIDE and data.labels is not None


def train_families(data: ExampleData, output: Path, *, effort: float = 1.0, say: Say = print) -> None:
    """Train flow, diffusion model, class-conditional VAE and the proposal of the VAE's likelihood; freeze them.

    They go into ``output``. The VAE of the likelihood is the frozen one that lies there.
    """
    _settle_arithmetic()
    train = torch.from_numpy(data.train)
    levels = torch.round(train * data.levels).flatten(1)
    vae = Generator.from_state(frozen_state(output / "bundles" / f"{data.name}-vae"))

    flow = train_flow(levels, most=data.levels, seed=SHIPPED_SEED, steps=_scaled(flows.STEPS, effort))
    say("flow trained")
    diffusion = train_diffusion(train, seed=SHIPPED_SEED, steps=_scaled(diffusions.STEPS, effort))
    say("diffusion model trained")
    steps = _scaled(vae_densities.STEPS, effort)
    likelihood = train_proposal(vae.decoder, levels, most=data.levels, seed=SHIPPED_SEED, steps=steps)
    say("proposal of the VAE's likelihood trained")

    labels = torch.from_numpy(data.labels[data.is_train])
    steps = _scaled(cvaes.STEPS, effort)
    conditional = train_cvae(train, labels, classes=len(data.classes), seed=SHIPPED_SEED, steps=steps)
    say("class-conditional VAE trained")

    halved = stored_in_half(flow)
    modules = {
        "cvae": stored_in_half(conditional),
        "flow": FlowGenerator(halved),
        "flow-density": FlowDensity(halved),
        "diffusion": stored_in_half(diffusion),
        "vae-density": VaeDensity(stored_in_half(likelihood)),
    }
    with np.errstate(over="ignore", invalid="ignore"):  # as above
        for role, module in modules.items():
            freeze(new_blueprint(role, module.eval(), data), output / "bundles" / f"{data.name}-{role}")


def _settle_arithmetic() -> None:
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # the order of float sums depends on the number of threads


def _train_judges(data: ExampleData, shown: np.ndarray, effort: float) -> Judges:
    labels = data.labels
    assert labels is not None
    known, fresh = data.is_train, ~data.is_train

    def trained(seed: int, widths: tuple[int, int, int], features: int) -> Classifier:
        return train_classifier(
            torch.from_numpy(shown[known]),
            torch.from_numpy(labels[known]),
            seed=seed,
            classes=len(data.classes),
            grey=data.pixels.shape[1] == 1,
            widths=widths,
            features=features,
            epochs=_scaled(classifiers.EPOCHS, effort),
        )

    shipped = trained(CLASSIFIER_SEED, classifiers.WIDTHS, classifiers.FEATURES)
    judge = trained(JUDGE_SEED, JUDGE_WIDTHS, JUDGE_FEATURES)
    return Judges(
        shipped,
        judge,
        accuracy(shipped, shown[fresh], labels[fresh]),
        accuracy(judge, shown[fresh], labels[fresh]),
        recognised_share(shown[fresh], shipped, judge),
    )


def _feature_spaces(data: ExampleData, judges: Judges | None) -> dict[str, Extract]:
    """Where PRD is measured: the classifier's penultimate layer, and scattering where that bundle is shipped."""
    spaces: dict[str, Extract] = {}
    if judges:
        spaces[f"{data.name}-classifier"] = lambda images: classify(judges.shipped, images)[0].numpy()
    if (SHIPPED / "scattering" / "manifest.json").is_file():
        from genmetrics_rt.extractor import FeatureExtractor

        extractor = FeatureExtractor("scattering", device="cpu", threads=1)
        spaces["scattering"] = lambda images: extractor(images)[0]
    return spaces


def _measure(
    seed: int,
    vae: Generator,
    gan: Generator,
    count: int,
    reference: dict[str, np.ndarray],
    spaces: dict[str, Extract],
    judges: Judges | None,
) -> SeedResult:
    of_vae, of_gan = (draw(generator, count, seed) for generator in (vae, gan))
    from_vae, from_gan = (prd_between(images, reference, spaces) for images in (of_vae, of_gan))
    recognised = None
    if judges:
        recognised = (
            recognised_share(of_vae, judges.shipped, judges.judge),
            recognised_share(of_gan, judges.shipped, judges.judge),
        )
    return SeedResult(seed, {space: (from_vae[space], from_gan[space]) for space in spaces}, recognised)


def _memoriser(data: ExampleData) -> Memoriser:
    pictures = np.rint(data.train * data.levels).astype(np.uint8)
    return Memoriser(torch.from_numpy(pictures), data.levels).eval()


def _write_examples(data: ExampleData, shown: np.ndarray, gan: GanTraining, folder: Path) -> None:
    """The reference pictures, the discriminator's log, and the checkpoints as ONNX-only bundles."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = {} if data.labels is None else {"labels": data.labels.astype(np.uint8)}
    pictures = shown[..., 0] if data.pixels.shape[1] == 1 else shown  # grey once, not three times
    np.savez_compressed(folder / f"{data.name}.npz", images=pictures, is_train=data.is_train, **labels)
    write_log(gan.log, folder / f"{data.name}-gan-training.csv")
    checkpoints = folder / f"{data.name}-gan-checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)  # of a run with another number of steps
    for step, generator in gan.checkpoints.items():
        blueprint = new_blueprint("gan", generator.stored_in_half(), data, step=step)
        freeze(blueprint, checkpoints / f"step-{step:05}", formats=("onnx",))


def write_log(log: tuple[LogEntry, ...], path: Path) -> None:
    """One row per picture of each kind and evaluation step: step, the two losses, three discriminator logits."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["step", "d_loss", "g_loss", "real_logit", "held_out_logit", "generated_logit"])
        for entry in log:
            losses = f"{entry.d_loss:.5f}", f"{entry.g_loss:.5f}"
            for logits in zip(entry.real, entry.held_out, entry.generated, strict=False):
                rows.writerow([entry.step, *losses, *(f"{logit:.4f}" for logit in logits)])


def _scaled(count: int, effort: float) -> int:
    return max(1, round(count * effort))


def _line(result: SeedResult) -> str:
    parts = [f"seed {result.seed}"]
    for space, (vae, gan) in result.prd.items():
        parts.append(f"{space}: VAE F8 {vae.f8:.3f} F1/8 {vae.f1_8:.3f}, GAN F8 {gan.f8:.3f} F1/8 {gan.f1_8:.3f}")
    if result.recognised:
        parts.append("recognised: VAE {:.1%}, GAN {:.1%}".format(*result.recognised))
    return "; ".join(parts)
