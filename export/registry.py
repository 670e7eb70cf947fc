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


BLUEPRINTS: dict[str, Builder] = {
    "trace_sqrtm": _builder("export.kernels", "trace_sqrtm"),
    "kl_divergence": _builder("export.kernels", "kl_divergence"),
    "knn_radii": _builder("export.kernels", "knn_radii"),
    "pairwise_squared_distances": _builder("export.kernels", "pairwise_squared_distances"),
    "scattering": _builder("export.embedded", "blueprint"),
    "digits-classifier": _builder("export.examples.blueprints", "classifier"),
    "digits-gan": _builder("export.examples.blueprints", "vae_or_gan"),
    "digits-memoriser": _builder("export.examples.blueprints", "memoriser"),
    "digits-vae": _builder("export.examples.blueprints", "vae_or_gan"),
}
