"""The network behind FID: TensorFlow's Inception-v3 of 2015-12-05 under the names of torchvision's `Inception3`.

It differs from torchvision's in five places, all of them here: 1,008 classes; 3 × 3 average pools that do not count
their padding; a max pool instead of an average pool in the last block; logits without bias; no dropout and no
re-normalisation of the input, which is already (x − 128)/128 or 2x/255 − 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import inception as blocks

from export.inception.folding import FoldedConv2d, fold

SIDE = 299  # pixels a side
NUM_FEATURES, NUM_CLASSES = 2048, 1008
SPATIAL_CHANNELS = 7  # of Mixed_6d's first branch: what sFID looks at
NUM_SPATIAL = SPATIAL_CHANNELS * 17 * 17


class InceptionA(blocks.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(average_pool(x))]


class InceptionC(blocks.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(average_pool(x))]


class InceptionE(blocks.InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        return [*super()._forward(x)[:-1], self.branch_pool(average_pool(x))]


class LastInceptionE(blocks.InceptionE):
    """The published graph takes the maximum here, probably by mistake; FID keeps it."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        pooled = functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        return [*super()._forward(x)[:-1], self.branch_pool(pooled)]


def average_pool(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class Inception(blocks.Inception3):
    """Images (N, 3, 299, 299), already scaled → features and the other taps, in the order of `OUTPUTS`."""

    def __init__(self) -> None:
        super().__init__(num_classes=NUM_CLASSES, aux_logits=False, transform_input=False, init_weights=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = (
            InceptionA(channels, pool_features) for channels, pool_features in ((192, 32), (256, 64), (288, 64))
        )
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            InceptionC(768, channels) for channels in (128, 160, 160, 192)
        )
        self.Mixed_7b, self.Mixed_7c = InceptionE(1280), LastInceptionE(2048)
        self.dropout = nn.Identity()

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Take a checkpoint in the layout of pytorch-fid and torch-fidelity, with or without ``num_batches_tracked``.

        Raises
        ------
        RuntimeError
            A tensor is missing, left over, or of another shape; torch names it.
        """
        counters = {name for name in self.state_dict() if name.endswith(".num_batches_tracked")}
        self.load_state_dict({**{name: torch.tensor(0) for name in counters}, **state})

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        first = self.maxpool1(x)  # 64 × 73 × 73
        second = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(first)))  # 192 × 35 × 35
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(second))))
        before = self.Mixed_6c(self.Mixed_6b(x))  # 768 × 17 × 17
        third = self.Mixed_6e(self.Mixed_6d(before))
        last = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(third)))  # 2048 × 8 × 8
        features = global_average(last)
        # TensorFlow's mixed_6/conv:0, after batch norm and ReLU. Flattened by channels; the Fréchet distance is the
        # same for every fixed order.
        spatial = self.Mixed_6d.branch1x1(before)[:, :SPATIAL_CHANNELS].flatten(1)
        logits = functional.linear(features, self.fc.weight)
        taps = (global_average(tap) for tap in (first, second, third))
        return (features, logits, spatial, *taps)


def global_average(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3))


def folded(network: Inception) -> Inception:
    """A copy whose batch norms are folded into the convolutions, in float64, and whose parameters are only those that
    the taps need: ``NAME.weight`` and ``NAME.bias`` of every unit, and ``fc.weight``.
    """
    copy = Inception()
    copy.load_state_dict(network.state_dict())
    for name, module in list(copy.named_modules()):
        if isinstance(module, blocks.BasicConv2d):
            parent, _, leaf = name.rpartition(".")
            setattr(copy.get_submodule(parent), leaf, FoldedConv2d(module.conv, fold(module)))
    copy.fc.bias = None
    return copy.eval().requires_grad_(False)
