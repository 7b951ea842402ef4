"""Fine-tuning a pretrained CLIP: it starts as zero-shot CLIP and moves as far as configured."""

import csv
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import imagetext.encoders.forward
from imagetext.errors import UserError
from imagetext.metrics.retrieval.ranks import mean_recall
from imagetext.retrieval import models
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.data import load
from imagetext.retrieval.evaluate import evaluate
from imagetext.retrieval.export import export
from imagetext.retrieval.interpolation import choose_share, copy_weights
from imagetext.retrieval.one_clip import start_temperature
from imagetext.retrieval.predict import RetrievalModel
from imagetext.retrieval.towers import Towers, cosines
from imagetext.retrieval.train import DevRecall, resume_run, train
from imagetext.retrieval.trainer import PairTrainer
from imagetext.training.fit import _Watch
from imagetext.training.optimizer import adamw
from tests import tiny_clip
from tests.fresh import run_fresh
from tests.retrieval.tiny_runs import tiny
from tests.scenes import write_scenes
from tests.tiny_clip import NAME

END = tiny_clip.VOCABULARY - 1
TENSORS = tiny_clip.random_tensors()


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        tiny_clip.registered(patch)
        # In the one precision that models are run in, so that features can be compared with theirs.
        patch.setattr(imagetext.encoders.forward, "ON_CPU", ("float32",))
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tiny_clip.save_openai(tmp_path_factory.mktemp("clips") / "openai", TENSORS)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture
def tuned(scenes, clips, tmp_path):
    """Makes configurations."""

    def made(**keys) -> RetrievalConfig:
        given = {
            "data__image_encoders": [NAME],
            "data__image_weights": str(clips),
            "data__fine_tune": True,
            "text__encoder": NAME,
            "model__own_vectors": True,
            "model__encoder_rate": 1.0,
            "loss__temperature": None,
            "train__learning_rate": 0.001,
        }
        return tiny(scenes, tmp_path / "runs", **given | keys)

    return made


def network_of(config):
    data = load(config)
    return models.build(config, data.photos.shape, data.tokenizer), data


def clips_own(data, numbers, ids) -> np.ndarray:
    """Cosines of a plain numpy CLIP, [n, m]."""
    photos, _ = data.photos.fetch(numbers)
    seen = tiny_clip.unit(tiny_clip.seen(TENSORS, photos)[1])
    return seen @ tiny_clip.unit(tiny_clip.read(TENSORS, ids, END)[1]).T


def test_before_training_it_is_zero_shot_clip(tuned):
    network, data = network_of(tuned())
    numbers, captions, owner = data.columns("dev")
    ids = data.ids[captions]
    expected = clips_own(data, numbers, ids)
    towers = Towers(network)
    photos = towers.encode_images([data.photos.fetch(numbers)[0]])
    actual = cosines(photos, towers.encode_ids(ids))
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert np.ptp(expected) > 0.1
    assert DevRecall(network, tuned(), data)() == pytest.approx(mean_recall(expected, owner))
    assert {layer.name for layer in network.layers if layer.weights} == {NAME, "clip"}
    trainer = PairTrainer(network, tuned())
    assert trainer.learned["scale"] == pytest.approx(40)


def test_stored_features_give_the_same_and_only_the_text_tower_learns(tuned):
    config = tuned(data__fine_tune=False)
    network, data = network_of(config)
    numbers, captions, _ = data.columns("dev")
    exact, pixels = network_of(tuned())
    expected = clips_own(pixels, numbers, data.ids[captions])
    towers = Towers(network)
    photos = towers.encode_images([data.photos.fetch(numbers)[0]])
    # Features are stored in half precision.
    np.testing.assert_allclose(
        cosines(photos, towers.encode_ids(data.ids[captions])), expected, atol=2e-3
    )
    assert 0 < len(network.trainable_variables) < len(exact.trainable_variables)
    both = tuned(data__fine_tune=False, text__fine_tune=False)
    assert network_of(both)[0].trainable_variables == []


