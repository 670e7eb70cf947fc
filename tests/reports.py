"""Reports made by hand: one as an evaluation of a digits GAN would give it, and pieces to change it with."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

from genmetrics_rt.report import (
    Curve,
    ExtractorSummary,
    Finding,
    Gallery,
    Report,
    Runtime,
    Score,
    SideSummary,
    SkippedImage,
    Thumbnail,
)

_SAME = "scores with the same fingerprint (same features, protocol and settings)"
_SAME_N = _SAME + " and the same numbers of images on both sides"
_NEIGHBOURS = {"nearest_k": 3, "border_counts": True}
_BALLS = {"nearest_k": 5, "border_counts": False}
_PRD = {"num_clusters": 20, "num_angles": 1001, "num_runs": 10, "max_images": 10_000}

# Key → title, meaning, higher is better, best, comparable with, settings: the words of metrics/catalogue.py.
CATALOGUE: dict[str, tuple[str, str, bool, float | None, str, dict[str, Any]]] = {
    "fd": ("Fréchet distance", "How far apart the two clouds of features lie, compared by their means and covariances. "
           "It sees lost quality and lost variety alike and does not say which.", False, 0.0,
           _SAME_N + "; it is biased upward by about 1/N", {"ddof": 1}),
    "kid": ("Kernel distance (KID)", "The same question as the Fréchet distance, without a Gaussian assumption and "
            "without bias: the number to trust when there are few images. Around 0, slightly negative included, means "
            "that the sides cannot be told apart.", False, 0.0,
            _SAME + "; numbers of images may differ, since it is unbiased",
            {"num_subsets": 100, "subset_size": 1000, "degree": 3, "coef0": 1.0, "seed": 2020}),
    "class_score": ("Class score (the Inception Score's formula on this network's classes)", "Whether each image "
                    "clearly belongs to one class while all classes occur. It never looks at the reference, so it "
                    "sees neither copies nor lost variety inside a class.", True, None,
                    _SAME + "; never with a published Inception Score, whose classes are ImageNet's",
                    {"splits": 10, "shuffle": True, "seed": 2020}),
    "precision": ("Precision", "The share of generated images that look like some reference image: fidelity.", True,
                  1.0, _SAME_N, _NEIGHBOURS),
    "recall": ("Recall", "The share of reference images that the generated ones reach: variety.", True, 1.0, _SAME_N,
               _NEIGHBOURS),
    "density": ("Density", "How thickly the reference surrounds the generated images: fidelity that a single odd "
                "reference image cannot inflate. A perfect model gets about 1; it can exceed 1.", True, 1.0, _SAME_N,
                _BALLS),
    "coverage": ("Coverage", "The share of reference images with a generated image nearby: variety that odd generated "
                 "images cannot inflate.", True, 1.0, _SAME_N, _BALLS),
    "prd_f8": ("PRD F8 (weighs recall)", "How much of the reference's variety is reached, read off the "
               "precision–recall curve of the two distributions.", True, 1.0, _SAME_N, _PRD),
    "prd_f1_8": ("PRD F1/8 (weighs precision)", "How much of what is generated belongs to the reference, read off the "
                 "same curve.", True, 1.0, _SAME_N, _PRD),
}  # fmt: skip

DETAILS: dict[str, dict[str, Any]] = {
    "fd": {"num_generated": 1797, "num_reference": 1797},
    "kid": {"std_over_subsets": 0.0123456, "subset_size_used": 1000},
    "precision": {"num_generated": 1797},
    "recall": {"num_reference": 1797},
    "density": {"perfect_model": 1.0},
    "coverage": {"perfect_model": 0.96875},
    "prd_f8": {"best_f1": 0.7502, "total_variation": 0.2498, "images_per_side": 1797},
    "prd_f1_8": {"best_f1": 0.7502, "total_variation": 0.2498, "images_per_side": 1797},
}
VALUES = {"fd": 12.345678, "kid": 0.0874321, "precision": 0.8214, "recall": 0.4312, "density": 0.9143,
          "coverage": 0.7021, "prd_f8": 0.9211, "prd_f1_8": 0.9849}  # fmt: skip

SCATTERING = ExtractorSummary(
    name="scattering",
    title="wavelet scattering (training-free, 256-d)",
    label="training-free texture, colour and band-energy baseline; not comparable with published FID",
    numeric_id="4c1e8a0f3d5b7e92a6f0c8d14b7e3a59",
    protocol="scattering",
    dimension=256,
)
INCEPTION = dataclasses.replace(
    SCATTERING,
    name="inception-fid",
    title="Inception v3 (ImageNet)",
    label="",
    protocol="tf1",
    dimension=2048,
    published=True,
)
GIVEN = ExtractorSummary(
    "features", "features given by the user", "the numbers mean what these features mean", "given", "none", 64
)


def score(key: str, value: float | None, *, features: str = "scattering", **changes: Any) -> Score:
    """A score with the catalogue's words; ``changes`` are fields of `Score`."""
    title, meaning, higher, best, comparable, settings = CATALOGUE[key]
    made = Score(
        key=key,
        name=title if features == "features" else f"{title} on {features} features",
        value=value,
        higher_is_better=higher,
        best=best,
        meaning=meaning,
        comparable_with=comparable,
        settings=settings,
        details=DETAILS.get(key, {}),
        fingerprint=f"{sum(map(ord, key)):032x}",
    )
    return dataclasses.replace(made, **changes)


def scores(**values: float | None) -> dict[str, Score]:
    return {key: score(key, value) for key, value in values.items()}


