"""The names under which publishers keep one and the same network, and the way from each to the recipe's names.

=================  ==========================================================================  =====================
layout             a convolution with batch norm is                                            read by
=================  ==========================================================================  =====================
``torch``          UNIT.conv.weight, UNIT.bn.{weight, bias, running_mean, running_var}         pytorch-fid,
                                                                                               torch-fidelity
``torchscript``    UNIT.weight (no γ: it is 1), UNIT.{beta, mean, var}                         NVIDIA
``tensorflow``     UNIT/conv2d_params (H, W, in, out), UNIT/batchnorm/{gamma, beta,            TensorFlow 2015
                   moving_mean, moving_variance}
=================  ==========================================================================  =====================

Each unit and each plain tensor of the recipe names itself once per layout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.checkpoints.checkpoint import flatten, read_checkpoint
from genmetrics_rt.checkpoints.tensorflow_graph import read_constants
from genmetrics_rt.errors import UnreadableInput

Tensors = dict[str, NDArray[Any]]
PARTS = ("weight", "gamma", "beta", "mean", "variance")  # of a unit
_OIHW_FROM_HWIO = (3, 2, 0, 1)
_LISTED = 5  # tensors that a message names


@dataclass(frozen=True)
class Layout:
    """How the parts of a unit are called, by part; None where the layout has no such part."""

    parts: Mapping[str, str | None]
    convolution: Callable[[NDArray[Any]], NDArray[Any]] = lambda weight: weight
    matrix: Callable[[NDArray[Any]], NDArray[Any]] = lambda weight: weight


LAYOUTS = {
    "torch": Layout(
        {
            "weight": ".conv.weight",
            "gamma": ".bn.weight",
            "beta": ".bn.bias",
            "mean": ".bn.running_mean",
            "variance": ".bn.running_var",
        }
    ),
    "torchscript": Layout({"weight": ".weight", "gamma": None, "beta": ".beta", "mean": ".mean", "variance": ".var"}),
    "tensorflow": Layout(
        {
            "weight": "/conv2d_params",
            "gamma": "/batchnorm/gamma",
            "beta": "/batchnorm/beta",
            "mean": "/batchnorm/moving_mean",
            "variance": "/batchnorm/moving_variance",
        },
        convolution=lambda weight: weight.transpose(_OIHW_FROM_HWIO) if weight.ndim == 4 else weight,
        matrix=np.transpose,
    ),
}


def published_tensors(content: bytes, recipe: Mapping[str, Any], *, what: str) -> Tensors:
    """The tensors that a recipe asks for, by its own names, from a checkpoint in whichever layout it is.

    Raises
    ------
    UnreadableInput
        No checkpoint; of no known layout; or with tensors that are missing, of another shape, or not finite: the
        message names them.
    """
    found = _read(content, what)
    layout, prefix = _recognised(found, recipe, what)
    tensors: Tensors = {}
    complaints: list[str] = []
    for unit, names in recipe["units"].items():
        channels = recipe["tensors"][f"{unit}.bias"]["shape"]
        for part in PARTS:
            suffix = LAYOUTS[layout].parts[part]
            if suffix is None:
                tensors[f"{unit}.{part}"] = np.ones(channels, np.float32)
                continue
            convert, shape = None, channels
            if part == "weight":
                convert, shape = LAYOUTS[layout].convolution, recipe["tensors"][f"{unit}.weight"]["shape"]
            _take(found, prefix + names[layout] + suffix, f"{unit}.{part}", shape, convert, tensors, complaints)
    for name, names in recipe["copies"].items():
        shape = recipe["tensors"][name]["shape"]
        _take(found, prefix + names[layout], name, shape, LAYOUTS[layout].matrix, tensors, complaints)
    if complaints:
        more = f" and {len(complaints) - _LISTED:,} more" if len(complaints) > _LISTED else ""
        raise UnreadableInput(
            f"{what} does not hold this network: {'; '.join(complaints[:_LISTED])}{more}.{_another_network(found)} "
            "Get the file that its publisher lists, or check that it was downloaded whole."
        )
    return tensors


def _read(content: bytes, what: str) -> Tensors:
    """Every tensor of the file by its dotted (or TensorFlow) name."""
    # A GraphDef begins with its first node: field 1, length-delimited. No PyTorch container begins so.
    if content[:1] == b"\x0a":
        return dict(read_constants(content, what=what))
    return flatten(read_checkpoint(content, what=what))


def _recognised(found: Tensors, recipe: Mapping[str, Any], what: str) -> tuple[str, str]:
    """The layout, and what stands before every name (``state_dict.module.``)."""
    unit, names = next(iter(recipe["units"].items()))
    for layout, own in LAYOUTS.items():
        if layout not in names:
            continue
        wanted = names[layout] + str(own.parts["weight"])
        for name in found:
            if name == wanted or name.endswith("." + wanted):
                return layout, name.removesuffix(wanted)
    some = ", ".join(list(found)[:3]) or "no tensor at all"
    raise UnreadableInput(
        f"{what} is not in a layout of this network that is known ({', '.join(LAYOUTS)}): it holds {some}"
        f"{', …' if len(found) > 3 else ''}, and nothing that is {unit}. Get the file that its publisher lists."
    )


def _take(
    found: Tensors,
    name: str,
    own_name: str,
    shape: Sequence[int],
    convert: Callable[[NDArray[Any]], NDArray[Any]] | None,
    tensors: Tensors,
    complaints: list[str],
) -> None:
    if name not in found:
        complaints.append(f"{name} is missing")
        return
    values = convert(found[name]) if convert else found[name]
    if list(values.shape) != list(shape):
        complaints.append(f"{name} has shape {list(values.shape)}, not {list(shape)}")
    elif values.dtype.kind != "f":
        complaints.append(f"{name} is {values.dtype}, not a float tensor")
    elif not np.isfinite(values).all():
        complaints.append(f"{name} holds NaN or infinity")
    elif own_name.endswith(".variance") and (values < 0).any():
        complaints.append(f"{name} holds a negative variance")
    else:
        tensors[own_name] = values


def _another_network(found: Tensors) -> str:
    """A likely mistake, named."""
    if any(name.startswith("AuxLogits.") for name in found):
        return (
            " These look like torchvision's own Inception weights (1,000 classes, with an auxiliary head): another "
            "training of the network, whose numbers are no FID."
        )
    return ""
