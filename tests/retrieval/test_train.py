"""Training on tiny scenes: the towers learn, micro batches change nothing, kills do no harm."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.errors import UserError
from imagetext.metrics.retrieval.ranks import compute_ranks
from imagetext.retrieval import models
from imagetext.retrieval.data import load
from imagetext.retrieval.predict import RetrievalModel
from imagetext.retrieval.towers import photo_tower, text_tower
from imagetext.retrieval.train import DevRecall, resume_run, standardise, train
from imagetext.retrieval.trainer import PairTrainer
from imagetext.training.fit import _Watch
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.retrieval.tiny_runs import tiny
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


def history(folder) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def trainer_of(config, data) -> PairTrainer:
    keras.utils.set_random_seed(0)
    return PairTrainer(models.build(config, data.photos.shape, data.tokenizer), config)


def without_seconds(folder) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history(folder)]


@pytest.mark.parametrize(("kind", "rate"), [("contrastive", 0.01), ("sigmoid", 0.001)])
def test_tiny_towers_learn_and_every_layer_changes(scenes, kind, rate):
    """From chance to the right training photos; the failure to detect is a collapsed tower."""
    config = tiny(scenes, "", data__batch_size=12, loss__kind=kind, loss__temperature=0.1)
    data = load(config)
    trainer = trainer_of(config, data)
    # Of keys the bias moves nothing in a softmax.
    parts = [v for v in trainer.trainable_variables if "key/bias" not in v.path]
    before = [np.array(v.numpy()) for v in parts]
    recall = DevRecall(trainer.network, config, data)
    recall.photos, recall.captions, recall.owner = data.columns("train")
    at_first = recall()
    trainer.compile(keras.optimizers.Adam(rate))
    trainer.optimizer.build(trainer.trainable_variables)  # else the step is traced twice
    step = tf.function(trainer.train_step, reduce_retracing=True)
    for epoch in range(40):
        for batch in data.batches("train", 0, epoch):
            step(batch)
    assert at_first < 0.5 and recall() > 0.8
    for variable, value in zip(parts, before, strict=True):
        assert np.abs(variable.numpy() - value).max() > 1e-4, variable.path


def test_micro_batches_change_nothing(scenes):
    """Some steps of gradient descent: the same weights and losses."""
    losses, weights = [], []
    for micro in (0, 3):
        config = tiny(
            scenes, "", loss__micro_batch=micro, model__late=0.5, data__captions_per_epoch=1
        )
        data = load(config)
        trainer = trainer_of(config, data)
        trainer.compile(keras.optimizers.SGD(0.05))
        batches = data.batches("train", 0, 0)
        losses.append([float(trainer.train_step(batch)["loss"]) for batch in batches])
        weights.append([v.numpy() for v in trainer.trainable_variables])
    np.testing.assert_allclose(*losses, atol=1e-5)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_killed_and_resumed_run_ends_with_the_same_weights(scenes, tmp_path, monkeypatch):
    """With micro batches, dropout and running means."""

    def settings(name: str):
        return tiny(
            scenes,
            tmp_path,
            model__dropout=0.3,
            loss__micro_batch=3,
            data__captions_per_epoch=1,
            train__averaging=0.9,
            train__monitor="val_recall",
            train__checkpoint_seconds=0,
            run__name=name,
        )

    steps = 0
    batch_end = _Watch.on_train_batch_end

    def dies(self, batch, logs=None):
        nonlocal steps
        batch_end(self, batch, logs)
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt

    whole = train(settings("whole"))
    monkeypatch.setattr(_Watch, "on_train_batch_end", dies)
    with pytest.raises(KeyboardInterrupt):
        train(settings("cut"))
    cut = resume_run(tmp_path / "cut")
    assert without_seconds(whole.folder) == without_seconds(cut.folder)
    one, other = (RetrievalModel.load(run) for run in (whole, cut))
    assert one.digest == other.digest and one.scale == other.scale
    content = json.loads((whole.folder / "temperature.json").read_text())
    assert content["bias"] is None and 1 < content["scale"] <= 100 and content["scale"] != 20
    assert resume_run(whole.folder).folder == whole.folder  # done: nothing happens


def test_dev_recall_equals_a_naive_twin(scenes):
    config = tiny(scenes, "")
    data = load(config)
    trainer = trainer_of(config, data)
    pairs, places = data.pairs["dev"], {"text": [], "photo": []}
    network = trainer.network

    def vector(kind, given):
        tower = photo_tower(network) if kind == "photo" else text_tower(network)
        return tower(given, training=False)[kind].numpy()[0]

    photos = {p: vector("photo", data.photos.fetch([p])[0]) for p in pairs}
    texts = {(p, t): vector("text", data.ids[[t]]) for p in pairs for t in pairs[p]}
    for (own, _), text in texts.items():
        order = sorted(photos, key=lambda p: -float(photos[p] @ text))
        places["text"].append(order.index(own) + 1)
    for own, photo in photos.items():
        order = sorted(texts, key=lambda key: -float(texts[key] @ photo))
        places["photo"].append(min(n for n, (p, _) in enumerate(order, 1) if p == own))
    six = [np.mean([n <= k for n in actual]) for actual in places.values() for k in (1, 5, 10)]
    assert DevRecall(network, config, data)() == pytest.approx(np.mean(six))
    similarities = np.array([[photos[p] @ text for text in texts.values()] for p in photos])
    assert (
        compute_ranks(similarities, data.columns("dev")[2]).photo_ranks.tolist() == places["text"]
    )


def test_captions_shared_by_all_photos_are_never_wrong(scenes):
    config = tiny(scenes, "")
    data = load(config)
    first, *_ = data.pairs["dev"].values()
    data.pairs["dev"] = dict.fromkeys(data.pairs["dev"], first)
    assert DevRecall(trainer_of(config, data).network, config, data)() == 1


@pytest.mark.usefixtures("tiny_encoders")
def test_features_of_every_encoder_are_standardised(scenes):
    config = tiny(
        scenes,
        "",
        data__image_encoders=["tiny_a", "tiny_b"],
        data__image_weights="random",
        data__image_output="grid",
    )
    data = load(config)
    network = models.build(config, data.photos.shape, data.tokenizer)
    standardise(network, data.photos, list(data.pairs["train"]))
    numbers = sorted(data.pairs["train"])
    seen = keras.Model(network.input["image"], network.get_layer("standardise").output)
    actual = np.asarray(seen(data.photos.fetch(numbers)[0]))
    assert actual.shape[-1] == 8  # of both encoders
    np.testing.assert_allclose(actual.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(actual.var(axis=(0, 1, 2)), 1, atol=0.02)


def test_micro_batches_must_divide_the_batch(scenes, tmp_path):
    config = tiny(scenes, tmp_path, data__batch_size=16, loss__micro_batch=8)
    with pytest.raises(UserError, match="8 does not divide the batch, which is all 12 training"):
        train(config)
    assert not list(tmp_path.iterdir())
