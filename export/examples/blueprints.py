"""The blueprints of the example bundles: built after training, and rebuilt from a bundle by `python -m export verify`.

A generator gives integers, so its forms agree when no pixel differs by more than one grey level and at most 1 % of
them differ at all (`export.verify`): a value that lies within float rounding of the middle of two levels may fall on
either side.

What need not be exact is stored in float16 (`stored_in_half`), and computed in float32.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from export.blueprint import Arrays, Blueprint, Tolerance
from export.examples.classifier import Classifier
from export.examples.cvae import ConditionalGenerator
from export.examples.data import ExampleData
from export.examples.diffusion import DiffusionGenerator, looped
from export.examples.display import SHOWN, Display
from export.examples.flow import Flow, FlowDensity, FlowGenerator
from export.examples.memoriser import Memoriser
from export.examples.networks import Generator, HalfLinear
from export.examples.vae_density import VaeDensity
from export.freeze import exported
from export.verify import frozen_state
from genmetrics_rt.bundle import load_bundle
from genmetrics_rt.manifest import TensorSpec

if TYPE_CHECKING:
    import onnx

AnyGenerator = Generator | Memoriser | FlowGenerator | DiffusionGenerator | ConditionalGenerator
Density = FlowDensity | VaeDensity
Module = AnyGenerator | Density | Classifier
COMMAND = "python -m export examples"
ROLES = {
    "vae": ("variational autoencoder trained on {title}", "example generator: covers its classes, blurs between them"),
    "gan": ("generative adversarial network trained on {title}", "example generator: sharp, neglects some classes"),
    "memoriser": ("training pictures of {title}, jittered", "example generator: returns its training pictures"),
    "cvae": (
        "class-conditional variational autoencoder trained on {title}",
        "example generator: draws the class that it is told",
    ),
    "flow": ("normalising flow trained on {title}", "example generator: exact density, rough strokes"),
    "diffusion": (
        "diffusion model trained on {title}",
        "example generator: its samples take fifty calls of its network",
    ),
    "flow-density": (
        "density of the normalising flow trained on {title}",
        "example density of pictures as {title} are shown; meaningless for other pictures",
    ),
    "vae-density": (
        "likelihood of the variational autoencoder trained on {title}",
        "example density of pictures as {title} are shown; meaningless for other pictures",
    ),
    "classifier": (
        "small classifier of {title} (penultimate layer)",
        "features of a small network trained on {title}; meaningless for other pictures",
    ),
}


# What textbooks call the generators.
FAMILIES = {
    "vae": "VAE",
    "gan": "GAN",
    "memoriser": "memoriser",
    "cvae": "VAE",
    "flow": "flow",
    "diffusion": "diffusion",
}


def generator_blueprint(name: str, module: AnyGenerator, title: str, label: str, licence: str) -> Blueprint:
    """Latent (N, L) → images (N, 32, 32, 3), and unrounded."""
    dim = module.latent_dim
    calls = module.calls if isinstance(module, DiffusionGenerator) else 1
    unrounded = "before its values are rounded, to whole levels and" if isinstance(module, FlowGenerator) else "before"
    blueprint = Blueprint(
        name=name,
        version="1",
        kind="generator",
        title=title,
        label=label,
        licence=licence,
        command=COMMAND,
        module=module,
        inputs=(TensorSpec("latent", "float32", ("N", dim), "what to draw", "standard normal"),),
        outputs=(
            TensorSpec("images", "uint8", ("N", SHOWN, SHOWN, 3), "RGB pixels, rounded half to even", "0..255"),
            TensorSpec(
                "pixels", "float32", ("N", SHOWN, SHOWN, 3), f"the same picture {unrounded} to 8 bits", "0..255"
            ),
        ),
        example={"latent": torch.randn(3, dim, generator=torch.Generator().manual_seed(0))},
        probes=lambda: _latent_probes(dim),
        tolerance=Tolerance(absolute=1.0, relative=0.0),  # grey levels
        packed=_stores_halves(module),
        latent={"dim": dim, "distribution": "normal"},
        extra={"family": FAMILIES[_role(name)], "sampling": {"network_calls": calls}},
        selftest_range={"latent": (-2.0, 2.0)},
    )
    if isinstance(module, ConditionalGenerator):
        return _conditional(blueprint, module)
    if isinstance(module, DiffusionGenerator):
        return replace(blueprint, onnx_model=lambda: _diffusion_model(blueprint, module), torchscript="script")
    return blueprint


def _conditional(blueprint: Blueprint, module: ConditionalGenerator) -> Blueprint:
    """The blueprint with labels as its second input."""
    classes = len(module.one_hot)

    def probes() -> dict[str, Arrays]:
        labels = np.random.RandomState(8)
        return {
            name: {**inputs, "labels": labels.randint(classes, size=len(inputs["latent"]))}
            for name, inputs in blueprint.probes().items()
        }

    return replace(
        blueprint,
        inputs=(*blueprint.inputs, TensorSpec("labels", "int64", ("N",), "which class to draw", "its number")),
        example={**blueprint.example, "labels": torch.arange(3)},
        probes=probes,
        extra={
            **blueprint.extra,
            "classes": {"count": classes, "names": [str(label) for label in range(classes)]},
        },
        selftest_range={**blueprint.selftest_range, "labels": (0.0, float(classes))},
    )


def density_blueprint(name: str, module: Density, title: str, label: str, licence: str) -> Blueprint:
    """Images (N, 32, 32, 3) and noise (N, K, L) → logarithms of K importance weights each, (N, K)."""
    noise = module.record["noise"]
    native = len(module.native_levels.downscale)
    draws = torch.Generator().manual_seed(0)
    low, high = (0.0, 1.0) if noise["distribution"] == "uniform" else (-2.0, 2.0)
    return Blueprint(
        name=name,
        version="1",
        kind="density",
        title=title,
        label=label,
        licence=licence,
        command=COMMAND,
        module=module,
        inputs=(
            TensorSpec("images", "uint8", ("N", SHOWN, SHOWN, 3), "RGB pixels", "0..255"),
            TensorSpec("noise", "float32", ("N", "K", noise["dim"]), "K draws for each", noise["distribution"]),
        ),
        outputs=(TensorSpec("log_weights", "float32", ("N", "K"), "their mean weight estimates P(image)", "nats"),),
        example={
            "images": torch.randint(256, (3, SHOWN, SHOWN, 3), generator=draws).to(torch.uint8),
            "noise": torch.rand(3, 2, noise["dim"], generator=draws),
        },
        probes=lambda: _density_probes(noise, native, module.record["levels"] - 1),
        tolerance=Tolerance(absolute=2e-3, relative=1e-5),
        packed=_stores_halves(module),
        extra={"density": {**module.record, "generator": name.removesuffix("-density")}},
        selftest_range={"images": (0.0, 256.0), "noise": (low, high)},
        selftest_sizes={"K": 3},
    )


def classifier_blueprint(name: str, module: Classifier, title: str, label: str, licence: str) -> Blueprint:
    """Images (N, 3, 32, 32) in [0, 1] → features (penultimate layer) and class logits."""
    protocol = {
        "default": True,
        "size": [SHOWN, SHOWN],
        "resize": "triangle-antialias",
        "rounding": "none",
        "alpha": "white",
        "layout": "NCHW",
        "dtype": "float32",
        "scale": 1 / 255,
        "offset": 0.0,
        "metrics": {},
    }
    classes, features = module.logits.weight.shape
    return Blueprint(
        name=name,
        version="1",
        kind="extractor",
        title=title,
        label=label,
        licence=licence,
        command=COMMAND,
        module=module,
        inputs=(TensorSpec("images", "float32", ("N", 3, SHOWN, SHOWN), "RGB pixels", "0..1"),),
        outputs=(
            TensorSpec("features", "float32", ("N", features), "penultimate layer, after its ReLU", "none"),
            TensorSpec("logits", "float32", ("N", classes), "class scores before the softmax", "nats"),
        ),
        example={"images": torch.rand(2, 3, SHOWN, SHOWN, generator=torch.Generator().manual_seed(0))},
        probes=_image_probes,
        tolerance=Tolerance(absolute=1e-4, relative=1e-5),
        taps={"features": "features", "logits": "logits"},
        protocols={"32x32": protocol},
        selftest_range={"images": (0.0, 1.0)},
    )


def new_blueprint(role: str, module: Module, data: ExampleData, *, step: int | None = None) -> Blueprint:
    """The blueprint of a freshly trained module. ``role`` is one of `ROLES`; ``step`` marks a checkpoint."""
    title, label = (text.format(title=data.title) for text in ROLES[role])
    name = f"{data.name}-{role}"
    if step is not None:
        name, title = f"{name}-step-{step:05}", f"{title}, after {step:,} steps"
    make = _maker(module)
    # The memoriser holds the pictures themselves; the other networks are ours, made from them.
    licence = data.licence if role == "memoriser" else f"Apache-2.0; trained on data under {data.licence}"
    return _trained_on(data.title, data.licence, make(name, module, title, label, licence))


def vae_or_gan(folder: Path) -> Blueprint:
    """The blueprint of the VAE or GAN in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, generator_blueprint, Generator.from_state(frozen_state(folder)))


