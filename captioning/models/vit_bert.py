"""BERT as a decoder: made causal, with cross-attention between self-attention and feed-forward.

    decoder = get_decoder(model, ModelConfig("vit_bert", decoder_weights="minilm"))

The layout is BERT's, with norms after each part, and so are the weights; their sizes override those
of the configuration. The added cross-attention starts near zero and has no norm, so training starts
from BERT itself. Hugging Face's EncoderDecoderModel adds a norm there, and so starts from a
different network.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
from keras import layers, ops

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models.decoder import GetLayer
from imagetext.captioning.models.transformer import Block, Transformer
from imagetext.encoders import texts
from imagetext.encoders.minilm import BertShape
from imagetext.encoders.registry import RANDOM
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM

#: A tenth of the standard deviation that BERT's own weights started with. (An initializer object
#: would already have a seed, the same for all layers.)
NEAR_ZERO = {"class_name": "TruncatedNormal", "config": {"stddev": 0.002}}


class BertBlock(Block):
    """A block with the norm after each part instead of before it."""

    def __call__(self, x, cache, cells, mask):
        attended, _ = self.attention(x, cache(self.attention.keys_and_values(x)), mask)
        x = self.norm["attention"](x + self.dropout["attention"](attended))
        attended, weights = self.cross(x, cells)
        x = x + self.dropout["cross"](attended)
        hidden = self.contract(self.expand(x))
        return self.norm["output"](x + self.dropout["output"](hidden)), weights


class VitBert(Transformer):
    """memory and state are those of a Transformer."""

    block = BertBlock
    cross_initializer = NEAR_ZERO

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        get_layer: GetLayer,
        text_length: int = 64,
        feed_forward: int | None = None,
        epsilon: float = 1e-12,
    ):
        self.norms = dict.fromkeys(("attention", "output"), epsilon)
        self.epsilon = epsilon
        super().__init__(config, vocabulary_size, get_layer, text_length, feed_forward)
        self.embedding_norm = self.layer_norm("embedding_norm")
        if config.decoder_weights != RANDOM:
            self.pretrained = tuple(_bert_layer_names(config.layers))

    @staticmethod
    def adapt_config(config: ModelConfig, model: keras.Model) -> ModelConfig:
        names = {layer.name for layer in model.layers}
        depth = sum(f"attention_norm_{index}" in names for index in range(len(names)))
        heads = model.get_layer("attention_0_ask").kernel.shape[1]
        width = model.get_layer("words").output_dim
        return dataclasses.replace(config, width=width, layers=depth, heads=heads)

    def make_head(self) -> None:
        # The layout of BERT's masked language model; weights for it are rarely published.
        self.transform = self.layer("transform", layers.Dense, self.width, activation="gelu")
        self.final_norm = self.layer_norm("final_norm")

    def head(self, x):
        return self.final_norm(self.transform(x))

    def embed(self, tokens, positions):
        embedded = ops.add(self.words(tokens), self.positions(positions))
        return self.embedding_dropout(self.embedding_norm(embedded))

    def layer_norm(self, name: str) -> keras.Layer:
        return self.layer(name, layers.LayerNormalization, epsilon=self.epsilon)


def _bert_layer_names(depth: int) -> Iterator[str]:
    """Names of the decoder's layers that BERT also has."""
    yield from ("words", "positions", "embedding_norm")
    for index in range(depth):
        yield from (f"attention_{index}_{part}" for part in ("ask", "keys", "values", "merge"))
        yield from (f"{part}_{index}" for part in ("attention_norm", "expand", "contract"))
        yield f"output_norm_{index}"


@dataclass(frozen=True, slots=True)
class Bert:
    """Sizes and weights of a BERT.

    Args:
        shape: The sizes.
        weights: The arrays of each layer, by the layer's name in the decoder.
    """

    shape: BertShape
    weights: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def adapt_config(self, config: ModelConfig) -> ModelConfig:
        """Return the configuration with the sizes of this BERT."""
        width, layers, heads = self.shape.width, self.shape.depth, self.shape.heads
        return dataclasses.replace(config, width=width, layers=layers, heads=heads)

    @property
    def decoder_arguments(self) -> dict:
        """Arguments of `VitBert` beside the configuration."""
        shape = self.shape
        return {
            "text_length": shape.positions,
            "feed_forward": shape.feed_forward,
            "epsilon": shape.epsilon,
        }

    def copy_weights_to(self, model: keras.Model) -> None:
        """Copy the weights into a captioning model."""
        for name, arrays in self.weights.items():
            layer = model.get_layer(name)
            pairs = zip(arrays, layer.weights, strict=True)
            layer.set_weights([array.reshape(weight.shape) for array, weight in pairs])


