"""The captioning models: reading whole captions equals writing word by word, and nothing leaks."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning.config import ModelConfig
from imagetext.captioning.models import (
    attention_model,
    build,
    build_cnn,
    get_decoder,
    pretrained_rates,
)
from imagetext.errors import UserError
from imagetext.training.device import precision

WORDS, CHANNELS, GRID = 11, 5, (2, 3)
PHOTOS, CAPTIONS, LONGEST = 3, 4, 6
SMALL = {"width": 8, "heads": 2, "layers": 2, "dropout": 0.0, "input_dropout": 0.0}
CONFIGS = {
    "gru_merge": ModelConfig("gru_merge", **SMALL),
    "dot": ModelConfig("gru_attention", score="dot", **SMALL),
    "bahdanau": ModelConfig("gru_attention", score="bahdanau", **SMALL),
    "transformer": ModelConfig("transformer", **SMALL),
    "untied": ModelConfig("transformer", tied=False, **SMALL),
    "vit_bert": ModelConfig("vit_bert", decoder_weights="random", **SMALL),
}
every_kind = pytest.mark.parametrize("kind", CONFIGS)
attending = pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "gru_merge"])


def image_shape(kind: str) -> list[int]:
    return [CHANNELS] if kind == "gru_merge" else [*GRID, CHANNELS]


def made(kind: str, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = build(CONFIGS[kind], WORDS, image_shape(kind), text_length=LONGEST)
    # Weights so large that no part of the network can be left out unnoticed.
    random = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign_add(random.normal(0, 0.3, weight.shape))
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Model]:
    return {kind: made(kind) for kind in CONFIGS}


def batch(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    image = random.normal(size=(PHOTOS, *image_shape(kind))).astype(np.float32)
    texts = random.integers(1, WORDS, (PHOTOS, CAPTIONS, LONGEST), dtype=np.int32)
    return {"image": image, "texts": texts}


def answer(model: keras.Model, inputs: dict, training: bool = False) -> np.ndarray:
    inputs = {name: tf.constant(each) for name, each in inputs.items()}
    return model(inputs, training=training).numpy()


def differs(one, other) -> np.ndarray:
    return np.abs(np.asarray(one) - np.asarray(other)) > 1e-4


@every_kind
def test_writing_word_by_word_equals_reading_whole_captions(kind, models):
    model, inputs = models[kind], batch(kind)
    decoder, expected = get_decoder(model, CONFIGS[kind]), answer(model, inputs)
    assert expected.shape == (PHOTOS, CAPTIONS, LONGEST, WORDS) and expected.dtype == np.float32

    # The number of photos is open, as in an exported graph.
    @tf.function(input_signature=[tf.TensorSpec([None, *image_shape(kind)])])
    def begin(image):
        memory = decoder.encode_image(image)
        return memory, decoder.initial_state(memory, CAPTIONS, LONGEST)

    @tf.function
    def step(memory, state, tokens, place):
        return decoder.step(memory, state, tokens, place)

    memory, state = begin(inputs["image"])
    assert all(len(each) == PHOTOS for each in [*memory.values(), *state.values()])
    assert all(each.shape[1] == CAPTIONS for each in state.values())
    for place in range(LONGEST):
        tokens = tf.constant(inputs["texts"][:, :, place])
        logits, state = step(memory, state, tokens, tf.constant(place))
        np.testing.assert_allclose(logits, expected[:, :, place], atol=1e-5)
    memory = decoder.encode_image(inputs["image"])
    logits = decoder.next_token_logits(memory, tf.constant(inputs["texts"]))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@every_kind
def test_a_saved_model_opens_with_keras_alone(kind, models, tmp_path):
    model, inputs = models[kind], batch(kind)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(answer(again, inputs), answer(model, inputs))
    own = {
        f"imagetext.captioning.models.{name}"
        for name in ("decoder", "transformer", "gru_attention")
    }
    assert not own & {type(layer).__module__ for layer in again.layers}
    decoder = get_decoder(again, CONFIGS[kind])
    memory = decoder.encode_image(inputs["image"])
    first = tf.constant(inputs["texts"][:, :, 0])
    logits, _ = decoder.step(memory, decoder.initial_state(memory, CAPTIONS, 2), first, 0)
    np.testing.assert_allclose(logits, answer(model, inputs)[:, :, 0], atol=1e-5)


@every_kind
def test_each_word_is_said_from_the_photo_and_the_words_before_it(kind, models):
    inputs = batch(kind)
    expected = answer(models[kind], inputs)
    for place in range(LONGEST):
        texts = inputs["texts"].copy()
        texts[:, :, place] = texts[:, :, place] % (WORDS - 1) + 1
        found = answer(models[kind], inputs | {"texts": texts})
        np.testing.assert_allclose(found[:, :, :place], expected[:, :, :place], atol=1e-5)
        assert differs(found, expected)[:, :, place:].any(axis=(0, 1, 3)).all()
    other = batch(kind, seed=1)["image"]
    assert differs(answer(models[kind], inputs | {"image": other}), expected).any(axis=-1).all()


@every_kind
def test_photos_and_captions_do_not_see_each_other(kind, models):
    inputs = batch(kind)
    expected = answer(models[kind], inputs)
    alone = {"image": inputs["image"][1:2], "texts": inputs["texts"][1:2, 2:3]}
    np.testing.assert_allclose(answer(models[kind], alone)[0, 0], expected[1, 2], atol=1e-5)
    swapped = {name: each[::-1] for name, each in inputs.items()}
    swapped["texts"] = swapped["texts"][:, ::-1]
    np.testing.assert_allclose(answer(models[kind], swapped), expected[::-1, ::-1], atol=1e-5)


@every_kind
def test_a_row_of_nothing_is_finite_and_so_are_its_gradients(kind, models):
    inputs = batch(kind)
    inputs["texts"][1, 2:], inputs["texts"][2] = 0, 0
    inputs["texts"][0, 0, 2:] = 0
    with tf.GradientTape() as tape:
        logits = models[kind](inputs, training=False)
        loss = tf.reduce_mean(tf.nn.log_softmax(logits) ** 2)
    gradients = tape.gradient(loss, models[kind].trainable_variables)
    assert np.isfinite(logits).all()
    for variable, gradient in zip(models[kind].trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "untied"])
def test_learns_four_captions_by_heart(kind):
    """Of the same words, so that only the photos tell them apart."""
    keras.utils.set_random_seed(1)
    model = build(dataclasses.replace(CONFIGS[kind], layers=1), WORDS, image_shape(kind))
    random = np.random.default_rng(0)
    image = random.normal(size=(4, *image_shape(kind))).astype(np.float32)
    captions = np.array([[5, 6, 7, 2], [7, 6, 5, 2], [6, 2, 0, 0], [5, 7, 6, 2]])[:, None]
    texts = np.pad(captions[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=1)
    inputs = {"image": tf.constant(image), "texts": tf.constant(texts)}
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            value = loss(captions, logits)
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value, logits

    for _ in range(60):
        value, logits = step()
    found = np.where(captions > 0, np.argmax(logits, axis=-1), 0)
    np.testing.assert_array_equal(found, captions)
    assert value < 0.3


@every_kind
def test_mixed_precision_leaves_logits_and_the_state_as_they_are(kind):
    with precision("mixed_bfloat16"):
        model = build(CONFIGS[kind], WORDS, image_shape(kind))
    inputs = batch(kind)
    assert model.output.dtype == "float32" and answer(model, inputs).dtype == np.float32
    assert {"bfloat16"} <= {layer.compute_dtype for layer in model.layers}
    decoder = get_decoder(model, CONFIGS[kind])
    memory = decoder.encode_image(inputs["image"])
    state = decoder.initial_state(memory, CAPTIONS, LONGEST)
    logits, after = decoder.step(memory, state, tf.constant(inputs["texts"][:, :, 0]), 0)
    assert logits.dtype == "float32" and logits.shape == (PHOTOS, CAPTIONS, WORDS)
    for name, each in state.items():
        assert (each.dtype, each.shape) == (after[name].dtype, after[name].shape)


def test_a_seed_decides_all_weights():
    config, models = CONFIGS["vit_bert"], []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(build(config, WORDS, image_shape("vit_bert")))
    for one, same, other in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(one, same)
        # Norms and biases begin alike.
        assert differs(one, other).any() or len(one.shape) < 2 or "bias" in one.path
    ends = [model.get_layer(f"cross_{n}_merge").kernel for model in models[:1] for n in (0, 1)]
    assert np.abs(ends[0] - ends[1]).max() > 1e-4


@attending
def test_says_where_it_looked(kind, models):
    inputs = batch(kind)
    maps = attention_model(models[kind], CONFIGS[kind])(inputs, training=False).numpy()
    assert maps.shape == (PHOTOS, CAPTIONS, LONGEST, GRID[0] * GRID[1])
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
    assert maps.std(axis=-1).min() > 1e-4


@pytest.mark.parametrize("kind", ["dot", "bahdanau"])
def test_what_a_word_looks_at_is_what_counts(kind, models):
    """Scores, weights and their mean of the cells, one word at a time."""
    config, model, inputs = CONFIGS[kind], models[kind], batch(kind)
    decoder = get_decoder(model, config)
    memory = decoder.encode_image(inputs["image"])
    maps = decoder.attention_weights(memory, tf.constant(inputs["texts"])).numpy()
    read = tf.random.stateless_normal([PHOTOS, CAPTIONS, LONGEST, 8], [1, 2])
    seen, where = decoder._attend(memory, read)
    cells, keys = memory["cells"].numpy(), memory["keys"].numpy()
    queries = decoder.query(read).numpy()
    for b, k, t in np.ndindex(PHOTOS, CAPTIONS, LONGEST):
        if kind == "dot":
            scores = keys[b] @ queries[b, k, t] / 8**0.5
        else:
            scores = np.tanh(keys[b] + queries[b, k, t]) @ decoder.score.kernel.numpy()[:, 0]
        odds = np.exp(scores - scores.max())
        odds /= odds.sum()
        np.testing.assert_allclose(where[b, k, t], odds, atol=1e-5)
        np.testing.assert_allclose(seen[b, k, t], odds @ cells[b], atol=1e-5)
    assert maps.shape == where.shape


@pytest.mark.parametrize("kind", ["transformer", "vit_bert"])
def test_looking_at_cells_equals_multi_head_attention(kind, models):
    """Keras' own, for which the cells are repeated for each caption."""
    attention = get_decoder(models[kind], CONFIGS[kind]).blocks[1].cross
    random = np.random.default_rng(0)
    x = random.normal(size=(PHOTOS, CAPTIONS, LONGEST, 8)).astype(np.float32)
    cells = random.normal(size=(PHOTOS, 6, 8)).astype(np.float32)
    found, weights = attention(x, attention.keys_and_values(cells))
    twin = keras.layers.MultiHeadAttention(2, 4)
    flat, repeated = x.reshape(-1, LONGEST, 8), np.repeat(cells, CAPTIONS, axis=0)
    twin.build(flat.shape, repeated.shape)
    parts = (attention.query, attention.key, attention.value, attention.output)
    given = [weight for part in parts for weight in part.get_weights()]
    order = [twin.query_dense, twin.key_dense, twin.value_dense, twin.output_dense]
    own = [weight for part in order for weight in part.weights]
    for weight, value in zip(own, given, strict=True):
        weight.assign(value.reshape(weight.shape))
    expected, scores = twin(flat, repeated, return_attention_scores=True)
    np.testing.assert_allclose(np.reshape(found, flat.shape), expected, atol=1e-5)
    folded = np.moveaxis(weights, 1, 2).reshape(scores.shape)
    np.testing.assert_allclose(folded, scores, atol=1e-5)


