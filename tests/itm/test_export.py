"""The SavedModel answers as the run does, in a process that knows nothing of this package."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import imagetext.encoders.minilm
from imagetext.encoders.minilm import BertShape, SentenceEncoder, build
from imagetext.encoders.wordpiece import WordPieceTokenizer
from imagetext.errors import UserError
from imagetext.itm import models
from imagetext.itm.export import export
from imagetext.itm.predict import MatchingModel
from imagetext.training.config_files import write_config
from imagetext.training.network import save_model
from imagetext.training.run import Run, new_run
from tests.fresh import run_fresh
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.itm.tiny_runs import tiny, untrained
from tests.scenes import write_old_export

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "runs", "on", "sand", "##s", "snow"]
SENTENCES = ["A dog runs", "snow on sand , a dogs", "Überraschung"]

FRESH = """
import json, sys
import tensorflow as tf, tensorflow_text
folder, asked = sys.argv[1], json.loads(sys.argv[2])
module = tf.saved_model.load(folder)
photos = [open(path, "rb").read() for path in asked["photos"]]
answer = module.signatures["photo_and_caption"](
    photo=tf.constant(photos), caption=tf.constant(asked["captions"]))
pixels = tf.constant(asked["pixels"], tf.uint8)
second = module.signatures["pixels_and_embedding"](
    pixels=pixels, embedding=tf.constant(asked["embedding"], tf.float32))
try:
    module.signatures["photo_and_caption"](
        photo=tf.constant(photos[:2]), caption=tf.constant(asked["captions"][:1]))
    uneven = "answered"
except tf.errors.InvalidArgumentError as error:
    uneven = str(error)
ours = [name for name in sys.modules if name.split(".")[0] in ("keras", "imagetext")]
print(json.dumps({"ours": ours, "uneven": uneven,
                  "first": answer["probabilities"].numpy().tolist(),
                  "second": second["probabilities"].numpy().tolist()}))
"""


@pytest.fixture(scope="module")
def trained(course_master, tmp_path_factory):
    return untrained(course_master, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run_and_encoder(trained, course_master, tmp_path, monkeypatch):
    """A copy of the run, to be exported."""
    keras.utils.set_random_seed(0)
    shape = BertShape(len(TOKENS), width=384, depth=1, heads=4, feed_forward=16, positions=40)
    encoder = SentenceEncoder(build(shape), WordPieceTokenizer(TOKENS))
    monkeypatch.setattr(
        imagetext.encoders.minilm.SentenceEncoder, "load", lambda folder=None: encoder
    )
    return Run(Path(shutil.copytree(trained.folder, tmp_path / "run"))), encoder, course_master


def test_a_fresh_process_gets_the_same_answers(run_and_encoder, tmp_path):
    run, encoder, course = run_and_encoder
    folder = export(run)
    assert folder == run.folder / "export" / "saved_model"
    photos = [str(course / "flickr8k-resised" / f"test_{n}.jpg") for n in range(3)]
    matcher = MatchingModel.load(run)
    expected = [
        float(matcher(photo, [text])[0]) for photo, text in zip(photos, SENTENCES, strict=True)
    ]
    asked = {
        "photos": photos,
        "captions": SENTENCES,
        "pixels": [matcher.photo_tower.encode_file(Path(photo)).tolist() for photo in photos],
        "embedding": encoder(SENTENCES).tolist(),
    }
    ran = run_fresh(FRESH, [str(folder), json.dumps(asked)], cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout.splitlines()[-1])
    assert [name for name in answer["ours"] if not name.startswith("keras")] == []
    assert "expected as many captions as photos" in answer["uneven"]
    np.testing.assert_allclose(np.array(answer["first"])[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(answer["second"], answer["first"], atol=1e-5)
    np.testing.assert_allclose(np.sum(answer["first"], axis=1), 1, atol=1e-5)


def test_the_keras_file_lies_beside_it_and_a_second_export_replaces_the_first(run_and_encoder):
    run, _, _ = run_and_encoder
    write_old_export(run.export_folder)
    export(run)
    told = (run.export_folder / "README.txt").read_text()
    assert "pixels_and_embedding      pixels: uint8 [n, 16, 16, 3]," in told
    assert "embedding: float32 [n, 384]" in told
    there = sorted(path.name for path in run.export_folder.iterdir())
    assert there == ["README.txt", "model.keras", "saved_model"]
    assert keras.saving.load_model(run.export_folder / "model.keras").name == "itm_cnn"
    assert [p.name for p in run.folder.iterdir() if p.name.startswith(".")] == []


def test_a_folder_that_is_no_export_is_never_replaced(run_and_encoder, tmp_path):
    run, _, _ = run_and_encoder
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not an export"):
        export(run, tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_without_the_encoder_it_says_what_to_do(run_and_encoder, monkeypatch):
    run, _, _ = run_and_encoder

    def absent(folder=None):
        raise UserError("weights not at hand")

    monkeypatch.setattr(imagetext.encoders.minilm.SentenceEncoder, "load", absent)
    with pytest.raises(UserError, match="weights not at hand"):
        export(run)
    assert not run.export_folder.exists()


WORDS_FRESH = """
import json, sys
import tensorflow as tf, tensorflow_text
folder, asked = sys.argv[1], json.loads(sys.argv[2])
module = tf.saved_model.load(folder)
photos = tf.constant([open(path, "rb").read() for path in asked["photos"]])
first = module.signatures["photo_and_caption"](
    photo=photos, caption=tf.constant(asked["captions"]))["probabilities"]
