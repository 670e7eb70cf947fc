"""Score a generative model from frozen, hash-checked metric graphs: the same number on every machine, no torch.

    import genmetrics_rt as gm

    report = gm.evaluate("generated/", "reference/")
    print(report.scores["kid"].value)

Everything public is listed in ``__all__`` and loaded when it is first used, so importing costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genmetrics_rt.version import __version__

if TYPE_CHECKING:
    from genmetrics_rt.bundle import Bundle, list_bundles, load_bundle
    from genmetrics_rt.by_class import ByClass, evaluate_by_class
    from genmetrics_rt.copying.finding import find_copies
    from genmetrics_rt.copying.likelihood import fld
    from genmetrics_rt.copying.published import auth_pct, ct_score, mifid
    from genmetrics_rt.copying.report import CopyReport
    from genmetrics_rt.errors import (
        BundleError,
        DamagedBundle,
        DeviceUnavailable,
        EmptySide,
        FeatureMismatch,
        GenmetricsError,
        InputError,
        MissingBundle,
        MissingInput,
        MissingPackage,
        NonFiniteFeatures,
        TooFewImages,
        UnknownMetric,
        UnreadableInput,
    )
    from genmetrics_rt.evaluation import Evaluation, evaluate, extract_features, make_reference
    from genmetrics_rt.explaining.comparing import ReportTable, compare
    from genmetrics_rt.explaining.explanation import Explanation, explain
    from genmetrics_rt.explaining.protocol_table import protocol_matrix
    from genmetrics_rt.extractor import FeatureExtractor
    from genmetrics_rt.features import Features
    from genmetrics_rt.fetch import fetch_bundle
    from genmetrics_rt.generator_files import Generator
    from genmetrics_rt.kernels import Kernels, load_kernels
    from genmetrics_rt.latent.examine import examine_latent_space
    from genmetrics_rt.latent.report import LatentReport
    from genmetrics_rt.likelihood.evaluation import likelihood_of_files, likelihood_of_images
    from genmetrics_rt.likelihood.model import Density
    from genmetrics_rt.likelihood.report import LikelihoodReport
    from genmetrics_rt.likelihood.window import parzen_of_images
    from genmetrics_rt.manifest import Manifest, Protocol
    from genmetrics_rt.manifold import Manifold
    from genmetrics_rt.metrics.adversarial import (
        Calibration,
        DiscriminatorStatistics,
        discriminator_calibration,
        discriminator_statistics,
        gan_losses,
        gradient_penalty,
    )
    from genmetrics_rt.metrics.alpha_precision import alpha_precision
    from genmetrics_rt.metrics.density_coverage import density_coverage, expected_coverage
    from genmetrics_rt.metrics.extrapolation import frechet_infinity, inception_score_infinity
    from genmetrics_rt.metrics.frechet import frechet_distance
    from genmetrics_rt.metrics.importance import importance_bounds
    from genmetrics_rt.metrics.inception_score import inception_score
    from genmetrics_rt.metrics.kernel_distance import kernel_distance
    from genmetrics_rt.metrics.likelihood import (
        bits_per_dim,
        discretised_logistic,
        estimate_likelihood,
        likelihood_gap,
        logit_log_jacobian,
        offset_bits,
    )
    from genmetrics_rt.metrics.mauve import mauve, mauve_from_counts
    from genmetrics_rt.metrics.ms_ssim import ms_ssim, ms_ssim_diversity
    from genmetrics_rt.metrics.parzen import parzen_window
    from genmetrics_rt.metrics.prd import prd_curve, prd_from_histograms
    from genmetrics_rt.metrics.precision_recall import precision_recall, realism
    from genmetrics_rt.metrics.rbf_distance import rbf_distance
    from genmetrics_rt.metrics.two_sample import classifier_two_sample, nearest_neighbour_accuracy
    from genmetrics_rt.metrics.vendi import mean_pairwise_cosine, vendi_from_similarity, vendi_score
    from genmetrics_rt.monitor.alarms import Alarm
    from genmetrics_rt.monitor.quality import QualityMonitor
    from genmetrics_rt.monitor.replicas import merge_replicas
    from genmetrics_rt.paired import Difference, paired_difference
    from genmetrics_rt.pairwise.comparing import perceptual_distance, perceptual_diversity, perceptual_scale
    from genmetrics_rt.pairwise.report import PairReport
    from genmetrics_rt.perceptual import PerceptualDistance, list_distances, open_distance
    from genmetrics_rt.progress import Progress
    from genmetrics_rt.public_references import PublicReference, fetch_reference, list_references
    from genmetrics_rt.reference import Reference, write_statistics
    from genmetrics_rt.report import Curve, Finding, Gallery, Report, Score
    from genmetrics_rt.scale.sharding import Shard, make_shard, merge_shards
    from genmetrics_rt.scorecard.card import Card, Scorecard
    from genmetrics_rt.scorecard.scoring import make_scorecard
    from genmetrics_rt.sides import ExampleImages, example_images
    from genmetrics_rt.statistics import FeatureStatistics
    from genmetrics_rt.statistics_files import StatisticsFile, read_statistics
    from genmetrics_rt.texts import ExampleTexts, TextSource, example_texts, read_texts
    from genmetrics_rt.tracking import Track, track
    from genmetrics_rt.training_log import TrainingLog
    from genmetrics_rt.training_log_files import read_training_log

# Public name → the module that defines it.
_HOMES = {
    "Bundle": "bundle",
    "Manifest": "manifest",
    "Protocol": "manifest",
    "list_bundles": "bundle",
    "load_bundle": "bundle",
    "ByClass": "by_class",
    "evaluate_by_class": "by_class",
    "ReportTable": "explaining.comparing",
    "compare": "explaining.comparing",
    "BundleError": "errors",
    "DamagedBundle": "errors",
    "DeviceUnavailable": "errors",
    "EmptySide": "errors",
    "FeatureMismatch": "errors",
    "GenmetricsError": "errors",
    "InputError": "errors",
    "MissingBundle": "errors",
    "MissingInput": "errors",
    "MissingPackage": "errors",
    "NonFiniteFeatures": "errors",
    "TooFewImages": "errors",
    "UnknownMetric": "errors",
    "UnreadableInput": "errors",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "extract_features": "evaluation",
    "make_reference": "evaluation",
    "Explanation": "explaining.explanation",
    "explain": "explaining.explanation",
    "FeatureExtractor": "extractor",
    "Progress": "progress",
    "Features": "features",
    "fetch_bundle": "fetch",
    "Generator": "generator_files",
    "LatentReport": "latent.report",
    "examine_latent_space": "latent.examine",
    "Kernels": "kernels",
    "load_kernels": "kernels",
    "Manifold": "manifold",
    "Calibration": "metrics.adversarial",
    "discriminator_calibration": "metrics.adversarial",
    "gradient_penalty": "metrics.adversarial",
    "likelihood_of_files": "likelihood.evaluation",
    "likelihood_of_images": "likelihood.evaluation",
    "parzen_of_images": "likelihood.window",
    "Density": "likelihood.model",
    "LikelihoodReport": "likelihood.report",
    "bits_per_dim": "metrics.likelihood",
    "discretised_logistic": "metrics.likelihood",
    "estimate_likelihood": "metrics.likelihood",
    "importance_bounds": "metrics.importance",
    "likelihood_gap": "metrics.likelihood",
    "logit_log_jacobian": "metrics.likelihood",
    "offset_bits": "metrics.likelihood",
    "parzen_window": "metrics.parzen",
    "DiscriminatorStatistics": "metrics.adversarial",
    "discriminator_statistics": "metrics.adversarial",
    "gan_losses": "metrics.adversarial",
    "alpha_precision": "metrics.alpha_precision",
    "frechet_infinity": "metrics.extrapolation",
    "inception_score_infinity": "metrics.extrapolation",
    "Alarm": "monitor.alarms",
    "QualityMonitor": "monitor.quality",
    "merge_replicas": "monitor.replicas",
    "mauve": "metrics.mauve",
    "mauve_from_counts": "metrics.mauve",
    "ms_ssim": "metrics.ms_ssim",
    "ms_ssim_diversity": "metrics.ms_ssim",
    "rbf_distance": "metrics.rbf_distance",
    "classifier_two_sample": "metrics.two_sample",
    "nearest_neighbour_accuracy": "metrics.two_sample",
    "mean_pairwise_cosine": "metrics.vendi",
    "vendi_from_similarity": "metrics.vendi",
    "vendi_score": "metrics.vendi",
    "density_coverage": "metrics.density_coverage",
    "expected_coverage": "metrics.density_coverage",
    "frechet_distance": "metrics.frechet",
    "inception_score": "metrics.inception_score",
    "kernel_distance": "metrics.kernel_distance",
    "prd_curve": "metrics.prd",
    "prd_from_histograms": "metrics.prd",
    "precision_recall": "metrics.precision_recall",
    "realism": "metrics.precision_recall",
    "protocol_matrix": "explaining.protocol_table",
    "find_copies": "copying.finding",
    "auth_pct": "copying.published",
    "ct_score": "copying.published",
    "fld": "copying.likelihood",
    "mifid": "copying.published",
    "CopyReport": "copying.report",
    "Difference": "paired",
    "paired_difference": "paired",
    "perceptual_distance": "pairwise.comparing",
    "perceptual_diversity": "pairwise.comparing",
    "perceptual_scale": "pairwise.comparing",
    "PairReport": "pairwise.report",
    "PerceptualDistance": "perceptual",
    "list_distances": "perceptual",
    "open_distance": "perceptual",
    "PublicReference": "public_references",
    "fetch_reference": "public_references",
    "list_references": "public_references",
    "Reference": "reference",
    "write_statistics": "reference",
    "Curve": "report",
    "Finding": "report",
    "Gallery": "report",
    "Report": "report",
    "Score": "report",
    "ExampleImages": "sides",
    "Card": "scorecard.card",
    "Scorecard": "scorecard.card",
    "make_scorecard": "scorecard.scoring",
    "Shard": "scale.sharding",
    "make_shard": "scale.sharding",
    "merge_shards": "scale.sharding",
    "example_images": "sides",
    "FeatureStatistics": "statistics",
    "StatisticsFile": "statistics_files",
    "read_statistics": "statistics_files",
    "ExampleTexts": "texts",
    "TextSource": "texts",
    "example_texts": "texts",
    "read_texts": "texts",
    "Track": "tracking",
    "track": "tracking",
    "TrainingLog": "training_log",
    "read_training_log": "training_log_files",
}

__all__ = [
    "Alarm",
    "Bundle",
    "BundleError",
    "ByClass",
    "Calibration",
    "Card",
    "CopyReport",
    "Curve",
    "DamagedBundle",
    "Density",
    "DeviceUnavailable",
    "Difference",
    "DiscriminatorStatistics",
    "EmptySide",
    "Evaluation",
    "ExampleImages",
    "ExampleTexts",
    "Explanation",
    "FeatureExtractor",
    "FeatureMismatch",
    "FeatureStatistics",
    "Features",
    "Finding",
    "Gallery",
    "Generator",
    "GenmetricsError",
    "InputError",
    "Kernels",
    "LatentReport",
    "LikelihoodReport",
    "Manifest",
    "Manifold",
    "MissingBundle",
    "MissingInput",
    "MissingPackage",
    "NonFiniteFeatures",
    "PairReport",
    "PerceptualDistance",
    "Progress",
    "Protocol",
    "PublicReference",
    "QualityMonitor",
    "Reference",
    "Report",
    "ReportTable",
    "Score",
    "Scorecard",
    "Shard",
    "StatisticsFile",
    "TextSource",
    "TooFewImages",
    "Track",
    "TrainingLog",
    "UnknownMetric",
    "UnreadableInput",
    "__version__",
    "alpha_precision",
    "auth_pct",
    "bits_per_dim",
    "classifier_two_sample",
    "compare",
    "ct_score",
    "density_coverage",
    "discretised_logistic",
    "discriminator_calibration",
    "discriminator_statistics",
    "estimate_likelihood",
    "evaluate",
    "evaluate_by_class",
    "examine_latent_space",
    "example_images",
    "example_texts",
    "expected_coverage",
    "explain",
    "extract_features",
    "fetch_bundle",
    "fetch_reference",
    "find_copies",
    "fld",
    "frechet_distance",
    "frechet_infinity",
    "gan_losses",
    "gradient_penalty",
    "importance_bounds",
    "inception_score",
    "inception_score_infinity",
    "kernel_distance",
    "likelihood_gap",
    "likelihood_of_files",
    "likelihood_of_images",
    "list_bundles",
    "list_distances",
    "list_references",
    "load_bundle",
    "load_kernels",
    "logit_log_jacobian",
    "make_reference",
    "make_scorecard",
    "make_shard",
    "mauve",
    "mauve_from_counts",
    "mean_pairwise_cosine",
    "merge_replicas",
    "merge_shards",
    "mifid",
    "ms_ssim",
    "ms_ssim_diversity",
    "nearest_neighbour_accuracy",
    "offset_bits",
    "open_distance",
    "paired_difference",
    "parzen_of_images",
    "parzen_window",
    "perceptual_distance",
    "perceptual_diversity",
    "perceptual_scale",
    "prd_curve",
    "prd_from_histograms",
    "precision_recall",
    "protocol_matrix",
    "rbf_distance",
    "read_statistics",
    "read_texts",
    "read_training_log",
    "realism",
    "track",
    "vendi_from_similarity",
    "vendi_score",
    "write_statistics",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'genmetrics_rt' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"genmetrics_rt.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
