"""What is there, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from genmetrics_rt.bundle import list_bundles, load_bundle
from genmetrics_rt.cache import cache_home
from genmetrics_rt.errors import GenmetricsError
from genmetrics_rt.frozen import open_graph
from genmetrics_rt.graph_on_onnxruntime import import_onnxruntime
from genmetrics_rt.selftest import measure
from genmetrics_rt.threads import available_threads


@dataclass(frozen=True)
class Check:
    """One line of the doctor's answer. ``state``: ``"ok"``, ``"missing"`` (optional) or ``"problem"``."""

    name: str
    state: str
    detail: str
    remedy: str = ""


_OPTIONAL = (
    ("torch", "the TorchScript backend", "pip install 'genmetrics-rt[torch]'"),
    ("matplotlib", "plots for papers", "pip install 'genmetrics-rt[plots]'"),
    ("fastapi", "the service parts", "pip install 'genmetrics-rt[serve]'"),
    ("ray", "evaluation on a cluster", "pip install 'genmetrics-rt[ray]'"),
)


def examine() -> Iterator[Check]:
    """Look at everything a run depends on, one `Check` after the other."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", "ok", version)
    for name in ("genmetrics-rt", "numpy", "scipy", "Pillow"):
        yield _installed(name, "pip install --force-reinstall genmetrics-rt")
    yield from _runtime()
    yield Check("threads", "ok", f"{available_threads()} (affinity, cgroup quota and GENMETRICS_THREADS considered)")
    yield _cache()
    yield from _bundles()
    for name, purpose, remedy in _OPTIONAL:
        found = _version(name)
        if found:
            yield Check(name, "ok", f"{found}, for {purpose}")
        else:
            yield Check(name, "missing", f"not installed; only needed for {purpose}", remedy)


def _runtime() -> Iterator[Check]:
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    if cpu and gpu:
        yield Check(
            "onnxruntime",
            "problem",
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed and overwrite each other's files",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'genmetrics-rt[gpu]'",
        )
    try:
        onnxruntime = import_onnxruntime()
    except GenmetricsError:
        yield Check("onnxruntime", "problem", "not installed: no graph can run", "pip install 'genmetrics-rt[cpu]'")
        return
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    yield Check("onnxruntime", "ok", f"{onnxruntime.__version__}, can run on: {providers}")
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    yield Check(
        "telemetry",
        "ok" if off else "problem",
        "switched off (ORT_DISABLE_TELEMETRY=1)" if off else "ORT_DISABLE_TELEMETRY is set to something else",
        "" if off else "unset ORT_DISABLE_TELEMETRY",
    )


def _cache() -> Check:
    home = cache_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return Check(
            "cache", "problem", f"{home} cannot be written ({error.strerror})", "set GENMETRICS_HOME to another folder"
        )
    blocks = [path.stat().st_size for path in home.glob("features/*/*.block")]
    return Check("cache", "ok", f"{home}: {len(blocks):,} blocks, {sum(blocks) / 1e6:,.1f} MB of features")


def _bundles() -> Iterator[Check]:
    for name in list_bundles():
        try:
            bundle = load_bundle(name)
            bundle.verify()
            if bundle.is_weight_free:
                remedy = f"genmetrics bundles fetch {name}"
                size = f" ({bundle.size_to_fetch})" if bundle.size_to_fetch else ""
                detail = f"its weights{size} are not on this machine; only needed by those who name it"
                yield Check(f"bundle {name}", "missing", detail, remedy)
                continue
            deviations = measure(bundle, open_graph(bundle, device="cpu"))
        except GenmetricsError as error:
            yield Check(f"bundle {name}", "problem", str(error), "pip install --force-reinstall genmetrics-rt")
            continue
        worst = max((deviation.relative for deviation in deviations), default=0.0)
        state = "ok" if all(deviation.holds for deviation in deviations) else "problem"
        remedy = "" if state == "ok" else "report this machine: its onnxruntime computes other numbers"
        yield Check(f"bundle {name}", state, f"hashes hold; differs from the workshop by {worst:.1e} relative", remedy)


def _installed(name: str, remedy: str) -> Check:
    found = _version(name)
    return Check(name, "ok", found) if found else Check(name, "problem", "not installed", remedy)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
