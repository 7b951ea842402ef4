"""The results of a search on one sheet, with scores and file names.

montage(results, describe_query("a dog in snow", without="people")).save("results.png")
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from imagetext.pipelines.upright import MOST_PIXELS, upright
from imagetext.retrieval.index.reader import SearchResult

SIDE, GAP, LINE, COLUMNS = 224, 12, 18, 4
PAPER, INK, PALE = (255, 255, 255), (28, 30, 34), (226, 228, 232)


def montage(results: Sequence[SearchResult], title: str = "") -> Image.Image:
    """Draw photos in rows of four, best first; grey for one that can no longer be read."""
    columns = max(1, min(COLUMNS, len(results)))
    rows = -(-len(results) // columns)
    top = GAP + (2 * LINE if title else 0)
    cell = SIDE + GAP, SIDE + 2 * LINE + GAP
    sheet = Image.new("RGB", (GAP + columns * cell[0], top + rows * cell[1]), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    if title:
        draw.text((GAP, GAP), shorten(title, draw, font, sheet.width - 2 * GAP), INK, font)
    for number, result in enumerate(results):
        left = GAP + number % columns * cell[0]
        upper = top + number // columns * cell[1]
        picture = thumbnail(result)
        draw.rectangle((left, upper, left + SIDE - 1, upper + SIDE - 1), PALE)
        if picture:
            at = (left + (SIDE - picture.width) // 2, upper + (SIDE - picture.height) // 2)
            sheet.paste(picture, at)
        name = shorten(Path(result.path).name, draw, font, SIDE)
        draw.text((left, upper + SIDE + 2), f"{number + 1}.  {result.score:.3f}", INK, font)
        draw.text((left, upper + SIDE + 2 + LINE), name, INK, font)
    return sheet


def describe_query(
    text: str | None, photo: str | Path | None = None, without: str | None = None
) -> str:
    """A query in words: "at night, like street.jpg, without cars"."""
    parts = [text and text.strip(), photo and f"like {Path(photo).name}"]
    parts += [without and without.strip() and f"without {without.strip()}"]
    return ", ".join(part for part in parts if part)


def thumbnail(result: SearchResult, side: int = SIDE) -> Image.Image | None:
    """The photo in RGB, `side` pixels high or wide; None if none of its files can be read."""
    for path in result.paths:
        try:
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    continue
                image.draft("RGB", (2 * side, 2 * side))
                photo = upright(image)
        except Exception:  # Pillow raises many kinds; still show the other photos
            continue
        scale = side / max(photo.size)
        return photo.resize([max(1, round(scale * length)) for length in photo.size])
    return None


def shorten(text: str, draw: ImageDraw.ImageDraw, font, width: int) -> str:
    """As much of a text as fits into one line."""
    text = " ".join(text.encode(errors="replace").decode().split())
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "...", font) > width:
        text = text[:-1]
    return text + "..."
