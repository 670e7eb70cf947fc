"""Graphs that are written out in ONNX's text form rather than exported.

torch.onnx.export cannot turn a `while` into a graph; and the hash of a graph goes into the fingerprint of the numbers
made with it, so no converter and none of its versions may have a say in the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

import onnx
import onnx.inliner
import onnx.parser


def model_from_text(text: str, constants: Mapping[str, float] | None = None) -> onnx.ModelProto:
    """The model, its functions inlined, with each ``$NAME`` replaced by that constant. Lines in # are comments."""
    lines = Template(text).substitute({name: repr(value) for name, value in (constants or {}).items()}).splitlines()
    code = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return onnx.inliner.inline_local_functions(onnx.parser.parse_model(code))
