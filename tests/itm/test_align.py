"""Photos and captions learn to agree: which pairs count, that nothing leaks, that it resumes."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import imagetext.itm.data
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
from imagetext.itm.config import ITMConfig
from imagetext.itm.data import load
from imagetext.itm.evaluate import evaluate
from imagetext.itm.leaks import EXTRA, audited_records, extra_notice
from imagetext.itm.predict import predict
from imagetext.itm.record import write
from imagetext.itm.train import resume_run, train
from imagetext.layers.contrastive import Contrastive, PairAUC
from imagetext.pipelines.audit import audit
from imagetext.pipelines.batches import SORTED_BATCHES
from imagetext.pipelines.captioned import captions_of_copies, may_be_mirrored
from imagetext.reports.matching.predictions import read_predictions
from imagetext.training.config_files import load_run_config
from imagetext.training.fit import _Watch
from imagetext.training.network import standardise
from imagetext.training.run import Run
from tests.itm.test_train import tiny
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401

pytestmark = pytest.mark.usefixtures("tiny_encoders")


def config(course, runs, **overrides):
    """Stored features and raw captions, a cosine, and nothing but the alignment."""
    keys = {
        "data__image_encoders": ["tiny_a", "tiny_b"],
        "data__image_weights": "random",
        "text__input": "tokens",
        "model__head": "cosine",
        "model__dropout": 0.0,
        "align__epochs": 3,
        "align__batch_size": 4,
        "align__learning_rate": 0.02,
        "train__epochs": 0,
        "report__controls": False,
    }
    return tiny(course, runs, **keys | overrides)


def captioned(folder, course):
    """A folder as official Flickr8k's, whose photos are the course's (under other names: bytes and
    all, or saved again) and two of its own; and the captions, by photo."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(3):
        for split in ("train", "dev", "test"):
            content = (course / "flickr8k-resised" / f"{split}_{number}.jpg").read_bytes()
            (images / f"{split}{number}.jpg").write_bytes(content)
    again = Image.open(course / "flickr8k-resised" / "test_0.jpg")
    again.resize((30, 30)).save(images / "again.jpg", quality=80)
    for number in range(2):
        noise = np.random.default_rng(100 + number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((32, 32)).save(images / f"own{number}.jpg")
    stems = [path.stem for path in images.iterdir()]
    told = {f"{stem}.jpg": [f"a dog {stem}", f"photo of {stem} ."] for stem in stems}
    told["own0.jpg"] += ["Caption 0 of TEST photo 0!", "a dog runs", "A dog runs ."]
    rows = [f"{name}#{n}\t{text}\n" for name in sorted(told) for n, text in enumerate(told[name])]
    (folder / "Flickr8k.token.txt").write_text("".join(rows))
    for split in ("train", "dev", "test"):
        kept = [name for name in sorted(told) if split == "train" or name.startswith(split)]
        (folder / f"Flickr_8k.{split}Images.txt").write_text("\n".join(kept) + "\n")
    return folder


@pytest.fixture(scope="module")
def extra(course_master, tmp_path_factory):
    return captioned(tmp_path_factory.mktemp("captions") / "official", course_master)


# ----------------------------------------------------------------------------- which pairs count


def test_pairs_are_the_matches_of_a_split_and_of_train_the_further_captions(course_folder, extra):
    settings = config(course_folder, "")
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


OWN = ["own0.jpg", "own1.jpg"]


def test_a_split_without_matches_is_told(course_folder):
    data = load(config(course_folder, ""))
    records = [r for r in data.records["dev"] if r.label != "match"]
    data = dataclasses.replace(data, records=data.records | {"dev": records})
    with pytest.raises(UserError, match="the dev split has no matches to learn from"):
        number_pairs(data, "dev")


def test_what_describes_a_photo_describes_its_copies(course_folder, extra):
    data = load(config(course_folder, ""), captions=str(extra))
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
    settings = config(course_folder, tmp_path, align__flips=True, align__hardness=0.2, **late)
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
    settings = config(course_folder, tmp_path, **late)
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


# ----------------------------------------------------------------------------- that they do learn


def test_both_sides_learn_to_agree(course_folder, tmp_path):
    """Pairs of train, from chance to nearly all in the right order."""
    settings = config(
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


@pytest.fixture(scope="module")
def aligned(course_master, extra, tmp_path_factory):
    """Trained by alignment alone, with further captions, calibrated, and evaluated."""
    folder = tmp_path_factory.mktemp("aligned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(extra.parent)
        settings = config(
            course_master, folder, align__extra_captions=extra.name, model__calibrate=True
        )
        run = train(settings)
    return run, evaluate(run), load_run_config(ITMConfig, run)


def test_what_is_trained_by_alignment_alone_is_a_run_like_any_other(aligned, course_master):
    run, report, _ = aligned
    about = report.values["about"]
    assert (about["training"]["epochs"], about["training"]["alignment epochs"]) == (0, 3)
    assert 1 <= about["training"]["best epoch"] <= 3
    assert about["training"]["chosen by"] == "val_auc"
    assert about["model"]["photos"] == "tiny_a, tiny_b"
    photo = course_master / "flickr8k-resised" / "test_1.jpg"
    rows = read_predictions(run.folder)
    own = [row for row, path in enumerate(rows.image) if path == str(photo)]
    answers = predict(run, photo, [rows.caption[row] for row in own])
    assert len(answers) == 6
    np.testing.assert_allclose(answers, rows.probability[own], atol=1e-3)


# ----------------------------------------------------------------------- and that nothing leaks


def shared_with_held_out(audited) -> dict[str, int]:
    pairs = [p for p in audited["pairs"] if EXTRA in p["splits"] and "train" not in p["splits"]]
    assert [pair["splits"] for pair in pairs] == [["dev", EXTRA], ["test", EXTRA]]
    keys = ("images_shared", "near_duplicate_images", "captions_shared")
    return {key: sum(pair[key]["count"] for pair in pairs) for key in keys}


def test_extra_captions_share_nothing_with_dev_and_test_and_the_report_says_so(aligned, extra):
    _, report, _ = aligned
    assert set(shared_with_held_out(report.values["audit"]).values()) == {0}
    shared = next(p for p in report.values["audit"]["pairs"] if p["splits"] == ["train", EXTRA])
    assert shared["images_shared"]["count"] == 3  # which is no leak: both are trained on
    assert report.values["audit"]["verdict"] == f"no photo is in two splits but train and {EXTRA}"
    told = report.values["about"]["extra captions"]
    assert told == {
        "source": str(extra),
        "photos": 5,
        "captions": 11,
        "left out": {
            "photos that are held out": 6,
            "near-duplicates of them": 1,
            "captions that are held out": 1,
        },
    }
    audited = report.values["audit"]
    assert audited["alike"]["encoder"] == "tiny_a"
    assert audited["alike"]["with_features"] == audited["alike"]["photos"]
    held_out = [p for p in audited["pairs"] if EXTRA in p["splits"] and "train" not in p["splits"]]
    alike = sum(pair["alike_images"]["count"] for pair in held_out)
    notice = (
        f"Trained with 11 extra captions of 5 photos from {extra}, in addition to the training"
        " rows. Shared with dev and test, according to the leak audit: 0 photos, 0 near-duplicates,"
        f" 0 captions, {alike} pairs of photos with similar tiny_a features."
    )
    assert notice in report.values["notices"]
    assert notice in report.html_path.read_text()


def test_what_cannot_be_used_of_the_extra_captions_is_counted(course_folder, tmp_path):
    folder = captioned(tmp_path / "official", course_folder)
    with (folder / "Flickr8k.token.txt").open("a") as file:
        file.write("own1.jpg, a line without a tab\n")
    (folder / "images" / "own1.jpg").write_bytes(b"")
    left_out = {
        "photos that are held out": 6,
        "near-duplicates of them": 1,
        "captions that are held out": 1,
        "problems in its lists": 1,
        "photos that cannot be read": 1,
    }
    keys = {"data__skip_bad": True, "text__weights": str(tmp_path)}
    settings = config(course_folder, "", text__input="embeddings", **keys)
    data = load(settings, captions=str(folder))
    assert data.extra == []
    assert data.extra_left_out == left_out | {"captions without an embedding": 9}
    data = load(config(course_folder, "", data__skip_bad=True), captions=str(folder))
    assert len(data.extra) == 4
    assert data.extra_left_out == left_out


def test_a_leak_would_show(aligned, monkeypatch, tmp_path):
    _, _, settings = aligned
    monkeypatch.setattr(
        imagetext.itm.data, "leave_out", lambda records, held_out: (list(records), {})
    )
    data = load(settings, ("test",), settings.align.extra_captions)
    write(Run(tmp_path), data)  # what would have been trained on
    records, told = audited_records(Run(tmp_path), settings, data)
    audited = audit(records)
    assert shared_with_held_out(audited) == {
        "images_shared": 6,
        "near_duplicate_images": 1,
        "captions_shared": 0,  # by the audit's own rule "!" makes another caption
    }
    assert "6 photos, 1 near-duplicates, 0 captions." in extra_notice(told[EXTRA], audited)


def test_what_was_trained_on_is_audited_whatever_its_folder_holds_today(aligned, extra, tmp_path):
    run, report, _ = aligned
    moved = Path(shutil.copytree(extra, tmp_path / "moved"))
    tokens = moved / "Flickr8k.token.txt"
    lines = tokens.read_text().splitlines(keepends=True)
    tokens.write_text("".join(lines[:1]))
    again = evaluate(run, overrides={"align.extra_captions": str(moved)}).values
    expected = report.values["about"]["extra captions"] | {"source": str(moved)}
    assert again["about"]["extra captions"] == expected
    assert again["audit"] == report.values["audit"] | {"pairs": again["audit"]["pairs"]}
    for image in (moved / "images").iterdir():
        image.unlink()
    (moved / "images" / "other.jpg").write_bytes(b"x")
    told = r"2 of the 5 photos with extra captions that .* was trained on are missing"
    with pytest.raises(UserError, match=told):
        evaluate(run, overrides={"align.extra_captions": str(moved)})


def test_a_run_from_before_such_a_list_was_kept_is_filtered_anew(aligned, capsys):
    run, report, _ = aligned
    kept = run.folder / "trained_with.json"
    content = kept.read_bytes()
    kept.unlink()
    try:
        again = evaluate(run).values
    finally:
        kept.write_bytes(content)
    assert "did not record the extra captions" in capsys.readouterr().out
    assert again["about"]["extra captions"] == report.values["about"]["extra captions"]


def test_where_they_lie_can_be_set_anew_but_not_that_they_were_used(aligned, tmp_path):
    run, _, _ = aligned
    with pytest.raises(UserError, match=r"--align\.extra_captions: must name a folder"):
        evaluate(run, overrides={"align.extra_captions": "null"})
    with pytest.raises(UserError, match=r"moved: no such folder"):
        evaluate(run, overrides={"align.extra_captions": str(tmp_path / "moved")})


# -------------------------------------------------------------------------- and it can be killed


def test_killed_in_the_alignment_and_in_the_training_it_ends_with_the_same_bits(
    course_folder, tmp_path, monkeypatch
):
    def settings(name: str):
        return config(
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
