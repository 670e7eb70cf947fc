"""Heavy evidence, behind `make proof`: 100,000 images in parts, killed on the way, in flat memory."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from tests import makers
from tests.test_datasets import write_tar
from tests.test_shards import content

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[1]
COUNT, TARS = 100_000, 10

PART = """
import json, resource, sys
from pathlib import Path
import genmetrics_rt as gm

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

side, path, index, of, extractor = sys.argv[1:]
levels = {}
def watch(state):
    levels[10 * state.done // state.total] = resident()
done = gm.make_shard(side, path, index=int(index), of=int(of), extractor=extractor, cache=False, batch_size=128,
                     threads=1, progress=watch)
levels[11] = resident()
print(json.dumps([levels, done.num_images, done.resumed, done.computed]))
"""


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PART, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def finish(process: subprocess.Popen[str]) -> list:
    output, _ = process.communicate(timeout=1500)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def test_a_hundred_thousand_images_in_parts(tmp_path: Path) -> None:
    extractor = makers.make_extractor(tmp_path / "tiny", dimension=256)
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "set").mkdir()
    for tar in range(TARS):
        members = {}
        for row in range(tar * COUNT // TARS, (tar + 1) * COUNT // TARS):
            buffer = io.BytesIO()
            Image.fromarray(pixels[row]).save(buffer, "PNG")
            members[f"{row:06}.png"] = buffer.getvalue()
        write_tar(tmp_path / "set" / f"{tar:02}.tar", members)
    side = tmp_path / "set"

    levels, counted, _, _ = finish(start(side, tmp_path / "whole.npz", 0, 1, extractor))
    print("MB after each tenth, and at the end:", {int(tenth): round(level) for tenth, level in levels.items()})
    assert counted == COUNT
    assert levels["10"] - levels["1"] < 30

    parts = [tmp_path / f"part_{index}.npz" for index in range(4)]
    for index, path in enumerate(parts):
        process = start(side, path, index, 4, extractor)
        if index == 1:
            leaves = path.with_name(path.name + ".leaves")
            while len(list(leaves.glob("0*.npz"))) < 20:
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            finished = len(list(leaves.glob("0*.npz")))
            assert not path.exists() and 20 <= finished < 49
            process = start(side, path, index, 4, extractor)
            _, _, resumed, computed = finish(process)
            assert resumed == finished and computed < COUNT // 4 - 19 * 512
        else:
            finish(process)

    merged, whole = gm.merge_shards(parts), gm.merge_shards([tmp_path / "whole.npz"])
    assert content(merged) == content(whole)
    assert merged.summary.num_images == COUNT and len(merged.features.index) == 50_000
    alone = gm.make_reference(pixels, extractor=extractor, cache=False, batch_size=128)
    assert np.array_equal(merged.features.index, alone.features.index)
    assert np.array_equal(merged.features.values, alone.features.values)
    one, other = merged.features.statistics(), alone.features.statistics()
    assert np.abs(one.covariance - other.covariance).max() <= 1e-12 * np.abs(other.covariance).max()
    assert np.abs(one.mean - other.mean).max() <= 1e-12 * np.abs(other.mean).max()
