"""Constants of a frozen TensorFlow graph, from bytes that are put together here by hand."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest

from genmetrics_rt.checkpoints.tensorflow_graph import read_constants
from genmetrics_rt.errors import UnreadableInput
from genmetrics_rt.protobuf import fields, varint

FLOAT, DOUBLE, INT32 = 1, 2, 3


def number(value: int) -> bytes:
    """A varint."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def whole(field: int, value: int) -> bytes:
    return number(field << 3) + number(value)


def message(field: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return number(field << 3 | 2) + number(len(body)) + body


def shape(*lengths: int) -> bytes:
    return message(2, *(message(2, whole(1, length % (1 << 64))) for length in lengths))


def tensor(*parts: bytes, dtype: int = FLOAT) -> bytes:
    return whole(1, dtype) + b"".join(parts)


def constant(name: str | bytes, value: bytes, operation: bytes = b"Const") -> bytes:
    """A node; its device and the attribute dtype are there to be passed over."""
    dtype = message(5, message(1, b"dtype"), message(2, whole(6, FLOAT)))
    attribute = message(5, message(1, b"value"), message(2, message(8, value)))
    text = name.encode() if isinstance(name, str) else name
    return message(1, message(1, text), message(2, operation), message(4, b"/cpu:0"), dtype, attribute)


def graph(*nodes: bytes) -> bytes:
    return b"".join(nodes) + message(4, whole(1, 21))  # with the versions that follow the nodes


def content_of(array: np.ndarray) -> bytes:
    return tensor(shape(*array.shape), message(4, array.astype("<f4").tobytes()))


WEIGHT = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32)


def read(content: bytes) -> dict[str, np.ndarray]:
    return read_constants(content, what="graph.pb")


def test_constants_by_name_in_order() -> None:
    content = graph(
        constant("conv/conv2d_params", content_of(WEIGHT)),
        message(1, message(1, b"conv"), message(2, b"Conv2D"), message(3, b"x"), message(3, b"conv/conv2d_params")),
        constant("scalar", tensor(shape(), message(5, struct.pack("<f", 2.5)))),
        constant("one by one", tensor(shape(2), *(number(5 << 3 | 5) + struct.pack("<f", x) for x in (1, 2)))),
        constant("packed", tensor(shape(2, 2), message(5, struct.pack("<4f", 1, 2, 3, 4)))),
        constant("empty", tensor(shape(0, 3))),
        constant("double", tensor(shape(1), message(6, struct.pack("<d", 1.0)), dtype=DOUBLE)),
        constant("axes", tensor(shape(2), message(7, b"\1\2"), dtype=INT32)),
        constant("no constant", content_of(WEIGHT), b"Placeholder"),
    )
    found = read(content)
    assert list(found) == ["conv/conv2d_params", "scalar", "one by one", "packed", "empty"]
    assert np.array_equal(found["conv/conv2d_params"], WEIGHT)
    assert np.shares_memory(found["conv/conv2d_params"], np.frombuffer(content, np.uint8))
    assert found["scalar"].shape == () and found["scalar"] == 2.5
    assert found["one by one"].tolist() == [1, 2]
    assert found["packed"].tolist() == [[1, 2], [3, 4]]
    assert found["empty"].shape == (0, 3)
    assert all(array.dtype == np.float32 and not array.flags.writeable for array in found.values())


@pytest.mark.parametrize(("listed", "expected"), [((), [0, 0, 0]), ((5,), [5, 5, 5]), ((1, 2), [1, 2, 2])])
def test_the_last_value_stands_for_those_that_follow(listed: tuple[float, ...], expected: list[float]) -> None:
    node = constant("x", tensor(shape(3), message(5, struct.pack(f"<{len(listed)}f", *listed))))
    found = read(graph(node))["x"]
    assert found.tolist() == expected and not found.flags.writeable


