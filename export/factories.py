"""A user's own code, given as ``MODULE.py:FACTORY``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load_factory(source: str, *, instead: str = "") -> Callable[[], Any]:
    """The function FACTORY of the file MODULE.py.

    Raises
    ------
    ValueError
        There is no such file or function. ``instead`` is what the source might have been too, for the message.
    """
    file, _, function = source.rpartition(":")
    if not Path(file).is_file():
        raise ValueError(f"{source!r} is {instead}MODULE.py:FACTORY: there is no file {file!r}.")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and torch look their module up
    spec.loader.exec_module(module)
    if not hasattr(module, function):
        raise ValueError(f"{file} has no function {function!r}.")
    factory: Callable[[], Any] = getattr(module, function)
    return factory
