"""The static Space: plain files that need nothing else; in a browser, its scores are those of the package.

The browser tests are skipped where there is no Chromium or no Playwright.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import genmetrics_rt as gm

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo"
sys.path.insert(0, str(DEMO))

import make_static_space  # noqa: E402
from playground import mixture  # noqa: E402
from playground.mixture import Knobs  # noqa: E402
from playground.stories import STORIES  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
SHOTS = ROOT / "screenshots"  # git-ignored, to be looked at
NUM_IMAGES = 150
SCORED = ("digits-gan", "digits-memoriser")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENMETRICS_HOME", str(tmp_path_factory.mktemp("home")))
        return make_static_space.main(tmp_path_factory.mktemp("static") / "space", NUM_IMAGES, SCORED)


# The files


class Attributes(HTMLParser):
    """All (tag, attribute, value) of a page, and its ids."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, name, value or "") for name, value in attrs]

    @property
    def ids(self) -> set[str]:
        return {value for _, name, value in self.found if name == "id"}


def test_it_is_a_static_space(space: Path) -> None:
    front = (space / "README.md").read_text(encoding="utf-8").split("---")[1]
    entries = dict(re.findall(r"(?m)^(\w+): *(.+)$", front))
    assert entries.keys() >= {"title", "emoji", "colorFrom", "colorTo", "license", "short_description"}
    assert entries["sdk"] == "static" and (space / entries["app_file"]).is_file()
    assert len(entries["short_description"]) <= 60
    assert not list(space.rglob("*.py")) and not list(space.rglob("*.whl"))


