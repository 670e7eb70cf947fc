"""The page in a real browser, against a server of its own process. Nothing but loopback may be asked for.

Skipped where there is no Chromium (`apt-get install chromium`); `.ci/run` fails if it is.
"""

from __future__ import annotations

import io
import re
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browsers import PATIENCE, chromium, in_a_browser, opening
from tests.servers import serving
from tests.test_event_files import NAME, event, scalar, write

ROOT = Path(__file__).parents[1]
pytestmark = [in_a_browser, pytest.mark.timeout(300)]
SHOTS = ROOT / "screenshots"  # git-ignored, to be looked at


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
def open_page(address: str, browser: Any) -> Iterator[Any]:
    """Opens the page in a context of its own; whatever it asks of another host fails the test."""
    with opening(browser, address) as opened:
        yield opened


def shot(page: Any, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).first.click()


def status(page: Any, where: str = "evaluate") -> Any:
    return page.locator(f"#{where}-status")


def zipped(number: int, *, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(number):
            base = rng.integers(0, 255, (4, 4, 3), np.uint8)
            picture = io.BytesIO()
            Image.fromarray(base).resize((32, 32), Image.Resampling.BICUBIC).save(picture, "PNG")
            archive.writestr(f"{index:03d}.png", picture.getvalue())
    return buffer.getvalue()


def upload(page: Any, name: str, content: bytes, *, side: int = 0) -> None:
    field = page.locator('#panel-evaluate input[type="file"], input[type="file"]').nth(side)
    field.set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})
    page.get_by_text(name).first.wait_for()


def fewer(page: Any, number: int) -> None:
    page.get_by_role("button", name="Advanced").click()
    field = page.get_by_label(re.compile("number input for Images of each side")).first
    field.fill(str(number))
    field.press("Tab")


# What is there before anybody asks


def test_the_first_view_is_a_finished_report(open_page: Any) -> None:
    page = open_page()
    report = page.locator("#evaluate-report")
    assert report.get_by_text("Fréchet distance").first.is_visible()
    assert report.get_by_text("Findings").first.is_visible()
    assert report.locator("svg").count() >= 2 and report.locator("img").count() >= 12
    assert "digits-gan" in report.inner_text()
    shot(page, "evaluate")


@pytest.mark.parametrize("name", ["Compare", "Scorecard", "Training", "Playground", "What the numbers mean"])
def test_every_tab_is_full_from_the_start(open_page: Any, name: str) -> None:
    page = open_page()
    tab(page, name)
    page.wait_for_timeout(800)
    text = page.locator("body").inner_text()
    expected = {
        "Compare": "best beyond noise",
        "Scorecard": "none leads in all six",
        "Training": "Step of the confusion matrix",
        "Playground": "Nothing stands out",
        "What the numbers mean": "When these thresholds do not apply",
    }[name]
    assert expected in text
    shot(page, name.split()[0].lower())


# Evaluate


