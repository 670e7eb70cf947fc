"""The reference statistics that others publish: a catalogue with its sources, and the one door that fetches them.

Their publishers give no hashes. The hash of what came first is kept in ``record.json`` beside it, and what comes later
has to be the same. A name stands for a side once it was fetched; opening a side never touches the network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from genmetrics_rt.cache import cache_home, write_atomically
from genmetrics_rt.download import download
from genmetrics_rt.errors import InputError, MissingInput, UnreadableInput
from genmetrics_rt.fetch import in_bytes
from genmetrics_rt.progress import ProgressCallback
from genmetrics_rt.reference import Reference, open_statistics
from genmetrics_rt.statistics_files import read_all


@dataclass(frozen=True)
class PublicReference:
    """One file of published reference statistics. What its publisher does not state is None."""

    name: str  # "cifar10-train-32-clean"
    urls: tuple[str, ...]
    protocol: str  # that makes features like those in it
    network: str
    dataset: str
    split: str | None
    size: int  # pixels a side of the images
    num_images: int | None
    publisher: str  # who, and under which licence
    sha256: str | None = None

    @property
    def file_name(self) -> str:
        return Path(urlsplit(self.urls[0]).path).name


# GaParmar/clean-fid: the table "Supported Precomputed Datasets" of README.md; addresses by cleanfid/features.py.
_CLEAN_FID = "https://www.cs.cmu.edu/~clean-fid/stats/"
_CLEAN_FID_PUBLISHER = "clean-fid (CMU and Adobe), MIT for its repository; none is stated for the statistics"
_MODES = {"clean": "clean", "legacy_tensorflow": "tf1", "legacy_pytorch": "pytorch-fid"}  # its word → our protocol
_CLEAN_FID_TABLE = (  # dataset, pixels, split, images
    ("cifar10", 32, "train", 50_000),
    ("cifar10", 32, "test", 10_000),
    ("ffhq", 1024, "trainval", 50_000),
    ("ffhq", 256, "trainval", 50_000),
    ("ffhq", 1024, "trainval70k", 70_000),
    ("ffhq", 256, "trainval70k", 70_000),
    ("lsun_church", 256, "train", 50_000),
    ("lsun_horse", 256, "train", 50_000),
    ("lsun_cat", 256, "train", 50_000),
    ("lsun_cat", 256, "trainfull", 1_657_264),
    ("afhq_cat", 512, "train", 5153),
    ("afhq_dog", 512, "train", 4739),
    ("afhq_wild", 512, "train", 4738),
    ("brecahad", 512, "train", 1944),
    ("metfaces", 1024, "train", 1336),
    ("horse2zebra", 256, "test", 140),
    ("cat2dog", 256, "test", 500),
)
# README.md, "Computing KID": features are precomputed for these; its example uses the default mode, clean.
_WITH_KID = ("afhq_cat", "afhq_dog", "afhq_wild", "brecahad", "metfaces")

# openai/guided-diffusion: evaluations/README.md. NVlabs/edm, README.md, says that it was shared under the MIT licence.
_ADM = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/"
_ADM_PUBLISHER = "guided-diffusion (OpenAI), MIT"
_ADM_TABLE = (  # dataset, pixels, the rest of the address
    ("lsun-bedroom", 256, "lsun/bedroom/VIRTUAL_lsun_bedroom256.npz"),
    ("lsun-cat", 256, "lsun/cat/VIRTUAL_lsun_cat256.npz"),
    ("lsun-horse", 256, "lsun/horse/VIRTUAL_lsun_horse256.npz"),
    ("imagenet", 64, "imagenet/64/VIRTUAL_imagenet64_labeled.npz"),
    ("imagenet", 128, "imagenet/128/VIRTUAL_imagenet128_labeled.npz"),
    ("imagenet", 256, "imagenet/256/VIRTUAL_imagenet256_labeled.npz"),
    ("imagenet", 512, "imagenet/512/VIRTUAL_imagenet512.npz"),
)

# NVlabs/edm and NVlabs/edm2: the folders and file names in README.md, "Calculating FID" and "Calculating FLOPs and
# metrics"; that edm2's holds img64.pkl beside img512.pkl is what projects that use both say.
_NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/"
_NVIDIA_PUBLISHER = "NVIDIA, CC BY-NC-SA 4.0"
_NVIDIA_TABLE = (  # name, dataset, pixels, the rest of the address, publisher
    ("cifar10-32-edm", "cifar10", 32, "edm/fid-refs/cifar10-32x32.npz", _NVIDIA_PUBLISHER),
    ("ffhq-64-edm", "ffhq", 64, "edm/fid-refs/ffhq-64x64.npz", _NVIDIA_PUBLISHER),
    ("afhqv2-64-edm", "afhqv2", 64, "edm/fid-refs/afhqv2-64x64.npz", _NVIDIA_PUBLISHER),
    ("imagenet-64-edm", "imagenet", 64, "edm/fid-refs/imagenet-64x64.npz", _NVIDIA_PUBLISHER),
    (
        "imagenet-64-baseline-edm",
        "imagenet",
        64,
        "edm/fid-refs/imagenet-64x64-baseline.npz",
        "NVIDIA, from guided-diffusion's, MIT",
    ),
    ("imagenet-512-edm2", "imagenet", 512, "edm2/dataset-refs/img512.pkl", _NVIDIA_PUBLISHER),
    ("imagenet-64-edm2", "imagenet", 64, "edm2/dataset-refs/img64.pkl", _NVIDIA_PUBLISHER),
)


def _catalogue() -> Iterator[PublicReference]:
    network = "inception-fid"
    for dataset, size, split, count in _CLEAN_FID_TABLE:
        plain = f"{dataset.replace('_', '-')}-{split}-{size}"
        for mode, protocol in _MODES.items():
            for kid in ("", "_kid") if mode == "clean" and dataset in _WITH_KID else ("",):
                url = f"{_CLEAN_FID}{dataset}_{mode}_{split}_{size}{kid}.npz"
                name = f"{plain}-{protocol}{kid.replace('_', '-')}"
                yield PublicReference(
                    name, (url,), protocol, network, dataset, split, size, count, _CLEAN_FID_PUBLISHER
                )
    for dataset, size, rest in _ADM_TABLE:
        name = f"{dataset}-{size}-adm"
        yield PublicReference(name, (_ADM + rest,), "adm", network, dataset, None, size, None, _ADM_PUBLISHER)
    for name, dataset, size, rest, publisher in _NVIDIA_TABLE:
        yield PublicReference(name, (_NVIDIA + rest,), "tf1", network, dataset, None, size, None, publisher)


REFERENCES: Mapping[str, PublicReference] = {entry.name: entry for entry in _catalogue()}


def list_references() -> tuple[PublicReference, ...]:
    """Every public reference that is known, fetched or not."""
    return tuple(REFERENCES.values())


def is_fetched(name: str) -> bool:
    """Whether a public reference is on this machine."""
    return _path(_known(name)).is_file()


def open_reference(name: str) -> Reference:
    """A public reference that was fetched, as a side. Opens no socket.

    Raises `MissingInput` for one that was not, with the command that fetches it, and what `read_statistics` raises.
    """
    entry = _known(name)
    path, record = _path(entry), _record(entry)
    if not path.is_file():
        raise MissingInput(
            f"The public reference {name!r} is not on this machine. Fetch it once: genmetrics references fetch {name}"
        )
    if record and path.stat().st_size != record["bytes"]:  # each array that is read is checked against its own CRC
        raise UnreadableInput(
            f"{path} has {path.stat().st_size:,} bytes, and {record['bytes']:,} were fetched. Fetch it again: "
            f"genmetrics references fetch {name}"
        )
    return open_statistics(path, name=name, num_images=entry.num_images, protocol=entry.protocol)


def fetch_reference(name: str, *, progress: ProgressCallback | None = None) -> Path:
    """Download a public reference, once. From then on its name stands for a side.

    Where no hash is published, that of the first download is recorded, and a later one has to have it.

    Parameters
    ----------
    progress
        Called with a `Progress` in bytes.

    Returns
    -------
    Path
        The file, which was read and checked.

    Raises
    ------
    InputError
        One of its kinds: no such reference, no network, bytes that are not the recorded ones, no statistics in them, a
        cache that cannot be written.
    """
    entry = _known(name)
    path, record = _path(entry), _record(entry)
    expected = entry.sha256 or (record or {}).get("sha256")
    if path.is_file() and expected is not None and _hash_of(path) == expected:
        return path
    # It counts only after it was read: until then it lies in a folder of its own, where a broken download goes on.
    arrived = path.parent / "incoming" / entry.file_name
    way_out = (
        f"Without a network here: get the file of {entry.urls[0]} on another machine, and give its path as a side."
    )
    digest = download(entry.urls, arrived, sha256=entry.sha256, progress=in_bytes(name, progress), way_out=way_out)
    try:
        if expected not in (None, digest):
            raise UnreadableInput(
                f"{entry.urls[0]} sends another file than before: its sha256 is {digest}, and {expected} was recorded "
                f"on {(record or {}).get('date', 'an earlier day')}. Scores against the two do not compare. If the new "
                f"one is wanted, delete {_record_path(entry)} and fetch again."
            )
        read_all(arrived, name=entry.urls[0])
        found = {
            "url": entry.urls[0],
            "sha256": digest,
            "bytes": arrived.stat().st_size,
            "date": datetime.now(UTC).date().isoformat(),
        }
        os.replace(arrived, path)
        if record is None:
            write_atomically(_record_path(entry), json.dumps(found, indent=1).encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}. Set GENMETRICS_HOME.") from error
    finally:
        with contextlib.suppress(OSError):
            arrived.unlink(missing_ok=True)
            arrived.parent.rmdir()
    return path


def recorded_hash(name: str) -> str | None:
    """The sha256 of a public reference: the published one, or else that of the first download, or None."""
    entry = _known(name)
    return entry.sha256 or (_record(entry) or {}).get("sha256")


def _known(name: str) -> PublicReference:
    if name not in REFERENCES:
        raise MissingInput(f"No public reference {name!r}. `genmetrics references list` names them.")
    return REFERENCES[name]


def _path(entry: PublicReference) -> Path:
    return cache_home() / "references" / entry.name / entry.file_name


def _record_path(entry: PublicReference) -> Path:
    return _path(entry).with_name("record.json")


def _record(entry: PublicReference) -> dict[str, Any] | None:
    """What was written down at the first download; None where there was none, or nothing that can be read."""
    try:
        record = json.loads(_record_path(entry).read_bytes())
        return record if isinstance(record["sha256"], str) and isinstance(record["bytes"], int) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
