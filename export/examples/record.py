"""The figures of one run as the README that lies beside the example data."""

from __future__ import annotations

import platform

import sklearn
import torch

from export.examples import classifier, gan, vae
from export.examples.memoriser import DIMMING, SHIFT
from export.examples.prove import CONFIDENT, SeedResult, gap_interval
from export.examples.train import CLASSIFIER_SEED, JUDGE_SEED, SHIPPED_SEED, Evidence


def readme(evidence: Evidence, command: str) -> str:
    """Provenance and figures, in Markdown."""
    data = evidence.data
    train, total = int(data.is_train.sum()), len(data.is_train)
    parts = [
        f"# Examples: {data.title}",
        f"Written by `{command}` (torch {torch.__version__.split('+')[0]} on the CPU, one thread; Python "
        f"{platform.python_version()}, scikit-learn {sklearn.__version__}). Another version of torch or another CPU "
        "gives slightly other weights, hence other figures in the last digits.",
        f"**Data.** {data.title}, {total:,} pictures, {train:,} for training and {total - train:,} held out (fixed "
        f"split). Licence: {data.licence}. Shown at 32 × 32: triangle (bilinear) upscaling, rounded half to even.",
        _files(evidence),
        *_classifier(evidence),
        *_prd(evidence),
        _nearness(evidence),
    ]
    return "\n\n".join(parts) + "\n"


def _files(evidence: Evidence) -> str:
    name = evidence.data.name
    keys = "`images` (N, 32, 32) uint8" if evidence.data.pixels.shape[1] == 1 else "`images` (N, 32, 32, 3) uint8"
    labels = "" if evidence.data.labels is None else "`labels` (N,), "
    return "\n".join(
        [
            "| file | what |",
            "|---|---|",
            f"| `{name}.npz` | {keys}, {labels}`is_train` (N,) |",
            f"| `{name}-gan-training.csv` | discriminator log of `{name}-gan`: step, d_loss, g_loss, and the logits of "
            f"{gan.LOGGED} training, {gan.LOGGED} held-out and {gan.LOGGED} generated pictures, the same at every "
            "step; d_loss = mean softplus(−real) + mean softplus(generated), g_loss = mean softplus(−generated) |",
            f"| `{name}-gan-checkpoints/step-*/` | ten generator bundles (ONNX) along that training |",
            f"| `../bundles/{name}-vae` | dense VAE, latent {vae.LATENT_DIM}, KL weight {vae.KL_WEIGHT}, "
            f"seed {SHIPPED_SEED} |",
            f"| `../bundles/{name}-gan` | dense non-saturating GAN, latent {gan.LATENT_DIM}, no regulariser, "
            f"averaged weights, seed {SHIPPED_SEED} |",
            f"| `../bundles/{name}-memoriser` | training pictures, shifted by N(0, {SHIFT}²) pixels and dimmed by "
            f"N(0, {DIMMING}²) |",
            *(
                [
                    f"| `../bundles/{name}-classifier` | {classifier.FEATURES} features and class logits, seed "
                    f"{CLASSIFIER_SEED} |"
                ]
                if evidence.judges
                else []
            ),
        ]
    )


def _classifier(evidence: Evidence) -> list[str]:
    judges = evidence.judges
    if judges is None:
        return ["**Classifier.** None: the data names no classes."]
    return [
        f"**Classifier.** {judges.shipped_accuracy:.1%} of the held-out pictures right. A second network of other "
        f"widths (seed {JUDGE_SEED}, not shipped, {judges.judge_accuracy:.1%} right) judges samples: it *recognises* a "
        f"picture if it gives one class a probability ≥ {CONFIDENT} and the shipped classifier names the same class. "
        f"It recognises {judges.real_recognised:.1%} of the held-out real pictures."
    ]


def _prd(evidence: Evidence) -> list[str]:
    count = len(evidence.data.is_train)
    parts = [
        f"**Precision and recall** (PRD, Sajjadi et al. 2018; F8 weighs recall, F1/8 precision): {count:,} samples "
        f"against all {count:,} pictures, training and held out. Networks are trained with seeds 0 to "
        f"{len(evidence.seeds) - 1}; none is chosen, seed {SHIPPED_SEED} ships. In order means: the VAE has the "
        "higher F8 and the GAN the higher F1/8."
    ]
    return parts + [_prd_table(space, evidence.seeds) for space in evidence.seeds[0].prd]


def _prd_table(space: str, seeds: tuple[SeedResult, ...]) -> str:
    lines = [
        f"On `{space}` features:",
        "",
        "| seed | VAE F8 | GAN F8 | VAE F1/8 | GAN F1/8 | in order | VAE recognised | GAN recognised |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in seeds:
        v, g = result.prd[space]
        shares = [f"{share:.1%}" for share in result.recognised] if result.recognised else ["–", "–"]
        figures = [f"{figure:.3f}" for figure in (v.f8, g.f8, v.f1_8, g.f1_8)]
        order = "yes" if result.in_order(space) else "no"
        lines.append("| " + " | ".join([str(result.seed), *figures, order, *shares]) + " |")
    recall = [result.prd[space][0].f8 - result.prd[space][1].f8 for result in seeds]
    precision = [result.prd[space][1].f1_8 - result.prd[space][0].f1_8 for result in seeds]
    held = sum(result.in_order(space) for result in seeds)
    return "\n".join(
        [
            *lines,
            "",
            f"In order in {held} of {len(seeds)} seeds. Mean gap over seeds with 95 % interval: F8, VAE − GAN "
            f"{_interval(recall)}; F1/8, GAN − VAE {_interval(precision)}.",
        ]
    )


def _interval(gaps: list[float]) -> str:
    mean, low, high = gap_interval(gaps)
    return f"{mean:+.3f}" + (f" [{low:+.3f}, {high:+.3f}]" if len(gaps) > 1 else " (one seed, no interval)")


def _nearness(evidence: Evidence) -> str:
    lines = [
        "**Memoriser.** Mean distance to the nearest training picture:",
        "",
        "| space | its samples | held-out real pictures |",
        "|---|---|---|",
    ]
    lines += [f"| {near.space} | {near.samples:.3f} | {near.held_out:.3f} |" for near in evidence.nearness]
    return "\n".join(lines)
