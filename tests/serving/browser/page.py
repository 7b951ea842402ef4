"""What the tests do with a page: add photos, wait, and take screenshots."""

import base64
import os
from pathlib import Path

from ..stand_ins import StandInSearch

WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def screenshot(page, name):
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(700)
        page.screenshot(path=Path(folder) / f"{name}.png")


def scene_photo() -> bytes:
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


def add_photo(page, data: bytes, how="drop", kind="image/png", name="scene.png"):
    page.evaluate(DROP, [base64.b64encode(data).decode(), kind, name, how])


def wait_for(page, condition: str) -> None:
    """Wait until something is true. (Playwright's own way would need `eval`, which we forbid.)"""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}")


def is_highlighted(page, tab: str) -> bool:
    return page.evaluate(
        f"document.querySelector('#{tab} canvas').classList.contains('highlighted')"
    )
