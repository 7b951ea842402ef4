"""The page in a real browser: every tab, dropping and pasting, errors in words, narrow and wide.

    pip install -e '.[web,browser]' && pytest -m browser tests/serving/test_browser.py

Chromium is looked for on the PATH (Debian: apt install chromium), or named by CHROMIUM. Pictures
are left in the folder that SCREENSHOTS names.
"""

import base64
import os
import shutil
import threading
from pathlib import Path

import pytest
from playwright import sync_api as playwright

from imagetext.serving.loading import LazyService
from imagetext.serving.sample import sample_examples
from imagetext.serving.settings import ServerSettings

from .served import Served
from .stand_ins import StandInCaptions, StandInMatches, StandInSearch, photo

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def served():
    with Served(
        caption=StandInCaptions(),
        match=StandInMatches(),
        search=StandInSearch(),
        examples=sample_examples(),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH (or CHROMIUM)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """open_page(url, ...) -> a page whose console stays clean; where not, the test fails."""
    opened = []

    def open_it(url, viewport=WIDE, scheme="light", **options):
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, **options)
        page, wrong = context.new_page(), []
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        refused = "Failed to load resource"  # what Chromium says of every status above 399
        page.on(
            "console",
            lambda line: (
                wrong.append(line.text)
                if line.type == "error" and refused not in line.text
                else None
            ),
        )
        elsewhere, origin = [], "/".join(url.split("/")[:3])
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((origin, "blob:", "data:"))
                else elsewhere.append(request.url)
            ),
        )
        page.goto(url)
        opened.append((context, wrong, elsewhere))
        return page

    yield open_it
    for context, wrong, elsewhere in opened:
        context.close()
        assert not wrong, wrong
        assert not elsewhere, f"the page asks other servers: {elsewhere}"


def picture(page, name):
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(700)
        page.screenshot(path=Path(folder) / f"{name}.png")


def a_scene(kind: str = "PNG") -> bytes:
    return next(iter(StandInSearch(1).photos.values()))


DROP = """([data, type, name, event]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  const target = document.querySelector("main");
  if (event === "paste") {
    dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
    return;
  }
  for (const kind of ["dragenter", "dragover", ...(event === "hold" ? [] : ["drop"])]) {
    const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
    target.dispatchEvent(new DragEvent(kind, options));
  }
}"""


def give(page, data: bytes, how="drop", kind="image/png", name="scene.png"):
    page.evaluate(DROP, [base64.b64encode(data).decode(), kind, name, how])


def until(page, condition: str) -> None:
    """Wait until something is true. (Playwright's own way would need `eval`, which we forbid.)"""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}")


def lit(page, tab: str) -> bool:
    return page.evaluate(f"document.querySelector('#{tab} canvas').classList.contains('lit')")


