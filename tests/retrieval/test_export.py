"""The retrieval SavedModel returns the run's vectors, in a process without this package."""

import json

import numpy as np
import pytest
import tensorflow as tf

from imagetext.retrieval.export import export
from imagetext.retrieval.predict import RetrievalModel
from tests.fresh import run_fresh
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.retrieval.tiny_runs import untrained
from tests.scenes import write_scenes

FRESH = """
import json, sys
import tensorflow as tf, tensorflow_text
folder, asked = sys.argv[1], json.loads(sys.argv[2])
module = tf.saved_model.load(folder)
photos = tf.constant([open(path, "rb").read() for path in asked["photos"]])
given = tf.constant(asked["given"], asked["dtype"])
answers = [module.signatures["photo"](photo=photos),
           module.signatures[asked["third"]](**{asked["third"]: given}),
           module.signatures["text"](text=tf.constant(asked["texts"]))]
ours = [name for name in sys.modules if name.split(".")[0] == "imagetext"]
print(json.dumps({"ours": ours, "names": sorted(module.signatures),
                  "answers": [answer["vectors"].numpy().tolist() for answer in answers]}))
"""
TEXTS = ["a dog runs", "A large red STAR, left of a blue circle!"]


def given_to(encoder, photos) -> np.ndarray:
    return np.stack([encoder.photo_tower.encode_file(photo) for photo in photos])


@pytest.mark.usefixtures("tiny_encoders")
def test_a_fresh_process_gets_the_same_vectors(tmp_path):
    folder = write_scenes(tmp_path / "data", {"train": 4, "dev": 2, "test": 3})
    run = untrained(
        folder,
        tmp_path / "runs",
        data__image_encoders=["tiny_a", "tiny_b"],
        data__image_weights="random",
        data__image_output="grid",
        text__encoder="all-MiniLM-L6-v2",
    )
    exported = export(run)
    assert exported == run.folder / "export" / "saved_model"
    encoder = RetrievalModel.load(run)
    photos = [folder / "images" / f"test_{number}.png" for number in range(3)]
    given = given_to(encoder, photos)
    asked = {
        "photos": list(map(str, photos)),
        "third": "features",
        "given": given.tolist(),
        "dtype": given.dtype.name,
        "texts": TEXTS,
    }
    ran = run_fresh(FRESH, [str(exported), json.dumps(asked)], cwd=folder)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout.splitlines()[-1])
    assert answer["ours"] == [] and answer["names"] == ["features", "photo", "text"]
    of_photos, of_features, of_texts = answer["answers"]
    np.testing.assert_allclose(of_photos, encoder.encode_photos(photos), atol=1e-4)
    np.testing.assert_allclose(of_features, encoder.encode_photos(photos), atol=1e-4)
    np.testing.assert_allclose(of_texts, encoder.encode_texts(TEXTS), atol=1e-4)
    readme = (run.export_folder / "README.txt").read_text()
    assert (
        encoder.digest in readme
        and "float32 [n, 16]" in readme
        and "float32 [n, 2, 2, 8]" in readme
    )


def test_pixels_and_the_word_tokenizer_are_exported(tmp_path):
    folder = write_scenes(tmp_path / "data", {"train": 4, "dev": 2})
    run = untrained(folder, tmp_path / "runs", model__late=0.3)
    module, encoder = tf.saved_model.load(export(run)), RetrievalModel.load(run)
    photos = [folder / "images" / f"dev_{number}.png" for number in range(2)]
    expected = encoder.encode_photos(photos)
    actual = module.signatures["pixels"](pixels=tf.constant(given_to(encoder, photos)))
    np.testing.assert_allclose(actual["vectors"], expected, atol=1e-4)
    actual = module.signatures["text"](text=tf.constant(TEXTS))
    np.testing.assert_allclose(actual["vectors"], encoder.encode_texts(TEXTS), atol=1e-4)
