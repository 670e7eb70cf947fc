"""`python -m export …`: freeze a module, verify bundles, rebuild the shipped ones."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from export.blueprint import Blueprint
from export.factories import load_factory
from export.freeze import FILES, freeze
from export.registry import BLUEPRINTS, WEIGHTLESS
from export.verify import Agreement, Disagreement, verify
from genmetrics_rt.bundle import SHIPPED, Bundle, list_bundles, load_bundle
from genmetrics_rt.errors import GenmetricsError
from genmetrics_rt.manifest import read_manifest

TOPICS = {
    "clip": "freeze the visual towers of CLIP",
    "custom": "freeze a network of your own: python -m export custom --help",
    "dinov2": "freeze DINOv2 at three sizes",
    "embedded": "rebuild the extractor that ships in the wheel",
    "inception": "freeze the network behind FID",
    "kernels": "rebuild the frozen metric kernels",
    "minilm": "freeze the sentence encoder behind scores of texts",
    "precision": "measure what tf32 and fp16 do to the scores of an extractor",
    "perceptual": "freeze the perceptual distances",
    "torchvision_networks": "freeze torchvision's Inception v3 and VGG16",
    "examples": "train and freeze the example generators and classifier",
}


def main(argv: Sequence[str] | None = None) -> int:
    """0: done. 1: the forms disagree. 2: wrong usage or a damaged bundle."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    freezing = commands.add_parser("freeze", help="freeze what FACTORY() in MODULE.py describes, or a shipped bundle")
    freezing.add_argument("source", metavar="MODULE.py:FACTORY|NAME", help="a shipped bundle keeps its fitted state")
    freezing.add_argument("-o", "--output", type=Path, required=True, help="folder of the bundle")
    freezing.add_argument("--format", default="onnx,torchscript", help=f"any of {','.join(FILES)}")
    verifying = commands.add_parser("verify", help="prove that every form of a bundle gives the same numbers")
    verifying.add_argument("names", metavar="NAME", nargs="*", help="shipped name or folder; default: all shipped")
    verifying.add_argument("--blueprint", metavar="MODULE.py:FACTORY|NAME", help="what to verify them against")
    for topic, summary in TOPICS.items():
        commands.add_parser(topic, help=summary, add_help=False)  # each topic parses what follows its name

    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.command not in TOPICS:
        parser.error(f"unrecognised: {' '.join(rest)}")
    try:
        if arguments.command == "freeze":
            blueprint = _load_blueprint(arguments.source)
            print(freeze(blueprint, arguments.output, formats=arguments.format.split(",")).summary())
            return 0
        if arguments.command == "verify":
            return _verify_all(arguments.names, arguments.blueprint)
        return importlib.import_module(f"export.{arguments.command}").main(rest) or 0
    except Disagreement as error:
        print(error, file=sys.stderr)
        return 1
    except (GenmetricsError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2


def _verify_all(names: Sequence[str], source: str | None) -> int:
    """Measure all bundles; exit code 1 if one disagrees."""
    blueprint = _load_blueprint(source) if source else None
    worst = 0
    for name in names or sorted(list_bundles()):
        agreement = _verify(list_bundles().get(name, Path(name)), blueprint)
        print(f"{name}: {'all forms agree' if agreement.holds else 'the forms DISAGREE'}\n{agreement.summary()}")
        worst = max(worst, 0 if agreement.holds else 1)
    return worst


def _verify(folder: Path, blueprint: Blueprint | None) -> Agreement:
    """A bundle without weights is filled with weights of nobody first."""
    if (folder / "manifest.json").is_file():
        bundle = Bundle(folder, read_manifest(folder / "manifest.json"))
        if bundle.is_weight_free and bundle.name in WEIGHTLESS:
            return importlib.import_module(WEIGHTLESS[bundle.name]).verify(folder)
    return verify(load_bundle(folder).path, blueprint)


def _load_blueprint(source: str) -> Blueprint:
    """That of a shipped bundle, with its fitted state, or the result of FACTORY() in the file MODULE.py."""
    if source in BLUEPRINTS:
        return BLUEPRINTS[source](SHIPPED / source)
    blueprint: Blueprint = load_factory(source, instead="neither a shipped bundle nor ")()
    return blueprint


if __name__ == "__main__":
    sys.exit(main())
