"""Parts of models that several tasks share, with the layer names they have in saved models.

    cells = convolution_blocks(image, [32, 64, 128])          # [b, 48, 48, 3] -> [b, 6, 6, 128]
    photo = residual_projection(layers.Flatten()(cells), 256, 0.1, "image")           # [b, 256]
    words = normalized_projection(tokens, 64, 0.1, "words")                        # [b, t, 64]

Built-in layers only, so that a saved `.keras` file opens with Keras alone.
"""

import math
from collections.abc import Sequence

from keras import layers


def convolution_blocks(image, filters: Sequence[int], group_norm: bool = False):
    """Conv + MaxPool blocks on raw pixels, each of which halves the sides.

    Args:
        image: Pixels uint8 [b, h, w, 3].
        filters: Filters of each block.
        group_norm: Normalize each photo by itself before the activation. (Batch normalization would
            depend on how a batch is divided, see `imagetext.training.gradient_cache`.)

    Returns:
        Cells [b, h / 2^n, w / 2^n, filters[-1]] for n blocks.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    for number, count in enumerate(filters, start=1):
        options = {"use_bias": False} if group_norm else {"activation": "relu"}
        x = layers.Conv2D(count, 3, padding="same", name=f"conv_{number}", **options)(x)
        if group_norm:
            groups = math.gcd(count, max(1, count // 16))
            x = layers.GroupNormalization(groups, name=f"conv_norm_{number}")(x)
            x = layers.Activation("relu", name=f"conv_relu_{number}")(x)
        x = layers.MaxPooling2D(name=f"pool_{number}")(x)
    return x


def residual_projection(x, width: int, dropout: float, name: str):
    """A dense layer plus a nonlinear correction, then layer norm: [..., n] -> [..., width]."""
    linear = layers.Dense(width, name=f"{name}_projection")(x)
    residual = layers.Activation("gelu", name=f"{name}_gelu")(linear)
    residual = layers.Dense(width, name=f"{name}_residual")(residual)
    residual = layers.Dropout(dropout, name=f"{name}_dropout")(residual)
    total = layers.Add(name=f"{name}_add")([linear, residual])
    return layers.LayerNormalization(name=f"{name}_norm")(total)


def normalized_projection(x, width: int, dropout: float, name: str):
    """A dense layer, dropout and layer norm, for cells or words: [..., n] -> [..., width]."""
    x = layers.Dense(width, name=f"{name}_projection")(x)
    x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.LayerNormalization(name=f"{name}_norm")(x)


def project_cells(cells, width: int, dropout: float):
    """A grid of cells as a sequence, through `normalized_projection`.

    Args:
        cells: [b, h, w, n].
        width: Width of the result.
        dropout: Dropout rate.

    Returns:
        [b, h * w, width].
    """
    row = layers.Reshape([-1, cells.shape[-1]], name="cells_in_a_row")(cells)
    return normalized_projection(row, width, dropout, "cells")
