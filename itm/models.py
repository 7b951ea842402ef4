"""Functional Keras models that take one photo and k sentences and say, for each, match or not.

    model = build(ModelConfig(head="joint"), image_size=112)
    model({"image": uint8 [b, 112, 112, 3], "texts": float32 [b, k, 384]})   # -> [b, k, 2]

A photo goes through its tower once for all of its sentences; k = 1 is an ordinary pair. Built-in
layers and `keras.ops` only, so that a saved `.keras` file opens anywhere. Head and softmax stay in
float32 under mixed precision.
"""

import keras
from keras import layers, ops

from itm.config import ModelConfig

TEXT_WIDTH = 384


def build(config: ModelConfig, image_size: int, text_width: int = TEXT_WIDTH) -> keras.Model:
    """The whole classifier; with `config.inputs` "text" or "image" a control that sees one side."""
    image = keras.Input([image_size, image_size, 3], dtype="uint8", name="image")
    texts = keras.Input([None, text_width], name="texts")
    sides = []
    if config.inputs != "text":
        photo = project(image_tower(image, config), config, "image")
        # One photo meets k sentences, k known only when it runs: [b, 1, d] + [b, k, 1] -> [b, k, d]
        one_each = ops.zeros_like(ops.sum(texts, axis=-1, keepdims=True))
        sides.append(ops.expand_dims(photo, 1) + ops.cast(one_each, photo.dtype))
    if config.inputs != "image":
        sides.append(project(texts, config, "text"))
    match = head(sides, config)
    return keras.Model({"image": image, "texts": texts}, match, name=f"itm_{config.head}")


def image_tower(image, config: ModelConfig):
    """Pixels uint8 [b, h, w, 3] -> Conv + MaxPool blocks -> flattened [b, n]."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    for number, filters in enumerate(config.filters, start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{number}")(x)
        x = layers.MaxPooling2D(name=f"pool_{number}")(x)
    return layers.Flatten(name="flatten")(x)


def project(x, config: ModelConfig, side: str):
    """Residual projection: a dense layer and a correction, normalised: [..., n] -> [..., d]."""
    straight = layers.Dense(config.projection, name=f"{side}_projection")(x)
    bent = layers.Activation("gelu", name=f"{side}_gelu")(straight)
    bent = layers.Dense(config.projection, name=f"{side}_residual")(bent)
    bent = layers.Dropout(config.dropout, name=f"{side}_dropout")(bent)
    added = layers.Add(name=f"{side}_add")([straight, bent])
    return layers.LayerNormalization(name=f"{side}_norm")(added)


def head(sides: list, config: ModelConfig):
    """Both sides [b, k, d] (one, for a control) -> probabilities of match, no-match [b, k, 2].

    `additive` is a sum of what image and text say apart and cannot express that they agree;
    `cnn` can, through its hidden layers; `joint` is handed product and difference outright.
    """
    if config.head == "joint" and len(sides) == 2:
        photo, text = sides
        difference = layers.Subtract(name="difference")([photo, text])
        product = layers.Multiply(name="product")([photo, text])
        sides = [photo, text, product, ops.abs(difference)]
    x = layers.Concatenate(name="both")(sides) if len(sides) > 1 else sides[0]
    x = layers.Dropout(config.dropout, name="head_dropout", dtype="float32")(x)
    if config.head != "additive":
        for number, width in enumerate(config.hidden, start=1):
            x = layers.Dense(width, activation="relu", name=f"hidden_{number}", dtype="float32")(x)
    return layers.Dense(2, activation="softmax", name="match", dtype="float32")(x)