def test_a_dropped_photo_is_described_and_its_words_light_it(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    page.wait_for_selector("#caption .examples img")
    picture(page, "caption-empty")
    give(page, a_scene(), "hold")
    assert page.is_visible("#veil")
    give(page, a_scene())
    page.wait_for_selector("#sentence .word")
    assert page.is_hidden("#veil")
    assert page.inner_text("#sentence").endswith("shape on light paper")
    assert page.locator("#captions li").count() == 5
    assert not lit(page, "caption")
    page.hover("#sentence .word >> nth=2")
    until(page, "document.querySelector('#caption canvas').classList.contains('lit')")
    picture(page, "caption")
    page.mouse.move(0, 0)
    assert not lit(page, "caption")
    page.click("#captions button >> nth=1")
    assert page.inner_text("#sentence").endswith("on light")


def test_a_pasted_photo_is_described(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    give(page, photo(), "paste", "image/jpeg")
    page.wait_for_selector("#sentence .word")
    assert "red" in page.inner_text("#sentence")


def test_a_photo_is_picked_and_words_are_reached_by_the_keyboard(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    choosers = []
    # Asked for well before: a dialog that opens while Chromium is being told so is lost.
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
    assert lit(page, "caption")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "red"
    page.focus("#tab-caption")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#search") and page.evaluate("document.activeElement.id") == "tab-search"
    page.keyboard.press("ArrowLeft")
    assert page.is_visible("#caption") and page.is_visible("#sentence .word >> nth=0")


def test_word_by_word_plays_and_ends(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    page.click("#caption .examples button >> nth=1")
    page.click("#play")
    page.wait_for_selector("#sentence .word.lit")
    assert lit(page, "caption") and "Stop" in page.inner_text("#play")
    page.click("#play")
    assert not lit(page, "caption") and page.locator("#sentence .word.lit").count() == 0


def test_what_is_no_photo_is_refused_in_words(served, open_page):
    page = open_page(served.url)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    give(page, b"<html>not a photo</html>", kind="image/jpeg", name="dog.jpg")
    page.wait_for_selector("#notice:not([hidden])")
    assert "not a photo" in page.inner_text("#notice") and "{" not in page.inner_text("#notice")
    assert page.is_visible("#caption .drop")
    picture(page, "error")
    page.click("#notice button")
    assert page.is_hidden("#notice")


def test_photos_are_found_by_words_enlarged_and_searched_alike(served, open_page):
    page = open_page(f"{served.url}/#search")
    page.wait_for_selector("#search:not([hidden])")
    page.wait_for_selector("#hits button")  # some to begin with
    assert page.locator("#hits button").count() == 8
    page.fill("#without", "large")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notice:not([hidden])")
    assert "enter some text" in page.inner_text("#notice")
    page.fill("#words", "red star")
    page.fill("#without", "large")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#told').textContent.startsWith('best')")
    assert page.locator("#hits button").count() == 24
    first = page.get_attribute("#hits button >> nth=0", "title")
    assert "red" in first and "star" in first and "large" not in first
    assert "of 30" in page.inner_text("#told")
    until(
        page, "[...document.querySelectorAll('#hits img')].slice(0, 6).every(i => i.naturalWidth)"
    )
    picture(page, "search")
    page.click("#hits button >> nth=0")
    page.wait_for_selector("#large[open]")
    assert first in page.inner_text("#large figcaption")
    until(page, "document.querySelector('#large img').naturalWidth")
    picture(page, "search-large")
    page.keyboard.press("ArrowRight")
    assert first not in page.inner_text("#large figcaption")
    page.keyboard.press("ArrowLeft")
    page.click("#large [data-act=alike]")
    page.wait_for_selector("#chip:not([hidden])")
    until(page, "document.querySelector('#hits button') !== null")
    served_ids = served.app.state.dispatcher.services["search"].service.queries[-1]
    assert served_ids.photo_id is not None and served_ids.text is None
    page.click("#hits button >> nth=1")
    page.click("#large [data-act=caption]")
    page.wait_for_selector("#sentence .word")
    assert page.is_visible("#caption")


def test_photos_are_found_by_a_dropped_photo_and_words(served, open_page):
    page = open_page(f"{served.url}/#search")
    page.wait_for_selector("#search:not([hidden])")
    give(page, photo(), kind="image/jpeg")
    until(page, "document.querySelector('#told').textContent.startsWith('best')")
    page.fill("#words", "blue")
    page.keyboard.press("Enter")
    asked = served.app.state.dispatcher.services["search"].service.queries
    for _ in range(200):
        if asked[-1].text:
            break
        page.wait_for_timeout(50)
    assert asked[-1].text == "blue" and asked[-1].photo.startswith(b"BM")
    until(page, "document.querySelector('#hits button').title.includes('blue')")
    page.click("#chip button")
    assert page.is_hidden("#chip")


def test_a_sentence_is_matched_and_regions_are_lit(served, open_page):
    page = open_page(f"{served.url}/#match")
    page.wait_for_selector("#match .examples img")
    page.fill("#claim", "a red shape")
    page.click("#ask .go")
    assert "photo first" in page.inner_text("#notice")
    give(page, photo(size=(400, 300)), kind="image/jpeg")
    until(page, "document.querySelector('#match canvas').classList.contains('lit')")
    assert page.inner_text("#percent") == "93 %"
    assert "would be 41 %" in page.inner_text("#spoke")
    picture(page, "match")
    page.uncheck("#regions")
    assert not lit(page, "match")
    page.fill("#claim", "a blue shape")
    assert page.is_hidden("#verdict")  # which was the other sentence's
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#percent').textContent.startsWith('4')")
    assert "not fit" in page.inner_text("#says")
    page.fill("#claim", "an unknown thing")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notice:not([hidden])")
    assert "does not know" in page.inner_text("#notice") and page.is_hidden("#verdict")


def test_sentences_to_begin_with_are_searched_by(served, open_page):
    page = open_page(f"{served.url}/#search")
    page.wait_for_selector("#tries button")
    chosen = page.inner_text("#tries button >> nth=1")
    assert page.get_attribute("#words", "placeholder") == page.inner_text("#tries button >> nth=0")
    page.click("#tries button >> nth=1")
    page.wait_for_selector("#hits button")
    assert page.input_value("#words") == chosen
    until(page, "document.querySelector('#hits img').naturalWidth > 0")
    assert page.evaluate("getComputedStyle(document.querySelector('#hits img')).objectFit") == (
        "contain"
    )


def test_a_name_behind_the_hash_leaves_the_headline_in_sight(served, open_page):
    page = open_page(f"{served.url}/#match", NARROW)
    page.wait_for_selector("#match:not([hidden])")
    page.evaluate("location.hash = 'search'")
    page.wait_for_selector("#search:not([hidden])")
    page.wait_for_timeout(200)
    places = [page.locator(each).bounding_box() for each in (".top", "#search h1")]
    assert places[1]["y"] >= places[0]["y"] + places[0]["height"]


def test_a_large_photo_fills_its_frame_on_a_phone(served, open_page):
    page = open_page(f"{served.url}/#search", NARROW)
    page.wait_for_selector("#tries button")
    page.fill("#words", "red star")
    page.keyboard.press("Enter")
    page.click("#hits button >> nth=0")
    until(page, "document.querySelector('#large img').naturalWidth")
    photo, close = (page.locator(f"#large {each}").bounding_box() for each in ("img", ".close"))
    assert photo["height"] == pytest.approx(photo["width"], abs=1)  # the scenes are squares
    assert close["y"] >= photo["y"]
    assert close["x"] + close["width"] <= photo["x"] + photo["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(served, open_page, scheme):
    page = open_page(served.url, NARROW, scheme, has_touch=True, is_mobile=True)
    page.wait_for_selector("#tab-caption[aria-selected=true]")
    give(page, a_scene())
    page.wait_for_selector("#sentence .word")
    page.tap("#sentence .word >> nth=1")
    assert lit(page, "caption")
    for tab in ("caption", "search", "match"):
        page.tap(f"#tab-{tab}")
        if tab == "search":
            page.fill("#words", "green circle")
            page.keyboard.press("Enter")
            page.wait_for_selector("#hits button")
        if tab == "match":
            page.fill("#claim", "a red shape")
            give(page, photo(size=(400, 300)), kind="image/jpeg")
            page.wait_for_selector("#verdict:not([hidden])")
        page.evaluate("scrollTo(0, 0)")
        picture(page, f"phone-{tab}-{scheme}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= NARROW["width"], f"{tab} is {wide} pixels wide"


def test_dark_is_dark(served, open_page):
    colours = []
    for scheme in ("light", "dark"):
        page = open_page(served.url, scheme=scheme)
        page.wait_for_selector("#tab-caption[aria-selected=true]")
        give(page, a_scene())
        page.wait_for_selector("#sentence .word")
        page.hover("#sentence .word >> nth=1")
        picture(page, f"caption-{scheme}")
        page.click("#tab-search")
        page.fill("#words", "blue square")
        page.keyboard.press("Enter")
        page.wait_for_selector("#hits button")
        picture(page, f"search-{scheme}")
        page.click("#tab-match")
        page.click("#ideas button >> nth=0")
        page.fill("#claim", "a green shape")
        page.click("#match .examples button >> nth=0")
        page.wait_for_selector("#verdict:not([hidden])")
        picture(page, f"match-{scheme}")
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = ([int(v) for v in c[4:-1].split(",")] for c in colours)
    assert min(light) > 200 and max(dark) < 60


def test_loading_is_shown_and_the_tab_works_afterwards(open_page):
    let, told = threading.Event(), threading.Event()

    def slow(tell):
        tell(0.4, "reads the captioning model")
        told.set()
        assert let.wait(20)
        return StandInCaptions()

    def broken(tell):
        raise OSError("/home/someone/model.keras")

    with Served(caption=LazyService(slow), match=LazyService(broken)) as running:
        page = open_page(running.url)
        page.wait_for_selector("#caption .loading progress")
        assert told.wait(5)
        until(page, "document.querySelector('#caption .loading').textContent.includes('40 %')")
        assert page.is_hidden("#tab-search")
        picture(page, "loading")
        let.set()
        page.wait_for_selector("#caption .loading", state="hidden")
        page.click("#tab-match")
        page.wait_for_selector("#match .loading.failed")
        assert "/home" not in page.content()
        page.click("#tab-caption")
        give(page, photo(), kind="image/jpeg")
        page.wait_for_selector("#sentence .word")


def test_an_index_alone_offers_its_own_photos_and_captions_once_it_is_there(open_page):
    let = threading.Event()

    def slow(tell):
        assert let.wait(20)
        return StandInSearch()

    with Served(caption=StandInCaptions(), search=LazyService(slow)) as running:
        page = open_page(running.url)
        page.wait_for_selector("#caption .drop")
        assert page.is_hidden("#caption .examples")
        let.set()
        until(page, "document.querySelectorAll('#caption .examples img').length == 8")
        page.click("#tab-search")
        page.click("#tries button >> nth=0")
        until(page, "document.querySelectorAll('#hits img').length > 8")


def test_what_a_model_cannot_do_is_shown(open_page):
    matcher = StandInMatches()
    matcher.note = "knows four words only"
    with Served(match=matcher) as running:
        page = open_page(running.url)
        page.wait_for_selector("#match .loading.note")
        assert page.inner_text("#match .loading").strip() == "Knows four words only"
        picture(page, "note")


def test_a_token_is_asked_for_and_remembered(open_page):
    with Served(
        caption=StandInCaptions(),
        examples=sample_examples(),
        settings=ServerSettings(token="s3cret"),
    ) as running:
        page = open_page(running.url)
        page.wait_for_selector("#token:not([hidden])")
        picture(page, "token")
        page.fill("#token input", "s3cret")
        page.click("#token button")
        until(page, "document.querySelector('#caption .examples img')?.naturalWidth > 0")
        assert page.is_hidden("#token") and page.is_hidden("#notice")
        other = open_page(f"{running.url}/#token=s3cret")
        until(other, "document.querySelector('#caption .examples img')?.naturalWidth > 0")
        assert "s3cret" not in other.url
        wrong = open_page(f"{running.url}/#token=%zz")
        wrong.wait_for_selector("#token:not([hidden])")


def test_the_api_is_described_offline(served, open_page):
    page = open_page(f"{served.url}/docs")
    page.wait_for_selector("#routes article")
    assert "/v1/caption" in page.inner_text("#routes")
    assert "curl" in page.inner_text("#routes")
    rows = "[...document.querySelectorAll('.api tr')].map(row => row.innerText.trim().split('\\t'))"
    rows = page.evaluate(rows)
    assert all(len(row) == 3 and all(row) for row in rows), rows
    (regions,) = [row for row in rows if row[0] == "regions" and "null" in row[2]]
    assert regions[2] == "object, or null" and "effect" in regions[1]
    picture(page, "docs")