def test_the_temperature_starts_at_that_of_clip_and_is_trained(tuned, tmp_path):
    assert start_temperature(tuned()) == pytest.approx(1 / 40)
    assert start_temperature(tuned(loss__temperature=0.2)) == 0.2
    assert start_temperature(tuned(data__image_weights="random")) == pytest.approx(0.07)
    # OpenAI's ended at 100, where it was cut off: it must not stay there for ever.
    tensors = TENSORS | {"logit_scale": np.array(np.log(100.03), np.float32)}
    folder = tiny_clip.save_openai(tmp_path / "cold", tensors)
    config = tuned(data__image_weights=str(folder))
    network, data = network_of(config)
    trainer = PairTrainer(network, config)
    assert trainer.learned["scale"] == pytest.approx(99.9, abs=0.05)
    trainer.compile(keras.optimizers.SGD(0.01))
    before = trainer.learned["scale"]
    trainer.train_step(next(iter(data.batches("train", 0, 0))))
    assert trainer.learned["scale"] != before


def naive_shares(decay: float, share: float = 1.0) -> dict[str, float]:
    """The factor of each layer's first step, by the name of the layer."""
    actual = {"projection": share, "norm_after": share}
    for number in range(2):
        for part in ("attention_norm", "attention", "output_norm", "expand", "contract"):
            actual[f"block_{number}_{part}"] = share * decay ** (2 - number)
    return actual | dict.fromkeys(("norm_before", "patches", "places", "words"), share * decay**3)


def test_layer_decay_scales_steps_like_a_naive_twin(tuned):
    """Adam's first step is the rate times the sign of the gradient, whatever its size."""
    config = tuned(model__layer_decay=0.5, model__encoder_rate=0.8, train__clip_norm=None)
    network, _ = network_of(config)
    shares, rate = naive_shares(0.5, 0.8), 0.01
    variables = network.trainable_variables
    before = [np.array(variable.numpy()) for variable in variables]
    gradients = [
        np.random.default_rng(n).choice([-3.0, 2.0], v.shape).astype(np.float32)
        for n, v in enumerate(variables)
    ]
    optimizer = adamw(
        rate,
        10**9,
        weight_decay=0.3,
        clip_norm=None,
        rates=models.pretrained_rates(network, config.model),
    )
    optimizer.apply(gradients, variables)
    layers = set()
    for variable, start, gradient in zip(variables, before, gradients, strict=True):
        layer = next(name for name in shares if f"/{name}/" in f"/{variable.path}")
        layers.add(layer)
        expected = start - rate * shares[layer] * np.sign(gradient)
        np.testing.assert_allclose(variable.numpy(), expected, atol=2e-6, err_msg=variable.path)
    assert layers == set(shares) - {"words"}  # what words mean alone stays


def moved(config) -> set[str]:
    """The layers changed by a step of gradient descent on the first batch, by side and name."""
    network, data = network_of(config)
    trainer = PairTrainer(network, config)
    sides = {"photos": network.get_layer(NAME)} if config.data.fine_tune else {}
    sides["texts"] = network.get_layer("clip")
    weights = {
        f"{side}/{layer.name}": (layer, layer.get_weights())
        for side, tower in sides.items()
        for layer in tower.layers
        if layer.weights
    }
    trainer.compile(keras.optimizers.SGD(0.5))
    trainer.train_step(next(iter(data.batches("train", 0, 0))))
    return {
        name
        for name, (layer, before) in weights.items()
        if any((one != two).any() for one, two in zip(before, layer.get_weights(), strict=True))
    }


