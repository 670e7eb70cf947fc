"""Run every case in a process of its own and print one Markdown table.

    python -m tests.benchmarks                 all groups
    python -m tests.benchmarks trace neighbours

Each case is timed inside its process, after imports and after the arrays were made; the best of its repetitions
counts. Peak memory is that of the process minus what it held before the case began; of a command or script that a case
starts it is all that the process and its descendants hold together. Ratios compare within this run.

Two groups need pytorch-fid and clean-fid; a row whose package is not installed says so. GENMETRICS_BENCH_IMAGES=50
shrinks the folders of the jobs from 1,000 images, for a try.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from tests.benchmarks.cases_network import BATCH
from tests.benchmarks.material import FOLDER, IMAGES
from tests.benchmarks.measuring import CORES, ROOT


@dataclass(frozen=True)
class Row:
    case: str  # a function of one of the tests.benchmarks.cases_…
    label: str
    versus: str | None = None  # the case this one is compared with
    limit: str | None = None  # the case that says what is attainable


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
        f"Built-in extractor, {CORES} threads, without decoding",
        [Row("extractor", "scattering, 1,024 images")],
    ),
    "network": (
        f"FID Inception, {BATCH} prepared images of 299 × 299, {CORES} threads",
        [
            Row("network_limit", "sgemm-derived limit of its convolutions"),
            Row("network_torch_fidelity", "torch-fidelity, eager", limit="network_limit"),
            Row("network_pytorch_fid", "pytorch-fid, eager", "network_torch_fidelity", "network_limit"),
            Row("network_onnx", "genmetrics-rt, onnxruntime", "network_torch_fidelity", "network_limit"),
            Row("network_torchscript", "genmetrics-rt, TorchScript", "network_torch_fidelity", "network_limit"),
        ],
    ),
    "weights": (
        "Weights of the FID network, from a file that is here; first image of a new process",
        [
            Row("weights_assemble", "genmetrics bundles fetch inception-fid --weights FILE, the whole command"),
            Row("first_image_torch_fidelity", "torch-fidelity: import, load, first image"),
            Row("first_image_ours", "genmetrics-rt, the same, batch_size 1", "first_image_torch_fidelity"),
            Row("first_image_ours_batch", "genmetrics-rt, the same, batch_size 8", "first_image_torch_fidelity"),
        ],
    ),
    "job": (
        "The whole command, from files, new process, empty cache",
        [
            Row("job_cached_reference", f"{IMAGES:,} JPEGs of 300 px against a saved reference"),
            Row("job_two_folders", f"two folders of {IMAGES:,} JPEGs of 300 px"),
            Row("job_scores_alone", "the same, scores alone (--no-intervals)"),
        ],
    ),
    "fid_job": (
        f"FID of two folders of {IMAGES:,} JPEGs of 300 px, from one command or script, new process, empty cache",
        [
            Row("job_fid_torch_fidelity", "torch-fidelity"),
            Row("job_fid_pytorch_fid", "pytorch-fid", "job_fid_torch_fidelity"),
            Row("job_fid_clean_fid", "clean-fid (legacy_pytorch)", "job_fid_torch_fidelity"),
            Row("job_fid_ours", "genmetrics-rt", "job_fid_torch_fidelity"),
            Row("job_three_torch_fidelity", "torch-fidelity, FID + IS + KID"),
            Row("job_three_ours", "genmetrics-rt, FID + IS + KID", "job_three_torch_fidelity"),
        ],
    ),
    "scale": (
        "Sides in parts, d = 2048, the network replaced by one matrix product",
        [
            Row("scale_shard_1000", "genmetrics shard, 1,000 images"),
            Row("scale_shard_10000", "genmetrics shard, 10,000 images"),
            Row("scale_shard_100000", "genmetrics shard, 100,000 images"),
            Row("scale_merge_1_of_100000", "genmetrics merge, one part of 100,000 images"),
            Row("scale_merge_8_of_100000", "genmetrics merge, 8 parts of them"),
            Row("scale_state", "two states (16.8 MB each) joined"),
            Row("scale_report", "Fréchet distance of two merged sides"),
        ],
    ),
    "monitor": (
        "Monitor of a service, 200 images/s of 256 × 256 offered for three minutes, worker at one thread",
        [Row("monitor_observe", "what QualityMonitor.observe adds to a request")],
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
    print(f"{platform.machine()}, {CORES} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory(prefix="genmetrics-bench-") as folder:
        for name in names or list(GROUPS):
            print_table(*GROUPS[name], folder)


def print_table(title: str, rows: list[Row], folder: str) -> None:
    print(f"| {title} | seconds | peak MB | ratio | |\n| --- | ---: | ---: | ---: | --- |", flush=True)
    seconds: dict[str, float] = {}
    for row in rows:
        found = measure(row.case, folder)
        if "missing" in found:
            print(f"| {row.label} | | | | {found['missing']} is not installed |", flush=True)
            continue
        seconds[row.case] = own = found["seconds"]
        memory = "" if found["megabytes"] is None else f"{found['megabytes']:.0f}"
        ratio = f"{seconds[row.versus] / own:.1f} ×" if row.versus in seconds else ""
        share = f", {seconds[row.limit] / own:.0%} of the limit" if row.limit in seconds else ""
        print(f"| {row.label} | {own:.3g} | {memory} | {ratio} | {found['note']}{share} |", flush=True)
    print(flush=True)


def measure(case: str, folder: str) -> dict:
    """Run one case in a new process: ``{"seconds", "megabytes", "note"}``, or ``{"missing"}``: a package."""
    code = f"from tests.benchmarks import measuring; measuring.run({case!r})"
    environment = {**os.environ, FOLDER: folder}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{case} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(sys.argv[1:])
