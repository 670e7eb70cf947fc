"""What a generator is: a bundle of kind ``generator``, or a bare ONNX or TorchScript file with what is said of it.

=================  ==================================================================================================
of a graph         is taken to be
=================  ==================================================================================================
its float input    the latent: (N, dim), or (N, c, h, w), whose size is read from the file where that fixes it
an integer input   the class of each image (N,); a float input named ``labels``, ``y``, ``c`` … is one-hot (N, classes)
its output         the images: uint8, or floats whose range is said (``output_range``), as (N, H, W, 3), (N, 3, H, W),
                   with one channel or none; an output called ``images`` goes before others
``pixels``         the same images as float32 on 0..255, not rounded, where a bundle has that output too
=================  ==================================================================================================
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.bare_generators import open_generator
from genmetrics_rt.bundle import Bundle
from genmetrics_rt.errors import DamagedBundle, InputError
from genmetrics_rt.manifest import Manifest, TensorSpec
from genmetrics_rt.onnx_signature import read_signature

DISTRIBUTIONS = ("normal", "uniform", "truncnorm")
LAYOUTS = ("NHWC", "NCHW", "NHW")
BATCH = 64  # latents in one call of the network, unless the file or the user says another number
_LABEL_NAMES = re.compile(r"labels?|classes|class(_?ids?|_?labels?)?|y|c|one_?hot", re.IGNORECASE)
_SMALLEST_TRUNCATION = 1e-3  # resampling below it would draw forever
_MAX_DIM = 1 << 20


@dataclass(frozen=True)
class Factor:
    """A thing that varies in the images, and the latent dimensions that are said to move it."""

    name: str
    dims: tuple[int, ...]


class Generator:
    """A frozen generator as a side: ``gm.evaluate(gm.Generator("model.onnx", output_range=(-1, 1)), "real/")``.

    Parameters
    ----------
    source
        A bundle (`Bundle`, its folder, or a shipped name), an ``.onnx`` file, or a TorchScript file. torch runs the
        code that a TorchScript file carries, so such a file, or that of a bundle which does not ship with the package,
        is opened only with ``backend="torchscript"``: say that only of files whose maker you trust.
    latent_dim
        Length of a latent vector, or its shape such as ``(100, 1, 1)``; not needed where the file fixes it.
    latent
        ``"normal"`` N(0, 1), ``"uniform"`` on [-1, 1), or ``"truncnorm"``: N(0, 1) drawn again outside ±``truncation``.
    truncation
        The bound of ``"truncnorm"``; naming it implies that distribution.
    num_classes
        Of a class-conditional generator, where neither bundle nor file says it.
    classes
        Which class each sample is of: ``"uniform"`` (drawn with the seed), ``"balanced"`` (sample i is of class
        i modulo ``num_classes``), or whole numbers, such as the labels of the reference: sample i has the i-th,
        beginning again where they end.
    output_range
        The values that are black and white in a float output: ``(-1, 1)``, ``(0, 1)`` or ``(0, 255)``. It cannot be
        recognised, so without it a float output is an error that names the range found. uint8 needs none.
    output_layout
        ``"NHWC"``, ``"NCHW"`` or ``"NHW"``, where the shape leaves it open.
    clip
        Clip values outside ``output_range``, as networks without a final tanh need it. Else they are an error.
    backend
        ``"onnx"`` or ``"torchscript"`` for this generator alone; None is that of the evaluation, which runs
        TorchScript only of generators that ship with the package.
    batch_size
        Latents in one call of the network; None is 64, or what the file fixes. A number other than 64 moves pixels by
        rounding at most.

    Raises
    ------
    InputError
        One of its kinds: what is missing, or does not go together, and what to say.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Bundle,
        *,
        latent_dim: int | Sequence[int] | None = None,
        latent: str | None = None,
        truncation: float | None = None,
        num_classes: int | None = None,
        classes: str | Sequence[int] | NDArray[Any] = "uniform",
        output_range: tuple[float, float] | None = None,
        output_layout: str | None = None,
        clip: bool = False,
        backend: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        asked = _shape_asked(latent_dim)
        self.backend = backend
        self.bundle = open_generator(source, asked, num_classes, backend)
        manifest = self.bundle.manifest
        self.name = self.bundle.name
        if self.bundle.kind != "generator":
            raise InputError(f"{self.name!r} is a bundle of kind {self.bundle.kind}, not a generator.")
        latent_input, self.label_input = _roles(manifest.inputs, self.name)
        self.latent_input = latent_input.name
        self.latent_shape = _latent_shape(latent_input, asked, manifest.latent, self.name)
        self.latent_dim = math.prod(self.latent_shape)
        self.distribution, self.truncation = _distribution(manifest.latent, latent, truncation, self.name)
        self.num_classes, self.class_names = _classes(manifest, self.label_input, num_classes, self.name)
        self.classes = _which_classes(classes, self.num_classes, self.name)
        self.image_output, self.pixel_output = _outputs(manifest.outputs, self.name)
        self.factors = _factors(manifest.record.get("factors"), self.latent_dim, self.name)
        self.output_range = _range(output_range)
        if output_layout not in (None, *LAYOUTS):
            raise InputError(f"output_layout is {output_layout!r}; use {', '.join(LAYOUTS)}.")
        self.output_layout = output_layout
        self.clip = clip
        self.batch_size, self.pads = _batch(latent_input, batch_size, self.name)

    def __repr__(self) -> str:
        return f"Generator({self.name!r}, latent_dim={self.latent_dim}, latent={self.distribution!r})"

    @property
    def title(self) -> str:
        return self.bundle.manifest.title

    @property
    def how(self) -> str:
        """What of the sampling is not the rule, for names: ``"truncnorm ±0.7"``."""
        parts = [f"truncnorm ±{self.truncation:g}"] if self.distribution == "truncnorm" else []
        if self.num_classes and not isinstance(self.classes, str):
            parts.append("classes as given")
        elif self.num_classes and self.classes != "uniform":
            parts.append(f"classes {self.classes}")
        return ", ".join(parts)

    @property
    def identity(self) -> str:
        """All that a sample depends on but its seed and its number. Of rounding by batch size too."""
        manifest = self.bundle.manifest
        parts = [manifest.numeric_id(), self.distribution]
        files = manifest.record["files"]
        if not any(entry["form"] == "onnx" for entry in files.values()):
            parts[0] = "-".join(entry["sha256"] for entry in files.values())
        if self.distribution == "truncnorm":
            parts.append(f"±{self.truncation!r}")
        if self.latent_shape not in [spec.shape[1:] for spec in manifest.inputs]:  # the user said it, not the file
            parts.append(f"latent {self.latent_shape}")
        if self.num_classes:
            which = self.classes
            given = which if isinstance(which, str) else hashlib.sha256(which.tobytes()).hexdigest()
            parts.append(f"{self.num_classes} classes {given}")
        if self.output_range or self.output_layout or self.clip:
            parts.append(f"{self.output_range} {self.output_layout} {self.clip}")
        if self.batch_size != BATCH:
            parts.append(f"batch {self.batch_size}")
        return "/".join(parts)

    @property
    def size_bytes(self) -> int:
        """Bytes of the graph with its weights: of the ONNX graph where there is one."""
        files = self.bundle.manifest.record["files"]
        form = "onnx" if self.bundle.file_of_form("onnx") else "torchscript"
        return sum(entry["bytes"] for entry in files.values() if entry["form"] in (form, "weights"))

    def num_parameters(self) -> int | None:
        """Numbers that the ONNX graph holds in weights and constants; None where there is only TorchScript."""
        graph = self.bundle.file_of_form("onnx")
        return None if graph is None else read_signature(self.bundle.read(graph), what=self.name).num_parameters