def memoriser(folder: Path) -> Blueprint:
    """The blueprint of the memoriser in ``folder``, from the pictures that its graph.ts holds."""
    return _described_by(folder, generator_blueprint, Memoriser.from_state(frozen_state(folder)))


def cvae(folder: Path) -> Blueprint:
    """The blueprint of the class-conditional VAE in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, generator_blueprint, ConditionalGenerator.from_state(frozen_state(folder)))


def flow(folder: Path) -> Blueprint:
    """The blueprint of the flow in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, generator_blueprint, FlowGenerator(Flow.from_state(frozen_state(folder))).eval())


def flow_density(folder: Path) -> Blueprint:
    """The blueprint of the flow's density in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, density_blueprint, FlowDensity(Flow.from_state(frozen_state(folder))).eval())


def diffusion(folder: Path) -> Blueprint:
    """The blueprint of the diffusion model in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, generator_blueprint, DiffusionGenerator.from_state(frozen_state(folder)))


def vae_density(folder: Path) -> Blueprint:
    """The blueprint of the VAE's likelihood in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, density_blueprint, VaeDensity.from_state(frozen_state(folder)))


def classifier(folder: Path) -> Blueprint:
    """The blueprint of the classifier in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, classifier_blueprint, Classifier.from_state(frozen_state(folder)))


