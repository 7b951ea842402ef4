"""Photos and captions learn to agree: which pairs count, and that it resumes."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.errors import UserError
from imagetext.itm import models
from imagetext.itm.align import (
    align,
    alignment_batches,
    choose_pairs,
    dual_encoder,
    matching_records,
    number_pairs,
)
from imagetext.itm.data import load
from imagetext.itm.evaluate import evaluate
from imagetext.itm.train import resume_run, train
from imagetext.layers.contrastive import Contrastive, PairAUC
from imagetext.pipelines.batches import SORTED_BATCHES
from imagetext.pipelines.captioned import captions_of_copies, may_be_mirrored
from imagetext.training.fit import _Watch
from imagetext.training.network import standardise
from imagetext.training.run import Run
from tests.itm.alignment import OWN, alignment_config
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401

pytestmark = pytest.mark.usefixtures("tiny_encoders")


def test_pairs_are_the_matches_of_a_split_and_of_train_the_further_captions(course_folder, extra):
    settings = alignment_config(course_folder, "")
    data = load(settings, captions=str(extra))
    paths, captions = data.photos.paths, data.captions
    listed = (course_folder / "flickr8k.DevImages.txt").read_text().splitlines()
    expected: dict[str, set] = {}
    for name, caption, label in (line.split("\t") for line in listed):
        if label == "match":
            expected.setdefault(name, set()).add(caption)
    found = {
        paths[photo].name: {captions[text] for text in texts}
        for photo, texts in number_pairs(data, "dev").items()
    }
    assert found == expected and len(found) == 3
    train = {paths[photo].name: texts for photo, texts in number_pairs(data, "train").items()}
    # A photo that lies in both folders, byte for byte, is one photo with the captions of both.
    assert sorted(train) == sorted([f"train_{n}.jpg" for n in range(6)] + OWN)
    assert [len(train[f"train_{n}.jpg"]) for n in range(6)] == [5, 5, 5, 3, 3, 3]
    assert {captions[text] for text in train["train_1.jpg"]} >= {
        "a dog train1",
        "photo of train1 .",
    }


def test_a_split_without_matches_is_told(course_folder):
    data = load(alignment_config(course_folder, ""))
    records = [r for r in data.records["dev"] if r.label != "match"]
    data = dataclasses.replace(data, records=data.records | {"dev": records})
    with pytest.raises(UserError, match="the dev split has no matches to learn from"):
        number_pairs(data, "dev")


def test_what_describes_a_photo_describes_its_copies(course_folder, extra):
    data = load(alignment_config(course_folder, ""), captions=str(extra))
    paths = data.photos.paths
    pairs = number_pairs(data, "train")
    known = captions_of_copies(pairs, paths)
    for photo, texts in pairs.items():
        name = paths[photo].name
        copies = {name, name.replace("train_", "train"), name.replace("train", "train_", 1)}
        expected = {t for p, own in pairs.items() for t in own if paths[p].name in copies}
        assert set(known[photo]) == expected, name
        assert len(expected) == (5 if name.strip("train_")[0] in "012" else len(texts)), name


PAIRS = {7: [0, 1, 2], 3: [3], 5: [4, 0], 2: [5], 8: [6], 1: [7, 8]}


@pytest.mark.parametrize("texts", [np.zeros((9, 4), np.float32), np.ones((9, 4), np.int32)])
@pytest.mark.parametrize("size", [1, 4, 6])
def test_a_batch_has_each_photo_once_with_a_caption_of_its_own(texts, size):
    seen: set = set()
    for epoch in range(30):
        chosen = choose_pairs(PAIRS, size, texts, np.random.default_rng([0, epoch]))
        assert [len(batch) for batch in chosen] == [size] * (6 // size)
        photos, captions = np.concatenate(chosen).T
        assert len(set(photos)) == len(photos)
        assert all(text in PAIRS[photo] for photo, text in zip(photos, captions, strict=True))
        seen |= set(map(tuple, np.concatenate(chosen)))
        again = choose_pairs(PAIRS, size, texts, np.random.default_rng([0, epoch]))
        np.testing.assert_array_equal(np.concatenate(chosen), np.concatenate(again))
    assert seen == {(photo, text) for photo, own in PAIRS.items() for text in own}


def test_captions_of_a_batch_are_of_like_length_and_the_rest_is_left_out_by_chance():
    lengths = np.arange(1, 42)
    texts = (np.arange(41) < lengths[:, None]).astype(np.int32)
    left_out: set = set()
    for epoch in range(60):
        chosen = choose_pairs({n: [n] for n in range(41)}, 4, texts, np.random.default_rng(epoch))
        first, rest = chosen[:SORTED_BATCHES], chosen[SORTED_BATCHES:]
        for part in (first, rest):
            ordered = np.concatenate(part)[:, 1]
            assert (np.diff(lengths[ordered]) > 0).all()
        left_out |= set(range(41)) - set(np.concatenate(chosen)[:, 0].tolist())
    assert len(left_out) > 20 and min(left_out) < 20  # not always the longest


def test_what_is_known_to_describe_a_photo_is_no_negative():
    """Against a plain loop: captions of one photo, a caption of two photos, a photo not read."""
    fetched = []

    def fetch(numbers):
        fetched.extend(numbers)
        return np.float32([[n] for n in numbers]), np.array([n != 8 for n in numbers])

    photos = SimpleNamespace(shape=(1,), dtype=np.dtype(np.float32), fetch=fetch)
    vectors = np.arange(9, dtype=np.float32)[:, None]
    data = SimpleNamespace(photos=photos, texts=vectors)
    known = {photo: np.array(own) for photo, own in PAIRS.items()}
    known[1] = known[2] = np.array([7, 8, 5])  # copies of one picture
    chosen = [np.array([[7, 1], [5, 0], [8, 6], [3, 3]]), np.array([[1, 8], [2, 5], [3, 3]])]
    batches = list(alignment_batches(data, chosen, known))
    for (inputs, truth), batch in zip(batches, chosen, strict=True):
        assert inputs["image"].numpy()[:, 0].tolist() == batch[:, 0].tolist()
        assert inputs["texts"].numpy()[:, 0, 0].tolist() == batch[:, 1].tolist()
        for row, (photo, _) in enumerate(batch):
            for column, (other, text) in enumerate(batch):
                expected = 1 if row == column else -1 if text in known[photo] else 0
                expected = -1 if 8 in (photo, other) else expected
                assert truth.numpy()[row, column] == expected, (photo, text)
    assert batches[0][1].numpy()[0].tolist() == [1, -1, -1, 0]
    fetched.clear()
    assert len(list(alignment_batches(data, chosen, known, skip=1))) == 1
    assert fetched == [1, 2, 3]


def test_mirrored_photos_are_seen_but_not_where_captions_tell_sides(course_folder, tmp_path):
    late = {"data__image_output": "grid", "data__image_cells": 1, "model__late": 0.5}
    keys = {"align__flips": True, "align__hardness": 0.2, "align__epochs": 1, **late}
    settings = alignment_config(course_folder, tmp_path, **keys)
    data = load(settings, flips=True)
    pairs = number_pairs(data, "train")
    records = matching_records(data, "train")
    sides = dataclasses.replace(records[0], texts=("a dog on the LEFT .",))
    number = {path: place for place, path in enumerate(data.photos.paths)}
    may_flip = may_be_mirrored({"train": [*records, sides]}, number)
    assert not may_flip[number[sides.image]] and may_flip.sum() == len(may_flip) - 1
    chosen = [np.array([(photo, texts[0]) for photo, texts in pairs.items()])]
    seen = {}
    for flips in (None, may_flip, np.zeros_like(may_flip)):
        [(inputs, _)] = alignment_batches(data, chosen, pairs, flips=flips)
        seen[flips is None, flips is may_flip] = inputs["image"].numpy()
    plain, mirrored = seen[True, False], seen[False, True]
    np.testing.assert_array_equal(plain, seen[False, False])
    np.testing.assert_array_equal(plain[0], mirrored[0])
    assert all((one != other).any() for one, other in zip(plain[1:], mirrored[1:], strict=True))
    report = evaluate(train(settings)).values
    assert report["about"]["training"]["chosen by"] == "val_auc"


def test_words_and_cells_learn_with_the_vectors(course_folder, tmp_path):
    late = {"data__image_output": "grid", "model__late": 0.5}
    settings = alignment_config(course_folder, tmp_path, **late)
    data = load(settings)
    model = models.build(settings.model, settings.data, settings.text)
    both = dual_encoder(model, 0.05, settings.model.late)
    pairs = number_pairs(data, "train")
    chosen = np.array([(photo, texts[0]) for photo, texts in pairs.items()])
    [(inputs, truth)] = alignment_batches(data, [chosen], pairs)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(Contrastive()(truth, both(inputs, training=True)))
    kernels = {
        name: model.get_layer(f"{name}_projection").kernel.value
        for name in ("image", "text", "cells", "words")
    }
    for name, gradient in tape.gradient(loss, kernels).items():
        assert np.abs(gradient).max() > 1e-6, name


def test_both_sides_learn_to_agree(course_folder, tmp_path):
    """Pairs of train, from chance to nearly all in the right order."""
    settings = alignment_config(
        course_folder, tmp_path, text__input="embeddings", align__epochs=20, align__batch_size=3
    )
    data = load(settings)
    data.records["dev"] = data.records["train"]  # so that the best epoch is the best for train
    keras.utils.set_random_seed(0)
    model = models.build(settings.model, settings.data, settings.text)
    standardise(model, data.photos, data.groups["train"].photo)
    pairs = number_pairs(data, "train")
    every = alignment_batches(
        data, [np.array([(photo, texts[0]) for photo, texts in pairs.items()])], pairs
    )

    def auc() -> float:
        metric, both = PairAUC(), dual_encoder(model, 0.05)
        for inputs, truth in every:
            metric.update_state(truth, both(inputs, training=False))
        return float(metric.result())

    before = auc()
    align(Run(tmp_path), settings, data, model, [], resume=False, signature="")
    assert abs(before - 0.5) < 0.3 and auc() > 0.9
    assert (tmp_path / "align" / "history.csv").is_file()


def test_killed_in_the_alignment_and_in_the_training_it_ends_with_the_same_bits(
    course_folder, tmp_path, monkeypatch
):
    def settings(name: str):
        return alignment_config(
            course_folder,
            tmp_path,
            data__image_encoders=["tiny_a"],
            data__fine_tune=True,
            text__input="embeddings",
            model__head="joint",
            model__dropout=0.3,
            model__input_dropout=0.3,
            align__epochs=1,
            align__batch_size=2,
            train__epochs=1,
            train__checkpoint_seconds=0,
            run__name=name,
        )

    steps: list[str] = []
    batch_end = _Watch.on_train_batch_end

    def dies(self, batch, logs=None):
        batch_end(self, batch, logs)
        steps.append(self.run.folder.name)
        if len(steps) in (2, 5):  # of 3 steps of either
            raise KeyboardInterrupt

    whole = train(settings("whole"))
    monkeypatch.setattr(_Watch, "on_train_batch_end", dies)
    with pytest.raises(KeyboardInterrupt):
        train(settings("cut"))
    with pytest.raises(KeyboardInterrupt):
        resume_run(tmp_path / "cut")
    cut = resume_run(tmp_path / "cut")
    assert steps == ["align"] * 3 + ["cut"] * 3
    for one, other in zip(weights(whole), weights(cut), strict=True):
        np.testing.assert_array_equal(one, other)


def weights(run: Run) -> list[np.ndarray]:
    return keras.saving.load_model(run.model_file).get_weights()
