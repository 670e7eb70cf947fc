"""`genmetrics bundles …`: the frozen graphs, what is there, and whether it is what it should be."""

from __future__ import annotations

from typing import Annotated

import typer

import genmetrics_rt as gm
from genmetrics_rt.errors import GenmetricsError
from genmetrics_rt.options import BackendName, Device, say_errors
from genmetrics_rt.terminal import print_result

bundles_app = typer.Typer(help="The frozen graphs: what is there, and whether it is what it should be.")


@bundles_app.command("list")
@say_errors
def bundles_list() -> None:
    """Name, kind and purpose of every shipped bundle."""
    rows = [gm.load_bundle(name).manifest for name in gm.list_bundles()]
    width = max(len(manifest.name) for manifest in rows)
    for manifest in rows:
        print_result(f"{manifest.name:<{width}}  {manifest.kind:<10} {manifest.title}")


@bundles_app.command("path")
@say_errors
def bundles_path(name: Annotated[str, typer.Argument(help="Name or folder of a bundle.")]) -> None:
    """The folder of a bundle, for other programs that want to load its graph."""
    print_result(f"{gm.load_bundle(name).path}")


@bundles_app.command("verify")
@say_errors
def bundles_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Names or folders. [default: all shipped]")] = None,
    backend: BackendName = "onnx",
    device: Device = "cpu",
) -> None:
    """Check every hash, run the self-test, and print how far this machine deviates from the workshop."""
    from genmetrics_rt.frozen import open_graph
    from genmetrics_rt.selftest import measure

    wrong = False
    bundles = [gm.load_bundle(name) for name in names or gm.list_bundles()]
    width = max(len(bundle.name) for bundle in bundles)
    output_width = max(len(output.name) for bundle in bundles for output in bundle.manifest.outputs)
    for bundle in bundles:
        bundle.verify()
        deviations = measure(bundle, open_graph(bundle, backend=backend, device=device))
        for deviation in deviations:
            wrong |= not deviation.holds
            state = "holds" if deviation.holds else "DEVIATES"
            print_result(
                f"{bundle.name:<{width}}  {deviation.output:<{output_width}}  {state}: "
                f"{deviation.absolute:.1e} absolute, {deviation.relative:.1e} relative"
            )
        if not deviations:
            print_result(f"{bundle.name:<{width}}  hashes hold (no self-test in its manifest)")
    if wrong:
        raise GenmetricsError(
            "This machine's runtime computes other numbers than the workshop's, beyond the tolerance of the manifest. "
            "Scores made here are not comparable. Try another onnxruntime version, and report this one."
        )
