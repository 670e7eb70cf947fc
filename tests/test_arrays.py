"""The door for arrays: what is no array, and what is no uint8, gets the line that helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genmetrics_rt.arrays import as_image_batch, as_numpy
from genmetrics_rt.errors import InputError

SHAPE = (4, 8, 8, 3)


def ramp(low: float, high: float, dtype: Any = np.float32) -> np.ndarray:
    return np.linspace(low, high, int(np.prod(SHAPE))).astype(dtype).reshape(SHAPE)


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (ramp(0, 1), "(x * 255).round().clip(0, 255).astype('uint8')"),
        (ramp(-1, 1), "((x + 1) * 127.5).round().clip(0, 255).astype('uint8')"),
        (ramp(0, 255), "x.round().clip(0, 255).astype('uint8')"),
        (ramp(0, 255, np.int64), "x.round().clip(0, 255).astype('uint8')"),
        (ramp(0, 255, np.uint16), "x.round().clip(0, 255).astype('uint8')"),
        (ramp(0, 65535, np.uint16), "(x / 257).round().astype('uint8')"),
        (ramp(0, 1, bool), "x.astype('uint8') * 255"),
    ],
)
def test_the_advice_fits_the_range_and_keeps_the_pixels(images: np.ndarray, line: str) -> None:
    with pytest.raises(InputError) as caught:
        as_image_batch(images)
    assert str(caught.value).endswith(f": {line}.")
    converted = eval(line, {"x": images})
    assert converted.dtype == np.uint8 and (converted.min(), converted.max()) == (0, 255)
    as_image_batch(converted)


@pytest.mark.parametrize(
    ("images", "fact"),
    [
        (ramp(-3, 3), "from -3 to 3"),
        (ramp(0, 1000, np.int32), "from 0 to 1000"),
        (np.full(SHAPE, np.nan), "from nan to nan"),
        (np.zeros((0, 8, 8, 3)), "got float64"),
        (np.zeros(SHAPE, complex), "got complex128"),
    ],
)
def test_no_line_is_advised_where_the_range_tells_nothing(images: np.ndarray, fact: str) -> None:
    with pytest.raises(InputError) as caught:
        as_image_batch(images)
    assert fact in str(caught.value) and "astype" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "NoneType is no array"),
        ({"images": 1}, "dict is no array"),
        ((row for row in [1]), "generator is no array"),
        ({1, 2}, "set is no array"),
        ("out/", "str is no array"),
        (b"bytes", "bytes is no array"),
        (7, "int is no array"),
        (["a.png", "b.png"], "list is no array"),
        ([], "list is empty"),
        ([[], []], "list is empty"),
    ],
)
def test_what_is_no_array_is_named(value: Any, name: str) -> None:
    with pytest.raises(InputError, match=f"This {name}.*Pass uint8 images"):
        as_numpy(value)


class OnAnotherDevice:
    """As arrays of other libraries behave: every way to NumPy fails, each with its own kind of error."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def __dlpack__(self, **options: Any) -> Any:
        raise self.error("not on this device")

    def __dlpack_device__(self) -> tuple[int, int]:
        raise self.error("not on this device")

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise self.error("Can't convert a cuda array")


@pytest.mark.parametrize("error", [TypeError, RuntimeError, AttributeError, BufferError])
def test_an_array_that_numpy_cannot_take_says_how_to_bring_it(error: type[Exception]) -> None:
    for value in (OnAnotherDevice(error), [OnAnotherDevice(error)]):
        with pytest.raises(InputError, match=r"cuda array.*x\.detach\(\)\.cpu\(\)"):
            as_numpy(value)


def test_lists_of_numbers_and_empty_arrays_pass() -> None:
    assert as_numpy([[1, 2], [3, 4]]).shape == (2, 2)
    assert as_numpy(np.zeros((0, 4))).shape == (0, 4)
