"""An image tower of our own for raw pixels, trained with the captions from nothing.

tower = own_blocks(48, filters=[32, 64, 128])           # uint8 [b, 48, 48, 3] -> [b, 6, 6, 128]
"""

from collections.abc import Sequence

import keras
from keras import layers

#: The tower's name, by which it is told from a pretrained one.
OWN_BLOCKS = "own_blocks"


def own_blocks(size: int, filters: Sequence[int], output: str = "grid") -> keras.Model:
    """Conv + MaxPool blocks: pixels uint8 [b, size, size, 3] -> the `grid` of cells, half as many a
    side with each block; all of them as one long vector, `flat`; or their mean, `pooled`.
    """
    image = keras.Input([size, size, 3], dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    for number, count in enumerate(filters, start=1):
        x = layers.Conv2D(count, 3, padding="same", activation="relu", name=f"conv_{number}")(x)
        x = layers.MaxPooling2D(name=f"pool_{number}")(x)
    if output != "grid":
        x = (layers.Flatten if output == "flat" else layers.GlobalAveragePooling2D)(name=output)(x)
    return keras.Model(image, x, name=OWN_BLOCKS)
