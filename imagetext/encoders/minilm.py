"""all-MiniLM-L6-v2 in Keras: vectors of sentences whose dot product is their similarity.

    encoder = SentenceEncoder.load()
    vectors = encoder(["A dog runs", "A puppy is running"])     # [2, 384] float32, length 1
    vectors @ vectors.T

The network is a BERT of six layers, made only of built-in layers and `keras.ops`, so that a saved
`.keras` file can be loaded without this package.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from imagetext.encoders import weights
from imagetext.encoders.tensors import Target, as_is, assign_tensors, bias, dense_kernel
from imagetext.encoders.wordpiece import WordPieceTokenizer
from imagetext.terminal import interactive

MODEL_FILE = "all-MiniLM-L6-v2/model.safetensors"
VOCABULARY_FILE = "all-MiniLM-L6-v2/vocab.txt"


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes of a BERT; the defaults are those of all-MiniLM-L6-v2."""

    vocabulary: int = 30522
    width: int = 384
    depth: int = 6
    heads: int = 12
    feed_forward: int = 1536
    positions: int = 512
    epsilon: float = 1e-12


def build(
    shape: BertShape = BertShape(),
    token_states: bool = False,
    several: bool = False,
    name: str = "minilm",
) -> keras.Model:
    """Build a BERT with random weights.

    Args:
        shape: Its sizes.
        token_states: Whether to return the tokens, too.
        several: Whether the inputs are several texts for each photo, [b, k, t]. All outputs then
            have the axis k as well. (Functional models cannot merge two open axes.)
        name: Name of the model.

    Returns:
        A model with the inputs `token_ids` and `mask` [b, t]. It returns sentence vectors of length
        1, [b, width], or with `token_states` a dictionary of them ("sentence") and the states of
        the last layer ("tokens", [b, t, width]).

    Example:
        model = build(BertShape(vocabulary=99, width=8, depth=1, heads=2, feed_forward=16))
        model({"token_ids": ids, "mask": mask})
    """
    texts = [None, None] if several else [None]
    token_ids = keras.Input(texts, dtype="int32", name="token_ids")
    mask = keras.Input(texts, dtype="int32", name="mask")

    # Only single sentences are encoded, so token type 0 is added to the position embeddings.
    positions = ops.cumsum(ops.ones_like(token_ids), axis=len(texts)) - 1
    x = layers.Embedding(shape.vocabulary, shape.width, name="words")(token_ids)
    x = x + layers.Embedding(shape.positions, shape.width, name="positions")(positions)
    x = layers.LayerNormalization(epsilon=shape.epsilon, name="embedding_norm")(x)
    attend_to = ops.expand_dims(ops.cast(mask, "bool"), axis=len(texts))
    for index in range(shape.depth):
        x = _block(x, attend_to, shape, index)

    # In float32: in half precision a sum of squares overflows.
    states = ops.cast(x, "float32")
    weight = ops.expand_dims(ops.cast(mask, "float32"), axis=-1)
    mean = ops.sum(states * weight, axis=-2) / ops.maximum(ops.sum(weight, axis=-2), 1e-9)
    # Bounded inside the root: the root of 0, as of mere padding, has no finite gradient.
    sentence = mean / ops.sqrt(ops.maximum(ops.sum(mean * mean, axis=-1, keepdims=True), 1e-24))
    outputs = {"sentence": sentence, "tokens": states} if token_states else sentence
    return keras.Model({"token_ids": token_ids, "mask": mask}, outputs, name=name)


def _block(x, attend_to, shape: BertShape, index: int):
    """A post-norm transformer layer: [b, t, width] -> [b, t, width], or [b, k, t, width]."""
    attention = layers.MultiHeadAttention(
        shape.heads,
        shape.width // shape.heads,
        attention_axes=(len(x.shape) - 2,),
        name=f"attention_{index}",
    )(x, x, attention_mask=attend_to)
    x = layers.LayerNormalization(epsilon=shape.epsilon, name=f"attention_norm_{index}")(
        x + attention
    )
    # Keras' "gelu" is the exact one (erf), which BERT was trained with.
    hidden = layers.Dense(shape.feed_forward, "gelu", name=f"expand_{index}")(x)
    hidden = layers.Dense(shape.width, name=f"contract_{index}")(hidden)
    return layers.LayerNormalization(epsilon=shape.epsilon, name=f"output_norm_{index}")(x + hidden)


def load(
    folder: str | Path | None = None, token_states: bool = False, several: bool = False
) -> keras.Model:
    """`build` with the pretrained weights, from `folder` or as `weights.fetch` finds them."""
    from safetensors.numpy import load_file

    path = weights.fetch(MODEL_FILE, folder)
    model = build(token_states=token_states, several=several)
    assign(model, load_file(path), origin=str(path))
    return model


def load_tokenizer(folder: str | Path | None = None) -> WordPieceTokenizer:
    """The tokenizer of all-MiniLM-L6-v2, from `folder` or as `weights.fetch` finds it."""
    return WordPieceTokenizer(weights.fetch(VOCABULARY_FILE, folder))


def assign(model: keras.Model, tensors: Mapping[str, np.ndarray], origin: str = "tensors") -> None:
    """Copy the tensors of a PyTorch BERT into a model of `build`.

    Args:
        model: The model.
        tensors: Exactly the tensors of the model, with or without those of the pooler.
        origin: Where the tensors come from, for messages.

    Example:
        assign(model, safetensors.numpy.load_file("model.safetensors"))
    """
    tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    # The pooler is for next-sentence prediction; the ids only count from 0.
    unused = ("pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids")
    assign_tensors(_targets(model), tensors, origin, "this BERT", unused)


