"""Models on stored features, tuned encoders and raw captions: what they see, and what not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.itm.align import dual_encoder
from imagetext.itm.config import DataConfig, ModelConfig, TextConfig
from imagetext.itm.models import build
from imagetext.itm.train import pretrained_rates
from tests.itm.tiny_encoders import (  # noqa: F401
    CELLS,
    SIDE,
    TEXT_WIDTH,
    VOCABULARY,
    WIDTHS,
    tiny_encoders,
)

pytestmark = pytest.mark.usefixtures("tiny_encoders")
SMALL = {"projection": 8, "hidden": [16], "dropout": 0.0, "heads": 2}
RANDOM = {"image_weights": "random"}
POOLED = {"image_encoders": ["tiny_a", "tiny_b"], **RANDOM}
CELLULAR = {"image_encoders": ["tiny_a"], "image_output": "grid", **RANDOM}
BESIDE = POOLED | {"image_output": "grid"}
TUNED = {"image_encoders": ["tiny_a"], "fine_tune": True, **RANDOM}
WORDS = {"input": "tokens"}


def made(head: str, data: dict, **model) -> keras.Model:
    """The head "late" is a cosine with late interaction."""
    keras.utils.set_random_seed(0)
    if head == "late":
        head, model = "cosine", {"late": 0.4, "late_width": 6} | model
    text = TextConfig(**{key: data[key] for key in WORDS if key in data})
    photos = DataConfig(**{key: value for key, value in data.items() if key not in WORDS})
    return build(ModelConfig(head=head, **SMALL | model), photos, text)


def inputs(model: keras.Model, photos: int = 3, texts: int = 4, seed: int = 0) -> dict:
    """Photos as the model takes them, and texts of 3 to 7 pieces (or vectors)."""
    random = np.random.default_rng(seed)
    asked = model.input["image"]
    shape = (photos, *asked.shape[1:])
    image = random.normal(size=shape).astype(np.float32)
    if asked.dtype == "uint8":
        image = random.integers(0, 256, shape, np.uint8)
    if model.input["texts"].dtype == "float32":
        return {"image": image, "texts": random.normal(size=(photos, texts, 384))}
    pieces = random.integers(4, len(VOCABULARY), (photos, texts, 7)).astype(np.int32)
    pieces[np.arange(7) >= random.integers(3, 8, (photos, texts, 1))] = 0
    return {"image": image, "texts": pieces}


def answers(model: keras.Model, given: dict) -> np.ndarray:
    return np.asarray(model(given, training=False))


KINDS = [
    ("cosine", POOLED),
    ("cosine", POOLED | WORDS),
    ("joint", CELLULAR),
    ("attention", CELLULAR | WORDS),
    ("concat", TUNED | WORDS),
    ("attention", TUNED | CELLULAR | WORDS),
    ("late", BESIDE | WORDS),
]


@pytest.mark.parametrize(("head", "data"), KINDS)
def test_grouping_by_photo_changes_no_answer(head, data):
    model = made(head, data)
    given = inputs(model)
    together = answers(model, given)
    assert together.shape == (3, 4, 2)
    np.testing.assert_allclose(together.sum(axis=-1), 1, atol=1e-6)
    assert np.ptp(together[..., 0]) > 1e-3
    pairs = {
        "image": np.repeat(given["image"], 4, axis=0),
        "texts": given["texts"].reshape(12, 1, -1),
    }
    np.testing.assert_allclose(answers(model, pairs).reshape(3, 4, 2), together, atol=1e-5)


@pytest.mark.parametrize(("head", "data"), [*KINDS[1:4:2], KINDS[-1]])
def test_a_saved_model_answers_alike(head, data, tmp_path):
    model = made(head, data)
    given = inputs(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(answers(again, given), answers(model, given))


@pytest.mark.parametrize("seen", ["text", "image"])
def test_a_control_does_not_see_the_other_side(seen):
    model = made("attention", CELLULAR | WORDS, inputs=seen)
    one, other = inputs(model, seed=0), inputs(model, seed=1)
    shown, hidden = ("texts", "image") if seen == "text" else ("image", "texts")
    same = answers(model, one)
    np.testing.assert_array_equal(answers(model, one | {hidden: other[hidden]}), same)
    assert np.abs(answers(model, one | {shown: other[shown]}) - same).max() > 1e-4


@pytest.mark.parametrize(("head", "data"), [("cosine", POOLED | WORDS), KINDS[3], KINDS[-1]])
def test_padding_changes_no_answer_and_empty_texts_no_number(head, data):
    """Texts as long as their batch's longest, or longer; and places of photos with fewer texts."""
    model = made(head, data)
    given = inputs(model)
    expected = answers(model, given)
    texts = np.pad(given["texts"], [(0, 0), (0, 2), (0, 5)])
    found = answers(model, given | {"texts": texts})
    np.testing.assert_allclose(found[:, :4], expected, atol=1e-5)
    assert np.isfinite(found).all()
    with tf.GradientTape() as tape:
        answer = model(given | {"texts": texts}, training=True)
        loss = tf.reduce_sum(answer[:, :4, 0] ** 2)  # empty places weigh nothing
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.path


