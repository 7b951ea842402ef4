"""Augmentation of photos: mirrored, rotated, cropped and recoloured differently every epoch.

    pixels = augment(pixels, may_flip, seed=(0, epoch, batch))      # uint8 [b, s, s, 3]

Mirroring, rotation and cropping are combined into one affine map, so that pixels are interpolated
only once. The same seed gives the same photos.
"""

import math

import numpy as np
import tensorflow as tf

#: Largest rotation in degrees, smallest area of a crop, and range of its aspect ratio.
ROTATION, AREA, ASPECT = 15.0, 0.6, (0.8, 1.25)
#: Brightness, contrast and saturation change by a factor of 1 - COLOUR to 1 + COLOUR.
COLOUR = 0.2
#: Weights of red, green and blue in the brightness of a pixel.
GREY = (0.299, 0.587, 0.114)


def augment(pixels: np.ndarray, may_flip: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """Change photos at random.

    Args:
        pixels: The photos, uint8 [b, s, s, 3].
        may_flip: Whether each photo may be mirrored, bool [b].
        seed: Decides all changes.

    Returns:
        The changed photos, uint8 [b, s, s, 3].
    """
    rng = np.random.default_rng(seed)
    maps = affine_maps(rng, may_flip, pixels.shape[1])
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(pixels, tf.float32),
        transforms=maps,
        output_shape=pixels.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    ).numpy()
    return np.clip(np.rint(recolour(rng, warped)), 0, 255).astype(np.uint8)


def affine_maps(rng: np.random.Generator, may_flip: np.ndarray, side: int) -> np.ndarray:
    """Random maps from output to input coordinates, float32 [b, 8].

    The first six numbers of each are a0 to a5 in x' = a0 x + a1 y + a2, y' = a3 x + a4 y + a5.
    """
    count, middle = len(may_flip), (side - 1) / 2
    area = rng.uniform(AREA, 1, count)
    aspect = np.exp(rng.uniform(*np.log(ASPECT), count))
    width = np.minimum(np.sqrt(area * aspect), 1)
    height = np.minimum(np.sqrt(area / aspect), 1)
    angle = rng.uniform(-ROTATION, ROTATION, count) * math.pi / 180
    across = rng.uniform(-1, 1, count) * (1 - width) * side / 2
    down = rng.uniform(-1, 1, count) * (1 - height) * side / 2
    mirror = np.where(may_flip & (rng.random(count) < 0.5), -1.0, 1.0)
    a0, a1 = np.cos(angle) * width * mirror, -np.sin(angle) * height
    a3, a4 = np.sin(angle) * width * mirror, np.cos(angle) * height
    a2 = middle + across - (a0 + a1) * middle
    a5 = middle + down - (a3 + a4) * middle
    zeros = np.zeros(count)
    return np.stack([a0, a1, a2, a3, a4, a5, zeros, zeros], axis=1).astype(np.float32)


def recolour(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Change brightness, contrast and saturation of each photo, float [b, s, s, 3]."""
    brightness, contrast, saturation = rng.uniform(
        1 - COLOUR, 1 + COLOUR, (3, len(pixels), 1, 1, 1)
    ).astype(np.float32)
    pixels = pixels * brightness
    grey = (pixels @ np.float32(GREY))[..., None]
    pixels = grey + (pixels - grey) * saturation
    mean = grey.mean(axis=(1, 2, 3), keepdims=True)
    return mean + (pixels - mean) * contrast
