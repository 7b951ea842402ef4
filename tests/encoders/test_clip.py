"""CLIP in every format it is kept in: against a plain numpy CLIP, and what is refused."""

import gzip
import hashlib
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from imagetext.encoders import clip_files, clip_towers, images, registry, text_presets, texts
from imagetext.encoders.clip import SHAPES
from imagetext.encoders.extraction import identity
from imagetext.errors import UserError
from tests import tiny_clip
from tests.tiny_clip import NAME, PHOTOS, POSITIONS, PRESET, SIZE, TEXTS, VECTOR, unit

TOLERANCE = 2e-5
SAVED = {
    "hugging_face": tiny_clip.save_hugging_face,
    "openai": tiny_clip.save_openai,
    "open_clip": tiny_clip.save_open_clip,
    "keras_hub": tiny_clip.save_keras_hub,
}
GIVEN = ["A dog runs!!", "", "the red dog in the café, 2023", "dog " * 30]
END = tiny_clip.VOCABULARY - 1


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        tiny_clip.registered(patch)
        yield


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No weights on this machine, and nobody to ask."""
    for name in ("IMAGETEXT_CACHE", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("IMAGETEXT_WEIGHTS", raising=False)
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")


TENSORS = tiny_clip.random_tensors()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The same CLIP in all formats; tests leave them as they are."""
    made = tmp_path_factory.mktemp("clips")
    return {name: save(made / name, TENSORS) for name, save in SAVED.items()}


def photos(seed: int = 0, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def ids_of(tower) -> tuple[np.ndarray, np.ndarray]:
    return tuple(part.numpy() for part in tower.tokenize(tf.constant(GIVEN)))


@pytest.mark.parametrize("name", SAVED)
def test_photos_are_seen_as_a_plain_numpy_clip_sees_them(folders, name):
    cells, vectors = tiny_clip.seen(TENSORS, photos())
    pooled = images.build(NAME, weights=folders[name])
    assert (pooled.input_shape, pooled.output_shape) == ((None, SIZE, SIZE, 3), (None, VECTOR))
    np.testing.assert_allclose(pooled(photos()), vectors, atol=TOLERANCE * np.abs(vectors).max())
    grid = images.build(NAME, "grid", weights=folders[name])
    np.testing.assert_allclose(grid(photos()), cells, atol=TOLERANCE * np.abs(cells).max())
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1


@pytest.mark.parametrize("name", SAVED)
def test_texts_are_read_as_a_plain_numpy_clip_reads_them(folders, name):
    tower = texts.build(NAME, folders[name])
    ids, mask = ids_of(tower)
    tokens, vectors = tiny_clip.read(TENSORS, ids, END)
    found = tower.model({"token_ids": ids, "mask": mask})
    shown = mask == 1
    assert shown.sum(1).tolist()[1] == 2 and shown.sum(1).max() == POSITIONS == tower.max_length
    np.testing.assert_allclose(found["tokens"][shown], tokens[shown], atol=2e-4 * TOLERANCE / 2e-5)
    np.testing.assert_allclose(found["sentence"], unit(vectors), atol=TOLERANCE)
    assert np.abs(unit(vectors)[0] - unit(vectors)[2]).max() > 0.05
    assert tower.model.name == "clip" and tower.width == VECTOR


@pytest.mark.parametrize("name", SAVED)
def test_the_scale_is_the_one_it_learned(folders, name):
    assert clip_towers.scale(PRESET, folders[name]) == pytest.approx(40)


def test_a_file_says_as_much_as_its_folder(folders):
    for name, file in (("openai", "ViT-B-32.pt"), ("open_clip", "open_clip_model.safetensors")):
        path = folders[name] / file
        expected = images.build(NAME, weights=folders[name])(photos())
        np.testing.assert_array_equal(images.build(NAME, weights=path)(photos()), expected)
        for tower in (
            texts.build(NAME, path),
            texts.build(str(path)),
            texts.build(str(path.parent)),
        ):
            ids, mask = ids_of(tower)
            wanted = unit(tiny_clip.read(TENSORS, ids, END)[1])
            found = tower.model({"token_ids": ids, "mask": mask})["sentence"]
            np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert images.weights_digest(NAME, path) == images.weights_digest(NAME, path.parent)
        assert identity(NAME, "pooled", path)["weights"] == digest


def test_the_activation_is_the_one_it_was_trained_with(tmp_path):
    """LAION's were trained with the plain GELU: a difference that no error would ever show."""
    half = {"hidden_act": "gelu"}
    folder = tiny_clip.save_hugging_face(tmp_path / "hf", TENSORS)
    told = json.loads((folder / "config.json").read_text())
    for name in ("vision_config", "text_config"):
        told[name] |= half
    (folder / "config.json").write_text(json.dumps(told))
    other = tiny_clip.save_open_clip(tmp_path / "laion", TENSORS, quick_gelu=False)
    _, expected = tiny_clip.seen(TENSORS, photos(), "gelu")
    apart = np.abs(expected - tiny_clip.seen(TENSORS, photos())[1]).max()
    for place in (folder, other):
        found = images.build(NAME, weights=place)(photos())
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())
        tower = texts.build(NAME, place)
        ids, mask = ids_of(tower)
        wanted = unit(tiny_clip.read(TENSORS, ids, END, "gelu")[1])
        found = tower.model({"token_ids": ids, "mask": mask})["sentence"]
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
    assert apart > 100 * TOLERANCE * np.abs(expected).max()


