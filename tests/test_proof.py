"""Heavy evidence, behind `make proof`: a million images, 5,000 against 50,000, a soak of a service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import genmetrics_rt as gm
from tests import makers

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[1]

# Resident memory in MB after each tenth of the work, in a process of its own.
MEMORY = """
import json, resource
from pathlib import Path

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
"""

MILLION = (
    MEMORY
    + """
import sys
import genmetrics_rt as gm
levels = {}
def watch(state):
    levels[10 * state.done // state.total] = resident()
reference = gm.make_reference(sys.argv[1], extractor=sys.argv[2], num_images=1_000_000, batch_size=128, progress=watch)
statistics = reference.features.statistics()
assert statistics.num_images == 1_000_000 and len(reference.features.values) == 50_000
print(json.dumps([levels, float(statistics.mean.sum()), float(statistics.covariance.trace())]))
"""
)

SOAK = (
    MEMORY
    + """
import sys, time, threading
import numpy as np
import genmetrics_rt as gm
from tests import makers
images = makers.pictures(64, size=32)
evaluation = gm.Evaluation(makers.pictures(200, seed=1), extractor=sys.argv[1], metrics="fd,coverage", threads=1)
end, levels, failures = time.monotonic() + 90, [], []
def serve():
    try:
        while time.monotonic() < end:
            evaluation.update(images)
    except Exception as error:
        failures.append(repr(error))
threads = [threading.Thread(target=serve) for _ in range(8)]
for thread in threads: thread.start()
while time.monotonic() < end:
    time.sleep(9)
    levels.append((evaluation.num_images, resident()))
for thread in threads: thread.join()
report = evaluation.compute()
print(json.dumps([levels, failures, report.generated.num_images, evaluation.num_images]))
"""
)


def process(code: str, *arguments: object) -> list:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=1500
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_million_images_stream_in_flat_memory(tiny: Path, tmp_path: Path) -> None:
    generator = makers.make_generator(tmp_path / "generator", size=32)
    levels, mean, trace = process(MILLION, generator, tiny)
    print("MB after each tenth:", {int(tenth): round(level) for tenth, level in levels.items()})
    # After a tenth (100,000 images) the 50,000 kept rows are there; from then on nothing grows.
    assert levels["10"] - levels["1"] < 30
    few = gm.make_reference(generator, extractor=tiny, num_images=20_000).features.statistics()
    assert mean == pytest.approx(few.mean.sum(), abs=0.1) and trace == pytest.approx(few.covariance.trace(), rel=0.05)


def test_a_service_runs_without_growing(tiny: Path) -> None:
    levels, failures, reported, seen = process(SOAK, tiny)
    print("(images, MB):", levels)
    assert not failures and reported == seen
    settled = [level for count, level in levels if count > 70_000]  # the kept rows are complete
    assert len(settled) >= 3 and settled[-1] - settled[0] < 40


def test_five_thousand_against_fifty_thousand() -> None:
    """The shape of published comparisons. Rows that are checked by hand are redone in float64, one by one."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((48, 2048)) / 7
    generated, reference = (
        np.maximum((rng.standard_normal((n, 48)) + shift) @ mixing + 0.3 * rng.standard_normal((n, 2048)), 0).astype(
            np.float32
        )
        for n, shift in ((5_000, 0.1), (50_000, 0.0))
    )
    manifold = gm.Manifold(generated, reference, nearest_k=5)
    inside = manifold.generated_inside(3, border_counts=True)
    for row in range(0, 50_000, 2_500):
        differences = reference.astype(np.float64) - reference[row]
        squared = np.sort(np.einsum("ij,ij->i", differences, differences))
        np.testing.assert_array_equal(manifold.reference_radii[row], np.sqrt(squared[1:6]))
    for row in range(0, 5_000, 250):
        differences = reference.astype(np.float64) - generated[row]
        distance = np.sqrt(np.einsum("ij,ij->i", differences, differences))
        assert inside[row] == (distance <= manifold.reference_radii[:, 2]).any()
        assert manifold.generated_nearest_distance[row] == distance.min()