def test_frozen_layers_do_not_change(tuned):
    everything = moved(tuned())
    assert {"photos/patches", "photos/places", "texts/block_0_expand"} <= everything
    assert not {"texts/words", "texts/places"} & everything
    one = moved(tuned(model__unfreeze=1))
    assert one == {
        name for name in everything if "block_1" in name or "after" in name or "proj" in name
    }
    none = moved(tuned(model__unfreeze=0))
    assert none == {
        f"{side}/{n}" for side in ("photos", "texts") for n in ("norm_after", "projection")
    }
    assert {name.split("/")[0] for name in moved(tuned(text__fine_tune=False))} == {"photos"}
    assert {name.split("/")[0] for name in moved(tuned(data__fine_tune=False))} == {"texts"}
    assert moved(tuned(model__encoder_rate=0.0)) == set()


def test_shares_interpolate_between_zero_shot_and_tuned_weights(tuned):
    network, _ = network_of(tuned())
    trainer = PairTrainer(network, tuned())
    start = copy_weights(trainer)
    rng = np.random.default_rng(0)
    for variable in trainer.trainable_variables:
        variable.assign(variable.numpy() + rng.normal(size=variable.shape).astype(np.float32))
    end, at = copy_weights(trainer), []

    def score() -> float:
        at.append(copy_weights(trainer))
        return [0.2, 0.4, 0.4, 0.3][len(at) - 1]

    assert choose_share(trainer, start, [1.0, 0.0, 0.25, 0.75], score) == {
        **{0.25: 0.4, 0.0: 0.2, 0.75: 0.4, 1.0: 0.3}
    }
    for one, two in ((at[0], start), (at[3], end), (copy_weights(trainer), at[1])):
        for first, second in zip(one, two, strict=True):
            np.testing.assert_array_equal(first, second)
    for between, before, after in zip(at[1], start, end, strict=True):
        np.testing.assert_allclose(between, before + 0.25 * (after - before), atol=1e-6)
    assert next(iter(choose_share(trainer, start, [0.5], lambda: 0.1))) == 0.5


