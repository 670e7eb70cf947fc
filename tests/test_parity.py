"""The same arrays through us and through the tools of the field: prdc, torch-fidelity, torchmetrics, scipy, sklearn.

All on features, so that no network is opened and no weights are fetched. A peer on float64 features must agree to
1e-6 relative (most do to 1e-12); where a peer works in float32, KID within 1e-7 absolute and counts within 1 in 1,000.
Two conventions are converted here, once and in plain sight: prdc compares by ``<``, and torchmetrics' standard
deviation of the Inception Score divides by n − 1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
from numpy.typing import NDArray

import genmetrics_rt as gm
from genmetrics_rt.clustering import kmeans
from tests.golden import L, T, X, Y

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of old packages, about each other
    prdc = pytest.importorskip("prdc")
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch_fidelity")
    pytest.importorskip("torchmetrics")
    threadpoolctl = pytest.importorskip("threadpoolctl")  # scikit-learn needs it
    sklearn_cluster = pytest.importorskip("sklearn.cluster")
    sklearn_neighbors = pytest.importorskip("sklearn.neighbors")
    sklearn_pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

pytestmark = pytest.mark.parity

Array = NDArray[np.floating]


@pytest.fixture(autouse=True)
def quiet_peers() -> Iterator[None]:
    """Their warnings are not ours, and their global state is given back as it was.

    One thread: on small arrays the peers' threads would mostly wait for each other."""
    one_thread = threadpoolctl.threadpool_limits(limits=1)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), one_thread:
        warnings.simplefilter("ignore")
        yield


def normal(seed: int, n: int, m: int, d: int) -> tuple[Array, Array]:
    """Generated and reference features of unlike centre and spread, correlated among each other."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((d, d)) / np.sqrt(d)
    return rng.standard_normal((n, d)) @ mixing * 1.2 + 0.15, rng.standard_normal((m, d)) @ mixing


def like_inception(seed: int, n: int, m: int, d: int) -> tuple[Array, Array]:
    """Non-negative, skewed features with a spectrum that falls over four decades, as pool features have."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.standard_normal((d, d)))
    spread = np.logspace(0, -2, d)
    generated, reference = (np.abs((rng.standard_normal((rows, d)) * spread) @ directions) for rows in (n, m))
    return generated * 1.05, reference


def lattice(seed: int, n: int, m: int, d: int) -> tuple[Array, Array]:
    """Small integers: full of ties and duplicates, and exact in every tool's arithmetic."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (n, d)).astype(float), rng.integers(0, 4, (m, d)).astype(float)


SETS: dict[str, tuple[Array, Array]] = {
    "golden": (Y, X),
    "golden, same distribution": (T, X),
    "8 dimensions": normal(0, 300, 300, 8),
    "64 dimensions": normal(1, 600, 600, 64),
    "unequal sizes": normal(2, 200, 700, 24),
    "one dimension": normal(3, 150, 130, 1),
    "like Inception": like_inception(4, 900, 800, 96),
    "160 dimensions": normal(5, 400, 350, 160),
}


class Features(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Stands in for the network of torchmetrics: its images are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Any) -> Any:
        return features


def tensor(array: Array) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array))


# Fréchet distance


def fd_torch_fidelity(generated: Array, reference: Array) -> float:
    sides = [metric_fid.fid_features_to_statistics(tensor(side)) for side in (generated, reference)]
    for side in sides:
        side["sigma"] = np.atleast_2d(side["sigma"])  # np.cov of one dimension is a scalar, which it refuses
    return float(metric_fid.fid_statistics_to_metric(*sides, verbose=False)[metric_fid.KEY_METRIC_FID])


def fd_torchmetrics(generated: Array, reference: Array) -> float:
    metric = FrechetInceptionDistance(feature=Features(generated.shape[1]))
    for start in range(0, max(len(generated), len(reference)), 64):  # its way: batch by batch
        for side, real in ((generated, False), (reference, True)):
            if start < len(side):
                metric.update(tensor(side[start : start + 64]), real=real)
    return float(metric.compute())


def fd_pytorch_fid(generated: Array, reference: Array) -> float:
    """TTUR's formula as pytorch-fid has it, without ``disp``, which scipy 1.18 removed: scipy's sqrtm of S1 S2."""
    (m1, s1), (m2, s2) = (
        (side.mean(axis=0), np.atleast_2d(np.cov(side, rowvar=False))) for side in (generated, reference)
    )
    root = scipy.linalg.sqrtm(s1 @ s2)
    assert np.abs(np.diagonal(root).imag).max() < 1e-3
    return float((m1 - m2) @ (m1 - m2) + np.trace(s1) + np.trace(s2) - 2 * np.trace(root.real))


def fd_stylegan(generated: Array, reference: Array) -> float:
    """StyleGAN2 and 3: raw moments divided by N, scipy's sqrtm of S2 S1."""
    (m1, s1), (m2, s2) = (
        (side.mean(axis=0), side.T @ side / len(side) - np.outer(side.mean(axis=0), side.mean(axis=0)))
        for side in (generated, reference)
    )
    root = scipy.linalg.sqrtm(s2 @ s1)
    return float(np.square(m1 - m2).sum() + np.trace(s1 + s2 - 2 * root.real))


