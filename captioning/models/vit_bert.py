"""BERT as a decoder: it reads causally, and looks at the cells between its attention and its MLP.

    decoder = decoder_of(model, ModelConfig("vit_bert", decoder_weights="minilm"))

BERT's own layout, normalised behind each part, with the weights it was trained with; their sizes
take the place of the configured ones. What was added begins as next to nothing, without a norm of
its own, so that training starts from the network that BERT was; Hugging Face's EncoderDecoderModel
has a norm there, with which it starts from another.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers, ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.decoder import Part
from imagetext.captioning.models.transformer import Block, Transformer
from imagetext.encoders import texts
from imagetext.encoders.minilm import BertShape
from imagetext.encoders.registry import RANDOM
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM

#: A tenth of the deviation that BERT's own weights had at first. (An initializer itself would have
#: its seed by now, the same for all layers.)
NEXT_TO_NOTHING = {"class_name": "TruncatedNormal", "config": {"stddev": 0.002}}


class BertBlock(Block):
    """The same, but with the norm behind each part."""

    def __call__(self, x, remember, cells, mask):
        found, _ = self.attention(x, remember(self.attention.know(x)), mask)
        x = self.norm["attention"](x + self.dropout["attention"](found))
        found, looked = self.cross(x, cells)
        x = x + self.dropout["cross"](found)
        hidden = self.contract(self.expand(x))
        return self.norm["output"](x + self.dropout["output"](hidden)), looked


class VitBert(Transformer):
    """memory and state are a Transformer's."""

    block = BertBlock
    merging = NEXT_TO_NOTHING

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: int,
        part: Part,
        text_length: int = 64,
        feed_forward: int | None = None,
        epsilon: float = 1e-12,
    ):
        self.norms = dict.fromkeys(("attention", "output"), epsilon)
        self.epsilon = epsilon
        super().__init__(config, vocabulary, part, text_length, feed_forward)
        self.embedding_norm = self.norm("embedding_norm")
        if config.decoder_weights != RANDOM:
            self.pretrained = tuple(_own_layers(config.layers))

    @staticmethod
    def sized(config: ModelConfig, model: keras.Model) -> ModelConfig:
        names = {layer.name for layer in model.layers}
        depth = sum(f"attention_norm_{index}" in names for index in range(len(names)))
        heads = model.get_layer("attention_0_ask").kernel.shape[1]
        width = model.get_layer("words").output_dim
        return dataclasses.replace(config, width=width, layers=depth, heads=heads)

    def make_head(self) -> None:
        # As where BERT guesses masked words: those weights are seldom handed on with it.
        self.transform = self.layer("transform", layers.Dense, self.width, activation="gelu")
        self.final_norm = self.norm("final_norm")

    def head(self, x):
        return self.final_norm(self.transform(x))

    def embed(self, tokens, places):
        both = ops.add(self.words(tokens), self.positions(places))
        return self.embedding_dropout(self.embedding_norm(both))

    def norm(self, name: str) -> keras.Layer:
        return self.layer(name, layers.LayerNormalization, epsilon=self.epsilon)


def _own_layers(depth: int) -> Iterator[str]:
    """The layers that BERT has, too."""
    yield from ("words", "positions", "embedding_norm")
    for index in range(depth):
        yield from (f"attention_{index}_{part}" for part in ("ask", "keys", "values", "merge"))
        yield from (f"{part}_{index}" for part in ("attention_norm", "expand", "contract"))
        yield f"output_norm_{index}"


@dataclass(frozen=True, slots=True)
class Bert:
    """A BERT's sizes and, by the name of the captioner's layer, its weights."""

    shape: BertShape
    weights: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def sized(self, config: ModelConfig) -> ModelConfig:
        """The configuration with its sizes."""
        width, layers, heads = self.shape.width, self.shape.depth, self.shape.heads
        return dataclasses.replace(config, width=width, layers=layers, heads=heads)

    @property
    def settings(self) -> dict:
        """What a decoder is told beside the configuration."""
        shape = self.shape
        return {
            "text_length": shape.positions,
            "feed_forward": shape.feed_forward,
            "epsilon": shape.epsilon,
        }

    def give(self, model: keras.Model) -> None:
        """Copy the weights into a captioner."""
        for name, arrays in self.weights.items():
            layer = model.get_layer(name)
            pairs = zip(arrays, layer.weights, strict=True)
            layer.set_weights([array.reshape(weight.shape) for array, weight in pairs])


