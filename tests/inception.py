"""A checkpoint in the published layout with weights of nobody, and photographs to run it on.

The weights are He-initialised; batch norm is calibrated on photographs, so that pooled features keep a spread near 0.5
(in a network whose signal has decayed, every bug agrees with every other), and lets most values pass the ReLU (a random
network that cuts half of them is chaotic: it multiplies rounding by a hundred); the classifier is scaled so that the
Inception Score lies between 3 and 10. The photographs are crops of the two that scikit-learn ships.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images
from torch import nn

from export.inception.network import SIDE, Inception

Photo = NDArray[np.uint8]


def crops(count: int, *, seed: int, sizes: tuple[int, int] = (90, 420)) -> list[Photo]:
    """uint8 (H, W, 3) crops of unlike sizes, shapes and exposures."""
    rng = np.random.default_rng(seed)
    photos = load_sample_images().images
    taken = []
    for _ in range(count):
        photo = photos[rng.integers(len(photos))]
        height, width = rng.integers(*sizes, 2)
        top, left = rng.integers(photo.shape[0] - height), rng.integers(photo.shape[1] - width)
        crop = photo[top : top + height, left : left + width].astype(np.float64)
        crop = (crop * rng.uniform(0.5, 1.3, 3) + rng.uniform(-30, 30)).clip(0, 255)
        taken.append(crop.astype(np.uint8)[:, :: rng.choice([-1, 1])])
    return taken


def folders(root: Path, count: int, *, seed: int = 0) -> tuple[Path, Path]:
    """Two folders of photographs that differ: the generated ones are blurred, tinted and noisy.

    Of mixed sizes; PNG and JPEG; every fifth grey; a few smaller than 32 pixels.
    """
    rng = np.random.default_rng(seed)
    for side, folder in enumerate((root / "generated", root / "reference")):
        folder.mkdir(parents=True)
        for index, crop in enumerate(crops(count, seed=10 * seed + side)):
            image = Image.fromarray(np.ascontiguousarray(crop))
            if side == 0:
                noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(3)), np.float64) * [1.3, 0.8, 0.6]
                image = Image.fromarray((noisy + rng.normal(0, 25, noisy.shape)).clip(0, 255).astype(np.uint8))
            if index % 5 == 0:
                image = image.convert("L")
            if index % 7 == 0:
                image = image.resize((24 + index % 8, 31))
            suffix = ".jpg" if index % 2 else ".png"
            image.save(folder / f"{index:04d}{suffix}", **({"quality": 92} if index % 2 else {}))
    return root / "generated", root / "reference"


def calibrated_network(seed: int = 0) -> Inception:
    """The network with weights as described above."""
    stream = torch.Generator().manual_seed(seed)
    network = Inception()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=stream)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the running statistics become those of the one batch below
            module.weight.data.uniform_(0.8, 1.2, generator=stream)
            module.bias.data.normal_(1, 0.2, generator=stream)
    network.fc.weight.data.normal_(0, 1, generator=stream)
    network.fc.bias.data.normal_(0, 1, generator=stream)
    images = _batch(crops(24, seed=99, sizes=(150, 420)))
    with torch.no_grad():
        network.train()(images)
        features, logits = network.eval()(images)[:2]
        spread = features.std(dim=0).mean()
        for unit in _last_units(network):  # ReLU passes a factor on
            unit.bn.weight.data *= 0.5 / spread
            unit.bn.bias.data *= 0.5 / spread
        logits = logits * (0.5 / spread)
        network.fc.weight.data *= 2 / (logits - logits.mean(dim=0)).std()
    return network.requires_grad_(False)


def write_checkpoint(path: Path, *, seed: int = 0, counters: bool = True) -> Path:
    """A state dict in the layout of pytorch-fid, with or without ``num_batches_tracked``."""
    state = calibrated_network(seed).state_dict()
    torch.save({name: value for name, value in state.items() if counters or "num_batches" not in name}, path)
    return path


def _last_units(network: Inception) -> list[nn.Module]:
    last = network.Mixed_7c
    outputs = ("branch1x1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool")
    return [getattr(last, name) for name in outputs]


def _batch(images: list[Photo]) -> torch.Tensor:
    resized = [np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((SIDE, SIDE))) for image in images]
    return torch.from_numpy(np.stack(resized).transpose(0, 3, 1, 2).astype(np.float32)) / 128 - 1