def _roles(inputs: Sequence[TensorSpec], name: str) -> tuple[TensorSpec, TensorSpec | None]:
    """Which input is the latent, and which the labels, if any."""
    labels = [spec for spec in inputs if spec.dtype.startswith(("int", "uint"))]
    if not labels and len(inputs) > 1:
        labels = [spec for spec in inputs if _LABEL_NAMES.fullmatch(spec.name)]
    latents = [spec for spec in inputs if spec not in labels]
    if len(latents) == 1 and len(labels) <= 1 and latents[0].dtype.startswith("float"):
        return latents[0], labels[0] if labels else None
    found = ", ".join(f"{spec.name} ({spec.dtype} {list(spec.shape)})" for spec in inputs)
    raise InputError(
        f"{name} takes {found}. What can be given is a latent of floats and, for classes, labels of whole numbers "
        "(or one-hot, in an input called labels). Export it with everything else fixed inside."
    )


def _shape_asked(latent_dim: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if latent_dim is None:
        return None
    shape = (latent_dim,) if isinstance(latent_dim, int) else tuple(latent_dim)
    if not shape or not all(type(size) is int and size > 0 for size in shape) or math.prod(shape) > _MAX_DIM:
        raise InputError(f"latent_dim is {latent_dim!r}; it must be a whole number of at least 1, or several.")
    return shape


def _latent_shape(
    spec: TensorSpec, asked: tuple[int, ...] | None, recorded: Mapping[str, Any], name: str
) -> tuple[int, ...]:
    """The shape of one latent, from the file, the manifest and the user, who must not contradict each other."""
    known = spec.shape[1:]
    dim = recorded.get("dim")
    if known and all(isinstance(axis, int) for axis in known):
        shape = tuple(int(axis) for axis in known)
        if asked is not None and asked != shape and asked != (math.prod(shape),):
            raise InputError(
                f"{name} takes latents of shape {list(shape)}, so latent_dim cannot be {list(asked)}. Leave it out."
            )
        return shape
    if asked is None and dim is not None:
        asked = (int(dim),)
    if asked is None:
        raise InputError(
            f"{name} does not say how long its latent vectors are (input {spec.name}: {spec.dtype} "
            f"{list(spec.shape)}). Say it: --latent-dim 128, or --latent-dim 100x1x1 (in Python: latent_dim=128)."
        )
    if known and len(asked) == 1 and len(known) > 1:
        fixed = [axis for axis in known if isinstance(axis, int)]
        if len(fixed) == len(known) - 1 and asked[0] % math.prod(fixed) == 0:
            return tuple(axis if isinstance(axis, int) else asked[0] // math.prod(fixed) for axis in known)
    if known and len(asked) != len(known):
        raise InputError(
            f"{name} takes latents with {len(known)} axes ({list(known)}), and latent_dim has {len(asked)}. "
            f"Say all of them, such as --latent-dim {'x'.join(['100', *['1'] * (len(known) - 1)])}."
        )
    return asked


def _distribution(
    recorded: Mapping[str, Any], latent: str | None, truncation: float | None, name: str
) -> tuple[str, float | None]:
    distribution = str(recorded.get("distribution", "normal"))
    if distribution not in DISTRIBUTIONS:
        raise DamagedBundle(f"{name!r}: unknown latent distribution {distribution!r}.")
    if latent is not None and latent not in DISTRIBUTIONS:
        raise InputError(f"latent is {latent!r}; use {', '.join(DISTRIBUTIONS)}.")
    if latent is None and truncation is not None:
        if distribution == "uniform":
            raise InputError(f"{name} draws uniform latents, which have no truncation. Leave it out.")
        latent = "truncnorm"
    distribution = latent or distribution
    if distribution != "truncnorm":
        if truncation is not None:
            raise InputError(
                f"truncation is for latent truncnorm, and latent is {distribution}. Leave one of them out."
            )
        return distribution, None
    bound = truncation if truncation is not None else recorded.get("truncation")
    if bound is None:
        raise InputError(f"{name}: latent truncnorm needs its bound. Say it: --truncation 1 (in Python: truncation=1).")
    if not (isinstance(bound, int | float) and _SMALLEST_TRUNCATION <= bound < math.inf):
        raise InputError(f"truncation is {bound!r}; it must be a number of at least {_SMALLEST_TRUNCATION:g}.")
    return distribution, float(bound)


def _classes(manifest: Manifest, spec: TensorSpec | None, asked: int | None, name: str) -> tuple[int, tuple[str, ...]]:
    """How many classes, and their names; 0 for a generator without."""
    if spec is None:
        if asked:
            raise InputError(f"{name} takes no labels, so it has no classes. Leave --num-classes out.")
        return 0, ()
    recorded = manifest.record.get("classes") or {}
    fixed = spec.shape[-1] if spec.dtype.startswith("float") and spec.shape else None
    count = recorded.get("count") or (fixed if isinstance(fixed, int) else None)
    if asked is not None and count is not None and asked != count:
        raise InputError(f"{name} has {count} classes, so num_classes cannot be {asked}. Leave it out.")
    count = count or asked
    if count is None:
        raise InputError(
            f"{name} takes labels ({spec.name}: {spec.dtype} {list(spec.shape)}) and does not say how many classes "
            "there are. Say it: --num-classes 10 (in Python: num_classes=10)."
        )
    if type(count) is not int or count < 1:
        raise InputError(f"num_classes is {count!r}; it must be a whole number of at least 1.")
    names = tuple(str(entry) for entry in recorded.get("names") or ())
    return count, names if len(names) == count else tuple(str(index) for index in range(count))


def _which_classes(classes: Any, num_classes: int, name: str) -> str | NDArray[np.int64]:
    if isinstance(classes, str):
        if classes not in ("uniform", "balanced"):
            raise InputError(f"classes is {classes!r}; use uniform, balanced, or the class of each sample.")
        if classes == "uniform" or num_classes:
            return classes
    if not num_classes:
        raise InputError(f"{name} takes no labels, so classes cannot be chosen. Leave them out.")
    given = np.asarray(classes)
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
        raise InputError("classes must be uniform, balanced, or a list of whole numbers, the class of each sample.")
    if given.min() < 0 or given.max() >= num_classes:
        raise InputError(f"classes run from {given.min()} to {given.max()}, and {name} has 0 to {num_classes - 1}.")
    return given.astype(np.int64)


def _outputs(outputs: Sequence[TensorSpec], name: str) -> tuple[str, str | None]:
    """The output that holds the images, and that of the same pictures unrounded, if there is one."""
    pixels = next((spec.name for spec in outputs if spec.name == "pixels" and len(outputs) > 1), None)
    others = [spec for spec in outputs if spec.name != pixels]
    named = [spec for spec in others if spec.name == "images"]
    pictures = [spec for spec in others if len(spec.shape) == 4]
    for choice in (named, others if len(others) == 1 else [], pictures):
        if len(choice) == 1:
            return choice[0].name, pixels
    found = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in outputs)
    raise InputError(f"{name} gives {found}, and nothing says which are the images. Export it with one output.")


def _factors(record: Any, dim: int, name: str) -> tuple[Factor, ...]:
    if not record:
        return ()
    try:
        factors = tuple(Factor(str(entry["name"]), tuple(int(place) for place in entry["dims"])) for entry in record)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedBundle(f"{name}: its factors are not a list of name and dims ({error!r}).") from error
    for factor in factors:
        if not factor.dims or not all(0 <= place < dim for place in factor.dims):
            raise DamagedBundle(f"{name}: factor {factor.name!r} names dimensions outside 0 to {dim - 1}.")
    return factors


def _range(given: tuple[float, float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    low, high = (float(value) for value in given)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"output_range is {given!r}; it must be black and white, such as (-1, 1).")
    return low, high


def _batch(spec: TensorSpec, asked: int | None, name: str) -> tuple[int, bool]:
    """Latents in one call, and whether a smaller rest has to be filled up to that."""
    fixed = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else None
    if asked is not None and (type(asked) is not int or asked < 1):
        raise InputError(f"The batch size of a generator is {asked!r}; it must be a whole number of at least 1.")
    if fixed is not None and asked not in (None, fixed):
        raise InputError(
            f"{name} was exported for batches of {fixed}, so the batch size cannot be {asked}. Leave it out."
        )
    return fixed or asked or BATCH, fixed is not None
