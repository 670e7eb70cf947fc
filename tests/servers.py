"""The page in a process of its own, as `make demo` and a Space start it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0  # seconds until it listens


@contextmanager
def serving(python: str | Path, app: Path, home: Path, **variables: str) -> Iterator[str]:
    """The address of a server, which ends with the block. ``home`` is where it runs and keeps everything."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
        "GRADIO_SERVER_PORT": str(port),
        "GENMETRICS_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        **variables,
    }
    home.mkdir(exist_ok=True)
    with (home / "log").open("wb") as log:
        command = [python, "-W", "ignore", app]
        server = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, f"the server ended: {(home / 'log').read_text()[-3000:]}"
                assert time.monotonic() < end, f"the server does not listen: {(home / 'log').read_text()[-3000:]}"
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)
