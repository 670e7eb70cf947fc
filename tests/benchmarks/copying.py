"""`find` on features: time and memory beside the matrix products that it cannot do without.

    python -m tests.benchmarks.copying [GENERATED TRAIN DIMENSION]        (default 5,000 50,000 2,048)

The products: generated and held-out (1,000) images with the training set, and the training images that turn out to be
nearest with the training set, in float32.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from genmetrics_rt.copying.finding import find
from genmetrics_rt.distances import spans
from genmetrics_rt.provenance import peak_memory

HELD_OUT = 1_000


def rows(count: int, dimension: int, seed: int) -> np.ndarray:
    """Features of 64 effective dimensions with some noise, as those of a network are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(64, dimension)).astype(np.float32)
    values = rng.standard_normal((count, 64), np.float32) @ mixing
    for start in range(0, count, 5_000):
        part = values[start : start + 5_000]
        part += rng.standard_normal(part.shape, np.float32)
    return values


def products(sides: list[np.ndarray], train: np.ndarray) -> float:
    """Seconds of the matrix products alone, in the tiles of the search."""
    start = time.perf_counter()
    for side in sides:
        for some, others in spans(len(side), len(train)):
            side[some] @ train[others].T
    return time.perf_counter() - start


def main(num_generated: int, num_train: int, dimension: int) -> None:
    generated, train, heldout = (
        rows(n, dimension, seed) for seed, n in enumerate((num_generated, num_train, HELD_OUT), 1)
    )
    for name, calibration in (("held-out", heldout), ("set aside", None)):
        start = time.perf_counter()
        found = find(generated, train, calibration)
        seconds = time.perf_counter() - start
        sides = [generated, train[np.unique(found.generated.nearest)], train[np.unique(found.fresh.nearest)]]
        if calibration is None:  # once more against what is left, and the images that were set aside
            sides += [generated, train[np.unique(found.measured.nearest)], train[: len(found.fresh.ratio)]]
        else:
            sides.append(heldout)
        alone = products(sides, train)
        peak = (peak_memory() or 0) / 2**30
        print(
            f"{name}: {seconds:.1f} s, products alone {alone:.1f} s ({seconds / alone:.2f} times), "
            f"at most {peak:.2f} GiB, p = {found.test.p_value:.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:] or (5_000, 50_000, 2_048)))
