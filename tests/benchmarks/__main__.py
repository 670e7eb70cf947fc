"""Run every case in a process of its own and print one Markdown table.

    python -m tests.benchmarks                 all groups
    python -m tests.benchmarks trace neighbours

Each case is timed inside its process, after imports and after the arrays were made; the best of its repetitions
counts. Peak memory is that of the process minus what it held before the case began. Ratios compare within this run.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    case: str  # a function of tests.benchmarks.cases
    label: str
    versus: str | None = None  # the case this one is compared with


GROUPS: dict[str, tuple[str, list[Row]]] = {
    "trace": (
        "Trace of the matrix square root, d = 2048, full rank, float64",
        [
            Row("trace_scipy_sqrtm", "scipy.linalg.sqrtm (pytorch-fid, clean-fid)"),
            Row("trace_eigvals", "numpy eigvals of the product (torch-fidelity, torchmetrics)", "trace_scipy_sqrtm"),
            Row("trace_ours", "genmetrics-rt", "trace_scipy_sqrtm"),
            Row("trace_onnx", "genmetrics-rt, frozen ONNX kernel", "trace_scipy_sqrtm"),
            Row("trace_torchscript", "genmetrics-rt, frozen TorchScript kernel", "trace_scipy_sqrtm"),
        ],
    ),
    "frechet": (
        "Whole Fréchet distance from features, d = 2048 (compared with sqrtm alone)",
        [
            Row("trace_scipy_sqrtm", "scipy.linalg.sqrtm alone"),
            Row("frechet_5000", "genmetrics-rt, 5,000 features a side", "trace_scipy_sqrtm"),
            Row("sqrtm_1000", "scipy.linalg.sqrtm alone, covariances of 1,000 features"),
            Row("frechet_1000", "genmetrics-rt, 1,000 features a side", "sqrtm_1000"),
        ],
    ),
    "neighbours": (
        "Precision, recall, density, coverage, 5,000 × 2048 a side",
        [
            Row("prdc_peer", "prdc.compute_prdc (k = 5)"),
            Row("prdc_ours", "genmetrics-rt (both: k = 3 and k = 5)", "prdc_peer"),
            Row("prdc_products", "its matrix products alone (float32, symmetric halves)"),
        ],
    ),
    "kernel": (
        "KID, 100 subsets of 1,000, 5,000 × 2048 a side",
        [Row("kid_torch_fidelity", "torch-fidelity"), Row("kid_ours", "genmetrics-rt (float64)", "kid_torch_fidelity")],
    ),
    "prd": (
        "PRD curve, 10 clusterings, 5,000 × 256 a side",
        [
            Row("prd_published", "the published procedure (scikit-learn MiniBatchKMeans)"),
            Row("prd_ours", "genmetrics-rt", "prd_published"),
        ],
    ),
    "extractor": (
        "Built-in extractor, 2 threads, without decoding",
        [Row("extractor", "scattering, 1,024 images")],
    ),
    "job": (
        "The whole command, from files, new process, empty cache",
        [
            Row("job_cached_reference", "1,000 JPEGs of 300 px against a saved reference"),
            Row("job_two_folders", "two folders of 1,000 JPEGs of 300 px"),
        ],
    ),
    "start": (
        "Import and install",
        [
            Row("import_torch_fidelity", "import torch_fidelity"),
            Row("import_torchmetrics", "import torchmetrics.image.fid"),
            Row("import_ours", "import genmetrics_rt", "import_torch_fidelity"),
            Row("install_ours", "pip install genmetrics-rt[cpu] into a new environment"),
        ],
    ),
}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        sys.exit(f"unknown group {unknown[0]!r}; there are: {', '.join(GROUPS)}")
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}\n")
    for name in names or list(GROUPS):
        title, rows = GROUPS[name]
        print(f"| {title} | seconds | peak MB | ratio | |\n| --- | ---: | ---: | ---: | --- |", flush=True)
        seconds: dict[str, float] = {}
        for row in rows:
            result = measure(row.case)
            seconds[row.case] = result["seconds"]
            ratio = f"{seconds[row.versus] / result['seconds']:.1f} ×" if row.versus else ""
            note = result.get("note", "")
            print(
                f"| {row.label} | {result['seconds']:.3g} | {result['megabytes']:.0f} | {ratio} | {note} |", flush=True
            )
        print(flush=True)


def measure(case: str) -> dict:
    """Run one case in a new process: ``{"seconds", "megabytes", "note"}``."""
    code = f"from tests.benchmarks import cases; cases.run({case!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{case} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(sys.argv[1:])
