"""Two towers: a photo in one, a caption in the other, and vectors of length 1 that are compared.

    network = build(RetrievalConfig(), image_shape=[1280], pieces=pieces)
    network({"image": features, "texts": ids})     # {"photo": [b, 512], "text": [b, 512]}

    photo_tower(network)(features)                 # {"photo": [b, 512]}
    text_tower(network)(ids)                       # {"text": [b, 512]}

With late interaction there are also "cells" [b, c, d], and "words" [b, t, d] with their "mask"
[b, t]. Built-in layers and `keras.ops` only, so that a saved `.keras` file opens with Keras alone.
"""

import math
from collections.abc import Sequence

import keras
from keras import layers, ops

from imagetext.encoders import images, texts
from imagetext.encoders.pieces import Pieces
from imagetext.encoders.text_tower import up_to_end
from imagetext.encoders.tuning import blocks, hold_still, hold_words, rates, train_last
from imagetext.errors import UserError
from imagetext.layers.contrastive import unit
from imagetext.retrieval.config import SCRATCH, ModelConfig, RetrievalConfig, TextConfig
from imagetext.retrieval.one_clip import require_one_clip
from imagetext.retrieval.texts import WordTokenizer
from imagetext.training.network import STANDARDISE

#: What belongs to the photo's side; all else is the caption's.
OF_PHOTOS = ("photo", "cells")


def build(config: RetrievalConfig, image_shape: Sequence[int], pieces: Pieces) -> keras.Model:
    """Both towers in one network: {"image": [b, *image_shape], "texts": int32 [b, t]} -> a dict of
    vectors, float32. Of our own words it carries the digest in its name."""
    dtype = "uint8" if config.data.from_pixels else "float32"
    image = keras.Input(image_shape, dtype=dtype, name="image")
    token_ids = keras.Input([None], dtype="int32", name="texts")
    if config.model.own_vectors:
        require_one_clip(config)
        seen = tuned_photos(image, config) if config.data.fine_tune else image
        found = {"photo": unit(seen), "text": tuned_texts(token_ids, config, pieces)[0]["sentence"]}
    else:
        whole, cells = see(image, config)
        found = {"photo": head(whole, config.model, "photo")}
        sentence, words, mask = read(token_ids, config, pieces)
        found["text"] = head(sentence, config.model, "text")
    if config.model.late:
        found["cells"] = cells_of(cells, config.model)
        found["words"] = token_vectors(words, config.model, "words")
        found["mask"] = ops.cast(mask, "float32")
    name = f"dual_encoder_{pieces.digest}" if isinstance(pieces, WordTokenizer) else "dual_encoder"
    return keras.Model({"image": image, "texts": token_ids}, found, name=name)


def photo_tower(network: keras.Model) -> keras.Model:
    """What the model is given of photos -> their vectors, with the weights of the network."""
    return _side(network, "image", lambda name: name in OF_PHOTOS)


def text_tower(network: keras.Model) -> keras.Model:
    """Word pieces int32 [b, t] -> their vectors, with the weights of the network."""
    return _side(network, "texts", lambda name: name not in OF_PHOTOS)


def _side(network: keras.Model, given: str, belongs) -> keras.Model:
    found = {name: vectors for name, vectors in network.output.items() if belongs(name)}
    return keras.Model(network.input[given], found, name=f"{given}_tower")


def pretrained(network: keras.Model, config: ModelConfig) -> list[tuple[keras.Variable, float]]:
    """The weights that were trained elsewhere, with their share of the learning rate."""
    towers = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    how = (config.encoder_rate, config.layer_decay)
    return [pair for tower in towers for pair in rates(tower, *how)]


def tuned(tower: keras.Model, config: ModelConfig, trained: bool) -> keras.Model:
    """A pretrained tower, with what of it is to be trained."""
    tower.trainable = trained and config.encoder_rate > 0
    hold_still(tower)  # batch norm keeps the averages of ImageNet
    known = train_last(tower, config.unfreeze) if config.unfreeze is not None else True
    if not known or (config.layer_decay != 1 and not blocks(tower)):
        told = f"the blocks of {tower.name} are not known here"
        raise UserError(f"{told} -- leave model.layer_decay at 1, and model.unfreeze null")
    return tower


# ------------------------------------------------------------------------------------- photos


def tuned_photos(image, config: RetrievalConfig):
    """Pixels uint8 [b, s, s, 3] -> what the one encoder, trained along, sees in them."""
    data = config.data
    tower = images.build(data.image_encoders[0], data.image_output, data.image_weights)
    return tuned(tower, config.model, trained=True)(image)


def see(image, config: RetrievalConfig) -> tuple:
    """What is in a photo: as a whole [b, n], and, where words are to meet them, its cells
    [b, h, w, n]."""
    data, model = config.data, config.model
    if not data.image_encoders:
        # All cells as they lie, as long as those are few: what is left of what is lost in a mean.
        cells = own_blocks(image, model.filters)
        return layers.Flatten(name="cells_flat")(cells), cells
    if data.fine_tune:
        image = tuned_photos(image, config)
    # Its mean and variance are measured on the training photos before training.
    standardise = layers.Normalization(name=STANDARDISE, dtype="float32")
    if len(image.shape) == 2:
        whole, cells = standardise(image), None
    else:
        cells = standardise(image)
        # What is lost is lost in all cells: a word cannot look it up next door.
        cells = layers.SpatialDropout2D(model.input_dropout, name="cells_dropout_in")(cells)
        mean = layers.AveragePooling2D(image.shape[1:3], dtype="float32", name="pool_cells")
        whole = layers.Flatten(name="pooled")(standardise(mean(image)))
    return layers.Dropout(model.input_dropout, name="image_dropout_in")(whole), cells


