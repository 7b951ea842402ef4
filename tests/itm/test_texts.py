"""Raw captions read by BERT and CLIP encoders inside the model."""

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
from tests.itm.tiny_encoders import (  # noqa: F401
    TEXT_WIDTH,
    VOCABULARY,
    tiny_bert,
    tiny_encoders,
)
from tests.itm.tiny_runs import tiny

pytestmark = pytest.mark.usefixtures("tiny_encoders")
KINDS = ("clip", "bert", "keras_hub")
#: Width of sentences and of words.
WIDTHS = {"clip": (tiny_clip.VECTOR, tiny_clip.TEXTS.width), "bert": (12, 12), "keras_hub": (8, 8)}
CAPTIONS = ["a dog", "!!! a dog runs", "a !! dog !!", "dog!", "runs !"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """A CLIP and a BERT as saved by Hugging Face, and a BERT as saved by keras-hub."""
    folders = {kind: tmp_path_factory.mktemp("encoders") / kind for kind in KINDS}
    tiny_clip.save_hugging_face(folders["clip"], tiny_clip.random_tensors())
    folders["bert"].mkdir()
    reference = Path(__file__).parents[1] / "encoders" / "text_reference.npz"
    with np.load(reference) as file:
        for name in file:
            if name.startswith("bert_folder/"):
                (folders["bert"] / Path(name).name).write_bytes(file[name].tobytes())
    save_keras_hub(folders["keras_hub"])
    return {kind: str(folder) for kind, folder in folders.items()}


def save_keras_hub(folder: Path) -> None:
    from keras_hub.models import BertBackbone, BertTokenizer

    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    backbone = BertBackbone(len(VOCABULARY) + 1, **sizes, max_sequence_length=16)
    backbone.save_to_preset(str(folder))
    BertTokenizer([*VOCABULARY, "[MASK]"], lowercase=True).save_to_preset(str(folder))


def build_text_tower(folder: str, trained: bool = True) -> keras.Model:
    token_ids = keras.Input([None, None], dtype="int32")
    outputs, is_token = apply_text_encoder(
        token_ids, TextConfig(input="tokens", encoder=folder), trained
    )
    return keras.Model(token_ids, outputs | {"is_token": is_token})


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_encoded_independently_of_their_batch(folders, kind):
    """Padding does not matter, and exclamation marks are not mistaken for it."""
    encoder = texts.build(folders[kind])
    ids = open_tokenizer(TextConfig(input="tokens", encoder=folders[kind])).to_ids(CAPTIONS)
    ids = np.concatenate([ids, np.zeros_like(ids[:1])])  # as if a photo had fewer captions
    model = build_text_tower(folders[kind])
    outputs = {name: np.asarray(array) for name, array in model(ids.reshape(2, 3, -1)).items()}
    assert outputs["sentence"].shape == (2, 3, WIDTHS[kind][0])
    assert outputs["tokens"].shape == (2, 3, ids.shape[1], WIDTHS[kind][1])
    assert all(np.isfinite(array).all() for array in outputs.values())
    outputs = {name: array.reshape(6, *array.shape[2:]) for name, array in outputs.items()}
    for number, caption in enumerate(CAPTIONS):
        alone = encoder.to_ids([caption])
        expected = encoder.model({"token_ids": alone, "mask": np.ones_like(alone)})
        count = alone.shape[1]
        assert outputs["is_token"][number].sum() == count_tokens(ids)[number] == count
        sentence, tokens = outputs["sentence"][number], outputs["tokens"][number, :count]
        np.testing.assert_allclose(sentence, expected["sentence"][0], atol=1e-5)
        np.testing.assert_allclose(tokens, expected["tokens"][0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_is_trained_without_its_embedding_tables(folders, kind):
    model = build_text_tower(folders[kind])
    ids = open_tokenizer(TextConfig(input="tokens", encoder=folders[kind])).to_ids(CAPTIONS)
    ids = np.concatenate([ids, np.zeros_like(ids[:1])]).reshape(2, 3, -1)
    with tf.GradientTape() as tape:
        outputs = model(ids, training=True)
        loss = tf.reduce_sum(outputs["sentence"][..., 0]) + tf.reduce_sum(outputs["tokens"][..., 0])
    variables = model.trainable_variables
    assert [v.path for v in variables if v.path.endswith("embeddings")] == []
    kernels = [v for v in variables if "norm" not in v.path and not v.path.endswith("bias")]
    assert len(kernels) >= 6
    for variable, gradient in zip(
        kernels, tape.gradient(loss, [v.value for v in kernels]), strict=True
    ):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, variable.path
    assert build_text_tower(folders[kind], trained=False).trainable_variables == []


def test_the_length_includes_zeros_before_the_last_token():
    ids = np.array([[7, 0, 3, 0, 0], [7, 3, 0, 0, 0], [0, 0, 0, 0, 0], [7, 0, 0, 0, 3]], np.int32)
    assert count_tokens(ids).tolist() == [3, 2, 0, 5]


def test_encoders_with_the_same_tokenizer_have_different_identities(folders):
    def identity(**settings) -> list[str]:
        return text_encoder_identity(TextConfig(**settings))

    assert (
        identity() == identity(input="tokens") == identity(input="tokens", weights="/there") == []
    )
    assert identity(input="tokens", encoder="BERT-base", weights="/there") == ["bert_base"]
    assert identity(input="tokens", encoder=folders["bert"], weights="random") == ["bert", "random"]
    assert identity(input="tokens", weights="random") == ["all-MiniLM-L6-v2", "random"]


def test_untrained_minilm_uses_the_usual_vocabulary(monkeypatch):
    monkeypatch.setattr("imagetext.encoders.minilm.load", None)
    monkeypatch.setattr("imagetext.encoders.minilm.build", tiny_bert)
    config = TextConfig(input="tokens", weights="random")
    assert open_tokenizer(config).to_ids(["a dog"]).shape == (1, 4)
    token_ids = keras.Input([None, None], dtype="int32")
    outputs, _ = apply_text_encoder(token_ids, config, trainable=True)
    assert outputs["tokens"].shape == (None, None, None, TEXT_WIDTH)


def build(folder: str, head: str = "attention", **model) -> keras.Model:
    keras.utils.set_random_seed(0)
    data = {"image_encoders": ["tiny_a"], "image_output": "grid", "image_weights": "random"}
    text = TextConfig(input="tokens", encoder=folder)
    sizes = {"projection": 8, "hidden": [8], "heads": 2} | model
    return models.build(ModelConfig(head=head, **sizes), DataConfig(**data), text)


def make_inputs(folder: str) -> dict:
    ids = open_tokenizer(TextConfig(input="tokens", encoder=folder)).to_ids(CAPTIONS[:4])
    photos = np.random.default_rng(0).normal(size=(2, 2, 2, 5)).astype(np.float32)
    return {"image": photos, "texts": ids.reshape(2, 2, -1)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_gives_the_same_outputs(folders, kind, tmp_path):
    model, inputs = build(folders[kind]), make_inputs(folders[kind])
    outputs = np.asarray(model(inputs))
    assert outputs.shape == (2, 2, 2) and np.ptp(outputs[..., 0]) > 1e-4
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(inputs), outputs)
    assert len(pretrained_rates(model, 0.1)) == len(
        build_text_tower(folders[kind]).trainable_variables
    )


@pytest.mark.parametrize("head", ["attention", "cosine"])
def test_exclamation_marks_change_the_outputs_and_padding_does_not(folders, head):
    model, inputs = build(folders["clip"], head), make_inputs(folders["clip"])
    outputs = np.asarray(model(inputs))
    padded = np.pad(inputs["texts"], [(0, 0), (0, 1), (0, 2)])
    np.testing.assert_allclose(model(inputs | {"texts": padded})[:, :2], outputs, atol=1e-5)
    changed = inputs["texts"].copy()
    assert changed[1, 0, 2] == 0  # the first "!" of "a !! dog !!"
    changed[1, 0, 2] = 5
    difference = np.abs(np.asarray(model(inputs | {"texts": changed})) - outputs).max(axis=-1)
    assert (difference > 1e-5).tolist() == [[False, False], [True, False]]


@pytest.mark.parametrize("side", ["text", "image"])
def test_controls_read_one_side(folders, side):
    model, inputs = build(folders["clip"], inputs=side), make_inputs(folders["clip"])
    assert ("clip" in {layer.name for layer in model.layers}) is (side == "text")
    outputs = np.asarray(model(inputs))
    same = np.asarray(model({name: array[::-1] for name, array in inputs.items()}))[::-1]
    np.testing.assert_allclose(same, outputs, atol=1e-6)
    mixed = np.asarray(model(inputs | {"image": inputs["image"][::-1]}))
    assert np.allclose(mixed, outputs, atol=1e-6) is (side == "text")


@pytest.mark.slow  # its parts are tested above; the whole takes as long as twenty other tests
def test_a_complete_run_with_a_clip_text_encoder(folders, course_folder, tmp_path):
    """Align, train, evaluate, predict, export and resume."""
    for path in course_folder.glob("*Images.txt"):
        rows = re.sub(rb"caption (.) of (.)\w+ photo (.) \.", rb"\1 !! \2 \3!", path.read_bytes())
        path.write_bytes(rows)
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
    captions = [c for i, c in zip(rows.image, rows.caption, strict=True) if i == photo]
    expected = [p for i, p in zip(rows.image, rows.probability, strict=True) if i == photo]
    assert len(set(expected)) == 6 and all("!!" in caption for caption in captions)
    np.testing.assert_allclose(predict(run, photo, captions), expected, atol=1e-5)
    # Alone, it is not padded to the length of the others.
    np.testing.assert_allclose(predict(run, photo, captions[:1]), expected[:1], atol=1e-5)

    module = tf.saved_model.load(export(run))
    photos = tf.constant([Path(photo).read_bytes()] * len(captions))
    outputs = module.signatures["photo_and_caption"](photo=photos, caption=tf.constant(captions))
    np.testing.assert_allclose(outputs["probabilities"][:, 0], expected, atol=1e-5)
    assert "pixels_and_word_pieces" in module.signatures

    run.model_file.unlink()
    resume_run(run.folder)
    resumed = keras.saving.load_model(run.model_file)
    for before, after in zip(network.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_signature_depends_on_the_encoder(folders, course_folder):
    def signature(**keys) -> str:
        keys = {"data__image_encoders": ["tiny_a"], "data__image_weights": "random", **keys}
        return load(tiny(course_folder, "", text__input="tokens", **keys), ("train",)).signature

    expected = signature(text__encoder=folders["bert"])
    assert expected != signature(text__encoder=folders["bert"], text__weights="random")
    assert expected == signature(text__encoder=folders["bert"])