FD_PEERS: dict[str, tuple[Callable[[Array, Array], float], int]] = {  # the peer, its ddof
    "torch-fidelity": (fd_torch_fidelity, 1),
    "torchmetrics": (fd_torchmetrics, 1),
    "pytorch-fid's formula": (fd_pytorch_fid, 1),
    "StyleGAN's formula": (fd_stylegan, 0),
}


@pytest.mark.parametrize("peer", FD_PEERS)
@pytest.mark.parametrize("features", SETS)
def test_frechet_distance(features: str, peer: str) -> None:
    generated, reference = SETS[features]
    theirs, ddof = FD_PEERS[peer]
    assert gm.frechet_distance(generated, reference, ddof=ddof) == pytest.approx(theirs(generated, reference), rel=1e-6)


@pytest.mark.parametrize("peer", ["torch-fidelity", "torchmetrics"])
@pytest.mark.parametrize(("n", "m", "d"), [(60, 60, 100), (40, 300, 128), (300, 90, 200)])
def test_frechet_distance_of_fewer_images_than_dimensions(n: int, m: int, d: int, peer: str) -> None:
    """Their eigenvalues of S1 S2 leave about 1e-6 here; relative to the traces that is still agreement."""
    generated, reference = normal(n, n, m, d)
    traces = np.cov(generated.T).trace() + np.cov(reference.T).trace()
    theirs = FD_PEERS[peer][0](generated, reference)
    assert abs(gm.frechet_distance(generated, reference) - theirs) < 1e-6 * traces


def test_frechet_distance_of_float32_features() -> None:
    """torch-fidelity takes the mean of float32 features in float32: agreement to 1e-5."""
    generated, reference = (side.astype(np.float32) for side in SETS["like Inception"])
    assert gm.frechet_distance(generated, reference) == pytest.approx(fd_torch_fidelity(generated, reference), rel=1e-5)


# Kernel distance


def kid_torch_fidelity(generated: Array, reference: Array, subsets: int, size: int, seed: int) -> tuple[float, float]:
    result = metric_kid.kid_features_to_metric(
        tensor(generated), tensor(reference), kid_subsets=subsets, kid_subset_size=size, rng_seed=seed, verbose=False
    )
    return result[metric_kid.KEY_METRIC_KID_MEAN], result[metric_kid.KEY_METRIC_KID_STD]


