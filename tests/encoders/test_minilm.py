"""The sentence encoder equals a BERT in NumPy, and the published model."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.encoders import minilm, weights
from imagetext.encoders.minilm import BertShape, SentenceEncoder, assign, build
from imagetext.encoders.wordpiece import WordPieceTokenizer
from imagetext.errors import UserError

SHAPE = BertShape(vocabulary=11, width=12, depth=2, heads=3, feed_forward=20, positions=16)
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "runs", "on", "sand", "##s", "snow"]
REFERENCE = Path(__file__).with_name("minilm_reference.npz")


def random_tensors(shape: BertShape, seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors of a BERT in PyTorch's layout: dense weights are [out, in]."""
    random = np.random.default_rng(seed)
    w, f = shape.width, shape.feed_forward
    sizes = {
        "embeddings.word_embeddings.weight": (shape.vocabulary, w),
        "embeddings.position_embeddings.weight": (shape.positions, w),
        "embeddings.token_type_embeddings.weight": (2, w),
        "embeddings.LayerNorm.weight": (w,),
        "embeddings.LayerNorm.bias": (w,),
        "pooler.dense.weight": (w, w),
        "pooler.dense.bias": (w,),
    }
    for index in range(shape.depth):
        for name, rows, columns in [
            ("attention.self.query", w, w),
            ("attention.self.key", w, w),
            ("attention.self.value", w, w),
            ("attention.output.dense", w, w),
            ("intermediate.dense", f, w),
            ("output.dense", w, f),
        ]:
            sizes[f"encoder.layer.{index}.{name}.weight"] = (rows, columns)
            sizes[f"encoder.layer.{index}.{name}.bias"] = (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            sizes[f"encoder.layer.{index}.{name}.weight"] = (w,)
            sizes[f"encoder.layer.{index}.{name}.bias"] = (w,)
    tensors = {name: random.normal(0, 0.5, size) for name, size in sizes.items()}
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    return tensors | {"embeddings.position_ids": np.arange(shape.positions)[None]}


def numpy_bert(tensors: dict, token_ids: list[int], heads: int) -> tuple[np.ndarray, np.ndarray]:
    """One text without padding, in float64 -> (states [t, width], sentence [width])."""
    tensors = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}

    def dense(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    x = tensors["embeddings.word_embeddings.weight"][token_ids]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(token_ids)]
    x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for index in range(sum(name.endswith("intermediate.dense.bias") for name in tensors)):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            np.split(dense(x, f"{layer}.attention.self.{part}"), heads, axis=-1)
            for part in ("query", "key", "value")
        )
        mixed = []
        for q, k, v in zip(query, key, value, strict=True):
            scores = np.exp(q @ k.T / math.sqrt(q.shape[-1]))
            mixed.append(scores / scores.sum(-1, keepdims=True) @ v)
        attended = dense(np.concatenate(mixed, -1), f"{layer}.attention.output.dense")
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        hidden = dense(x, f"{layer}.intermediate.dense")
        hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        x = norm(x + dense(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return x, mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return random_tensors(SHAPE)


@pytest.fixture(scope="module")
def model(tensors) -> keras.Model:
    model = build(SHAPE, token_states=True)
    assign(model, tensors)
    return model


@pytest.fixture(scope="module")
def encoder(tensors) -> SentenceEncoder:
    model = build(SHAPE)
    assign(model, tensors)
    return SentenceEncoder(model, WordPieceTokenizer(TOKENS, max_length=16))


def test_it_equals_a_numpy_bert_with_and_without_padding(model, tensors):
    texts = [[2, 4, 5, 6, 3], [2, 3], [2, 10, 9, 9, 8, 7, 6, 3]]
    token_ids = np.zeros([3, 8], np.int32)
    mask = np.zeros([3, 8], np.int32)
    for row, text in enumerate(texts):
        token_ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    # Masked tokens must not matter.
    token_ids[mask == 0] = 7
    actual = model({"token_ids": token_ids, "mask": mask})
    for row, text in enumerate(texts):
        states, sentence = numpy_bert(tensors, text, SHAPE.heads)
        np.testing.assert_allclose(actual["tokens"][row, : len(text)], states, atol=2e-5)
        np.testing.assert_allclose(actual["sentence"][row], sentence, atol=1e-5)


def test_a_saved_model_is_loaded_without_this_package(model, tmp_path):
    model.save(tmp_path / "minilm.keras")
    opened = keras.saving.load_model(tmp_path / "minilm.keras", safe_mode=True)
    inputs = {"token_ids": np.array([[2, 5, 3]]), "mask": np.ones([1, 3], np.int32)}
    np.testing.assert_array_equal(opened(inputs)["sentence"], model(inputs)["sentence"])
    assert "encoders" not in opened.to_json()


def test_missing_unexpected_and_misshapen_tensors_are_refused(tensors):
    model = build(SHAPE)
    absent = {k: v for k, v in tensors.items() if k != "encoder.layer.1.output.dense.bias"}
    with pytest.raises(UserError, match=r"missing encoder\.layer\.1\.output\.dense\.bias"):
        assign(model, absent)
    with pytest.raises(UserError, match=r"unexpected encoder\.layer\.2\.extra"):
        assign(model, tensors | {"encoder.layer.2.extra": np.zeros(3)})
    for name in ("encoder.layer.0.intermediate.dense.weight", "embeddings.LayerNorm.bias"):
        wrong = np.zeros(tensors[name].shape[::-1] + (1,) * (tensors[name].ndim == 1))
        with pytest.raises(UserError, match=f"{name} has shape"):
            assign(model, tensors | {name: wrong})
    prefixed = {f"bert.{name}": tensor for name, tensor in tensors.items()}
    assign(model, prefixed)
    np.testing.assert_array_equal(
        model.get_layer("words").embeddings, tensors["embeddings.word_embeddings.weight"]
    )


def test_every_variable_is_assigned():
    shape = BertShape(vocabulary=5, width=4, depth=1, heads=2, feed_forward=6, positions=7)
    model = build(shape)
    named = [variable.path for variable, *_ in minilm._targets(model)]
    assert sorted(named) == sorted(variable.path for variable in model.weights)


def test_the_order_of_texts_does_not_depend_on_the_batches(encoder, monkeypatch):
    texts = ["a dog runs on sand", "snow", "", "dogs", "a", "snow", "a dog " * 20, "zebra"] * 3
    monkeypatch.setattr(encoder, "BATCH_TOKENS", 9)
    actual = encoder(texts)
    assert actual.shape == (24, 12) and actual.dtype == np.float32
    for text, vector in zip(texts, actual, strict=True):
        alone = encoder.embed_in_graph(tf.constant([text]))[0]
        np.testing.assert_allclose(vector, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(actual, axis=1), 1, atol=1e-6)


def test_repeated_texts_are_encoded_once(encoder, monkeypatch):
    shapes = []
    embed = encoder._embed
    monkeypatch.setattr(encoder, "_embed", lambda i, m: (shapes.append(i.shape), embed(i, m))[1])
    encoder(["a dog", "snow", "a dog"] * 5)
    assert sum(rows for rows, _ in shapes) == 2
    assert embed.experimental_get_tracing_count() <= 1


def test_odd_inputs(encoder, capsys, monkeypatch):
    assert encoder([]).shape == (0, 12)
    assert np.isfinite(encoder(["half a pair \ud83d"])).all()
    with pytest.raises(TypeError, match="expected a list of texts"):
        encoder("a dog")
    encoder(["a", "dog"], verbose=True)
    assert capsys.readouterr().out == ""  # no progress bars in log files
    monkeypatch.setattr(minilm, "interactive", lambda: True)
    encoder(["a", "dog"], verbose=True)
    assert "2/2" in capsys.readouterr().out


def test_exports_take_strings(encoder, tmp_path):
    class Search(tf.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, texts):
            return self.encoder.embed_in_graph(texts)

    tf.saved_model.save(Search(encoder), str(tmp_path / "search"))
    served = tf.saved_model.load(str(tmp_path / "search"))
    texts = ["A dog runs", "", "Snow on sand"]
    np.testing.assert_allclose(served(tf.constant(texts)), encoder(texts), atol=1e-6)


def test_batches_contain_each_text_once_within_their_limit():
    lengths = np.random.default_rng(0).integers(2, 40, size=500)
    batches = minilm._batches_by_length(lengths, 64)
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(len(batch) * lengths[batch].max() <= 64 for batch in batches)
    padding = sum((lengths[batch].max() - lengths[batch]).sum() for batch in batches)
    assert padding < 0.05 * lengths.sum()


@pytest.mark.weights
def test_the_pretrained_model_equals_the_reference():
    if not weights.is_available(minilm.MODEL_FILE, minilm.VOCABULARY_FILE):
        pytest.skip("the weights of all-MiniLM-L6-v2 are not on this machine")
    with np.load(REFERENCE) as reference:
        texts = json.loads(reference["texts"].tobytes())
        token_ids = json.loads(reference["token_ids"].tobytes())
        vectors = reference["vectors"]
    encoder = SentenceEncoder.load()
    pieces = encoder.tokenizer.tokenize_ragged(tf.constant([text.encode() for text in texts]))
    assert pieces.to_list() == token_ids
    np.testing.assert_allclose(encoder(texts), vectors, atol=1e-5)


def test_padding_only_gives_finite_gradients_with_xla():
    """The root of its mean, which is 0, has an infinite gradient; only XLA propagates it."""
    model = build(BertShape(9, width=4, depth=1, heads=2, feed_forward=4, positions=8))
    ids = tf.constant([[2, 5, 3], [0, 0, 0]])

    @tf.function(jit_compile=True)
    def gradients():
        with tf.GradientTape() as tape:
            first = model({"token_ids": ids, "mask": tf.cast(ids > 0, tf.int32)})[0]
            loss = tf.reduce_sum(first * [1.0, 2.0, 3.0, 4.0])
        actual = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [tf.convert_to_tensor(one) for one in actual]

    assert all(np.isfinite(one).all() for one in gradients())
