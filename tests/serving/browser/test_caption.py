"""Captioning in the browser."""

import pytest

from ..stand_ins import photo
from .page import add_photo, is_highlighted, scene_photo, screenshot, wait_for

pytestmark = pytest.mark.browser


def test_a_dropped_photo_is_described_and_words_highlight_regions(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    page.wait_for_selector("#caption .examples img")
    screenshot(page, "caption-empty")
    add_photo(page, scene_photo(), "hold")
    assert page.is_visible("#drop-overlay")
    add_photo(page, scene_photo())
    page.wait_for_selector("#sentence .word")
    assert page.is_hidden("#drop-overlay")
    assert page.inner_text("#sentence").endswith("shape on light paper")
    assert page.locator("#captions li").count() == 5
    assert not is_highlighted(page, "caption")
    page.hover("#sentence .word >> nth=2")
    wait_for(page, "document.querySelector('#caption canvas').classList.contains('highlighted')")
    screenshot(page, "caption")
    page.mouse.move(0, 0)
    assert not is_highlighted(page, "caption")
    page.click("#captions button >> nth=1")
    assert page.inner_text("#sentence").endswith("on light")


def test_a_pasted_photo_is_described(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    add_photo(page, photo(), "paste", "image/jpeg")
    page.wait_for_selector("#sentence .word")
    assert "red" in page.inner_text("#sentence")


def test_everything_is_reachable_by_the_keyboard(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    choosers = []
    # Registered early: a dialog that opens while Chromium is processing this would be lost.
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.wait_for_selector("#caption .examples img")
    page.wait_for_timeout(300)
    page.focus("#caption .drop")
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert len(choosers) == 1
    choosers[0].set_files({"name": "x.jpg", "mimeType": "image/jpeg", "buffer": photo()})
    page.wait_for_selector("#sentence .word")
    page.focus("#sentence .word >> nth=0")
    assert is_highlighted(page, "caption")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "red"
    page.focus("#tab-caption")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#search") and page.evaluate("document.activeElement.id") == "tab-search"
    page.keyboard.press("ArrowLeft")
    assert page.is_visible("#caption") and page.is_visible("#sentence .word >> nth=0")


def test_attention_is_played_word_by_word(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    page.click("#caption .examples button >> nth=1")
    page.click("#play")
    page.wait_for_selector("#sentence .word.highlighted")
    assert is_highlighted(page, "caption") and "Stop" in page.inner_text("#play")
    page.click("#play")
    assert (
        not is_highlighted(page, "caption")
        and page.locator("#sentence .word.highlighted").count() == 0
    )


def test_a_file_that_is_not_a_photo_is_refused(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    add_photo(page, b"<html>not a photo</html>", kind="image/jpeg", name="dog.jpg")
    page.wait_for_selector("#notice:not([hidden])")
    assert "not a photo" in page.inner_text("#notice") and "{" not in page.inner_text("#notice")
    assert page.is_visible("#caption .drop")
    screenshot(page, "error")
    page.click("#notice button")
    assert page.is_hidden("#notice")
