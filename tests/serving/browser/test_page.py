"""The page as a whole: layout, themes, loading, the token and the API reference."""

import threading

import pytest

from imagetext.serving.loading import LazyService
from imagetext.serving.sample import sample_examples
from imagetext.serving.settings import ServerSettings

from ..served import Served
from ..stand_ins import StandInCaptions, StandInMatches, StandInSearch, photo
from .page import NARROW, add_photo, is_highlighted, scene_photo, screenshot, wait_for

pytestmark = pytest.mark.browser


def test_the_heading_of_a_linked_tab_is_visible(served, open_page):
    page = open_page(f"{served.url}/#match", NARROW)
    page.wait_for_selector("#match:not([hidden])")
    page.evaluate("location.hash = 'search'")
    page.wait_for_selector("#search:not([hidden])")
    page.wait_for_timeout(200)
    places = [page.locator(each).bounding_box() for each in (".top", "#search h1")]
    assert places[1]["y"] >= places[0]["y"] + places[0]["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_too_wide_for_a_phone(served, open_page, scheme):
    page = open_page(served.url, NARROW, scheme, has_touch=True, is_mobile=True)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    add_photo(page, scene_photo())
    page.wait_for_selector("#sentence .word")
    page.tap("#sentence .word >> nth=1")
    assert is_highlighted(page, "caption")
    for tab in ("caption", "search", "match"):
        page.tap(f"#tab-{tab}")
        if tab == "search":
            page.fill("#query", "green circle")
            page.keyboard.press("Enter")
            page.wait_for_selector("#results button")
        if tab == "match":
            page.fill("#match-text", "a red shape")
            add_photo(page, photo(size=(400, 300)), kind="image/jpeg")
            page.wait_for_selector("#verdict:not([hidden])")
        page.evaluate("scrollTo(0, 0)")
        screenshot(page, f"phone-{tab}-{scheme}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= NARROW["width"], f"{tab} is {wide} pixels wide"


def test_the_dark_theme_is_dark(served, open_page):
    colours = []
    for scheme in ("light", "dark"):
        page = open_page(served.url, scheme=scheme)
        page.wait_for_selector("#tab-caption[aria-selected=true]")
        add_photo(page, scene_photo())
        page.wait_for_selector("#sentence .word")
        page.hover("#sentence .word >> nth=1")
        screenshot(page, f"caption-{scheme}")
        page.click("#tab-search")
        page.fill("#query", "blue square")
        page.keyboard.press("Enter")
        page.wait_for_selector("#results button")
        screenshot(page, f"search-{scheme}")
        page.click("#tab-match")
        page.click("#match-suggestions button >> nth=0")
        page.fill("#match-text", "a green shape")
        page.click("#match .examples button >> nth=0")
        page.wait_for_selector("#verdict:not([hidden])")
        screenshot(page, f"match-{scheme}")
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = ([int(v) for v in c[4:-1].split(",")] for c in colours)
    assert min(light) > 200 and max(dark) < 60


def test_progress_is_shown_and_the_tab_works_afterwards(open_page):
    release, started = threading.Event(), threading.Event()

    def slow(progress):
        progress(0.4, "loading the captioning model")
        started.set()
        assert release.wait(20)
        return StandInCaptions()

    def broken(progress):
        raise OSError("/home/someone/model.keras")

    with Served(caption=LazyService(slow), match=LazyService(broken)) as running:
        page = open_page(running.url)
        page.wait_for_selector("#caption .loading progress")
        assert started.wait(5)
        wait_for(page, "document.querySelector('#caption .loading').textContent.includes('40%')")
        assert page.is_hidden("#tab-search")
        screenshot(page, "loading")
        release.set()
        page.wait_for_selector("#caption .loading", state="hidden")
        page.click("#tab-match")
        page.wait_for_selector("#match .loading.failed")
        assert "/home" not in page.content()
        page.click("#tab-caption")
        add_photo(page, photo(), kind="image/jpeg")
        page.wait_for_selector("#sentence .word")


def test_an_index_offers_examples_once_it_is_loaded(open_page):
    release = threading.Event()

    def slow(progress):
        assert release.wait(20)
        return StandInSearch()

    with Served(caption=StandInCaptions(), search=LazyService(slow)) as running:
        page = open_page(running.url)
        page.wait_for_selector("#caption .drop")
        assert page.is_hidden("#caption .examples")
        release.set()
        wait_for(page, "document.querySelectorAll('#caption .examples img').length == 8")
        page.click("#tab-search")
        page.click("#search-suggestions button >> nth=0")
        wait_for(page, "document.querySelectorAll('#results img').length > 8")


def test_the_limitation_of_a_model_is_shown(open_page):
    service = StandInMatches()
    service.note = "knows four words only"
    with Served(match=service) as running:
        page = open_page(running.url)
        page.wait_for_selector("#match .loading.note")
        assert page.inner_text("#match .loading").strip() == "Knows four words only"
        screenshot(page, "note")


def test_the_token_is_entered_once(open_page):
    with Served(
        caption=StandInCaptions(),
        examples=sample_examples(),
        settings=ServerSettings(token="s3cret"),
    ) as running:
        page = open_page(running.url)
        page.wait_for_selector("#token:not([hidden])")
        screenshot(page, "token")
        page.fill("#token input", "s3cret")
        page.click("#token button")
        wait_for(page, "document.querySelector('#caption .examples img')?.naturalWidth > 0")
        assert page.is_hidden("#token") and page.is_hidden("#notice")
        other = open_page(f"{running.url}/#token=s3cret")
        wait_for(other, "document.querySelector('#caption .examples img')?.naturalWidth > 0")
        assert "s3cret" not in other.url
        wrong = open_page(f"{running.url}/#token=%zz")
        wrong.wait_for_selector("#token:not([hidden])")


def test_the_api_reference_works_offline(served, open_page):
    page = open_page(f"{served.url}/docs")
    page.wait_for_selector("#routes article")
    assert "/v1/caption" in page.inner_text("#routes")
    assert "curl" in page.inner_text("#routes")
    rows = "[...document.querySelectorAll('.api tr')].map(row => row.innerText.trim().split('\\t'))"
    rows = page.evaluate(rows)
    assert all(len(row) == 3 and all(row) for row in rows), rows
    (regions,) = [row for row in rows if row[0] == "regions" and "null" in row[2]]
    assert regions[2] == "object, or null" and "effect" in regions[1]
    screenshot(page, "docs")
