"""PyTorch's container before 1.6: pickles, one behind the other, and then the storages they refer to.

In order: a magic number, the protocol version 1001, facts of the machine (a dict), the data with its tensors, the list
of the storages' keys, and for each of these an int64 number of elements and the elements.
"""

from __future__ import annotations

import struct
from typing import Any

from genmetrics_rt.checkpoints.damage import Damage, shown
from genmetrics_rt.checkpoints.pickle_globals import find
from genmetrics_rt.checkpoints.pickles import load
from genmetrics_rt.checkpoints.storages import Storage, item_size, require_whole, storage_id, storage_of

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_PICKLE_BYTES = 64 << 20  # of a pickle in a PyTorch file, which describes tensors and does not hold them
_PROTOCOL_VERSION = 1001


def read_legacy(content: memoryview, at: int) -> Any:
    """The data of a file whose magic number ends at ``at``. Raises `Damage`.

    The elements lie behind the pickle that says what they are. So that pickle is read twice: first to learn of the
    storages, and again when their places are known.
    """
    version, at = _next(content, at)
    machine, at = _next(content, at)
    if type(version) is not int or version != _PROTOCOL_VERSION:
        raise Damage(f"is a PyTorch file of a version that is not known (not {_PROTOCOL_VERSION})")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Damage("was written on a big-endian machine, which is not read here", "Save it again on a usual machine.")
    start = at
    declared: dict[str, tuple[str, int]] = {}

    def declare(identity: Any) -> Storage:
        dtype, key, count, _ = storage_id(identity, 6)
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise Damage(f"is damaged: storage {shown(key)} is described in two ways")
        return Storage(dtype)

    _, at = _next(content, start, declare)
    keys, at = _next(content, at)
    found = _storages(content, at, keys, declared)

    def resolve(identity: Any) -> Storage:
        _, key, _, view = storage_id(identity, 6)
        if view is None:
            return found[key]
        if type(view) is not tuple or len(view) != 3:
            raise Damage(f"is damaged: a view of storage {shown(key)} is not described as one")
        _, offset, length = view
        require_whole(offset, length)
        return found[key].part(offset, length)

    tree, _ = _next(content, start, resolve)
    return tree


def _storages(content: memoryview, at: int, keys: Any, declared: dict[str, tuple[str, int]]) -> dict[str, Storage]:
    """The storages in the order of their keys; they fill the rest of the file."""
    if type(keys) is not list or len(keys) != len(declared) or {*map(str, keys)} != {*declared}:
        raise Damage("is damaged: its list of storages is not that of its tensors")
    found: dict[str, Storage] = {}
    for key in map(str, keys):
        dtype, count = declared[key]
        start = at + 8
        end = start + count * item_size(dtype)
        if end > len(content):
            raise Damage(f"is cut off: storage {shown(key)} would end at byte {end:,} of {len(content):,}")
        (stored,) = struct.unpack("<q", content[at:start])
        if stored != count:
            raise Damage(
                f"is damaged: storage {shown(key)} is said to have {count:,} elements, and {stored:,} where it lies"
            )
        found[key] = storage_of(dtype, content[start:end])
        at = end
    if at != len(content):
        raise Damage(f"is damaged: {len(content) - at:,} bytes follow its last storage")
    return found


def _next(content: memoryview, at: int, resolve: Any = None) -> tuple[Any, int]:
    """The value of the pickle that begins at ``at``, and where it ends."""
    value, length = load(content[at : at + MAX_PICKLE_BYTES], find, resolve)
    return value, at + length