def test_photos_are_scaled_as_the_folder_says(tmp_path):
    folder = tiny_clip.save_hugging_face(tmp_path, TENSORS)
    scaling = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    mean, deviation = (np.array(values) for values in scaling.values())
    # What numpy's CLIP, which scales by CLIP's own, must be given to see the same.
    scaled = (photos() / 255 - mean) / deviation
    given = 255 * (scaled * tiny_clip.DEVIATION + tiny_clip.MEAN)
    _, expected = tiny_clip.seen(TENSORS, given)
    found = images.build(NAME, weights=folder)(photos())
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())


def test_other_ways_to_keep_a_vocabulary(folders, tmp_path):
    ids, _ = ids_of(texts.build(NAME, folders["hugging_face"]))
    folder = Path(shutil.copytree(folders["hugging_face"], tmp_path / "new"))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    for merges in (tiny_clip.MERGES, [merge.split(" ") for merge in tiny_clip.MERGES]):
        model = {"vocab": tiny_clip.vocabulary(), "merges": merges}
        (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
        np.testing.assert_array_equal(ids_of(texts.build(str(folder)))[0], ids)
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    with pytest.raises(UserError, match=r"tokenizer\.json: contains no byte-pair vocabulary"):
        texts.build(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"no vocabulary found; expected vocab\.json and merges"):
        texts.build(str(folder))
    for content in (b"no gzip", gzip.compress(bytes(1 << 25)), gzip.compress(b"\xff\n\xff")):
        (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"16e6\.txt\.gz: not OpenAI's vocabulary"):
            texts.build(str(folder))
    # A vocabulary that is too large for the network: a GPU would read zeros there.
    pieces = tiny_clip.vocabulary() | {f"more{n}": tiny_clip.VOCABULARY + n for n in range(9)}
    (folder / "vocab.json").write_text(json.dumps(pieces))
    (folder / "merges.txt").write_text("\n".join(tiny_clip.MERGES))
    with pytest.raises(UserError, match="has 531 pieces, but the network has 522"):
        texts.build(str(folder))


def test_an_older_file_of_hugging_faces(folders, tmp_path, monkeypatch):
    """pytorch_model.bin, with ids that merely count, and a configuration that tells half of it
    twice."""
    folder = Path(shutil.copytree(folders["hugging_face"], tmp_path / "old"))
    told = json.loads((folder / "config.json").read_text())
    told["text_config_dict"] = told["text_config"]
    told["text_config"] = {"hidden_size": 9}
    (folder / "config.json").write_text(json.dumps(told))
    counted = {f"{half}_model.embeddings.position_ids": np.arange(9)[None] for half in ("text",)}
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setattr("imagetext.encoders.tensors.read_torch_file", lambda _: TENSORS | counted)
    tower = texts.build(NAME, folder)
    ids, mask = ids_of(tower)
    found = tower.model({"token_ids": ids, "mask": mask})["sentence"]
    np.testing.assert_allclose(found, unit(tiny_clip.read(TENSORS, ids, END)[1]), atol=TOLERANCE)


def test_presets_are_found_by_name(folders, tmp_path, monkeypatch):
    assert images.locate(NAME) is None and registry.TEXT_ENCODERS[NAME].locate() is None
    with pytest.raises(UserError, match="not found, and IMAGETEXT_OFFLINE") as told:
        images.build(NAME)
    assert "a CLIP from Hugging Face or OpenAI" in str(told.value)
    monkeypatch.setenv("IMAGETEXT_WEIGHTS", str(tmp_path))
    for name in ("hugging_face", "keras_hub"):
        shutil.copytree(folders[name], tmp_path / PRESET)
        assert images.locate(NAME) == text_presets.locate(PRESET) == tmp_path / PRESET
        assert images.is_available(NAME)
        for given in (None, tmp_path, tmp_path / PRESET):
            found = images.build(NAME, weights=given)(photos())
            expected = tiny_clip.seen(TENSORS, photos())[1]
            np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())
            assert texts.build(NAME, given).width == VECTOR
        shutil.rmtree(tmp_path / PRESET)


