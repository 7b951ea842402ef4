"""Training on tiny scenes: loss, choice of the epoch, rising dropout, self-critical training."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.critic import END, Critic, Rewards
from imagetext.captioning.data import load
from imagetext.captioning.predict import CaptioningEnsemble, CaptioningModel
from imagetext.captioning.train import DevCider, DropoutSchedule, WordLoss, build, resume_run, train
from imagetext.captioning.vocabulary import make_vocabulary
from imagetext.errors import UserError
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.tokens import tokenize
from tests.captioning.tiny_runs import tiny, untrained
from tests.scenes import write_scenes


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


def history(folder) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_cross_entropy_with_the_truth_smoothed(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 7)).astype(np.float32)
    truth, weight = rng.integers(0, 7, (2, 3, 4)), rng.integers(0, 2, (2, 3, 4))
    found = float(WordLoss(smoothing)(truth, logits, weight))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = (1 - smoothing) * np.eye(7)[truth] + smoothing / 7
    each = -(wanted * log_p).sum(-1)
    assert found == pytest.approx((each * weight).sum() / weight.sum(), rel=1e-5)


def test_a_run_holds_all_that_captions_need_and_learns(scenes, tmp_path):
    run = train(
        tiny(
            scenes, tmp_path, train__epochs=6, train__monitor="val_cider", train__learning_rate=0.03
        )
    )
    rows = history(run.folder)
    assert len(rows) == 6 and float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    assert all(float(row["val_cider"]) >= 0 for row in rows)
    assert json.loads((run.folder / "vocabulary.json").read_text())["tokens"][1] == "startseq"
    captioner = CaptioningModel.load(run)
    said = captioner.predict([scenes / "images" / "dev_0.png"])[0]
    assert len(said) == 3 and all(
        set(c.text.split()) <= set(captioner.vocabulary.tokens) for c in said
    )
    assert said[0].score >= said[1].score
    assert resume_run(run.folder).folder == run.folder  # done: nothing happens
    assert history(run.folder) == rows


def test_the_epoch_with_the_best_captions_is_kept(scenes, tmp_path):
    """val_cider in the history is what the captions of the model say, scored anew."""
    config = tiny(scenes, tmp_path, train__epochs=3, train__monitor="val_cider", run__name="best")
    run = train(config)
    data = load(config)
    captioner = CaptioningModel.load(run)
    found = DevCider(config, data, captioner.model)()
    assert found == pytest.approx(
        max(float(row["val_cider"]) for row in history(run.folder)), abs=1e-6
    )
    numbers, references = data.photos_of("dev")
    said = captioner.predict_numbers(data, numbers, config.decoding.__class__(beams=1))
    cider = Cider([[tokenize(text) for text in texts] for texts in references])
    scores = cider.scores([tokenize(c[0].text) for c in said], np.arange(len(said)))
    assert found == pytest.approx(scores.mean())


def test_dropout_rises_to_its_full_rate(scenes, tmp_path):
    config = tiny(scenes, tmp_path, model__dropout=0.4, loss__dropout_until=0.5, train__epochs=8)
    data = load(config)
    model = build(config, data.vocabulary, data.photos.shape)
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    schedule, found = DropoutSchedule(model, config), []
    for epoch in range(8):
        changed = schedule(epoch)
        found.append(max(layer.rate for layer in dropouts))
        assert changed == (epoch <= 4)
    assert found == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4])
    assert not DropoutSchedule(model, tiny(scenes, tmp_path))(0)


def test_rewards_are_cider_with_an_end():
    captions = [["a dog runs"], ["two birds fly"], ["a cat"]]
    vocabulary = make_vocabulary(
        [text for texts in captions for text in texts],
        tiny("x", "y").text,
    )
    rewards = Rewards(np.array([4, 9, 2]), captions, vocabulary)
    ids = {word: number for number, word in enumerate(vocabulary.tokens)}
    tokens = np.array(
        [
            [[ids["two"], ids["birds"], ids["fly"], 2], [ids["a"], ids["dog"], 2, 0]],
            [[ids["a"], ids["dog"], ids["runs"], 2], [2, 0, 0, 0]],
        ]
    )
    cider = Cider([[[*tokenize(text), END] for text in texts] for texts in captions])
    said = ["two birds fly", "a dog", "a dog runs", ""]
    wanted = cider.scores([[*tokenize(text), END] for text in said], np.array([1, 1, 0, 0]))
    found = rewards(np.array([9, 4]), tokens)
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-6)
    assert found[0, 0] > found[0, 1]


@pytest.fixture(scope="module")
def critic(scenes, tmp_path_factory):
    keys = {"critic__epochs": 1, "critic__samples": 4, "model__dropout": 0.3}
    config = tiny(scenes, tmp_path_factory.mktemp("runs"), **keys)
    assert config.critic.temperature == 0.5
    data = load(config)
    model = build(config, data.vocabulary, data.photos.shape)
    numbers, references = data.photos_of("train")
    return (
        Critic(model, config, data.vocabulary, Rewards(numbers, references, data.vocabulary)),
        data,
        numbers,
    )


@pytest.mark.parametrize("dropout", [False, True])
def test_its_loss_is_advantage_times_log_probability(critic, dropout):
    """Against the sum over samples and words, one by one, at the temperature that they are drawn
    at, and without what may not be said: what is drawn from another distribution than the one that
    is trained drives it astray. With dropout the same memory of the photo is drawn from and read.
    """
    critic, data, numbers = critic
    noted, memories, seeing = [], [], critic.encoder
    critic.dropout = dropout
    critic.encoder = lambda *given, **how: memories.append(seeing(*given, **how)) or memories[-1]
    critic.rewards, rewards = (
        lambda photo, tokens: noted.append((photo, tokens)) or given,
        critic.rewards,
    )
    image, photo, good, seed = next(iter(critic.batches(data, numbers, 0, 0)))
    given = np.random.default_rng(0).random((len(photo), 4)).astype(np.float32)
    before = critic.captioner.get_weights()
    critic.compile("sgd")
    critic.optimizer.learning_rate = 0.0
    critic.reset_metrics()
    found = critic.train_step((image, photo, good, seed))
    critic.rewards, critic.encoder, critic.dropout = rewards, seeing, False
    critic.captioner.set_weights(before)
    still = critic.encoder(image, training=False)["cells"]
    assert np.allclose(memories[0]["cells"], still) is not dropout
    (_, tokens), total, words = noted[0], 0.0, 0
    texts = np.concatenate([np.full_like(tokens[..., :1], 1), tokens[..., :-1]], -1)
    logits = critic.decoder.next_token_logits(memories[0], tf.constant(texts)).numpy()
    if not dropout:
        whole = critic.captioner({"image": image, "texts": tf.constant(texts)}, training=False)
        np.testing.assert_allclose(logits, whole, atol=1e-5)
    logits[..., list(critic.words.excluded)] = -np.inf
    logits[:, :, 0, critic.words.end] = -np.inf
    end = logits[:, :, critic.max_words :, critic.words.end].copy()
    logits[:, :, critic.max_words :] = -np.inf  # there is no room for more
    logits[:, :, critic.max_words :, critic.words.end] = end
    logits = logits / critic.sampling.temperature
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for p in range(len(photo)):
        for n in range(4):
            others = [given[p, m] for m in range(4) if m != n]
            for place, word in enumerate(tokens[p, n]):
                if word:
                    total -= (given[p, n] - np.mean(others)) * log_p[p, n, place, word]
                    words += 1
    assert float(found["loss"]) == pytest.approx(total / words, rel=1e-4)
    assert float(found["reward"]) == pytest.approx(given.mean(), rel=1e-5)


def test_what_is_rewarded_becomes_likelier(critic):
    """A reward for one word: it is said more and more."""
    critic, data, numbers = critic
    word = critic.rewards.vocabulary.tokens.index("star")
    rewards = critic.rewards
    critic.rewards = lambda photo, tokens: (tokens == word).any(-1).astype(np.float32)
    critic.compile(keras.optimizers.Adam(0.01))
    critic.optimizer.build(critic.trainable_variables)  # else the step is traced twice
    step = tf.function(critic.train_step)
    found = [
        float(step(batch)["reward"])
        for epoch in range(15)
        for batch in critic.batches(data, numbers, epoch, 0)
    ]
    critic.rewards = rewards
    assert np.mean(found[-3:]) > np.mean(found[:3]) + 0.3


def test_both_stages_are_trained_and_resumed(scenes, tmp_path):
    config = tiny(scenes, tmp_path, critic__epochs=2, critic__samples=2, train__epochs=1)
    run = train(config)
    rows = history(run.folder / "critic") if (run.folder / "critic").is_dir() else []
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    assert all(np.isfinite(float(row["reward"])) for row in rows)
    run.model_file.unlink()  # killed before the model was written
    resumed = resume_run(run.folder)
    assert resumed.model_file.is_file() and history(run.folder / "critic") == rows


def test_the_vocabulary_of_another_run_is_refused(scenes, tmp_path):
    run = untrained(scenes, tmp_path, run__name="one")
    other = untrained(scenes, tmp_path, run__name="other", text__minimum_count=9)
    (run.folder / "vocabulary.json").write_bytes((other.folder / "vocabulary.json").read_bytes())
    with pytest.raises(UserError, match=r"does not belong to model\.keras"):
        CaptioningModel.load(run)
    with pytest.raises(UserError, match="must share vocabulary and image encoders"):
        CaptioningEnsemble(
            [
                CaptioningModel.load(other),
                CaptioningModel.load(untrained(scenes, tmp_path, run__name="x")),
            ]
        )


def test_photos_anew_every_epoch_train_too(scenes, tmp_path):
    run = train(tiny(scenes, tmp_path, data__augment=True, train__epochs=1))
    assert len(history(run.folder)) == 1


def test_a_self_critical_stage_that_diverges_is_told_by_its_own_key(scenes, tmp_path):
    keys = {"critic__epochs": 1, "critic__learning_rate": 1e30, "train__clip_norm": None}
    with pytest.raises(UserError, match=r"; lower critic\.learning_rate"):
        train(tiny(scenes, tmp_path, train__epochs=1, critic__batch_size=3, **keys))


def test_samples_are_others_each_time(scenes, tmp_path):
    captioner = CaptioningModel.load(untrained(scenes, tmp_path))
    image = captioner.read(next((scenes / "images").iterdir()))[None]
    config = DecodingConfig("sample", beams=4)
    first, second = ([c.text for c in captioner.captions(image, config)[0]] for _ in range(2))
    again = [c.text for c in CaptioningModel.load(tmp_path / "tiny").captions(image, config)[0]]
    assert first != second and first == again
