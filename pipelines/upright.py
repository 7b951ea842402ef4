"""Photos as people see them: turned as their EXIF says, on white paper where they are transparent.

    image = upright(Image.open("photo.jpg"))             # RGB
    data = upright_bytes(Path("photo.jpg").read_bytes())

What decodes photos for a model takes them as they are stored, and leaves out what is transparent.
A photo that is searched for and the same photo in an index must come to it alike, whoever read it.
"""

import io

from PIL import Image, ImageOps

#: Larger photos are refused: they would take gigabytes to decode, and few are what they claim.
MOST_PIXELS = 100_000_000
PAPER = (255, 255, 255)
_ORIENTATION, _AS_STORED = 0x0112, (None, 1)


def upright(image: Image.Image) -> Image.Image:
    """RGB, as a page of white paper would show it."""
    return on_white(turned(image))


def turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is often broken, and seldom matters
        return image


def on_white(image: Image.Image) -> Image.Image:
    """RGB; of 16 bits the upper half, as models are given them."""
    if image.mode.startswith("I"):  # 16 bits a channel
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (*PAPER, 255))
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")


def upright_bytes(data: bytes) -> bytes:
    """The very same bytes where nothing is to be done, or nothing can be: of more than
    `MOST_PIXELS`, or no photo. Else those of a bitmap."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS or _is_upright(image):
                return data
            written = io.BytesIO()
            upright(image).save(written, "BMP")
            return written.getvalue()
    except Exception:  # Pillow raises many kinds; who decodes it says what is wrong
        return data


def _is_upright(image: Image.Image) -> bool:
    return not image.has_transparency_data and image.getexif().get(_ORIENTATION) in _AS_STORED
