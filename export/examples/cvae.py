"""The class-conditional variational autoencoder (Sohn et al. 2015): the label says which digit, the latent how.

Trained as the VAE is, with the class, one-hot, beside what encoder and decoder see.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, leaky_relu

from export.examples.display import Display
from export.examples.networks import SLOPE, Encoder, stored_in_half

LATENT_DIM = 6
WIDTH = 64  # units of the decoder's hidden layers
KL_WEIGHT = 0.5
STEPS = 6000
BATCH = 64
LEARNING_RATE = 2e-3  # Adam, falling to 0 along a cosine


class ConditionalGenerator(nn.Module):
    """Standard normal latent ``(N, L)`` and labels ``(N,)`` → pictures ``(N, 32, 32, 3)`` uint8, and unrounded."""

    one_hot: Tensor  # (classes, classes)

    def __init__(self, latent_dim: int, classes: int, native: int, width: int = WIDTH) -> None:
        super().__init__()
        self.register_buffer("one_hot", torch.eye(classes))
        self.first = nn.Linear(latent_dim + classes, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, native**2)
        self.latent_dim = latent_dim
        self.native = native
        self.display = Display(native)

    def decode(self, latent: Tensor, labels: Tensor) -> Tensor:
        """Native pixels ``(N, 1, S, S)`` in [0, 1]."""
        hidden = leaky_relu(self.first(torch.cat([latent, self.one_hot[labels]], dim=1)), SLOPE)
        hidden = leaky_relu(self.second(hidden), SLOPE)
        return torch.sigmoid(self.last(hidden)).unflatten(1, (1, self.native, self.native))

    def forward(self, latent: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.display(self.decode(latent, labels))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> ConditionalGenerator:
        """Rebuild what was frozen, stored in half; the shapes tell its sizes."""
        classes, native = len(state["one_hot"]), state["display.upscale"].shape[1]
        width, inputs = state["first.weight"].shape
        generator = stored_in_half(cls(inputs - classes, classes, native, width))
        generator.load_state_dict(dict(state))
        return generator


def train_cvae(pixels: Tensor, labels: Tensor, *, classes: int, seed: int, steps: int = STEPS) -> ConditionalGenerator:
    """Train on native grey ``pixels`` (N, 1, S, S) in [0, 1] with ``labels`` (N,). Deterministic in ``seed``."""
    torch.manual_seed(seed)  # initial weights; everything later draws from `draws`
    draws = torch.Generator().manual_seed(seed)
    native = pixels.shape[-1]
    generator = ConditionalGenerator(LATENT_DIM, classes, native)
    encoder = Encoder(2 * LATENT_DIM, 1, native)
    encoder.layers[1] = nn.Linear(native**2 + classes, encoder.layers[1].out_features)  # pixels and class
    optimiser = torch.optim.Adam([*generator.parameters(), *encoder.parameters()], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    for _ in range(steps):
        chosen = torch.randint(len(pixels), (BATCH,), generator=draws)
        batch, of_batch = pixels[chosen], labels[chosen]
        seen = torch.cat([batch.flatten(1), generator.one_hot[of_batch]], dim=1)
        mean, log_variance = encoder(seen).chunk(2, dim=1)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn(mean.shape, generator=draws)
        reconstruction = binary_cross_entropy(generator.decode(latent, of_batch), batch, reduction="sum") / BATCH
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum() / BATCH
        optimiser.zero_grad()
        (reconstruction + KL_WEIGHT * divergence).backward()
        optimiser.step()
        schedule.step()
    return generator.eval()