def test_the_grus_are_what_cudnn_can_do(models):
    from keras.src.backend.tensorflow.rnn import _do_gru_arguments_support_cudnn

    for kind in ("gru_merge", "dot"):
        grus = [layer for layer in models[kind].layers if isinstance(layer, keras.layers.GRU)]
        assert grus
        for gru in grus:
            assert gru.use_cudnn == "auto" and not gru.recurrent_dropout
            assert _do_gru_arguments_support_cudnn(
                gru.activation, gru.recurrent_activation, gru.unroll, gru.use_bias, gru.reset_after
            )
        assert not any(layer.get_config().get("mask_zero") for layer in models[kind].layers)


@pytest.mark.parametrize("kind", ["gru_merge", "dot"])
def test_features_are_standardised_first(kind):
    model, inputs = made(kind), batch(kind)
    before = answer(model, inputs)
    layer = model.get_layer("standardise")
    assert layer.input is model.input["image"]
    layer.adapt(inputs["image"] * 1000 + 3)
    scaled = inputs | {"image": inputs["image"] * 1000 + 3}
    axes = tuple(range(inputs["image"].ndim - 1))
    unit = (inputs["image"] - inputs["image"].mean(axes)) / inputs["image"].std(axes)
    expected = answer(made(kind), inputs | {"image": unit})
    np.testing.assert_allclose(answer(model, scaled), expected, atol=1e-3)
    assert differs(expected, before).any()


