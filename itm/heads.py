"""The heads of the matching model: from both sides of a pair to the probability of a match.

    probabilities = HEADS[config.head](inputs, config)                    # [b, k, 2]

A new head is a function, an entry in `HEADS`, and its name in `ModelConfig.head`. Layer names are
part of saved checkpoints and stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import layers, ops

from imagetext.itm.config import ModelConfig
from imagetext.layers.blocks import normalized_projection, project_cells
from imagetext.layers.contrastive import l2_normalize
from imagetext.layers.late_interaction import late_similarities_of_pairs

#: A symbolic tensor of a functional model.
Tensor = Any


@dataclass(frozen=True)
class HeadInputs:
    """What a head works with, for b photos with k captions each.

    Args:
        photo: Projected photo [b, k, d], repeated for each caption; None in a text-only control.
        text: Projected caption [b, k, d]; None in an image-only control.
        cells: Grid of image features [b, h, w, n], if there is one.
        words: Token features [b, k, t, n'], if captions are read by a text encoder.
        is_word: Which tokens are not padding, bool [b, k, t].
    """

    photo: Tensor = None
    text: Tensor = None
    cells: Tensor = None
    words: Tensor = None
    is_word: Tensor = None

    @property
    def sides(self) -> list[Tensor]:
        """Photo and caption, or the only side of a control."""
        return [side for side in (self.photo, self.text) if side is not None]


Head = Callable[[HeadInputs, ModelConfig], Tensor]


def additive(inputs: HeadInputs, config: ModelConfig) -> Tensor:
    """Concatenation straight into the softmax, the course's stock head. The logits are a sum of an
    image term and a text term, which cannot express that the two agree."""
    return classify(drop_out(inputs.sides, config))


def concat(inputs: HeadInputs, config: ModelConfig) -> Tensor:
    """Concatenation and dense layers."""
    return classify(dense_layers(inputs.sides, config))


def joint(inputs: HeadInputs, config: ModelConfig) -> Tensor:
    """`concat`, with the product and the difference of both sides."""
    return classify(dense_layers(interactions(inputs), config))


def attention(inputs: HeadInputs, config: ModelConfig) -> Tensor:
    """`joint`, with cross-attention between words and cells."""
    attended = cross_attention(inputs, config)
    return classify(dense_layers([*interactions(inputs), *attended], config))


def cosine(inputs: HeadInputs, config: ModelConfig) -> Tensor:
    """The cosine of both sides, blended with late interaction by `config.late`."""
    late = late_interaction(inputs, config) if config.late else None
    similarity = cosine_similarity(inputs.photo, inputs.text)
    if late is not None:
        similarity = (1 - config.late) * similarity + config.late * late
    layer = match_layer()
    probabilities = layer(similarity)
    # High similarity must mean a match from the start: if the model is trained by alignment alone,
    # nothing would correct a random layer with the opposite sign.
    layer.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])
    return probabilities


#: All heads by the value of `model.head`.
HEADS: dict[str, Head] = {
    "concat": concat,
    "additive": additive,
    "joint": joint,
    "cosine": cosine,
    "attention": attention,
}


def control_head(name: str) -> Head:
    """The head of a control, which has only one side and therefore nothing to compare."""
    return additive if name == "additive" else concat


# ------------------------------------------------------------------------------ parts of heads


def match_layer() -> layers.Dense:
    """The last layer of every head: the probabilities of match and no-match, in float32."""
    return layers.Dense(2, activation="softmax", name="match", dtype="float32")


def classify(features: Tensor) -> Tensor:
    """Features [b, k, n] to probabilities [b, k, 2]."""
    return match_layer()(features)


def drop_out(parts: list[Tensor], config: ModelConfig) -> Tensor:
    """Concatenate [b, k, d] and apply dropout, in float32."""
    x = layers.Concatenate(name="both")(parts) if len(parts) > 1 else parts[0]
    return layers.Dropout(config.dropout, name="head_dropout", dtype="float32")(x)


def dense_layers(parts: list[Tensor], config: ModelConfig) -> Tensor:
    """Concatenate [b, k, d], then dropout and the hidden layers, in float32."""
    x = drop_out(parts, config)
    for number, width in enumerate(config.hidden, start=1):
        name = f"hidden_{number}"
        x = layers.Dense(width, activation="relu", name=name, dtype="float32")(x)
    return x


def interactions(inputs: HeadInputs) -> list[Tensor]:
    """Both sides, their product and their absolute difference, [b, k, d] each."""
    photo, text = inputs.photo, inputs.text
    difference = layers.Subtract(name="difference")([photo, text])
    product = layers.Multiply(name="product")([photo, text])
    return [photo, text, product, ops.abs(difference)]


def cosine_similarity(photo: Tensor, text: Tensor) -> Tensor:
    """Cosine of [..., d] and [..., d], [..., 1] in float32."""
    photo, text = (ops.cast(side, "float32") for side in (photo, text))
    dot = ops.sum(photo * text, axis=-1, keepdims=True)
    norms = ops.sum(photo * photo, -1, keepdims=True) * ops.sum(text * text, -1, keepdims=True)
    return dot / ops.sqrt(norms + 1e-6)


def late_interaction(inputs: HeadInputs, config: ModelConfig) -> Tensor:
    """The mean, over the words, of each word's cosine with its most similar cell: [b, k, 1]."""
    # Drop whole channels: otherwise a dropped value could be recovered from the next cell.
    cells = layers.SpatialDropout2D(config.input_dropout, name="cells_dropout_in")(inputs.cells)
    cells = l2_normalize(project_cells(cells, config.late_width, config.dropout))
    words = l2_normalize(
        normalized_projection(inputs.words, config.late_width, config.dropout, "words")
    )
    is_word = ops.cast(inputs.is_word, "float32")
    mask = layers.Identity(name="is_word", dtype="float32")(is_word)
    return late_similarities_of_pairs(cells, words, mask)


def cross_attention(inputs: HeadInputs, config: ModelConfig) -> list[Tensor]:
    """Attention from words to cells and from cells to words, with shared scores.

    Each word is compared with the cells that it attended to, and each cell with its words.

    Returns:
        The results averaged over the words and over the cells, [b, k, d] each.
    """
    width = config.projection
    cells = project_cells(inputs.cells, width, config.dropout)
    words = normalized_projection(inputs.words, width, config.dropout, "words")
    word_queries = _split_heads(words, config, "words_ask", "kt")
    word_values = _split_heads(words, config, "words_show", "kt")
    cell_queries = _split_heads(cells, config, "cells_tell", "c")
    cell_values = _split_heads(cells, config, "cells_show", "c")
    scores = ops.cast(ops.einsum("bkthd,bchd->bkhtc", word_queries, cell_queries), "float32")
    scores = scores * (width // config.heads) ** -0.5
    over_cells = ops.cast(ops.softmax(scores, axis=-1), words.dtype)
    # If a photo has fewer captions, all words of a row are masked; adding keeps softmax finite.
    mask = ops.cast(inputs.is_word, "float32")[:, :, None, :, None]
    over_words = ops.cast(ops.softmax(scores + (mask - 1) * 1e9, axis=-2), words.dtype)
    attended_cells = ops.einsum("bkhtc,bchd->bkthd", over_cells, cell_values)
    attended_words = ops.einsum("bkhtc,bkthd->bkchd", over_words, word_values)
    attended_cells = _merge_heads(attended_cells, config, "words_seen")
    attended_words = _merge_heads(attended_words, config, "cells_told")
    word_features = layers.Dense(width, activation="gelu", name="words_agree")(
        ops.concatenate([words, attended_cells, words * attended_cells], axis=-1)
    )
    weight = ops.cast(inputs.is_word, word_features.dtype)[..., None]
    count = ops.maximum(ops.sum(weight, axis=2), 1.0)
    mean_of_words = ops.sum(word_features * weight, axis=2) / count
    cells = ops.expand_dims(cells, 1) + ops.zeros_like(attended_words)
    cell_features = layers.Dense(width, activation="gelu", name="cells_agree")(
        ops.concatenate([cells, attended_words, cells * attended_words], axis=-1)
    )
    return [mean_of_words, ops.mean(cell_features, axis=2)]


def _split_heads(x: Tensor, config: ModelConfig, name: str, axes: str) -> Tensor:
    """[b, ..., d] -> [b, ..., heads, d / heads]; `axes` are the einsum letters in between."""
    shape = [*[None] * len(axes), config.heads, config.projection // config.heads]
    return layers.EinsumDense(f"b{axes}e,ehd->b{axes}hd", shape, bias_axes="hd", name=name)(x)


def _merge_heads(x: Tensor, config: ModelConfig, name: str) -> Tensor:
    """[b, k, n, heads, d / heads] -> [b, k, n, d]."""
    shape = [None, None, config.projection]
    return layers.EinsumDense("bknhd,hde->bkne", shape, bias_axes="e", name=name)(x)
