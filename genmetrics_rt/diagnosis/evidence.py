"""What a diagnosis looks at, and what it measures there: once, for all rules that ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from genmetrics_rt.arrays import FloatArray
from genmetrics_rt.calibration.floor import Floor
from genmetrics_rt.clustering import kmeans, tightest_kmeans
from genmetrics_rt.diagnosis.text_traits import TextTraits
from genmetrics_rt.diagnosis.traits import MIN_TRAITS, Traits, alike_in_size
from genmetrics_rt.distances import IntArray, PointSet, first_equal, squared_radii
from genmetrics_rt.likelihood.files import Likelihoods
from genmetrics_rt.manifold import Manifold
from genmetrics_rt.metrics.density_coverage import expected_coverage
from genmetrics_rt.metrics.metric import Comparison
from genmetrics_rt.metrics.vendi import mean_pairwise_cosine, vendi_score
from genmetrics_rt.render.names import shorten
from genmetrics_rt.report import Score
from genmetrics_rt.sources import ImageSource
from genmetrics_rt.texts import TextSource
from genmetrics_rt.training_log import TrainingLog

MAX_ROWS = 5_000  # a side, for what only a diagnosis measures
MIN_ROWS = 40  # a side, below which nothing is said of clusters or copies
_ROWS_PER_CLUSTER = 10  # of the half of the reference that is clustered
_TEXTS_PER_CLUSTER = 32  # topics are not as well apart as kinds of images: fewer and tighter clusters find more
_MAX_CLUSTERS = 20
_LEVEL = 0.01  # of Holm's test over all clusters
_EXAMPLES = 3  # pictures, or pairs of them, of each kind
_NEAR = 0.5  # of the distance between neighbours in the reference: so near lies a copy


class Picture(NamedTuple):
    """An image that shows what a finding means, by its position in its source."""

    side: str  # "generated" | "reference"
    position: int


@dataclass(frozen=True)
class LostCluster:
    """A cluster of reference images that got too few generated ones."""

    reference_share: float
    generated_share: float
    p_value: float
    examples: tuple[Picture, ...]  # of the reference


@dataclass(frozen=True)
class InventedCluster:
    """A cluster of generated images that lie outside what the reference looks like."""

    rows: IntArray
    share: float
    share_inside: float
    examples: tuple[Picture, ...]


@dataclass(frozen=True)
class Copying:
    """How many generated images lie so near a reference image that they look like copies of it.

    Near is half of the distance from that reference image to its own neighbour. ``expected`` is the share among
    held-out halves of the reference, ``examples`` pairs of a generated and a reference image.
    """

    share: float
    expected: float
    num_images: int
    examples: tuple[tuple[Picture, Picture], ...]


@dataclass(frozen=True)
class Repeats:
    """How many generated images are nearly, not exactly, another generated one.

    Near is half of the distance that separates the nearest reference image from its own neighbour. ``expected`` is the
    share among held-out halves of the reference, ``examples`` pairs of generated images.
    """

    share: float
    expected: float
    num_images: int
    examples: tuple[tuple[Picture, Picture], ...]


@dataclass(frozen=True)
class Evidence:
    """All that is known of one evaluation. What is None is unknown, and no rule speaks about it."""

    comparison: Comparison | None
    scores: Mapping[str, Score]
    floors: Mapping[str, Floor] | None = None
    generated_traits: Traits | None = None
    reference_traits: Traits | None = None
    generated_texts: TextTraits | None = None
    reference_texts: TextTraits | None = None
    of_texts: bool = False  # whether the sides consist of texts
    training_log: TrainingLog | None = None
    likelihoods: Likelihoods | None = None
    generated_source: ImageSource | TextSource | None = None
    reference_source: ImageSource | TextSource | None = None

    def source(self, picture: Picture) -> ImageSource | TextSource | None:
        """Where the picture can be read again, if anywhere."""
        return self.generated_source if picture.side == "generated" else self.reference_source

    def name(self, picture: Picture) -> str:
        """The file name of a picture, or its position where there are no files."""
        source = self.source(picture)
        return f"image {picture.position}" if source is None else shorten(source.entry_name(picture.position), 60)

    def value(self, *keys: str) -> float | None:
        """The first of these scores that has a value."""
        found = (self.scores[key].value for key in keys if key in self.scores)
        return next((value for value in found if value is not None), None)

    def floor(self, key: str) -> Floor | None:
        """What a perfect model scores, where that is known."""
        floor = (self.floors or {}).get(key)
        if floor is not None and floor.value is not None:
            return floor
        if self.comparison is None or key not in ("density", "coverage"):
            return None
        # These two have a perfect value in closed form. Three binomial deviations stand for the scatter.
        generated, reference = len(self.comparison.generated.values), len(self.comparison.reference.values)
        nearest_k = int(self.comparison.settings["density"]["nearest_k"])
        if min(generated, reference) <= nearest_k:
            return None
        if key == "density":
            return Floor(key, 1.0, max(0.0, 1 - 4 / generated**0.5), 1 + 4 / generated**0.5, generated, reference)
        value = expected_coverage(reference, generated, nearest_k)
        scatter = 3 * (value * (1 - value) / min(generated, reference)) ** 0.5
        return Floor(key, value, max(0.0, value - scatter), min(1.0, value + scatter), generated, reference)

    def below_floor(self, key: str, share: float) -> bool:
        """Whether a score lies below what a perfect model may get, and below this share of what it gets."""
        value, floor = self.value(key), self.floor(key)
        if value is None or floor is None or floor.value is None or floor.low is None:
            return False
        return value < floor.low and value < share * floor.value

    @property
    def has_rows(self) -> bool:
        """Whether both sides have the features of enough single images."""
        sides = (self.comparison.generated, self.comparison.reference) if self.comparison else ()
        return bool(sides) and all(len(side.values) >= MIN_ROWS for side in sides)

    @cached_property
    def manifold(self) -> Manifold | None:
        """Neighbours, where scores have needed them or few rows make them cheap."""
        if not self.has_rows:
            return None
        assert self.comparison is not None
        rows = max(len(self.comparison.generated.values), len(self.comparison.reference.values))
        known = any(key in self.scores for key in ("precision", "recall", "density", "coverage"))
        return self.comparison.manifold if known or rows <= MAX_ROWS else None

    # Variety

    @cached_property
    def vendi(self) -> tuple[float, float] | None:
        """Vendi scores of equally many generated and reference images, or None."""
        return self._of_equal_rows(vendi_score)

    @cached_property
    def vendi_within(self) -> tuple[float, float] | None:
        """The same about each side's own mean: how different the images are among themselves, wherever they lie."""
        return self._of_equal_rows(lambda rows: vendi_score(rows - rows.mean(axis=0)))

    @cached_property
    def cosine(self) -> tuple[float, float] | None:
        """Mean cosine of two images of each side, or None."""
        return self._of_equal_rows(mean_pairwise_cosine)

    def _of_equal_rows(self, measure: Any) -> tuple[float, float] | None:
        if not self.has_rows:
            return None
        assert self.comparison is not None
        in_g, in_r = self.comparison.equal_rows(MAX_ROWS)
        # About the mean of the reference: raw features are all positive, so all look alike.
        centre = self.comparison.reference.values.mean(axis=0, dtype=np.float64)
        sides = [side.values[rows] - centre for side, rows in zip(self.comparison._sides, (in_g, in_r), strict=True)]
        sides = [rows[np.any(rows != 0, axis=1)] for rows in sides]  # a row without length has no direction
        return (measure(sides[0]), measure(sides[1])) if min(map(len, sides)) > 1 else None

    @cached_property
    def lost_clusters(self) -> tuple[LostCluster, ...]:
        """Clusters of the reference with significantly too few generated images, the most lost first.

        Half of the reference is clustered, the other half and the generated images are counted, so that neither has
        shaped the clusters. Given the n images of both in a cluster, those generated are Binomial(n, M/(M + N)) if
        the sides are alike; Holm's procedure (1979) holds the chance of any false alarm at 1 %.
        """
        if not self.has_rows:
            return ()
        from scipy.special import (
            bdtr,
        )  # the binomial cdf, without the third of a second that scipy.stats takes to import

        assert self.comparison is not None
        reference, generated = self.comparison.reference, self.comparison.generated
        rng = np.random.default_rng(self.comparison.seed)
        dealt = rng.permutation(len(reference.values))[: 2 * MAX_ROWS]
        shaping, counted = dealt[: len(dealt) // 2], dealt[len(dealt) // 2 :]
        per_cluster = _TEXTS_PER_CLUSTER if self.of_texts else _ROWS_PER_CLUSTER
        count = min(_MAX_CLUSTERS, max(2, len(shaping) // per_cluster))
        rows = reference.values[shaping].astype(np.float64)
        if self.of_texts:
            labels = tightest_kmeans(rows, count, self.comparison.seed)
        else:
            labels = kmeans(rows, count, rng)
        centres = np.stack([rows[labels == label].mean(axis=0) for label in np.unique(labels)])
        of_reference = _nearest_centre(reference.values[counted], centres)
        of_generated = _nearest_centre(generated.values, centres)
        in_r, in_g = (np.bincount(own, minlength=len(centres)) for own in (of_reference, of_generated))
        share = len(of_generated) / (len(of_generated) + len(of_reference))
        p_values = bdtr(in_g, in_g + in_r, share)  # P(X ≤ in_g), X ~ Binomial(in_g + in_r, share)
        lost = []
        order = np.argsort(p_values, kind="stable")
        for rank, cluster in enumerate(order.tolist()):
            if p_values[cluster] > _LEVEL / (len(centres) - rank):
                break
            of_r, of_g = in_r[cluster] / len(of_reference), in_g[cluster] / len(of_generated)
            if of_g < 0.5 * of_r:
                members = counted[of_reference == cluster][:_EXAMPLES]
                examples = tuple(Picture("reference", int(position)) for position in reference.index[members])
                lost.append(LostCluster(float(of_r), float(of_g), float(p_values[cluster]), examples))
        return tuple(lost)

    # Fidelity

    @cached_property
    def inside(self) -> Any:
        """(M,) whether each generated image looks like some reference image (the terms of precision), or None."""
        if self.manifold is None or self.comparison is None:
            return None
        settings = self.comparison.settings["precision"]
        nearest_k = min(int(settings["nearest_k"]), self.manifold.nearest_k)
        return self.manifold.generated_inside(nearest_k, border_counts=settings["border_counts"])

    @cached_property
    def invented_clusters(self) -> tuple[InventedCluster, ...]:
        """Clusters of generated images of which hardly one looks like the reference, while most others do."""
        if self.inside is None or self.comparison is None or len(self.inside) > 2 * MAX_ROWS:
            return ()
        generated = self.comparison.generated
        rng = np.random.default_rng(self.comparison.seed)
        count = min(_MAX_CLUSTERS, max(2, len(self.inside) // (2 * _ROWS_PER_CLUSTER)))
        labels = kmeans(generated.values, count, rng)
        found = []
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            share_inside = float(self.inside[rows].mean())
            if len(rows) >= max(8, 0.02 * len(labels)) and share_inside <= 0.2:
                outside = rows[~self.inside[rows]]
                examples = tuple(
                    Picture("generated", int(position)) for position in generated.index[outside[:_EXAMPLES]]
                )
                found.append(InventedCluster(rows, len(rows) / len(labels), share_inside, examples))
        if not found:
            return ()
        others = np.ones(len(labels), bool)
        others[np.concatenate([cluster.rows for cluster in found])] = False
        usual = self.floor("precision")
        needed = 0.85 * (usual.value if usual and usual.value is not None else 0.9)
        if others.mean() < 0.3 or self.inside[others].mean() < needed:
            return ()  # not a mode, but all of them: a matter of fidelity
        return tuple(sorted(found, key=lambda cluster: -cluster.share))

    @cached_property
    def least_realistic(self) -> tuple[Picture, ...]:
        """The five generated images furthest from what the reference looks like."""
        if self.manifold is None or self.manifold.realism is None or self.comparison is None:
            return ()
        worst = np.argsort(self.manifold.realism, kind="stable")[:5]
        return tuple(Picture("generated", int(position)) for position in self.comparison.generated.index[worst])

    @cached_property
    def sharpness(self) -> float | None:
        """High frequencies of the generated images over those of the reference, by their medians.

        None where it is unknown, or where the sizes differ: resizing alone moves it.
        """
        pair = self._high_frequencies
        middle = float(np.median(pair[1])) if pair else 0.0
        return float(np.median(pair[0])) / middle if pair and middle > 0 else None

    @cached_property
    def soft_and_grainy(self) -> tuple[float, float]:
        """Shares of generated images with fewer and with more high frequencies than 39 of 40 reference images."""
        pair = self._high_frequencies
        if pair is None:
            return 0.0, 0.0
        low, high = np.quantile(pair[1], [0.025, 0.975])
        return float((pair[0] < low).mean()), float((pair[0] > high).mean())

    @property
    def _high_frequencies(self) -> tuple[FloatArray, FloatArray] | None:
        g, r = self.generated_traits, self.reference_traits
        if g is None or r is None or min(g.num_images, r.num_images) < MIN_TRAITS or not alike_in_size(g, r):
            return None
        return g.high_frequency, r.high_frequency

    # Copies

    @cached_property
    def copying(self) -> Copying | None:
        """How many generated images look like copies of a reference image, against what is usual."""
        if self.manifold is None or self.comparison is None:
            return None
        near = _is_copy(self.manifold)
        halves = self._halves
        generated, reference = self.comparison.generated.index, self.comparison.reference.index
        examples = tuple(
            (
                Picture("generated", int(generated[row])),
                Picture("reference", int(reference[self.manifold.generated_nearest[row]])),
            )
            for row in np.flatnonzero(near)[:_EXAMPLES].tolist()
        )
        return Copying(float(near.mean()), float(_is_copy(halves).mean()), len(near), examples)

    @cached_property
    def repeats(self) -> Repeats | None:
        """How many generated images are nearly another one, against what is usual."""
        if self.manifold is None or self.comparison is None:
            return None
        # Neighbours get nearer the more images there are, so no more generated than reference images are looked at.
        generated = self.comparison.generated
        rows, radii = np.arange(len(generated.values)), self.manifold.generated_radii[:, 0]
        if len(rows) > len(self.comparison.reference.values):
            rows, _ = self.comparison.equal_rows(MAX_ROWS)
            points = PointSet(generated.values[rows])
            radii = np.sqrt(squared_radii(points, 1)[points.inverse, 0])
        near = _is_repeat(radii, self.manifold.reference_radii[self.manifold.generated_nearest[rows], 0])
        halves = self._halves
        usual = _is_repeat(halves.generated_radii[:, 0], halves.reference_radii[halves.generated_nearest, 0])
        examples = self._pairs_of_repeats(rows[near][:_EXAMPLES])
        return Repeats(float(near.mean()), float(usual.mean()), len(rows), examples)

    def _pairs_of_repeats(self, rows: IntArray) -> tuple[tuple[Picture, Picture], ...]:
        """Each of these generated images beside the generated one that is nearest to it, but not the same."""
        assert self.comparison is not None
        values, index = self.comparison.generated.values, self.comparison.generated.index
        pairs = []
        for row in rows.tolist():
            difference = values - values[row]
            squared = np.einsum("ij,ij->i", difference, difference)
            squared[squared == 0] = np.inf
            pairs.append((Picture("generated", int(index[row])), Picture("generated", int(index[squared.argmin()]))))
        return tuple(pairs)

    @cached_property
    def _halves(self) -> Manifold:
        """Two halves of the reference: what a perfect model looks like to it."""
        assert self.comparison is not None
        reference = self.comparison.reference.values
        dealt = np.random.default_rng(self.comparison.seed).permutation(len(reference))[: 2 * MAX_ROWS]
        return Manifold(reference[dealt[::2]], reference[dealt[1::2]], nearest_k=1)

    @cached_property
    def twins(self) -> tuple[int, int]:
        """Images of the generated and of the reference side that equal an earlier one of their side."""
        if self.comparison is None:
            return (0, 0)
        sides = self.comparison.generated.values, self.comparison.reference.values
        of_g, of_r = (int((first_equal(rows) != np.arange(len(rows))).sum()) if len(rows) else 0 for rows in sides)
        return of_g, of_r

    @cached_property
    def spread(self) -> float | None:
        """The trace of the reference's covariance: the scale that a Fréchet distance is large or small on."""
        if self.comparison is None:
            return None
        return float(np.trace(self.comparison.reference.statistics().covariance))


def _nearest_centre(values: Any, centres: FloatArray) -> IntArray:
    """(N,) the nearest of the centres (K, D) to each row of (N, D)."""
    middle = centres.mean(axis=0)
    centred = centres - middle
    squares = np.einsum("ij,ij->i", centred, centred)
    nearest = np.empty(len(values), np.intp)
    for start in range(0, len(values), MAX_ROWS):
        rows = values[start : start + MAX_ROWS].astype(np.float64) - middle
        nearest[start : start + MAX_ROWS] = (squares - 2 * rows @ centred.T).argmin(axis=1)
    return nearest


def _is_repeat(radii: FloatArray, usual: FloatArray) -> Any:
    """Whether rows have another row near, but none that equals them."""
    return (radii > 0) & (radii < _NEAR * usual)


def _is_copy(manifold: Manifold) -> Any:
    usual = manifold.reference_radii[manifold.generated_nearest, 0]
    return manifold.generated_nearest_distance < _NEAR * usual
