"""Tr (Σa Σb)^(1/2) from matrix products alone, for places without LAPACK: the torch module.

Any factors Σ = L Lᵀ will do: the trace is the nuclear norm (sum of singular values) of X = Laᵀ Lb. It is real and
non-negative by construction, and an eigenvalue of Σ of relative size 1e-12 is only 1e-6 in L, so float64 still sees it.

1. Factors: Cholesky with complete pivoting (Higham, "Accuracy and Stability", §10.3; LAPACK's dpstrf), stopped at
   pivots that are rounding noise. So the rank is found exactly, and fewer images than dimensions cost less, not more;
   without pivoting noise columns creep in (error 2e-11 instead of 5e-15 at D = 2048, N = 500). Nothing is swapped:
   the order of the columns of L does not matter.
2. Nuclear norm: ⟨U, X⟩ with the polar factor U of X, by the uncoupled quintic iteration U ← aU + bU(UᵀU) + cU(UᵀU)²,
   whose first steps (K. Jordan et al., "Muon", 2024) lift small singular values 3.4-fold each, and whose last are
   Newton–Schulz of order 5. Singular values above 1e-8 of the Frobenius norm converge; each of those below loses at
   most 7e-10 of that norm. Coupled iterations overflow on ill-conditioned input.
"""

from __future__ import annotations

import torch
from torch import Tensor

PANEL = 64  # rows of the factor that are found one by one before one matrix product takes them off the rest
EPSILON = 2.0**-52  # of float64
# a, b, c in multiples of 1/1024, which the float32 attributes of an ONNX graph hold exactly.
NUM_LIFTS, LIFT = 14, (3527 / 1024, -4890 / 1024, 2080 / 1024)  # takes (0, 1.2) into itself, in the end (0.7, 1.2)
NUM_POLISHES, POLISH = 4, (15 / 8, -10 / 8, 3 / 8)  # an error e becomes 5/2 e³


class TraceSqrtm(torch.nn.Module):
    """covariance_a, covariance_b (D, D) float64, positive semi-definite → Tr (Σa Σb)^(1/2), a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.panel, self.epsilon = PANEL, EPSILON  # TorchScript sees attributes, not globals
        self.schedule = [LIFT] * NUM_LIFTS + [POLISH] * NUM_POLISHES

    def forward(self, covariance_a: Tensor, covariance_b: Tensor) -> Tensor:
        scale_a, scale_b = largest_variance(covariance_a), largest_variance(covariance_b)
        factor_a, factor_b = self.factor(covariance_a / scale_a), self.factor(covariance_b / scale_b)
        if factor_a.shape[0] < factor_b.shape[0]:
            factor_a, factor_b = factor_b, factor_a  # the iteration costs least on the smaller side's Gram matrix
        return self.nuclear_norm(factor_a @ factor_b.T) * torch.sqrt(scale_a) * torch.sqrt(scale_b)

    def factor(self, covariance: Tensor) -> Tensor:
        """Rows F (1 + rank, D) with Fᵀ F = Σ, for a largest variance of 1. Row 0 is zero: so no axis is ever empty."""
        noise = covariance.shape[0] * self.epsilon  # pivots up to this are rounding errors: the rank has been found
        residual = covariance  # Σ − Fᵀ F as of the last panel
        variances = covariance.diagonal()  # the diagonal of Σ − Fᵀ F, always current
        nothing = torch.zeros_like(covariance[:1]) + 0 * covariance.sum()  # NaN shows, wherever in Σ it is
        rows = nothing
        while bool(variances.max() > noise):
            panel = nothing
            while panel.shape[0] <= self.panel and bool(variances.max() > noise):
                pivot = variances.argmax()
                row = residual[pivot] - panel[:, pivot] @ panel
                # Where the variance is used up, what is left of the covariances is rounding.
                row = torch.where(variances > 0, row / torch.sqrt(variances[pivot]), nothing[0])
                panel = torch.cat([panel, row[None]])
                variances = variances - row * row
                variances[pivot] = 0.0
            residual = torch.addmm(residual, panel.T, panel, alpha=-1)
            rows = torch.cat([rows, panel[1:]])
        return rows

    def nuclear_norm(self, x: Tensor) -> Tensor:
        """The sum of the singular values of (R, S), as ⟨polar factor, X⟩; R ≥ S is cheaper."""
        norm = torch.sqrt((x * x).sum())
        u = x / torch.where(norm > 0, norm, torch.ones_like(norm))
        for a, b, c in self.schedule:
            gram = u.T @ u  # (S, S)
            u = torch.addmm(u, u, torch.addmm(gram, gram, gram, beta=b, alpha=c), beta=a)
        return (u * x).sum()


def largest_variance(covariance: Tensor) -> Tensor:
    """Divided out first, so that no product under- or overflows; 1 where all variances are 0."""
    largest = covariance.diagonal().max()
    return torch.where(largest > 0, largest, torch.ones_like(largest))
