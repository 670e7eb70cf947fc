"""A blueprint: everything needed to freeze one module and to prove that its frozen forms agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from numpy.typing import NDArray

from genmetrics_rt.manifest import TensorSpec

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Tolerance:
    """Two forms of an output agree where |a − b| ≤ absolute + relative · max|b|."""

    absolute: float
    relative: float


@dataclass(frozen=True)
class Blueprint:
    """One module, what it takes and gives, and the inputs on which its forms must agree.

    Letters in the shapes of ``inputs`` and ``outputs`` are free axes; the same letter is the same size.
    """

    name: str
    version: str
    kind: str  # extractor, kernel, distance or generator
    title: str
    label: str  # printed beside the numbers; may be empty
    licence: str
    command: str  # what a person types to make this bundle
    module: torch.nn.Module  # eager, in eval mode; gives a tensor or a tuple in the order of `outputs`
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: dict[str, torch.Tensor]  # one call; free axes ≥ 2 and all different, so that none is taken for a constant
    probes: Callable[[], dict[str, Arrays]]  # name → inputs: random, extreme and odd-sized ones
    tolerance: Tolerance
    numpy_reference: Callable[[Arrays], Arrays] | None = None  # a twin in NumPy; else onnx's reference evaluator
    in_numpy: bool = True  # False: the evaluator of onnx is left out, which takes minutes for a large network
    onnx_model: Callable[[], onnx.ModelProto] | None = None  # built by hand where torch.onnx.export cannot (loops)
    least_sizes: Mapping[str, int] = field(default_factory=dict)  # free axis → size below which the module fails
    packed: bool = False  # whether the ONNX form stores in float16 what float16 holds exactly (export/half.py)
    torchscript: Literal["script", "trace"] = "trace"
    taps: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, Any] = field(default_factory=dict)
    latent: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)  # goes into the manifest as it is
    # The self-test that a bundle carries to its users (genmetrics_rt/selftest.py). No range, no self-test.
    selftest_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # input → low, high
    selftest_sizes: Mapping[str, int] = field(default_factory=dict)  # free axis → size; 2 where not given

    def eager(self, inputs: Arrays) -> Arrays:
        """Run the module on arrays by name."""
        with torch.inference_mode():
            given = self.module(*(torch.from_numpy(inputs[spec.name].copy()) for spec in self.inputs))
        tensors = (given,) if isinstance(given, torch.Tensor) else given
        return {spec.name: tensor.numpy() for spec, tensor in zip(self.outputs, tensors, strict=True)}