@pytest.mark.parametrize("seed", [2020, 7])
@pytest.mark.parametrize("features", SETS)
def test_kernel_distance_with_the_same_seed(features: str, seed: int) -> None:
    """torch-fidelity, with its own draws: the same subsets from the same seed, so the same mean and deviation."""
    generated, reference = SETS[features]
    size = min(len(generated), len(reference)) // 2
    for subsets in (2, 25):  # both of our routes
        mean, std = kid_torch_fidelity(generated, reference, subsets, size, seed)
        ours = gm.kernel_distance(generated, reference, num_subsets=subsets, subset_size=size, seed=seed)
        assert ours.mean == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert ours.std == pytest.approx(std, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("features", ["8 dimensions", "64 dimensions", "like Inception", "golden, same distribution"])
def test_kernel_distance_of_float32_features(features: str) -> None:
    """Given float32, torch-fidelity computes in float32."""
    generated, reference = (side.astype(np.float32) * np.float32(0.3) for side in SETS[features])
    mean, std = kid_torch_fidelity(generated, reference, 30, 100, 2020)
    ours = gm.kernel_distance(generated, reference, num_subsets=30, subset_size=100)
    assert ours.mean == pytest.approx(mean, abs=1e-7)
    assert ours.std == pytest.approx(std, abs=1e-7)


@pytest.mark.parametrize("features", SETS)
def test_kernel_distance_in_one_block(features: str) -> None:
    """torchmetrics draws unseeded; over all rows its order does not matter."""
    generated, reference = (side[:130] for side in SETS[features])
    metric = KernelInceptionDistance(feature=Features(generated.shape[1]), subsets=3, subset_size=130)
    metric.update(tensor(generated), real=False)
    metric.update(tensor(reference), real=True)
    mean, std = metric.compute()
    ours = gm.kernel_distance(generated, reference, num_subsets=3, subset_size=130)
    assert ours.mean == pytest.approx(float(mean), rel=1e-9)
    assert abs(float(std)) < 1e-9 and ours.std < 1e-9


@pytest.mark.parametrize("features", ["golden", "64 dimensions", "unequal sizes"])
def test_kernel_distance_subset_by_subset(features: str) -> None:
    """torchmetrics' poly_mmd on the rows that we draw, and scikit-learn's kernel, which the original code calls."""
    generated, reference = SETS[features]
    ours = gm.kernel_distance(generated, reference, num_subsets=12, subset_size=80, seed=5).subsets
    stream = np.random.RandomState(5)
    for value in ours:
        g = generated[stream.choice(len(generated), 80, replace=False)]
        r = reference[stream.choice(len(reference), 80, replace=False)]
        assert value == pytest.approx(float(poly_mmd(tensor(r), tensor(g))), rel=1e-9, abs=1e-12)
        within_g, within_r, across = (
            sklearn_pairwise.polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((g, g), (r, r), (g, r))
        )
        sums = within_g.sum() - np.trace(within_g) + within_r.sum() - np.trace(within_r)
        assert value == pytest.approx(sums / (80 * 79) - 2 * across.mean(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("degree", "gamma", "coef0"), [(2, None, 1.0), (3, 0.01, 0.5), (4, 0.1, 2.0)])
def test_kernel_distance_with_another_kernel(degree: int, gamma: float | None, coef0: float) -> None:
    settings = {"kid_kernel_poly_degree": degree, "kid_kernel_poly_gamma": gamma, "kid_kernel_poly_coef0": coef0}
    theirs = metric_kid.kid_features_to_metric(
        tensor(Y), tensor(X), kid_subsets=5, kid_subset_size=200, rng_seed=1, verbose=False, **settings
    )
    ours = gm.kernel_distance(Y, X, num_subsets=5, subset_size=200, seed=1, degree=degree, gamma=gamma, coef0=coef0)
    assert ours.mean == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-9)


# Inception Score

LOGITS: dict[str, Array] = {
    "golden": L,
    "1008 classes": np.random.default_rng(0).standard_normal((700, 1008)) * 4,
    "two classes": np.random.default_rng(1).standard_normal((333, 2)) * 3,
    "nearly certain": np.random.default_rng(2).standard_normal((240, 30)) * 60,
}


@pytest.mark.parametrize("splits", [1, 7, 10])
@pytest.mark.parametrize("logits", LOGITS)
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_inception_score_with_the_same_seed(logits: str, splits: int, shuffle: bool) -> None:
    """torch-fidelity computes in float64 too."""
    for seed in (2020, 3):
        theirs = metric_isc.isc_features_to_metric(tensor(LOGITS[logits]), splits, shuffle, seed)
        ours = gm.inception_score(LOGITS[logits], splits=splits, shuffle=shuffle, seed=seed)
        assert ours.mean == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_MEAN], rel=1e-12)
        assert ours.std == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_STD], rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("logits", ["golden", "1008 classes", "nearly certain"])
def test_inception_score_of_torchmetrics(logits: str) -> None:
    """It shuffles by torch's global state, which is seeded here so that we can give our rows in its order."""
    values = LOGITS[logits]
    torch.manual_seed(11)
    order = torch.randperm(len(values)).numpy()
    torch.manual_seed(11)
    metric = InceptionScore(feature=Features(values.shape[1]), splits=10)
    metric.update(tensor(values))
    mean, std = metric.compute()
    ours = gm.inception_score(values[order], splits=10, shuffle=False)
    assert ours.mean == pytest.approx(float(mean), rel=1e-9)
    assert np.std(ours.splits, ddof=1) == pytest.approx(float(std), rel=1e-9)


