"""Settings of the knobs that show one thing each. Every claim in the words is asserted by tests/test_playground.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

from playground.mixture import Knobs


@dataclass(frozen=True)
class Story:
    """``what`` to look at; ``beside`` are the knobs to compare with: the other half of a pair, or the right way."""

    name: str
    knobs: Knobs
    what: str
    beside: Knobs | None = None


# The seed is of a draw in which the two distances agree as they do on average; one draw scatters by a fifth.
_DROPS, _INVENTS = Knobs(modes_dropped=2, seed=198), Knobs(modes_invented=3, seed=198)
_LEAKS = Knobs(copies=0.9, blur=2.0, against_training=True)

STORIES: tuple[Story, ...] = (
    Story(
        "A perfect model",
        Knobs(),
        "The generated points come from the real distribution itself. Yet the Fréchet distance is not 0, and precision "
        "and recall are not 1: two samples of one thing differ by chance. No model can expect more with as many "
        "points, so judge every other score against this one: it is the hollow mark in the pictures.",
    ),
    Story(
        "Same FID, different fault: modes missing",
        _DROPS,
        "The model leaves out two of the eight modes. What it makes is real, so precision stays; but a quarter of the "
        "real points is out of its reach, and recall falls by as much. Remember the Fréchet distance, and turn to the "
        "twin of this story.",
        beside=_INVENTS,
    ),
    Story(
        "Same FID, different fault: modes invented",
        _INVENTS,
        "The model has all eight modes and makes up three more. The Fréchet distance is the one of the twin story, "
        "where modes were missing: one number cannot tell the two faults apart. Precision and recall can. Here recall "
        "stays and precision falls, and the other end of the PRD curve sinks.",
        beside=_DROPS,
    ),
    Story(
        "Mode collapse",
        Knobs(modes_dropped=6, blur=0.5),
        "Two modes are left, and each is half as wide as the real one. Precision and density are a perfect model's or "
        "better, so whoever looks at one sample after another finds nothing wrong. Recall and coverage tell, and the "
        "Inception Score falls to the number of modes that are left.",
    ),
    Story(
        "Sharp but unrealistic",
        Knobs(modes_dropped=8, modes_invented=8, blur=0.5),
        "Hardly a generated point is near a real one. But each lies behind one mode, so its class is beyond doubt, and "
        "all classes are equally frequent. The Inception Score asks for nothing else: it is as high as a perfect "
        "model's, because it never looks at a real point. Fréchet distance, precision and recall do.",
    ),
    Story(
        "Blurry but diverse",
        Knobs(blur=3.0),
        "Each mode is three times as wide as it should be. Every real point is still reached, so recall stays; "
        "precision falls by half, since many points lie between the modes. The Fréchet distance hardly notices: it "
        "compares the mean and the spread of the whole, and the ring as a whole is hardly wider.",
    ),
    Story(
        "Memorisation with a fine FID",
        Knobs(copies=1.0),
        "Every generated point is a training point. Scored against held-out points, which the model never saw, it "
        "looks perfect, since training points are real. Only the share of points that keep a distance from the "
        "training set, called authentic, falls to 0. Whoever looks for copies needs the training set.",
    ),
    Story(
        "Data leakage",
        _LEAKS,
        "Nine points in ten are copies, the others are blurred, and the reference is the training set: the model is "
        "compared with what it copied. Its Fréchet distance, recall and coverage are better than a perfect model's. "
        "Against held-out points the same model gets worse scores. What clearly beats a perfect model has leaked.",
        beside=replace(_LEAKS, against_training=False),
    ),
    Story(
        "Too few samples",
        Knobs(num_points=50),
        "The perfect model again, with 50 points instead of 2,000. Its Fréchet distance is many times larger, though "
        "nothing is wrong with it: the distance is biased upward by about c/N. Here that is more than a missing mode "
        "costs with 2,000 points. Never compare models at unlike numbers of samples.",
        beside=Knobs(num_points=2000),
    ),
)
