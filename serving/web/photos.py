"""Photos that strangers send: known by their content, measured before they are unpacked.

clean = cleaned(data, Settings())                # -> bytes of a BMP file, upright, RGB; or Refused
jpeg = thumbnail(data, 320, Settings())

Only Pillow ever parses what a client sent, and only as one of five formats; the models are given
the pixels anew, in the plainest file there is.
"""

import io

import numpy as np
from PIL import Image, ImageOps

from serving.web.refusals import Refused
from serving.web.settings import Settings

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
#: Magic bytes at a place, of the formats that are taken.
MAGIC = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (0, b"GIF8"), (0, b"BM"), (8, b"WEBP"))
PAPER = (255, 255, 255)


def cleaned(data: bytes, settings: Settings) -> bytes:
    """The same photo as an upright RGB bitmap of at most `longest_side`."""
    written = io.BytesIO()
    upright(data, settings.longest_side, settings).save(written, "BMP")
    return written.getvalue()


def thumbnail(data: bytes, side: int, settings: Settings) -> bytes:
    """The same photo as a JPEG file, no side longer than `side`."""
    written = io.BytesIO()
    upright(data, side, settings).save(written, "JPEG", quality=86, optimize=True)
    return written.getvalue()


def upright(data: bytes, side: int, settings: Settings) -> Image.Image:
    """Bytes -> RGB, turned as its EXIF says, no side longer than `side`."""
    if not any(data[at : at + len(magic)] == magic for at, magic in MAGIC):
        raise Refused(415, "no-photo", "That is no photo. JPEG, PNG, GIF, BMP and WebP are read.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _measured(image, settings)
            image.draft("RGB", (side, side))
            image.load()
            image = _as_rgb(_turned(image))
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            image.info.clear()  # where and by whom it was taken is nobody's business
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(settings) from error
    except Refused:
        raise
    except Exception as error:  # Pillow's readers raise nearly every kind for damaged files
        raise Refused(415, "damaged", "The photo is damaged or cut short.") from error


def _measured(image: Image.Image, settings: Settings) -> None:
    """Refuse what would unpack to too much; so far only the header has been read."""
    if image.width * image.height > settings.most_pixels:
        raise _too_large(settings)


def _too_large(settings: Settings) -> Refused:
    told = f"The photo has more than {settings.most_pixels // 1_000_000} million pixels."
    return Refused(413, "too-many-pixels", f"{told} Please send a smaller one.")


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is often broken, and seldom matters
        return image


def _as_rgb(image: Image.Image) -> Image.Image:
    """RGB, as a page of white paper would show it."""
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray((deep >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (*PAPER, 255))
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")
