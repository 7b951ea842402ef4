"""all-MiniLM-L6-v2 in Keras: sentences to 384 numbers whose dot product is their similarity.

    encoder = SentenceEncoder.load()
    vectors = encoder(["A dog runs", "A puppy is running"])     # [2, 384] float32, length 1
    vectors @ vectors.T

The network is a six-layer BERT made of built-in layers and `keras.ops` only, so that a saved
`.keras` file opens without this package.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from imagetext.encoders import weights
from imagetext.encoders.wordpiece import WordPieceTokenizer
from imagetext.errors import UserError
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
    """Inputs `token_ids` and `mask` [b, t] -> sentence embedding [b, width], L2 normalised.

    With `token_states` the model gives a dict: "sentence" as above and "tokens" [b, t, width],
    the states of the last layer. With `several` it takes several texts a photo, [b, k, t], and all
    outputs have the axis k, too: functional models cannot fold two open axes into one.

        model = build(BertShape(vocabulary=99, width=8, depth=1, heads=2, feed_forward=16))
        model({"token_ids": ids, "mask": mask})
    """
    texts = [None, None] if several else [None]
    token_ids = keras.Input(texts, dtype="int32", name="token_ids")
    mask = keras.Input(texts, dtype="int32", name="mask")

    # Sentence pairs are never encoded, so the table of positions carries token type 0 as well.
    positions = ops.cumsum(ops.ones_like(token_ids), axis=len(texts)) - 1
    x = layers.Embedding(shape.vocabulary, shape.width, name="words")(token_ids)
    x = x + layers.Embedding(shape.positions, shape.width, name="positions")(positions)
    x = layers.LayerNormalization(epsilon=shape.epsilon, name="embedding_norm")(x)
    attend_to = ops.expand_dims(ops.cast(mask, "bool"), axis=len(texts))
    for index in range(shape.depth):
        x = _block(x, attend_to, shape, index)

    # Pooling in float32: under mixed precision a sum of squares overflows half precision.
    states = ops.cast(x, "float32")
    weight = ops.expand_dims(ops.cast(mask, "float32"), axis=-1)
    mean = ops.sum(states * weight, axis=-2) / ops.maximum(ops.sum(weight, axis=-2), 1e-9)
    # Bounded inside the root: that of 0, the mean of mere padding, has no gradient.
    sentence = mean / ops.sqrt(ops.maximum(ops.sum(mean * mean, axis=-1, keepdims=True), 1e-24))
    outputs = {"sentence": sentence, "tokens": states} if token_states else sentence
    return keras.Model({"token_ids": token_ids, "mask": mask}, outputs, name=name)


def _block(x, attend_to, shape: BertShape, index: int):
    """One post-norm transformer layer, [b, t, width] -> [b, t, width]; also [b, k, t, width]."""
    attended = layers.MultiHeadAttention(
        shape.heads,
        shape.width // shape.heads,
        attention_axes=(len(x.shape) - 2,),
        name=f"attention_{index}",
    )(x, x, attention_mask=attend_to)
    x = layers.LayerNormalization(epsilon=shape.epsilon, name=f"attention_norm_{index}")(
        x + attended
    )
    # Keras' "gelu" is the exact one, with erf, which is what BERT was trained with.
    hidden = layers.Dense(shape.feed_forward, "gelu", name=f"expand_{index}")(x)
    hidden = layers.Dense(shape.width, name=f"contract_{index}")(hidden)
    return layers.LayerNormalization(epsilon=shape.epsilon, name=f"output_norm_{index}")(x + hidden)


def load(
    folder: str | Path | None = None, token_states: bool = False, several: bool = False
) -> keras.Model:
    """`build()` with the pretrained weights, looked for in `folder` or where `weights` looks."""
    from safetensors.numpy import load_file

    path = weights.fetch(MODEL_FILE, folder)
    model = build(token_states=token_states, several=several)
    assign(model, load_file(path), origin=str(path))
    return model


def load_tokenizer(folder: str | Path | None = None) -> WordPieceTokenizer:
    """The tokenizer that belongs to it, its vocabulary found or fetched as the weights are."""
    return WordPieceTokenizer(weights.fetch(VOCABULARY_FILE, folder))


def assign(model: keras.Model, tensors: Mapping[str, np.ndarray], origin: str = "tensors") -> None:
    """Copy a PyTorch BERT's tensors into a model of `build`; every tensor must have its place.

    assign(model, safetensors.numpy.load_file("model.safetensors"))
    """
    tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    left_over = set(tensors)
    absent, targets = [], []

    def take(name: str) -> np.ndarray:
        left_over.discard(name)
        if name not in tensors:
            absent.append(name)
            return np.zeros(0, np.float32)
        return np.asarray(tensors[name], np.float32)

    for variable, names, convert in _places(model):
        targets.append((variable, names, [take(name) for name in names], convert))
    # The pooler serves next-sentence prediction, and the ids merely count from 0.
    left_over -= {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}
    if absent or left_over:
        told = [f"missing {', '.join(sorted(absent))}"] if absent else []
        told += [f"unexpected {', '.join(sorted(left_over))}"] if left_over else []
        raise UserError(f"{origin}: not the weights of this BERT: {'; '.join(told)}")
    for variable, names, arrays, convert in targets:
        try:
            value = convert(*arrays, tuple(variable.shape))
        except (ValueError, IndexError) as error:
            raise UserError(
                f"{origin}: {names[0]} has shape {arrays[0].shape}, which does not fit "
                f"{variable.path} {tuple(variable.shape)}"
            ) from error
        variable.assign(value)


def _places(model: keras.Model) -> Iterator[tuple[keras.Variable, list[str], Callable]]:
    """Yield (variable, names of its tensors, how they and its shape make its value)."""

    def as_is(array, shape):
        if array.shape != shape:
            raise ValueError
        return array

    def transposed(array, shape):
        # PyTorch keeps [out, in], Keras [in, out] with the heads of attention on an axis of
        # their own; with the heads merged those kernels are square.
        merged = shape if len(shape) == 2 else (math.isqrt(math.prod(shape)),) * 2
        return as_is(array.T, merged).reshape(shape)

    def reshaped(array, shape):
        return array.reshape(shape)

    def with_token_type(positions, token_types, shape):
        return as_is(positions + token_types[0], shape)

    def norm(layer: str, source: str):
        yield model.get_layer(layer).gamma, [f"{source}.weight"], as_is
        yield model.get_layer(layer).beta, [f"{source}.bias"], as_is

    def dense(layer, source: str):
        yield layer.kernel, [f"{source}.weight"], transposed
        yield layer.bias, [f"{source}.bias"], reshaped

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
    """Strings to sentence embeddings, quickly and in any number.

        encoder = SentenceEncoder.load()
        vectors = encoder(captions, verbose=True)       # [n, 384] float32

    Inside a graph that is exported, strings go in as a tensor. Keep the encoder as an attribute
    of the exported module, so that its weights are saved along; whoever loads the SavedModel
    imports `tensorflow_text` first.

        class Search(tf.Module):
            def __init__(self, encoder):
                self.encoder = encoder

            @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
            def __call__(self, texts):
                return self.encoder.embed_in_graph(texts)
    """

    #: Padded tokens a batch: enough to keep two cores busy, little enough to stay in their cache.
    BATCH_TOKENS = 1024

    def __init__(self, model: keras.Model, pieces: WordPieceTokenizer):
        super().__init__(name="sentence_encoder")
        self.model = model
        self.tokenizer = pieces
        self.width = model.output_shape[-1]
        # One open signature, so that batches of any size and length share one trace.
        ids = tf.TensorSpec([None, None], tf.int32)
        self._embed = tf.function(self._embed_ids, input_signature=[ids, ids])

    @classmethod
    def load(cls, folder: str | Path | None = None) -> "SentenceEncoder":
        """all-MiniLM-L6-v2; the first time this may download about 80 MB (see `weights`)."""
        return cls(load(folder), load_tokenizer(folder))

    def __call__(self, texts: Sequence[str], verbose: bool = False) -> np.ndarray:
        """n texts -> [n, width] float32 in the same order; `verbose` shows a progress bar."""
        if isinstance(texts, str):
            raise TypeError("give a list of texts, not one text")
        # Captions repeat; each different one is encoded once.
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectors = np.zeros([len(rows), self.width], np.float32)
        if not rows:
            return vectors
        pieces = self.tokenizer.tokenize_ragged(tf.constant([_utf8(text) for text in rows]))
        flat, starts = pieces.values.numpy(), pieces.row_splits.numpy()
        lengths = np.diff(starts)
        watched = verbose and interactive()
        progress = keras.utils.Progbar(len(rows), unit_name="text") if watched else None
        for batch in _batches_by_length(lengths, self.BATCH_TOKENS):
            mask = (np.arange(lengths[batch].max()) < lengths[batch, None]).astype(np.int32)
            token_ids = np.full_like(mask, self.tokenizer.pad)
            token_ids[mask == 1] = np.concatenate([flat[starts[i] : starts[i + 1]] for i in batch])
            vectors[batch] = self._embed(token_ids, mask).numpy()
            if progress:
                progress.add(len(batch))
        return vectors[[rows[text] for text in texts]]

    def embed_in_graph(self, texts: tf.Tensor) -> tf.Tensor:
        """Strings [b] -> embeddings [b, width], inside a `tf.function`."""
        return self._embed_ids(*self.tokenizer.tokenize(texts))

    def _embed_ids(self, token_ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return self.model({"token_ids": token_ids, "mask": mask}, training=False)


def _utf8(text: str) -> bytes:
    """Half a surrogate pair, as broken JSON yields, is no UTF-8: replace it, lose no sentence."""
    return text.encode("utf-8", errors="replace")


def _batches_by_length(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Indices in batches of texts of like length, longest first, so that little is padding.

    Longest first also means that a lack of memory shows at once and not after an hour.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches
