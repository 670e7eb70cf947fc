"""The mean KL divergence behind the Inception Score: the torch module and its ONNX twin."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from export.kernels.onnx_text import model_from_text

NEVER = -1000.0  # nats: exp of it is 0, so clamping here keeps 0 · (−∞) away and changes nothing else


class KlDivergence(torch.nn.Module):
    """logits (N, C) float64 → E_x KL(p(y|x) ‖ p(y)) in nats, a scalar; p(y) is the mean of p(y|x) over the rows.

    Salimans et al., 2016, "Improved Techniques for Training GANs"; the Inception Score of one split is exp of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.never = NEVER  # TorchScript sees attributes, not globals

    def forward(self, logits: Tensor) -> Tensor:
        shifted = torch.clamp(logits - logits.amax(dim=1, keepdim=True), min=self.never)
        log_conditional = shifted - torch.log(torch.exp(shifted).sum(dim=1, keepdim=True))  # ln p(y|x)
        conditional = torch.exp(log_conditional)
        marginal = conditional.mean(dim=0)  # p(y)
        log_marginal = torch.log(torch.where(marginal > 0, marginal, torch.ones_like(marginal)))
        return (conditional * (log_conditional - log_marginal)).sum(dim=1).mean()


MODEL = """
<ir_version: 10, opset_import: ["": 20]>
kl_divergence (double[N, C] logits) => (double divergence) {
    zero = Constant <value = double {0.0}> ()
    one = Constant <value = double {1.0}> ()
    never = Constant <value = double {$NEVER}> ()
    rows = Constant <value_ints = [0]> ()
    classes = Constant <value_ints = [1]> ()
    largest = ReduceMax (logits, classes)
    offset = Sub (logits, largest)
    impossible = Less (offset, never)
    shifted = Where (impossible, never, offset)
    powers = Exp (shifted)
    power_sum = ReduceSum (powers, classes)
    log_sum = Log (power_sum)
    log_conditional = Sub (shifted, log_sum)
    conditional = Exp (log_conditional)
    marginal = ReduceMean <keepdims = 0> (conditional, rows)
    occurs = Greater (marginal, zero)
    marginal_or_one = Where (occurs, marginal, one)
    log_marginal = Log (marginal_or_one)
    gain = Sub (log_conditional, log_marginal)
    weighted = Mul (conditional, gain)
    divergences = ReduceSum <keepdims = 0> (weighted, classes)
    divergence = ReduceMean <keepdims = 0> (divergences)
}
"""


def kl_divergence_model() -> onnx.ModelProto:
    """logits (N, C) → divergence."""
    return model_from_text(MODEL, {"NEVER": NEVER})
