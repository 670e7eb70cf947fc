"""torchvision's Inception v3 and VGG16 with the outputs that metrics use."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import inception as blocks
from torchvision.models import vgg16

from export.inception.folding import FoldedConv2d, fold

INCEPTION_SIDE, VGG_SIDE = 299, 224
INCEPTION_FEATURES, INCEPTION_CLASSES, VGG_FEATURES = 2048, 1000, 4096


class TorchvisionInception(blocks.Inception3):
    """Images (N, 3, 299, 299), scaled → features (N, 2048) and logits (N, 1000), with bias.

    torchvision's own first step (``transform_input``) is left out: the protocols say all that is done to the pixels.
    """

    def __init__(self) -> None:
        super().__init__(num_classes=INCEPTION_CLASSES, aux_logits=False, transform_input=False, init_weights=False)
        self.dropout = nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x))))
        for block in (
            self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d,
            self.Mixed_6e, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c,
        ):  # fmt: skip
            x = block(x)
        features = x.mean(dim=(2, 3))
        return features, self.fc(features)


def folded(network: TorchvisionInception) -> TorchvisionInception:
    """A copy whose batch norms are folded into the convolutions."""
    copy = TorchvisionInception()
    copy.load_state_dict(network.state_dict())
    for name, module in list(copy.named_modules()):
        if isinstance(module, blocks.BasicConv2d):
            parent, _, leaf = name.rpartition(".")
            setattr(copy.get_submodule(parent), leaf, FoldedConv2d(module.conv, fold(module)))
    return copy.eval().requires_grad_(False)


class VGG16(nn.Module):
    """Images (N, 3, 224, 224), standardised → the second fully connected layer after its ReLU (N, 4096)."""

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            whole = vgg16()
        self.features = whole.features.to_empty(device="cpu")
        self.classifier = nn.ModuleDict({key: whole.classifier[int(key)].to_empty(device="cpu") for key in ("0", "3")})
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images).flatten(1)  # 7 × 7 already, so torchvision's adaptive average changes nothing
        return functional.relu(self.classifier["3"](functional.relu(self.classifier["0"](x))))
