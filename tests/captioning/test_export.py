"""The captioning SavedModel answers as the run does, in a process that knows nothing of it."""

import json

import keras
import numpy as np
import pytest

from imagetext.captioning.export import export
from imagetext.captioning.predict import CaptioningModel
from imagetext.errors import UserError
from tests.captioning.tiny_runs import untrained
from tests.fresh import run_fresh
from tests.itm.tiny_encoders import tiny_encoders  # noqa: F401
from tests.scenes import write_old_export, write_scenes

FRESH = """
import json, sys
import tensorflow as tf, tensorflow_text
folder, asked = sys.argv[1], json.loads(sys.argv[2])
module = tf.saved_model.load(folder)
photos = tf.constant([open(path, "rb").read() for path in asked["photos"]])
second = asked["second"]
given = {second: tf.constant(asked["given"], asked["dtype"])}
answers = [module.signatures["photo"](photo=photos), module.signatures[second](**given)]
ours = [name for name in sys.modules if name.split(".")[0] == "imagetext"]
print(json.dumps({"ours": ours, "names": sorted(module.signatures), "answers": [
    [[[text.decode() for text in row] for row in answer["captions"].numpy()],
     answer["log_probabilities"].numpy().tolist()] for answer in answers]}))
"""


def asked_in_a_fresh_process(folder, photos, second, given) -> dict:
    asked = {
        "photos": [str(photo) for photo in photos],
        "second": second,
        "given": given.tolist(),
        "dtype": given.dtype.name,
    }
    ran = run_fresh(FRESH, [str(folder), json.dumps(asked)], cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.usefixtures("tiny_encoders")
def test_a_fresh_process_gets_the_same_captions_with_their_search_in_the_graph(tmp_path):
    folder = write_scenes(tmp_path / "data")
    keys = {"data__image_encoders": ["tiny_a"], "data__image_weights": "random"}
    run = untrained(folder, tmp_path / "runs", **keys, model__score="bahdanau")
    exported = export(run)
    assert exported == run.folder / "export" / "saved_model"
    captioner = CaptioningModel.load(run)
    photos = [folder / "images" / f"test_{number}.png" for number in range(3)]
    expected = captioner.predict(photos)
    assert len({captions[0].text for captions in expected}) > 1  # the photos matter
    given = np.stack([captioner.read(photo) for photo in photos])
    answer = asked_in_a_fresh_process(exported, photos, "features", given)
    assert answer["ours"] == [] and answer["names"] == ["features", "photo"]
    for texts, log_probabilities in answer["answers"]:
        assert texts == [[caption.text for caption in each] for each in expected]
        told = [[caption.log_probability for caption in each] for each in expected]
        np.testing.assert_allclose(log_probabilities, told, rtol=1e-4)
    told = (run.export_folder / "README.txt").read_text()
    assert "features: float32 [n, 2, 2, 5]" in told and "float32 [n, 3]" in told
    assert "beam of 3" in told
    network = keras.saving.load_model(run.export_folder / "model.keras")
    assert network.name == captioner.model.name


def test_own_blocks_take_pixels_and_other_folders_are_never_replaced(tmp_path):
    folder = write_scenes(tmp_path / "data", {"train": 4, "dev": 2})
    run = untrained(folder, tmp_path / "runs", decoding__beams=1)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not an export"):
        export(run, precious)
    write_old_export(tmp_path / "there")
    export(run, tmp_path / "there")  # an earlier export is
    assert "pixels: uint8 [n, 24, 24, 3]" in (tmp_path / "there" / "README.txt").read_text()
    assert keras.saving.load_model(tmp_path / "there" / "model.keras")
