"""Photos as viewers show them: rotated according to EXIF, and transparent parts white.

    image = upright(Image.open("photo.jpg"))             # RGB
    data = upright_bytes(Path("photo.jpg").read_bytes())

Decoding for a model ignores EXIF and transparency. A photo in a query and the same photo in an
index must get the same pixels, however they were read.
"""

import io

from PIL import Image, ImageOps

#: Photos with more pixels are refused: they would take gigabytes to decode, and most are forged.
MOST_PIXELS = 100_000_000
WHITE = (255, 255, 255)
_ORIENTATION, _AS_STORED = 0x0112, (None, 1)


def upright(image: Image.Image) -> Image.Image:
    """Rotate a photo according to EXIF, and convert it to RGB on white."""
    return on_white(_rotated(image))


def _rotated(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is often invalid, and rarely matters
        return image


def on_white(image: Image.Image) -> Image.Image:
    """Convert an image to RGB, with transparent parts white and 16-bit channels as 8 bits."""
    if image.mode.startswith("I"):  # 16 bits a channel
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (*WHITE, 255))
        return Image.alpha_composite(background, image).convert("RGB")
    return image.convert("RGB")


def upright_bytes(data: bytes) -> bytes:
    """Like `upright`, for encoded photos.

    Args:
        data: The bytes of a file.

    Returns:
        The bytes of a bitmap; the same bytes if there is nothing to change, if it is not a photo,
        or if it has more than `MOST_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS or _is_upright(image):
                return data
            bitmap = io.BytesIO()
            upright(image).save(bitmap, "BMP")
            return bitmap.getvalue()
    except Exception:  # Pillow raises various types; decoding will report the problem
        return data


def _is_upright(image: Image.Image) -> bool:
    return not image.has_transparency_data and image.getexif().get(_ORIENTATION) in _AS_STORED