GOOD = graph(constant("w", content_of(WEIGHT)), constant("b", tensor(shape(3), message(5, struct.pack("<f", 1)))))
ONE = struct.pack("<f", 1)
HOSTILE = {
    "empty": (b"", "is empty"),
    "a web page": (b"\n<!DOCTYPE html><html></html>", "is a web page"),
    "no node": (message(4, whole(1, 21)), "holds no node"),
    "truncated": (GOOD[:100], "runs past its end"),
    "truncated within a number": (b"\x0a\x80", "is damaged"),
    "a field that lies": (b"\x0a" + number(1 << 60), "runs past its end"),
    "a number without end": (b"\x0a" + b"\xff" * 20, "longer than 64 bits"),
    "a group": (b"\x0b\x0c", "unknown wire type 3"),
    "too few bytes": (graph(constant("w", tensor(shape(5), message(4, bytes(16))))), "w of shape .5. has 16 bytes"),
    "too many bytes": (graph(constant("w", tensor(shape(3), message(4, bytes(16))))), "w of shape .3. has 16 bytes"),
    "bytes that are no whole number": (graph(constant("w", tensor(shape(3), message(5, bytes(5))))), "is damaged"),
    "too many values": (graph(constant("w", tensor(shape(1), message(5, ONE * 2)))), "w has 2 values"),
    "1 TB of one value": (graph(constant("w", tensor(shape(1 << 38), message(5, ONE)))), "is said to have 274,877,906"),
    "1 TB of nothing": (graph(constant("w", tensor(shape(1 << 38)))), "is said to have 274,877,906,944"),
    "many that are filled up": (
        graph(*(constant(f"w{index}", tensor(shape(2_000), message(5, ONE))) for index in range(200))),
        "has 1 values, and is said to have 2,000",
    ),
    "negative length": (graph(constant("w", tensor(shape(-1), message(5, ONE)))), "more elements than a machine"),
    "lengths whose product wraps around": (graph(constant("w", tensor(shape(1 << 33, 1 << 33)))), "more elements than"),
    "33 axes": (graph(constant("w", tensor(shape(*[1] * 33), message(5, ONE)))), "up to 32"),
    "an unknown shape": (graph(constant("w", tensor(message(2, whole(3, 1)), message(5, ONE)))), "is unknown"),
    "two constants of one name": (graph(*[constant("w", content_of(WEIGHT))] * 2), "two of its constants are called w"),
    "a name that is no UTF-8": (graph(constant(b"\xff", content_of(WEIGHT))), "is damaged"),
    "a name that moves the cursor": (
        graph(constant("\x1b[2J", tensor(shape(3), message(4, bytes(8))))),
        "\ufffd.2J of",
    ),
    "an attribute of 200,000 fields": (
        graph(message(1, message(2, b"Const"), message(5, *(whole(index, 1) for index in range(1, 200_000)))), b"\x0a"),
        "is damaged",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused(case: str) -> None:
    content, reason = HOSTILE[case]
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableInput, match=f"^graph.pb .*{reason}") as caught:
            read(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value).isprintable()
    assert peak < len(content) + (1 << 20)


def test_damaged_bytes_raise_no_other_error() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        damaged = bytearray(GOOD[: rng.integers(1, len(GOOD) + 1)])
        for at in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        try:
            read(bytes(damaged))
        except UnreadableInput as error:
            assert str(error).startswith("graph.pb ")


def test_fields_of_fixed_width() -> None:
    fixed = number(2 << 3 | 5) + b"abcd" + number(3 << 3 | 1) + b"efghijkl"
    content = memoryview(whole(1, 300) + fixed + message(4, b"x"))
    assert list(fields(content)) == [(1, 300), (4, b"x")]
    assert list(fields(content, fixed=True)) == [(1, 300), (2, b"abcd"), (3, b"efghijkl"), (4, b"x")]
    assert varint(memoryview(b"\xff" * 9 + b"\x01"), 0) == ((1 << 64) - 1, 10)
    with pytest.raises(ValueError, match="past its end"):
        list(fields(content[:6]))
