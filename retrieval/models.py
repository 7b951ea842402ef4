"""Two towers: one for photos, one for captions; their unit vectors are compared.

    network = build(RetrievalConfig(), image_shape=[1280], tokenizer=tokenizer)
    network({"image": features, "texts": ids})     # {"photo": [b, 512], "text": [b, 512]}

With late interaction the outputs also include "cells" [b, c, d], "words" [b, t, d] and their "mask"
[b, t]. `towers.py` splits the network into its sides. Only built-in layers and `keras.ops` are
used, so that a saved `.keras` file opens with Keras alone.
"""

from collections.abc import Callable, Sequence

import keras
from keras import layers, ops

from imagetext.encoders import images, texts
from imagetext.encoders.text_tower import token_mask
from imagetext.encoders.tokenizer import Tokenizer
from imagetext.encoders.tuning import (
    find_blocks,
    freeze_embeddings,
    freeze_statistics,
    learning_rates,
    train_last_blocks,
)
from imagetext.errors import UserError
from imagetext.layers.blocks import (
    convolution_blocks,
    normalized_projection,
    project_cells,
    residual_projection,
)
from imagetext.layers.contrastive import l2_normalize
from imagetext.retrieval.config import SCRATCH, ModelConfig, RetrievalConfig, TextConfig
from imagetext.retrieval.one_clip import require_one_clip
from imagetext.retrieval.texts import WordTokenizer
from imagetext.training.network import STANDARDISE


def build(config: RetrievalConfig, image_shape: Sequence[int], tokenizer: Tokenizer) -> keras.Model:
    """Build both towers as one network.

    Args:
        config: The configuration of the run.
        image_shape: Shape of a photo as the model takes it, pixels or features.
        tokenizer: The tokenizer. If its vocabulary was made from the training captions, the name of
            the network carries its digest.

    Returns:
        A model from {"image": [b, *image_shape], "texts": int32 [b, t]} to a dict of float32
        vectors.
    """
    dtype = "uint8" if config.data.from_pixels else "float32"
    image = keras.Input(image_shape, dtype=dtype, name="image")
    token_ids = keras.Input([None], dtype="int32", name="texts")
    if config.model.own_vectors:
        require_one_clip(config)
        photo = encode_pixels(image, config) if config.data.fine_tune else image
        outputs = {"photo": l2_normalize(photo)}
        outputs["text"] = encode_tokens(token_ids, config, tokenizer)[0]["sentence"]
    else:
        size = (config.model.width, config.model.dropout)
        whole, cells = encode_image(image, config)
        outputs = {"photo": l2_normalize(residual_projection(whole, *size, "photo"))}
        sentence, words, mask = encode_text(token_ids, config, tokenizer)
        outputs["text"] = l2_normalize(residual_projection(sentence, *size, "text"))
    if config.model.late:
        size = (config.model.late_width, config.model.dropout)
        outputs["cells"] = l2_normalize(project_cells(cells, *size))
        outputs["words"] = l2_normalize(normalized_projection(words, *size, "words"))
        outputs["mask"] = ops.cast(mask, "float32")
    name = "dual_encoder"
    if isinstance(tokenizer, WordTokenizer):
        name += f"_{tokenizer.digest}"
    return keras.Model({"image": image, "texts": token_ids}, outputs, name=name)


def pretrained_rates(
    network: keras.Model, config: ModelConfig
) -> list[tuple[keras.Variable, float]]:
    """The pretrained weights, each with its share of the learning rate."""
    encoders = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    how = (config.encoder_rate, config.layer_decay)
    return [pair for encoder in encoders for pair in learning_rates(encoder, *how)]


def set_trainable(encoder: keras.Model, config: ModelConfig, trained: bool) -> keras.Model:
    """Mark which layers of a pretrained encoder are trained."""
    encoder.trainable = trained and config.encoder_rate > 0
    freeze_statistics(encoder)  # batch norm keeps the averages of its pretraining
    divisible = train_last_blocks(encoder, config.unfreeze) if config.unfreeze is not None else True
    if not divisible or (config.layer_decay != 1 and not find_blocks(encoder)):
        raise UserError(
            f"{encoder.name}: its blocks are not known; set model.layer_decay to 1 and"
            " model.unfreeze to null"
        )
    return encoder


# ------------------------------------------------------------------------------------- photos


def encode_pixels(image, config: RetrievalConfig):
    """Pixels uint8 [b, s, s, 3] -> the output of the image encoder that is fine-tuned."""
    data = config.data
    encoder = images.build(data.image_encoders[0], data.image_output, data.image_weights)
    return set_trainable(encoder, config.model, trained=True)(image)


