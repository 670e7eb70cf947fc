"""The extractor that ships inside the wheel: `python -m export embedded`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from export.blueprint import Arrays, Blueprint, Tolerance
from export.embedded.calibration import calibrate, measure_coefficients
from export.embedded.procedural import calibration_images
from export.embedded.scattering import NUM_COEFFICIENTS, NUM_FEATURES, SIDE, Scattering, layout
from export.freeze import freeze, onnx_bytes
from export.verify import frozen_state
from genmetrics_rt.bundle import SHIPPED
from genmetrics_rt.manifest import TensorSpec

NAME = "scattering"


def main(argv: Sequence[str]) -> int:
    """Calibrate and freeze `scattering`."""
    parser = argparse.ArgumentParser(prog="python -m export embedded", description=main.__doc__)
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED / NAME, help="folder of the bundle")
    parser.add_argument("--cache", type=Path, help=".npy file that keeps the calibration images between runs")
    arguments = parser.parse_args(argv)

    module = Scattering().eval()
    uncalibrated = onnx_bytes(scattering_blueprint(module))
    calibrate(module, measure_coefficients(uncalibrated, calibration_images(arguments.cache)))
    print(freeze(scattering_blueprint(module), arguments.output).summary())
    return 0


def blueprint(folder: Path) -> Blueprint:
    """The blueprint of the bundle in ``folder``, with the calibration that its graph.ts holds."""
    module = Scattering().eval()
    state = frozen_state(folder)
    module.load_state_dict({name: state[name] for name in module.state_dict()})
    return scattering_blueprint(module)


def scattering_blueprint(module: Scattering) -> Blueprint:
    """The blueprint of a calibrated module."""
    protocol = {
        "default": True,
        "size": [SIDE, SIDE],
        "resize": "triangle-antialias",
        "rounding": "none",
        "alpha": "white",
        "layout": "NCHW",
        "dtype": "float32",
        "scale": 1.0,
        "offset": 0.0,
        "metrics": {},
    }
    return Blueprint(
        name=NAME,
        version="1",
        kind="extractor",
        title="wavelet scattering (training-free, 256-d)",
        label="training-free texture, colour and band-energy baseline; not comparable with published FID",
        licence="Apache-2.0",
        command="python -m export embedded",
        module=module,
        inputs=(TensorSpec("images", "float32", ("N", 3, SIDE, SIDE), "RGB pixels", "0..255"),),
        outputs=(
            TensorSpec(
                "features", "float32", ("N", NUM_FEATURES), "ridge-whitened projection of the coefficients", "none"
            ),
            TensorSpec(
                "coefficients",
                "float32",
                ("N", NUM_COEFFICIENTS),
                "log scattering coefficients, in the order of `layout`",
                "standard deviations on the calibration images",
            ),
        ),
        example={"images": torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 255},
        probes=probes,
        tolerance=Tolerance(absolute=2e-4, relative=1e-5),
        taps={"features": "features"},
        protocols={"scattering": protocol},
        extra={
            "layout": layout(),
            "frozen": {
                "data": "1,000 procedural images (dead leaves and 1/f noise, seeds 0 and 1); no photograph",
                "licence_of_data": "Apache-2.0 (made by the code of this repository)",
            },
        },
        selftest_range={"images": (0.0, 255.0)},
    )


def probes() -> dict[str, Arrays]:
    """Noise, faint noise and colour blocks in batches of 1, 3 and 7; black, white, one pixel, stripes."""
    stream = np.random.RandomState(7)
    shape = (3, SIDE, SIDE)
    corner = np.zeros(shape, np.float32)
    corner[:, 0, 0] = 255
    stripes = np.zeros(shape, np.float32)
    stripes[:, :, ::2] = 255
    edges = np.stack([np.zeros(shape, np.float32), np.full(shape, 255, np.float32), corner, stripes])
    smooth = stream.uniform(0, 255, (7, 3, 8, 8)).repeat(16, axis=2).repeat(16, axis=3)
    drawn = {
        "random 1": stream.uniform(0, 255, (1, *shape)),
        "faint 3": stream.uniform(127, 129, (3, *shape)),
        "blocks 7": smooth,
        "edges 4": edges,
    }
    return {name: {"images": images.astype(np.float32)} for name, images in drawn.items()}
