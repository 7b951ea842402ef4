"""Photos that differ a little every epoch: mirrored, turned, cropped, recoloured.

    seen = augment(pixels, may_flip, seed=(0, epoch, batch))      # uint8 [b, s, s, 3], as before

Mirroring, turning and cropping are one affine map, so that pixels are interpolated once. The same
seed gives the same photos.
"""

import math

import numpy as np
import tensorflow as tf

#: Largest turn either way, in degrees; smallest share of the area that is kept; its aspect ratios.
TURN, AREA, ASPECT = 15.0, 0.6, (0.8, 1.25)
#: Brightness, contrast and saturation change by at most this factor either way.
COLOUR = 0.2
GREY = (0.299, 0.587, 0.114)


def augment(pixels: np.ndarray, may_flip: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """uint8 [b, s, s, 3], bool [b] -> uint8 [b, s, s, 3]."""
    rng = np.random.default_rng(seed)
    maps = affine_maps(rng, may_flip, pixels.shape[1])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(pixels, tf.float32),
        transforms=maps,
        output_shape=pixels.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    ).numpy()
    return np.clip(np.rint(recoloured(rng, moved)), 0, 255).astype(np.uint8)


def affine_maps(rng: np.random.Generator, may_flip: np.ndarray, side: int) -> np.ndarray:
    """For each photo the map from places in the new one to places in the old one, float32 [b, 8]:
    x' = a0 x + a1 y + a2, y' = a3 x + a4 y + a5."""
    count, middle = len(may_flip), (side - 1) / 2
    area = rng.uniform(AREA, 1, count)
    aspect = np.exp(rng.uniform(*np.log(ASPECT), count))
    width = np.minimum(np.sqrt(area * aspect), 1)
    height = np.minimum(np.sqrt(area / aspect), 1)
    angle = rng.uniform(-TURN, TURN, count) * math.pi / 180
    across = rng.uniform(-1, 1, count) * (1 - width) * side / 2
    down = rng.uniform(-1, 1, count) * (1 - height) * side / 2
    mirror = np.where(may_flip & (rng.random(count) < 0.5), -1.0, 1.0)
    a0, a1 = np.cos(angle) * width * mirror, -np.sin(angle) * height
    a3, a4 = np.sin(angle) * width * mirror, np.cos(angle) * height
    a2 = middle + across - (a0 + a1) * middle
    a5 = middle + down - (a3 + a4) * middle
    zeros = np.zeros(count)
    return np.stack([a0, a1, a2, a3, a4, a5, zeros, zeros], axis=1).astype(np.float32)


def recoloured(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Float [b, s, s, 3] with another brightness, contrast and saturation, each photo its own."""
    bright, contrast, colour = rng.uniform(
        1 - COLOUR, 1 + COLOUR, (3, len(pixels), 1, 1, 1)
    ).astype(np.float32)
    pixels = pixels * bright
    grey = (pixels @ np.float32(GREY))[..., None]
    pixels = grey + (pixels - grey) * colour
    mean = grey.mean(axis=(1, 2, 3), keepdims=True)
    return mean + (pixels - mean) * contrast
