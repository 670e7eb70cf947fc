"""What a generative model is judged by, and what textbooks say of the families.

The six properties, and what is expected of GANs, VAEs, flows and diffusion models, are those of Prince 2023
(Understanding Deep Learning, chapter 14). No family has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Property:
    """One thing that a model is judged by."""

    key: str
    title: str
    question: str


PROPERTIES = (
    Property("sampling", "Efficient sampling", "How long does an image take?"),
    Property("quality", "Sample quality", "Do its images look like the reference?"),
    Property("coverage", "Coverage", "Does it make everything that the reference holds?"),
    Property("latent_space", "Well-behaved latent space", "Do small steps make small changes, everywhere?"),
    Property("disentanglement", "Disentangled latent space", "Does each latent dimension change one thing?"),
    Property("likelihood", "Efficient likelihood", "What probability does it give to an image, and at what cost?"),
)

YES, NO, OPEN, ABSENT = "yes", "no", "depends", "has none"

TEXTBOOK: Mapping[str, Mapping[str, str]] = {
    "GAN": dict(zip((entry.key for entry in PROPERTIES), (YES, YES, NO, YES, OPEN, ABSENT), strict=True)),
    "VAE": dict(zip((entry.key for entry in PROPERTIES), (YES, NO, OPEN, YES, OPEN, NO), strict=True)),
    "flow": dict(zip((entry.key for entry in PROPERTIES), (YES, NO, OPEN, YES, OPEN, YES), strict=True)),
    "diffusion": dict(zip((entry.key for entry in PROPERTIES), (NO, YES, OPEN, NO, NO, NO), strict=True)),
}
SOURCE = "Prince 2023, Understanding Deep Learning, chapter 14"


def expectation(family: str, key: str) -> str | None:
    """What textbooks say of a family and a property; None of a family that they do not speak of."""
    return next((row[key] for name, row in TEXTBOOK.items() if name.lower() == family.lower()), None)
