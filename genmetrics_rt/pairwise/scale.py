"""What distances mean: known damages of some images, and how far it takes them from what they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from genmetrics_rt.arrays import ImageArray
from genmetrics_rt.calibration.damage import DAMAGES, DROP, damaged
from genmetrics_rt.pairwise.report import Rung
from genmetrics_rt.perceptual import PerceptualDistance

_SEVERITIES = 4  # of each known damage: the worst one is beyond what anybody compares


def scale_of(distance: PerceptualDistance, images: Sequence[ImageArray]) -> tuple[Rung, ...]:
    """The mean distance of damaged images from what they were, for each known damage; nothing without images."""
    if not images:
        return ()
    rungs = []
    for kind, amount, damage in _known_damages():
        found = [float(distance(image[None], damage(image)[None])[0]) for image in images]
        rungs.append(Rung(kind, amount, float(np.mean(found))))
    return tuple(rungs)


def _known_damages() -> Iterator[tuple[str, str, Callable[[ImageArray], ImageArray]]]:
    yield "shift", "by 1 px", lambda image: np.concatenate([image[:, :1], image[:, :-1]], axis=1)
    for damage in DAMAGES:
        if damage.key == DROP:
            continue
        for severity in damage.severities[:_SEVERITIES]:
            yield damage.name, damage.measured(severity), partial(damaged, key=damage.key, severity=severity)
