"""The SVG drawings of the page: well-formed, inside their picture, true to the numbers, readable in every scheme."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import genmetrics_rt.render
from genmetrics_rt.render import svg
from genmetrics_rt.report import Report
from tests import reports


def drawings(report: Report) -> list[ElementTree.Element]:
    """The plots of a page, as XML: it must be well-formed."""
    return [ElementTree.fromstring(text) for text in re.findall(r'<svg class="plot".*?</svg>', report.to_html(), re.S)]


def path_points(d: str) -> Iterator[tuple[float, float]]:
    """Every point that a path visits: M L H V absolute, h v l relative, the end of an arc."""
    x = y = 0.0
    for command, arguments in re.findall(r"([MLHVhvlaZ])([^MLHVhvlaZ]*)", d):
        values = [float(value) for value in re.findall(r"-?[\d.]+(?:e-?\d+)?", arguments)]
        if command in "ML":
            x, y = values
        elif command in "HV":
            x, y = (values[0], y) if command == "H" else (x, values[0])
        elif command in "hv":
            x, y = (x + values[0], y) if command == "h" else (x, y + values[0])
        elif command in "la":
            x, y = x + values[-2], y + values[-1]
        yield x, y


CASES = [
    reports.VALUES,
    {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0},
    {"precision": 1.0, "recall": 1.0, "density": 7.5, "coverage": 1.0, "prd_f8": 1.0, "prd_f1_8": 1.0},
]


@pytest.mark.parametrize("values", CASES)
def test_everything_drawn_is_inside_the_picture(values: dict[str, float]) -> None:
    plots = drawings(reports.with_scores(values))
    assert len(plots) == 2
    for plot in plots:
        _, _, width, height = map(float, plot.get("viewBox", "").split())
        for path in plot.iter("path"):
            assert "nan" not in path.get("d", "") and "inf" not in path.get("d", "")
            for x, y in path_points(path.get("d", "")):
                assert 0 <= x <= width and 0 <= y <= height
        for text in plot.iter("text"):
            x, y, long = float(text.get("x", "")), float(text.get("y", "")), 7.5 * len(text.text or "")
            before = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor", "start")]
            if text.get("transform"):
                assert 12 <= x and long / 2 <= y <= height - long / 2
            else:
                assert 0 <= x - before * long and x + (1 - before) * long <= width and 11 <= y <= height - 3


def centre(path: ElementTree.Element) -> tuple[float, float]:
    points = list(path_points(path.get("d", "")))
    return tuple((min(axis) + max(axis)) / 2 for axis in zip(*points, strict=True))  # type: ignore[return-value]


def test_points_land_where_the_axes_say() -> None:
    values = {"precision": 0.75, "recall": 0.25, "density": 2.0, "coverage": 0.5}
    (plot, curve) = drawings(reports.with_scores(values))
    ticks = [text for text in plot.iter("text") if text.get("class") == "tick"]
    x_of = {text.text: float(text.get("x", "")) for text in ticks if text.get("text-anchor") == "middle"}
    # A label's baseline lies 4 below the line it names.
    y_of = {t.text: float(t.get("y", "")) - 4 for t in ticks if t.get("text-anchor") == "end" and t.text != "ideal"}
    assert list(x_of) == list(y_of) == ["0", "0.25", "0.5", "0.75", "1"]
    marks = [path for path in plot.iter("path") if "mark" in path.get("class", "")]
    assert [path.get("class") for path in marks] == ["mark", "mark hollow", "mark"]
    places = [(x_of["0.25"], y_of["0.75"]), (x_of["0"] + 0.96875 * (x_of["1"] - x_of["0"]), y_of["1"])]
    for path, place in zip(marks, [*places, (x_of["0.5"], y_of["1"])], strict=True):
        assert centre(path) == pytest.approx(place, abs=0.06)
    assert [path.get("class") for path in plot.iter("path")].count("beyond") == 1  # density 2 lies above the edge
    line = next(path for path in curve.iter("path") if path.get("class") == "line")
    points = list(path_points(line.get("d", "")))
    assert points[0] == pytest.approx((x_of["1"], y_of["0"]), abs=0.1)
    assert points[-1] == pytest.approx((x_of["0"], y_of["1"]), abs=0.1)
    assert [x for x, _ in points] == sorted((x for x, _ in points), reverse=True) and len(points) < 600


def test_the_marks_on_the_curve_are_those_of_its_legend() -> None:
    """F8 (circle) weighs recall, so it lies to the right of F1/8 (square)."""
    _, curve = drawings(reports.report())
    circle, square = [path for path in curve.iter("path") if path.get("class") == "mark"]
    assert "a" in circle.get("d", "") and "h" in square.get("d", "")
    assert centre(circle)[0] > centre(square)[0] + 50
    text = reports.report().to_html()
    assert re.search(r'<path class="mark" d="[^"]*a[^"]*"/></svg><span>F8 \(weighs recall\)', text)
    assert re.search(r'<path class="mark" d="[^"]*h[^"]*"/></svg><span>F1/8 \(weighs precision\)', text)


@pytest.mark.parametrize("beta", [8.0, 1 / 8])
def test_the_points_of_f8_and_f1_8_lie_where_the_curve_reaches_them(beta: float) -> None:
    points = list(zip((curve := reports.prd()).x, curve.y, strict=True))
    recall, precision = svg.best_point(points, beta) or (0.0, 0.0)
    assert (recall, precision) in points
    score = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
    assert score == pytest.approx(reports.VALUES["prd_f8" if beta > 1 else "prd_f1_8"], abs=5e-5)
    assert svg.best_point([], beta) is None


def test_a_table_and_a_legend_say_what_the_drawings_show() -> None:
    text = reports.report().to_html()
    for told in ("precision 0.8214, recall 0.4312", "density 0.9143, coverage 0.7021", "F8 (weighs recall) 0.9211"):
        assert f">{told}</span>" in text
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", text)
    assert len(rows) == 41 and rows[0][0] == "1.000" and rows[-1][1] == "1.000"
    assert "41 of 1,001 points" in text


def test_drawings_of_few_images_say_so() -> None:
    def notes(num_generated: int) -> list[str]:
        return re.findall(r"<p>([^<]*)</p></figcaption>", reports.sized(num_generated, 1797).to_html())

    few, enough = notes(49), notes(50)
    assert len(few) == len(enough) == 2
    assert all(note.startswith("Too few images to judge fidelity or diversity (49 on the") for note in few)
    assert not any("Too few" in note for note in enough)


# Colours


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_every_text_can_be_read_on_its_ground(scheme: int) -> None:
    """WCAG AA: 4.5 to 1."""
    style = (Path(genmetrics_rt.render.__file__).parent / "style.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.S)[scheme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", block))
    pairs = [(text, ground) for text in ("ink", "muted", "generated", "reference") for ground in ("paper", "surface")]
    pairs += [("attention", "paper"), ("attention", "attention-ground"), ("ink", "attention-ground"),
              ("generated", "attention-ground")]  # fmt: skip
    for text, ground in pairs:
        light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize("place", [(0.05, 0.95), (0.24, 0.88), (0.9, 0.05), (0.15, 0.05), (0.1, 0.8)])
def test_the_words_in_the_corners_make_room_for_a_mark(place: tuple[float, float]) -> None:
    drawn = svg.unit_plot(
        key="k", title="t", description="d", x_label="x", y_label="y", marks=[svg.Mark("circle", *place)],
        corners=("faithful,\nnot diverse", "", "neither", "diverse,\nnot faithful"),
    )  # fmt: skip
    mark_x, mark_y = svg._x(place[0]), svg._y(place[1])
    words = re.findall(r'class="corner" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)<', drawn)
    assert len(words) == 5
    for x, y, anchor, text in words:
        left = float(x) - (7 * len(text) if anchor == "end" else 0)
        assert not (left - 5 < mark_x < left + 7 * len(text) + 5 and float(y) - 16 < mark_y < float(y) + 5), text
