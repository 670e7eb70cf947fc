"""What ran: versions of the libraries in use and the peak memory of this process."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from genmetrics_rt.version import __version__


def library_versions() -> dict[str, str]:
    """Name → version of what is loaded and may move a number by rounding. Loads nothing itself."""
    versions = {"genmetrics-rt": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for name, module in (
        ("numpy", "numpy"),
        ("scipy", "scipy"),
        ("Pillow", "PIL"),
        ("onnxruntime", "onnxruntime"),
        ("torch", "torch"),
    ):
        if module in sys.modules and hasattr(sys.modules[module], "__version__"):
            versions[name] = str(sys.modules[module].__version__)
    return versions


def peak_memory() -> int | None:
    """Peak resident memory of this process in bytes, where the platform tells."""
    try:  # Linux. Its ru_maxrss survives fork and exec, so it may be the peak of the program that started this one.
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    if high_water := re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE):
        return int(high_water[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
