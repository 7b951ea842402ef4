"""A real browser on an app around stand-ins.

    pip install -e '.[web,browser]' && pytest -m browser tests/serving/browser

Uses the chromium on the PATH (Debian: apt install chromium), or the one named by CHROMIUM. Writes
screenshots to the folder named by SCREENSHOTS, if it is set.
"""

import os
import shutil

import pytest

from .page import WIDE

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def served():
    from imagetext.serving.sample import sample_examples

    from ..served import Served
    from ..stand_ins import StandInCaptions, StandInMatches, StandInSearch

    with Served(
        caption=StandInCaptions(),
        match=StandInMatches(),
        search=StandInSearch(),
        examples=sample_examples(),
    ) as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH, and CHROMIUM is not set")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """open_page(url, ...) -> a page; the test fails if it logs errors or contacts other servers."""
    pages = []

    def open_page(url, viewport=WIDE, scheme="light", **options):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, **options)
        page, errors, foreign = context.new_page(), [], []
        origin = "/".join(url.split("/")[:3])

        def check_console(message):
            # Chromium logs "Failed to load resource" for every response with a status above 399.
            if message.type == "error" and "Failed to load resource" not in message.text:
                errors.append(message.text)

        def check_request(request):
            if not request.url.startswith((origin, "blob:", "data:")):
                foreign.append(request.url)

        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", check_console)
        page.on("request", check_request)
        page.goto(url)
        pages.append((context, errors, foreign))
        return page

    yield open_page
    for context, errors, foreign in pages:
        context.close()
        assert not errors, errors
        assert not foreign, f"the page contacts other servers: {foreign}"
