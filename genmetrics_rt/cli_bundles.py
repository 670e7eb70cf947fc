"""`genmetrics bundles …`: the frozen graphs, what is there, and whether it is what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import genmetrics_rt as gm
from genmetrics_rt.errors import GenmetricsError
from genmetrics_rt.manifest import Factor, Protocol, TextProtocol
from genmetrics_rt.options import BackendName, Device, Quiet, say_errors
from genmetrics_rt.terminal import messages, print_result, progress

bundles_app = typer.Typer(help="The frozen graphs: what is there, and whether it is what it should be.")


@bundles_app.command("list")
@say_errors
def bundles_list() -> None:
    """Name, kind and purpose of every bundle, and whether its weights are here."""
    bundles = [gm.load_bundle(name) for name in gm.list_bundles()]
    width = max(len(bundle.name) for bundle in bundles)
    for bundle in bundles:
        size = f", {bundle.size_to_fetch}" if bundle.size_to_fetch else ""
        state = f"  (weights not here{size}: genmetrics bundles fetch {bundle.name})" if bundle.is_weight_free else ""
        print_result(f"{bundle.name:<{width}}  {bundle.kind:<10} {bundle.manifest.title}{state}")


@bundles_app.command("show")
@say_errors
def bundles_show(name: Annotated[str, typer.Argument(help="Name or folder of a bundle.")]) -> None:
    """The recipes, taps, weights and licence of a bundle."""
    from genmetrics_rt.explaining.glosses import effect_of_precision

    bundle = gm.load_bundle(name)
    manifest = bundle.manifest
    print_result(f"{manifest.name}: {manifest.title}\n{manifest.record.get('licence', '')}")
    for protocol in manifest.protocols.values():
        default = " (default)" if protocol.default else ""
        print_result(f"protocol  {protocol.name}{default}: {protocol.title or 'its own'}")
        if isinstance(protocol, TextProtocol):
            of_text = protocol.tokeniser
            folding = "lower case, accents stripped, " if of_text.get("lower_case") else ""
            print_result(f"{'':10}{of_text['kind']} tokens, {folding}at most {of_text['max_length']}")
            continue
        print_result(
            f"{'':10}{protocol.resize} to {protocol.size[1]} × {protocol.size[0]}, {_crop(protocol)}rounding "
            f"{protocol.rounding}, pixels × {_factor(protocol.scale)} + {_factor(protocol.offset)}, "
            f"alpha {protocol.alpha}, EXIF rotation {protocol.orientation}"
            f"{f', scores published as {protocol.published}' if protocol.published else ''}"
        )
        for key, settings in protocol.metrics.items():
            print_result(f"{'':10}{key}: {', '.join(f'{setting} {value}' for setting, value in settings.items())}")
    sizes = {output.name: output.shape[-1] for output in manifest.outputs}
    for role, output in manifest.taps.items():
        print_result(f"tap       {role}: {sizes[output]} values")
    for row in (manifest.record.get("agreement") or {}).get("precisions", ()):
        print_result(f"precision {effect_of_precision(row)}")
    for source in manifest.weights.get("sources", ()):
        part = f", part {source['part']}" if "part" in source else ""
        size = f"{source['bytes']:,} bytes" if source.get("bytes") else "size unknown"
        print_result(
            f"weights   {source['name']}{part}: {size}, sha256 {source.get('sha256') or 'unknown'}\n"
            f"{'':10}{source.get('licence', '')}"
        )
        for url in source["urls"]:
            print_result(f"{'':10}{url}")
    print_result(f"here      {'no: the weights have to be fetched' if bundle.is_weight_free else bundle.path}")


def _crop(protocol: Protocol) -> str:
    return "" if protocol.crop == "none" else f"crop {protocol.crop}, "


def _factor(value: Factor) -> str:
    return f"({', '.join(f'{channel:g}' for channel in value)})" if isinstance(value, tuple) else f"{value:g}"


@bundles_app.command("fetch")
@say_errors
def bundles_fetch(
    name: Annotated[str, typer.Argument(help="A bundle whose weights do not ship, for instance inception-fid.")],
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", help="The publisher's file, if you have it already: no download. Repeatable."),
    ] = None,
    mirror: Annotated[
        list[str] | None, typer.Option("--mirror", help="Another address of the same file, tried first. Repeatable.")
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Take --weights of any hash, under --name; every report says so.")
    ] = False,
    own_name: Annotated[str | None, typer.Option("--name", help="The name for unverified weights.")] = None,
    quiet: Quiet = False,
) -> None:
    """Download a publisher's weights, check their sha256, and assemble the bundle without torch.

    \b
    genmetrics bundles fetch inception-fid                        95 MB, once
    genmetrics bundles fetch inception-fid --weights FILE         on a machine without a network
    """
    with progress(quiet) as callback:
        bundle = gm.fetch_bundle(
            name, weights=weights or None, mirrors=mirror or (), unverified=unverified, name=own_name, progress=callback
        )
    messages.print(f"{bundle.name} is ready: {_how_to_use(bundle)}", markup=False)
    if bundle.manifest.label:
        messages.print(bundle.manifest.label, style="yellow", markup=False)


def _how_to_use(bundle: gm.Bundle) -> str:
    if bundle.kind == "distance":
        net = next(net for net, name in gm.list_distances().items() if name == bundle.name)
        return f"genmetrics perceptual A B --net {net}"
    return f"genmetrics evaluate OUT REAL --extractor {bundle.name}"


@bundles_app.command("remove")
@say_errors
def bundles_remove(name: Annotated[str, typer.Argument(help="A bundle that was assembled here.")]) -> None:
    """Delete the assembled weights of a bundle from the cache."""
    from genmetrics_rt.assembly import remove

    messages.print(f"removed {remove(name, gm.load_bundle(name))}", markup=False)


@bundles_app.command("path")
@say_errors
def bundles_path(name: Annotated[str, typer.Argument(help="Name or folder of a bundle.")]) -> None:
    """The folder of a bundle, for other programs that want to load its graph."""
    print_result(f"{gm.load_bundle(name).path}")


@bundles_app.command("export")
@say_errors
def bundles_export(
    name: Annotated[str, typer.Argument(help="Name or folder of a bundle.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model repository: a folder, made if need be.")],
    layout: Annotated[str, typer.Option("--layout", help="triton or kserve.")] = "triton",
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Images that the server puts into one call.")] = (
        32
    ),
    storage_uri: Annotated[
        str | None, typer.Option("--storage-uri", help="For kserve: where you will put the folder, s3://… or pvc://….")
    ] = None,
) -> None:
    """Write a frozen graph as a model repository that a server loads, and check what was written.

    \b
    genmetrics bundles export inception-fid --layout triton -o models/
    tritonserver --model-repository models/
    """
    from genmetrics_rt.serving_layouts import write_serving_layout

    done = write_serving_layout(
        gm.load_bundle(name), output, layout=layout, max_batch=max_batch, storage_uri=storage_uri
    )
    batched = f"up to {done.max_batch_size} images a call" if done.max_batch_size else "calls are not batched"
    print_result(f"{done.folder / done.model}")
    messages.print(f"{done.model}: opened by onnxruntime, fits its configuration; {batched}.", markup=False)
    for deviation in done.deviations:
        messages.print(f"self-test {deviation.output}: {deviation.relative:.1e} relative", markup=False)


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
        if bundle.is_weight_free:
            print_result(f"{bundle.name:<{width}}  hashes hold; its weights are not here, so it was not run")
            continue
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
