"""What a rule found, and the words for it that several conditions share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genmetrics_rt.diagnosis.evidence import Evidence, Picture


@dataclass(frozen=True)
class Facts:
    """What a rule found: the evidence in a sentence, pictures of it, and what its claim and advice name in braces."""

    evidence: str
    pictures: tuple[Picture, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)


def against_floor(evidence: Evidence, key: str) -> str:
    """``recall 0.12, a perfect model about 0.88``; empty where there is no value."""
    value, floor = evidence.value(key), evidence.floor(key)
    if value is None:
        return ""
    perfect = f", a perfect model about {floor.value:.2f}" if floor and floor.value is not None else ""
    return f"{key} {value:.2f}{perfect}"


def fidelity(evidence: Evidence) -> list[str]:
    """Precision and density against their floors, and the names of the least realistic images."""
    parts = [against_floor(evidence, key) for key in ("precision", "density")]
    if evidence.least_realistic:
        parts.append(f"the least realistic are {named(evidence.least_realistic, evidence)}")
    return parts


def which_images(share: float) -> str:
    return f"{percent(share)} of the generated images" if 0.1 <= share < 0.8 else "The generated images"


def sharpness(evidence: Evidence, share: float, which: str) -> str:
    return (
        f"high frequencies are {evidence.sharpness:.2f} times those of the reference, and {percent(share)} of the "
        f"generated images have {which} than 39 of 40 reference images"
    )


def distance_against_floor(evidence: Evidence) -> str:
    """``FID 61.2, a perfect model about 4.1``; empty where there is no value."""
    for key, name in (("fid", "FID"), ("fd", "Fréchet distance")):
        value, floor = evidence.value(key), evidence.floor(key)
        if value is not None:
            perfect = f", a perfect model about {floor.value:.3g}" if floor and floor.value is not None else ""
            return f"{name} {value:.4g}{perfect}"
    return ""


def sentence(parts: Sequence[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.095 else f"{100 * share:.1f} %"


def named(pictures: Sequence[Picture], evidence: Evidence) -> str:
    return ", ".join(evidence.name(picture) for picture in pictures)


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"
