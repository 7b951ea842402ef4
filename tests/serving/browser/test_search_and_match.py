"""Search and matching in the browser."""

import pytest

from ..stand_ins import photo
from .page import NARROW, add_photo, is_highlighted, screenshot, wait_for

pytestmark = pytest.mark.browser


def test_photos_are_found_by_text_enlarged_and_used_as_examples(served, open_page):
    page = open_page(f"{served.url}/#search")
    page.wait_for_selector("#search:not([hidden])")
    page.wait_for_selector("#results button")  # the examples
    assert page.locator("#results button").count() == 8
    page.fill("#without", "large")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notice:not([hidden])")
    assert "enter some text" in page.inner_text("#notice")
    page.fill("#query", "red star")
    page.fill("#without", "large")
    page.keyboard.press("Enter")
    wait_for(page, "document.querySelector('#search-status').textContent.startsWith('Top')")
    assert page.locator("#results button").count() == 24
    first = page.get_attribute("#results button >> nth=0", "title")
    assert "red" in first and "star" in first and "large" not in first
    assert "of 30" in page.inner_text("#search-status")
    wait_for(
        page,
        "[...document.querySelectorAll('#results img')].slice(0, 6).every(i => i.naturalWidth)",
    )
    screenshot(page, "search")
    page.click("#results button >> nth=0")
    page.wait_for_selector("#large[open]")
    assert first in page.inner_text("#large figcaption")
    wait_for(page, "document.querySelector('#large img').naturalWidth")
    screenshot(page, "search-large")
    page.keyboard.press("ArrowRight")
    assert first not in page.inner_text("#large figcaption")
    page.keyboard.press("ArrowLeft")
    page.click("#large [data-act=similar]")
    page.wait_for_selector("#chip:not([hidden])")
    wait_for(page, "document.querySelector('#results button') !== null")
    query = served.app.state.dispatcher.services["search"].service.queries[-1]
    assert query.photo_id is not None and query.text is None
    page.click("#results button >> nth=1")
    page.click("#large [data-act=caption]")
    page.wait_for_selector("#sentence .word")
    assert page.is_visible("#caption")


def test_photos_are_found_by_a_dropped_photo_and_text(served, open_page):
    page = open_page(f"{served.url}/#search")
    page.wait_for_selector("#search:not([hidden])")
    add_photo(page, photo(), kind="image/jpeg")
    wait_for(page, "document.querySelector('#search-status').textContent.startsWith('Top')")
    page.fill("#query", "blue")
    page.keyboard.press("Enter")
    queries = served.app.state.dispatcher.services["search"].service.queries
    for _ in range(200):
        if queries[-1].text:
            break
        page.wait_for_timeout(50)
    assert queries[-1].text == "blue" and queries[-1].photo.startswith(b"BM")
    wait_for(page, "document.querySelector('#results button').title.includes('blue')")
    page.click("#chip button")
    assert page.is_hidden("#chip")


def test_a_sentence_is_matched_and_regions_are_highlighted(served, open_page):
    page = open_page(f"{served.url}/#match")
    page.wait_for_selector("#match .examples img")
    page.fill("#match-text", "a red shape")
    page.click("#ask .go")
    assert "photo first" in page.inner_text("#notice")
    add_photo(page, photo(size=(400, 300)), kind="image/jpeg")
    wait_for(page, "document.querySelector('#match canvas').classList.contains('highlighted')")
    assert page.inner_text("#percent") == "93%"
    assert "probability is 41%" in page.inner_text("#explanation")
    screenshot(page, "match")
    page.uncheck("#regions")
    assert not is_highlighted(page, "match")
    page.fill("#match-text", "a blue shape")
    assert page.is_hidden("#verdict")  # of the other sentence
    page.keyboard.press("Enter")
    wait_for(page, "document.querySelector('#percent').textContent.startsWith('4')")
    assert "No match" in page.inner_text("#verdict-text")
    page.fill("#match-text", "an unknown thing")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notice:not([hidden])")
    assert "does not know" in page.inner_text("#notice") and page.is_hidden("#verdict")


def test_suggested_sentences_are_searched_for(served, open_page):
    page = open_page(f"{served.url}/#search")
    page.wait_for_selector("#search-suggestions button")
    chosen = page.inner_text("#search-suggestions button >> nth=1")
    assert page.get_attribute("#query", "placeholder") == page.inner_text(
        "#search-suggestions button >> nth=0"
    )
    page.click("#search-suggestions button >> nth=1")
    page.wait_for_selector("#results button")
    assert page.input_value("#query") == chosen
    wait_for(page, "document.querySelector('#results img').naturalWidth > 0")
    assert page.evaluate("getComputedStyle(document.querySelector('#results img')).objectFit") == (
        "contain"
    )


def test_a_large_photo_fills_its_frame_on_a_phone(served, open_page):
    page = open_page(f"{served.url}/#search", NARROW)
    page.wait_for_selector("#search-suggestions button")
    page.fill("#query", "red star")
    page.keyboard.press("Enter")
    page.click("#results button >> nth=0")
    wait_for(page, "document.querySelector('#large img').naturalWidth")
    photo, close = (page.locator(f"#large {each}").bounding_box() for each in ("img", ".close"))
    assert photo["height"] == pytest.approx(photo["width"], abs=1)  # the scenes are squares
    assert close["y"] >= photo["y"]
    assert close["x"] + close["width"] <= photo["x"] + photo["width"]