def _targets(model: keras.Model) -> Iterator[Target]:
    def with_token_type(positions, token_types, shape):
        return as_is(positions + token_types[0], shape)

    def norm(layer: str, source: str):
        yield model.get_layer(layer).gamma, [f"{source}.weight"], as_is
        yield model.get_layer(layer).beta, [f"{source}.bias"], as_is

    def dense(layer, source: str):
        yield layer.kernel, [f"{source}.weight"], dense_kernel
        yield layer.bias, [f"{source}.bias"], bias

    yield (
        model.get_layer("words").embeddings,
        ["embeddings.word_embeddings.weight"],
        as_is,
    )
    yield (
        model.get_layer("positions").embeddings,
        ["embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"],
        with_token_type,
    )
    yield from norm("embedding_norm", "embeddings.LayerNorm")
    depth = sum(layer.name.startswith("attention_norm_") for layer in model.layers)
    for index in range(depth):
        source = f"encoder.layer.{index}"
        attention = model.get_layer(f"attention_{index}")
        yield from dense(attention.query_dense, f"{source}.attention.self.query")
        yield from dense(attention.key_dense, f"{source}.attention.self.key")
        yield from dense(attention.value_dense, f"{source}.attention.self.value")
        yield from dense(attention.output_dense, f"{source}.attention.output.dense")
        yield from norm(f"attention_norm_{index}", f"{source}.attention.output.LayerNorm")
        yield from dense(model.get_layer(f"expand_{index}"), f"{source}.intermediate.dense")
        yield from dense(model.get_layer(f"contract_{index}"), f"{source}.output.dense")
        yield from norm(f"output_norm_{index}", f"{source}.output.LayerNorm")


class SentenceEncoder(tf.Module):
    """Encodes any number of sentences, in batches of similar length.

    To export it in a SavedModel, keep it as an attribute of the exported module, so that its
    weights are saved, too, and call `embed_in_graph`. To load the SavedModel, import
    `tensorflow_text` first.

    Args:
        model: A model of `build`, without `token_states`.
        tokenizer: Its tokenizer.

    Example:
        encoder = SentenceEncoder.load()
        vectors = encoder(captions, verbose=True)       # [n, 384] float32

        class Search(tf.Module):
            def __init__(self, encoder):
                self.encoder = encoder

            @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
            def __call__(self, texts):
                return self.encoder.embed_in_graph(texts)
    """

    #: Padded tokens per batch: enough to keep two cores busy, but few enough for their cache.
    BATCH_TOKENS = 1024

    def __init__(self, model: keras.Model, tokenizer: WordPieceTokenizer):
        super().__init__(name="sentence_encoder")
        self.model = model
        self.tokenizer = tokenizer
        self.width = model.output_shape[-1]
        # One open signature, so that batches of any size and length share a trace.
        ids = tf.TensorSpec([None, None], tf.int32)
        self._embed = tf.function(self._embed_ids, input_signature=[ids, ids])

    @classmethod
    def load(cls, folder: str | Path | None = None) -> "SentenceEncoder":
        """all-MiniLM-L6-v2; this may download about 90 MB the first time (see `weights`)."""
        return cls(load(folder), load_tokenizer(folder))

    def __call__(self, texts: Sequence[str], verbose: bool = False) -> np.ndarray:
        """n texts -> vectors float32 [n, width]; `verbose` shows a progress bar."""
        if isinstance(texts, str):
            raise TypeError("expected a list of texts, got a string")
        # Each different text is encoded once.
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectors = np.zeros([len(rows), self.width], np.float32)
        if not rows:
            return vectors
        pieces = self.tokenizer.tokenize_ragged(tf.constant([_utf8(text) for text in rows]))
        flat, starts = pieces.values.numpy(), pieces.row_splits.numpy()
        lengths = np.diff(starts)
        show = verbose and interactive()
        progress = keras.utils.Progbar(len(rows), unit_name="text") if show else None
        for batch in _batches_by_length(lengths, self.BATCH_TOKENS):
            mask = (np.arange(lengths[batch].max()) < lengths[batch, None]).astype(np.int32)
            token_ids = np.full_like(mask, self.tokenizer.pad)
            token_ids[mask == 1] = np.concatenate([flat[starts[i] : starts[i + 1]] for i in batch])
            vectors[batch] = self._embed(token_ids, mask).numpy()
            if progress:
                progress.add(len(batch))
        return vectors[[rows[text] for text in texts]]

    def embed_in_graph(self, texts: tf.Tensor) -> tf.Tensor:
        """Strings [b] -> vectors [b, width], inside a `tf.function`."""
        return self._embed_ids(*self.tokenizer.tokenize(texts))

    def _embed_ids(self, token_ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return self.model({"token_ids": token_ids, "mask": mask}, training=False)


def _utf8(text: str) -> bytes:
    # Broken JSON can contain half a surrogate pair, which has no UTF-8 encoding.
    return text.encode("utf-8", errors="replace")


def _batches_by_length(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Indices of texts in batches of similar length, which need little padding.

    The longest come first, so that running out of memory shows at once.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches
