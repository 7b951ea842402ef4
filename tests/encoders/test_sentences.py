"""Sentence encoders of the optional package sentence-transformers."""

import sys
import types

import numpy as np
import pytest

from imagetext.encoders.sentences import sentence_encoder
from imagetext.errors import UserError


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install 'imagetext\[sentence-transformers\]'"):
        sentence_encoder("some/model")


def test_with_the_package_vectors_are_normalized_float32(monkeypatch):
    class SentenceTransformer:
        def __init__(self, name, local_files_only):
            assert local_files_only  # the tests are offline
            if name != "some/model":
                raise OSError(f"{name} is not a model")

        def encode(self, texts, normalize_embeddings, show_progress_bar):
            vectors = np.array([[len(text), 1.0] for text in texts])
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            return vectors / lengths if normalize_embeddings else vectors

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    vectors = sentence_encoder("some/model")(["a", "abc"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    with pytest.raises(UserError, match=r"no such .* model here, and IMAGETEXT_OFFLINE forbids"):
        sentence_encoder("other/model")
    with pytest.raises(UserError, match=r"some/model: does not take weights \(a\)"):
        sentence_encoder("some/model", "a")
