"""Raw captions through text encoders other than MiniLM, inside the model: BERTs and CLIPs."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from imagetext.encoders import texts
from imagetext.itm import models
from imagetext.itm.config import DataConfig, ModelConfig, TextConfig
from imagetext.itm.data import load
from imagetext.itm.evaluate import evaluate
from imagetext.itm.export import export
from imagetext.itm.predict import predict
from imagetext.itm.texts import (
    apply_text_encoder,
    count_tokens,
    open_tokenizer,
    text_encoder_identity,
)
from imagetext.itm.train import pretrained_rates, resume_run, train
from imagetext.reports.matching.predictions import read_predictions
from tests import tiny_clip
from tests.itm.test_train import tiny
from tests.itm.tiny_encoders import (  # noqa: F401
    TEXT_WIDTH,
    VOCABULARY,
    tiny_bert,
    tiny_encoders,
)

pytestmark = pytest.mark.usefixtures("tiny_encoders")
KINDS = ("clip", "bert", "keras_hub")
#: Of sentences and of words.
WIDTHS = {"clip": (tiny_clip.VECTOR, tiny_clip.TEXTS.width), "bert": (12, 12), "keras_hub": (8, 8)}
CAPTIONS = ["a dog", "!!! a dog runs", "a !! dog !!", "dog!", "runs !"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """One of each kind: a CLIP and a BERT as Hugging Face saves them, a BERT as keras-hub does."""
    made = {kind: tmp_path_factory.mktemp("readers") / kind for kind in KINDS}
    tiny_clip.save_hugging_face(made["clip"], tiny_clip.random_tensors())
    made["bert"].mkdir()
    reference = Path(__file__).parents[1] / "encoders" / "text_reference.npz"
    with np.load(reference) as file:
        for name in file:
            if name.startswith("bert_folder/"):
                (made["bert"] / Path(name).name).write_bytes(file[name].tobytes())
    save_keras_hub(made["keras_hub"])
    return {kind: str(folder) for kind, folder in made.items()}


def save_keras_hub(folder: Path) -> None:
    from keras_hub.models import BertBackbone, BertTokenizer

    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    backbone = BertBackbone(len(VOCABULARY) + 1, **sizes, max_sequence_length=16)
    backbone.save_to_preset(str(folder))
    BertTokenizer([*VOCABULARY, "[MASK]"], lowercase=True).save_to_preset(str(folder))


def read_by(folder: str, trained: bool = True) -> keras.Model:
    token_ids = keras.Input([None, None], dtype="int32")
    found, is_piece = apply_text_encoder(
        token_ids, TextConfig(input="tokens", encoder=folder), trained
    )
    return keras.Model(token_ids, found | {"is_piece": is_piece})


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_read_as_each_by_itself(folders, kind):
    """With what the others of its batch need of padding, and none of its exclamation marks lost."""
    tower = texts.build(folders[kind])
    ids = open_tokenizer(TextConfig(input="tokens", encoder=folders[kind])).to_ids(CAPTIONS)
    ids = np.concatenate([ids, np.zeros_like(ids[:1])])  # where a photo has fewer captions
    model = read_by(folders[kind])
    found = {name: np.asarray(array) for name, array in model(ids.reshape(2, 3, -1)).items()}
    assert found["sentence"].shape == (2, 3, WIDTHS[kind][0])
    assert found["tokens"].shape == (2, 3, ids.shape[1], WIDTHS[kind][1])
    assert all(np.isfinite(array).all() for array in found.values())
    found = {name: array.reshape(6, *array.shape[2:]) for name, array in found.items()}
    for number, caption in enumerate(CAPTIONS):
        alone = tower.to_ids([caption])
        own = tower.model({"token_ids": alone, "mask": np.ones_like(alone)})
        count = alone.shape[1]
        assert found["is_piece"][number].sum() == count_tokens(ids)[number] == count
        np.testing.assert_allclose(found["sentence"][number], own["sentence"][0], atol=1e-5)
        np.testing.assert_allclose(found["tokens"][number, :count], own["tokens"][0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_trained_along_but_for_what_words_mean_alone(folders, kind):
    model = read_by(folders[kind])
    ids = open_tokenizer(TextConfig(input="tokens", encoder=folders[kind])).to_ids(CAPTIONS)
    ids = np.concatenate([ids, np.zeros_like(ids[:1])]).reshape(2, 3, -1)
    with tf.GradientTape() as tape:
        found = model(ids, training=True)
        loss = tf.reduce_sum(found["sentence"][..., 0]) + tf.reduce_sum(found["tokens"][..., 0])
    variables = model.trainable_variables
    assert [v.path for v in variables if v.path.endswith("embeddings")] == []
    kernels = [v for v in variables if "norm" not in v.path and not v.path.endswith("bias")]
    assert len(kernels) >= 6
    for variable, gradient in zip(
        kernels, tape.gradient(loss, [v.value for v in kernels]), strict=True
    ):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path
    assert read_by(folders[kind], trained=False).trainable_variables == []


def test_lengths_count_what_lies_before_the_last_piece():
    ids = np.array([[7, 0, 3, 0, 0], [7, 3, 0, 0, 0], [0, 0, 0, 0, 0], [7, 0, 0, 0, 3]], np.int32)
    assert count_tokens(ids).tolist() == [3, 2, 0, 5]


def test_what_sets_encoders_of_the_same_pieces_apart(folders):
    def told(**settings) -> list[str]:
        return text_encoder_identity(TextConfig(**settings))

    assert told() == told(input="tokens") == told(input="tokens", weights="/there") == []
    assert told(input="tokens", encoder="BERT-base", weights="/there") == ["bert_base"]
    assert told(input="tokens", encoder=folders["bert"], weights="random") == ["bert", "random"]
    assert told(input="tokens", weights="random") == ["all-MiniLM-L6-v2", "random"]


def test_untrained_minilm_has_its_vocabulary(monkeypatch):
    monkeypatch.setattr("imagetext.encoders.minilm.load", None)
    monkeypatch.setattr("imagetext.encoders.minilm.build", tiny_bert)
    data = TextConfig(input="tokens", weights="random")
    assert open_tokenizer(data).to_ids(["a dog"]).shape == (1, 4)
    token_ids = keras.Input([None, None], dtype="int32")
    found, _ = apply_text_encoder(token_ids, data, trainable=True)
    assert found["tokens"].shape == (None, None, None, TEXT_WIDTH)


def made(folder: str, head: str = "attention", **model) -> keras.Model:
    keras.utils.set_random_seed(0)
    data = {"image_encoders": ["tiny_a"], "image_output": "grid", "image_weights": "random"}
    text = TextConfig(input="tokens", encoder=folder)
    sizes = {"projection": 8, "hidden": [8], "heads": 2} | model
    return models.build(ModelConfig(head=head, **sizes), DataConfig(**data), text)


def given(folder: str) -> dict:
    ids = open_tokenizer(TextConfig(input="tokens", encoder=folder)).to_ids(CAPTIONS[:4])
    photos = np.random.default_rng(0).normal(size=(2, 2, 2, 5)).astype(np.float32)
    return {"image": photos, "texts": ids.reshape(2, 2, -1)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_answers_alike(folders, kind, tmp_path):
    model, asked = made(folders[kind]), given(folders[kind])
    answers = np.asarray(model(asked))
    assert answers.shape == (2, 2, 2) and np.ptp(answers[..., 0]) > 1e-4
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(asked), answers)
    assert len(pretrained_rates(model, 0.1)) == len(read_by(folders[kind]).trainable_variables)


@pytest.mark.parametrize("head", ["attention", "cosine"])
def test_padding_changes_no_answer_and_exclamation_marks_do(folders, head):
    model, asked = made(folders["clip"], head), given(folders["clip"])
    answers = np.asarray(model(asked))
    longer = np.pad(asked["texts"], [(0, 0), (0, 1), (0, 2)])
    np.testing.assert_allclose(model(asked | {"texts": longer})[:, :2], answers, atol=1e-5)
    other = asked["texts"].copy()
    assert other[1, 0, 2] == 0  # the first of "a !! dog !!"
    other[1, 0, 2] = 5
    changed = np.abs(np.asarray(model(asked | {"texts": other})) - answers).max(axis=-1) > 1e-5
    assert changed.tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize("seen", ["text", "image"])
def test_controls_see_one_side(folders, seen):
    model, asked = made(folders["clip"], inputs=seen), given(folders["clip"])
    assert ("clip" in {layer.name for layer in model.layers}) is (seen == "text")
    answers = np.asarray(model(asked))
    same = np.asarray(model({name: array[::-1] for name, array in asked.items()}))[::-1]
    np.testing.assert_allclose(same, answers, atol=1e-6)
    mixed = np.asarray(model(asked | {"image": asked["image"][::-1]}))
    assert np.allclose(mixed, answers, atol=1e-6) is (seen == "text")


@pytest.mark.slow  # its parts are tested above; the whole takes as long as twenty other tests
def test_a_whole_run_with_clip_reading(folders, course_folder, tmp_path):
    """Aligned, trained, scored, asked, exported, and resumed from its state."""
    for path in course_folder.glob("*Images.txt"):
        told = re.sub(rb"caption (.) of (.)\w+ photo (.) \.", rb"\1 !! \2 \3!", path.read_bytes())
        path.write_bytes(told)
    settings = tiny(
        course_folder,
        tmp_path,
        data__image_encoders=["tiny_a"],
        data__image_output="grid",
        data__image_weights="random",
        data__fine_tune=True,
        text__input="tokens",
        text__encoder=folders["clip"],
        model__head="attention",
        model__heads=2,
        align__epochs=1,
        align__batch_size=3,
        train__epochs=1,
        report__controls=False,
    )
    run = train(settings)
    network = keras.saving.load_model(run.model_file)
    assert network.get_layer("clip").output["sentence"].shape == (None, tiny_clip.VECTOR)
    about = evaluate(run).values["about"]
    assert about["model"]["captions"] == "clip, inside the model"
    rows = read_predictions(run.folder)
    photo = rows.image[0]
    asked = [c for i, c in zip(rows.image, rows.caption, strict=True) if i == photo]
    expected = [p for i, p in zip(rows.image, rows.probability, strict=True) if i == photo]
    assert len(set(expected)) == 6 and all("!!" in caption for caption in asked)
    np.testing.assert_allclose(predict(run, photo, asked), expected, atol=1e-5)
    # With another caption beside it, longer than it is.
    np.testing.assert_allclose(predict(run, photo, asked[:1]), expected[:1], atol=1e-5)

    module = tf.saved_model.load(export(run))
    photos = tf.constant([Path(photo).read_bytes()] * len(asked))
    answer = module.signatures["photo_and_caption"](photo=photos, caption=tf.constant(asked))
    np.testing.assert_allclose(answer["probabilities"][:, 0], expected, atol=1e-5)
    assert "pixels_and_word_pieces" in module.signatures

    run.model_file.unlink()
    resume_run(run.folder)
    again = keras.saving.load_model(run.model_file)
    for one, other in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_of_another_encoder_of_the_same_pieces_is_not_gone_on_with(folders, course_folder):
    def signature(**keys) -> str:
        keys = {"data__image_encoders": ["tiny_a"], "data__image_weights": "random", **keys}
        return load(tiny(course_folder, "", text__input="tokens", **keys), ("train",)).signature

    one = signature(text__encoder=folders["bert"])
    assert one != signature(text__encoder=folders["bert"], text__weights="random")
    assert one == signature(text__encoder=folders["bert"])
