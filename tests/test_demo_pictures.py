"""The tab "Two pictures" in a real browser: the slider, the map, the ladder; what visitors upload, and what is refused.

Skipped where there is no Chromium (`apt-get install chromium`); `.ci/run` fails if it is.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genmetrics_rt as gm
from tests.browsers import PATIENCE, chromium, in_a_browser, opening
from tests.servers import serving

ROOT = Path(__file__).parents[1]
DEMO = str(ROOT / "demo")
if DEMO not in sys.path:
    sys.path.append(DEMO)  # behind everything else: its plain names shadow nothing

from example_pairs import PAIRS, original  # noqa: E402

pytestmark = pytest.mark.timeout(300)


def test_the_examples_are_what_their_names_say() -> None:
    """The shift has a large error in pixels and a small distance; each damage is a change, and none is the largest."""
    picture = original()
    assert picture.shape == (224, 224, 3) and (original() == picture).all()
    found, error = {}, {}
    for name, make in PAIRS.items():
        other = make(picture)
        assert other.dtype == np.uint8 and other.shape == picture.shape
        found[name] = gm.perceptual_distance(picture, other, device="cpu", threads=1, pictures=False).mean
        error[name] = float(((picture.astype(float) - other) ** 2).mean())
        assert found[name] > 0
    assert error["Shifted by one pixel"] > error["Noise"] and found["Shifted by one pixel"] < found["Noise"]
    assert min(found, key=found.__getitem__) == "A little brighter"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio")
    with serving(sys.executable, ROOT / "demo" / "app.py", tmp_path_factory.mktemp("server") / "home") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_tab(address: str, browser: Any) -> Iterator[Any]:
    """Opens the tab in a context of its own; whatever it asks of another host fails the test."""
    with opening(browser, address) as open_page:

        def opened(query: str = "", **options: Any) -> Any:
            page = open_page(query, **options)
            choice = page.get_by_role("tab", name="Two pictures", exact=True).first
            if not choice.is_visible():  # on a phone it is behind the dots
                page.locator(".overflow-menu button").first.click()
                choice = page.locator(".overflow-dropdown").get_by_text("Two pictures").first
            choice.click()
            page.locator("#pair-meaning .gm-ladder").wait_for()
            return page

        yield opened


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def upload(page: Any, which: str, name: str, content: bytes) -> None:
    field = page.get_by_label(re.compile(f"Or my own: {which} picture")).locator("input[type=file]")
    field = field if field.count() else page.locator("input[type=file]").nth({"first": -2, "second": -1}[which])
    field.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
    page.get_by_text(name).first.wait_for()


def compare(page: Any, expected: str) -> None:
    """Press the button and wait until the status says so."""
    from playwright.sync_api import expect

    page.locator("#pair-run").click()
    expect(page.locator("#pair-status")).to_contain_text(expected, timeout=PATIENCE)
    expect(page.locator("#pair-run")).to_be_enabled(timeout=PATIENCE)


@in_a_browser
def test_an_example_is_shown_with_its_place_on_the_ladder(open_tab: Any) -> None:
    from playwright.sync_api import expect

    page = open_tab()
    for place, number in (
        ("#pair-slider img", 2),
        ("#pair-map img", 1),
        (".gm-ladder tr", 14),
        (".gm-ladder tr.pair", 1),
    ):
        expect(page.locator(place)).to_have_count(number, timeout=PATIENCE)
    before = page.locator("#pair-meaning").inner_text()
    page.get_by_label("Example: a picture, and what was done to it").click()
    page.get_by_role("option", name="Shifted by one pixel").click()
    expect(page.locator("#pair-status")).to_contain_text("Distance", timeout=PATIENCE)
    after = page.locator("#pair-meaning").inner_text()
    expected = gm.perceptual_distance(original(), PAIRS["Shifted by one pixel"](original())).mean
    assert before != after and f"{expected:.3g}" in after and "not LPIPS" in after
    (ROOT / "screenshots").mkdir(exist_ok=True)
    page.screenshot(path=ROOT / "screenshots" / "two-pictures.png", full_page=True)


@in_a_browser
def test_ones_own_pictures(open_tab: Any) -> None:
    page = open_tab()
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (12, 18, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    second = np.clip(first + rng.normal(0, 12, first.shape), 0, 255).astype(np.uint8)
    upload(page, "first", "mine.png", png(first))
    compare(page, "One picture is missing")
    upload(page, "second", "yours.png", png(second))
    compare(page, f"Distance {gm.perceptual_distance(first, second).mean:.4g}")


@in_a_browser
def test_sizes_that_differ_and_files_that_are_no_pictures(open_tab: Any) -> None:
    page = open_tab()
    upload(page, "first", "mine.png", png(np.zeros((40, 40, 3), np.uint8)))
    upload(page, "second", "yours.png", png(np.full((50, 60, 3), 9, np.uint8)))
    compare(page, "40 × 40 pixels, the second 60 × 50")
    page.get_by_label("Bring the second to the size of the first").check()
    compare(page, "Distance")
    page = open_tab()
    upload(page, "first", "mine.png", png(np.zeros((40, 40, 3), np.uint8)))
    upload(page, "second", "words.png", b"no picture at all")
    compare(page, "words.png")


@in_a_browser
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(open_tab: Any, dark: bool) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_tab("?__theme=dark" if dark else "?__theme=light")
    page.wait_for_timeout(800)
    found = Axe().run(page).response["violations"]
    serious = [entry for entry in found if entry["impact"] in ("serious", "critical")]
    assert [(entry["id"], [node["html"][:160] for node in entry["nodes"][:3]]) for entry in serious] == []


@in_a_browser
def test_a_phone_scrolls_in_one_direction_only(open_tab: Any) -> None:
    page = open_tab(viewport={"width": 380, "height": 800})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    page.screenshot(path=ROOT / "screenshots" / "phone-two-pictures.png", full_page=True)