def _described_by(folder: Path, make: Callable[..., Blueprint], module: Module) -> Blueprint:
    manifest = load_bundle(folder).manifest
    frozen = manifest.record["frozen"]
    blueprint = make(manifest.name, module, manifest.title, manifest.label, manifest.record["licence"])
    return _trained_on(frozen["data"], frozen["licence_of_data"], blueprint)


def _trained_on(data: str, licence: str, blueprint: Blueprint) -> Blueprint:
    return replace(blueprint, extra={**blueprint.extra, "frozen": {"data": data, "licence_of_data": licence}})


def _maker(module: Module) -> Callable[..., Blueprint]:
    if isinstance(module, Classifier):
        return classifier_blueprint
    return density_blueprint if isinstance(module, Density) else generator_blueprint


def _role(name: str) -> str:
    """Which of `ROLES` a bundle of that name plays."""
    without_step = re.sub(r"-step-\d+$", "", name)
    return next(role for role in ROLES if without_step.endswith(f"-{role}"))


def _stores_halves(module: torch.nn.Module) -> bool:
    return any(isinstance(part, HalfLinear) for part in module.modules())


def _diffusion_model(blueprint: Blueprint, module: DiffusionGenerator) -> onnx.ModelProto:
    noisy = TensorSpec("noisy", "float32", ("N", module.latent_dim))
    step = replace(
        blueprint,
        module=module.step,
        inputs=(noisy, TensorSpec("index", "int64", ())),
        outputs=(replace(noisy, name="next"),),
        example={"noisy": blueprint.example["latent"], "index": torch.tensor(0)},
    )
    show = replace(blueprint, module=module.show, inputs=(noisy,), example={"noisy": blueprint.example["latent"]})
    return looped(exported(step), exported(show), module.calls)


def _latent_probes(dim: int) -> dict[str, Arrays]:
    stream = np.random.RandomState(7)
    drawn = {
        "normal 1": stream.standard_normal((1, dim)),
        "normal 65": stream.standard_normal((65, dim)),
        "wide 7": 2 * stream.standard_normal((7, dim)),
        "zero 2": np.zeros((2, dim)),
    }
    return {name: {"latent": latent.astype(np.float32)} for name, latent in drawn.items()}


def _density_probes(noise: dict[str, Any], native: int, levels: int) -> dict[str, Arrays]:
    """Pictures of whole levels, as they are shown."""
    stream = np.random.RandomState(7)
    strokes = levels * (stream.uniform(size=(7, 1, native, native)) > 0.7)
    pictures = {
        "one 1": (stream.randint(levels + 1, size=(1, 1, native, native)), 1),
        "strokes 5": (strokes, 5),
        "black and white 3": (levels * np.arange(2).reshape(2, 1, 1, 1).repeat(native, 2).repeat(native, 3), 3),
    }
    drawn = {}
    for name, (pixels, count) in pictures.items():
        images, _ = Display(native)(torch.from_numpy(pixels.astype(np.float32)) / levels)
        shape = (len(pixels), count, noise["dim"])
        draws = stream.uniform(size=shape) if noise["distribution"] == "uniform" else stream.standard_normal(shape)
        drawn[name] = {"images": images.numpy(), "noise": draws.astype(np.float32)}
    return drawn


def _image_probes() -> dict[str, Arrays]:
    stream = np.random.RandomState(7)
    shape = (3, SHOWN, SHOWN)
    strokes = (stream.uniform(size=(7, 1, 8, 8)) > 0.7).repeat(4, axis=2).repeat(4, axis=3).repeat(3, axis=1)
    drawn = {
        "random 1": stream.uniform(size=(1, *shape)),
        "strokes 7": strokes,
        "black and white 2": np.stack([np.zeros(shape), np.ones(shape)]),
    }
    return {name: {"images": images.astype(np.float32)} for name, images in drawn.items()}
