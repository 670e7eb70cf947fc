"""The normalising flow (Dinh et al. 2017, RealNVP): every picture has an exact density, and samples are its inverse.

A picture of whole levels x becomes v = x + u, u uniform on [0, 1) (dequantisation), on [0, LEVELS + 1). Then, each step
invertible and its log-determinant added up: a logit takes v to the real line, principal components make it white, and
affine couplings shape it into a standard normal. The density is that of v, on the scale of the levels: by Jensen, its
mean logarithm over u is a lower bound of the log-probability of x.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, silu

from export.examples.display import Display, NativeLevels
from export.examples.networks import stored_in_half

COUPLINGS = 8
WIDTH = 32  # units of the hidden layer of a coupling
DROPOUT = 0.15  # of those units: 1,200 pictures are few
STEPS = 6000
BATCH = 128
LEARNING_RATE = 2e-3  # AdamW, falling to 0 along a cosine
WEIGHT_DECAY = 0.3
MARGIN = 0.02  # the logit is taken of MARGIN + (1 - 2 MARGIN) v / (LEVELS + 1), so that it stays finite
DRAWS = 20  # dequantisations of each picture from which the principal components are found


class Coupling(nn.Module):
    """Half of the coordinates is scaled and shifted by what the other half says."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim // 2, width)
        self.last = nn.Linear(width, dim)
        nn.init.zeros_(self.last.weight)  # starts as the identity
        nn.init.zeros_(self.last.bias)

    def forward(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale, within ±2, and shift of the other half, each ``(…, D / 2)``."""
        hidden = dropout(silu(self.first(known)), DROPOUT, self.training)
        log_scale, shift = self.last(hidden).chunk(2, dim=-1)
        return 2.0 * torch.tanh(0.5 * log_scale), shift


class Flow(nn.Module):
    """Values ``(…, D)`` on [0, levels + 1) ↔ latents ``(…, D)``, D even."""

    mean: Tensor  # (D,) of the logits
    axes: Tensor  # (D, D) orthonormal columns: the principal components
    deviations: Tensor  # (D,) along them
    most: Tensor  # (), the level that means white, by which a frozen flow is rebuilt

    def __init__(self, dim: int, levels: int, *, couplings: int = COUPLINGS, width: int = WIDTH) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("axes", torch.eye(dim))
        self.register_buffer("deviations", torch.ones(dim))
        self.register_buffer("most", torch.tensor(levels))
        self.couplings = nn.ModuleList(Coupling(dim, width) for _ in range(couplings))
        self.levels = levels

    def fit_axes(self, values: Tensor) -> None:
        """Make the logits of ``values`` (N, D) white."""
        logits = _logit(self._share(values)).to(torch.float64)
        variances, axes = torch.linalg.eigh(torch.cov(logits.T))
        self.mean.copy_(logits.mean(dim=0))
        self.axes.copy_(axes)
        self.deviations.copy_(variances.sqrt())

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(…, D)`` and ln |det ∂latents/∂values| ``(…)``."""
        share = self._share(values)
        slope = (1.0 - 2.0 * MARGIN) / (self.levels + 1)
        log_det = (math.log(slope) - torch.log(share) - torch.log1p(-share) - torch.log(self.deviations)).sum(dim=-1)
        x = (_logit(share) - self.mean) @ self.axes / self.deviations
        for coupling in self.couplings:
            # Odd coordinates to the front, even ones behind them: after six couplings all have met.
            known, other = x[..., 1::2], x[..., 0::2]
            log_scale, shift = coupling(known)
            x = torch.cat([known, (other - shift) * torch.exp(-log_scale)], dim=-1)
            log_det = log_det - log_scale.sum(dim=-1)
        return x, log_det

    def inverse(self, latents: Tensor) -> Tensor:
        """Values ``(…, D)``; a little outside [0, levels + 1] where the latent lies far out."""
        x = latents
        for index in range(len(self.couplings) - 1, -1, -1):
            known, other = x.chunk(2, dim=-1)
            log_scale, shift = self.couplings[index](known)
            other = other * torch.exp(log_scale) + shift
            x = torch.stack([other, known], dim=-1).flatten(-2)
        logits = (x * self.deviations) @ self.axes.T + self.mean
        return (torch.sigmoid(logits) - MARGIN) * ((self.levels + 1) / (1.0 - 2.0 * MARGIN))

    def log_density(self, values: Tensor) -> Tensor:
        """``(…)`` in nats, of values on the scale of the levels."""
        latents, log_det = self(values)
        return log_det - 0.5 * (latents**2 + math.log(2.0 * math.pi)).sum(dim=-1)

    def _share(self, values: Tensor) -> Tensor:
        return MARGIN + (1.0 - 2.0 * MARGIN) * values / (self.levels + 1)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Flow:
        """Rebuild the flow that a frozen module holds as ``flow``, stored in half; the shapes tell its sizes."""
        inside = {name.removeprefix("flow."): value for name, value in state.items() if name.startswith("flow.")}
        width, half = inside["couplings.0.first.weight"].shape
        couplings = 1 + max(int(name.split(".")[1]) for name in inside if name.startswith("couplings."))
        flow = stored_in_half(cls(2 * half, int(inside["most"]), couplings=couplings, width=width))
        flow.load_state_dict(inside)
        return flow


class FlowGenerator(nn.Module):
    """Standard normal latent ``(N, D)`` → shown pictures ``(N, 32, 32, 3)``: uint8 of whole levels, and unrounded.

    Rounding v − 1/2 is ⌊v⌋: it takes the dequantisation back.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow
        self.native = math.isqrt(len(flow.mean))
        self.display = Display(self.native)

    @property
    def latent_dim(self) -> int:
        return len(self.flow.mean)

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        levels = (self.flow.inverse(latent) - 0.5).clamp(0.0, float(self.flow.levels))
        levels = levels.unflatten(1, (1, self.native, self.native))
        images, _ = self.display(torch.round(levels) / self.flow.levels)
        _, unrounded = self.display(levels / self.flow.levels)
        return images, unrounded


class FlowDensity(nn.Module):
    """Shown pictures ``(N, 32, 32, 3)`` uint8 and K uniform draws each ``(N, K, D)`` → log-densities ``(N, K)``.

    The mean of the density over the draws estimates the probability of the picture.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.record = {
            "dim": len(flow.mean),
            "levels": flow.levels + 1,
            "offset_bits": 0.0,  # the density is that of values on the scale of the levels
            "quantity": "log_density",
            "noise": {"dim": len(flow.mean), "distribution": "uniform"},
            "bound": True,
        }
        self.flow = flow
        self.native_levels = NativeLevels(math.isqrt(len(flow.mean)), flow.levels)

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        return self.flow.log_density(self.native_levels(images)[:, None] + noise)


def train_flow(levels: Tensor, *, most: int, seed: int, steps: int = STEPS) -> Flow:
    """Train on whole ``levels`` (N, D), float32, 0…``most``. Deterministic in ``seed`` on one machine."""
    torch.manual_seed(seed)  # initial weights and dropout; everything else draws from `draws`
    draws = torch.Generator().manual_seed(seed)

    def dequantised(chosen: Tensor) -> Tensor:
        return chosen + torch.rand(chosen.shape, generator=draws)

    flow = Flow(levels.shape[1], most)
    flow.fit_axes(torch.cat([dequantised(levels) for _ in range(DRAWS)]))
    optimiser = torch.optim.AdamW(flow.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = levels[torch.randint(len(levels), (BATCH,), generator=draws)]
        loss = -flow.log_density(dequantised(batch)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return flow.eval()


def _logit(share: Tensor) -> Tensor:
    return torch.log(share) - torch.log1p(-share)