def test_nothing_in_it_asks_another_host(space: Path) -> None:
    for page in space.rglob("*.html"):
        for tag, name, value in Attributes(page).found:
            elsewhere = re.match(r"\s*([a-z]+:)?//", value, re.I)
            assert not elsewhere or (tag, name) in {("a", "href"), ("svg", "xmlns")}, (page.name, tag, name, value)
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(?!data:)|@import", text), page.name
    index = (space / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', index)
    assert policy and "default-src 'none'; script-src 'self'" in policy[1] and "unsafe" not in policy[1]
    for name in ("style.css", "playground.js"):
        assert not re.search(r"https?://|url\(|@import|\bimport\b", (space / name).read_text(encoding="utf-8")), name


def test_every_link_leads_to_something(space: Path) -> None:
    for page in space.rglob("*.html"):
        attributes = Attributes(page)
        for tag, name, value in attributes.found:
            if name not in ("href", "src") or urlsplit(value).scheme:
                continue
            path, _, fragment = value.partition("#")
            target = page.parent / path if path else page
            assert target.is_file(), (page.name, tag, value)
            assert not fragment or fragment in Attributes(target).ids, (page.name, value)
    links = {value for tag, _, value in Attributes(space / "index.html").found if tag == "a"}
    assert links >= {f"reports/{path.name}" for path in (space / "reports").iterdir()}


def test_the_numbers_and_words_are_the_packages(space: Path) -> None:
    report = gm.evaluate("digits-vae", "digits", extractor="scattering", num_images=NUM_IMAGES)
    index = (space / "index.html").read_text(encoding="utf-8")
    assert report.verdict in index and f"{report.scores['fd'].value:,.1f}" in index and gm.__version__ in index
    assert "against" in (space / "reports" / "digits-vae.html").read_text(encoding="utf-8")
    card = (space / "reports" / "scorecard.html").read_text(encoding="utf-8")
    assert all(name in card for name in SCORED) and "textbook: ✗ no" in card
    for name in SCORED:
        assert "data:image/png" in (space / "reports" / f"latent-{name}.html").read_text(encoding="utf-8")
    data = json.loads(index.split('id="playground-data">')[1].split("</script>")[0])
    assert [(story["name"], story["what"]) for story in data["stories"]] == [(s.name, s.what) for s in STORIES]
    assert data["mixture"]["std"] == mixture.STD
    head = re.search(r"<p>(How good .*?)</p>", index, re.S)
    assert head and head[1] in (DEMO / "app.py").read_text(encoding="utf-8")


# In a browser


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(space: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Silent, directory=str(space))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(address: str, browser: Any) -> Iterator[Any]:
    """Opens the page; an error in its console, or a question to another host, fails the test."""
    wrong: list[str] = []
    contexts = []

    def opened(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith((address[:-10], "data:")) else wrong.append(request.url),
        )
        page.goto(address)
        settled(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def settled(page: Any) -> None:
    """Waits for the scores of a perfect model, which come last."""
    from playwright.sync_api import expect

    expect(page.locator("#perfect-recall")).to_have_text(re.compile(r"^\d"), timeout=30_000)


def shown(page: Any, score: str) -> float:
    return float(page.locator(f"#score-{score}").inner_text())


def shot(page: Any, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"static-{name}.png", full_page=True)


FAULTS = (
    Knobs(num_points=400, seed=1),
    Knobs(modes_dropped=2, modes_invented=1, blur=1.7, noise=0.1, num_points=300, seed=2),
    Knobs(copies=0.5, blur=0.6, against_training=True, num_points=500, seed=3),
)


@in_a_browser
@pytest.mark.parametrize("knobs", FAULTS, ids=["perfect", "faults", "copies"])
def test_the_scores_are_those_of_the_package(open_page: Any, knobs: Knobs) -> None:
    sample = mixture.draw(knobs)
    generated, reference, training = sample.generated, sample.reference, sample.training
    logits = mixture.log_posteriors(generated)
    found = open_page().evaluate(
        "([generated, reference, logits, training]) => genmetrics.measure(generated, reference, logits, training)",
        [rows.tolist() for rows in (generated, reference, logits, training)],
    )
    fidelity, robust = gm.precision_recall(generated, reference), gm.density_coverage(generated, reference)
    prd = gm.prd_curve(generated, reference)
    assert found["frechet_distance"] == pytest.approx(gm.frechet_distance(generated, reference), rel=0, abs=1e-9)
    assert found["inception_score"] == pytest.approx(gm.inception_score(logits, splits=1).mean, rel=0, abs=1e-9)
    assert (found["precision"], found["recall"]) == (fidelity.precision, fidelity.recall)
    assert (found["density"], found["coverage"]) == (robust.density, robust.coverage)
    assert 100 * found["authentic"] == pytest.approx(gm.auth_pct(generated, training), rel=1e-12)
    assert found["prd_f8"] == pytest.approx(prd.f8, abs=0.03)  # of another clustering
    assert found["prd_f1_8"] == pytest.approx(prd.f1_8, abs=0.03)


@in_a_browser
def test_the_border_of_a_ball_is_where_the_package_has_it(open_page: Any) -> None:
    """Points of a sparse grid: many distances are equal, so `<` and `<=` part."""
    rng = np.random.default_rng(0)
    generated, reference = (rng.integers(0, 40, (200, 2)).astype(float) for _ in range(2))
    found = open_page().evaluate(
        "([generated, reference]) => genmetrics.measure(generated, reference, generated)",
        [generated.tolist(), reference.tolist()],
    )
    fidelity, robust = gm.precision_recall(generated, reference), gm.density_coverage(generated, reference)
    otherwise = gm.precision_recall(generated, reference, border_counts=False)
    assert otherwise.precision != fidelity.precision and otherwise.recall != fidelity.recall
    assert gm.density_coverage(generated, reference, border_counts=True).density != robust.density
    assert (found["precision"], found["recall"]) == (fidelity.precision, fidelity.recall)
    assert (found["density"], found["coverage"]) == (robust.density, robust.coverage)


@in_a_browser
def test_the_posteriors_of_the_page_are_those_of_the_mixture(open_page: Any) -> None:
    knobs = Knobs(blur=2.0, num_points=200)
    page = open_page()
    found = page.evaluate(
        "knobs => { const { sample, measured } = genmetrics.step(knobs); return [sample.generated, measured]; }",
        knobs.__dict__,
    )
    points = np.array(found[0])
    score = gm.inception_score(mixture.log_posteriors(points), splits=1).mean
    assert found[1]["inception_score"] == pytest.approx(score, abs=1e-9)


@in_a_browser
def test_a_story_moves_the_sliders_and_the_scores(open_page: Any) -> None:
    page = open_page()
    assert shown(page, "recall") > 0.9
    page.get_by_label("Story").select_option("Mode collapse")
    assert "Two modes are left" in page.locator("#what").inner_text()
    assert page.get_by_label("Modes dropped").input_value() == "6"
    assert shown(page, "recall") < 0.3
    assert shown(page, "precision") > 0.95
    assert shown(page, "inception_score") == pytest.approx(2, abs=0.1)
    shot(page, "collapse")


@in_a_browser
def test_the_stories_hold_with_the_draws_of_the_page(open_page: Any) -> None:
    page = open_page()

    def told(name: str) -> dict[str, float]:
        page.get_by_label("Story").select_option(name)
        settled(page)
        return {key: shown(page, key) for key in ("frechet_distance", "precision", "recall", "coverage", "authentic")}

    perfect = told("A perfect model")
    missing = told("Same FID, different fault: modes missing")
    invented = told("Same FID, different fault: modes invented")
    assert missing["frechet_distance"] == pytest.approx(invented["frechet_distance"], rel=0.05)
    assert missing["recall"] < 0.8 < missing["precision"] and invented["precision"] < 0.8 < invented["recall"]
    assert told("Memorisation with a fine FID")["authentic"] == 0 < perfect["authentic"]
    leaked = told("Data leakage")
    assert leaked["frechet_distance"] < perfect["frechet_distance"] and leaked["recall"] > perfect["recall"]
    page.get_by_label("Score against the training points").uncheck()
    page.locator("#scatter").get_by_text("real (held out)").last.wait_for()
    assert shown(page, "frechet_distance") > 2 * leaked["frechet_distance"]
    assert shown(page, "recall") < leaked["recall"]
    few = told("Too few samples")["frechet_distance"]
    assert few > 5 * perfect["frechet_distance"]


@in_a_browser
def test_sliders_that_contradict_each_other_say_so(open_page: Any) -> None:
    page = open_page()
    page.get_by_label("Modes dropped").fill("8")
    page.get_by_text("All 8 modes are dropped").wait_for()
    assert not page.locator("#shown").is_visible()
    page.get_by_label("Modes invented").fill("1")
    page.locator("#shown").wait_for()
    assert not page.locator("#problem").is_visible()


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Any, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe: pip install axe-playwright-python"
    )
    page = open_page(color_scheme=scheme, bypass_csp=True)  # of axe's own script
    found = axe.Axe().run(page).response["violations"]
    serious = [entry for entry in found if entry["impact"] in ("serious", "critical")]
    assert [(entry["id"], [node["html"][:120] for node in entry["nodes"][:3]]) for entry in serious] == []
    channels = re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (max(map(int, channels[:3])) < 80) == (scheme == "dark")
    shot(page, scheme)


@in_a_browser
def test_a_phone_scrolls_in_one_direction_only(open_page: Any) -> None:
    page = open_page(viewport={"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    shot(page, "phone")
