"""Functional Keras models that take a photo and k captions, and classify each as match or no-match.

    model = build(ModelConfig(head="joint"), DataConfig(image_size=112), TextConfig())
    model({"image": uint8 [b, 112, 112, 3], "texts": float32 [b, k, 384]})   # -> [b, k, 2]

A photo passes through its tower once for all its captions; k = 1 is an ordinary pair. Depending on
the configuration, `image` holds pixels or stored features, and `texts` embeddings or token ids.
Only built-in layers and `keras.ops` are used, so that a saved `.keras` file opens with Keras alone.
Head and softmax stay in float32 under mixed precision.
"""

import keras
from keras import layers, ops

from imagetext.encoders import images, registry
from imagetext.encoders.grids import CombinedGrids
from imagetext.encoders.tuning import freeze_statistics
from imagetext.itm.config import DataConfig, ModelConfig, TextConfig
from imagetext.itm.heads import HEADS, HeadInputs, Tensor, control_head
from imagetext.itm.texts import apply_text_encoder
from imagetext.layers.blocks import convolution_blocks, residual_projection
from imagetext.training.network import STANDARDISE

#: Width of sentence embeddings; the width of a text encoder inside the model may differ.
TEXT_WIDTH = 384
#: Captions as sentence embeddings.
EMBEDDINGS = TextConfig()
#: Names of saved models that differ from their head's: "concat" was called "cnn".
MODEL_NAMES = {"concat": "cnn"}
#: The layers whose outputs are compared when both sides are aligned.
VECTORS = {"image": "image_norm", "text": "text_norm"}
#: The same for late interaction, with the mask of the words.
LATE_VECTORS = {"cells": "cells_norm", "words": "words_norm", "mask": "is_word"}


def build(config: ModelConfig, data: DataConfig, text: TextConfig = EMBEDDINGS) -> keras.Model:
    """Build the classifier.

    Args:
        config: The network. With `inputs` "text" or "image" it is a control that uses one side.
        data: Decides the form of photos: pixels or features.
        text: Decides the form of captions: embeddings or token ids.

    Returns:
        A model from {"image", "texts"} to the probabilities of match and no-match [b, k, 2].

    Examples:
        >>> build(ModelConfig(), DataConfig(image_size=112)).output_shape
        (None, None, 2)
    """
    image, texts = image_input(data), text_input(text)
    photo = cells = sentence = words = is_word = None
    if config.inputs != "text":
        photo, cells = encode_photo(image, config, data)
        photo = residual_projection(photo, config.projection, config.dropout, "image")
        # Repeat each photo for its k captions, k unknown: [b, 1, d] + [b, k, 1] -> [b, k, d]
        zeros = ops.zeros_like(ops.cast(texts, "float32")[..., :1])
        photo = ops.expand_dims(photo, 1) + ops.cast(zeros, photo.dtype)
    if config.inputs != "image":
        sentence, words, is_word = encode_captions(texts, config, text)
        sentence = residual_projection(sentence, config.projection, config.dropout, "text")
    head = HEADS[config.head] if config.inputs == "both" else control_head(config.head)
    probabilities = head(HeadInputs(photo, sentence, cells, words, is_word), config)
    name = f"itm_{MODEL_NAMES.get(config.head, config.head)}"
    return keras.Model({"image": image, "texts": texts}, probabilities, name=name)


def image_input(data: DataConfig) -> Tensor:
    """Pixels uint8 [b, h, w, 3], or features float32 [b, n] or [b, h, w, n]."""
    if data.from_pixels:
        return keras.Input([data.pixels_side, data.pixels_side, 3], dtype="uint8", name="image")
    shapes = [registry.image_encoder(name).shape(data.image_output) for name in data.image_encoders]
    return keras.Input(CombinedGrids(shapes, data.image_cells).shape, name="image")


def text_input(text: TextConfig) -> Tensor:
    """Embeddings float32 [b, k, 384], or token ids int32 [b, k, t]."""
    if text.input == "embeddings":
        return keras.Input([None, TEXT_WIDTH], name="texts")
    return keras.Input([None, None], dtype="int32", name="texts")


def encode_photo(image: Tensor, config: ModelConfig, data: DataConfig) -> tuple[Tensor, Tensor]:
    """The features of a photo [b, n], and their grid [b, h, w, n] if they are pooled from one."""
    if not data.image_encoders:
        return layers.Flatten(name="flatten")(convolution_blocks(image, config.filters)), None
    if data.fine_tune:
        tower = images.build(data.image_encoders[0], data.image_output, data.image_weights)
        tower.trainable = config.encoder_rate > 0
        freeze_statistics(tower)  # batch norm keeps its pretrained averages
        image = tower(image)
    # Mean and variance are measured on training photos before training starts.
    features = layers.Normalization(name=STANDARDISE, dtype="float32")(image)
    cells = features if len(features.shape) == 4 else None
    if cells is not None:
        features = layers.GlobalAveragePooling2D(name="pool_cells")(features)
    return layers.Dropout(config.input_dropout, name="image_dropout_in")(features), cells


def encode_captions(
    texts: Tensor, config: ModelConfig, text: TextConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """The features of captions [b, k, n]; if they are token ids, also those of their words
    [b, k, t, n'], and which tokens are not padding, bool [b, k, t]."""
    words = is_word = None
    if text.input == "tokens":
        outputs, is_word = apply_text_encoder(texts, text, trainable=config.encoder_rate > 0)
        # Sentence vectors have norm 1: scale them to variance 1, like the features of photos.
        words = outputs["tokens"]
        texts = outputs["sentence"] * outputs["sentence"].shape[-1] ** 0.5
    return layers.Dropout(config.input_dropout, name="text_dropout_in")(texts), words, is_word
