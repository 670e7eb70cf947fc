"""The workshop: turns torch modules into frozen bundles and proves that every form gives the same numbers.

Needs torch and onnx; never part of the wheel. `python -m export --help`.
"""
