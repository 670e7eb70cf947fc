"""Known damage, from mild to severe, to read scores against: blur, noise, JPEG, and left-out modes.

The first three act on pixels, the last on features: it leaves out whole clusters, as a model does that never makes
them. All of it is deterministic: the noise of an image depends on the seed and on the image's own content.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.clustering import kmeans
from genmetrics_rt.decode import decode
from genmetrics_rt.errors import InputError
from genmetrics_rt.report import SkippedImage
from genmetrics_rt.sources import ImageSource, RawImage

NUM_MODES = 20  # k-means clusters of the reference's features, of which some are left out
DROP = "drop"
_ORDERS = 500  # of leaving out modes that are tried


@dataclass(frozen=True)
class Damage:
    """One kind of damage at rising severities."""

    key: str  # "blur" | "noise" | "jpeg" | "drop"
    title: str
    name: str  # "blur"
    amount: str  # "σ = {} px"
    severities: tuple[float, ...]  # from mild to severe; they rise or, as JPEG's quality, fall

    def named(self, severity: float) -> str:
        """ "blur σ = 1.5 px" """
        return f"{self.name} {self.measured(severity)}"

    def measured(self, severity: float) -> str:
        """ "σ = 1.5 px" """
        return self.amount.format(self.number(severity))

    def number(self, severity: float) -> str:
        """ "1.5": two digits, since no score tells severities apart more finely."""
        shown = 100 * severity if self.key == DROP else severity
        return f"{shown:.2g}" if shown < 100 else f"{shown:.0f}"


DAMAGES = (
    Damage("blur", "Gaussian blur", "blur", "σ = {} px", (0.5, 1.0, 2.0, 4.0, 8.0)),
    Damage("noise", "Gaussian noise", "noise", "σ = {} of 255", (4.0, 8.0, 16.0, 32.0, 64.0)),
    Damage("jpeg", "JPEG compression", "JPEG", "quality {}", (90.0, 60.0, 30.0, 15.0, 5.0)),
    Damage(DROP, "Modes left out", "leaving out", "{} % of the modes", (0.1, 0.2, 0.35, 0.5)),
)


def damaged(image: ImageArray, key: str, severity: float, *, seed: int = 0) -> ImageArray:
    """One uint8 image (H, W, 3) with the damage ``key``: another image of the same shape.

    ``"blur"``: Gaussian of ``severity`` pixels standard deviation in each channel, mirrored at the borders.
    ``"noise"``: Gaussian of standard deviation ``severity`` (white is 255) added to every value, cut to 0…255. The
    same ``seed`` gives the same pattern at every severity, only stronger.
    ``"jpeg"``: through a JPEG file of quality ``severity``, rounded to a whole number, 1 to 100.

    Raises `InputError` for a damage that does not exist, or a severity that it cannot have.
    """
    if key not in _ON_PIXELS:
        raise InputError(f"No damage of images goes by the name {key!r}. These exist: {', '.join(_ON_PIXELS)}.")
    if not severity >= 0 or (key == "jpeg" and not 1 <= severity <= 100):
        raise InputError(f"{key} cannot have the severity {severity:g}. Blur and noise take 0 or more, JPEG 1 to 100.")
    return _ON_PIXELS[key](image, severity, seed)


def _blurred(image: ImageArray, severity: float, seed: int) -> ImageArray:
    from scipy.ndimage import gaussian_filter

    return _as_pixels(gaussian_filter(image.astype(np.float64), (severity, severity, 0), mode="reflect"))


def _noisy(image: ImageArray, severity: float, seed: int) -> ImageArray:
    return _as_pixels(image + severity * np.random.default_rng(seed).standard_normal(image.shape))


def _through_jpeg(image: ImageArray, severity: float, seed: int) -> ImageArray:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=round(severity))
    return np.asarray(Image.open(buffer).convert("RGB"))


_ON_PIXELS: dict[str, Callable[[ImageArray, float, int], ImageArray]] = {
    "blur": _blurred,
    "noise": _noisy,
    "jpeg": _through_jpeg,
}


def _as_pixels(values: NDArray[np.float64]) -> ImageArray:
    pixels: ImageArray = np.rint(values).clip(0, 255).astype(np.uint8)
    return pixels


class DamagedSource:
    """An `ImageSource` whose images are those of another one, damaged as they are read. Thread-safe.

    ``alpha`` and ``orientation`` are the protocol's, since damage needs decoded pixels.
    """

    def __init__(
        self,
        source: ImageSource,
        key: str,
        severity: float,
        *,
        seed: int = 0,
        alpha: str = "white",
        orientation: str = "applied",
    ) -> None:
        self.name = f"{source.name} ({key} {severity:g})"
        self.skipped: tuple[SkippedImage, ...] = source.skipped
        self._source, self._key, self._severity, self._seed = source, key, severity, seed
        self._alpha, self._orientation = alpha, orientation

    def __len__(self) -> int:
        return len(self._source)

    def entry_name(self, index: int) -> str:
        return self._source.entry_name(index)

    def digest(self, index: int) -> str:
        recipe = f"{self._key} {self._severity!r} {self._seed} {self._alpha} {self._orientation}"
        return hashlib.sha256(f"{recipe}\n{self._source.digest(index)}".encode()).hexdigest()

    def read(self, index: int) -> RawImage:
        raw = self._source.read(index)
        image = decode(raw, alpha=self._alpha, orientation=self._orientation)
        # By content, so that an image gets the same noise wherever it lies.
        seed = int.from_bytes(hashlib.sha256(f"{self._seed} {raw.digest}".encode()).digest()[:8], "big")
        return RawImage(raw.name, pixels=damaged(image, self._key, self._severity, seed=seed))


def modes(values: NDArray[Any], *, num_modes: int = NUM_MODES, seed: int = 0) -> NDArray[np.intp]:
    """(N,) when the mode of each row of (N, D) is left out: 0 is the first to go. Modes are k-means clusters.

    Clusters are of unlike sizes. So of many random orders that one is taken in which the rows go most evenly with the
    modes, among those whose first half holds at most half of the rows: as many are always left.
    """
    rng = np.random.default_rng(seed)
    clusters = kmeans(values, num_modes, rng)
    sizes = np.bincount(clusters, minlength=num_modes) / len(clusters)
    orders = rng.permuted(np.tile(np.arange(num_modes), (_ORDERS, 1)), axis=1)
    orders = np.concatenate(
        [orders, orders[:, ::-1]]
    )  # the first half of one of the two holds at most half of the rows
    half = num_modes // 2
    gone = sizes[orders].cumsum(axis=1)[:, :half]  # (orders, modes) share of the rows that are gone by then
    unevenness = np.abs(gone - np.arange(1, half + 1) / num_modes).max(axis=1)
    unevenness[gone[:, -1] > 0.5 + 1e-9] = np.inf
    turns: NDArray[np.intp] = np.argsort(orders[unevenness.argmin()])
    return turns[clusters]


def without_modes(turns: NDArray[np.intp], share: float, *, num_modes: int = NUM_MODES) -> NDArray[np.bool_]:
    """(N,) whether a row is left when a ``share`` of the modes is left out; a larger share leaves out more.

    ``turns`` are those of `modes`. Raises `InputError` for a share that is not from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise InputError(f"A share of {share:g} of the modes cannot be left out: give 0 or more and less than 1.")
    left: NDArray[np.bool_] = turns >= round(share * num_modes)
    return left
