"""Scoring of pairs with each photo and caption encoded once, against one pair at a time."""

import shutil

import keras
import numpy as np
import pytest
from keras import layers

from imagetext.errors import UserError
from imagetext.itm import models
from imagetext.itm.data import load
from imagetext.itm.pair_scorer import PairScorer
from imagetext.itm.predict import MatchingModel
from imagetext.itm.rerank import pair_matcher
from imagetext.itm.texts import count_tokens, open_tokenizer
from imagetext.training.fit import model_scope
from tests import tiny_clip
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.itm.tiny_runs import tiny, untrained

pytestmark = pytest.mark.usefixtures("tiny_encoders")
GRID = {
    "data__image_encoders": ["tiny_a"],
    "data__image_weights": "random",
    "data__image_output": "grid",
    "text__input": "tokens",
    "model__head": "attention",
}
KINDS = {
    "joint": {"model__head": "joint"},
    "cosine": {"model__head": "cosine", "text__input": "tokens"},
    "attention": GRID,
    "late": GRID | {"model__head": "cosine", "model__late": 0.5},
    "bfloat16": GRID | {"train__precision": "mixed_bfloat16"},
    "text alone": {"model__inputs": "text"},
}


def build(folder, kind: str):
    """An untrained model, and its data."""
    settings = tiny(folder, "", **KINDS[kind])
    data = load(settings, ("test",))
    with model_scope(settings.train):
        model = models.build(settings.model, settings.data, settings.text)
    return model, data


def naive_odds(model, data, pairs) -> list[float]:
    """One pair at a time, its caption without padding."""
    odds = []
    for photo, text in pairs.tolist():
        caption = data.texts[text]
        caption = (
            caption[: count_tokens(caption[None])[0]] if caption.dtype.kind == "i" else caption
        )
        image = data.photos.fetch([photo])[0]
        match, no_match = np.asarray(
            model({"image": image, "texts": caption[None, None]}, training=False), np.float64
        )[0, 0]
        odds.append(np.log(match) - np.log(no_match))
    return odds


@pytest.mark.parametrize("kind", KINDS)
def test_log_odds_equal_those_of_one_pair_at_a_time(course_folder, monkeypatch, kind):
    monkeypatch.setattr("imagetext.itm.pair_scorer.TEXTS_PER_BATCH", 3)
    monkeypatch.setattr("imagetext.itm.pair_scorer.PHOTOS_PER_BATCH", 2)
    monkeypatch.setattr("imagetext.pipelines.batches.TOKENS_PER_BATCH", 20)
    model, data = build(course_folder, kind)
    scorer = PairScorer(model)
    assert scorer.encodes_once == (kind != "text alone")
    pairs = np.argwhere(np.random.default_rng(0).random((3, len(data.captions))) < 0.6)
    pairs = np.random.default_rng(1).permutation(pairs)
    odds = scorer.log_odds(data.photos.fetch, data.texts, pairs)
    tolerance = 0.05 if kind == "bfloat16" else 1e-4
    np.testing.assert_allclose(odds[:8], naive_odds(model, data, pairs[:8]), atol=tolerance)
    assert len(odds) == len(pairs) > 10 and np.std(odds) > tolerance


def test_an_exclamation_mark_is_not_padding_for_clip(course_folder, tmp_path):
    """Its token id is 0."""
    tiny_clip.save_hugging_face(tmp_path / "clip", tiny_clip.random_tensors())
    settings = tiny(course_folder, "", **GRID, text__encoder=str(tmp_path / "clip"))
    data = load(settings, ("test",))
    data.texts = open_tokenizer(settings.text).to_ids(["a dog", "!!! a dog runs", "a dog !", "!!"])
    assert (count_tokens(data.texts) > (data.texts != 0).sum(axis=1)).sum() == 2
    model = models.build(settings.model, settings.data, settings.text)
    pairs = np.argwhere(np.ones((3, 4), bool))
    odds = PairScorer(model).log_odds(data.photos.fetch, data.texts, pairs)
    np.testing.assert_allclose(odds[:8], naive_odds(model, data, pairs[:8]), atol=1e-4)


def test_a_custom_model_is_run_as_a_whole(course_folder):
    """Here it has the usual layers, but the photo also reaches the output on another path."""
    model, data = build(course_folder, "joint")
    pixels = layers.Flatten(name="shortcut")(layers.Rescaling(1 / 255)(model.input["image"]))
    shortcut = layers.Dense(2)(pixels)[:, None]
    match = layers.Softmax()(layers.Add()([model.get_layer("hidden_1").output[..., :2], shortcut]))
    custom = keras.Model(model.input, match)
    scorer = PairScorer(custom)
    assert not scorer.encodes_once
    pairs = np.array([[0, 1], [2, 0], [0, 5]])
    odds = scorer.log_odds(data.photos.fetch, data.texts, pairs)
    np.testing.assert_allclose(odds, naive_odds(custom, data, pairs), atol=1e-4)


@pytest.fixture(scope="module")
def matched(course_master, tmp_path_factory):
    """A matching run on a copy of the course's folder, and its image folder."""
    folder = tmp_path_factory.mktemp("course") / "flickr8k"
    shutil.copytree(course_master, folder)
    return untrained(folder, folder.parent / "runs"), folder / "flickr8k-resised"


def test_log_odds_of_files_and_sentences_equal_those_of_predict(matched):
    run, photos = matched
    matcher = pair_matcher(run)
    assert matcher.name == f"the matcher tiny ({matcher.digest})" and len(matcher.digest) == 16
    paths = [str(photos / f"test_{number}.jpg") for number in (2, 0)]
    captions = [f"caption {n} of Test photo {photo} ." for photo in (0, 1) for n in (0, 1)]
    captions.append(captions[0])
    pairs = np.array([[1, 4], [0, 3], [1, 0], [0, 0], [1, 2]])
    odds = matcher.log_odds(paths, captions, pairs)
    model = MatchingModel.load(run)
    for (photo, caption), log_odds in zip(pairs.tolist(), odds.tolist(), strict=True):
        probability = model(paths[photo], [captions[caption]])[0]
        assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(probability, abs=1e-5)
    assert odds[0] == odds[2]


def test_training_photos_are_recognized_under_any_name(matched, tmp_path):
    run, photos = matched
    renamed, broken = tmp_path / "new.jpg", tmp_path / "broken.jpg"
    renamed.write_bytes((photos / "train_3.jpg").read_bytes())
    broken.write_text("no photo")
    paths = [*(str(photos / f"{name}_0.jpg") for name in ("train", "dev", "test")), str(renamed)]
    matcher = pair_matcher(run)
    result = matcher.training_photos([*paths, str(broken)])
    assert result == {"train": {paths[0], paths[3]}, "dev": {paths[1]}}
    moved = photos.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match=r"which photos it was trained on.*no such folder;.*tiny/config"
    ):
        matcher.training_photos(paths)
    moved.rename(photos.parent)
