"""The figures of one run as the README that lies beside the example data."""

from __future__ import annotations

import math
import platform
from pathlib import Path

import sklearn
import torch

from export.examples import classifier, cvae, diffusion, flow, gan, vae
from export.examples.data import ExampleData
from export.examples.families import DRAWS, METRICS, Bound, Family, measure_bounds, measure_families, obedience
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


FAMILIES_HEADING = "## The families side by side"
OTHER_HEADING = "\n# Example: "  # what other examples have written behind
ABOUT = {
    "vae": f"dense VAE, latent {vae.LATENT_DIM}",
    "gan": f"dense non-saturating GAN, latent {gan.LATENT_DIM}",
    "memoriser": "training pictures, jittered",
    "cvae": f"class-conditional dense VAE, latent {cvae.LATENT_DIM} and the class",
    "flow": f"{flow.COUPLINGS} affine couplings on principal components, latent 64",
    "diffusion": f"residual network of {diffusion.BLOCKS} × {diffusion.WIDTH}, called {diffusion.NETWORK_CALLS} times "
    "(DDIM), latent 64",
}


def with_families(text: str, data: ExampleData, output: Path, command: str) -> str:
    """The record ``text`` with its last section, on flow, diffusion model and densities, measured anew."""
    bundles, reference = output / "bundles", output / "examples" / f"{data.name}.npz"
    families = measure_families(bundles, reference, data.name)
    bounds = measure_bounds(bundles, reference, data.name)
    parts = [
        text.partition(FAMILIES_HEADING)[0].rstrip(),
        FAMILIES_HEADING,
        f"Measured by `{command}` on the frozen files (Python {platform.python_version()}, torch "
        f"{torch.__version__.split('+')[0]}), which trains all but the VAE, the GAN and the memoriser, with seed "
        f"{SHIPPED_SEED}.",
        _bundle_list(data, bundles),
        _families(data, families),
        f"`{data.name}-cvae` draws the class that it is told in {obedience(bundles, data.name):.1%} of 1,000 samples, "
        f"by `{data.name}-classifier`.",
        *_bounds(data, bounds),
    ]
    return with_other_examples("\n\n".join(parts) + "\n", text)


def with_other_examples(text: str, old: str) -> str:
    """``text``, and behind it what the record ``old`` holds of other examples."""
    _, heading, rest = old.partition(OTHER_HEADING)
    return text + heading + rest


def _bundle_list(data: ExampleData, bundles: Path) -> str:
    lines = ["| bundle | what | files, kB |", "|---|---|---|"]
    what = {role: ABOUT[role] for role in ("cvae", "flow", "diffusion")}
    what |= {
        "flow-density": "log-density of the same flow; noise: uniform dequantisation",
        "vae-density": f"binomial likelihood of the decoder of `{data.name}-vae`, stored in float16, and an encoder "
        "trained for it as proposal (that of the training served a flatter likelihood and was not kept)",
    }
    for role, text in what.items():
        size = sum(file.stat().st_size for file in (bundles / f"{data.name}-{role}").iterdir())
        lines.append(f"| `../bundles/{data.name}-{role}` | {text} | {size / 1000:.0f} |")
    return "\n".join(lines)


def _families(data: ExampleData, families: tuple[Family, ...]) -> str:
    total = len(data.is_train)
    lines = [
        f"{total:,} samples of each with seed 0 against all {total:,} pictures, on `{data.name}-classifier` features. "
        "The last row compares the held-out with the training pictures: what real pictures score (fewer of them, so "
        "the numbers are a guide and no bound). The memoriser shows that no score of this table notices copies.",
        "",
        "| | Fréchet distance | precision | recall | PRD F8 | PRD F1/8 | density | coverage | class score "
        "| ms a sample | ONNX kB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for family in families:
        cost = ["–", "–"]
        if family.milliseconds is not None:
            cost = [f"{family.milliseconds:.3f}", f"{family.kilobytes:.0f}"]
        scores = [f"{family.scores[key]:.1f}" if key == "fd" else f"{family.scores[key]:.3f}" for key in METRICS]
        name = f"{family.role}: {ABOUT[family.role]}" if family.role in ABOUT else family.role
        lines.append("| " + " | ".join([name, *scores, *cost]) + " |")
    return "\n".join([*lines, "", "Milliseconds: the fastest of ten batches of 64, on one core."])


def _bounds(data: ExampleData, bounds: tuple[Bound, ...]) -> list[str]:
    parts = [
        f"**Likelihood**, of the {data.levels + 1} grey levels of the native pictures. L_K is the mean over pictures "
        "of the log of the mean of K weights, in nats with its standard error: it rises with K to the log-probability. "
        f"A uniform guess scores {math.log2(data.levels + 1):.3f} bits/dim."
    ]
    for role in dict.fromkeys(bound.role for bound in bounds):
        lines = [
            f"`{data.name}-{role}`:",
            "",
            "| K | training | held out | training, bits/dim | held out, bits/dim |",
            "|---|---|---|---|---|",
        ]
        for draws in DRAWS:
            train, fresh = (
                next(b for b in bounds if (b.role, b.draws, b.part) == (role, draws, part))
                for part in ("training", "held-out")
            )
            nats = [f"{bound.mean:.2f} ± {bound.standard_error:.2f}" for bound in (train, fresh)]
            bits = [f"{bound.bits_per_dim:.3f}" for bound in (train, fresh)]
            lines.append("| " + " | ".join([str(draws), *nats, *bits]) + " |")
        parts.append("\n".join(lines))
    return parts
