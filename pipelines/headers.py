"""The size of a photo according to its header, read in the graph before it is decoded.

A file of a few hundred kilobytes can decode to gigabytes. An exported model that decodes files from
the network must refuse it beforehand.
"""

import tensorflow as tf


def declared_pixels(data: tf.Tensor) -> tf.Tensor:
    """Width times height of an encoded photo, according to its header.

    Args:
        data: The bytes of a file, a scalar string.

    Returns:
        The number of pixels, int64; 0 if it is not a photo.
    """
    head = tf.cast(tf.io.decode_raw(data, tf.uint8, fixed_length=30), tf.int64)

    def number(start: int, *powers: int) -> tf.Tensor:
        places = tf.constant([256**power for power in powers], tf.int64)
        return tf.reduce_sum(head[start : start + len(powers)] * places)

    def holds(magic: bytes, start: int = 0) -> tf.Tensor:
        actual = head[start : start + len(magic)]
        return tf.reduce_all(actual == tf.constant(list(magic), tf.int64))

    def jpeg() -> tf.Tensor:
        return tf.reduce_prod(tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64))

    def bmp() -> tf.Tensor:  # a negative height means that rows run from top to bottom
        sides = number(18, 0, 1, 2, 3), number(22, 0, 1, 2, 3)
        return sides[0] * tf.minimum(sides[1], 2**32 - sides[1])

    def webp() -> tf.Tensor:  # three layouts: lossy, lossless, extended
        lossless = number(21, 0, 1, 2, 3)
        return tf.case(
            [
                (
                    holds(b"VP8 ", 12),
                    lambda: (number(26, 0, 1) % 2**14) * (number(28, 0, 1) % 2**14),
                ),
                (
                    holds(b"VP8L", 12),
                    lambda: (lossless % 2**14 + 1) * (lossless // 2**14 % 2**14 + 1),
                ),
            ],
            default=lambda: (number(24, 0, 1, 2) + 1) * (number(27, 0, 1, 2) + 1),
        )

    return tf.case(
        [
            (holds(b"\xff\xd8\xff"), jpeg),
            (holds(b"\x89PNG"), lambda: number(16, 3, 2, 1, 0) * number(20, 3, 2, 1, 0)),
            (holds(b"GIF8"), lambda: number(6, 0, 1) * number(8, 0, 1)),
            (holds(b"BM"), bmp),
            (holds(b"RIFF") & holds(b"WEBP", 8), webp),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )
