"""Make the runs, index and exports of tests/before_the_move. Run it in a checkout of 300d83e:

    python make.py FOLDER
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["IMAGETEXT_OFFLINE"] = "1"
os.environ["IMAGETEXT_CACHE"] = "/opt/fixture_cache"
sys.path.insert(0, os.getcwd())

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import imagetext  # noqa: E402
from captioning.evaluate import evaluate as evaluate_captioning  # noqa: E402
from captioning.predict import Captioner  # noqa: E402
from captioning.train import train as train_captioning  # noqa: E402
from itm.evaluate import evaluate as evaluate_matching  # noqa: E402
from itm.predict import predict  # noqa: E402
from itm.train import train as train_matching  # noqa: E402
from retrieval.evaluate import evaluate as evaluate_retrieval  # noqa: E402
from retrieval.index.runs import build_index, open_searcher  # noqa: E402
from retrieval.predict import DualEncoder  # noqa: E402
from retrieval.train import train as train_retrieval  # noqa: E402
from serving.captioning_saved_model import export as export_captioning  # noqa: E402
from serving.retrieval_saved_model import export as export_retrieval  # noqa: E402
from tests.captioning.tiny_runs import tiny as tiny_captioning  # noqa: E402
from tests.conftest import write_course  # noqa: E402
from tests.itm.test_train import tiny as tiny_matching  # noqa: E402
from tests.retrieval.tiny_runs import tiny as tiny_retrieval  # noqa: E402
from tests.scenes import write_scenes  # noqa: E402
from training import checkpoint, fit  # noqa: E402

target = Path(sys.argv[1])
course, scenes = write_course(target / "course"), write_scenes(target / "scenes")
runs = target / "runs"
photo = str(course / "flickr8k-resised" / "test_0.jpg")
scene = str(scenes / "images" / "test_0.png")
captions = ["caption 0 of Test photo 0 .", "caption 1 of Test photo 1 ."]

matching = train_matching(
    tiny_matching(course, runs, run__name="matching", report__controls=False, train__epochs=1)
)
evaluate_matching(matching)
evaluate_matching(matching, "dev")
captioning = train_captioning(tiny_captioning(scenes, runs, run__name="captioning"))
evaluate_captioning(captioning, "test")
retrieval = train_retrieval(tiny_retrieval(scenes, runs, run__name="retrieval"))
evaluate_retrieval(retrieval, "test")
index = target / "photos.index"
build_index(str(retrieval.folder), str(scenes / "images"), str(index))
export_captioning(captioning, target / "exports" / "captioning")
export_retrieval(retrieval, target / "exports" / "retrieval")

# A training that is killed in its second epoch.
saves, save = [], checkpoint.save


def save_and_stop(*arguments):
    save(*arguments)
    saves.append(1)
    if len(saves) == 5:
        raise KeyboardInterrupt


fit.checkpoint.save = save_and_stop
settings = {"run__name": "interrupted", "train__epochs": 3, "train__checkpoint_seconds": 0}
try:
    train_captioning(tiny_captioning(scenes, runs, **settings))
except KeyboardInterrupt:
    pass
fit.checkpoint.save = save
settings["run__name"] = "uninterrupted"
whole = train_captioning(tiny_captioning(scenes, runs, **settings))
import keras  # noqa: E402

digest = [float(np.abs(w).sum()) for w in keras.saving.load_model(whole.model_file).get_weights()]
shutil.rmtree(whole.folder)

searcher = open_searcher(index)
bytes_of_scene = tf.constant([Path(scene).read_bytes()])
exported = tf.saved_model.load(str(target / "exports" / "captioning" / "saved_model"))
found = exported.signatures["photo"](photo=bytes_of_scene)
expected = {
    "matching": [float(p) for p in predict(matching, photo, captions)],
    "captions": captions,
    "captioning": [
        {"text": c.text, "log_probability": c.log_probability}
        for c in Captioner.load(captioning).of_photos([scene])[0]
    ],
    "text_vector": DualEncoder.load(retrieval).of_texts(["a red star"])[0].tolist(),
    "search": [
        {"name": Path(hit.path).name, "score": float(hit.score)}
        for hit in searcher.search("a red star", None, None, 3)
    ],
    "exported_captions": [t.decode() for t in found["captions"].numpy()[0]],
    "exported_log_probabilities": found["log_probabilities"].numpy()[0].tolist(),
    "weights_after_resume": digest,
}
(target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
