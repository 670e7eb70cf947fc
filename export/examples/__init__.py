"""The example generators and the digit classifier: `python -m export examples`.

Reading order: data → display → networks → vae, gan, memoriser, classifier → prove → train → blueprints → record.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from genmetrics_rt.bundle import SHIPPED


def main(argv: Sequence[str]) -> int:
    """Train a classifier, a VAE, a GAN and a memoriser on digits (or --data), and freeze them."""
    parser = argparse.ArgumentParser(prog="python -m export examples", description=main.__doc__)
    parser.add_argument("--data", type=Path, help="folder or zip of images instead of the digits; folders name classes")
    parser.add_argument("--seeds", type=int, default=5, help="train with seeds 0 … SEEDS-1; seed 0 is frozen (5)")
    parser.add_argument("--effort", type=float, default=1.0, help="share of the training steps; 0.01 is a smoke test")
    parser.add_argument("-o", "--output", type=Path, help="folder for bundles/ and examples/; digits: the package")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 1 or arguments.effort <= 0:
        parser.error("--seeds must be at least 1 and --effort positive")
    if arguments.data and not arguments.output:
        parser.error("--data needs -o DIR: only the digits ship in the package")

    from export.examples.data import load_digits, load_images  # here: --help needs no torch
    from export.examples.record import readme
    from export.examples.train import run

    data = load_images(arguments.data) if arguments.data else load_digits()
    output = arguments.output or SHIPPED.parent
    evidence = run(data, num_seeds=arguments.seeds, output=output, effort=arguments.effort)
    options = [f"--data {arguments.data.name}"] if arguments.data else []
    options += [f"--seeds {arguments.seeds}"]
    options += [f"--effort {arguments.effort}"] if arguments.effort != 1 else []
    text = readme(evidence, " ".join(["python -m export examples", *options]))
    (output / "examples" / "README.md").write_text(text, encoding="utf-8")
    print(text)
    return 0
