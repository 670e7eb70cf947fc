"""The diffusion model (Ho et al. 2020), sampled by DDIM (Song et al. 2021): good pictures, at fifty times the work.

Training adds noise to pictures x in [-1, 1], √a(t) x + √(1 − a(t)) ε with a(t) falling from 1 to 0 along a cosine
(Nichol and Dhariwal 2021), and the network learns v = √a ε − √(1 − a) x (Salimans and Ho 2022), from which follow both
x and ε. Times are drawn from a logit-normal distribution (Esser et al. 2024): most in the middle, where it is decided
which digit it will be. Sampling starts from the latent at t near 1 and goes down in `NETWORK_CALLS` equal steps, each
of which asks the network once. DDIM adds no noise on the way, so the latent decides the picture.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.functional import silu

from export.examples.display import Display
from export.examples.networks import stored_in_half

NETWORK_CALLS = 50  # for each sample
FIRST_TIME = 0.995  # where sampling starts; at 1 nothing of a picture is left to find
FREQUENCIES = 8  # sines and cosines by which the network is told the time
WIDTH, BLOCKS = 128, 3
STEPS = 40_000
BATCH = 128
LEARNING_RATE = 2e-3  # Adam, falling to 0 along a cosine
TIME_SPREAD = 1.1  # standard deviation of the logit of the times drawn in training
AVERAGING = 0.9995  # of the weights per step, less at the start


class Block(nn.Module):
    """A residual layer that knows the time."""

    def __init__(self, width: int, frequencies: int) -> None:
        super().__init__()
        self.time = nn.Linear(2 * frequencies, width)
        self.layer = nn.Linear(width, width)

    def forward(self, hidden: Tensor, waves: Tensor) -> Tensor:
        return hidden + self.layer(silu(hidden + self.time(waves)))


class Network(nn.Module):
    """Noisy pictures ``(N, D)`` and waves of the time ``(N or 1, 2 F)`` → v ``(N, D)``."""

    def __init__(self, dim: int, width: int = WIDTH, blocks: int = BLOCKS, frequencies: int = FREQUENCIES) -> None:
        super().__init__()
        self.first = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width, frequencies) for _ in range(blocks))
        self.last = nn.Linear(width, dim)

    def forward(self, noisy: Tensor, waves: Tensor) -> Tensor:
        hidden = self.first(noisy)
        for block in self.blocks:
            hidden = block(hidden, waves)
        return self.last(silu(hidden))


class Step(nn.Module):
    """One step down: ``(N, D)`` at time tᵢ and i, an int64 scalar → ``(N, D)`` at tᵢ₊₁."""

    def __init__(self, network: nn.Module, calls: int = NETWORK_CALLS) -> None:
        super().__init__()
        self.network = network
        times = torch.linspace(FIRST_TIME, 0.0, calls + 1, dtype=torch.float64)
        kept = kept_share(times)
        self.register_buffer("signal", kept.sqrt().float())  # (calls + 1,) √a(tᵢ)
        self.register_buffer("noise", (1.0 - kept).sqrt().float())  # (calls + 1,) √(1 − a(tᵢ))
        self.register_buffer("waves", waves_of(times[:-1]).float())  # (calls, 2 F)

    def forward(self, noisy: Tensor, index: Tensor) -> Tensor:
        signal, noise = self.signal[index], self.noise[index]
        v = self.network(noisy, self.waves[index])
        clean = (signal * noisy - noise * v).clamp(-1.0, 1.0)  # what the network takes the picture to be
        drawn = (noisy - signal * clean) / noise  # and the noise
        return self.signal[index + 1] * clean + self.noise[index + 1] * drawn


class Show(nn.Module):
    """Pictures ``(N, D)`` in [-1, 1] → shown pictures ``(N, 32, 32, 3)`` uint8, and unrounded."""

    def __init__(self, native: int) -> None:
        super().__init__()
        self.native = native
        self.display = Display(native)

    def forward(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        return self.display((0.5 * clean + 0.5).reshape(-1, 1, self.native, self.native))


class DiffusionGenerator(nn.Module):
    """Standard normal latent ``(N, D)`` → shown pictures ``(N, 32, 32, 3)`` uint8, and unrounded."""

    def __init__(self, step: Step, native: int) -> None:
        super().__init__()
        self.step = step
        self.show = Show(native)
        self.calls = len(step.waves)
        self.latent_dim = native**2

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        noisy = latent
        for index in range(self.calls):
            noisy = self.step(noisy, torch.tensor(index))
        return self.show(noisy)  # the last step leaves no noise

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> DiffusionGenerator:
        """Rebuild what was frozen, stored in half; the shapes tell its sizes."""
        width, dim = state["step.network.first.weight"].shape
        blocks = 1 + max(int(name.split(".")[3]) for name in state if name.startswith("step.network.blocks."))
        calls, waves = state["step.waves"].shape
        network = stored_in_half(Network(dim, width, blocks, waves // 2))
        generator = cls(Step(network, calls), math.isqrt(dim))
        generator.load_state_dict(dict(state))
        return generator.eval()


def kept_share(times: Tensor) -> Tensor:
    """a(t): the share of the variance at time t in [0, 1] that is still the picture's. a(0) = 1."""
    early = 0.008
    angles = (times + early) / (1.0 + early) * (math.pi / 2)
    return (torch.cos(angles) / math.cos(early / (1.0 + early) * (math.pi / 2))) ** 2


