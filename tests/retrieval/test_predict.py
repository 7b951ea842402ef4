"""Photos and texts to vectors: the same for every kind of input, with named errors."""

import copy

import numpy as np
import pytest
from PIL import Image

from imagetext.errors import DataError, UserError
from imagetext.retrieval.data import load
from imagetext.retrieval.predict import RetrievalModel, classify
from imagetext.retrieval.towers import Towers
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.retrieval.tiny_runs import untrained
from tests.scenes import write_scenes

ENCODED = {
    "data__image_encoders": ["tiny_a", "tiny_b"],
    "data__image_weights": "random",
    "data__image_output": "grid",
    "text__encoder": "all-MiniLM-L6-v2",
    "text__weights": None,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(scope="module")
def model(scenes, tmp_path_factory):
    run = untrained(scenes, tmp_path_factory.mktemp("runs"), model__late=0.4)
    return RetrievalModel.load(run)


@pytest.fixture(scope="module")
def photos(scenes):
    return sorted((scenes / "images").glob("dev_*.png"))


def test_files_bytes_and_features_give_the_same_vectors(model, scenes, photos):
    of_files = model.encode_photos(photos)
    assert of_files.shape == (5, model.width) and of_files.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(of_files, axis=1), 1, atol=1e-4)
    encode_bytes = model.encode_photo_bytes([photo.read_bytes() for photo in photos])
    np.testing.assert_allclose(encode_bytes, of_files, atol=1e-5)
    data = load(model.config, ("dev",), model.tokenizer)
    places = [data.photos.paths.index(photo) for photo in photos]
    given, _ = data.photos.fetch(places)
    np.testing.assert_allclose(model.encode_features(given), of_files, atol=1e-5)
    actual = model.encode_dataset_photos(data, np.array(places))["photo"]
    np.testing.assert_allclose(actual, of_files, atol=1e-5)
    np.testing.assert_allclose(model.encode_photos(photos[1:2])[0], of_files[1], atol=1e-5)
    assert model.encode_photos([]).shape == model.encode_texts([]).shape == (0, model.width)
    assert model.encode_photo_bytes([]).shape == model.encode_features(given[:0]).shape == (0, 16)