def test_inception_score_by_entropies() -> None:
    """dgm-eval's way: the mean of scipy's relative entropies."""
    for values in LOGITS.values():
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        conditional = shifted / shifted.sum(axis=1, keepdims=True)
        marginal = conditional.mean(axis=0)
        score = math.exp(np.mean([scipy.stats.entropy(row, marginal) for row in conditional]))
        assert gm.inception_score(values, splits=1).mean == pytest.approx(score, rel=1e-11)


# Neighbours


def ours_prdc(generated: Array, reference: Array, k: int, *, border_counts: bool) -> dict[str, float]:
    options: dict[str, Any] = {"nearest_k": k, "border_counts": border_counts}
    pr, dc = gm.precision_recall(generated, reference, **options), gm.density_coverage(generated, reference, **options)
    return {"precision": pr.precision, "recall": pr.recall, "density": dc.density, "coverage": dc.coverage}


NEIGHBOURS = SETS | {
    "lattice in 2 dimensions": lattice(0, 180, 200, 2),
    "lattice in 6 dimensions": lattice(1, 250, 240, 6),
    "copies of the reference": (np.repeat(X[:90], 2, axis=0), X),
    "identical sets": (X, X),
    "far apart": (X[:100] + 1e3, X),
}


@pytest.mark.parametrize("k", [1, 3, 5, 10])
@pytest.mark.parametrize("features", NEIGHBOURS)
def test_precision_recall_density_coverage(features: str, k: int) -> None:
    """prdc: strictly inside, float64, every count the same, ties and duplicates included."""
    generated, reference = NEIGHBOURS[features]
    theirs = prdc.compute_prdc(reference, generated, nearest_k=k)
    ours = ours_prdc(generated, reference, k, border_counts=False)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), rel=1e-12), name


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize(
    "features", ["8 dimensions", "64 dimensions", "unequal sizes", "like Inception", "160 dimensions"]
)
def test_precision_recall_density_coverage_of_float32_features(features: str, k: int) -> None:
    """prdc keeps float32 distances of float32 features; ours are exact. At most 1 decision in 1,000 differs."""
    generated, reference = (side.astype(np.float32) for side in NEIGHBOURS[features])
    theirs = prdc.compute_prdc(reference, generated, nearest_k=k)
    ours = ours_prdc(generated, reference, k, border_counts=False)
    for name, value in theirs.items():
        assert abs(ours[name] - float(value)) <= 1e-3 * max(1, float(value)) + 1e-12, name


def prc_torch_fidelity(
    generated: Array, reference: Array, k: int, *, save_cpu_ram: bool = False
) -> tuple[float, float]:
    result = metric_prc.prc_features_to_metric(
        tensor(generated),
        tensor(reference),
        prc_neighborhood=k,
        prc_batch_size=123,
        save_cpu_ram=save_cpu_ram,
        verbose=False,
    )
    # 0.4.0 says it: input 1 is the generated side. Precision and recall were swapped in 0.4.0-beta.
    return result[metric_prc.KEY_METRIC_PRECISION], result[metric_prc.KEY_METRIC_RECALL]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("features", NEIGHBOURS)
def test_precision_and_recall_with_the_border(features: str, k: int) -> None:
    """torch-fidelity: ``<=``, float64 features; its shares are float32 means, hence 1e-6."""
    generated, reference = NEIGHBOURS[features]
    ours = gm.precision_recall(generated, reference, nearest_k=k)
    for save_cpu_ram in (False, True) if features == "golden" else (False,):  # its two routes
        theirs = prc_torch_fidelity(generated, reference, k, save_cpu_ram=save_cpu_ram)
        assert (ours.precision, ours.recall) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("features", ["64 dimensions", "like Inception", "160 dimensions"])
def test_precision_and_recall_of_float32_features(features: str) -> None:
    generated, reference = (side.astype(np.float32) for side in NEIGHBOURS[features])
    ours = gm.precision_recall(generated, reference, nearest_k=3)
    theirs = prc_torch_fidelity(generated, reference, 3)
    assert (ours.precision, ours.recall) == pytest.approx(theirs, abs=1.001e-3)