def load_bert(
    config: ModelConfig,
    vocabulary_size: int,
    text_length: int,
    rows: Sequence[int] | None = None,
) -> Bert:
    """Load the BERT that a configuration names.

    Args:
        config: The configuration of the model.
        vocabulary_size: Number of words.
        text_length: Number of positions of a BERT with random weights.
        rows: The row of BERT's embedding table for each word; the first rows by default.
    """
    if config.decoder_weights == RANDOM:
        width = config.width
        return Bert(
            BertShape(vocabulary_size, width, config.layers, config.heads, 4 * width, text_length)
        )
    name = MINILM if config.decoder_weights == "minilm" else config.decoder_weights
    bert = extract_bert(texts.build(name).model, name)
    if vocabulary_size > bert.shape.vocabulary:
        raise UserError(
            f"{name}: expected a vocabulary of at most {bert.shape.vocabulary:,} words, got"
            f" {vocabulary_size:,}; set text.wordpieces to the vocabulary of that BERT"
        )
    rows = np.arange(vocabulary_size) if rows is None else np.asarray(rows)
    bert.weights["words"] = [bert.weights["words"][0][rows]]
    return bert


def extract_bert(model: keras.Model, name: str) -> Bert:
    """The BERT inside a text tower of `imagetext.encoders.minilm` or of keras-hub."""
    tower = {layer.name: layer for layer in model.layers}
    if "bert_backbone" in tower:
        return _from_keras_hub(tower["bert_backbone"])
    if "attention_norm_0" not in tower:
        raise UserError(
            f"{name}: not a BERT; set model.decoder_weights to a BERT, minilm or random"
        )
    return _from_minilm(tower)


def _from_minilm(tower: dict[str, keras.Layer]) -> Bert:
    depth = sum(name.startswith("attention_norm_") for name in tower)
    parts = {name: tower[name] for name in _bert_layer_names(depth) if name in tower}
    for index in range(depth):
        parts |= _attention_parts(index, tower[f"attention_{index}"])
    positions, epsilon = tower["positions"].input_dim, tower["embedding_norm"].epsilon
    return _make_bert(parts, depth, tower["attention_0"].num_heads, positions, epsilon)


def _from_keras_hub(backbone: keras.Model) -> Bert:
    parts = {
        "words": backbone.get_layer("token_embedding"),
        "embedding_norm": backbone.get_layer("embeddings_layer_norm"),
    }
    depth = sum(layer.name.startswith("transformer_layer_") for layer in backbone.layers)
    for index in range(depth):
        block = backbone.get_layer(f"transformer_layer_{index}")
        attention = block._self_attention_layer
        parts |= _attention_parts(index, attention)
        parts[f"attention_norm_{index}"] = block._self_attention_layer_norm
        parts[f"expand_{index}"] = block._feedforward_intermediate_dense
        parts[f"contract_{index}"] = block._feedforward_output_dense
        parts[f"output_norm_{index}"] = block._feedforward_layer_norm
    # A caption is a single segment, of the first type.
    positions = backbone.get_layer("position_embedding").get_weights()[0]
    positions = positions + backbone.get_layer("segment_embedding").get_weights()[0][0]
    epsilon = parts["embedding_norm"].epsilon
    bert = _make_bert(parts, depth, attention.num_heads, len(positions), epsilon)
    bert.weights["positions"] = [positions]
    return bert


def _attention_parts(
    index: int, attention: keras.layers.MultiHeadAttention
) -> dict[str, keras.Layer]:
    return {
        f"attention_{index}_ask": attention.query_dense,
        f"attention_{index}_keys": attention.key_dense,
        f"attention_{index}_values": attention.value_dense,
        f"attention_{index}_merge": attention.output_dense,
    }


def _make_bert(
    parts: dict[str, keras.Layer], depth: int, heads: int, positions: int, epsilon: float
) -> Bert:
    words = parts["words"]
    width = parts["expand_0"].units
    shape = BertShape(words.input_dim, words.output_dim, depth, heads, width, positions, epsilon)
    return Bert(shape, {name: layer.get_weights() for name, layer in parts.items()})
