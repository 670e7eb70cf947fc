"""Read a file of weights as plain data: no torch, nothing executed, the tensors views of the file's own bytes.

================  ==================================================  ================================================
container         begins with                                         holds
================  ==================================================  ================================================
PyTorch           a zip                                               ``data.pkl``, and ``data/KEY`` for each storage
TorchScript       a zip                                               the same of a module's attributes, and constants
PyTorch < 1.6     a pickle of 0x1950a86a20f9469cfc6c                  pickles, then the storages one behind the other
plain pickle      a pickle of something else                          dicts of NumPy arrays, as statistics are kept
================  ==================================================  ================================================

Formats: https://docs.pytorch.org/docs/stable/notes/serialization.html and torch/serialization.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmetrics_rt.checkpoints.damage import Damage, refuse_web_page, refusing_damage, shown
from genmetrics_rt.checkpoints.legacy import LEGACY_MAGIC, MAX_PICKLE_BYTES, read_legacy
from genmetrics_rt.checkpoints.pickle_globals import find
from genmetrics_rt.checkpoints.pickle_machine import Record
from genmetrics_rt.checkpoints.pickles import load
from genmetrics_rt.checkpoints.storages import Storage, item_size, storage_id, storage_of
from genmetrics_rt.checkpoints.stored_zip import StoredZip

MAX_DEPTH = 64
MAX_NODES = 1_000_000
MAX_TENSORS = 50_000
MAX_NAME = 1_000  # characters
_CONSTANTS = "CONSTANTS"  # as TorchScript's own code calls them: CONSTANTS.c0, CONSTANTS.c1, …
_PICKLE_OPENINGS = b"\x80(])}c"  # of protocols 2 to 5; of a tuple, list, dict or array in protocols 0 and 1


def read_checkpoint(content: bytes | memoryview, *, what: str) -> Any:
    """The tree of plain data in a checkpoint, its tensors read-only arrays that lie in ``content``.

    dict, list, tuple, set, str, int, float, bool, None; bytes are memoryviews, names such as ``torch.float32`` a
    `Symbol`, a storage without a tensor a `Storage`, NumPy's scalars arrays of no axes, and the attributes of a
    TorchScript object a dict. bfloat16 becomes float32. The tree is no deeper than `MAX_DEPTH`, holds nothing that
    contains itself, and has no more than `MAX_NODES` nodes, counted as often as they are reached.

    Raises
    ------
    UnreadableInput
        Of no known container; cut off or damaged; with a pickle that asks for anything but data; out of proportion.
        ``what`` is how the message calls the file.
    """
    with refusing_damage(what):
        tree = _tree(memoryview(content).cast("B").toreadonly())
        _require_modest(tree, 0, {})
        return tree


def flatten(tree: Any, *, what: str = "The checkpoint") -> dict[str, NDArray[Any]]:
    """Every array of a tree by its dotted name, such as ``state_dict.module.conv.weight``, in the tree's order.

    Raises
    ------
    UnreadableInput
        A tree out of proportion (see `read_checkpoint`), more than `MAX_TENSORS` arrays, two of one name, or a name
        that is no text or whole number.
    """
    with refusing_damage(what):
        _require_modest(tree, 0, {})
        arrays: dict[str, NDArray[Any]] = {}
        for name, array in _named(tree, ""):
            if name in arrays:
                raise Damage(f"holds two tensors of the name {shown(name)}")
            if len(arrays) == MAX_TENSORS:
                raise Damage(f"is refused: it holds more than {MAX_TENSORS:,} tensors")
            arrays[name] = array
        return arrays


# Containers.


def _tree(content: memoryview) -> Any:
    if not content:
        raise Damage("is empty: 0 bytes")
    if bytes(content[:4]) == b"PK\3\4":
        return _from_zip(StoredZip(content))
    refuse_web_page(content)
    if content[0] not in _PICKLE_OPENINGS:
        raise Damage(f"is neither a PyTorch file nor a pickle: it begins with {bytes(content[:8])!r}")
    value, end = load(content, find)
    if type(value) is int and value == LEGACY_MAGIC:
        return read_legacy(content, end)
    if end != len(content):
        raise Damage(f"is damaged: {len(content) - end:,} bytes follow the end of its pickle")
    return value


def _from_zip(archive: StoredZip) -> Any:
    roots = [name.removesuffix("data.pkl") for name in archive.names if name.endswith("/data.pkl")]
    roots = [root for root in roots if root.count("/") == 1]
    if len(roots) != 1:
        raise Damage(f"is a zip with {len(roots)} data.pkl, and a PyTorch file has one")
    (root,) = roots
    if root + "byteorder" in archive and bytes(archive.read(root + "byteorder")[:16]) != b"little":
        raise Damage("was written on a big-endian machine, which is not read here", "Save it again on a usual machine.")
    tree = _from_pickle(archive, root, "data")
    if root + "constants.pkl" not in archive:
        return tree
    constants = _from_pickle(archive, root, "constants")
    if type(constants) is not tuple or not isinstance(tree, Record) or _CONSTANTS in tree:
        raise Damage("is damaged: it has the constants of a TorchScript archive, and no module that they belong to")
    if constants:
        tree[_CONSTANTS] = {f"c{index}": constant for index, constant in enumerate(constants)}
    return tree


def _from_pickle(archive: StoredZip, root: str, name: str) -> Any:
    """The value of the pickle ``name.pkl``, whose storages are the members ``name/KEY``."""
    size = archive.size(f"{root}{name}.pkl")
    if size > MAX_PICKLE_BYTES:
        raise Damage(f"is refused: its {name}.pkl has {size:,} bytes, and more than {MAX_PICKLE_BYTES:,} are not read")
    found: dict[str, Storage] = {}

    def resolve(identity: Any) -> Storage:
        dtype, key, count, _ = storage_id(identity, 5)
        if key not in found:
            stored = archive.read(f"{root}{name}/{key}")
            if count * item_size(dtype) != len(stored):
                raise Damage(
                    f"is damaged: storage {shown(key)} has {len(stored):,} bytes for {count:,} elements of {dtype}"
                )
            found[key] = storage_of(dtype, stored)
        if found[key].dtype != dtype:
            raise Damage(f"is damaged: storage {shown(key)} is {found[key].dtype} in one place and {dtype} elsewhere")
        return found[key].part(0, count)

    value, end = load(archive.read(f"{root}{name}.pkl"), find, resolve)
    if end != size:
        raise Damage(f"is damaged: {size - end:,} bytes follow the end of its {name}.pkl")
    return value


# Trees.


def _children(node: Any) -> Collection[Any]:
    """What a node holds. The members of sets are texts and numbers, and count for nothing."""
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list | tuple) else ()


def _require_modest(node: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Nodes and height of a tree, in a time that does not grow with how often a node is reached.

    ``known`` has both for what was seen already, by id.
    """
    children = _children(node)
    nodes, height = known.get(id(node), (1, 0))
    if children and id(node) not in known:
        for child in children if depth < MAX_DEPTH else ():
            below, high = _require_modest(child, depth + 1, known)
            nodes, height = nodes + below, max(height, high + 1)
        known[id(node)] = nodes, height
    if depth + height >= MAX_DEPTH:
        raise Damage(f"is refused: its data is nested {MAX_DEPTH} deep or within itself")
    if nodes > MAX_NODES:
        raise Damage(f"is refused: its data unfolds to more than {MAX_NODES:,} values")
    return nodes, height


def _named(node: Any, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    if len(name) > MAX_NAME:
        raise Damage(f"is refused: the name of a tensor has more than {MAX_NAME:,} characters")
    if isinstance(node, np.ndarray):
        yield name, node
    for key, child in node.items() if isinstance(node, dict) else enumerate(_children(node)):
        if type(key) not in (str, int):
            raise Damage(f"is refused: {key!r:.80} stands where the name of a tensor is, and is no text or number")
        yield from _named(child, f"{name}.{key}" if name else str(key))
