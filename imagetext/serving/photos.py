"""Photos that strangers send: known by their content, measured before they are unpacked.

clean = cleaned(data, Settings())                # -> bytes of a BMP file, upright, RGB; or Refused
jpeg = thumbnail(data, 320, Settings())

Only Pillow ever parses what a client sent, and only as one of five formats; the models are given
the pixels anew, in the plainest file there is. A photo is unpacked once, in the form that its file
has; all that is done to it then is done to its tiles. (What unpacking itself may take is bounded
in `imagetext.serving.decoding`.)
"""

import io

from PIL import Image

from imagetext.pipelines.upright import on_paper
from imagetext.serving.refusals import Refused
from imagetext.serving.settings import Settings

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
#: Magic bytes at a place, of the formats that are taken.
MAGIC = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (0, b"GIF8"), (0, b"BM"), (8, b"WEBP"))
TILE = 1024
#: What begins each pass over a JPEG's pixels; nowhere else do its pixels have these bytes.
SCAN = b"\xff\xda"
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    """Bytes -> RGB, turned as its EXIF says, no side longer than `side`. (Nothing else of the file
    is kept: where and by whom a photo was taken is nobody's business.)"""
    if not any(data[at : at + len(magic)] == magic for at, magic in MAGIC):
        raise Refused(415, "no-photo", "That is no photo. JPEG, PNG, GIF, BMP and WebP are read.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _measured(image, data, settings)
            image.draft("RGB", (side, side))
            image.load()
            turn = _turn(image)
            image = _shrunk(image, side)
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            return image.transpose(turn) if turn is not None else image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(settings) from error
    except (Refused, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise nearly every kind for damaged files
        raise Refused(415, "damaged", "The photo is damaged or cut short.") from error


def _measured(image: Image.Image, data: bytes, settings: Settings) -> None:
    """Refuse what would unpack to too much; so far only the header has been read."""
    pixels = image.width * image.height
    if pixels > settings.most_pixels:
        raise _too_large(settings)
    if image.format == "JPEG" and pixels * data.count(SCAN) > settings.most_scanned:
        told = "The photo is made of too many passes over too many pixels."
        raise Refused(413, "too-many-scans", f"{told} Please save it anew, or smaller.")


def _too_large(settings: Settings) -> Refused:
    told = f"The photo has more than {settings.most_pixels // 1_000_000} million pixels."
    return Refused(413, "too-many-pixels", f"{told} Please send a smaller one.")


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # EXIF is often broken, and seldom matters
        return None


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """RGB, by a whole number smaller, yet no smaller than twice `side`. Tile by tile: a copy of the
    whole in a wider form can take many times what the file let expect."""
    by = max(1, max(image.size) // (2 * side))
    step = max(1, TILE // by) * by
    small = Image.new("RGB", (-(-image.width // by), -(-image.height // by)))
    for top in range(0, image.height, step):
        for left in range(0, image.width, step):
            corner = min(left + step, image.width), min(top + step, image.height)
            tile = on_paper(image.crop((left, top, *corner))).reduce(by)
            small.paste(tile, (left // by, top // by))
    return small