def test_random_weights_only_where_asked_for(folders, tmp_path, monkeypatch):
    one, other = (images.build(NAME, weights="random") for _ in range(2))
    assert np.abs(one(photos()) - other(photos())).max() > 0.01
    with pytest.raises(UserError, match="vocabulary not found"):
        texts.build(NAME, "random")
    cache = tmp_path / "imagetext_cache" / "weights" / PRESET
    shutil.copytree(folders["keras_hub"] / "assets", cache / "assets")
    assert texts.build(NAME, "random").width == VECTOR
    for name in SAVED:
        assert texts.build(str(folders[name]), "random").width == VECTOR
    assert clip_towers.scale(PRESET, "random") == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_saved_tower_opens_with_keras_alone(folders, tmp_path, policy):
    """In a process that has neither this package nor keras-hub."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        sees = images.build(NAME, "grid", folders["openai"])
        reads = texts.build(NAME, folders["openai"])
    finally:
        keras.config.set_dtype_policy(before)
    ids, mask = ids_of(reads)
    inputs = {"token_ids": ids, "mask": mask}
    given = {"seen": sees(photos()), "read": reads.model(inputs)["sentence"]}
    assert {part.dtype.name for part in given.values()} == {"float32"}
    np.savez(tmp_path / "given.npz", photos=photos(), **inputs, **given)
    sees.save(tmp_path / "sees.keras")
    reads.model.save(tmp_path / "reads.keras")
    script = """
import sys, keras, numpy as np
given = np.load("given.npz")
seen = keras.saving.load_model("sees.keras")(given["photos"])
read = keras.saving.load_model("reads.keras")(
    {name: given[name] for name in ("token_ids", "mask")})["sentence"]
