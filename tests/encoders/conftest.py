"""Fixtures that several test files of the encoders share."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imagetext.encoders import weights


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """Empty caches, and no network."""
    for name in ("IMAGETEXT_CACHE", "KERAS_HOME", "KAGGLEHUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("IMAGETEXT_WEIGHTS", raising=False)
    monkeypatch.setenv("IMAGETEXT_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(weights, "_in_installed_package", lambda _: [])


@pytest.fixture
def no_kaggle(tmp_path, monkeypatch):
    """Empty caches, and a test fails if it downloads anything from Kaggle."""
    for name in ("IMAGETEXT_CACHE", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("IMAGETEXT_WEIGHTS", "IMAGETEXT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(weights, "require_answer", lambda _: None)
    monkeypatch.setattr("kagglehub.model_download", lambda *_: pytest.fail("asked Kaggle"))


@pytest.fixture(scope="module")
def narrow_vit():
    """A ViT of one narrow layer: as many patches, a hundredth of the work."""
    from imagetext.encoders import keras_hub_images

    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras_hub_images, "VIT_B16", keras_hub_images.VIT_B16 | small)
        yield


@pytest.fixture(scope="session")
def text_folders(tmp_path_factory) -> dict[str, Path]:
    """Tiny networks: a BERT saved by Hugging Face, and a BERT and a CLIP saved by keras-hub.

    Tests leave these folders as they are.
    """
    from tests.encoders import tiny_texts

    folders = {name: tmp_path_factory.mktemp(name) for name in tiny_texts.FOLDERS}
    tiny_texts.save_hugging_face_bert(folders["hugging_face"])
    with_pooler = tmp_path_factory.mktemp("with_pooler")
    tiny_texts.save_keras_hub_bert(folders["hugging_face"], folders["bert"], with_pooler)
    tiny_texts.save_keras_hub_clip(folders["clip"])
    return folders


@pytest.fixture
def hugging_face(text_folders, tmp_path) -> Path:
    """A copy of the BERT saved by Hugging Face, which tests may change."""
    return Path(shutil.copytree(text_folders["hugging_face"], tmp_path / "hugging_face"))


@pytest.fixture(scope="module")
def small_clip():
    """Let clip_vit_b32 be the tiny CLIP of `tests.tiny_clip`."""
    from tests import tiny_clip

    with pytest.MonkeyPatch.context() as patch:
        tiny_clip.registered(patch)
        yield


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Callable[[str], Path]:
    """A function of the name of a format: the folder of the tiny CLIP, saved once in each format.

    Tests leave these folders as they are.
    """
    from tests.encoders.clip_cases import FORMATS, TENSORS

    root = tmp_path_factory.mktemp("clips")
    return functools.cache(lambda name: FORMATS[name](root / name, TENSORS))
