"""What the units of the network are called where its weights are published: in PyTorch, TorchScript and TensorFlow."""

from __future__ import annotations

# Unit by unit in the order of the network: the name that pytorch-fid uses, TensorFlow's scope.
_SCOPES_OF_BLOCK = {
    "A": {
        "branch1x1": "conv",
        "branch5x5_1": "tower/conv",
        "branch5x5_2": "tower/conv_1",
        "branch3x3dbl_1": "tower_1/conv",
        "branch3x3dbl_2": "tower_1/conv_1",
        "branch3x3dbl_3": "tower_1/conv_2",
        "branch_pool": "tower_2/conv",
    },
    "B": {
        "branch3x3": "conv",
        "branch3x3dbl_1": "tower/conv",
        "branch3x3dbl_2": "tower/conv_1",
        "branch3x3dbl_3": "tower/conv_2",
    },
    "C": {
        "branch1x1": "conv",
        "branch7x7_1": "tower/conv",
        "branch7x7_2": "tower/conv_1",
        "branch7x7_3": "tower/conv_2",
        "branch7x7dbl_1": "tower_1/conv",
        "branch7x7dbl_2": "tower_1/conv_1",
        "branch7x7dbl_3": "tower_1/conv_2",
        "branch7x7dbl_4": "tower_1/conv_3",
        "branch7x7dbl_5": "tower_1/conv_4",
        "branch_pool": "tower_2/conv",
    },
    "D": {
        "branch3x3_1": "tower/conv",
        "branch3x3_2": "tower/conv_1",
        "branch7x7x3_1": "tower_1/conv",
        "branch7x7x3_2": "tower_1/conv_1",
        "branch7x7x3_3": "tower_1/conv_2",
        "branch7x7x3_4": "tower_1/conv_3",
    },
    "E": {
        "branch1x1": "conv",
        "branch3x3_1": "tower/conv",
        "branch3x3_2a": "tower/mixed/conv",
        "branch3x3_2b": "tower/mixed/conv_1",
        "branch3x3dbl_1": "tower_1/conv",
        "branch3x3dbl_2": "tower_1/conv_1",
        "branch3x3dbl_3a": "tower_1/mixed/conv",
        "branch3x3dbl_3b": "tower_1/mixed/conv_1",
        "branch_pool": "tower_2/conv",
    },
}
_STEM = {
    "Conv2d_1a_3x3": "conv",
    "Conv2d_2a_3x3": "conv_1",
    "Conv2d_2b_3x3": "conv_2",
    "Conv2d_3b_1x1": "conv_3",
    "Conv2d_4a_3x3": "conv_4",
}
_BLOCKS = {  # PyTorch's name → kind; TensorFlow counts them: mixed, mixed_1, … mixed_10
    "Mixed_5b": "A",
    "Mixed_5c": "A",
    "Mixed_5d": "A",
    "Mixed_6a": "B",
    "Mixed_6b": "C",
    "Mixed_6c": "C",
    "Mixed_6d": "C",
    "Mixed_6e": "C",
    "Mixed_7a": "D",
    "Mixed_7b": "E",
    "Mixed_7c": "E",
}
CLASSIFIER = {"torch": "fc.weight", "torchscript": "output.weight", "tensorflow": "softmax/weights"}


def unit_names() -> dict[str, dict[str, str]]:
    """The 94 units, each with its name in every layout of `genmetrics_rt.layouts`."""
    names = {unit: _names(unit, scope, f"layers.{scope}") for unit, scope in _STEM.items()}
    for number, (block, kind) in enumerate(_BLOCKS.items()):
        outer = f"mixed_{number}" if number else "mixed"
        for branch, inner in _SCOPES_OF_BLOCK[kind].items():
            # The TorchScript file has modules inside modules, but for the last two blocks, which are flat.
            nested = inner.replace("/", "_" if kind == "E" else ".")
            unit = f"{block}.{branch}"
            names[unit] = _names(unit, f"{outer}/{inner}", f"layers.{outer}.{nested}")
    return names


def _names(unit: str, scope: str, module: str) -> dict[str, str]:
    return {"torch": unit, "torchscript": module, "tensorflow": scope}