def test_an_example_runs_to_its_report(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    page.get_by_label("Generated", exact=True).click()
    page.get_by_role("option", name="Digits of a model that copies (example)").click()
    fewer(page, 300)
    page.locator("#evaluate-run").click()
    expect(status(page)).to_contain_text("images", timeout=PATIENCE)
    expect(status(page)).to_contain_text("Done in", timeout=PATIENCE)
    assert "look like copies" in page.locator("#evaluate-report").inner_text()
    with page.expect_download() as download:
        page.locator("#download-json").click()
    assert '"genmetrics.report/1"' in Path(download.value.path()).read_text()[:200]


def test_a_zip_of_300_images_is_scored(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    upload(page, "mine.zip", zipped(300))
    page.locator("#evaluate-run").click()
    expect(status(page)).to_contain_text("Done in", timeout=PATIENCE)
    report = page.locator("#evaluate-report").inner_text()
    assert "mine.zip" in report and "300 generated images" in report
    assert "/tmp" not in report


def a_gigabyte_of_zeros() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros.png", "w") as member:
        for _ in range(1024):
            member.write(bytes(1 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bomb.zip", None, "unpack"),
        ("empty.zip", b"PK\x05\x06" + 18 * b"\0", "empty"),
        ("words.png", b"these are words\n" * 20, "no image"),
    ],
)
def test_a_bad_upload_gets_a_helpful_message(open_page: Any, name: str, content: bytes | None, message: str) -> None:
    from playwright.sync_api import expect

    page = open_page()
    upload(page, name, content or a_gigabyte_of_zeros())
    start = time.perf_counter()
    page.locator("#evaluate-run").click()
    failed = page.locator("#evaluate-status .failed")
    expect(failed).to_be_visible(timeout=PATIENCE)
    print(f"{name}: {failed.inner_text()} ({time.perf_counter() - start:.1f} s)")
    assert name in failed.inner_text() and re.search(message, failed.inner_text(), re.I), failed.inner_text()
    expect(page.locator("#evaluate-run")).to_be_enabled()


def test_stop_stops(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    fewer(page, 1700)
    page.locator("#evaluate-run").click()
    expect(status(page)).to_contain_text(re.compile(r"[\d,]+ of [\d,]+ images"), timeout=PATIENCE)
    page.locator("#evaluate-stop").click()
    expect(status(page)).to_contain_text("Stopped", timeout=PATIENCE)
    expect(page.locator("#evaluate-run")).to_be_enabled()


def test_weights_that_came_meanwhile_are_offered_after_a_reload(browser: Any, tmp_path: Path) -> None:
    """The weights are a file that says so: they cannot be had here."""
    flag, script = tmp_path / "weights", tmp_path / "start.py"
    script.write_text(
        f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(ROOT / 'demo')!r})\nimport network\n"
        f"network.has_published_fid = Path({str(flag)!r}).exists\nimport app\napp.launch()\n"
    )
    with serving(sys.executable, script, tmp_path / "home") as address:
        page = browser.new_page()
        for there in (False, True):
            if there:
                flag.touch()
            page.goto(address)
            page.get_by_role("button", name="Advanced").click()
            page.get_by_label("Features").first.click()
            page.get_by_role("option", name=re.compile("Built-in")).first.wait_for()
            assert (page.get_by_role("option", name=re.compile("ImageNet")).count() == 1) == there
        page.get_by_role("option", name=re.compile("ImageNet")).click()
        page.locator("#evaluate-run").click()
        failed = page.locator("#evaluate-status .failed")
        failed.wait_for(timeout=PATIENCE)
        assert "genmetrics bundles fetch inception-fid" in failed.inner_text()  # it was asked for, and is not there
        page.close()


# The other tabs


def test_compare_marks_the_best_in_words(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    tab(page, "Compare")
    slider = page.get_by_label(re.compile("number input for Images of each side")).last
    slider.fill("200")
    slider.press("Tab")
    page.locator("#compare-run").click()
    expect(page.locator("#compare-status")).to_contain_text("Done", timeout=2 * PATIENCE)
    text = page.locator("#compare-table").inner_text()
    assert all(name in text for name in ("digits-gan", "digits-vae", "digits-memoriser"))


def test_a_scorecard_of_ones_own_choice(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    tab(page, "Scorecard")
    shown = page.locator("#scorecard-shown")
    assert all(name in shown.inner_text() for name in ("digits-flow", "digits-diffusion", "textbook: ✗ no"))
    page.get_by_role("button", name="Model that copies (digits-memoriser): latent space").click()
    expect(page.locator("#latent-digits-memoriser")).to_contain_text("The picture jumps on", timeout=PATIENCE)
    page.get_by_label("Variational autoencoder").uncheck()
    field = page.get_by_label(re.compile("number input for Images of each generator"))
    field.fill("100")
    field.press("Tab")
    page.locator("#scorecard-run").click()
    expect(page.locator("#scorecard-status")).to_contain_text("digits-gan", timeout=PATIENCE)
    expect(page.locator("#scorecard-status")).to_contain_text("Done in", timeout=3 * PATIENCE)
    own = page.locator("#scorecard-own").inner_text()
    assert "digits-gan" in own and "digits-vae" not in own


def test_a_scorecard_of_nothing_is_refused_in_words(open_page: Any) -> None:
    page = open_page()
    tab(page, "Scorecard")
    for name in ("Variational autoencoder", "GAN"):
        page.get_by_label(name, exact=True).uncheck()
    page.locator("#scorecard-run").click()
    page.locator("#scorecard-status .failed").get_by_text("No generator is chosen").wait_for(timeout=PATIENCE)


def test_the_training_slider_moves_the_confusion_matrix(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    tab(page, "Training")
    matrix = page.locator(".gm-confusion caption")
    expect(matrix).to_contain_text("At step 8,000")
    field = page.get_by_label(re.compile("number input for Step"))
    field.fill("250")
    field.press("Enter")
    expect(matrix).to_contain_text("At step 250", timeout=PATIENCE)


def test_a_log_of_ones_own_is_judged(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    tab(page, "Training")
    lines = [f'{{"step": {step}, "real_logit": [1, -1], "generated_logit": [1, -1]}}' for step in range(20)]
    page.locator('#training-log input[type="file"]').set_input_files(
        {"name": "log.jsonl", "mimeType": "text/plain", "buffer": "\n".join(lines).encode()}
    )
    expect(page.locator(".gm-verdict.guessing")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".gm-confusion caption")).to_contain_text("At step 19")
    expect(page.get_by_text("Calibration error").first).to_be_visible()


def test_an_event_file_is_read_and_a_damaged_one_refused_in_words(open_page: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    events = [event(step, scalar("Loss/D", 1.4), scalar("Loss/G", 0.7)) for step in range(12)]
    whole = write(tmp_path, *events)
    page = open_page()
    tab(page, "Training")
    field = page.locator('#training-log input[type="file"]')
    field.set_input_files({"name": whole.name, "mimeType": "application/octet-stream", "buffer": whole.read_bytes()})
    expect(page.locator(".gm-verdict.losses_only")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("nothing to count")).to_be_visible()
    page = open_page()
    tab(page, "Training")
    field = page.locator('#training-log input[type="file"]')
    field.set_input_files({"name": NAME, "mimeType": "application/octet-stream", "buffer": b"no events at all" * 9})
    refused = page.locator(".gm-verdict").filter(
        has_text=f"{NAME} is no event file"
    )  # its name alone, not where it lies
    expect(refused.first).to_be_visible(timeout=PATIENCE)
    assert "/tmp" not in refused.first.inner_text()


def test_a_story_of_the_playground(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    tab(page, "Playground")
    expect(page.locator("#playground-points .gm-reading")).to_contain_text("Nothing stands out")
    page.get_by_label("Story").click()
    page.get_by_role("option", name="Mode collapse").click()
    expect(page.locator("#playground-story")).to_contain_text("Two modes are left", timeout=PATIENCE)
    expect(page.locator("#playground-points .gm-reading")).not_to_contain_text("Nothing stands out")
    shot(page, "playground-collapse")


def test_knobs_of_digits_move_the_scores(open_page: Any) -> None:
    from playwright.sync_api import expect

    page = open_page()
    tab(page, "Playground")
    tab(page, "Digits")
    words = page.locator("#playground-digits .gm-reading")
    expect(words).to_contain_text("Nothing stands out")
    field = page.get_by_label(re.compile("number input for Digits dropped"))
    field.fill("5")
    field.press("Enter")
    expect(words).to_contain_text("recall fell", timeout=PATIENCE)
    page.locator('button[data-testid="reset-button"]:visible').first.click()
    expect(words).to_contain_text("Nothing stands out", timeout=PATIENCE)
    shot(page, "playground-digits")


# For everybody


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(open_page: Any, dark: bool) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page("?__theme=dark" if dark else "?__theme=light")
    for name in ("Evaluate", "Compare", "Scorecard", "Training", "Playground"):
        tab(page, name)
        page.wait_for_timeout(800)
        found = Axe().run(page).response["violations"]
        serious = [entry for entry in found if entry["impact"] in ("serious", "critical")]
        told = [(entry["id"], [node["html"][:120] for node in entry["nodes"][:3]]) for entry in serious]
        assert told == [], (name, told)


def test_dark_mode_is_dark(open_page: Any) -> None:
    page = open_page("?__theme=dark")
    grounds = "['.gradio-container', '#evaluate-report .genmetrics']"
    colours = page.evaluate(f"{grounds}.map(s => getComputedStyle(document.querySelector(s)).backgroundColor)")
    for colour in colours:
        channels = [int(part) for part in re.findall(r"\d+", colour)[:3]]
        assert max(channels) < 80, colours
    shot(page, "evaluate-dark")


def test_a_phone_scrolls_in_one_direction_only(open_page: Any) -> None:
    page = open_page(viewport={"width": 380, "height": 800})
    for name in ("Evaluate", "Compare", "Scorecard", "Training", "Playground"):
        if name != "Evaluate":
            choice = page.get_by_role("tab", name=name, exact=True).first
            if not choice.is_visible():
                page.locator(".overflow-menu button").first.click()
                choice = page.locator(".overflow-dropdown").get_by_text(name).first
            choice.click()
            page.wait_for_timeout(800)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        shot(page, f"phone-{name.lower()}")
        assert wide <= 1, name