def bert_of(
    config: ModelConfig, vocabulary: int, text_length: int, pieces: Sequence[int] | None = None
) -> Bert:
    """The BERT that a configuration names, with a row of its table for each word: those of
    `pieces`, else the first ones."""
    if config.decoder_weights == RANDOM:
        width = config.width
        return Bert(
            BertShape(vocabulary, width, config.layers, config.heads, 4 * width, text_length)
        )
    name = MINILM if config.decoder_weights == "minilm" else config.decoder_weights
    bert = read(texts.build(name).model, name)
    if vocabulary > bert.shape.vocabulary:
        raise UserError(
            f"{name}: expected a vocabulary of at most {bert.shape.vocabulary:,} words, got"
            f" {vocabulary:,}; set text.wordpieces to the vocabulary of that BERT"
        )
    rows = np.arange(vocabulary) if pieces is None else np.asarray(pieces)
    bert.weights["words"] = [bert.weights["words"][0][rows]]
    return bert


def read(model: keras.Model, name: str) -> Bert:
    """The BERT in a text tower: one of `imagetext.encoders.minilm`, or of keras-hub."""
    layers_of = {layer.name: layer for layer in model.layers}
    if "bert_backbone" in layers_of:
        return _of_keras_hub(layers_of["bert_backbone"])
    if "attention_norm_0" not in layers_of:
        raise UserError(
            f"{name}: not a BERT; set model.decoder_weights to a BERT, minilm or random"
        )
    return _of_minilm(model)


def _of_minilm(model: keras.Model) -> Bert:
    found = {layer.name: layer for layer in model.layers}
    depth = sum(name.startswith("attention_norm_") for name in found)
    taken = {name: found[name] for name in _own_layers(depth) if name in found}
    for index in range(depth):
        taken |= _heads(index, found[f"attention_{index}"])
    positions, epsilon = found["positions"].input_dim, found["embedding_norm"].epsilon
    return _bert(taken, depth, found["attention_0"].num_heads, positions, epsilon)


def _of_keras_hub(backbone: keras.Model) -> Bert:
    taken = {
        "words": backbone.get_layer("token_embedding"),
        "embedding_norm": backbone.get_layer("embeddings_layer_norm"),
    }
    depth = sum(layer.name.startswith("transformer_layer_") for layer in backbone.layers)
    for index in range(depth):
        block = backbone.get_layer(f"transformer_layer_{index}")
        attention = block._self_attention_layer
        taken |= _heads(index, attention)
        taken[f"attention_norm_{index}"] = block._self_attention_layer_norm
        taken[f"expand_{index}"] = block._feedforward_intermediate_dense
        taken[f"contract_{index}"] = block._feedforward_output_dense
        taken[f"output_norm_{index}"] = block._feedforward_layer_norm
    # A caption is all of the first type.
    positions = backbone.get_layer("position_embedding").get_weights()[0]
    positions = positions + backbone.get_layer("segment_embedding").get_weights()[0][0]
    epsilon = taken["embedding_norm"].epsilon
    bert = _bert(taken, depth, attention.num_heads, len(positions), epsilon)
    bert.weights["positions"] = [positions]
    return bert


def _heads(index: int, attention: keras.layers.MultiHeadAttention) -> dict[str, keras.Layer]:
    return {
        f"attention_{index}_ask": attention.query_dense,
        f"attention_{index}_keys": attention.key_dense,
        f"attention_{index}_values": attention.value_dense,
        f"attention_{index}_merge": attention.output_dense,
    }


def _bert(
    taken: dict[str, keras.Layer], depth: int, heads: int, positions: int, epsilon: float
) -> Bert:
    words = taken["words"]
    hidden = taken["expand_0"].units
    shape = BertShape(words.input_dim, words.output_dim, depth, heads, hidden, positions, epsilon)
    return Bert(shape, {name: layer.get_weights() for name, layer in taken.items()})
