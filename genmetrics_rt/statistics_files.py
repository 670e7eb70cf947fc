"""The files of reference statistics that exist in the field: what is in them, and what they leave unsaid.

===================  ==================================  =========================================  =====  ======
layout               file                                holds                                      count  ddof
===================  ==================================  =========================================  =====  ======
``pytorch-fid``      ``.npz``: mu, sigma                 also TTUR's, clean-fid's, EDM's            none   1
``adm``              ``.npz``: + mu_s, sigma_s           guided-diffusion's, perhaps with images    none   1
``clean-fid-kid``    ``.npz``: feats                     clean-fid's features for KID               rows   –
``edm2``             ``.pkl``: {fid: {mu, sigma}, …}     one entry for each network                 maybe  1
``stylegan``         ``.pkl``: raw_mean, raw_cov, …      the cache of StyleGAN2 and 3, raw moments  yes    0
``torch-fidelity``   ``.pt``: {mu, sigma} or a tensor    its cache: statistics, or features         rows   1
===================  ==================================  =========================================  =====  ======

No file says which network made it, few of how many images, none by which divisor: the last column is what its tool
does. Pickles are never executed (see `genmetrics_rt.checkpoints.checkpoint`).
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.arrays import FloatArray, as_features
from genmetrics_rt.errors import FeatureMismatch, InputError, MissingInput, NonFiniteFeatures, UnreadableInput

PICKLED = (".pkl", ".pickle", ".pt", ".pth")
MAX_DIMENSION = 8192  # of a covariance: half a gigabyte of float64
MAX_BYTES = 4 << 30  # of a file, and of the features in one
_ROUNDING = 1e-6  # how far a float32 covariance may be from symmetric and semidefinite, relative to its diagonal
_ITS_NETWORK = {"fid": "inception-fid", "fd_dinov2": "dinov2"}  # EDM2's names of its entries
_INCEPTION_DIMENSION = 2048
# What clean-fid writes into the names of its files → the protocol that makes the same features.
_MODES = {"clean": "clean", "legacy_pytorch": "pytorch-fid", "legacy_tensorflow": "tf1"}
_READ = {"mu.npy", "sigma.npy", "mu_s.npy", "sigma_s.npy", "feats.npy"}
_WAY_OUT = "Download it again, or make statistics from the images: genmetrics reference IMAGES -o FILE."


@dataclass(frozen=True)
class StatisticsFile:
    """What one file says of one network's features.

    ``mean`` (D,) and ``covariance`` (D, D) are float64, dividing by N − ddof; or there are the ``features`` (N, D)
    themselves, and those are None. ``spatial_mean`` (S,) and ``spatial_covariance`` (S, S) are those of the Inception's
    spatial features. ``network`` and ``protocol`` are only implied, by keys, size or file name: None where nothing is.
    """

    name: str  # of the file, for messages
    layout: str
    mean: FloatArray | None = None
    covariance: FloatArray | None = None
    num_images: int | None = None
    ddof: int = 1
    spatial_mean: FloatArray | None = None
    spatial_covariance: FloatArray | None = None
    features: NDArray[Any] | None = None
    network: str | None = None  # "inception-fid", "dinov2"
    protocol: str | None = None  # "clean", "pytorch-fid", "tf1", "adm", "stylegan3"
    holds_images: bool = False

    @property
    def dimension(self) -> int:
        if self.features is not None:
            return int(self.features.shape[1])
        assert self.mean is not None
        return len(self.mean)


def is_statistics_file(path: Path) -> bool:
    """Whether a file may be one of these: by the ending, and for an ``.npz`` by the names of its arrays."""
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        return path.is_file()
    if suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
    return bool(_READ & names)


def read_statistics(path: str | os.PathLike[str], *, network: str | None = None) -> StatisticsFile:
    """Read a file of statistics, or features, that another tool wrote.

    ``network`` chooses among those of an EDM2 file, "inception-fid" or "dinov2"; None takes the first, the Inception.

    Raises
    ------
    MissingInput, UnreadableInput, NonFiniteFeatures
        No such file; not one of the layouts (the message lists what is in it), damaged, unsafe, or statistics that
        cannot be any.
    FeatureMismatch
        It holds nothing of that network.
    """
    files = read_all(path)
    if network is None:
        return files[0]
    for file in files:
        if file.network == network:
            return file
    held = ", ".join(file.network or "an unrecorded network" for file in files)
    raise FeatureMismatch(
        f"{os.fspath(path)} holds no statistics of {network}, only of {held}. Take a file that has them, or use an "
        "extractor whose statistics are here."
    )


def read_all(path: str | os.PathLike[str], *, name: str | None = None) -> tuple[StatisticsFile, ...]:
    """All that a file holds: one entry for each network, the Inception's first. Raises as `read_statistics`.

    ``name`` is what messages call the file.
    """
    path, name = Path(path), name or os.fspath(path)
    if not path.is_file():
        raise MissingInput(f"{name} is no file. Give a file of statistics: .npz, .pkl or .pt.")
    try:
        if path.suffix.lower() == ".npz":
            return (_of_npz(path, name),)
        return _of_tree(_read_pickle(path, name), path, name)
    except InputError:
        raise
    except OSError as error:
        raise UnreadableInput(f"{name} cannot be read: {error.strerror or error}. {_WAY_OUT}") from error
    except Exception as error:  # on damaged bytes the parsers raise whatever comes
        raise UnreadableInput(
            f"{name} is damaged or cut off ({str(error) or type(error).__name__}). {_WAY_OUT}"
        ) from error


# The layouts.


def _of_npz(path: Path, name: str) -> StatisticsFile:
    with zipfile.ZipFile(path) as archive:
        shapes = {
            member.filename.removesuffix(".npy"): _shape_in(archive, member, name) for member in archive.infolist()
        }
    with np.load(path, allow_pickle=False) as stored:
        if "mu" not in shapes and "sigma" not in shapes and "feats" in shapes:
            _require_size(shapes["feats"], name)
            return _of_features(stored["feats"], "clean-fid-kid", path, name)
        wanted = ["mu", "sigma", *(["mu_s", "sigma_s"] if {"mu_s", "sigma_s"} & set(shapes) else [])]
        _require_keys(wanted, shapes, name)
        for mean, covariance in zip(wanted[::2], wanted[1::2], strict=True):
            _require_shapes(shapes[mean], shapes[covariance], (mean, covariance), name)
        arrays = {key: stored[key] for key in wanted}
    is_adm = "mu_s" in wanted
    file = _of_moments(arrays, "adm" if is_adm else "pytorch-fid", path, name)
    if is_adm:
        spatial = _checked(arrays["mu_s"], arrays["sigma_s"], ("mu_s", "sigma_s"), name)
        file = replace(file, spatial_mean=spatial[0], spatial_covariance=spatial[1], protocol=file.protocol or "adm")
    images = [shape for shape in shapes.values() if len(shape) == 4]
    return replace(file, holds_images=bool(images))


def _of_tree(tree: Any, path: Path, name: str) -> tuple[StatisticsFile, ...]:
    if isinstance(tree, np.ndarray):
        return (_of_features(tree, "torch-fidelity", path, name),)
    if not isinstance(tree, Mapping):
        raise UnreadableInput(f"{name} holds a {type(tree).__name__}, no statistics. {_WAY_OUT}")
    if "raw_mean" in tree or "raw_cov" in tree:
        return (_of_stylegan(tree, path, name),)
    count = tree.get("num_images")
    count = count if isinstance(count, int) and count > 1 else None
    entries = {key: tree[key] for key in _ITS_NETWORK if isinstance(tree.get(key), Mapping)}
    if not entries:
        _require_keys(("mu", "sigma"), tree, name)
        layout = "torch-fidelity" if path.suffix.lower() in (".pt", ".pth") else "pytorch-fid"
        return (_of_moments(tree, layout, path, name),)
    files = []
    for key, entry in entries.items():
        _require_keys(("mu", "sigma"), entry, f"{name}, {key}")
        file = _of_moments(entry, "edm2", path, f"{name}, {key}")
        files.append(replace(file, name=name, network=_ITS_NETWORK[key], num_images=count))
    return tuple(files)


def _of_moments(arrays: Mapping[str, Any], layout: str, path: Path, name: str) -> StatisticsFile:
    mean, covariance = _checked(arrays["mu"], arrays["sigma"], ("mu", "sigma"), name)
    network, protocol = _implied(path.name, len(mean))
    return StatisticsFile(name, layout, mean, covariance, network=network, protocol=protocol)


def _of_stylegan(tree: Mapping[str, Any], path: Path, name: str) -> StatisticsFile:
    _require_keys(("num_items", "raw_mean", "raw_cov", "capture_mean_cov"), tree, name)
    count = tree["num_items"]
    if not isinstance(count, int) or count < 1:
        raise UnreadableInput(f"{name}: num_items is {count!r}, so its moments are of no images. {_WAY_OUT}")
    if tree.get("capture_all") and tree.get("all_features"):
        blocks: Sequence[Any] = tree["all_features"]
        file = _of_features(np.concatenate([np.asarray(block) for block in blocks]), "stylegan", path, name)
        if file.num_images != count:
            raise UnreadableInput(
                f"{name} counts {count:,} images and holds features of {file.num_images:,}. {_WAY_OUT}"
            )
        return replace(file, protocol="stylegan3")
    if not tree["capture_mean_cov"]:
        raise UnreadableInput(f"{name} was made without mean and covariance, and without features. {_WAY_OUT}")
    raw_mean, raw_covariance = np.asarray(tree["raw_mean"]), np.asarray(tree["raw_cov"])
    _require_shapes(raw_mean.shape, raw_covariance.shape, ("raw_mean", "raw_cov"), name)
    mean = raw_mean / count
    with np.errstate(over="ignore", invalid="ignore"):
        covariance = raw_covariance / count - np.outer(mean, mean)
    mean, covariance = _checked(mean, covariance, ("raw_mean", "raw_cov"), name)
    network, _ = _implied(path.name, len(mean))
    return StatisticsFile(name, "stylegan", mean, covariance, count, 0, network=network, protocol="stylegan3")


def _of_features(values: NDArray[Any], layout: str, path: Path, name: str) -> StatisticsFile:
    _require_size(values.shape, name)
    if values.dtype.kind not in "fiu":
        raise UnreadableInput(f"{name}: features of dtype {values.dtype} are no real numbers. {_WAY_OUT}")
    features = as_features(values, what=name)
    network, protocol = _implied(path.name, features.shape[1])
    return StatisticsFile(name, layout, num_images=len(features), features=features, network=network, protocol=protocol)


def _implied(file_name: str, dimension: int) -> tuple[str | None, str | None]:
    """Network and protocol that the file's name and the number of features speak for."""
    name = file_name.lower()
    if "dinov2" in name:
        return "dinov2", None
    if re.search(r"(^|[^a-z])(clip|vgg|swav|convnext)([^a-z]|$)", name):
        return None, None
    if "inception-v3-compat" in name:  # torch-fidelity's name for the Inception of TTUR
        return "inception-fid", "tf1"
    mode = re.search(r"_(clean|legacy_pytorch|legacy_tensorflow)_", name)
    return ("inception-fid" if dimension == _INCEPTION_DIMENSION else None), _MODES[mode[1]] if mode else None


