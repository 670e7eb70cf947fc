"""A network of your own as an extractor: `python -m export custom MODULE.py:FACTORY -o FOLDER`.

FACTORY() returns a dict:

    {
        "name": "my-network",              # letters, digits, '.', '_' and '-'
        "module": network,                 # torch.nn.Module: images (N, 3, H, W) float32 → features (N, D)
        "size": 224,                       # of the images it takes: one number, or (height, width)
        "mean": (0.485, 0.456, 0.406),     # of pixels in 0…1, with "std": the network sees (x/255 − mean) / std
        "std": (0.229, 0.224, 0.225),      # or "scale" and "offset": it sees x · scale + offset; numbers or triples
        # and, where it is otherwise:
        "outputs": ("features", "logits"), # what the module returns, in this order or by these names in a dict
        "resize": "triangle-antialias",    # or pillow-bicubic, bilinear, …: see genmetrics_rt/resize.py
        "rounding": "none",                # or clip, uint8
        "crop": "none",                    # or shorter-side, centre-square
        "alpha": "white",                  # or drop
        "title": "…", "licence": "…", "label": "a warning that goes with every number",
    }

One output is called "features"; "logits" are class logits, for the class score; others are taps (``--tap NAME``). The
module is frozen in eval mode, as ONNX and TorchScript with its weights inside, and both are proven to agree with it.
"""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.blueprint import Blueprint, Tolerance
from export.factories import load_factory
from export.freeze import FILES, freeze
from export.probes import standardised_pictures
from export.scaling import standardised
from genmetrics_rt.bundle import SHIPPED
from genmetrics_rt.manifest import CROPS, TensorSpec, is_plain_name

_NEEDED = ("name", "module", "size")
_OPTIONAL = (
    "mean", "std", "scale", "offset", "outputs", "resize", "rounding", "crop", "alpha", "title", "licence", "label",
)  # fmt: skip
_HINT = "`python -m export custom --help` shows what the factory returns."
_PICTURES_ALIKE = 1e-6  # relative spread of features over unlike pictures, below which they say nothing
_BATCH_LIMIT = 1e-3  # relative difference of an image's features by itself and in a batch


def main(argv: Sequence[str]) -> int:
    """Freeze a network of your own into a bundle that `genmetrics evaluate A B -e FOLDER` takes."""
    parser = argparse.ArgumentParser(
        prog="python -m export custom",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="MODULE.py:FACTORY", help="a Python file and a function in it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--format", default="onnx,torchscript", help=f"any of {','.join(FILES)}")
    parser.add_argument("--numpy", action="store_true", help="compare with onnx's evaluator in NumPy too: slow")
    arguments = parser.parse_args(argv)

    blueprint = custom_blueprint(load_factory(arguments.source, instead="no ")(), in_numpy=arguments.numpy)
    shapes = ", ".join(f"{output.name} {output.shape[-1]}" for output in blueprint.outputs)
    print(f"{blueprint.name}: takes {_size_words(blueprint)}, gives {shapes}")
    try:
        agreement = freeze(blueprint, arguments.output, formats=arguments.format.split(","))
    except (torch.onnx.errors.OnnxExporterError, torch.jit.frontend.NotSupportedError) as error:
        raise ValueError(
            f"This module cannot be frozen: {_first_line(error)} What decides by the values of a tensor (if, for, "
            ".item(), a mask as an index) has to be written with torch.where and the like."
        ) from error
    print(agreement.summary())
    print(
        f"\n{arguments.output} is ready. Next:\n"
        f"    genmetrics bundles verify {arguments.output}\n"
        f"    genmetrics evaluate GENERATED REFERENCE --extractor {arguments.output}"
    )
    return 0


