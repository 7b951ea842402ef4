"""Functional Keras models that take one photo and k sentences and say, for each, match or not.

    model = build(ModelConfig(head="joint"), DataConfig(image_size=112), TextConfig())
    model({"image": uint8 [b, 112, 112, 3], "texts": float32 [b, k, 384]})   # -> [b, k, 2]

A photo goes through its tower once for all of its sentences; k = 1 is an ordinary pair. `image` are
pixels or stored features, `texts` embeddings or word pieces, as the data's configuration says.
Built-in layers and `keras.ops` only, so that a saved `.keras` file opens anywhere. Head and softmax
stay in float32 under mixed precision.
"""

import keras
import numpy as np
from keras import layers, ops

from imagetext.encoders import images, registry
from imagetext.encoders.grids import SideBySide
from imagetext.encoders.tuning import hold_still
from imagetext.itm.config import DataConfig, ModelConfig, TextConfig
from imagetext.itm.texts import through_encoder
from imagetext.layers.blocks import (
    convolution_blocks,
    normalized_projection,
    project_cells,
    residual_projection,
)
from imagetext.layers.contrastive import unit
from imagetext.layers.late_interaction import late_similarities_of_pairs
from imagetext.training.network import STANDARDISE

#: Of sentence embeddings; that of an encoder inside the model is its own.
TEXT_WIDTH = 384
#: Captions as sentence embeddings.
EMBEDDINGS = TextConfig()
#: The head that was called "cnn" in earlier versions keeps that name inside saved models.
NAMES = {"concat": "cnn"}
#: The layers whose outputs are compared when both sides are aligned.
VECTORS = {"image": "image_norm", "text": "text_norm"}
#: And of late interaction, with which of the words are there.
LATE_VECTORS = {"cells": "cells_norm", "words": "words_norm", "mask": "is_word"}


def build(config: ModelConfig, data: DataConfig, text: TextConfig = EMBEDDINGS) -> keras.Model:
    """The whole classifier; with `config.inputs` "text" or "image" a control that sees one side."""
    image, texts = image_input(data), text_input(text)
    sides = []
    if config.inputs != "text":
        seen = see(image, config, data)
        cells = seen if len(seen.shape) == 4 else None
        pooled = seen if cells is None else layers.GlobalAveragePooling2D(name="pool_cells")(seen)
        if data.image_encoders:
            pooled = layers.Dropout(config.input_dropout, name="image_dropout_in")(pooled)
        photo = residual_projection(pooled, config.projection, config.dropout, "image")
        # One photo meets k sentences, k known only when it runs: [b, 1, d] + [b, k, 1] -> [b, k, d]
        one_each = ops.zeros_like(ops.cast(texts, "float32")[..., :1])
        sides.append(ops.expand_dims(photo, 1) + ops.cast(one_each, photo.dtype))
    if config.inputs != "image":
        sentence, words, is_word = read(texts, config, text)
        sides.append(residual_projection(sentence, config.projection, config.dropout, "text"))
    met = None
    if config.head == "attention" and len(sides) == 2:
        sides += attend(cells, words, is_word, config)
    if config.late and len(sides) == 2:
        met = late_interaction(cells, words, is_word, config)
    match = head(sides, config, met)
    name = f"itm_{NAMES.get(config.head, config.head)}"
    model = keras.Model({"image": image, "texts": texts}, match, name=name)
    if config.head == "cosine" and len(sides) == 2:
        # Likeness speaks for a match: chance must not begin with the reverse, since where alignment
        # is all the training there is, nothing would turn it.
        model.get_layer("match").set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    return model


def image_input(data: DataConfig):
    """Pixels uint8 [b, h, w, 3], or features float32 [b, n] or [b, h, w, n]."""
    if data.from_pixels:
        return keras.Input([data.pixels_side, data.pixels_side, 3], dtype="uint8", name="image")
    shapes = [registry.image_encoder(name).shape(data.image_output) for name in data.image_encoders]
    return keras.Input(SideBySide(shapes, data.image_cells).shape, name="image")


def text_input(text: TextConfig):
    """Embeddings float32 [b, k, 384], or word pieces int32 [b, k, t]."""
    if text.input == "embeddings":
        return keras.Input([None, TEXT_WIDTH], name="texts")
    return keras.Input([None, None], dtype="int32", name="texts")


def see(image, config: ModelConfig, data: DataConfig):
    """What is in a photo: [b, n], or a grid of cells [b, h, w, n]."""
    if not data.image_encoders:
        cells = convolution_blocks(image, config.filters)
        return layers.Flatten(name="flatten")(cells)
    if data.fine_tune:
        tower = images.build(data.image_encoders[0], data.image_output, data.image_weights)
        tower.trainable = config.encoder_rate > 0
        hold_still(tower)  # batch norm keeps the averages of ImageNet
        image = tower(image)
    # Its mean and variance are measured on the training photos before training.
    return layers.Normalization(name=STANDARDISE, dtype="float32")(image)


def read(texts, config: ModelConfig, text: TextConfig) -> tuple:
    """Sentences [b, k, n]; where texts are word pieces also words [b, k, t, n'], and which of them
    belong to a text, bool [b, k, t]."""
    words = is_word = None
    if text.input == "tokens":
        found, is_word = through_encoder(texts, text, trained=config.encoder_rate > 0)
        # A sentence is of length 1: spread to variance 1, as the photo's features are.
        words, texts = found["tokens"], found["sentence"] * found["sentence"].shape[-1] ** 0.5
    return layers.Dropout(config.input_dropout, name="text_dropout_in")(texts), words, is_word


