"""Which code makes which shipped bundle. Topics are imported only when one of their bundles is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from export.blueprint import Blueprint

Builder = Callable[[Path], Blueprint]  # takes the folder of the bundle, whose graph.ts holds fitted state


def _builder(module: str, function: str) -> Builder:
    def build(folder: Path) -> Blueprint:
        return getattr(importlib.import_module(module), function)(folder)

    return build


# Bundles without weights → the module whose ``verify(folder)`` fills them with weights of nobody and measures them.
WEIGHTLESS: dict[str, str] = {
    "inception-fid": "export.inception",
    "dinov2-vits14": "export.dinov2",
    "dinov2-vitb14": "export.dinov2",
    "dinov2-vitl14": "export.dinov2",
    "clip-vit-b-32": "export.clip",
    "clip-vit-l-14-336": "export.clip",
    "inception-torchvision": "export.torchvision_networks",
    "vgg16": "export.torchvision_networks",
    "lpips-alex": "export.perceptual",
    "lpips-squeeze": "export.perceptual",
    "lpips-vgg": "export.perceptual",
    "vgg-loss": "export.perceptual",
    "minilm": "export.minilm",
}
BLUEPRINTS: dict[str, Builder] = {
    "trace_sqrtm": _builder("export.kernels", "trace_sqrtm"),
    "kl_divergence": _builder("export.kernels", "kl_divergence"),
    "knn_radii": _builder("export.kernels", "knn_radii"),
    "pairwise_squared_distances": _builder("export.kernels", "pairwise_squared_distances"),
    "scattering": _builder("export.embedded", "blueprint"),
    "scattering-distance": _builder("export.perceptual", "scattering"),
    "digits-classifier": _builder("export.examples.blueprints", "classifier"),
    "digits-cvae": _builder("export.examples.blueprints", "cvae"),
    "digits-diffusion": _builder("export.examples.blueprints", "diffusion"),
    "digits-flow": _builder("export.examples.blueprints", "flow"),
    "digits-flow-density": _builder("export.examples.blueprints", "flow_density"),
    "digits-gan": _builder("export.examples.blueprints", "vae_or_gan"),
    "digits-memoriser": _builder("export.examples.blueprints", "memoriser"),
    "digits-vae": _builder("export.examples.blueprints", "vae_or_gan"),
    "digits-vae-density": _builder("export.examples.blueprints", "vae_density"),
}
