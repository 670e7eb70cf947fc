"""The generative adversarial network (Goodfellow et al. 2014, non-saturating): sharp, and it forgets classes.

No regulariser of the discriminator and a latent of few dimensions: the textbook GAN that drops modes.
What is frozen is the running average of the generator's weights (Karras et al. 2018); what the log shows is the
discriminator against the generator that it really met.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from export.examples.networks import Decoder, Encoder, Generator

LATENT_DIM = 4
STEPS = 8000
BATCH = 64
LEARNING_RATE = 2e-3  # Adam, betas (0, 0.99), both networks
AVERAGING = 0.999  # of the generator's weights per step, less at the start
LOGGED = 100  # pictures of each kind whose logits are logged
EVALUATIONS = 32  # log entries after the first, evenly spaced
CHECKPOINTS = (1 / 80, 1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)  # ten, as shares of all steps


@dataclass(frozen=True)
class LogEntry:
    """Discriminator logits at one step; the same pictures and latents at every step.

    The losses are those of these logits: ``d_loss = mean softplus(-real) + mean softplus(generated)`` and
    ``g_loss = mean softplus(-generated)``.
    """

    step: int
    d_loss: float
    g_loss: float
    real: tuple[float, ...]  # training pictures
    held_out: tuple[float, ...]  # real pictures that neither network was trained on
    generated: tuple[float, ...]


@dataclass(frozen=True)
class GanTraining:
    """What remains of one training."""

    generator: Generator
    log: tuple[LogEntry, ...]
    checkpoints: dict[int, Generator]  # step → averaged generator


def train_gan(pixels: Tensor, held_out: Tensor, *, seed: int, steps: int = STEPS) -> GanTraining:
    """Train on native ``pixels`` (N, C, S, S) in [0, 1]. Deterministic in ``seed`` on one machine."""
    torch.manual_seed(seed)  # initial weights; everything later draws from `draws`
    draws = torch.Generator().manual_seed(seed)
    _, channels, native, _ = pixels.shape
    decoder, discriminator = Decoder(LATENT_DIM, channels, native), Encoder(1, channels, native)
    average = copy.deepcopy(decoder)
    optimise_decoder = torch.optim.Adam(decoder.parameters(), LEARNING_RATE, betas=(0.0, 0.99))
    optimise_discriminator = torch.optim.Adam(discriminator.parameters(), LEARNING_RATE, betas=(0.0, 0.99))

    def latents() -> Tensor:
        return torch.randn(BATCH, LATENT_DIM, generator=draws)

    fixed_latents = torch.randn(LOGGED, LATENT_DIM, generator=torch.Generator().manual_seed(seed))
    log_at = {round(steps * index / EVALUATIONS) for index in range(EVALUATIONS + 1)}
    checkpoint_at = {max(1, round(share * steps)) for share in CHECKPOINTS}
    log, checkpoints = [], {}
    for step in range(steps + 1):
        if step in log_at | checkpoint_at:
            with torch.no_grad():
                shown = (pixels[:LOGGED], held_out[:LOGGED], decoder(fixed_latents))
                log.append(_entry(step, *(discriminator(batch)[:, 0] for batch in shown)))
        if step in checkpoint_at:
            checkpoints[step] = Generator(copy.deepcopy(average)).eval()
        if step == steps:
            break

        # The discriminator.
        real = pixels[torch.randint(len(pixels), (BATCH,), generator=draws)]
        with torch.no_grad():
            generated = decoder(latents())
        loss = softplus(-discriminator(real)).mean() + softplus(discriminator(generated)).mean()
        optimise_discriminator.zero_grad()
        loss.backward()
        optimise_discriminator.step()

        # The generator.
        loss = softplus(-discriminator(decoder(latents()))).mean()
        optimise_decoder.zero_grad()
        loss.backward()
        optimise_decoder.step()

        # The average. It starts short, so that early checkpoints do not show the initial weights.
        keep = min(AVERAGING, (1 + step) / (10 + step))
        with torch.no_grad():
            for averaged, current in zip(average.parameters(), decoder.parameters(), strict=True):
                averaged.lerp_(current, 1 - keep)
    return GanTraining(Generator(average).eval(), tuple(log), checkpoints)


def _entry(step: int, real: Tensor, held_out: Tensor, generated: Tensor) -> LogEntry:
    return LogEntry(
        step=step,
        d_loss=float(softplus(-real).mean() + softplus(generated).mean()),
        g_loss=float(softplus(-generated).mean()),
        real=tuple(real.tolist()),
        held_out=tuple(held_out.tolist()),
        generated=tuple(generated.tolist()),
    )