def custom_blueprint(entry: Any, *, in_numpy: bool = False) -> Blueprint:
    """What a factory returned, checked by running it, as a `Blueprint`.

    Raises
    ------
    ValueError
        With what is missing or wrong, and what it must be.
    """
    entry = _checked_keys(entry)
    name, module = _checked_name(entry["name"]), _checked_module(entry["module"])
    height, width = _checked_size(entry["size"])
    scaling, statistics = _checked_scaling(entry)
    names = _checked_names(entry.get("outputs", ("features",)))
    ordered = _Ordered(module, names)
    pictures = {
        probe: torch.from_numpy(inputs["images"][..., :height, :width].copy())
        for probe, inputs in standardised_pictures(max(height, width), statistics).items()
    }
    sizes = _checked_outputs(ordered, pictures, names)
    protocol = {
        "default": True,
        "size": [height, width],
        "resize": str(entry.get("resize", "triangle-antialias")),
        "rounding": str(entry.get("rounding", "none")),
        "crop": str(entry.get("crop", "none")),
        "alpha": str(entry.get("alpha", "white")),
        "layout": "NCHW",
        "dtype": "float32",
        **scaling,
        "metrics": {},
    }
    _check_protocol(protocol, height, width)
    return Blueprint(
        name=name,
        version="1",
        kind="extractor",
        title=str(entry.get("title", name)),
        label=str(entry.get("label", "")),
        licence=str(entry.get("licence", "its author's")),
        command="python -m export custom",
        module=ordered,
        inputs=(TensorSpec("images", "float32", ("N", 3, height, width), "scaled RGB pixels", "of its protocol"),),
        outputs=tuple(
            TensorSpec(output, "float32", ("N", size), "as its author says", "none") for output, size in sizes.items()
        ),
        example={"images": pictures["blocks 2"]},
        probes=lambda: {probe: {"images": images.numpy()} for probe, images in pictures.items()},
        tolerance=Tolerance(absolute=1e-5, relative=1e-4),
        in_numpy=in_numpy,
        taps={output: output for output in names},
        protocols={"own": protocol},
        selftest_range={"images": (float(pictures["edges 3"].min()), float(pictures["edges 3"].max()))},
    )


