"""The example generators and the digit classifier: `python -m export examples`.

Reading order: data → display → networks → vae, gan, memoriser, flow, diffusion, cvae, vae_density, classifier →
prove → train → blueprints → families → record.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from genmetrics_rt.bundle import SHIPPED

COMMAND = "python -m export examples"


def main(argv: Sequence[str]) -> int:
    """Train a classifier, a VAE, a GAN and a memoriser on digits (or --data), and freeze them.

    On the digits also a normalising flow, a diffusion model, a class-conditional VAE, and the densities of flow and
    VAE.
    """
    parser = argparse.ArgumentParser(prog="python -m export examples", description=main.__doc__)
    parser.add_argument("--data", type=Path, help="folder or zip of images instead of the digits; folders name classes")
    parser.add_argument("--seeds", type=int, default=5, help="train with seeds 0 … SEEDS-1; seed 0 is frozen (5)")
    parser.add_argument("--effort", type=float, default=1.0, help="share of the training steps; 0.01 is a smoke test")
    parser.add_argument(
        "--families-only",
        action="store_true",
        help="train only flow, diffusion model, class-conditional VAE and densities, beside what OUTPUT holds",
    )
    parser.add_argument("-o", "--output", type=Path, help="folder for bundles/ and examples/; digits: the package")
    arguments = parser.parse_args(argv)
    if arguments.seeds < 1 or arguments.effort <= 0:
        parser.error("--seeds must be at least 1 and --effort positive")
    if arguments.data and not arguments.output:
        parser.error("--data needs -o DIR: only the digits ship in the package")

    from export.examples.data import load_digits, load_images  # here: --help needs no torch
    from export.examples.record import readme, with_families, with_other_examples
    from export.examples.sentences import with_sentences
    from export.examples.train import run, takes_families, train_families

    data = load_images(arguments.data) if arguments.data else load_digits()
    output = arguments.output or SHIPPED.parent
    effort = [f"--effort {arguments.effort}"] if arguments.effort != 1 else []
    record = output / "examples" / "README.md"
    if arguments.families_only:
        if not takes_families(data):
            parser.error("--families-only is for the digits: its networks are made for grey pictures of 8 × 8")
        text = record.read_text(encoding="utf-8")
    else:
        evidence = run(data, num_seeds=arguments.seeds, output=output, effort=arguments.effort)
        options = [f"--data {arguments.data.name}"] if arguments.data else []
        text = readme(evidence, " ".join([COMMAND, *options, f"--seeds {arguments.seeds}", *effort]))
        text = with_other_examples(text, record.read_text(encoding="utf-8") if record.is_file() else "")
    if takes_families(data):
        train_families(data, output, effort=arguments.effort)
        text = with_families(text, data, output, " ".join([COMMAND, "--families-only", *effort]))
    text = with_sentences(text)
    record.write_text(text, encoding="utf-8")
    print(text)
    return 0
