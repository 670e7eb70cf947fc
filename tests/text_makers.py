"""A tiny bundle that embeds texts, for tests without a real model."""

from __future__ import annotations

import hashlib
import json
import string
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.makers import write_bundle

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = tuple(string.ascii_lowercase) + tuple("##" + letter for letter in string.ascii_lowercase)
VOCABULARY = (*SPECIAL, *LETTERS, *".,!?'")


def make_text_extractor(folder: Path, *, dimension: int = 12, max_length: int = 40, name: str = "tiny-text") -> Path:
    """Features are the mean of random vectors of the tokens. The vocabulary is that of single letters."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((len(VOCABULARY), dimension)).astype(np.float32)
    table[: len(SPECIAL)] = 0
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counts", "last"], ["columns"]),
        helper.make_node("Mul", ["vectors", "columns"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "first"], ["summed"], keepdims=0),
        helper.make_node("ReduceSum", ["columns", "first"], ["number"], keepdims=0),
        helper.make_node("Max", ["number", "one"], ["divisor"]),
        helper.make_node("Div", ["summed", "divisor"], ["features"]),
    ]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2]), "last"),
        numpy_helper.from_array(np.array([1]), "first"),
        numpy_helper.from_array(np.array([1.0], np.float32), "one"),
    ]
    inputs = [
        helper.make_tensor_value_info(key, TensorProto.INT64, ["N", "T"]) for key in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", dimension])
    graph = helper.make_graph(nodes, name, inputs, [output], constants)
    write_bundle(
        folder,
        graph,
        {
            "name": name,
            "kind": "extractor",
            "modality": "text",
            "tokeniser": {
                "kind": "wordpiece",
                "vocabulary": "vocab.txt",
                "max_length": max_length,
                "lower_case": True,
                "strip_accents": True,
            },
            "inputs": [{"name": key, "dtype": "int64", "shape": ["N", "T"]} for key in ("input_ids", "attention_mask")],
            "outputs": [{"name": "features", "dtype": "float32", "shape": ["N", dimension]}],
            "taps": {"features": "features"},
            "protocols": {"tiny": {"default": True}},
        },
    )
    content = ("\n".join(VOCABULARY) + "\n").encode()
    (folder / "vocab.txt").write_bytes(content)
    manifest = folder / "manifest.json"
    record = json.loads(manifest.read_text())
    record["files"]["vocab.txt"] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "form": "data",
    }
    manifest.write_text(json.dumps(record))
    return folder


def sentences(count: int, *, seed: int = 0, letters: str = "abcdefgh") -> list[str]:
    """Random words of some letters."""
    rng = np.random.default_rng(seed)

    def word() -> str:
        return "".join(rng.choice(list(letters), rng.integers(2, 6)))

    return [" ".join(word() for _ in range(rng.integers(3, 7))) for _ in range(count)]
