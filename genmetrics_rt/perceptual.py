"""Perceptual distances between two pictures, frozen: how different they look, as a number and as a map of where.

``scattering`` needs no weights and always works. LPIPS (R. Zhang et al. 2018) on three networks and the content and
style loss on VGG-16 (Johnson et al. 2016) are filled with their publishers' weights once those are on this machine:
``genmetrics bundles fetch lpips-alex``.

A bundle of kind ``distance`` takes ``first`` and ``second``, (N, 3, H, W) float32 RGB on 0…255. Its manifest names in
``taps`` the output (N,) of each distance that it computes, in ``maps`` the output (N, H, W) of where the pair differs,
and in ``least_side`` the fewest pixels a side that the network can take.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_numpy
from genmetrics_rt.bundle import SHIPPED, Bundle, list_bundles, load_bundle
from genmetrics_rt.errors import DamagedBundle, InputError, MissingBundle, UnreadableInput
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.manifest import read_manifest

DEFAULT = "scattering"
MAX_PIXELS = 1 << 23  # of one picture: above this, one pair takes more memory than many machines have
_PIXELS_PER_CALL = 1 << 15  # more in one call is slower, as it leaves the caches, and takes more memory
_MOST_PAIRS_PER_CALL = 64


class PerceptualDistance:
    """One perceptual distance on a device. Thread-safe; keeps nothing between calls.

    ``name``, ``title`` and ``label`` say what the numbers are, ``numeric_id`` identifies what they mean.
    """

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        *,
        device: str = "auto",
        threads: int | None = None,
        backend: str = "onnx",
        precision: str = "fp32",
    ) -> None:
        manifest = bundle.manifest
        self.name, self.title, self.label = _public_name(bundle.name, name), _title(bundle, name), manifest.label
        self.numeric_id = manifest.numeric_id(tap=name, precision=precision)
        self.least_side = _least_side(bundle)
        self._output = manifest.taps[name]
        self._map = (manifest.record.get("maps") or {}).get(name)
        self._graph = open_graph(bundle, backend=backend, device=device, precision=precision, threads=threads)
        self.device = self._graph.device
        self.backend = self._graph.backend

    @property
    def has_maps(self) -> bool:
        """Whether it tells where a pair differs."""
        return self._map is not None

    def __call__(self, first: Any, second: Any) -> FloatArray:
        """The distance of each pair of (N, H, W, 3) images: (N,), 0 for equal pictures. Symmetric.

        Images are uint8, or floats on 0…255 that need not be whole numbers. No resizing: both have one size.

        Raises
        ------
        UnreadableInput
            Shapes that are no images, or not the same on both sides; pictures too small or too large for the network.
        InputError
            Values that are not on 0…255.
        """
        return self.measure(first, second)[0]

    def of_pixels(self, first: Any, second: Any) -> FloatArray:
        """As calling, for floats that are known to be on 0…255, as those of a generator: nearly black is no mistake."""
        return self.measure(first, second, known_range=True)[0]

    def maps(self, first: Any, second: Any, *, known_range: bool = False) -> NDArray[np.float32]:
        """Where each pair differs: (N, H, W), in units of the distance; their means are near it, not equal to it.

        Raises as calling does, and `InputError` where a distance has no place, as that of styles.
        """
        return self.measure(first, second, maps=True, known_range=known_range)[1]

    def measure(
        self, first: Any, second: Any, *, maps: bool = False, known_range: bool = False
    ) -> tuple[FloatArray, NDArray[np.float32]]:
        """Distances (N,) and maps (N, H, W) from one run of the network; without ``maps`` those are (0, H, W).

        ``known_range``: floats are on 0…255 for sure, so that no others are suspected behind very dark ones.
        """
        if maps and self._map is None:
            raise InputError(f"{self.name} compares statistics of whole pictures, so it has no map of where they lie.")
        a, b = self._checked(first, "first"), self._checked(second, "second")
        if a.shape != b.shape:
            raise UnreadableInput(
                f"The first images have shape {list(a.shape)}, the second {list(b.shape)}. A pair is compared place by "
                "place, so both sides need the same number of images and the same size: resize one of them."
            )
        count, height, width = a.shape[:3]
        self.require_size(height, width, "these")
        step = max(1, min(_MOST_PAIRS_PER_CALL, _PIXELS_PER_CALL // (height * width)))
        distances = np.empty(count, np.float64)
        found = np.empty((count if maps else 0, height, width), np.float32)
        for start in range(0, count, step):
            part = slice(start, start + step)
            sides = {"first": a[part], "second": b[part]}
            outputs = self._graph.run({what: _tensor(side, what, known_range) for what, side in sides.items()})
            distances[part] = outputs[self._output]
            if maps and self._map is not None:
                found[part] = outputs[self._map]
        return distances, found

    def require_size(self, height: int, width: int, what: str) -> None:
        """Raise `UnreadableInput` for pictures that the network cannot take."""
        if min(height, width) < self.least_side:
            takes_smaller = min(height, width) >= _least_side(find_distance(DEFAULT)[0])
            other = f", or choose a distance for small ones, such as {DEFAULT}" if takes_smaller else ""
            raise UnreadableInput(
                f"{self.name} takes pictures of at least {self.least_side} × {self.least_side} pixels; {what}: "
                f"{width} × {height}. A layer of the network would be empty. Enlarge both pictures of a pair{other}."
            )
        if height * width > MAX_PIXELS:
            raise UnreadableInput(
                f"{self.name} takes pictures of at most {MAX_PIXELS:,} pixels, as larger ones need many gigabytes of "
                f"memory; {what}: {width} × {height}. Give smaller copies of both, or the same part of both."
            )

    def _checked(self, images: Any, what: str) -> NDArray[Any]:
        array = as_numpy(images)
        if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape[1:]:
            hint = " Pass images.transpose(0, 2, 3, 1)." if array.ndim == 4 and array.shape[1] == 3 else ""
            hint = " Pass image[None] for one image." if array.ndim == 3 else hint
            raise UnreadableInput(f"{what}: expected images (N, H, W, 3), got shape {list(array.shape)}.{hint}")
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise InputError(f"{what}: expected uint8 or floats on 0…255, got {array.dtype}. Convert them first.")
        return array


def open_distance(
    name: str | os.PathLike[str] | Bundle = DEFAULT,
    *,
    device: str = "auto",
    threads: int | None = None,
    backend: str = "onnx",
    precision: str = "fp32",
) -> PerceptualDistance:
    """Open a distance by its name (`list_distances`), or the one of a bundle. Opens no socket.

    Parameters
    ----------
    device, threads, backend, precision
        As for `FeatureExtractor`: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``, and so on.

    Raises
    ------
    MissingBundle
        No distance of that name, or its weights are not on this machine.
    DeviceUnavailable, MissingPackage, DamagedBundle
    """
    bundle, tap = find_distance(name)
    return PerceptualDistance(bundle, tap, device=device, threads=threads, backend=backend, precision=precision)


def list_distances() -> dict[str, str]:
    """Every distance that has a name here, and the bundle that computes it."""
    return {_public_name(name, tap): name for name in list_bundles("distance") for tap in _taps(list_bundles()[name])}


def find_distance(name: str | os.PathLike[str] | Bundle) -> tuple[Bundle, str]:
    """The bundle, perhaps without its weights, and the tap that gives the distance."""
    if isinstance(name, Bundle):
        return _only_distance(name)
    known = list_distances()
    if isinstance(name, str) and name in known:
        bundle = load_bundle(known[name])
        return bundle, next(tap for tap in bundle.manifest.taps if _public_name(bundle.name, tap) == name)
    if os.path.isdir(name) or name in known.values():
        return _only_distance(load_bundle(name))
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise MissingBundle(f"There is no perceptual distance {str(name)!r}. There are: {', '.join(known)}.{hint}")


def _taps(folder: Path) -> Mapping[str, str]:
    return read_manifest(folder / "manifest.json").taps


def _public_name(bundle_name: str, tap: str) -> str:
    """What a distance goes by. The published names are those of the shipped bundles; weights of one's own make another
    distance.
    """
    if (SHIPPED / bundle_name).is_dir():
        return tap
    return f"{bundle_name}/{tap}"


def _only_distance(bundle: Bundle) -> tuple[Bundle, str]:
    """The first that the bundle computes."""
    if bundle.kind != "distance":
        raise InputError(f"{bundle.name!r} is a bundle of kind {bundle.kind}, not of kind distance.")
    return bundle, next(iter(bundle.manifest.taps), "")


def _title(bundle: Bundle, name: str) -> str:
    """That of this distance where a bundle computes several."""
    titles = bundle.manifest.record.get("titles") or {}
    return str(titles.get(name) or bundle.manifest.title)


def _least_side(bundle: Bundle) -> int:
    """The fewest pixels a side, after what a distance needs was found in the manifest."""
    record, outputs = bundle.manifest.record, {output.name for output in bundle.manifest.outputs}
    used = {*bundle.manifest.taps.values(), *(record.get("maps") or {}).values()}
    least = record.get("least_side")
    if not bundle.manifest.taps or not used <= outputs or type(least) is not int or least < 1:
        raise DamagedBundle(
            f"The manifest of bundle {bundle.name!r} does not say which outputs are distances and maps (taps, maps), "
            "or how small pictures may be (least_side). Freeze it again."
        )
    return least


def _tensor(images: NDArray[Any], what: str, known_range: bool) -> NDArray[np.float32]:
    """(N, H, W, 3) → (N, 3, H, W) float32, after a look at the values of floats."""
    tensor = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
    if images.dtype == np.uint8 or not tensor.size:
        return tensor
    low, high = float(tensor.min()), float(tensor.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{what}: NaN or infinity among the pixels, so there is nothing to compare.")
    if low < -1 or high > 256:
        raise InputError(f"{what}: pixels from {low:g} to {high:g}; expected 0…255. Scale and clip them first.")
    if not known_range and high <= 1 and (high > 0.05 or low < -0.05):  # nobody has pictures of a 255th of white
        line = "(images + 1) * 127.5" if low < 0 else "images * 255"
        raise InputError(
            f"{what}: floats from {low:g} to {high:g}; expected 0…255. If black and white are what this range "
            f"suggests: {line}."
        )
    return tensor