def history(run) -> list[dict[str, str]]:
    with (run.folder / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_run_reports_zero_shot_scores(tuned, capsys, clips, tmp_path):
    shares = [0.0, 0.5, 1.0]
    keys = {"model__tuned_shares": shares, "train__monitor": "val_recall"}
    run = train(tuned(**keys))
    out = capsys.readouterr().out
    shares_kept = json.loads((run.folder / "shares.json").read_text())
    assert f"zero-shot, before training: mean recall on dev {shares_kept['zero-shot']:.3f}" in out
    scores = {float(share): value for share, value in shares_kept["dev recall by share"].items()}
    assert set(scores) == set(shares) and scores[0.0] == pytest.approx(shares_kept["zero-shot"])
    assert scores[shares_kept["share"]] == max(scores.values())
    assert scores[1.0] == pytest.approx(max(float(row["val_recall"]) for row in history(run)))
    # The report, whose row of zero-shot CLIP is that of numpy's.
    report = evaluate(run, "dev")
    values = report.values
    assert list(values["scores"]) == ["model", "zero-shot", "chance"]
    training = values["about"]["training"]
    assert training["share of the tuned weights"] == shares_kept["share"]
    assert training["mean recall on dev, zero-shot"] == pytest.approx(shares_kept["zero-shot"])
    encoder = RetrievalModel.load(run)
    data = load(encoder.config, ("dev",))
    numbers, captions, owner = data.columns("dev")
    expected = clips_own(data, numbers, data.ids[captions])
    first = (expected.argmax(axis=0) == owner).mean()
    assert values["scores"]["zero-shot"]["text_r1"]["value"] == pytest.approx(first)
    assert "zero-shot" in (report.folder / "report.md").read_text()
    # It is exported, and searched with.
    exported = export(run)
    assert (exported / "saved_model.pb").is_file()
    photos = [data.photos.paths[number] for number in numbers]
    vectors = encoder.encode_photos(photos) @ encoder.encode_texts(["a red dog"]).T
    assert vectors.shape == (5, 1) and np.abs(vectors).max() <= 1.001
    # Without the pretrained weights the rest of the report is whole.
    moved_away = tmp_path / "elsewhere"
    moved_away.mkdir()
    for name in ("vocab.json", "merges.txt"):
        source = tiny_clip.save_hugging_face(tmp_path / "hf", TENSORS)
        (moved_away / name).write_bytes((source / name).read_bytes())
    again = evaluate(run, "dev", overrides={"data.image_weights": str(moved_away)})
    assert list(again.values["scores"]) == ["model", "chance"]
    assert any("scores of the pretrained CLIP are missing" in n for n in again.values["notices"])
    assert again.values["scores"]["model"] == values["scores"]["model"]


@pytest.mark.slow  # tests/retrieval/test_train.py has it of other towers
def test_a_killed_and_resumed_run_ends_with_the_same_weights(tuned, tmp_path, monkeypatch):
    def settings(name: str):
        keys = {"model__tuned_shares": [0.5], "model__layer_decay": 0.7, "run__name": name}
        return tuned(**keys, data__captions_per_epoch=1, train__checkpoint_seconds=0)

    steps, batch_end = 0, _Watch.on_train_batch_end

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
    cut = resume_run(tmp_path / "runs" / "cut")
    assert history(whole) == history(cut)
    one, other = (RetrievalModel.load(run) for run in (whole, cut))
    assert one.digest == other.digest and one.scale == other.scale
    kept = [(run.folder / "shares.json").read_text() for run in (whole, cut)]
    assert kept[0] == kept[1] and list(json.loads(kept[0])["dev recall by share"]) == ["0.5"]


@pytest.mark.slow
def test_share_0_is_exactly_zero_shot_clip_and_opens_with_keras_alone(tuned, tmp_path):
    run = train(tuned(model__tuned_shares=[0.0], train__epochs=1, data__captions_per_epoch=1))
    network, data = network_of(tuned())
    opened = keras.saving.load_model(run.model_file)
    for one, two in zip(network.get_weights(), opened.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert RetrievalModel.load(run).scale == pytest.approx(40, rel=1e-6)
    image, ids = data.photos.fetch([0, 1])[0], data.ids[:2]
    actual = network({"image": image, "texts": ids})["photo"]
    np.savez(tmp_path / "given.npz", image=image, texts=ids, photo=actual)
    script = (
        "import sys, keras, numpy as np\n"
        "given = np.load(sys.argv[2])\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "found = model({'image': given['image'], 'texts': given['texts']})['photo']\n"
        "np.testing.assert_allclose(found, given['photo'], atol=1e-5)\n"
        "sys.exit(bool({'imagetext', 'keras_hub'} & set(sys.modules)))\n"
    )
    files = [str(run.model_file), str(tmp_path / "given.npz")]
    ran = run_fresh(script, files, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_halves_of_different_clips_are_refused(tuned, clips, tmp_path):
    other = tiny_clip.save_hugging_face(tmp_path / "other", tiny_clip.random_tensors(1))
    config = tuned(text__weights=str(other))
    with pytest.raises(UserError, match=r"openai\) and text weights \(.*other\) must be halves"):
        network_of(config)
    with pytest.raises(UserError, match=r"halves of the same CLIP; set data\.image_weights"):
        network_of(tuned(text__encoder=str(other)))
    with pytest.raises(UserError, match=r"image weights \(random\) and text weights \(.*openai\)"):
        network_of(tuned(data__image_weights="random", text__weights=str(clips)))
    # The same in another place, and given as a folder or as its file.
    copy = Path(shutil.copytree(clips, tmp_path / "copy"))
    for keys in (
        {"text__weights": str(copy / "ViT-B-32.pt")},
        {"text__encoder": str(copy)},
        {"text__encoder": str(clips / "ViT-B-32.pt")},
    ):
        network_of(tuned(**keys))


def test_unknown_blocks_are_reported(tuned, monkeypatch):
    monkeypatch.setattr(models, "find_blocks", lambda _: [])
    with pytest.raises(UserError, match="clip_vit_b32: its blocks are not known; set"):
        network_of(tuned(model__layer_decay=0.5))