features, pieces = tf.constant(asked["features"]), tf.constant(asked["word_pieces"], tf.int32)
second = module.signatures["features_and_word_pieces"](
    features=features, word_pieces=pieces)["probabilities"]
ours = [name for name in sys.modules if name.split(".")[0] == "imagetext"]
import keras
from imagetext.training.network import save_model
network = keras.saving.load_model(folder.replace("saved_model", "model.keras"))
third = network({"image": features, "texts": pieces[:, None]}, training=False)[:, 0]
print(json.dumps({"ours": ours, "names": sorted(module.signatures),
                  "answers": [answer.numpy().tolist() for answer in (first, second, third)]}))
"""


@pytest.mark.usefixtures("tiny_encoders")
def test_a_model_of_cells_and_words_answers_alike_in_a_fresh_process(course_folder, tmp_path):
    """From bytes and raw captions, from what they are turned into, and by Keras alone."""
    keys = {"image_encoders": ["tiny_a"], "image_weights": "random", "image_output": "grid"}
    keys = {f"data__{key}": value for key, value in keys.items()} | {"text__input": "tokens"}
    settings = tiny(course_folder, tmp_path, model__head="attention", **keys)
    run = new_run(tmp_path, "untrained", "")
    write_config(run.config_file, settings)
    save_model(run.model_file, models.build(settings.model, settings.data, settings.text))
    folder = export(run)
    photos = [str(course_folder / "flickr8k-resised" / f"test_{n}.jpg") for n in range(3)]
    captions = ["A dog runs", "caption 2 of Test photo 0 .", "Überraschung"]
    matcher = MatchingModel.load(run)
    expected = [
        float(matcher(photo, [text])[0]) for photo, text in zip(photos, captions, strict=True)
    ]
    features = [matcher.photo_tower.encode_file(Path(photo)) for photo in photos]
    asked = {
        "photos": photos,
        "captions": captions,
        "features": [array.tolist() for array in features],
        "word_pieces": matcher.prepare_texts(captions).tolist(),
    }
    ran = run_fresh(WORDS_FRESH, [str(folder), json.dumps(asked)], cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout.splitlines()[-1])
    assert answer["ours"] == []
    assert answer["names"] == ["features_and_word_pieces", "photo_and_caption"]
    assert np.ptp(expected) > 1e-3
    for found in answer["answers"]:
        np.testing.assert_allclose(np.array(found)[:, 0], expected, atol=1e-5)
        np.testing.assert_allclose(np.sum(found, axis=1), 1, atol=1e-5)
    told = (run.export_folder / "README.txt").read_text()
    assert "features_and_word_pieces  features: float32 [n, 2, 2, 5]," in told
    assert "word_pieces: int32 [n, pieces]" in told
    assert "pixels" not in told and "embedding" not in told
