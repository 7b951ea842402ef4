"""What training and decoding need of an architecture, and what all architectures share.

    class Mine(Decoder):
        def remember(self, features): ...           # what is kept of a photo, once
        def states(self, memory, tokens): ...       # whole captions
        def begin(self, memory, beams, longest): ...
        def step(self, memory, state, tokens, place): ...

A decoder holds layers, no weights of its own: they are made when a model is built, and taken from
it when one was loaded. The same methods take Keras' symbolic tensors, when the model is put
together, and real ones, in a graph or not.

Padding stands only behind the last word, and nothing looks ahead: what is behind a caption can
neither change it nor make a row of which nothing is left. So no mask is needed, and none is given
to the GRUs, whose cuDNN kernel cannot bear one that masks a whole row.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.recurrence import quick_on_cpu
from imagetext.layers.folding import fold, unfold
from imagetext.training.network import STANDARDISE

Part = Callable[[str, Callable[[], keras.Layer]], keras.Layer]


def shares(scores):
    """Softmax over the last axis, in float32 whatever the precision."""
    scores = ops.cast(scores, "float32")
    # Of a single score Keras warns, as of a slip; a caption of one word is none.
    return ops.ones_like(scores) if scores.shape[-1] == 1 else ops.softmax(scores, axis=-1)


class Decoder:
    """What training and decoding need of an architecture.

    `part(name, make)` gives the layer of that name. Shapes: b photos, k captions (in decoding:
    beams) of each, t tokens, v words; `memory` is a dict of tensors [b, ...], `state` one of
    tensors [b, k, ...].
    """

    #: Whether it looks at cells, so that it can be asked where.
    attends = True
    #: The names of layers whose weights were trained elsewhere.
    pretrained: tuple[str, ...] = ()

    def __init__(self, config: ModelConfig, vocabulary: int, part: Part):
        self.config, self.part = config, part
        self.width = config.width
        self.tower: keras.Model | None = None
        # Its mean and variance are measured on the training photos before training.
        self.standardise = self.layer(STANDARDISE, layers.Normalization, dtype="float32")
        self.image_dropout = self.layer("image_dropout_in", layers.Dropout, config.input_dropout)
        if self.tied:
            # In float32, since it is the softmax's kernel as well.
            self.words = self.layer(
                "words", layers.ReversibleEmbedding, vocabulary, self.width, dtype="float32"
            )
            # A bias is no layer of its own in Keras; an embedding of one row is.
            self.bias = self.layer(
                "word_bias",
                layers.Embedding,
                1,
                vocabulary,
                embeddings_initializer="zeros",
                dtype="float32",
            )
            self.logits = self.layer("logits", layers.Activation, "linear", dtype="float32")
        else:
            self.words = self.layer("words", layers.Embedding, vocabulary, self.width)
            self.logits = self.layer("logits", layers.Dense, vocabulary, dtype="float32")

    @staticmethod
    def sized(config: ModelConfig, model: keras.Model) -> ModelConfig:
        """The configuration with the sizes that a model has, where weights decided them."""
        return config

    @property
    def tied(self) -> bool:
        """Whether the softmax's weights are the word vectors."""
        return self.config.tied

    def layer(self, name: str, kind: type[keras.Layer], *settings, **more) -> keras.Layer:
        return self.part(name, lambda: kind(*settings, name=name, **more))

    def dropout(self, name: str) -> keras.Layer:
        return self.layer(name, layers.Dropout, self.config.dropout)

    def see(self, image) -> dict[str, Any]:
        """Photos, as the model takes them -> memory."""
        if self.tower is not None:
            image = self.tower(image)
        return self.remember(self.image_dropout(self.standardise(image)))

    def read(self, memory: dict[str, Any], tokens):
        """Captions int32 [b, k, t] -> logits float32 [b, k, t, v] of what comes behind each."""
        return self.answer(self.states(memory, tokens)[0])

    def looked(self, memory: dict[str, Any], tokens):
        """Where each word of captions looked: float32 [b, k, t, cells]."""
        return self.states(memory, tokens)[1]

    def answer(self, states):
        """States [b, k, t, width] -> logits [b, k, t, v]."""
        if not self.tied:
            return self.logits(states)
        first = ops.zeros_like(ops.cast(states[:1, :1, :1, 0], "int32"))
        return self.logits(self.words(states, reverse=True) + self.bias(first))

    def remember(self, features) -> dict[str, Any]:
        """Features of photos [b, ...] -> memory: all that depends on the photo alone."""
        raise NotImplementedError

    def states(self, memory: dict[str, Any], tokens) -> tuple:
        """Captions [b, k, t] -> states [b, k, t, width] for `answer`, and where they looked [b, k,
        t, cells] (None where the architecture does not)."""
        raise NotImplementedError

    def begin(self, memory: dict[str, Any], beams: int, longest: int) -> dict[str, Any]:
        """The state before the first word, with room to read `longest` tokens."""
        raise NotImplementedError

    def step(self, memory: dict[str, Any], state: dict[str, Any], tokens, place) -> tuple:
        """Read tokens [b, k], `place` others having been read -> logits [b, k, v], state."""
        raise NotImplementedError


class RecurrentDecoder(Decoder):
    """A decoder with GRUs, which know one axis of captions and not two."""

    def __init__(self, *given, **settings):
        super().__init__(*given, **settings)
        self.in_a_row = self.layer("in_a_row", layers.Reshape, [-1, self.width])

    @property
    def tied(self) -> bool:
        return False

    def gru(self, name: str) -> keras.Layer:
        """The defaults of a GRU are what cuDNN can do."""
        return quick_on_cpu(self.layer(name, layers.GRU, self.width, return_sequences=True))

    def fold(self, x):
        """[b, k, t, width] -> [b k, t, width]."""
        return fold(x, self.in_a_row)

    def unfold(self, x, tokens):
        """[b k, t, n] -> [b, k, t, n], as `tokens` [b, k, t] tell."""
        return unfold(x, tokens)

    def once(self, gru: keras.Layer, x, state):
        """One step of a GRU: x [b, k, n] and state [b, k, width] -> state [b, k, width]."""
        flat = ops.reshape(x, [-1, x.shape[-1]])
        after, _ = gru.cell(flat, [ops.reshape(state, [-1, self.width])])
        return ops.reshape(after, ops.shape(state))
