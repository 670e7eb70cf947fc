"""Chromium for tests of pages. Nothing but loopback may be asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
PATIENCE = 60_000  # milliseconds; how long things take is for the benchmarks


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opening(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """A function that opens the app in a context of its own. Whatever a page asks of another host fails at the end."""
    asked: list[str] = []
    contexts = []

    def opened(query: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **options})
        contexts.append(context)

        def only_loopback(route: Any) -> None:
            url = urlsplit(route.request.url)
            if url.hostname in ("127.0.0.1", "localhost") or url.scheme in ("data", "blob"):
                route.continue_()
            else:
                asked.append(route.request.url)
                route.abort()

        context.route("**/*", only_loopback)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address + query)
        page.locator("#evaluate-report .genmetrics").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert asked == [], "the page asked another host"
