"""The shipped weight-free networks, filled with weights of nobody from files in the published layout."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import genmetrics_rt as gm
from genmetrics_rt.bundle import SHIPPED, Bundle

TOPICS = {
    "dinov2-vits14": "dinov2",
    "dinov2-vitb14": "dinov2",
    "dinov2-vitl14": "dinov2",
    "clip-vit-b-32": "clip",
    "clip-vit-l-14-336": "clip",
    "inception-torchvision": "torchvision_networks",
    "vgg16": "torchvision_networks",
}


def network(name: str) -> Any:
    """The workshop's module with seeded weights."""
    return importlib.import_module(f"export.{TOPICS[name]}").network_of_nobody(name)


def published(name: str, module: Any) -> dict[str, Tensor]:
    """Its state dict as the publisher's file has it, with what the features do not use."""
    if name.startswith("clip"):
        tower = importlib.import_module("export.clip").published(module)
        text = {"text_projection": torch.zeros(8, module.proj.shape[1]), "logit_scale": torch.tensor(4.6)}
        text |= {"transformer.resblocks.0.attn.in_proj_weight": torch.zeros(24, 8), "ln_final.weight": torch.ones(8)}
        return {**text, **tower}
    if name.startswith("dinov2"):
        return importlib.import_module("export.dinov2").published(module)
    if name == "vgg16":
        return {
            **module.state_dict(),
            "classifier.6.weight": torch.zeros(1000, 4096),
            "classifier.6.bias": torch.zeros(1000),
        }
    return {**module.state_dict(), "AuxLogits.fc.weight": torch.zeros(1000, 768)}


def write(name: str, state: Mapping[str, Tensor], path: Path) -> Path:
    """A file in the publisher's container: CLIP's are TorchScript archives, the others pickles in a zip."""
    if name.startswith("clip"):
        _as_torchscript(state, path)
    else:
        torch.save(dict(state), path)
    return path


def filled(name: str, checkpoint: Path, folder: Path) -> Bundle:
    """The shipped bundle, whose manifest takes this file for the publisher's, assembled from it."""
    shutil.copytree(SHIPPED / name, folder)
    record = json.loads((folder / "manifest.json").read_text())
    (source,) = record["weights"]["sources"]
    source |= {"sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(), "bytes": checkpoint.stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(record))
    return gm.fetch_bundle(gm.load_bundle(folder), weights=checkpoint)


class _Holder(nn.Module):
    """Modules within modules that hold tensors by their dotted names, and compute nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def _as_torchscript(state: Mapping[str, Tensor], path: Path) -> None:
    from export.verify import torchscript_without_warnings

    root = _Holder()
    for name, value in state.items():
        *path_to, leaf = name.split(".")
        holder: nn.Module = root
        for step in path_to:
            if not hasattr(holder, step):
                holder.add_module(step, _Holder())
            holder = getattr(holder, step)
        holder.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    with torchscript_without_warnings():
        torch.jit.script(root).save(str(path))