np.testing.assert_allclose(seen, given["seen"], atol=1e-4)
np.testing.assert_allclose(read, given["read"], atol=1e-5)
sys.exit(bool({"imagetext", "keras_hub"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]


@pytest.mark.parametrize("name", ["hugging_face", "openai"])
def test_towers_are_tuned_end_to_end_and_drop_nothing(folders, name):
    sees, reads = images.build(NAME, weights=folders[name]), texts.build(NAME, folders[name])
    ids, mask = ids_of(reads)
    with tf.GradientTape() as tape:
        found = sees(photos(), training=True)
        read = reads.model({"token_ids": ids, "mask": mask}, training=True)["sentence"]
        loss = tf.reduce_sum(found @ tf.transpose(read))
    variables = [*sees.trainable_variables, *reads.model.trainable_variables]
    assert len(variables) == 2 * 16 * 2 + 4 + 1 + 1 + 1 + 2 + 1 + 1 + 1
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(gradient is not None for gradient in gradients)
    np.testing.assert_array_equal(found, sees(photos(), training=False))


def spoiled(folder: Path, change) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_tensors_that_lack_are_too_many_or_do_not_fit_are_told(tmp_path):
    block = "vision_model.encoder.layers.1.mlp.fc1"
    for number, (change, told) in enumerate(
        [
            (lambda t: t.pop(f"{block}.bias"), rf"missing {block}\.bias"),
            (lambda t: t.update({"vision_model.x": np.zeros(1)}), r"unexpected vision_model\.x"),
            (
                lambda t: t.update({f"{block}.weight": np.zeros((96, 9))}),
                r"has shape \(96, 9\), which does not fit ",
            ),
            (
                lambda t: t.update({f"{block}.bias": np.zeros(9)}),
                r"has shape \(9,\), which",
            ),
            (
                lambda t: t.update({"vision_model.embeddings.class_embedding": np.zeros(9)}),
                r"class_embedding has shape \(9,\), which",
            ),
        ]
    ):
        folder = tiny_clip.save_hugging_face(tmp_path / str(number), TENSORS)
        spoiled(folder, change)
        with pytest.raises(
            UserError, match=rf"safetensors: not the weights of this CLIP: .*{told}"
        ):
            images.build(NAME, weights=folder)
        texts.build(NAME, folder)  # whose own half is whole
    folder = spoiled(
        tiny_clip.save_hugging_face(tmp_path / "text", TENSORS),
        lambda t: t.pop("text_projection.weight"),
    )
    with pytest.raises(UserError, match=r"this CLIP: missing text_projection\.weight$"):
        texts.build(NAME, folder)
    folder = spoiled(
        tiny_clip.save_hugging_face(tmp_path / "scale", TENSORS), lambda t: t.pop("logit_scale")
    )
    with pytest.raises(UserError, match="missing logit_scale"):
        clip_towers.scale(PRESET, folder)


def test_in_the_original_they_are_told_by_their_own_names(tmp_path):
    for number, (change, told) in enumerate(
        [
            (lambda t: t.pop("visual.ln_post.bias"), r"missing visual\.ln_post\.bias"),
            (lambda t: t.pop("text_projection"), "missing text_projection"),
            (lambda t: t.update({"logit_bias": np.zeros(1)}), "unexpected logit_bias"),
            (
                lambda t: t.update({"visual.layer1.0.conv1.weight": np.zeros(1)}),
                "a ResNet are not",
            ),
            (
                lambda t: t.update({"visual.ln_post.bias": np.zeros(7, np.float32)}),
                r"vision_model\.post_layernorm\.bias has shape \(7,\)",
            ),
        ]
    ):
        folder = tiny_clip.save_open_clip(tmp_path / str(number), TENSORS)
        path = folder / "open_clip_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        with pytest.raises(UserError, match=told) as caught:
            images.build(NAME, weights=folder)
        assert str(path) in str(caught.value)


def set_config(folder: Path, half: str | None = None, **values) -> Path:
    path = folder / "config.json"
    told = json.loads(path.read_text())
    (told[half] if half else told).update(values)
    path.write_text(json.dumps(told))
    return folder


@pytest.mark.parametrize(
    ("half", "values", "told"),
    [
        (
            None,
            {"model_type": "clip_text_model"},
            r"complete CLIP .*, got clip_text_model",
        ),
        (None, {"model_type": "bert"}, "no CLIP found; expected a CLIP from Hugging"),
        (
            "vision_config",
            {"hidden_act": "relu"},
            "activation 'relu': expected 'quick_g",
        ),
        (
            "vision_config",
            {"num_attention_heads": 3},
            r"width \(128\) must be .* heads \(3\)",
        ),
        ("vision_config", {"hidden_size": None}, "not a valid CLIP configuration"),
        ("vision_config", {"num_channels": 4}, "expected num_channels 3, got 4"),
        (
            "vision_config",
            {"patch_size": 0},
            "patch must be from 1 to 12, .* got 0",
        ),
        (
            "vision_config",
            {"num_hidden_layers": 3},
            "not clip_vit_b32: .*; got .* 3 blocks",
        ),
        ("vision_config", {"image_size": 16}, "expected photos of 12 .*; got photos of 16"),
        (None, {"projection_dim": 8}, "got .* vectors of width 8$"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path, half, values, told):
    folder = set_config(tiny_clip.save_hugging_face(tmp_path / "clip", TENSORS), half, **values)
    with pytest.raises(UserError, match=told) as caught:
        images.build(NAME, weights=folder)
    assert str(folder) in str(caught.value)


def test_a_wrong_place_is_told(folders, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such file or folder of weights"):
        images.build(NAME, weights=tmp_path / "nowhere")
    with pytest.raises(UserError, match="no CLIP found; expected a CLIP"):
        images.build(NAME, weights=tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(UserError, match="no weights found; expected a CLIP"):
        images.build(NAME, weights=tmp_path)
    (tmp_path / "config.json").write_text('{"class_name": "ResNetBackbone"}')
    with pytest.raises(UserError, match="no CLIP found"):
        images.build(NAME, weights=tmp_path)
    (tmp_path / "config.json").unlink()
    for name in ("ViT-B-32.pt", "ViT-B-16.pt"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"contains 2 \.pt files; specify which one to read"):
        images.build(NAME, weights=tmp_path)
    with pytest.raises(UserError, match=r"ViT-B-32\.pt: not a complete PyTorch file"):
        images.build(NAME, weights=tmp_path / "ViT-B-32.pt")
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"model\.safetensors: not the weights of a CLIP(?s:.)*SHA"):
        images.build(NAME, weights=tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"the input size of .* is always 12"):
        images.build(f"{NAME}@32", weights=folders["openai"])


def test_weights_that_do_not_say_how_they_were_trained_are_refused(tmp_path):
    folder = tiny_clip.save_open_clip(tmp_path, TENSORS)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(
        UserError,
        match=r"activation .* is unknown; put its open_clip_config\.json nex",
    ):
        images.build(NAME, weights=folder)
    told = {"model_cfg": {"vision_cfg": {"attentional_pool": True}}}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"vision_cfg\.attentional_pool is not supported"):
        images.build(NAME, weights=folder)


def test_heads_that_are_not_64_wide_are_told_by_open_clip(tmp_path):
    """As many as the configuration says: numbers alone do not show it."""
    told = {"vision_cfg": {"head_width": 32}, "text_cfg": {"heads": 4}}
    folder = tiny_clip.save_open_clip(tmp_path, TENSORS, **told)
    shape = clip_files.read(folder).shape
    assert (shape.photos.heads, shape.texts.heads) == (4, 4)
    assert clip_files.read(tiny_clip.save_open_clip(tmp_path, TENSORS)).shape == tiny_clip.SHAPE


def test_the_names_are_those_of_openais_sizes():
    """What `registered` replaced is left alone for the others; widths as their authors tell."""
    shape, large = SHAPES["clip_vit_b16"], SHAPES["clip_vit_l14"]
    assert (shape.cells, shape.vector, shape.photos.width, shape.texts.heads) == (14, 512, 768, 8)
    assert (large.cells, large.vector, large.photos.depth, large.photos.heads) == (16, 768, 24, 16)
    for name, shape in SHAPES.items():
        encoder, reader = registry.IMAGE_ENCODERS[name], registry.TEXT_ENCODERS[name]
        assert encoder.shape("pooled") == [shape.vector] == [reader.width]
        assert encoder.shape("grid") == [shape.cells, shape.cells, shape.photos.width]
        assert encoder.shape("flat") == [math.prod(encoder.shape("grid"))]
        assert encoder.size == shape.size and reader.tokens == shape.positions
        assert encoder.weights == reader.weights and encoder.is_clip and reader.is_clip
        assert encoder.licence == "MIT" and PHOTOS.width > TEXTS.width
    assert not registry.image_encoder("vit_b16").is_clip
