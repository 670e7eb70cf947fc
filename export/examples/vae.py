"""The variational autoencoder (Kingma and Welling 2014): covers every class, draws between them.

Loss per picture, in nats: ``BCE(x, decoder(z)) + KL_WEIGHT · KL(q(z|x) || N(0, I))``, z drawn from q (one sample).
The decoder returns the mean of its Bernoulli pixels: no noise is added, so samples are smooth.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from export.examples.networks import Decoder, Encoder, Generator

LATENT_DIM = 10
KL_WEIGHT = 0.5  # below 1: sharper strokes, more empty places between the classes (Higgins et al. 2017, β)
STEPS = 4000
BATCH = 64
LEARNING_RATE = 2e-3  # Adam, falling to 0 along a cosine


def train_vae(pixels: Tensor, *, seed: int, steps: int = STEPS) -> Generator:
    """Train on native ``pixels`` (N, C, S, S) in [0, 1]. Deterministic in ``seed`` on one machine."""
    torch.manual_seed(seed)  # initial weights; everything later draws from `draws`
    draws = torch.Generator().manual_seed(seed)
    _, channels, native, _ = pixels.shape
    decoder, encoder = Decoder(LATENT_DIM, channels, native), Encoder(2 * LATENT_DIM, channels, native)
    optimiser = torch.optim.Adam([*decoder.parameters(), *encoder.parameters()], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)

    for _ in range(steps):
        batch = pixels[torch.randint(len(pixels), (BATCH,), generator=draws)]
        mean, log_variance = encoder(batch).chunk(2, dim=1)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn(mean.shape, generator=draws)
        reconstruction = binary_cross_entropy(decoder(latent), batch, reduction="sum") / BATCH
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum() / BATCH
        optimiser.zero_grad()
        (reconstruction + KL_WEIGHT * divergence).backward()
        optimiser.step()
        schedule.step()
    return Generator(decoder).eval()
