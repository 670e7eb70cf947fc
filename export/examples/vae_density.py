"""The likelihood of the VAE: how probable its frozen decoder makes a picture, by importance weights.

The decoder's output p is read as the chance that each of the LEVELS units of a pixel's grey is lit, so a level k has
probability Binomial(k; LEVELS, p): the loss of the training, times LEVELS, plus the binomial coefficient. That gives
every picture of whole levels a probability

    P(x) = ∫ N(z; 0, I) ∏ Binomial(xᵢ; LEVELS, pᵢ(z)) dz,

which is estimated with a proposal q(z|x), a normal whose mean and variances an encoder gives: each draw z ~ q yields a
weight ln P(x, z) − ln q(z|x), and the log of the mean of K weights is a lower bound in expectation that rises with K
(Burda et al. 2016). The encoder of the training served another likelihood, LEVELS times flatter, and is not kept: this
one is trained for the frozen decoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from export.examples.display import NativeLevels
from export.examples.networks import SLOPE, Decoder, stored_in_half

WIDTH = 96  # units of a hidden layer of the encoder
STEPS = 8000
BATCH = 64
LEARNING_RATE = 2e-3  # Adam, falling to 0 along a cosine
TRAINING_DRAWS = 4  # latents per picture and step: the bound with K = 4 is what the encoder learns to raise


class Proposal(nn.Module):
    """Levels ``(N, D)``, 0…levels → mean and log standard deviation of q(z|x), ``(N, L)`` each."""

    def __init__(self, dim: int, latent_dim: int, levels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.first = nn.Linear(dim, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, 2 * latent_dim)
        self.levels = levels

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        hidden = leaky_relu(self.first(levels / self.levels), SLOPE)
        mean, log_deviation = self.last(leaky_relu(self.second(hidden), SLOPE)).chunk(2, dim=1)
        return mean, log_deviation


class VaeLikelihood(nn.Module):
    """Levels ``(N, D)`` and K standard normal draws each ``(N, K, L)`` → ln P(x, z) − ln q(z|x), ``(N, K)`` in nats."""

    binomial: Tensor  # (levels + 1,) logarithms of the binomial coefficients

    def __init__(self, decoder: Decoder, proposal: Proposal) -> None:
        super().__init__()
        self.decoder = decoder
        self.proposal = proposal
        most = proposal.levels
        coefficients = torch.tensor([math.log(math.comb(most, level)) for level in range(most + 1)])
        self.register_buffer("binomial", coefficients)

    def forward(self, levels: Tensor, noise: Tensor) -> Tensor:
        mean, log_deviation = self.proposal(levels)
        latents = mean[:, None] + torch.exp(log_deviation)[:, None] * noise
        # ln N(z; 0, I) − ln q(z|x): the factors of 2π cancel.
        prior = (0.5 * (noise**2 - latents**2) + log_deviation[:, None]).sum(dim=2)
        # k ln p + (n − k) ln(1 − p) by the logit of p.
        logits = self.decoder.layers(latents)
        most = float(self.proposal.levels)
        fit = (levels[:, None] * logits - most * softplus(logits)).sum(dim=2)
        return prior + fit + self.binomial[levels.to(torch.int64)].sum(dim=1)[:, None]


class VaeDensity(nn.Module):
    """Shown pictures ``(N, 32, 32, 3)`` uint8 and noise ``(N, K, L)`` → log importance weights ``(N, K)``."""

    def __init__(self, likelihood: VaeLikelihood) -> None:
        super().__init__()
        _, native, _ = likelihood.decoder.shape
        self.record = {
            "dim": native**2,
            "levels": likelihood.proposal.levels + 1,
            "offset_bits": 0.0,
            "quantity": "log_probability",
            "noise": {"dim": likelihood.decoder.layers[0].in_features, "distribution": "normal"},
            "bound": True,
        }
        self.likelihood = likelihood
        self.native_levels = NativeLevels(native, likelihood.proposal.levels)

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        return self.likelihood(self.native_levels(images), noise)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> VaeDensity:
        """Rebuild what was frozen, stored in half; the shapes tell its sizes."""
        latent_dim = state["likelihood.decoder.layers.0.weight"].shape[1]
        native = state["native_levels.downscale"].shape[0]
        width, dim = state["likelihood.proposal.first.weight"].shape
        proposal = Proposal(dim, latent_dim, len(state["likelihood.binomial"]) - 1, width)
        density = stored_in_half(cls(VaeLikelihood(Decoder(latent_dim, 1, native), proposal)))
        density.load_state_dict(dict(state))
        return density


def train_proposal(decoder: Decoder, levels: Tensor, *, most: int, seed: int, steps: int = STEPS) -> VaeLikelihood:
    """Train q for the frozen ``decoder`` on whole ``levels`` (N, D), float32, 0…``most``. Deterministic in ``seed``."""
    torch.manual_seed(seed)  # initial weights; everything later draws from `draws`
    draws = torch.Generator().manual_seed(seed)
    latent_dim = decoder.layers[0].in_features
    proposal = Proposal(levels.shape[1], latent_dim, most)
    likelihood = VaeLikelihood(decoder.requires_grad_(False), proposal)
    optimiser = torch.optim.Adam(proposal.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = levels[torch.randint(len(levels), (BATCH,), generator=draws)]
        weights = likelihood(batch, torch.randn(BATCH, TRAINING_DRAWS, latent_dim, generator=draws))
        loss = math.log(TRAINING_DRAWS) - torch.logsumexp(weights, dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return likelihood.eval()