def test_pixels_go_through_a_tower_first():
    config = CONFIGS["dot"]
    pixels = keras.Input([4, 6, 3], dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(CHANNELS, 2, strides=2)(x))
    tower = keras.Model(pixels, keras.layers.Dropout(0.5)(x), name="tiny")
    model = build(config, WORDS, [4, 6, 3], tower)
    inputs = batch("dot")
    photos = np.random.default_rng(0).integers(0, 256, (PHOTOS, 4, 6, 3), dtype=np.uint8)
    on_features = build(config, WORDS, [2, 3, CHANNELS])
    for layer in on_features.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    features = tower(photos, training=False)
    expected = answer(on_features, inputs | {"image": features})
    # In training, too, the tower's batch norm keeps its averages, and it drops nothing.
    for training in (False, True):
        found = answer(model, inputs | {"image": photos}, training)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    memory = get_decoder(model, config).encode_image(photos)
    expected = get_decoder(on_features, config).encode_image(features)
    np.testing.assert_allclose(memory["cells"], expected["cells"], atol=1e-5)
    tuned = pretrained_rates(model, config)
    assert [v.path for v, _ in tuned] == [v.path for v in tower.trainable_variables]
    assert len(tuned) == 2 and {share for _, share in tuned} == {config.encoder_rate}
    build(dataclasses.replace(config, encoder_rate=0.0), WORDS, [4, 6, 3], tower)
    assert tower.trainable_variables == []


