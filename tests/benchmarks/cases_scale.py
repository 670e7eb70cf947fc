"""Sides of 10^3 to 10^5 images in parts: what shard and merge cost beside the network.

The network is one matrix product (192 × 2048), so that what remains is ours: reading, statistics, states on disk.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

import genmetrics_rt as gm
from genmetrics_rt.scale.leaves import Moments, MomentTree
from genmetrics_rt.statistics import StatisticsAccumulator
from tests import makers
from tests.benchmarks.material import shared
from tests.benchmarks.measuring import Case

DIMENSION = 2_048


def _side(count: int) -> tuple[Path, Path]:
    extractor, path = shared() / "scale-extractor", shared() / f"scale-{count}.npy"
    if not extractor.exists():
        makers.make_extractor(extractor, dimension=DIMENSION)
    if not path.exists():
        np.save(path, np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))
    return path, extractor


def _part(count: int, index: int = 0, of: int = 1) -> Path:
    side, extractor = _side(count)
    path = shared() / f"scale-{count}-{index}-{of}.npz"
    gm.make_shard(side, path, index=index, of=of, extractor=extractor, cache=False, batch_size=128)
    return path


def _shard(count: int) -> Case:
    _, extractor = _side(count)
    gm.FeatureExtractor(extractor)  # onnxruntime is loaded before the timing
    (shared() / f"scale-{count}-0-1.npz").unlink(missing_ok=True)
    return Case(partial(_part, count), images=count)


def scale_shard_1000() -> Case:
    return _shard(1_000)


def scale_shard_10000() -> Case:
    return _shard(10_000)


def scale_shard_100000() -> Case:
    return _shard(100_000)


def scale_merge_1_of_100000() -> Case:
    return Case(partial(gm.merge_shards, [_part(100_000)]), repetitions=3)


def scale_merge_8_of_100000() -> Case:
    return Case(partial(gm.merge_shards, [_part(100_000, index, 8) for index in range(8)]), repetitions=3)


def scale_state() -> Case:
    """One state of D = 2048 read back from its triangle and joined to another: what a merger costs per leaf."""
    accumulator = StatisticsAccumulator()
    accumulator.update(np.random.default_rng(0).standard_normal((4_096, DIMENSION)).astype(np.float32))
    moments = Moments.of(accumulator)

    def join() -> None:
        tree = MomentTree()
        tree.add(moments, (0, 0))
        tree.add(moments, (0, 1))

    return Case(join, repetitions=5)


def scale_report() -> Case:
    """The report of two merged sides, without intervals."""
    whole = gm.merge_shards([_part(100_000)])
    return Case(partial(gm.evaluate, whole, whole, metrics="fd", intervals=False), repetitions=3)