@pytest.mark.parametrize("features", [name for name in NEIGHBOURS if name != "far apart"])
def test_neighbours_of_trees(features: str) -> None:
    """scipy's k-d tree and scikit-learn's search: radii and nearest distances, not only the counts made of them."""
    generated, reference = NEIGHBOURS[features]
    manifold = gm.Manifold(generated, reference, nearest_k=5)
    for rows, radii in ((generated, manifold.generated_radii), (reference, manifold.reference_radii)):
        distances, _ = sklearn_neighbors.NearestNeighbors(n_neighbors=5, algorithm="ball_tree").fit(rows).kneighbors()
        np.testing.assert_allclose(radii, distances, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gm.load_kernels().knn_radii(rows, 4), distances[:, 3], rtol=1e-12, atol=1e-12)
    nearest, _ = scipy.spatial.cKDTree(reference).query(generated)
    np.testing.assert_allclose(manifold.generated_nearest_distance, nearest, rtol=1e-12, atol=1e-12)
    nearest, _ = scipy.spatial.cKDTree(generated).query(reference)
    np.testing.assert_allclose(manifold.reference_nearest_distance, nearest, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("features", ["golden", "64 dimensions", "unequal sizes", "like Inception"])
def test_realism(features: str, k: int) -> None:
    """dgm-eval's formula on the radii and distances of prdc: unsquared, radii strictly below the median."""
    generated, reference = NEIGHBOURS[features]
    radii = prdc.prdc.compute_nearest_neighbour_distances(reference, k)
    distances = prdc.prdc.compute_pairwise_distance(reference, generated)
    kept = radii < np.median(radii)
    theirs = (radii[kept, None] / distances[kept]).max(axis=0)
    np.testing.assert_allclose(gm.realism(generated, reference, nearest_k=k), theirs, rtol=1e-9)


# PRD


def prd_reference_procedure(generated: Array, reference: Array, seed: int = 0) -> tuple[float, float]:
    """The reference implementation's steps with the clustering that it calls; it is unseeded, here it is seeded.

    Union of both sets, MiniBatchKMeans of 20 clusters with 10 starts, histograms, 1001 angles, mean of 10 runs."""
    union = np.concatenate([generated, reference])
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, 1001))
    precisions, recalls = [], []
    for run in range(10):
        labels = (
            sklearn_cluster.MiniBatchKMeans(n_clusters=20, n_init=10, random_state=100 * seed + run).fit(union).labels_
        )
        q, p = (
            np.histogram(part, bins=20, range=(0, 20), density=True)[0]
            for part in (labels[: len(generated)], labels[len(generated) :])
        )
        alpha = np.minimum(p * slopes[:, None], q).sum(axis=1)
        precisions.append(np.clip(alpha, 0, 1))
        recalls.append(np.clip(alpha / slopes, 0, 1))
    precision, recall = np.mean(precisions, axis=0), np.mean(recalls, axis=0)

    def best(beta: float) -> float:
        return float(((1 + beta**2) * precision * recall / (beta**2 * precision + recall + 1e-10)).max())

    return best(8), best(1 / 8)


def modes(generated: int, reference: int, size: int = 500) -> tuple[Array, Array]:
    """Some of ten groups on each side: what PRD is made to see."""
    rng = np.random.default_rng(generated)
    places = rng.standard_normal((10, 16)) * 6
    return tuple(  # type: ignore[return-value]
        places[rng.integers(0, count, size)] + rng.standard_normal((size, 16)) for count in (generated, reference)
    )


PRD_SETS: dict[str, Callable[[], tuple[Array, Array]]] = {
    "golden": lambda: (Y, X),
    "same distribution": lambda: (T, X),
    "64 dimensions": lambda: SETS["64 dimensions"],
    "all modes": lambda: modes(10, 10),
    "half of the modes dropped": lambda: modes(5, 10),
    "half of the modes invented": lambda: modes(10, 5),
}


@pytest.mark.parametrize("features", PRD_SETS)
def test_prd(features: str) -> None:
    """Another clustering, the same curve: F8 and F1/8 within 0.02 of the reference procedure."""
    generated, reference = PRD_SETS[features]()
    ours = gm.prd_curve(generated, reference)
    assert (ours.f8, ours.f1_8) == pytest.approx(prd_reference_procedure(generated, reference), abs=0.02)


def test_our_clusters_are_as_tight_as_those_of_sklearn() -> None:
    """Not the same clusters, whose draws are other ones, but as good: mean inertia within 2 % over eight seeds."""
    union = np.concatenate([Y, X])

    def inertia(labels: NDArray[np.intp]) -> float:
        parts = [union[labels == label] for label in np.unique(labels)]
        return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))

    theirs = np.mean([sklearn_cluster.KMeans(20, n_init=1, random_state=seed).fit(union).inertia_ for seed in range(8)])
    ours = np.mean([inertia(kmeans(union, 20, np.random.default_rng(seed))) for seed in range(8)])
    assert ours == pytest.approx(theirs, rel=0.02)