# Reading, with sizes bounded before anything is allocated.


def _read_pickle(path: Path, name: str) -> Any:
    from genmetrics_rt.checkpoints.checkpoint import read_checkpoint

    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UnreadableInput(f"{name} has {size:,} bytes; statistics have at most {MAX_BYTES:,}. Is it a checkpoint?")
    return read_checkpoint(path.read_bytes(), what=name)


def _shape_in(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> tuple[int, ...]:
    """The shape of an array of numbers in an ``.npz``, from its header: nothing is unpacked."""
    if not member.filename.endswith(".npy"):
        return ()
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.kind not in "biufc" and member.filename in _READ:
        raise UnreadableInput(f"{name}: {member.filename} holds {dtype}, no numbers: it is not loaded. {_WAY_OUT}")
    return tuple(shape)


def _require_keys(wanted: Sequence[str], found: Mapping[str, Any], name: str) -> None:
    missing = [key for key in wanted if key not in found]
    if missing:
        held = ", ".join(str(key) for key in list(found)[:12]) or "nothing"
        raise UnreadableInput(
            f"{name} has no {' and no '.join(missing)}. It holds {held}. Statistics are arrays mu (D,) and "
            f"sigma (D, D), features an array feats (N, D). {_WAY_OUT}"
        )


def _require_shapes(mean: tuple[int, ...], covariance: tuple[int, ...], keys: tuple[str, str], name: str) -> None:
    if len(mean) != 1 or len(covariance) != 2 or covariance[0] != covariance[1] or min(mean + covariance) < 1:
        raise UnreadableInput(
            f"{name}: {keys[0]} has shape {mean} and {keys[1]} {covariance}; a mean is (D,), a covariance (D, D). "
            f"{_WAY_OUT}"
        )
    if mean[0] != covariance[0]:
        raise UnreadableInput(
            f"{name}: {keys[0]} has {mean[0]} dimensions and {keys[1]} {covariance[0]}: they are of unlike features. "
            f"{_WAY_OUT}"
        )
    if mean[0] > MAX_DIMENSION:
        raise UnreadableInput(f"{name}: {mean[0]:,} dimensions; at most {MAX_DIMENSION:,} are read. {_WAY_OUT}")


def _require_size(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise UnreadableInput(f"{name}: features of shape {shape}; expected (N, D). {_WAY_OUT}")
    if shape[0] * shape[1] * 8 > MAX_BYTES:
        raise UnreadableInput(f"{name}: {shape[0]:,} × {shape[1]:,} features are more than are read. {_WAY_OUT}")


def _checked(mean: Any, covariance: Any, keys: tuple[str, str], name: str) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance as float64, if they can be those of real features."""
    mean, covariance = np.asarray(mean), np.asarray(covariance)
    _require_shapes(mean.shape, covariance.shape, keys, name)
    for key, array in zip(keys, (mean, covariance), strict=True):
        if array.dtype.kind == "c":
            raise UnreadableInput(
                f"{name}: {key} is complex (imaginary parts up to {np.abs(array.imag).max():.3g}). Statistics of "
                f"features are real: this comes from a failed matrix square root or a damaged file. {_WAY_OUT}"
            )
        if array.dtype.kind not in "fiu":
            raise UnreadableInput(f"{name}: {key} has dtype {array.dtype}, no real numbers. {_WAY_OUT}")
    mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
    for key, array in zip(keys, (mean, covariance), strict=True):
        if not np.isfinite(array).all():
            raise NonFiniteFeatures(
                f"{name}: {key} has NaN or infinity in {np.count_nonzero(~np.isfinite(array)):,} places: "
                f"so had the features that it was made of, or their sum overflowed. {_WAY_OUT}"
            )
    variances = covariance.diagonal()
    scale = float(np.abs(variances).max())
    if variances.min() < -_ROUNDING * scale:
        raise UnreadableInput(
            f"{name}: {keys[1]} has negative variances (down to {variances.min():.3g}), which no features "
            f"have. {_WAY_OUT}"
        )
    gap = float(np.abs(covariance - covariance.T).max())
    if gap > _ROUNDING * scale:
        raise UnreadableInput(
            f"{name}: {keys[1]} is not symmetric (entries differ by up to {gap:.3g}), so it is no covariance. "
            f"{_WAY_OUT}"
        )
    deviations = np.sqrt(np.maximum(variances, 0))
    excess = float((np.abs(covariance) - np.outer(deviations, deviations)).max())
    if excess > _ROUNDING * scale:
        raise UnreadableInput(
            f"{name}: {keys[1]} is not positive semidefinite: a covariance exceeds the product of its standard "
            f"deviations by {excess:.3g}. {_WAY_OUT}"
        )
    return mean, (covariance if gap == 0 else (covariance + covariance.T) / 2)