def test_blocks_of_ones_own_are_not_taken_for_pretrained():
    config, inputs = CONFIGS["dot"], batch("dot")
    for output, shape in (("grid", (3, 3, 6)), ("flat", (54,)), ("pooled", (6,))):
        tower = build_cnn(12, [4, 6], output)
        assert tower.output.shape[1:] == shape
    tower = build_cnn(12, [4, 6])
    model = build(config, WORDS, [12, 12, 3], tower)
    assert pretrained_rates(model, config) == [] and get_decoder(model, config).tower is tower
    with tf.GradientTape() as tape:
        photos = tf.random.stateless_uniform([PHOTOS, 12, 12, 3], [0, 1], 0, 256, tf.int32)
        seen = {"image": tf.cast(photos, tf.uint8), "texts": tf.constant(inputs["texts"])}
        loss = tf.reduce_mean(tf.nn.log_softmax(model(seen)) ** 2)
    for gradient in tape.gradient(loss, tower.trainable_variables):
        assert np.abs(gradient).max() > 0


def test_a_transformer_has_places_for_so_many_tokens(models):
    decoder = get_decoder(models["transformer"], CONFIGS["transformer"])
    memory = decoder.encode_image(batch("transformer")["image"])
    decoder.initial_state(memory, 2, LONGEST)
    with pytest.raises(UserError, match=r"captions of 7 tokens are too long: .* at most 6"):
        decoder.initial_state(memory, 2, LONGEST + 1)
