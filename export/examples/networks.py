"""The two small networks of which the example generators are made.

VAE and GAN use the very same `Decoder`, so that what differs between their samples is how they were trained.
Dense layers only: on 8 × 8 digits they train in half a minute on one core.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from export.examples.display import Display

Network = TypeVar("Network", bound=nn.Module)

SLOPE = 0.2  # of the leaky ReLU below zero


def decoder_width(native: int) -> int:
    """Units of a hidden layer: 96 for 8 × 8 digits (a frozen generator of 100 kB), 256 for larger pictures."""
    return 96 if native <= 8 else 256


class Decoder(nn.Module):
    """Latent ``(N, L)`` → native pixels ``(N, C, S, S)`` in [0, 1]: three hidden layers and a sigmoid."""

    def __init__(self, latent_dim: int, channels: int, native: int) -> None:
        super().__init__()
        width = decoder_width(native)
        self.shape = (channels, native, native)
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, channels * native * native),
        )

    def forward(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(latent)).unflatten(1, self.shape)


class HalfLinear(nn.Module):
    """A linear layer that stores float16 and computes in float32: what need not be exact weighs half."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features = layer.in_features
        self.register_buffer("weight", layer.weight.detach().half())
        self.register_buffer("bias", layer.bias.detach().half())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.float(), self.bias.float())


def stored_in_half(module: Network) -> Network:
    """A copy, in eval mode, whose linear layers store float16."""
    smaller = copy.deepcopy(module).eval()
    for parent in list(smaller.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, HalfLinear(layer))
    return smaller


class Encoder(nn.Module):
    """Native pixels ``(N, C, S, S)`` → ``(N, outputs)``: the VAE's recognition network, the GAN's discriminator."""

    def __init__(self, outputs: int, channels: int, native: int, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * native * native, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, outputs),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


class Generator(nn.Module):
    """What is frozen: standard normal latent ``(N, L)`` → shown pictures ``(N, 32, 32, 3)`` uint8, and unrounded."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.display = Display(decoder.shape[-1])

    @property
    def latent_dim(self) -> int:
        return self.decoder.layers[0].in_features

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        return self.display(self.decoder(latent))

    def stored_in_half(self) -> Generator:
        """A copy of half the size."""
        return stored_in_half(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Generator:
        """Rebuild the generator whose `state_dict` this is; the shapes tell its sizes."""
        latent_dim = state["decoder.layers.0.weight"].shape[1]
        native = state["display.upscale"].shape[1]
        channels = len(state["decoder.layers.6.bias"]) // native**2
        generator = cls(Decoder(latent_dim, channels, native))
        generator.load_state_dict(dict(state))
        return generator.eval()