def waves_of(times: Tensor) -> Tensor:
    """Times ``(N,)`` → sines and cosines ``(N, 2 F)``, from 1 to 60 radians per unit of time."""
    frequencies = torch.exp(torch.linspace(0.0, math.log(60.0), FREQUENCIES, dtype=times.dtype))
    angles = times[:, None] * frequencies
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


def train_diffusion(pixels: Tensor, *, seed: int, steps: int = STEPS) -> DiffusionGenerator:
    """Train on native grey ``pixels`` (N, 1, S, S) in [0, 1]. Deterministic in ``seed`` on one machine."""
    torch.manual_seed(seed)  # initial weights; everything later draws from `draws`
    draws = torch.Generator().manual_seed(seed)
    pictures = 2.0 * pixels.flatten(1) - 1.0
    network = Network(pictures.shape[1])
    average = copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        batch = pictures[torch.randint(len(pictures), (BATCH,), generator=draws)]
        times = torch.sigmoid(TIME_SPREAD * torch.randn(BATCH, generator=draws))
        noise = torch.randn(batch.shape, generator=draws)
        kept = kept_share(times)[:, None].clamp(0.0, 1.0)
        signal, spread = kept.sqrt(), (1.0 - kept).sqrt()
        wanted = signal * noise - spread * batch
        loss = (network(signal * batch + spread * noise, waves_of(times)) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

        keep = min(AVERAGING, (1 + step) / (10 + step))
        with torch.no_grad():
            for averaged, current in zip(average.parameters(), network.parameters(), strict=True):
                averaged.lerp_(current, 1 - keep)
    return DiffusionGenerator(Step(average), pixels.shape[-1]).eval()


def looped(step: onnx.ModelProto, show: onnx.ModelProto, calls: int) -> onnx.ModelProto:
    """The exported `Step`, ``calls`` times in an ONNX Loop, and the exported `Show` behind it.

    Exported as a whole, the graph would hold every step again. ``step`` takes noisy and index and gives next; ``show``
    takes clean. The result takes latent and gives what ``show`` gives.
    """
    step, show = (
        compose.add_prefix(model, prefix, rename_outputs=False) for model, prefix in ((step, "step_"), (show, "show_"))
    )
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    body = helper.make_graph(
        [*step.graph.node, helper.make_node("Identity", ["go"], ["go_on"])],
        "steps",
        [step.graph.input[1], go, step.graph.input[0]],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), step.graph.output[0]],
    )
    latent = onnx.ValueInfoProto()
    latent.CopyFrom(step.graph.input[0])
    latent.name = "latent"
    loop = helper.make_node("Loop", ["calls", "yes", "latent"], [show.graph.input[0].name], "loop", body=body)
    constants = [
        numpy_helper.from_array(np.array(calls, np.int64), "calls"),
        numpy_helper.from_array(np.array(True), "yes"),
        *step.graph.initializer,
        *show.graph.initializer,
    ]
    graph = helper.make_graph([loop, *show.graph.node], "diffusion", [latent], show.graph.output, constants)
    return helper.make_model(graph, opset_imports=show.opset_import, functions=[*step.functions, *show.functions])