def encode_image(image, config: RetrievalConfig) -> tuple:
    """Encode a photo as a whole, [b, n], and, for late interaction, as cells, [b, h, w, n]."""
    data, model = config.data, config.model
    if not data.image_encoders:
        # Few enough cells to keep them all: the mean would lose where things are.
        cells = convolution_blocks(image, model.filters, group_norm=True)
        return layers.Flatten(name="cells_flat")(cells), cells
    if data.fine_tune:
        image = encode_pixels(image, config)
    # Mean and variance are measured on the training photos before training.
    standardise = layers.Normalization(name=STANDARDISE, dtype="float32")
    if len(image.shape) == 2:
        whole, cells = standardise(image), None
    else:
        cells = standardise(image)
        # A channel is dropped in all cells: a word cannot find it in a neighbouring cell.
        cells = layers.SpatialDropout2D(model.input_dropout, name="cells_dropout_in")(cells)
        mean = layers.AveragePooling2D(image.shape[1:3], dtype="float32", name="pool_cells")
        whole = layers.Flatten(name="pooled")(standardise(mean(image)))
    return layers.Dropout(model.input_dropout, name="image_dropout_in")(whole), cells


# -------------------------------------------------------------------------------------- texts


def encode_tokens(token_ids, config: RetrievalConfig, tokenizer: Tokenizer) -> tuple:
    """Token ids [b, t] -> {"sentence": [b, n], "tokens": [b, t, n]} of the text encoder, and the
    mask of the tokens."""
    mask = token_mask(token_ids, tokenizer.end)
    if config.text.encoder == SCRATCH:
        encoder = transformer(config.text, len(tokenizer), config.model.dropout)
    else:
        encoder = texts.build(config.reader.encoder, config.reader.weights).model
        set_trainable(encoder, config.model, config.text.fine_tune)
        freeze_embeddings(encoder)
    return encoder({"token_ids": token_ids, "mask": mask}), mask


def encode_text(token_ids, config: RetrievalConfig, tokenizer: Tokenizer) -> tuple:
    """Token ids [b, t] -> sentence [b, n], words [b, t, n] and the mask of the words."""
    outputs, mask = encode_tokens(token_ids, config, tokenizer)
    sentence, words = outputs["sentence"], outputs["tokens"]
    if config.text.encoder != SCRATCH:
        # Sentences have length 1: scale them to variance 1, like the features of photos.
        sentence = sentence * sentence.shape[-1] ** 0.5
        sentence = layers.Dropout(config.model.input_dropout, name="text_dropout_in")(sentence)
    return sentence, words, mask


def transformer(config: TextConfig, words: int, dropout: float) -> Callable[[dict], dict]:
    """A small pre-norm transformer, called like the pretrained text encoders.

    It is not a nested model: those are taken for pretrained (see `pretrained_rates`).
    """

    def encode(inputs: dict) -> dict:
        token_ids, mask = inputs["token_ids"], inputs["mask"]
        places = ops.cumsum(ops.ones_like(token_ids), axis=1) - 1
        x = layers.Embedding(words, config.width, name="words_table")(token_ids)
        x = x + layers.Embedding(config.longest, config.width, name="places_table")(places)
        x = layers.Dropout(dropout, name="text_dropout_embedded")(x)
        attention_mask = ops.expand_dims(ops.cast(mask, "bool"), axis=1)
        for index in range(config.layers):
            hidden = layers.LayerNormalization(name=f"attention_norm_{index}")(x)
            attention = layers.MultiHeadAttention(
                config.heads, config.width // config.heads, name=f"attention_{index}"
            )
            attended = attention(hidden, hidden, attention_mask=attention_mask)
            x = x + layers.Dropout(dropout, name=f"attention_dropout_{index}")(attended)
            hidden = layers.LayerNormalization(name=f"output_norm_{index}")(x)
            hidden = layers.Dense(4 * config.width, "gelu", name=f"expand_{index}")(hidden)
            hidden = layers.Dense(config.width, name=f"contract_{index}")(hidden)
            x = x + layers.Dropout(dropout, name=f"output_dropout_{index}")(hidden)
        x = layers.LayerNormalization(name="final_norm")(x)
        weight = ops.expand_dims(ops.cast(mask, x.dtype), axis=-1)
        total = ops.maximum(ops.sum(weight, axis=1), 1.0)
        return {"sentence": ops.sum(x * weight, axis=1) / total, "tokens": x}

    return encode
