"""The blueprints of the example bundles: built after training, and rebuilt from a bundle by `python -m export verify`.

A generator gives integers, so its forms agree when no pixel differs by more than one grey level and at most 1 % of
them differ at all (`export.verify`): a value that lies within float rounding of the middle of two levels may fall on
either side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from export.blueprint import Arrays, Blueprint, Tolerance
from export.examples.classifier import Classifier
from export.examples.data import ExampleData
from export.examples.display import SHOWN
from export.examples.memoriser import Memoriser
from export.examples.networks import Generator
from export.verify import frozen_state
from genmetrics_rt.bundle import load_bundle
from genmetrics_rt.manifest import TensorSpec

Module = Generator | Memoriser | Classifier
COMMAND = "python -m export examples"
ROLES = {
    "vae": ("variational autoencoder trained on {title}", "example generator: covers its classes, blurs between them"),
    "gan": ("generative adversarial network trained on {title}", "example generator: sharp, neglects some classes"),
    "memoriser": ("training pictures of {title}, jittered", "example generator: returns its training pictures"),
    "classifier": (
        "small classifier of {title} (penultimate layer)",
        "features of a small network trained on {title}; meaningless for other pictures",
    ),
}


def generator_blueprint(name: str, module: Generator | Memoriser, title: str, label: str, licence: str) -> Blueprint:
    """Latent (N, L) → images (N, 32, 32, 3)."""
    dim = module.latent_dim
    return Blueprint(
        name=name,
        version="1",
        kind="generator",
        title=title,
        label=label,
        licence=licence,
        command=COMMAND,
        module=module,
        inputs=(TensorSpec("latent", "float32", ("N", dim), "what to draw", "standard normal"),),
        outputs=(TensorSpec("images", "uint8", ("N", SHOWN, SHOWN, 3), "RGB pixels, rounded half to even", "0..255"),),
        example={"latent": torch.randn(3, dim, generator=torch.Generator().manual_seed(0))},
        probes=lambda: _latent_probes(dim),
        tolerance=Tolerance(absolute=1.0, relative=0.0),  # grey levels
        latent={"dim": dim, "distribution": "normal"},
        selftest_range={"latent": (-2.0, 2.0)},
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
    make = classifier_blueprint if isinstance(module, Classifier) else generator_blueprint
    # The memoriser holds the pictures themselves; the other networks are ours, made from them.
    licence = data.licence if role == "memoriser" else f"Apache-2.0; trained on data under {data.licence}"
    return _trained_on(data.title, data.licence, make(name, module, title, label, licence))


def vae_or_gan(folder: Path) -> Blueprint:
    """The blueprint of the VAE or GAN in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, generator_blueprint, Generator.from_state(frozen_state(folder)))


def memoriser(folder: Path) -> Blueprint:
    """The blueprint of the memoriser in ``folder``, from the pictures that its graph.ts holds."""
    return _described_by(folder, generator_blueprint, Memoriser.from_state(frozen_state(folder)))


def classifier(folder: Path) -> Blueprint:
    """The blueprint of the classifier in ``folder``, from the weights that its graph.ts holds."""
    return _described_by(folder, classifier_blueprint, Classifier.from_state(frozen_state(folder)))


def _described_by(folder: Path, make: Callable[..., Blueprint], module: Module) -> Blueprint:
    manifest = load_bundle(folder).manifest
    frozen = manifest.record["frozen"]
    blueprint = make(manifest.name, module, manifest.title, manifest.label, manifest.record["licence"])
    return _trained_on(frozen["data"], frozen["licence_of_data"], blueprint)


def _trained_on(data: str, licence: str, blueprint: Blueprint) -> Blueprint:
    return replace(blueprint, extra={"frozen": {"data": data, "licence_of_data": licence}})


def _latent_probes(dim: int) -> dict[str, Arrays]:
    stream = np.random.RandomState(7)
    drawn = {
        "normal 1": stream.standard_normal((1, dim)),
        "normal 65": stream.standard_normal((65, dim)),
        "wide 7": 2 * stream.standard_normal((7, dim)),
        "zero 2": np.zeros((2, dim)),
    }
    return {name: {"latent": latent.astype(np.float32)} for name, latent in drawn.items()}


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