def test_attention_compares_single_words_with_single_cells():
    """Not the means alone: moving a colour from cell to cell changes the answer, and every part
    that words and cells meet in has a say."""
    model = made("attention", CELLULAR | WORDS)
    given = inputs(model, photos=1)
    moved = given["image"].copy()
    moved[0, 0, 0, 0] += 3
    moved[0, 1, 1, 0] -= 3
    other = answers(model, given | {"image": moved})
    assert np.abs(other - answers(model, given)).max() > 1e-4
    joint = made("joint", CELLULAR | WORDS)
    level = answers(joint, given | {"image": moved})
    np.testing.assert_allclose(level, answers(joint, given), atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(given)[..., 0])
    names = ["words_ask", "words_show", "cells_tell", "cells_show", "words_agree", "cells_agree"]
    kernels = [model.get_layer(name).kernel.value for name in names]
    for name, gradient in zip(names, tape.gradient(loss, kernels), strict=True):
        assert np.abs(gradient).max() > 1e-7, name


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_in_late_interaction_each_word_finds_the_cell_that_is_most_like_it():
    """By plain loops; and the alignment compares by the same similarity as the head."""
    model = made("late", BESIDE | WORDS)
    given = inputs(model)
    names = ("image_norm", "text_norm", "cells_norm", "words_norm", "match")
    ends = [model.get_layer(name).output for name in names[:-1]]
    ends.append(model.get_layer("match").input)
    whole, text, cells, words, similarity = (
        np.asarray(x, np.float64) for x in keras.Model(model.input, ends)(given)
    )
    assert cells.shape[1:] == (CELLS**2, 6)
    for photo in range(3):
        for caption in range(4):
            length = (given["texts"][photo, caption] > 0).sum()
            best = [
                max(unit(cell) @ unit(word) for cell in cells[photo])
                for word in words[photo, caption, :length]
            ]
            alike = unit(whole[photo]) @ unit(text[photo, caption])
            expected = 0.6 * alike + 0.4 * np.mean(best)
            assert similarity[photo, caption, 0] == pytest.approx(expected, abs=1e-5)
    one_each = {"image": given["image"], "texts": given["texts"][:, :1]}
    met = dual_encoder(model, 1.0, 0.4)(one_each, training=False)
    np.testing.assert_allclose(np.diagonal(met), similarity[:, 0, 0], atol=1e-5)


def test_cells_are_brought_to_as_many_as_are_asked_for():
    model = made("late", BESIDE | WORDS | {"image_cells": 1})
    assert model.input["image"].shape == (None, 1, 1, sum(WIDTHS.values()))
    assert answers(model, inputs(model)).shape == (3, 4, 2)


@pytest.mark.parametrize("seed", range(4))
def test_likeness_speaks_for_a_match_whatever_the_seed(seed):
    """Half of all seeds once began with the reverse, which no calibration turns."""
    keras.utils.set_random_seed(seed)
    kernel, shift = made("cosine", POOLED).get_layer("match").get_weights()
    assert kernel[0, 0] > 0 > kernel[0, 1] and not shift.any()


def test_the_head_of_cosine_knows_nothing_but_the_cosine():
    model = made("cosine", POOLED)
    given = inputs(model)
    sides = keras.Model(
        model.input, [model.get_layer(f"{side}_norm").output for side in ("image", "text")]
    )
    photo, text = (np.asarray(side, np.float64) for side in sides(given))
    cosine = np.array(
        [
            [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in of_photo]
            for x, of_photo in zip(photo, text, strict=True)
        ]
    )
    found = answers(model, given)
    odds = np.log(found[..., 0] / found[..., 1])
    slope, start = np.polyfit(cosine.ravel(), odds.ravel(), 1)
    np.testing.assert_allclose(slope * cosine + start, odds, atol=1e-4)
    assert abs(slope) > 1e-2


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_encoders_are_trained_along_unless_their_rate_is_nothing(rate):
    model = made("joint", TUNED | WORDS, encoder_rate=rate)
    slowed = pretrained_rates(model, rate)
    paths = {variable.path for variable, _ in slowed}
    assert bool(paths) is bool(rate)
    assert all(share == rate for _, share in slowed)
    if rate:  # what words mean alone stays
        assert {"first/kernel", "second/kernel", "expand_0/kernel"} <= paths
        assert not {"words/embeddings", "positions/embeddings"} & paths
    trained = {id(variable) for variable in model.trainable_variables}
    frozen = {id(v) for name in ("tiny_a", "minilm") for v in model.get_layer(name).variables}
    assert len(trained & frozen) == len(slowed)


def test_features_are_as_wide_as_their_encoders_together():
    assert made("concat", POOLED).input["image"].shape == (None, sum(WIDTHS.values()))
    assert made("concat", CELLULAR).input["image"].shape == (None, CELLS, CELLS, WIDTHS["tiny_a"])
    assert made("concat", TUNED).input["image"].shape == (None, SIDE, SIDE, 3)
    assert (
        made("concat", POOLED | WORDS).get_layer("minilm").output["sentence"].shape[-1]
        == TEXT_WIDTH
    )
