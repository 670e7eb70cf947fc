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

Each unit and each plain tensor of the recipe names itself once per layout, and the part of the weights it is in, where
they come in several files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.checkpoints.checkpoint import flatten, read_checkpoint
from genmetrics_rt.checkpoints.safetensors import is_safetensors, read_safetensors
from genmetrics_rt.checkpoints.tensorflow_graph import read_constants
from genmetrics_rt.errors import UnreadableInput
from genmetrics_rt.manifest import DEFAULT_PART

Tensors = dict[str, NDArray[Any]]
PIECES = ("weight", "gamma", "beta", "mean", "variance")  # of a unit
_OIHW_FROM_HWIO = (3, 2, 0, 1)
_LISTED = 5  # tensors that a message names
_OF_TRANSFORMERS = ("embeddings.patch_embeddings.projection", "vision_model.embeddings.")


@dataclass(frozen=True)
class Layout:
    """How the pieces of a unit are called, by piece; None where the layout has no such piece."""

    pieces: Mapping[str, str | None]
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


def recipe_parts(recipe: Mapping[str, Any]) -> list[str]:
    """The parts that the weights come in, a file each, in the order of the recipe."""
    return list(dict.fromkeys(_part_of(names) for names in (*_units(recipe).values(), *_copies(recipe).values())))


def part_held(content: bytes, recipe: Mapping[str, Any], *, what: str) -> str:
    """Which part of the weights a checkpoint holds, by the names of its tensors.

    Raises
    ------
    UnreadableInput
        No checkpoint, or of no layout that is known of any part.
    """
    found, refusal = _read(content, what), None
    for part in recipe_parts(recipe):
        try:
            _recognised(found, recipe, part, what)
        except UnreadableInput as error:
            refusal = refusal or error
        else:
            return part
    raise refusal or UnreadableInput(f"The recipe of this network asks for no tensor, so {what} cannot fill it.")


def published_tensors(content: bytes, recipe: Mapping[str, Any], *, what: str, part: str = DEFAULT_PART) -> Tensors:
    """The tensors that a recipe asks of one part, by its own names, from a checkpoint in whichever layout it is.

    float16 and bfloat16 are as good as float32: the assembly widens them.

    Raises
    ------
    UnreadableInput
        No checkpoint; of no known layout; or with tensors that are missing, of another shape, or not finite: the
        message names them.
    """
    found = _read(content, what)
    layout, prefix = _recognised(found, recipe, part, what)
    tensors: Tensors = {}
    complaints: list[str] = []
    for unit, names in _units(recipe).items():
        if _part_of(names) != part:
            continue
        channels = recipe["tensors"][f"{unit}.bias"]["shape"]
        for piece in PIECES:
            suffix = LAYOUTS[layout].pieces[piece]
            if suffix is None:
                tensors[f"{unit}.{piece}"] = np.ones(channels, np.float32)
                continue
            convert, shape = None, channels
            if piece == "weight":
                convert, shape = LAYOUTS[layout].convolution, recipe["tensors"][f"{unit}.weight"]["shape"]
            _take(found, prefix + names[layout] + suffix, f"{unit}.{piece}", shape, convert, tensors, complaints)
    for name, names in _copies(recipe).items():
        if _part_of(names) != part:
            continue
        shape = recipe["tensors"][name]["shape"]
        _take(found, prefix + names[layout], name, shape, LAYOUTS[layout].matrix, tensors, complaints)
    if complaints:
        more = f" and {len(complaints) - _LISTED:,} more" if len(complaints) > _LISTED else ""
        raise UnreadableInput(
            f"{what} does not hold this network: {'; '.join(complaints[:_LISTED])}{more}."
            f"{_another_network(found, complaints)} "
            "Get the file that its publisher lists, or check that it was downloaded whole."
        )
    return tensors


def _read(content: bytes, what: str) -> Tensors:
    """Every tensor of the file by its dotted (or TensorFlow) name."""
    if is_safetensors(content):
        return read_safetensors(content, what=what)
    # A GraphDef begins with its first node: field 1, length-delimited. No PyTorch container begins so.
    if content[:1] == b"\x0a":
        return dict(read_constants(content, what=what))
    return flatten(read_checkpoint(content, what=what))


def _units(recipe: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    return recipe.get("units") or {}


def _copies(recipe: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    return recipe.get("copies") or {}


def _part_of(names: Mapping[str, str]) -> str:
    return names.get("part", DEFAULT_PART)


def _landmark(recipe: Mapping[str, Any], part: str) -> dict[str, str]:
    """Layout → the name in it of the first tensor of the part, by which the layout is recognised."""
    for names in _units(recipe).values():
        if _part_of(names) == part:
            return {
                layout: f"{names[layout]}{own.pieces['weight']}" for layout, own in LAYOUTS.items() if layout in names
            }
    for names in _copies(recipe).values():
        if _part_of(names) == part:
            return {layout: names[layout] for layout in LAYOUTS if layout in names}
    return {}


def _recognised(found: Tensors, recipe: Mapping[str, Any], part: str, what: str) -> tuple[str, str]:
    """The layout, and what stands before every name (``state_dict.module.``)."""
    landmark = _landmark(recipe, part)
    for layout, wanted in landmark.items():
        for name in found:
            if name == wanted or name.endswith("." + wanted):
                return layout, name.removesuffix(wanted)
    some = ", ".join(list(found)[:3]) or "no tensor at all"
    raise UnreadableInput(
        f"{what} is not in a layout of this network that is known ({', '.join(landmark)}): it holds {some}"
        f"{', …' if len(found) > 3 else ''}, and nothing that is {next(iter(landmark.values()), 'of this part')}."
        f"{_another_network(found, ())} Get the file that its publisher lists."
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


def _another_network(found: Tensors, complaints: Sequence[str]) -> str:
    """A likely mistake, named."""
    if any(part in name for name in found for part in _OF_TRANSFORMERS):
        return (
            " These look like the names that Hugging Face's transformers give to a network; what is read here is the "
            "file of its first publisher."
        )
    other_classes = any(complaint.startswith("fc.weight ") for complaint in complaints)
    if other_classes and any(name.startswith("AuxLogits.") for name in found):
        return (
            " These look like torchvision's own Inception weights (1,000 classes, with an auxiliary head): another "
            "training of the network, whose numbers are no FID."
        )
    if len(complaints) > _LISTED and all(" has shape " in complaint for complaint in complaints):
        return " All names are there, in other shapes: a larger or smaller network of the same family."
    return ""
