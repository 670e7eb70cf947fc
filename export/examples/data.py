"""The images the examples are trained on: scikit-learn's digits, or any folder or zip of images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from export.examples.display import SHOWN, Display
from genmetrics_rt.errors import TooFewImages, UnreadableInput

SPLIT_SEED = 0
TRAIN_SHARE = 1200 / 1797  # 1,200 of the 1,797 digits; the same share of other data
MIN_IMAGES = 40
MAX_IMAGES = 1797  # of a folder or zip: as many as there are digits, so that training takes minutes on a CPU


@dataclass(frozen=True)
class ExampleData:
    """Images with a fixed split. All pixels at their native size; `shown` is what metrics and people see."""

    name: str
    title: str
    licence: str
    pixels: NDArray[np.float32]  # (N, C, S, S) in [0, 1], C 1 (grey) or 3
    labels: NDArray[np.int64] | None  # (N,), None when nothing says the classes
    classes: tuple[str, ...]
    is_train: NDArray[np.bool_]  # (N,)
    levels: int  # pixels are whole multiples of 1 / levels

    @property
    def train(self) -> NDArray[np.float32]:
        return self.pixels[self.is_train]

    @property
    def held_out(self) -> NDArray[np.float32]:
        return self.pixels[~self.is_train]

    def shown(self) -> NDArray[np.uint8]:
        """``(N, 32, 32, 3)`` uint8, by the rule of `display`."""
        with torch.no_grad():
            return Display(self.pixels.shape[-1])(torch.from_numpy(self.pixels))[0].numpy()


def load_digits() -> ExampleData:
    """The 1,797 UCI hand-written digits, 8 × 8, values 0…16 divided by 16; 1,200 for training, 597 held out."""
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels = (digits.images / 16).astype(np.float32)[:, None]
    return ExampleData(
        name="digits",
        title="UCI hand-written digits",
        licence="CC-BY-4.0 (E. Alpaydin and C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning "
        "Repository, 1998, doi:10.24432/C50P49; the 1,797 pictures of scikit-learn's load_digits)",
        pixels=pixels,
        labels=digits.target.astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        is_train=_split(len(pixels)),
        levels=16,
    )


def load_images(path: Path) -> ExampleData:
    """A folder or archive of images, resized to 32 × 32; classes are the names of the folders that hold the images.

    At most `MAX_IMAGES` are used, chosen by `SPLIT_SEED`. Pictures stay grey if all of them are. A path without
    folders for classes gives no labels.
    """
    from genmetrics_rt.decode import decode
    from genmetrics_rt.images import open_images
    from genmetrics_rt.resize import resize
    from genmetrics_rt.sources import Undecodable

    source = open_images(path)
    if len(source) < MIN_IMAGES:
        raise TooFewImages(
            f"{path} holds {len(source)} images. The example networks learn nothing from fewer than {MIN_IMAGES}: "
            "name a larger folder or archive."
        )
    chosen = np.sort(np.random.default_rng(SPLIT_SEED).permutation(len(source))[:MAX_IMAGES])
    recipe = (SHOWN, SHOWN), "triangle-antialias", "clip"
    resized, folders = [], []
    for index in chosen:
        name = source.entry_name(int(index))
        try:
            resized.append(resize(decode(source.read(int(index)), alpha="white"), recipe))
        except Undecodable as error:
            raise UnreadableInput(f"{name} cannot be used: {error}. Remove it and try again.") from error
        folders.append(PurePosixPath(name).parent.name)
    pixels = (np.rint(np.stack(resized)) / np.float32(255)).astype(np.float32).transpose(0, 3, 1, 2)
    if (pixels == pixels[:, :1]).all():
        pixels = pixels[:, :1]

    classes = tuple(sorted(set(folders)))
    if not 2 <= len(classes) <= len(folders) // 10:
        classes = ()
    return ExampleData(
        name=re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "images",
        title=f"the images of {path.name}",
        licence="that of the images",
        pixels=np.ascontiguousarray(pixels),
        labels=np.array([classes.index(folder) for folder in folders], np.int64) if classes else None,
        classes=classes,
        is_train=_split(len(pixels)),
        levels=255,
    )


def _split(num_images: int) -> NDArray[np.bool_]:
    is_train = np.zeros(num_images, np.bool_)
    is_train[np.random.default_rng(SPLIT_SEED).permutation(num_images)[: round(num_images * TRAIN_SHARE)]] = True
    return is_train
