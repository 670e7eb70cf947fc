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
    from genmetrics_rt.extraction import FeatureExtractor, Progress
    from genmetrics_rt.features import Features
    from genmetrics_rt.fetch import fetch_bundle
    from genmetrics_rt.kernels import Kernels, load_kernels
    from genmetrics_rt.manifest import Manifest, Protocol
    from genmetrics_rt.manifold import Manifold
    from genmetrics_rt.metrics.adversarial import DiscriminatorStatistics, discriminator_statistics, gan_losses
    from genmetrics_rt.metrics.alpha_precision import alpha_precision
    from genmetrics_rt.metrics.density_coverage import density_coverage, expected_coverage
    from genmetrics_rt.metrics.extrapolation import frechet_infinity, inception_score_infinity
    from genmetrics_rt.metrics.frechet import frechet_distance
    from genmetrics_rt.metrics.inception_score import inception_score
    from genmetrics_rt.metrics.kernel_distance import kernel_distance
    from genmetrics_rt.metrics.ms_ssim import ms_ssim, ms_ssim_diversity
    from genmetrics_rt.metrics.prd import prd_curve, prd_from_histograms
    from genmetrics_rt.metrics.precision_recall import precision_recall, realism
    from genmetrics_rt.metrics.rbf_distance import rbf_distance
    from genmetrics_rt.metrics.two_sample import classifier_two_sample, nearest_neighbour_accuracy
    from genmetrics_rt.metrics.vendi import mean_pairwise_cosine, vendi_from_similarity, vendi_score
    from genmetrics_rt.paired import Difference, paired_difference
    from genmetrics_rt.public_references import PublicReference, fetch_reference, list_references
    from genmetrics_rt.reference import Reference, write_statistics
    from genmetrics_rt.report import Curve, Finding, Gallery, Report, Score
    from genmetrics_rt.sides import ExampleImages, example_images
    from genmetrics_rt.statistics import FeatureStatistics
    from genmetrics_rt.statistics_files import StatisticsFile, read_statistics
    from genmetrics_rt.tracking import Track, track
    from genmetrics_rt.training_log import TrainingLog, read_training_log

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
    "FeatureExtractor": "extraction",
    "Progress": "extraction",
    "Features": "features",
    "fetch_bundle": "fetch",
    "Kernels": "kernels",
    "load_kernels": "kernels",
    "Manifold": "manifold",
    "DiscriminatorStatistics": "metrics.adversarial",
    "discriminator_statistics": "metrics.adversarial",
    "gan_losses": "metrics.adversarial",
    "alpha_precision": "metrics.alpha_precision",
    "frechet_infinity": "metrics.extrapolation",
    "inception_score_infinity": "metrics.extrapolation",
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
    "example_images": "sides",
    "FeatureStatistics": "statistics",
    "StatisticsFile": "statistics_files",
    "read_statistics": "statistics_files",
    "Track": "tracking",
    "track": "tracking",
    "TrainingLog": "training_log",
    "read_training_log": "training_log",
}

__all__ = [
    "Bundle",
    "BundleError",
    "ByClass",
    "CopyReport",
    "Curve",
    "DamagedBundle",
    "DeviceUnavailable",
    "Difference",
    "DiscriminatorStatistics",
    "EmptySide",
    "Evaluation",
    "ExampleImages",
    "Explanation",
    "FeatureExtractor",
    "FeatureMismatch",
    "FeatureStatistics",
    "Features",
    "Finding",
    "Gallery",
    "GenmetricsError",
    "InputError",
    "Kernels",
    "Manifest",
    "Manifold",
    "MissingBundle",
    "MissingInput",
    "MissingPackage",
    "NonFiniteFeatures",
    "Progress",
    "Protocol",
    "PublicReference",
    "Reference",
    "Report",
    "ReportTable",
    "Score",
    "StatisticsFile",
    "TooFewImages",
    "Track",
    "TrainingLog",
    "UnknownMetric",
    "UnreadableInput",
    "__version__",
    "alpha_precision",
    "auth_pct",
    "classifier_two_sample",
    "compare",
    "ct_score",
    "density_coverage",
    "discriminator_statistics",
    "evaluate",
    "evaluate_by_class",
    "example_images",
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
    "inception_score",
    "inception_score_infinity",
    "kernel_distance",
    "list_bundles",
    "list_references",
    "load_bundle",
    "load_kernels",
    "make_reference",
    "mean_pairwise_cosine",
    "mifid",
    "ms_ssim",
    "ms_ssim_diversity",
    "nearest_neighbour_accuracy",
    "paired_difference",
    "prd_curve",
    "prd_from_histograms",
    "precision_recall",
    "protocol_matrix",
    "rbf_distance",
    "read_statistics",
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
