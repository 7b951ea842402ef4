"""The captioning models: whole captions equal word-by-word steps, and nothing leaks."""

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


def make_model(kind: str, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = build(CONFIGS[kind], WORDS, image_shape(kind), text_length=LONGEST)
    # Large weights, so that every part of the network has an effect.
    random = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign_add(random.normal(0, 0.3, weight.shape))
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, keras.Model]:
    return {kind: make_model(kind) for kind in CONFIGS}


def batch(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    image = random.normal(size=(PHOTOS, *image_shape(kind))).astype(np.float32)
    texts = random.integers(1, WORDS, (PHOTOS, CAPTIONS, LONGEST), dtype=np.int32)
    return {"image": image, "texts": texts}


def predict(model: keras.Model, inputs: dict, training: bool = False) -> np.ndarray:
    inputs = {name: tf.constant(each) for name, each in inputs.items()}
    return model(inputs, training=training).numpy()


def differs(first, second) -> np.ndarray:
    return np.abs(np.asarray(first) - np.asarray(second)) > 1e-4


@every_kind
def test_steps_equal_whole_captions(kind, models):
    model, inputs = models[kind], batch(kind)
    decoder, expected = get_decoder(model, CONFIGS[kind]), predict(model, inputs)
    assert expected.shape == (PHOTOS, CAPTIONS, LONGEST, WORDS) and expected.dtype == np.float32

    # The number of photos is variable, as in an exported graph.
    @tf.function(input_signature=[tf.TensorSpec([None, *image_shape(kind)])])
    def start(image):
        memory = decoder.encode_image(image)
        return memory, decoder.initial_state(memory, CAPTIONS, LONGEST)

    @tf.function
    def step(memory, state, tokens, position):
        return decoder.step(memory, state, tokens, position)

    memory, state = start(inputs["image"])
    assert all(len(tensor) == PHOTOS for tensor in [*memory.values(), *state.values()])
    assert all(tensor.shape[1] == CAPTIONS for tensor in state.values())
    for position in range(LONGEST):
        tokens = tf.constant(inputs["texts"][:, :, position])
        logits, state = step(memory, state, tokens, tf.constant(position))
        np.testing.assert_allclose(logits, expected[:, :, position], atol=1e-5)
    memory = decoder.encode_image(inputs["image"])
    logits = decoder.next_token_logits(memory, tf.constant(inputs["texts"]))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@every_kind
def test_saved_model_opens_with_keras_alone(kind, models, tmp_path):
    model, inputs = models[kind], batch(kind)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(predict(loaded, inputs), predict(model, inputs))
    modules = {
        f"imagetext.captioning.models.{name}"
        for name in ("decoder", "transformer", "gru_attention")
    }
    assert not modules & {type(layer).__module__ for layer in loaded.layers}
    decoder = get_decoder(loaded, CONFIGS[kind])
    memory = decoder.encode_image(inputs["image"])
    first = tf.constant(inputs["texts"][:, :, 0])
    logits, _ = decoder.step(memory, decoder.initial_state(memory, CAPTIONS, 2), first, 0)
    np.testing.assert_allclose(logits, predict(model, inputs)[:, :, 0], atol=1e-5)


@every_kind
def test_each_word_depends_on_the_photo_and_the_words_before_it(kind, models):
    inputs = batch(kind)
    expected = predict(models[kind], inputs)
    for position in range(LONGEST):
        texts = inputs["texts"].copy()
        texts[:, :, position] = texts[:, :, position] % (WORDS - 1) + 1
        logits = predict(models[kind], inputs | {"texts": texts})
        np.testing.assert_allclose(logits[:, :, :position], expected[:, :, :position], atol=1e-5)
        assert differs(logits, expected)[:, :, position:].any(axis=(0, 1, 3)).all()
    image = batch(kind, seed=1)["image"]
    assert differs(predict(models[kind], inputs | {"image": image}), expected).any(axis=-1).all()


@every_kind
def test_photos_and_captions_do_not_influence_each_other(kind, models):
    inputs = batch(kind)
    expected = predict(models[kind], inputs)
    alone = {"image": inputs["image"][1:2], "texts": inputs["texts"][1:2, 2:3]}
    np.testing.assert_allclose(predict(models[kind], alone)[0, 0], expected[1, 2], atol=1e-5)
    reversed_inputs = {name: array[::-1] for name, array in inputs.items()}
    reversed_inputs["texts"] = reversed_inputs["texts"][:, ::-1]
    logits = predict(models[kind], reversed_inputs)
    np.testing.assert_allclose(logits, expected[::-1, ::-1], atol=1e-5)


@every_kind
def test_padding_has_finite_logits_and_gradients(kind, models):
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
def test_memorises_four_captions(kind):
    """Captions of the same words, so that only the photos distinguish them."""
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
    predicted = np.where(captions > 0, np.argmax(logits, axis=-1), 0)
    np.testing.assert_array_equal(predicted, captions)
    assert value < 0.3


@every_kind
def test_mixed_precision_keeps_the_types_of_logits_and_state(kind):
    with precision("mixed_bfloat16"):
        model = build(CONFIGS[kind], WORDS, image_shape(kind))
    inputs = batch(kind)
    assert model.output.dtype == "float32" and predict(model, inputs).dtype == np.float32
    assert {"bfloat16"} <= {layer.compute_dtype for layer in model.layers}
    decoder = get_decoder(model, CONFIGS[kind])
    memory = decoder.encode_image(inputs["image"])
    state = decoder.initial_state(memory, CAPTIONS, LONGEST)
    logits, new_state = decoder.step(memory, state, tf.constant(inputs["texts"][:, :, 0]), 0)
    assert logits.dtype == "float32" and logits.shape == (PHOTOS, CAPTIONS, WORDS)
    for name, tensor in state.items():
        assert (tensor.dtype, tensor.shape) == (new_state[name].dtype, new_state[name].shape)


def test_seed_decides_all_weights():
    config, models = CONFIGS["vit_bert"], []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(build(config, WORDS, image_shape("vit_bert")))
    for first, same, other in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(first, same)
        # Norms and biases start out equal.
        assert differs(first, other).any() or len(first.shape) < 2 or "bias" in first.path
    kernels = [models[0].get_layer(f"cross_{index}_merge").kernel for index in (0, 1)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4


@attending
def test_attention_model_returns_weights(kind, models):
    inputs = batch(kind)
    weights = attention_model(models[kind], CONFIGS[kind])(inputs, training=False).numpy()
    assert weights.shape == (PHOTOS, CAPTIONS, LONGEST, GRID[0] * GRID[1])
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    assert weights.std(axis=-1).min() > 1e-4


@pytest.mark.parametrize("kind", ["dot", "bahdanau"])
def test_attention_equals_a_naive_loop(kind, models):
    """Scores, weights and context, one word at a time."""
    config, model, inputs = CONFIGS[kind], models[kind], batch(kind)
    decoder = get_decoder(model, config)
    memory = decoder.encode_image(inputs["image"])
    all_weights = decoder.attention_weights(memory, tf.constant(inputs["texts"])).numpy()
    hidden = tf.random.stateless_normal([PHOTOS, CAPTIONS, LONGEST, 8], [1, 2])
    context, weights = decoder._attend(memory, hidden)
    cells, keys = memory["cells"].numpy(), memory["keys"].numpy()
    queries = decoder.query(hidden).numpy()
    for b, k, t in np.ndindex(PHOTOS, CAPTIONS, LONGEST):
        if kind == "dot":
            scores = keys[b] @ queries[b, k, t] / 8**0.5
        else:
            scores = np.tanh(keys[b] + queries[b, k, t]) @ decoder.score.kernel.numpy()[:, 0]
        expected = np.exp(scores - scores.max())
        expected /= expected.sum()
        np.testing.assert_allclose(weights[b, k, t], expected, atol=1e-5)
        np.testing.assert_allclose(context[b, k, t], expected @ cells[b], atol=1e-5)
    assert all_weights.shape == weights.shape


@pytest.mark.parametrize("kind", ["transformer", "vit_bert"])
def test_cross_attention_equals_multi_head_attention(kind, models):
    """Against the layer of Keras, which needs the cells repeated for each caption."""
    attention = get_decoder(models[kind], CONFIGS[kind]).blocks[1].cross
    random = np.random.default_rng(0)
    x = random.normal(size=(PHOTOS, CAPTIONS, LONGEST, 8)).astype(np.float32)
    cells = random.normal(size=(PHOTOS, 6, 8)).astype(np.float32)
    output, weights = attention(x, attention.keys_and_values(cells))
    twin = keras.layers.MultiHeadAttention(2, 4)
    flat, repeated = x.reshape(-1, LONGEST, 8), np.repeat(cells, CAPTIONS, axis=0)
    twin.build(flat.shape, repeated.shape)
    parts = (attention.query, attention.key, attention.value, attention.output)
    values = [value for part in parts for value in part.get_weights()]
    twin_parts = [twin.query_dense, twin.key_dense, twin.value_dense, twin.output_dense]
    twin_weights = [weight for part in twin_parts for weight in part.weights]
    for weight, value in zip(twin_weights, values, strict=True):
        weight.assign(value.reshape(weight.shape))
    expected, scores = twin(flat, repeated, return_attention_scores=True)
    np.testing.assert_allclose(np.reshape(output, flat.shape), expected, atol=1e-5)
    folded = np.moveaxis(weights, 1, 2).reshape(scores.shape)
    np.testing.assert_allclose(folded, scores, atol=1e-5)


def test_grus_are_supported_by_cudnn(models):
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
def test_features_are_standardised(kind):
    model, inputs = make_model(kind), batch(kind)
    before = predict(model, inputs)
    layer = model.get_layer("standardise")
    assert layer.input is model.input["image"]
    layer.adapt(inputs["image"] * 1000 + 3)
    scaled = inputs | {"image": inputs["image"] * 1000 + 3}
    axes = tuple(range(inputs["image"].ndim - 1))
    unit = (inputs["image"] - inputs["image"].mean(axes)) / inputs["image"].std(axes)
    expected = predict(make_model(kind), inputs | {"image": unit})
    np.testing.assert_allclose(predict(model, scaled), expected, atol=1e-3)
    assert differs(expected, before).any()


def test_pixels_pass_through_a_tower():
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
    expected = predict(on_features, inputs | {"image": features})
    # Also in training, the tower's batch norm keeps its averages, and its dropout is off.
    for training in (False, True):
        logits = predict(model, inputs | {"image": photos}, training)
        np.testing.assert_allclose(logits, expected, atol=1e-5)
    memory = get_decoder(model, config).encode_image(photos)
    expected = get_decoder(on_features, config).encode_image(features)
    np.testing.assert_allclose(memory["cells"], expected["cells"], atol=1e-5)
    rates = pretrained_rates(model, config)
    assert [v.path for v, _ in rates] == [v.path for v in tower.trainable_variables]
    assert len(rates) == 2 and {rate for _, rate in rates} == {config.encoder_rate}
    build(dataclasses.replace(config, encoder_rate=0.0), WORDS, [4, 6, 3], tower)
    assert tower.trainable_variables == []


def test_cnn_is_not_treated_as_pretrained():
    config, inputs = CONFIGS["dot"], batch("dot")
    for output, shape in (("grid", (3, 3, 6)), ("flat", (54,)), ("pooled", (6,))):
        tower = build_cnn(12, [4, 6], output)
        assert tower.output.shape[1:] == shape
    tower = build_cnn(12, [4, 6])
    model = build(config, WORDS, [12, 12, 3], tower)
    assert pretrained_rates(model, config) == [] and get_decoder(model, config).tower is tower
    with tf.GradientTape() as tape:
        photos = tf.random.stateless_uniform([PHOTOS, 12, 12, 3], [0, 1], 0, 256, tf.int32)
        inputs = {"image": tf.cast(photos, tf.uint8), "texts": tf.constant(inputs["texts"])}
        loss = tf.reduce_mean(tf.nn.log_softmax(model(inputs)) ** 2)
    for gradient in tape.gradient(loss, tower.trainable_variables):
        assert np.abs(gradient).max() > 0


def test_transformer_refuses_captions_longer_than_its_positions(models):
    decoder = get_decoder(models["transformer"], CONFIGS["transformer"])
    memory = decoder.encode_image(batch("transformer")["image"])
    decoder.initial_state(memory, 2, LONGEST)
    with pytest.raises(UserError, match=r"captions of 7 tokens are too long: .* at most 6"):
        decoder.initial_state(memory, 2, LONGEST + 1)
