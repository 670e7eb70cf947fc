"""The reader of .safetensors: values, and everything that a hostile file may say."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from genmetrics_rt.checkpoints.safetensors import MAX_HEADER_BYTES, is_safetensors, read_safetensors
from genmetrics_rt.errors import UnreadableInput

BF16 = np.array([1.5, -2.0, 0.0], np.float32)


def file_of(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(first: int, last: int, shape: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def test_values_of_every_number_format() -> None:
    arrays = {
        "F32": np.array([[1.5, -2.0]], np.float32),
        "F16": np.array([0.5, 3.0], np.float16),
        "F64": np.array([1 / 3]),
        "I64": np.array([-5, 7]),
        "BOOL": np.array([True, False, True, True]),
    }
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for dtype, values in arrays.items():
        header[dtype] = entry(len(data), len(data) + values.nbytes, list(values.shape), dtype)
        data += values.tobytes()
    upper = (BF16.view(np.uint32) >> 16).astype("<u2").tobytes()
    header["BF16"] = entry(len(data), len(data) + 6, [3], "BF16")
    content = file_of(header, data + upper)
    assert is_safetensors(content)
    found = read_safetensors(content, what="x")
    for dtype, values in arrays.items():
        assert np.array_equal(found[dtype], values) and found[dtype].dtype == values.dtype
        assert not found[dtype].flags.writeable
    assert np.array_equal(found["BF16"], BF16) and found["BF16"].dtype == np.float32
    assert list(found) == [*arrays, "BF16"]


def test_scalars_and_empty_tensors() -> None:
    found = read_safetensors(file_of({"a": entry(0, 4, []), "b": entry(4, 4, [0, 3])}, bytes(4)), what="x")
    assert found["a"].shape == () and found["b"].shape == (0, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        (b"<!doctype html><html>", "web page"),
        (file_of({}, length=MAX_HEADER_BYTES + 1), "header would have"),
        (file_of({}, length=2**63), "header would have"),
        (file_of({}, length=100), "cut off"),
        (file_of(b"{nonsense"), "damaged"),
        (file_of(b"[1]"), "no JSON object"),
        (file_of(b'{"a":1,"a":2}'), "two entries of one name"),
        (file_of({"a": 7}), "damaged"),
        (file_of({"a": {"dtype": "F32", "shape": [1]}}), "damaged"),
        (file_of({"a": entry(0, 4, [1], "F8_E4M3")}, bytes(4)), "number format F8_E4M3"),
        (file_of({"a": entry(0, 4, [2])}, bytes(4)), "its shape needs 8"),
        (file_of({"a": entry(4, 0, [1])}, bytes(4)), "has -4 bytes"),
        (file_of({"a": entry(-4, 0, [1])}, bytes(4)), "no lists of whole numbers"),
        (file_of({"a": entry(0, 4, [True])}, bytes(4)), "no lists of whole numbers"),
        (file_of({"a": entry(0, 4, [1.0])}, bytes(4)), "no lists of whole numbers"),
        (file_of({"a": entry(0, 4, [1] * 17)}, bytes(4)), "no lists of whole numbers"),
        (file_of({"a": entry(0, 2**62, [2**60])}, bytes(4)), "cut off"),
        (file_of({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)), "overlaps"),
        (file_of({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, bytes(12)), "gap"),
        (file_of({"a": entry(0, 4, [1])}, bytes(8)), "belong to no tensor"),
        (file_of(b'{"a":' + b"[" * 100_000), "damaged"),
    ],
)
def test_damaged_and_hostile_files_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(UnreadableInput, match=words):
        read_safetensors(content, what="weights.safetensors")


@pytest.mark.parity
def test_against_the_package(tmp_path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {"b.weight": rng.normal(size=(3, 4)).astype(np.float32), "a": rng.integers(0, 9, 5), "c": np.float16([1])}
    package.save_file(arrays, tmp_path / "x.safetensors", metadata={"k": "v"})
    found = read_safetensors((tmp_path / "x.safetensors").read_bytes(), what="x")
    assert set(found) == set(arrays) and all(np.array_equal(found[name], arrays[name]) for name in arrays)