def test_texts_keep_their_order_whatever_their_length(model):
    texts = ["a red star", "a small red star left of a blue square above", "circle", "a red star"]
    actual = model.encode_texts(texts)
    alone = np.concatenate([model.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(actual, alone, atol=1e-5)
    assert np.abs(actual[0] - actual[1]).max() > 1e-3
    with pytest.raises(TypeError, match="expected a list of texts"):
        model.encode_texts("a dog")


def test_unreadable_photos_are_reported_together_by_name(model, photos, tmp_path):
    (tmp_path / "no.jpg").write_text("hello")
    with pytest.raises(DataError) as error:
        model.encode_photos([photos[0], tmp_path / "no.jpg", tmp_path / "gone.png"])
    assert "no.jpg: not a photo" in str(error.value) and "gone.png: No such file" in str(
        error.value
    )
    with pytest.raises(DataError, match="photo 2: a damaged or truncated JPEG"):
        model.encode_photo_bytes([photos[0].read_bytes(), b"\xff\xd8\xff broken"])


def test_rotated_and_transparent_photos_are_encoded_as_displayed(model, photos, tmp_path):
    plain = Image.open(photos[0]).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    plain.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=exif)
    alpha = Image.new("L", plain.size, 255)
    alpha.paste(0, (0, 0, plain.width, plain.height // 2))
    seen = plain.copy()
    seen.putalpha(alpha)
    seen.save(tmp_path / "clear.png")
    half = plain.copy()
    half.paste((255, 255, 255), (0, 0, plain.width, plain.height // 2))
    half.save(tmp_path / "half.png")
    names = ("side.png", "clear.png", "half.png")
    side, clear, half = model.encode_photos([tmp_path / name for name in names])
    whole = model.encode_photos(photos[:1])[0]
    np.testing.assert_allclose(side, whole, atol=1e-5)
    np.testing.assert_allclose(clear, half, atol=1e-5)
    assert np.abs(whole - half).max() > 1e-3
    encode_bytes = model.encode_photo_bytes([(tmp_path / name).read_bytes() for name in names[:2]])
    np.testing.assert_allclose(encode_bytes, [side, clear], atol=1e-5)


def test_the_digest_identifies_the_weights(model, scenes, tmp_path):
    same = RetrievalModel.load(untrained(scenes, tmp_path, model__late=0.4, run__name="same"))
    other = RetrievalModel.load(
        untrained(scenes, tmp_path, model__late=0.4, run__name="other", train__seed=1)
    )
    assert len({model.digest, same.digest}) == 1 and other.digest != model.digest


@pytest.mark.usefixtures("tiny_encoders")
def test_the_digest_depends_on_the_contents_of_weights_not_their_path(scenes, tmp_path):
    one_encoder = ENCODED | {"data__image_encoders": ["tiny_a"]}
    run = untrained(scenes, tmp_path / "runs", **one_encoder)
    digests = []
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
        given = {"data.image_weights": str(tmp_path / name)}
        digests.append(RetrievalModel.load(run, given).digest)
    one, moved, other = digests
    assert one == moved != other and RetrievalModel.load(run).digest not in digests


def test_zero_shot_is_a_softmax_over_the_mean_of_prompts(model, photos):
    labels, templates = ["star", "circle", "red square"], ["a {}", "the {} above"]
    actual = classify(model, photos[0], labels, templates)
    photo, odds = model.encode_photos(photos[:1])[0], []
    for label in labels:
        mean = sum(model.encode_texts([template.format(label)])[0] for template in templates)
        odds.append(np.exp(model.scale * (photo @ mean) / np.linalg.norm(mean)))
    np.testing.assert_allclose(actual, np.array(odds) / sum(odds), atol=1e-4)
    assert sum(classify(model, photos[0], labels)) == pytest.approx(1)
    with pytest.raises(UserError, match="at least two labels"):
        classify(model, photos[0], ["star"])
    with pytest.raises(UserError, match="invalid template 'a photo': it needs one"):
        classify(model, photos[0], labels, ["a photo"])


def test_the_caption_score_is_two_and_a_half_times_the_cosine_where_positive(model, photos):
    captions = ["a red star", "a blue circle above", "a green square", "a large star"]
    shown = [photos[0], photos[1], photos[0], str(photos[2])]
    actual = model.score(shown, captions)
    for score, photo, caption in zip(actual, shown, captions, strict=True):
        cosine = float(model.encode_photos([photo])[0] @ model.encode_texts([caption])[0])
        assert score == pytest.approx(2.5 * max(cosine, 0), abs=1e-5)
    with pytest.raises(ValueError, match="1 photos, but 4 captions"):
        model.score(shown[:1], captions)


@pytest.mark.usefixtures("tiny_encoders")
def test_photos_of_several_encoders_are_read_as_their_stored_features(scenes, tmp_path):
    run = untrained(scenes, tmp_path, **ENCODED)
    model = RetrievalModel.load(run)
    data = load(model.config, ("dev",), model.tokenizer)
    stored = model.encode_dataset_photos(data, np.arange(5))["photo"]
    paths = [data.photos.paths[n] for n in range(5)]
    np.testing.assert_allclose(model.encode_photos(paths), stored, atol=2e-2)  # stored in halves
    assert np.ptp(stored, axis=0).max() > 0.05
    assert model.encode_texts(["a dog runs"]).shape == (1, 16)


def test_a_vocabulary_of_another_run_is_refused_and_so_are_fixed_keys(scenes, tmp_path):
    run = untrained(scenes, tmp_path)
    with pytest.raises(UserError, match=r"model.width: cannot be changed for a trained run"):
        RetrievalModel.load(run, {"model.width": 9})
    (run.folder / "words.json").write_text('["dog"]')
    with pytest.raises(UserError, match="vocabulary is that of another run"):
        RetrievalModel.load(run)
    (run.folder / "temperature.json").write_text("{}")
    (run.folder / "words.json").unlink()
    with pytest.raises(UserError, match=r"words.json: not a vocabulary"):
        RetrievalModel.load(run)


def test_predictions_are_the_similarities_of_all_pairs(model, photos):
    texts = ["a red star", "a small blue circle"]
    scores = model.predict(photos[:3], texts)
    assert scores.shape == (3, 2) and model.predict([], texts).shape == (0, 2)
    late = model.towers.late
    cosines = model.encode_photos(photos[:3]) @ model.encode_texts(texts).T
    assert late == 0.4 and np.abs(scores - (1 - late) * cosines).max() <= late + 1e-5
    np.testing.assert_allclose(model.predict(photos[0], texts[1]), [[scores[0, 1]]], atol=1e-5)
    plain = copy.copy(model)
    plain.towers = Towers(model.network, late, compiled=False)
    np.testing.assert_allclose(plain.predict(photos[:3], texts), scores, atol=1e-5)


def test_the_repr_names_run_and_towers(model):
    shown = repr(model)
    assert "tiny: images='pixels', text='scratch', width=16" in shown