class _Ordered(nn.Module):
    """The module with its outputs as a tuple in the order of their names."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names = module, tuple(names)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        given = self.module(images)
        if isinstance(given, dict):
            return tuple(given[name] for name in self.names)
        return (given,) if isinstance(given, Tensor) else tuple(given)


# What the factory must return, point by point


def _checked_keys(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ValueError(f"The factory returned {_kind(entry)}; it must return a dict with {_listed(_NEEDED)}. {_HINT}")
    missing = [key for key in _NEEDED if key not in entry]
    if missing:
        raise ValueError(f"The factory's dict lacks {_listed(missing)}. {_HINT}")
    for key in entry:
        if key not in (*_NEEDED, *_OPTIONAL):
            near = difflib.get_close_matches(str(key), (*_NEEDED, *_OPTIONAL), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"The factory's dict has {key!r}, which means nothing here.{hint} {_HINT}")
    return dict(entry)


def _checked_name(name: Any) -> str:
    if not is_plain_name(name):
        raise ValueError(f"name is {name!r}; it may have letters, digits, '.', '_' and '-'.")
    if (SHIPPED / name).exists():
        raise ValueError(f"name is {name!r}, which is a shipped bundle. Give your network another name.")
    return str(name)


def _checked_module(module: Any) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise ValueError(f"module is {_kind(module)}; it must be a torch.nn.Module (an instance, not its class).")
    for where, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"{where} of the module is {tensor.dtype}; bundles are in float32: call module.float().")
        if tensor.device.type != "cpu":
            raise ValueError(f"{where} of the module is on {tensor.device}; freeze it on the CPU: call module.cpu().")
    return module.eval().requires_grad_(False)


def _checked_size(size: Any) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else size
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(type(side) is int for side in pair):
        raise ValueError(f"size is {size!r}; it must be the side of a square in pixels, or (height, width).")
    if not all(0 < side <= 4096 for side in pair):
        raise ValueError(f"size is {size!r}; sides are from 1 to 4,096 pixels.")
    return pair[0], pair[1]


def _checked_scaling(entry: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[float, ...], tuple[float, ...]]]:
    """``scale`` and ``offset``, and the mean and standard deviation that say the same."""
    by_statistics, by_factors = ("mean" in entry, "std" in entry), ("scale" in entry, "offset" in entry)
    if all(by_statistics) and not any(by_factors):
        mean, std = _triple(entry, "mean"), _triple(entry, "std")
        if max(std) > 2 or max(map(abs, mean)) > 2:
            raise ValueError(
                f"mean is {entry['mean']} and std is {entry['std']}; they are of pixels in 0…1. For pixels in 0…255 "
                "divide both by 255."
            )
        if min(std) <= 0:
            raise ValueError(f"std is {entry['std']}; it must be above 0.")
        return standardised((mean, std)), (mean, std)
    if all(by_factors) and not any(by_statistics):
        scale, offset = _triple(entry, "scale"), _triple(entry, "offset")
        if 0 in scale:
            raise ValueError(f"scale is {entry['scale']}; it must not be 0.")
        std = tuple(1 / (255 * factor) for factor in scale)
        mean = tuple(-shift * deviation for shift, deviation in zip(offset, std, strict=True))
        return {"scale": entry["scale"], "offset": entry["offset"]}, (mean, std)
    raise ValueError(
        "The factory must say what the network sees: either mean and std (of pixels in 0…1: (x/255 − mean) / std), or "
        "scale and offset (of pixels in 0…255: x · scale + offset; 2/255 and −1 for −1…1)."
    )


def _triple(entry: Mapping[str, Any], key: str) -> tuple[float, ...]:
    value = entry[key]
    values = (value,) * 3 if isinstance(value, int | float) else value
    try:
        numbers = tuple(float(channel) for channel in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{key} is {value!r}; it must be a number, or three of them for red, green and blue.")
    return numbers


def _checked_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(is_plain_name(name) for name in names):
        raise ValueError(f"outputs is {names!r}; it must be a tuple of names, such as ('features', 'logits').")
    if "features" not in names or len(set(names)) != len(tuple(names)):
        raise ValueError(f"outputs is {tuple(names)}; one of them, and one only, must be called 'features'.")
    return tuple(names)


def _checked_outputs(module: _Ordered, pictures: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, int]:
    """The number of values of each output, after everything that goes wrong with frozen networks was looked for."""
    batch = torch.cat(list(pictures.values()))
    outputs = _run(module, batch)
    if len(outputs) != len(names):
        raise ValueError(
            f"The module returns {len(outputs)} outputs, and outputs names {len(names)}: {_listed(names)}."
        )
    again, alone = _run(module, batch), [_run(module, picture[None]) for picture in batch]
    for index, (name, values) in enumerate(zip(names, outputs, strict=True)):
        if values.ndim != 2 or len(values) != len(batch):
            pool = " Average over the places first: x.mean(dim=(2, 3))." if values.ndim == 4 else ""
            raise ValueError(
                f"Output {name!r} has shape {list(values.shape)} for {len(batch)} images; it must be (N, D), a row an "
                f"image.{pool}"
            )
        if values.dtype != torch.float32:
            raise ValueError(f"Output {name!r} is {values.dtype}; it must be float32.")
        if not values.isfinite().all():
            raise ValueError(f"Output {name!r} is not finite on noise, black, white or stripes.")
        scale = max(float(values.abs().max()), 1e-30)
        if not torch.equal(values, again[index]):
            raise ValueError(
                f"Output {name!r} is another the second time: something in the module is random, even in eval mode. A "
                "frozen network must be a function of its images."
            )
        single = torch.cat([row[index] for row in alone])
        if float((single - values).abs().max()) > _BATCH_LIMIT * scale:
            raise ValueError(
                f"Output {name!r} of an image depends on the others in its batch. Features must not: batch norms need "
                "their running statistics (track_running_stats=True), and nothing may average over the first axis."
            )
        if float(values.std(dim=0).max()) <= _PICTURES_ALIKE * scale:
            raise ValueError(f"Output {name!r} is the same for noise, black, white and stripes: it says nothing.")
    return {name: int(values.shape[1]) for name, values in zip(names, outputs, strict=True)}


def _run(module: _Ordered, images: Tensor) -> tuple[Tensor, ...]:
    try:
        with torch.inference_mode():
            outputs = module(images)
    except KeyError as error:
        raise ValueError(f"The module returns a dict without {error}, which outputs names.") from error
    except Exception as error:  # whatever a stranger's code raises
        raise ValueError(
            f"The module fails on images of shape {list(images.shape)} (N, 3, height, width): {_first_line(error)}"
        ) from error
    if not all(isinstance(output, Tensor) for output in outputs):
        raise ValueError("The module must return a tensor, a tuple of tensors, or a dict of tensors.")
    return outputs


def _check_protocol(protocol: Mapping[str, Any], height: int, width: int) -> None:
    """Prepare one picture by it, so that a name that is unknown is refused now."""
    import numpy as np

    from genmetrics_rt.manifest import Manifest
    from genmetrics_rt.resize import resize, to_tensor

    if protocol["crop"] not in CROPS:
        raise ValueError(f"crop is {protocol['crop']!r}; it must be one of {', '.join(CROPS)}.")
    if protocol["crop"] != "none" and height != width:
        raise ValueError(f"crop {protocol['crop']!r} is for squares, and size is {height} × {width}.")
    if protocol["alpha"] not in ("white", "drop"):
        raise ValueError(f"alpha is {protocol['alpha']!r}; it must be white or drop.")
    own = Manifest({"name": "own", "protocols": {"own": protocol}}).protocol()
    to_tensor(resize(np.zeros((height, width, 3), np.uint8), own), own)


# Words


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _size_words(blueprint: Blueprint) -> str:
    height, width = blueprint.inputs[0].shape[2:]
    return f"images of {width} × {height} pixels"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0][:300]