def prd(lean: float = 2.4, num_angles: int = 1001) -> Curve:
    """The exact PRD curve of two distributions over 20 clusters, the generated one with less in its tail."""
    clusters = np.arange(20)
    p, q = np.exp(-clusters / 9.0), np.exp(-lean * clusters / 9.0)
    p, q = p / p.sum(), q / q.sum()
    slopes = np.tan(np.linspace(1e-6, math.pi / 2 - 1e-6, num_angles))
    precision = np.minimum(slopes[:, None] * p, q).sum(1)
    recall = precision / slopes
    return Curve(
        key="prd",
        title="Precision–recall curve of the distributions (PRD)",
        x_label="recall",
        y_label="precision",
        x=tuple(float(value) for value in np.clip(recall, 0, 1)),
        y=tuple(float(value) for value in np.clip(precision, 0, 1)),
    )


def jpeg(seed: int = 0, size: int = 128, *, noise: bool = False) -> bytes:
    """A picture: two gradients, or noise that JPEG cannot make small."""
    rng = np.random.default_rng(seed)
    if noise:
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    else:
        y, x = np.mgrid[:size, :size] / size
        waves = np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6))
        pixels = np.clip(rng.uniform(40, 215, 3) + 60 * waves[..., None] * rng.uniform(-1, 1, 3), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=100 if noise else 85)
    return buffer.getvalue()


def gallery(key: str, names: Sequence[str], pictures: Sequence[bytes | None] | None = None) -> Gallery:
    """One of the three galleries that an evaluation gives."""
    title, explanation, caption, first, step = {
        "least_realistic": ("Least realistic generated images", "Furthest outside what the reference looks like. "
                            "Realism below 1 means outside the smaller half of the balls around reference "
                            "images; the larger half does not count.", "realism {:.2f}", 0.41, 0.03),
        "most_realistic": ("Most realistic generated images", "Deepest inside what the reference looks like.",
                           "realism {:.2f}", 3.91, -0.04),
        "uncovered": ("Reference images that no generated image comes near", "535 of 1,797 reference images have no "
                      "generated image nearer than their 5 nearest reference neighbours. The furthest left out come "
                      "first.", "{:.2f} × its radius away", 2.13, -0.05),
    }[key]  # fmt: skip
    shown = pictures if pictures is not None else [jpeg(index) for index in range(len(names))]
    values = [first + step * index for index in range(len(names))]
    return Gallery(
        key,
        title,
        explanation,
        tuple(
            Thumbnail(name, picture, value, caption.format(value))
            for name, picture, value in zip(names, shown, values, strict=True)
        ),
    )


def skipped(*entries: tuple[str, str]) -> tuple[SkippedImage, ...]:
    return tuple(SkippedImage(name, reason) for name, reason in entries)


def finding(severity: str = "warning", **changes: str) -> Finding:
    made = Finding(
        key="few_images",
        severity=severity,
        claim="There are few images.",
        evidence="1,797 generated and 1,797 reference images.",
        advice="Quote the kernel distance, or generate more images.",
    )
    return dataclasses.replace(made, **changes)


def report(**changes: Any) -> Report:
    """A GAN against the digits: faithful, not diverse. ``changes`` are fields of `Report`."""
    made = Report(
        scores=scores(**VALUES),
        findings=(),
        generated=SideSummary(1797, "digits-gan (seed 0)", "3f" * 16),
        reference=SideSummary(1797, "digits", "a7" * 16),
        extractor=SCATTERING,
        fingerprint="7d1f0a9be3c2485f9d6b1e7a40c5f823",
        runtime=Runtime(
            device="cpu",
            backend="onnx",
            versions={"genmetrics-rt": "0.1.0", "numpy": "2.4.1", "onnxruntime": "1.24.0", "python": "3.11.7"},
            seconds=14.26,
            peak_memory_bytes=612_345_678,
            images_per_second=287.4,
        ),
        created="2025-11-24T16:05:33+00:00",
        version="0.1.0",
        curves={"prd": prd()},
        galleries=(),
    )
    return dataclasses.replace(made, **changes)


def full(**changes: Any) -> Report:
    """A report with something in every place."""
    base = report()
    return dataclasses.replace(
        base,
        scores={**base.scores, "class_score": score("class_score", None, reason="No logits here.")},
        generated=SideSummary(1797, "out/run 17", "3f" * 16, skipped(("notes.txt", "not an image file"))),
        findings=tuple(finding(severity) for severity in ("info", "warning", "problem")),
        galleries=(
            gallery("least_realistic", ["a.png", "ü/b.png"]),
            gallery("uncovered", ["c.png", "d.png"], [jpeg(), None]),
        ),
        runtime=dataclasses.replace(base.runtime, notes=("nothing was stored",)),
        **changes,
    )


def sized(num_generated: int, num_reference: int, **changes: Any) -> Report:
    """The same with other numbers of images."""
    return report(
        generated=SideSummary(num_generated, "out", "3f" * 16),
        reference=SideSummary(num_reference, "real", "a7" * 16),
        **changes,
    )


def with_scores(values: Mapping[str, float | None], **changes: Any) -> Report:
    return report(scores=scores(**values), **changes)


class Page(HTMLParser):
    """Every tag with its attributes, and the text; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len({key for key, _ in attributes}) == len(attributes)
        self.tags.append((tag, {key: value or "" for key, value in attributes}))
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if {"style", "title"} & set(self.open) else data

    def having(self, key: str) -> list[str]:
        return [attributes[key] for _, attributes in self.tags if key in attributes]
