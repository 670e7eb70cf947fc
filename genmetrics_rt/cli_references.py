"""`genmetrics references …`: the reference statistics that others publish, and how to get them."""

from __future__ import annotations

from typing import Annotated

import typer

from genmetrics_rt.options import Quiet, say_errors
from genmetrics_rt.public_references import fetch_reference, is_fetched, list_references, recorded_hash
from genmetrics_rt.terminal import messages, print_result, progress

references_app = typer.Typer(help="Reference statistics that others publish, to score against without their images.")


@references_app.command("list")
@say_errors
def references_list() -> None:
    """Name, protocol, number of images and publisher of every public reference, and whether it is here."""
    entries = list_references()
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        count = "images not counted" if entry.num_images is None else f"{entry.num_images:,} images"
        state = "here" if is_fetched(entry.name) else "-"
        print_result(f"{entry.name:<{width}}  {state:<4}  {entry.protocol:<11}  {count:<18}  {entry.publisher}")


@references_app.command("fetch")
@say_errors
def references_fetch(
    name: Annotated[str, typer.Argument(help="A name of `genmetrics references list`.")],
    quiet: Quiet = False,
) -> None:
    """Download a public reference, once.

    \b
    genmetrics references fetch cifar10-train-32-clean
    genmetrics evaluate out/ cifar10-train-32-clean
    """
    is_published = any(entry.name == name and entry.sha256 for entry in list_references())
    with progress(quiet) as callback:
        path = fetch_reference(name, progress=callback)
    print_result(f"{path}")
    if not quiet and not is_published:
        messages.print(f"Its publisher gives no hash. Recorded for later: sha256 {recorded_hash(name)}", markup=False)
