"""What training and decoding need of an architecture, and what all architectures share.

    class MyDecoder(Decoder):
        def encode_features(self, features): ...                # once per photo
        def hidden_states(self, memory, tokens): ...            # whole captions
        def initial_state(self, memory, beams, max_tokens): ...
        def step(self, memory, state, tokens, position): ...

A decoder holds layers but owns no weights: the layers are created when a model is built, and taken
from the model when it was loaded. The same methods accept symbolic tensors, while the model is put
together, and eager tensors, inside a graph or not.

Padding only follows the last word, and no token depends on later ones, so padding can neither
change a caption nor leave a row without anything to attend to. That is why no mask is needed, and
none is passed to the GRUs, whose cuDNN kernel fails on fully masked rows.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.recurrence import speed_up_on_cpu
from imagetext.layers.folding import fold, unfold
from imagetext.training.network import STANDARDISE

GetLayer = Callable[[str, Callable[[], keras.Layer]], keras.Layer]


def attention_softmax(scores):
    """Softmax over the last axis, in float32 whatever the precision."""
    scores = ops.cast(scores, "float32")
    # Keras warns about the softmax of a single score, but captions of one word are legitimate.
    return ops.ones_like(scores) if scores.shape[-1] == 1 else ops.softmax(scores, axis=-1)


class Decoder:
    """Base class of all architectures.

    Shapes: b photos, k captions of each (in decoding: beams), t tokens, v words. `memory` is a dict
    of tensors [b, ...], `state` a dict of tensors [b, k, ...].

    Args:
        config: The configuration of the model.
        vocabulary_size: Number of words, v.
        get_layer: A function of a name and of a function that creates the layer; returns the layer
            of that name.
    """

    #: Whether it attends to the cells of the photo.
    attends = True
    #: Names of the layers with pretrained weights.
    pretrained: tuple[str, ...] = ()

    def __init__(self, config: ModelConfig, vocabulary_size: int, get_layer: GetLayer):
        self.config, self.get_layer = config, get_layer
        self.width = config.width
        self.tower: keras.Model | None = None
        # Its mean and variance are measured on the training photos before training.
        self.standardise = self.layer(STANDARDISE, layers.Normalization, dtype="float32")
        self.image_dropout = self.layer("image_dropout_in", layers.Dropout, config.input_dropout)
        if self.tied:
            # In float32, because it is also the kernel of the softmax.
            self.words = self.layer(
                "words", layers.ReversibleEmbedding, vocabulary_size, self.width, dtype="float32"
            )
            # Keras has no layer that is only a bias; an embedding with one row is equivalent.
            self.bias = self.layer(
                "word_bias",
                layers.Embedding,
                1,
                vocabulary_size,
                embeddings_initializer="zeros",
                dtype="float32",
            )
            self.logits = self.layer("logits", layers.Activation, "linear", dtype="float32")
        else:
            self.words = self.layer("words", layers.Embedding, vocabulary_size, self.width)
            self.logits = self.layer("logits", layers.Dense, vocabulary_size, dtype="float32")

    @staticmethod
    def adapt_config(config: ModelConfig, model: keras.Model) -> ModelConfig:
        """Return the configuration with the actual sizes, if pretrained weights decide them."""
        return config

    @property
    def tied(self) -> bool:
        """Whether the softmax shares its weights with the word embeddings."""
        return self.config.tied

    def layer(self, name: str, kind: type[keras.Layer], *args, **kwargs) -> keras.Layer:
        return self.get_layer(name, lambda: kind(*args, name=name, **kwargs))

    def dropout(self, name: str) -> keras.Layer:
        return self.layer(name, layers.Dropout, self.config.dropout)

    def encode_image(self, image) -> dict[str, Any]:
        """Encode photos, pixels or features [b, ...] -> memory."""
        if self.tower is not None:
            image = self.tower(image)
        return self.encode_features(self.image_dropout(self.standardise(image)))

    def next_token_logits(self, memory: dict[str, Any], tokens):
        """Captions int32 [b, k, t] -> logits float32 [b, k, t, v] of the token after each."""
        return self.to_logits(self.hidden_states(memory, tokens)[0])

    def attention_weights(self, memory: dict[str, Any], tokens):
        """Captions int32 [b, k, t] -> attention of each token, float32 [b, k, t, cells]."""
        return self.hidden_states(memory, tokens)[1]

    def to_logits(self, hidden):
        """Hidden states [b, k, t, width] -> logits [b, k, t, v]."""
        if not self.tied:
            return self.logits(hidden)
        row = ops.zeros_like(ops.cast(hidden[:1, :1, :1, 0], "int32"))
        return self.logits(self.words(hidden, reverse=True) + self.bias(row))

    def encode_features(self, features) -> dict[str, Any]:
        """Standardised features [b, ...] -> memory: everything that depends on the photo alone."""
        raise NotImplementedError

    def hidden_states(self, memory: dict[str, Any], tokens) -> tuple:
        """Run over whole captions.

        Args:
            memory: The encoded photos.
            tokens: int32 [b, k, t].

        Returns:
            The hidden states [b, k, t, width] that `to_logits` takes, and the attention weights
            float32 [b, k, t, cells] (None if the architecture does not attend to cells).
        """
        raise NotImplementedError

    def initial_state(self, memory: dict[str, Any], beams: int, max_tokens: int) -> dict[str, Any]:
        """The state before the first token, with room for `max_tokens` tokens."""
        raise NotImplementedError

    def step(self, memory: dict[str, Any], state: dict[str, Any], tokens, position) -> tuple:
        """Advance by one token.

        Args:
            memory: The encoded photos.
            state: The state after the previous token.
            tokens: int32 [b, k].
            position: Number of tokens before these.

        Returns:
            Logits [b, k, v] of the next token, and the new state.
        """
        raise NotImplementedError


class RecurrentDecoder(Decoder):
    """A decoder with GRUs, which accept one batch axis: photos and captions are folded into it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.reshape = self.layer("in_a_row", layers.Reshape, [-1, self.width])

    @property
    def tied(self) -> bool:
        return False

    def gru(self, name: str) -> keras.Layer:
        """A GRU that cuDNN supports, which holds for the default arguments."""
        return speed_up_on_cpu(self.layer(name, layers.GRU, self.width, return_sequences=True))

    def fold(self, x):
        """[b, k, t, width] -> [b k, t, width]"""
        return fold(x, self.reshape)

    def unfold(self, x, tokens):
        """[b k, t, n] -> [b, k, t, n], with the sizes of `tokens` [b, k, t]"""
        return unfold(x, tokens)

    def gru_step(self, gru: keras.Layer, x, state):
        """One step of a GRU: x [b, k, n] and state [b, k, width] -> state [b, k, width]."""
        rows = ops.reshape(x, [-1, x.shape[-1]])
        new_state, _ = gru.cell(rows, [ops.reshape(state, [-1, self.width])])
        return ops.reshape(new_state, ops.shape(state))
