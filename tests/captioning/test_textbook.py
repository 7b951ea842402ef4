"""One sample per word against whole captions: equal losses, equal gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning import models
from imagetext.captioning.config import CaptioningConfig, DataConfig, ModelConfig, TextConfig
from imagetext.captioning.data import CaptioningData, load
from imagetext.captioning.textbook import textbook_batches, textbook_model
from imagetext.errors import UserError
from tests.scenes import write_scenes

SIZE = 12
SMALL = ModelConfig("gru_merge", width=8, dropout=0.0, input_dropout=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> CaptioningData:
    folder = write_scenes(tmp_path_factory.mktemp("scenes") / "data", {"train": 4, "dev": 2})
    pixels = DataConfig(root=str(folder), image_encoders=[], image_size=SIZE, batch_size=3)
    return load(CaptioningConfig(data=pixels, text=TextConfig(minimum_count=1)))


def make_model(data: CaptioningData) -> keras.Model:
    """A gru_merge model with large weights, and means and variances that no batch has."""
    keras.utils.set_random_seed(0)
    tower = models.build_cnn(SIZE, [4], "pooled")
    model = models.build(SMALL, len(data.vocabulary), data.photos.shape, tower)
    random = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign_add(random.normal(0, 0.2, weight.shape))
    norm = model.get_layer("image_norm")
    norm.moving_mean.assign(random.normal(0, 0.3, norm.moving_mean.shape))
    norm.moving_variance.assign(random.uniform(0.5, 2, norm.moving_variance.shape))
    norm.trainable = False  # the mean of a batch of prefixes differs from that of its photos
    return model


def list_targets(data: CaptioningData) -> list[tuple[int, list[int]]]:
    """The photo and the targets of each training caption: its words and its end, or one word more
    than the longest instead of the end."""
    groups, results = data.groups["train"], []
    longest = data.vocabulary.config.longest + 1
    for photo, captions in zip(groups.photo, groups.caption, strict=True):
        for caption in captions[captions >= 0]:
            words = [int(word) for word in data.tokens[caption] if word]
            results.append((int(photo), [*words, data.vocabulary.end][:longest]))
    return results


def test_every_word_and_every_end_is_a_sample(data):
    samples = iter(textbook_batches(data, "train", 1))
    count = 0
    for photo, words in list_targets(data):
        pixels = data.photos.fetch([photo])[0][0]
        for position, word in enumerate(words):
            inputs, target = next(samples)
            prefix = [data.vocabulary.start, *words[:position]]
            np.testing.assert_array_equal(inputs["image"][0], pixels)
            np.testing.assert_array_equal(inputs["prefix"][0][: len(prefix)], prefix)
            assert not inputs["prefix"][0][len(prefix) :].numpy().any()
            np.testing.assert_array_equal(target[0], np.eye(len(data.vocabulary))[word])
            count += 1
    assert next(samples, None) is None and count > 60


def test_batches_have_variable_size_and_fixed_length(data):
    batches = textbook_batches(data, "train", 16)
    inputs, target = batches.element_spec
    assert inputs["image"].shape == (None, SIZE, SIZE, 3) and target.shape[0] is None
    sizes = [len(target) for _, target in batches]
    words = sum(len(words) for _, words in list_targets(data))
    assert sizes == [16] * (words // 16) + [words % 16] * (words % 16 > 0)
    longest = max(len(words) for _, words in list_targets(data))
    assert {inputs["prefix"].shape[1] for inputs, _ in batches} == {longest}


def test_unreadable_photo_has_no_samples(data, monkeypatch):
    fetch = data.photos.fetch

    def fetch_without_photo_1(numbers):
        image, is_good = fetch(numbers)
        return image, is_good & (np.asarray(numbers) != 1)

    monkeypatch.setattr(data.photos, "fetch", fetch_without_photo_1)
    words = sum(len(words) for photo, words in list_targets(data) if photo != 1)
    assert sum(len(target) for _, target in textbook_batches(data, "train", 7)) == words


def test_losses_and_gradients_equal_those_of_whole_captions(data):
    model = make_model(data)
    textbook = textbook_model(model)
    variables = model.trainable_variables
    assert {id(v) for v in variables} == {id(v) for v in textbook.trainable_variables}

    def total(losses, weights=1.0):
        return tf.reduce_sum(losses * weights)

    def sum_pass(step, batches):
        """Loss and gradients, summed over one pass."""
        loss, gradients = 0.0, [0.0] * len(variables)
        for batch in batches:
            with tf.GradientTape() as tape:
                value = step(*batch)
            new_gradients = map(tf.convert_to_tensor, tape.gradient(value, variables))
            gradients = [old + new for old, new in zip(gradients, new_gradients, strict=True)]
            loss += value
        return loss, gradients

    def whole_captions(inputs, targets, weight):
        logits = model(inputs, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        return total(losses, weight)

    def word_by_word(inputs, target):
        probabilities = textbook(inputs, training=True)
        return total(keras.losses.categorical_crossentropy(target, probabilities))

    loss, gradients = sum_pass(whole_captions, data.batches("train", seed=0))
    expected, expected_gradients = sum_pass(word_by_word, textbook_batches(data, "train", 10))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for variable, gradient, reference in zip(variables, gradients, expected_gradients, strict=True):
        largest = np.abs(reference).max()
        assert largest > 1e-2, variable.path
        np.testing.assert_allclose(gradient / largest, reference / largest, atol=1e-5)


def test_textbook_model_needs_gru_merge(data):
    model = models.build(ModelConfig("gru_attention", width=8), 9, [2, 2, 3])
    with pytest.raises(UserError, match="needs a gru_merge model, got gru_attention"):
        textbook_model(model)
