"""From reports on one generator to what is found in each of the six properties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genmetrics_rt.errors import InputError
from genmetrics_rt.latent.disentanglement import Disentanglement
from genmetrics_rt.latent.report import LatentReport
from genmetrics_rt.likelihood.report import LikelihoodReport
from genmetrics_rt.metrics.two_sample import accuracy_uncertainty
from genmetrics_rt.render.numbers import counted, number, share
from genmetrics_rt.report import GeneratorSummary, Report, Score
from genmetrics_rt.scorecard.card import Found, Measure

# By which models are ranked, where the features have it; the others stand beside it.
QUALITY = ("precision", "density", "prd_f1_8", "kid", "fid", "fd", "is", "class_score")
COVERAGE = ("recall", "coverage", "prd_f8")
_SPEED = 1.0  # speeds move by a factor of two with whatever else the machine does


def sampling(generator: GeneratorSummary, network_calls: int | None) -> Found:
    """Images a second, and the size of the network."""
    batch = f"in batches of {generator.batch_size} on {generator.device}"
    measures = [
        Measure(
            "images_per_second",
            "speed",
            generator.images_per_second,
            "images/s",
            True,
            note=batch,
            leading=True,
            resolution=_SPEED,
        ),
        Measure("megabytes", "size", generator.size_bytes / 1e6, "MB"),
    ]
    if generator.num_parameters is not None:
        measures.append(Measure("num_parameters", "parameters", float(generator.num_parameters)))
    if network_calls is not None:
        measures.append(Measure("network_calls", "runs of its network for an image", float(network_calls)))
    return Found(tuple(measures))


def quality(report: Report) -> Found:
    """Whether what it makes belongs to the reference."""
    return _of_scores(report, QUALITY)


def coverage(report: Report) -> Found:
    """Whether it reaches all of the reference."""
    return _of_scores(report, COVERAGE)


def _of_scores(report: Report, keys: Sequence[str]) -> Found:
    scores = [report.scores[key] for key in keys if key in report.scores]
    valued = [score for score in scores if score.value is not None]
    if not valued:
        reasons = [score.reason for score in scores if score.reason]
        return Found(why_not=reasons[0] if reasons else f"None of {', '.join(keys)} is among its scores.")
    return Found(tuple(_measure(score, leading=score is valued[0]) for score in valued))


def _measure(score: Score, *, leading: bool) -> Measure:
    assert score.value is not None
    floor = f"a perfect model gets about {number(score.floor.value)}" if score.floor else ""
    return Measure(
        score.key, score.key, score.value, "", score.higher_is_better, score.interval, floor, leading=leading
    )


def latent_space(report: LatentReport) -> Found:
    """The perceptual path length, and whether pictures jump on the way."""
    path, smooth = report.path_length, report.smoothness
    jumping, paths = smooth.num_jumping, smooth.num_paths
    low, high = accuracy_uncertainty(jumping, paths).interval
    measures = (
        Measure(
            "jumping_paths",
            "paths with a jump",
            100 * jumping / paths,
            "%",
            False,
            (100 * low if jumping else 0.0, 100 * high if jumping < paths else 100.0),  # else rounding shows
            f"{jumping} of {counted(paths, 'path')} between unrelated pictures",
            leading=True,
        ),
        Measure("path_length", "path length", path.value, "", False, path.interval, f"by the {report.distance.title}"),
    )
    return Found(measures, notes=(*path.notes, *(finding.claim for finding in report.findings)))


def disentangled(found: Disentanglement | None, kind: str) -> Found:
    """How well the difference of two pictures tells which factor made it."""
    if found is None:
        return Found(why_not="It has a latent of one dimension, so there is nothing to tell apart.")
    chance = f"chance is {share(found.chance)}, of {counted(len(found.factors), 'factor')}: {kind}"
    return Found(
        (
            Measure(
                "variation_predictability",
                "variation predictability",
                found.score,
                higher_is_better=True,
                interval=found.interval,
                note=chance,
                leading=True,
                scale=f"{len(found.factors)} factors",
            ),
        )
    )


def likelihood(report: LikelihoodReport) -> Found:
    """Bits per dimension of the reference, whether that is exact or a bound, and what it costs."""
    (entry,) = report.entries
    test = entry.test
    kind = f"an upper bound, from {entry.num_weights} importance samples" if entry.is_bound else "exact"
    measures = []
    if test.bits_per_dim is not None:
        measures.append(
            Measure("bits_per_dim", "bits/dim", test.bits_per_dim, "", False, test.bits_interval, kind, leading=True)
        )
    measures.append(
        Measure("nll", "NLL", test.nll, "nats", False, test.interval, f"{counted(test.num_images, 'image')}",
                leading=not measures)
    )  # fmt: skip
    if entry.gap is not None:
        measures.append(Measure("gap", "training images likelier by", entry.gap.gap, "nats", False, entry.gap.interval))
    if entry.seconds_per_image is not None:
        measures.append(Measure("seconds_per_image", "cost", 1e3 * entry.seconds_per_image, "ms an image", False))
    notes = [f"Of {entry.images}."]
    if entry.train is None:
        notes.append("Whether it was trained on them is not known; if it was, they are likelier than new ones.")
    return Found(tuple(measures), notes=(*notes, *(finding.claim for finding in report.findings)))


def not_ranked(found: Found) -> Found:
    """The scores of a model that copies: they are those of the reference, and say nothing of the model."""
    return replace(found, notes=(*found.notes, "Not ranked: it copies the reference."), is_ranked=False)


def failed(error: InputError) -> Found:
    """A property that could not be measured: the reason in the words of the error."""
    return Found(why_not=str(error))
