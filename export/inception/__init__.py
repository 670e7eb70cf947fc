"""The network behind FID, frozen: `python -m export inception`.

Without weights of its own, which are their publisher's: the bundle in the wheel holds the graph and the recipe, and is
filled on the user's machine. With ``--weights FILE``, a bundle whose forms are self-contained, for your own use.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.blueprint import Arrays, Blueprint, Tolerance
from export.freeze import FILES, freeze
from export.inception.names import CLASSIFIER, unit_names
from export.inception.network import NUM_CLASSES, NUM_FEATURES, NUM_SPATIAL, SIDE, Inception, folded
from export.inception.protocols import PROTOCOLS
from export.inception.synthetic import synthetic_checkpoint
from export.verify import Agreement
from export.weightless import freeze_weightless, verify_weightless
from genmetrics_rt.bundle import SHIPPED
from genmetrics_rt.manifest import TensorSpec

NAME = "inception-fid"
BATCH_NORM_EPSILON = 1e-3
SOURCES = [
    {
        "name": "pytorch-fid",
        "layout": "torch",
        "urls": [
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        ],
        "sha256": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "bytes": 95_628_359,
        "licence": "Apache-2.0 (TensorFlow models)",
    },
    {
        "name": "NVIDIA TorchScript",
        "layout": "torchscript",
        "urls": [
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        ],
        "sha256": "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        "bytes": 95_607_719,
        "licence": "weights Apache-2.0; the file around them NVIDIA Source Code License (non-commercial)",
    },
]


def main(argv: Sequence[str]) -> int:
    """Freeze the FID Inception."""
    parser = argparse.ArgumentParser(prog="python -m export inception", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, help="folder of the bundle; default: the one in the wheel")
    parser.add_argument("--weights", type=Path, help="a published checkpoint: freeze a bundle that holds its weights")
    parser.add_argument("--format", default="onnx,torchscript", help=f"with --weights: any of {','.join(FILES)}")
    arguments = parser.parse_args(argv)

    if arguments.weights:
        if arguments.output is None:
            parser.error("--weights needs --output: weights are not shipped")
        network = Inception().eval()
        network.load_published(torch.load(arguments.weights, map_location="cpu", weights_only=True))
        agreement = freeze(blueprint(network), arguments.output, formats=arguments.format.split(","))
    else:
        step = partial(freeze_weightless, half=True)
        agreement = with_weights_of_nobody(NAME, step, arguments.output or SHIPPED / NAME)
    print(agreement.summary())
    return 0


def verify(folder: Path) -> Agreement:
    """Fill the weight-free bundle in ``folder`` with synthetic weights and measure that its forms agree."""
    return with_weights_of_nobody(NAME, verify_weightless, folder)


def with_weights_of_nobody(_: str, step: Callable[[Blueprint, Path, Path], Any], folder: Path) -> Any:
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "synthetic.pth"
        state = synthetic_checkpoint(seed=0)
        torch.save(state, checkpoint)
        network = Inception().eval()
        network.load_published(state)
        return step(blueprint(network, weightless=True), folder, checkpoint)


def blueprint(network: Inception, *, weightless: bool = False) -> Blueprint:
    """The blueprint of the network with its batch norms folded."""
    module = folded(network)
    images = TensorSpec("images", "float32", ("N", 3, SIDE, SIDE), "scaled RGB pixels", "−1..1")
    outputs = {
        "features": (NUM_FEATURES, "pool3: global average after Mixed_7c"),
        "logits": (NUM_CLASSES, "pool3 times the classifier's matrix, without bias"),
        "spatial": (NUM_SPATIAL, "first 7 channels of Mixed_6d's 1×1 branch after ReLU, by channels: for sFID"),
        "features_64": (64, "global average after the first max pool"),
        "features_192": (192, "global average after the second max pool"),
        "features_768": (768, "global average after Mixed_6e"),
    }
    extra: dict[str, Any] = {
        "published_scores": True,
        "paper": "Szegedy et al. 2016 (Inception-v3); Heusel et al. 2017 (FID)",
        "trained_on": "ImageNet-1k (labels of 2012, 1,008 outputs)",
    }
    if weightless:
        extra |= {
            "weights": {"sources": SOURCES},
            "recipe": {
                "epsilon": BATCH_NORM_EPSILON,
                "units": unit_names(),
                "copies": {"fc.weight": CLASSIFIER},
            },
        }
    return Blueprint(
        name=NAME,
        version="1",
        kind="extractor",
        title="ImageNet Inception of FID (TensorFlow 2015-12-05, 2048-d)",
        label="",
        licence="Apache-2.0 (graph and code); weights: Apache-2.0, TensorFlow models",
        command="python -m export inception",
        module=module,
        inputs=(images,),
        outputs=tuple(
            TensorSpec(name, "float32", ("N", size), meaning, "none") for name, (size, meaning) in outputs.items()
        ),
        example={"images": torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1},
        probes=probes,
        tolerance=Tolerance(absolute=1e-5, relative=1e-5),
        taps={
            "features": "features",
            "logits": "logits",
            "spatial": "spatial",
            "64": "features_64",
            "192": "features_192",
            "768": "features_768",
            "2048": "features",
        },
        protocols=PROTOCOLS,
        extra=extra,
        selftest_range={} if weightless else {"images": (-1.0, 1.0)},
    )


def probes() -> dict[str, Arrays]:
    """Noise, faint noise and colour blocks in batches of 1, 2 and 3; black, white, stripes."""
    stream = np.random.RandomState(7)
    shape = (3, SIDE, SIDE)
    stripes = np.full(shape, -1, np.float32)
    stripes[:, :, ::2] = 1
    edges = np.stack([np.full(shape, -1, np.float32), np.ones(shape, np.float32), stripes])
    smooth = stream.uniform(-1, 1, (2, 3, 13, 13)).repeat(23, axis=2).repeat(23, axis=3)
    drawn = {
        "random 1": stream.uniform(-1, 1, (1, *shape)),
        "faint 1": stream.uniform(-0.01, 0.01, (1, *shape)),
        "blocks 2": smooth,
        "edges 3": edges,
    }
    return {name: {"images": images.astype(np.float32)} for name, images in drawn.items()}
