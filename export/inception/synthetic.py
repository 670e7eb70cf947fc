"""Weights of nobody, in the published layout: the forms must agree on any, and the real ones do not ship."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.inception.network import Inception


def synthetic_checkpoint(*, seed: int) -> dict[str, Tensor]:
    """He-initialised convolutions and moderate batch norms: features stay near 1, so that errors show in them."""
    stream = torch.Generator().manual_seed(seed)
    network = Inception().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=stream)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.9, 1.1, generator=stream)
                module.bias.normal_(0, 0.1, generator=stream)
                module.running_mean.normal_(0, 0.1, generator=stream)
                module.running_var.uniform_(0.8, 1.2, generator=stream)
            elif isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.03, generator=stream)
                module.bias.normal_(0, 0.1, generator=stream)
    return {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}
