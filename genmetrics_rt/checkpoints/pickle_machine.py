"""The machine that reads a pickle: bytes, a stack, a memo and a budget of memory. `pickles` holds its instructions."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genmetrics_rt.checkpoints.damage import Damage, shown

BUDGET = 1 << 20  # bytes of memory that any pickle may take …
BUDGET_PER_BYTE = 48  # … and as many more for each byte that was read of it; a state_dict takes about 30
ENTRY = 112  # bytes that an entry of a dict takes, with the room that the dict keeps free
_MARK = 72  # the same of a mark
_NAME_BYTES = 300


@dataclass(frozen=True)
class Symbol:
    """A name that stands for itself, such as ``torch.float32``."""

    name: str


@dataclass(frozen=True)
class Function:
    """What a pickle may call: a function of ours that stands in for the one of this name."""

    name: str
    call: Callable[..., Any]


class Record(dict[str, Any]):
    """The attributes of an object whose class (``name``) is not known."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Begun:
    """An object that a pickle makes in two steps. ``finish`` makes it of the state that comes second."""

    def __init__(self, name: str, finish: Callable[[Any], Any]) -> None:
        self.name = name
        self.finish = finish
        self.result: Any = None


class Machine:
    """The state of one reading: the place in the bytes, a stack, the stacks below the open marks, and the memo.

    ``find`` gives what stands for a dotted name, ``resolve`` what a persistent id refers to.
    """

    def __init__(self, content: memoryview, find: Callable[[str], Any], resolve: Callable[[Any], Any] | None) -> None:
        self.content, self.at = content, 0
        self.find, self.resolve = find, resolve
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self._budget = BUDGET

    @property
    def is_clear(self) -> bool:
        """Whether nothing is left on the stack and no mark is open."""
        return not self.stack and not self._below

    # Bytes.

    def take(self, size: int) -> memoryview:
        """The next ``size`` bytes."""
        left = len(self.content) - self.at
        if not 0 <= size <= left:
            raise Damage(
                f"is cut off or damaged: at byte {self.at:,} its pickle wants {size:,} more bytes, and has {left:,}"
            )
        self.at += size
        return self.content[self.at - size : self.at]

    def number(self, form: str) -> Any:
        """The next number, in a form of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, limit: int | None = None) -> bytes:
        """The bytes up to the end of the line, which is passed over."""
        size = 64  # and more each time, so that a line costs in proportion to its length
        while True:
            line = bytes(self.content[self.at : self.at + size])
            end = line.find(b"\n")
            if limit is not None and max(end, len(line) if end < 0 else 0) > limit:
                raise Damage(f"is damaged: a line of more than {limit} bytes at byte {self.at:,} of its pickle")
            if end >= 0:
                self.at += end + 1
                return line[:end]
            if len(line) < size:
                raise Damage(f"is cut off: its pickle ends within the line that begins at byte {self.at:,}")
            size *= 4

    def name_in_lines(self) -> tuple[str, str]:
        """Module and name, each in a line of its own."""
        module, name = (str(self.line(_NAME_BYTES), "utf-8", "replace") for _ in range(2))
        return module, name

    # Stack and memo.

    def spend(self, size: int) -> None:
        self._budget -= size
        if self._budget + BUDGET_PER_BYTE * self.at < 0:
            raise Damage("is refused: its pickle would take many times its own size in memory")

    def push(self, value: Any) -> None:
        self.spend(8 + sys.getsizeof(value))
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return _finished(value)

    def top(self) -> Any:
        if not self.stack:
            raise Damage("is damaged: its pickle takes more from its stack than was put there")
        return self.stack[-1]

    def mark(self) -> None:
        self.spend(_MARK)
        self._below.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        if not self._below:
            raise Damage("is damaged: its pickle looks for a mark that was never set")
        items, self.stack = self.stack, self._below.pop()
        for item in items:
            _finished(item)
        return items

    def put(self, index: int) -> None:
        """Remember what is on top. The index allocates nothing, but an absurd one betrays the file."""
        if index > self.at:  # writers count from 0, and each object takes a byte at least
            raise Damage(f"is damaged: its pickle numbers an object {index:,} after {self.at:,} bytes")
        self.spend(ENTRY)
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise Damage(f"is damaged: its pickle refers to an object ({index:,}) that does not exist")
        value = self.memo[index]
        self.spend(8)
        self.stack.append(value.result if isinstance(value, Begun) and value.result is not None else value)


def kind_of(value: Any) -> str:
    """What a value is, for a message."""
    if isinstance(value, Symbol | Function | Record | Begun):
        return shown(value.name)
    return f"a value of type {type(value).__name__}"


def _finished(value: Any) -> Any:
    if isinstance(value, Begun):
        raise Damage(f"is damaged: it uses {value.name} before it is complete")
    return value