def own_blocks(image, filters: Sequence[int]):
    """Pixels uint8 [b, h, w, 3] -> the cells behind Conv + MaxPool blocks, half as many a side with
    each. Their norm is of each photo by itself: that of a batch would be another in each part of it
    (see `imagetext.training.gradient_cache`)."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(image)
    for number, count in enumerate(filters, start=1):
        x = layers.Conv2D(count, 3, padding="same", use_bias=False, name=f"conv_{number}")(x)
        groups = math.gcd(count, max(1, count // 16))
        x = layers.GroupNormalization(groups, name=f"conv_norm_{number}")(x)
        x = layers.Activation("relu", name=f"conv_relu_{number}")(x)
        x = layers.MaxPooling2D(name=f"pool_{number}")(x)
    return x


def cells_of(cells, config: ModelConfig):
    """The cells [b, h, w, n] in a row, at length 1: [b, c, d]."""
    row = layers.Reshape([-1, cells.shape[-1]], name="cells_in_a_row")(cells)
    return token_vectors(row, config, "cells")


# -------------------------------------------------------------------------------------- texts


def tuned_texts(token_ids, config: RetrievalConfig, pieces: Pieces) -> tuple:
    """Word pieces [b, t] -> {"sentence": [b, n], "tokens": [b, t, n]} of the encoder, trained along
    or not, and which are pieces of the text."""
    mask = up_to_end(token_ids, pieces.end)
    if config.text.encoder == SCRATCH:
        tower = transformer(config.text, len(pieces), config.model.dropout)
    else:
        tower = texts.build(config.reader.encoder, config.reader.weights).model
        tuned(tower, config.model, config.text.fine_tune)
        hold_words(tower)
    return tower({"token_ids": token_ids, "mask": mask}), mask


def read(token_ids, config: RetrievalConfig, pieces: Pieces) -> tuple:
    """Word pieces [b, t] -> sentences [b, n], words [b, t, n], and which are pieces of the text."""
    found, mask = tuned_texts(token_ids, config, pieces)
    sentence, words = found["sentence"], found["tokens"]
    if config.text.encoder != SCRATCH:
        # A sentence is of length 1: spread to variance 1, as the photo's features are.
        sentence = sentence * sentence.shape[-1] ** 0.5
        sentence = layers.Dropout(config.model.input_dropout, name="text_dropout_in")(sentence)
    return sentence, words, mask


def transformer(config: TextConfig, words: int, dropout: float):
    """A small text tower of our own, normalised before each part; called as the pretrained ones
    are. No model within the model: those are pretrained."""

    def tower(inputs: dict) -> dict:
        token_ids, mask = inputs["token_ids"], inputs["mask"]
        places = ops.cumsum(ops.ones_like(token_ids), axis=1) - 1
        x = layers.Embedding(words, config.width, name="words_table")(token_ids)
        x = x + layers.Embedding(config.longest, config.width, name="places_table")(places)
        x = layers.Dropout(dropout, name="text_dropout_embedded")(x)
        attend_to = ops.expand_dims(ops.cast(mask, "bool"), axis=1)
        for index in range(config.layers):
            known = layers.LayerNormalization(name=f"attention_norm_{index}")(x)
            attention = layers.MultiHeadAttention(
                config.heads, config.width // config.heads, name=f"attention_{index}"
            )
            attended = attention(known, known, attention_mask=attend_to)
            x = x + layers.Dropout(dropout, name=f"attention_dropout_{index}")(attended)
            hidden = layers.LayerNormalization(name=f"output_norm_{index}")(x)
            hidden = layers.Dense(4 * config.width, "gelu", name=f"expand_{index}")(hidden)
            hidden = layers.Dense(config.width, name=f"contract_{index}")(hidden)
            x = x + layers.Dropout(dropout, name=f"output_dropout_{index}")(hidden)
        x = layers.LayerNormalization(name="final_norm")(x)
        weight = ops.expand_dims(ops.cast(mask, x.dtype), axis=-1)
        total = ops.maximum(ops.sum(weight, axis=1), 1.0)
        return {"sentence": ops.sum(x * weight, axis=1) / total, "tokens": x}

    return tower


# -------------------------------------------------------------------------------- what both share


def head(x, config: ModelConfig, side: str):
    """A dense layer and a correction of two, normalised, at length 1: [b, n] -> [b, d]."""
    straight = layers.Dense(config.width, name=f"{side}_projection")(x)
    bent = layers.Activation("gelu", name=f"{side}_gelu")(straight)
    bent = layers.Dense(config.width, name=f"{side}_residual")(bent)
    bent = layers.Dropout(config.dropout, name=f"{side}_dropout")(bent)
    added = layers.Add(name=f"{side}_add")([straight, bent])
    return unit(layers.LayerNormalization(name=f"{side}_norm")(added))


def token_vectors(x, config: ModelConfig, name: str):
    """Cells or words [b, t, n] -> [b, t, d] at length 1."""
    x = layers.Dense(config.late_width, name=f"{name}_projection")(x)
    x = layers.Dropout(config.dropout, name=f"{name}_dropout")(x)
    return unit(layers.LayerNormalization(name=f"{name}_norm")(x))
