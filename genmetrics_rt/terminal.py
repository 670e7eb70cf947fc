"""What the command says and where it puts it: results, messages, progress, files. Nothing here knows a metric."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from genmetrics_rt.cache import write_atomically
from genmetrics_rt.errors import InputError
from genmetrics_rt.progress import Progress as State
from genmetrics_rt.progress import ProgressCallback

messages = Console(stderr=True, highlight=False, soft_wrap=True)


def print_result(text: str) -> None:
    """To standard output, and at once: what cannot be written there is said while the command still runs."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except OSError as error:
        drop_stdout()
        if isinstance(error, BrokenPipeError):  # `| head`: the reader has what it wanted
            raise typer.Exit(141) from None
        raise InputError(unwritable_stdout(error)) from error


def terminal_width() -> int:
    """Columns of the terminal that standard output goes to; 80 where it is none."""
    return Console().width


def unwritable_stdout(error: OSError) -> str:
    return f"Cannot write to standard output: {error.strerror or error}. Send it to a place that takes it."


def drop_stdout() -> None:
    """Let what is still buffered go nowhere; the interpreter would try to write it again at its end."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[ProgressCallback | None]:
    """A bar on standard error with images/s and time left; plain lines where that is no terminal."""
    if quiet:
        yield None
        return
    if not messages.is_terminal:
        yield _plain_progress
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=messages, transient=True) as bars:
        tasks = {}

        def show(state: State) -> None:
            if state.stage not in tasks:
                tasks[state.stage] = bars.add_task(state.stage, total=state.total, words="")
            bars.update(tasks[state.stage], completed=state.done, words=_words(state))

        yield show


def _plain_progress(state: State) -> None:
    if state.done == state.total:
        messages.print(f"{state.stage}: {_words(state)}", markup=False)


def _words(state: State) -> str:
    if state.unit == "bytes":
        words = f"{state.done / 1e6:,.0f} of {state.total / 1e6:,.0f} MB"
    else:
        words = f"{state.done:,} of {state.total:,} {state.unit}"
    if state.from_cache:
        words += f", {state.from_cache:,} from the cache"
    if state.images_per_second and state.unit == "bytes":
        words += f", {state.images_per_second / 1e6:,.1f} MB/s"
    elif state.images_per_second:
        words += f", {state.images_per_second:,.0f} {state.unit}/s"
    if state.seconds_left and state.done < state.total:
        minutes, seconds = divmod(round(state.seconds_left), 60)
        words += f", {minutes}:{seconds:02d} left"
    return words


def require_own_places(outputs: Mapping[str, str | None], inputs: tuple[str, ...]) -> None:
    """Refuse an output that would replace an input or another output."""
    taken = {os.path.expanduser(side): f"the input {side}" for side in inputs if side}
    for option, place in outputs.items():
        if place is None:
            continue
        if place == "":
            raise InputError(f"{option} names an empty path: is a shell variable unset? Name a file.")
        for other, what in taken.items():
            if _are_one_file(place, other):
                raise InputError(f"{option} {place} would overwrite {what}. Name another file.")
        taken[place] = f"the output of {option}"


def _are_one_file(one: str, other: str) -> bool:
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)  # also where a file system takes A.npz and a.npz for one
    return os.path.realpath(one) == os.path.realpath(other)


def why_not_writable(path: Path) -> str | None:
    """Why a file cannot be made there, as far as can be known before trying; missing folders will be made."""
    if os.path.isdir(path):  # False, not an error, where looking is not permitted
        return "it is a folder"
    folder = next(parent for parent in path.absolute().parents if os.path.exists(parent))
    if not os.path.isdir(folder):
        return f"{folder} is no folder"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write in {folder}"


def give(text: Callable[..., str], writers: Mapping[str, Callable[[], str]], outputs: Mapping[str, str | None]) -> None:
    """The answer to standard output, or the form whose place is ``-``; then the files, even if nobody reads it.

    ``text`` takes the ``width`` of the terminal; ``writers`` and ``outputs`` go by option: ``--json`` → how, where.
    """
    printed = [option for option, place in outputs.items() if place == "-"]
    try:
        print_result(writers[printed[0]]() if printed else text(width=min(110, terminal_width())))
    finally:
        write_files({place: writers[option]() for option, place in outputs.items() if place not in (None, "-")})


def write_files(texts: Mapping[str, str]) -> None:
    """Write each file whole or not at all, and the others even if one fails. Raises `InputError` for those that did."""
    failed = []
    for place, text in texts.items():
        try:
            write_atomically(Path(place), text.encode())
        except OSError as error:
            failed.append(f"{place}: {error.strerror or error}")
            continue
        messages.print(f"wrote {place}", markup=False)
    if failed:
        raise InputError(f"Cannot write {'; '.join(failed)}. The scores are printed above; name another file.")
