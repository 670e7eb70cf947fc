"""Read a pickle without running it: a small machine for pickle's instructions that knows data and imports nothing.

https://docs.python.org/3/library/pickletools.html describes the instructions. What a pickle names (a class, a function)
is looked up in a table of the caller's and is never imported; whatever is not in that table is refused by its name.

=====================  ==============================================================================================
pickled                here
=====================  ==============================================================================================
dict, list, tuple, …   the same; keys and members of sets are None, str, bool, float, or int of up to 64 bits
bytes, bytearray       a read-only memoryview of the pickle
a name                 what the table has for it: a `Function`, or a `Symbol`
an object              a `Record` of its attributes, if the table has a function that makes one
=====================  ==============================================================================================

Memory is in proportion to the pickle: every object is paid for out of a budget that grows with the bytes read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from genmetrics_rt.checkpoints.damage import Damage
from genmetrics_rt.checkpoints.pickle_machine import ENTRY, Begun, Function, Machine, Record, kind_of

MAX_INSTRUCTIONS = 1_000_000  # a state_dict has about thirty for each tensor
MAX_INT_BYTES = 32
_NUMBER_BYTES = 80  # of a number that is written out
_NAME_LENGTH = 600
_LATEST_PROTOCOL = 5
_STOP = ord(".")


def load(
    content: memoryview, find: Callable[[str], Any], resolve: Callable[[Any], Any] | None = None
) -> tuple[Any, int]:
    """The value that a pickle describes, and where it ends in ``content``.

    ``find`` gives what stands for a dotted name; ``resolve`` what a persistent id refers to.

    Raises
    ------
    Damage
        Cut off, malformed, with an instruction that is not known, or out of proportion; and what ``find`` raises.
    """
    machine = Machine(content, find, resolve)
    for _ in range(MAX_INSTRUCTIONS):
        instruction = machine.number("<B")
        if instruction == _STOP:
            value = machine.pop()
            if not machine.is_clear:
                raise Damage("is damaged: its pickle stops in the middle of something")
            return value, machine.at
        step = _STEPS.get(instruction)
        if step is None:
            raise Damage(f"uses the pickle instruction {_name_of(instruction)}, which no file of weights needs")
        step(machine)
    raise Damage(f"is refused: its pickle has more than {MAX_INSTRUCTIONS:,} instructions")


def require_key(value: Any) -> Any:
    """The value, if it can be a key: to hash others may take a time that is exponential in the size of the pickle."""
    if value is None or type(value) in (str, bool, float) or (type(value) is int and -(1 << 63) <= value < 1 << 63):
        return value
    raise Damage(f"is refused: a key, or a member of a set, is {kind_of(value)} and not a text or a number")


# Numbers and texts.


def _protocol(machine: Machine) -> None:
    version = machine.number("<B")
    if version > _LATEST_PROTOCOL:
        raise Damage(f"is a pickle of protocol {version}, which is not known (0 to {_LATEST_PROTOCOL} are)")


def _frame(machine: Machine) -> None:
    size = machine.number("<Q")
    start = machine.at
    machine.take(size)
    machine.at = start


def _long(machine: Machine, form: str) -> None:
    size = machine.number(form)
    if not 0 <= size <= MAX_INT_BYTES:
        raise Damage(f"is damaged: it holds a whole number of {size:,} bytes")
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _decimal(machine: Machine) -> None:
    digits = machine.line(_NUMBER_BYTES)
    if digits in (b"00", b"01"):
        machine.push(digits == b"01")
    else:
        machine.push(_written(digits.removesuffix(b"L"), int))


def _index(machine: Machine) -> int:
    return int(_written(machine.line(_NUMBER_BYTES), int))


def _written(digits: bytes, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(digits)
    except ValueError as error:
        raise Damage(f"is damaged: a number in its pickle is written {digits!r}") from error


def _text(machine: Machine, content: memoryview | bytes, encoding: str) -> None:
    try:
        text = str(content, encoding)
        if encoding != "utf-8":
            text.encode()  # which a lone surrogate, half of a character, does not survive
    except UnicodeError as error:
        raise Damage(f"is damaged: the text before byte {machine.at:,} of its pickle is none") from error
    machine.push(text)


def _text_or_bytes(machine: Machine, form: str) -> None:
    """The ``str`` of Python 2, which was either."""
    content = machine.take(machine.number(form))
    machine.push(str(content, "ascii") if bytes(content).isascii() else content)


# Collections.


def _last(machine: Machine, count: int) -> None:
    items = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(items)))


def _append(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if type(target) is not list:
        raise Damage(f"is damaged: its pickle appends to {kind_of(target)}")
    machine.spend(16 * len(items))
    target.extend(items)


def _update(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if type(target) is not dict:
        raise Damage(f"is damaged: its pickle sets items of {kind_of(target)}")
    if len(items) % 2:
        raise Damage("is damaged: a dictionary of its pickle has a key without a value")
    machine.spend(ENTRY * len(items))
    target.update((require_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _update(machine, [key, value])


def _dictionary(machine: Machine) -> None:
    items = machine.pop_to_mark()
    machine.push({})
    _update(machine, items)


def _add(machine: Machine) -> None:
    items, target = machine.pop_to_mark(), machine.top()
    if type(target) is not set:
        raise Damage(f"is damaged: its pickle adds members to {kind_of(target)}")
    machine.spend(ENTRY * len(items))
    target.update(map(require_key, items))


def _discard(machine: Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_to_mark()


# Names and objects.


def _named(machine: Machine, module: Any, name: Any) -> None:
    if not (type(module) is str and type(name) is str):
        raise Damage("is damaged: its pickle asks for something whose name is no text")
    if len(module) + len(name) > _NAME_LENGTH:
        raise Damage(
            f"is damaged: its pickle asks for something whose name is {len(module) + len(name):,} letters long"
        )
    machine.push(machine.find(f"{module}.{name}"))


def _named_on_stack(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    _named(machine, module, name)


def _call(machine: Machine, function: Any, arguments: Any) -> None:
    if not isinstance(function, Function) or type(arguments) is not tuple:
        raise Damage(f"asks to call {kind_of(function)}, which is no function of a file of weights: nothing was run")
    machine.spend(sum(map(sys.getsizeof, arguments)))  # what is worked through, however little comes of it
    try:
        result = function.call(*arguments)
    except TypeError as error:
        raise Damage(f"is damaged: it gives {kind_of(function)} other arguments than it takes") from error
    machine.push(result)


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    _call(machine, function, arguments)


def _instance(machine: Machine) -> None:
    arguments = machine.pop_to_mark()
    _named(machine, *machine.name_in_lines())
    _call(machine, machine.pop(), tuple(arguments))


def _instance_on_stack(machine: Machine) -> None:
    items = machine.pop_to_mark()
    _call(machine, items[0] if items else None, tuple(items[1:]))


def _build(machine: Machine) -> None:
    """Give an object its state. Only what is begun and records take one."""
    state, target = machine.pop(), machine.top()
    if isinstance(target, Begun) and target.result is None:
        target.result = machine.stack[-1] = target.finish(state)
        machine.spend(sys.getsizeof(target.result))
    elif isinstance(target, Record) and type(state) is dict and all(type(key) is str for key in state):
        machine.spend(ENTRY * len(state))
        target.update(state)
    elif not _is_idle(target, state):
        raise Damage(f"asks to set attributes of {kind_of(target)}, which no file of weights needs: nothing was set")


def _is_idle(target: Any, state: Any) -> bool:
    """Whether a state says nothing of the values: the versions of a ``state_dict``, an old Parameter's flags."""
    if type(target) is dict:
        return type(state) is dict and state.keys() <= {"_metadata"}
    if isinstance(target, np.ndarray):  # requires_grad, volatile, hooks
        return type(state) is tuple and len(state) == 3 and type(state[0]) is type(state[1]) is bool and not state[2]
    return False


