"""The drawing of a ladder: well-formed, inside its picture, true to the numbers, safe against what stands in it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from genmetrics_rt.render.ladder_drawing import ladder_drawing, ladders
from genmetrics_rt.report import LadderScale, PerfectModel, ScaleDamage, ScaleRung
from tests import reports

BLUR = ScaleDamage(
    "Gaussian blur",
    (
        ScaleRung("σ = 1 px", 10.0, 8.0, 12.0),
        ScaleRung("σ = 2 px", 30.0, 27.0, 33.0),
        ScaleRung("σ = 4 px", 90, 85, 95),
    ),
)
JPEG = ScaleDamage("JPEG", (ScaleRung("quality 60", 9.0, 7.0, 11.0), ScaleRung("quality 5", 40.0, 37.0, 43.0)))
SCALE = LadderScale(
    key="fd",
    title="Fréchet distance on scattering features",
    value=20.0,
    interval=(15.0, 25.0),
    floor=PerfectModel(8.0, 7.0, 9.0, 200, 200, "from parts"),
    damages=(BLUR, JPEG),
    num_generated=200,
    num_reference=201,
    placement="Lies between blur σ = 1.3 px and σ = 1.7 px.",
)


def drawn(scale: LadderScale) -> ElementTree.Element:
    return ElementTree.fromstring(ladder_drawing(scale))


@pytest.mark.parametrize(
    "scale",
    [
        SCALE,
        replace(SCALE, interval=None, floor=None),
        replace(SCALE, value=9e4, interval=(8e4, 1e5)),  # off the ladder
        replace(SCALE, key="kid", value=-0.01, interval=(-0.05, 0.03)),
        replace(SCALE, damages=(ScaleDamage("JPEG", ()),)),
    ],
)
def test_everything_is_inside_the_picture(scale: LadderScale) -> None:
    picture = drawn(scale)
    _, _, width, height = map(float, picture.get("viewBox", "").split())
    for circle in picture.iter("circle"):
        assert 0 <= float(circle.get("cx", "")) <= width and 0 <= float(circle.get("cy", "")) <= height
    for text in picture.iter("text"):
        x, y, long = float(text.get("x", "")), float(text.get("y", "")), 6.5 * len(text.text or "")
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor", "start")]
        assert 0 <= x - before * long and x + (1 - before) * long <= width and 10 <= y <= height
    for band in picture.iter("rect"):
        assert float(band.get("height", "")) > 0
    assert "nan" not in ladder_drawing(scale) and "inf" not in ladder_drawing(scale)


def test_heights_follow_the_scores() -> None:
    """Worse is higher up for a distance: the user's 20 lies between the rungs of 10 and 30, the floor below all."""
    picture = drawn(SCALE)
    rungs = [float(circle.get("cy", "")) for circle in picture.iter("circle")]
    assert rungs == sorted(rungs[:3], reverse=True) + sorted(rungs[3:], reverse=True)
    paths = {path.get("class"): path.get("d", "") for path in picture.iter("path")}
    own, floor = (float(paths[name].split()[1].split("H")[0]) for name in ("line", "diagonal"))
    assert rungs[1] < own < rungs[0] < floor
    (band,) = picture.iter("rect")
    top, height = float(band.get("y", "")), float(band.get("height", ""))
    assert top < own < top + height


def test_severities_stand_below_their_damage() -> None:
    told = [text.text for text in drawn(SCALE).iter("text")]
    for expected in ("1", "2", "4", "60", "5", "Gaussian blur", "JPEG", "σ = n px", "quality n"):
        assert expected in told


def test_the_section_says_the_numbers_of_images_and_every_rung() -> None:
    report = reports.report(scales=(replace(SCALE, key="recall", title="Recall"), SCALE))
    section = ladders(report)
    assert "200 damaged images of one part against 201 of another" in section
    assert section.index("Fréchet distance") < section.index("<h3>Recall")  # the headline score first
    page = reports.Page(section)
    for told in (SCALE.placement, "20.00 at these numbers of images", "σ = 4 px", "85.00 to 95.00"):
        assert told in page.text
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert ladders(reports.report()) == ""


def test_words_from_outside_are_escaped() -> None:
    hostile = replace(SCALE, title="<script>", damages=(replace(BLUR, title='"><b>'),))
    assert "<script>" not in ladder_drawing(hostile) and "<b>" not in ladder_drawing(hostile)
    drawn(hostile)
