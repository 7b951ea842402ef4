"""Photos from clients: recognised by content, measured before they are decoded, and rewritten.

    bitmap = sanitize_photo(data, ServerSettings())  # a BMP file, upright, RGB; or ApiError
    jpeg = make_thumbnail(data, 320, ServerSettings())

Only Pillow parses what a client sent, and only as one of five formats; the models get the pixels in
a new file of the simplest format. A photo is decoded once, in the pixel format of its file; further
processing works on tiles. (`imagetext.serving.decoders` limits what decoding itself may cost.)
"""

import io

from PIL import Image

from imagetext.pipelines.upright import on_white
from imagetext.serving.api_errors import ApiError
from imagetext.serving.settings import ServerSettings

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
#: The magic bytes of these formats, with their offsets.
MAGIC = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (0, b"GIF8"), (0, b"BM"), (8, b"WEBP"))
TILE = 1024
#: The marker that starts each scan of a JPEG; it cannot occur within the scans.
SCAN = b"\xff\xda"
ORIENTATION = 0x0112
ROTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def sanitize_photo(data: bytes, settings: ServerSettings) -> bytes:
    """The photo as an upright RGB bitmap file, no side longer than `settings.max_side`."""
    buffer = io.BytesIO()
    upright(data, settings.max_side, settings).save(buffer, "BMP")
    return buffer.getvalue()


def make_thumbnail(data: bytes, side: int, settings: ServerSettings) -> bytes:
    """The photo as a JPEG file, no side longer than `side`."""
    buffer = io.BytesIO()
    upright(data, side, settings).save(buffer, "JPEG", quality=86, optimize=True)
    return buffer.getvalue()


def upright(data: bytes, side: int, settings: ServerSettings) -> Image.Image:
    """Decode a photo to RGB, rotated as its EXIF data says, no side longer than `side`.

    Nothing else of the file is kept: where and by whom a photo was taken is private.
    """
    if not any(data[at : at + len(magic)] == magic for at, magic in MAGIC):
        raise ApiError(
            415, "no-photo", "This is not a photo. Supported formats: JPEG, PNG, GIF, BMP and WebP."
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _require_moderate_size(image, data, settings)
            image.draft("RGB", (side, side))
            image.load()
            rotation = _rotation(image)
            image = _reduce(image, side)
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            return image.transpose(rotation) if rotation is not None else image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(settings) from error
    except (ApiError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise nearly every kind for damaged files
        raise ApiError(415, "damaged", "The photo is damaged or incomplete.") from error


def _require_moderate_size(image: Image.Image, data: bytes, settings: ServerSettings) -> None:
    """Refuse what would decode to too much, when only the header has been read."""
    pixels = image.width * image.height
    if pixels > settings.max_pixels:
        raise _too_many_pixels(settings)
    if image.format == "JPEG" and pixels * data.count(SCAN) > settings.max_scanned_pixels:
        raise ApiError(
            413,
            "too-many-scans",
            "The photo consists of too many scans. Please save it again, or make it smaller.",
        )


def _too_many_pixels(settings: ServerSettings) -> ApiError:
    millions = settings.max_pixels // 1_000_000
    message = f"The photo has more than {millions} million pixels. Please send a smaller one."
    return ApiError(413, "too-many-pixels", message)


def _rotation(image: Image.Image) -> Image.Transpose | None:
    try:
        return ROTATIONS.get(image.getexif().get(ORIENTATION))
    except Exception:  # EXIF data is often broken and seldom matters
        return None


def _reduce(image: Image.Image, side: int) -> Image.Image:
    """RGB, reduced by a whole factor to no less than twice `side`.

    Works tile by tile: a copy of the whole image in a wider pixel format can take many times the
    memory that the file suggests.
    """
    factor = max(1, max(image.size) // (2 * side))
    step = max(1, TILE // factor) * factor
    small = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, step):
        for left in range(0, image.width, step):
            corner = min(left + step, image.width), min(top + step, image.height)
            tile = on_white(image.crop((left, top, *corner))).reduce(factor)
            small.paste(tile, (left // factor, top // factor))
    return small