def _persistent(machine: Machine) -> None:
    if machine.resolve is None:
        raise Damage("refers to data that it does not hold, as only a pickle inside a PyTorch file may")
    machine.push(machine.resolve(machine.pop()))


def _name_of(instruction: int) -> str:
    import pickletools  # only to name what is refused

    names = {known.code: known.name for known in pickletools.opcodes}
    return names.get(chr(instruction), f"0x{instruction:02x}")


_STEPS: dict[int, Callable[[Machine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    ord("("): Machine.mark,
    ord("0"): _discard,
    ord("1"): lambda m: m.pop_to_mark().clear(),
    ord("2"): lambda m: m.push(m.top()),
    # Numbers.
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("F"): lambda m: m.push(_written(m.line(_NUMBER_BYTES), float)),
    ord("I"): _decimal,
    ord("L"): _decimal,
    0x8A: lambda m: _long(m, "<B"),
    0x8B: lambda m: _long(m, "<i"),
    # Texts and bytes.
    ord("X"): lambda m: _text(m, m.take(m.number("<I")), "utf-8"),
    0x8C: lambda m: _text(m, m.take(m.number("<B")), "utf-8"),
    0x8D: lambda m: _text(m, m.take(m.number("<Q")), "utf-8"),
    ord("V"): lambda m: _text(m, m.line(), "raw-unicode-escape"),
    ord("T"): lambda m: _text_or_bytes(m, "<i"),
    ord("U"): lambda m: _text_or_bytes(m, "<B"),
    ord("B"): lambda m: m.push(m.take(m.number("<I"))),
    ord("C"): lambda m: m.push(m.take(m.number("<B"))),
    0x8E: lambda m: m.push(m.take(m.number("<Q"))),
    0x96: lambda m: m.push(m.take(m.number("<Q"))),
    # Collections.
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    0x85: lambda m: _last(m, 1),
    0x86: lambda m: _last(m, 2),
    0x87: lambda m: _last(m, 3),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.pop_to_mark()),
    ord("a"): lambda m: _append(m, [m.pop()]),
    ord("e"): lambda m: _append(m, m.pop_to_mark()),
    ord("}"): lambda m: m.push({}),
    ord("d"): _dictionary,
    ord("s"): _set_item,
    ord("u"): lambda m: _update(m, m.pop_to_mark()),
    0x8F: lambda m: m.push(set()),
    0x90: _add,
    0x91: lambda m: m.push(frozenset(map(require_key, m.pop_to_mark()))),
    # The memo.
    ord("p"): lambda m: m.put(_index(m)),
    ord("q"): lambda m: m.put(m.number("<B")),
    ord("r"): lambda m: m.put(m.number("<I")),
    0x94: lambda m: m.put(len(m.memo)),
    ord("g"): lambda m: m.get(_index(m)),
    ord("h"): lambda m: m.get(m.number("<B")),
    ord("j"): lambda m: m.get(m.number("<I")),
    # Names and objects.
    ord("c"): lambda m: _named(m, *m.name_in_lines()),
    0x93: _named_on_stack,
    ord("R"): _reduce,
    0x81: _reduce,  # NEWOBJ: a class is a function that makes a record
    ord("i"): _instance,
    ord("o"): _instance_on_stack,
    ord("b"): _build,
    ord("Q"): _persistent,
}