def attend(cells, words, is_word, config: ModelConfig) -> list:
    """Words look at cells, and cells at words: two more sides [b, k, d] that meet in the head.

    cells [b, h, w, n], words [b, k, t, n'], is_word bool [b, k, t].
    """
    width, heads = config.projection, config.heads
    cells = project_cells(cells, width, config.dropout)
    words = normalized_projection(words, width, config.dropout, "words")

    def heads_of(x, name: str, axes: str):
        """[..., n, d] -> [..., n, heads, d / heads]"""
        shape = [*[None] * len(axes), heads, width // heads]
        return layers.EinsumDense(f"b{axes}e,ehd->b{axes}hd", shape, bias_axes="hd", name=name)(x)

    def merged(x, name: str):
        """[b, k, n, heads, d / heads] -> [b, k, n, d]"""
        shape = [None, None, width]
        return layers.EinsumDense("bknhd,hde->bkne", shape, bias_axes="e", name=name)(x)

    asked, shown_words = heads_of(words, "words_ask", "kt"), heads_of(words, "words_show", "kt")
    told, shown_cells = heads_of(cells, "cells_tell", "c"), heads_of(cells, "cells_show", "c")
    scores = ops.cast(ops.einsum("bkthd,bchd->bkhtc", asked, told), "float32")
    scores = scores * (width // heads) ** -0.5
    looked = ops.softmax(scores, axis=-1)  # each word over all cells
    # Where no text is at all every word is masked; adding keeps that softmax finite.
    mask = ops.cast(is_word, "float32")[:, :, None, :, None]
    heard = ops.softmax(scores + (mask - 1) * 1e9, axis=-2)  # each cell over the words
    seen = ops.einsum("bkhtc,bchd->bkthd", ops.cast(looked, words.dtype), shown_cells)
    told = ops.einsum("bkhtc,bkthd->bkchd", ops.cast(heard, words.dtype), shown_words)
    seen, told = merged(seen, "words_seen"), merged(told, "cells_told")
    # Each word against what it saw, each cell against what was said of it; then their means.
    agreed = layers.Dense(width, activation="gelu", name="words_agree")(
        ops.concatenate([words, seen, words * seen], axis=-1)
    )
    weight = ops.cast(is_word, agreed.dtype)[..., None]
    by_word = ops.sum(agreed * weight, axis=2) / ops.maximum(ops.sum(weight, axis=2), 1.0)
    every = ops.expand_dims(cells, 1) + ops.zeros_like(told)
    agreed = layers.Dense(width, activation="gelu", name="cells_agree")(
        ops.concatenate([every, told, every * told], axis=-1)
    )
    return [by_word, ops.mean(agreed, axis=2)]


def late_interaction(cells, words, is_word, config: ModelConfig):
    """Each word finds the cell that is most like it: the mean of their cosines, [b, k, 1].

    cells [b, h, w, n], words [b, k, t, n'], is_word bool [b, k, t].
    """
    # What is lost is lost in all cells: a word cannot look it up next door.
    cells = layers.SpatialDropout2D(config.input_dropout, name="cells_dropout_in")(cells)
    cells = unit(project_cells(cells, config.late_width, config.dropout))
    words = unit(normalized_projection(words, config.late_width, config.dropout, "words"))
    mask = layers.Identity(name="is_word", dtype="float32")(ops.cast(is_word, "float32"))
    return late_similarities_of_pairs(cells, words, mask)


def head(sides: list, config: ModelConfig, met=None):
    """Both sides [b, k, d] (one, for a control) -> probabilities of match, no-match [b, k, 2].

    `additive` is a sum of what image and text say apart and cannot express that they agree;
    `cnn` can, through its hidden layers; `joint` is handed product and difference outright;
    `attention` also what words and cells found in each other; `cosine` has nothing but the cosine,
    and the share that is `met`, by late interaction.
    """
    if config.head == "cosine" and len(sides) == 2:
        x = cosine(*sides)
        if met is not None:
            x = (1 - config.late) * x + config.late * met
    else:
        if config.head in ("joint", "attention") and len(sides) >= 2:
            photo, text, *found = sides
            difference = layers.Subtract(name="difference")([photo, text])
            product = layers.Multiply(name="product")([photo, text])
            sides = [photo, text, product, ops.abs(difference), *found]
        x = layers.Concatenate(name="both")(sides) if len(sides) > 1 else sides[0]
        x = layers.Dropout(config.dropout, name="head_dropout", dtype="float32")(x)
        if config.head != "additive":
            for number, width in enumerate(config.hidden, start=1):
                x = layers.Dense(
                    width, activation="relu", name=f"hidden_{number}", dtype="float32"
                )(x)
    return layers.Dense(2, activation="softmax", name="match", dtype="float32")(x)


def cosine(photo, text):
    """[..., d] and [..., d] -> [..., 1], in float32."""
    photo, text = (ops.cast(side, "float32") for side in (photo, text))
    dot = ops.sum(photo * text, axis=-1, keepdims=True)
    lengths = ops.sum(photo * photo, -1, keepdims=True) * ops.sum(text * text, -1, keepdims=True)
    return dot / ops.sqrt(lengths + 1e-6)
