"""Export a run as a SavedModel that takes photo bytes and raw sentences.

folder = export("runs/itm-cnn-1")            # -> runs/itm-cnn-1/export/saved_model

import tensorflow as tf, tensorflow_text     # tensorflow_text brings the tokenizer's operations
module = tf.saved_model.load(folder)         # keep this reference for as long as you call it
module.signatures["photo_and_caption"](photo=tf.constant([jpeg]), caption=tf.constant(["A dog"]))
"""

import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from encoders.minilm import SentenceEncoder
from itm.predict import Matcher
from pipelines.embeddings import MINILM
from pipelines.errors import UserError
from pipelines.files import cannot_write
from pipelines.pixels import decode
from training.run import Run, open_run

#: What lies in an export's folder, by which an earlier one is known and replaced.
OURS = {"saved_model", "model.keras", "README.txt"}
README = """\
saved_model/   a TensorFlow SavedModel with two signatures:
               photo_and_caption     photo: string [n] (the bytes of JPEG or PNG files),
                                     caption: string [n]
               pixels_and_embedding  pixels: uint8 [n, {side}, {side}, 3] (RGB),
                                     embedding: float32 [n, {width}] (all-MiniLM-L6-v2)
               n is at least 1; both give probabilities: float32 [n, 2] in the order match, no-match
model.keras    the network alone, for keras.saving.load_model

    import tensorflow as tf
    import tensorflow_text  # noqa: F401, the tokenizer's operations

    module = tf.saved_model.load("saved_model")  # keep this reference while you use its functions
    answer = module.signatures["photo_and_caption"](
        photo=tf.constant([open("photo.jpg", "rb").read()]),
        caption=tf.constant(["A dog runs through snow"]),
    )
    print(answer["probabilities"].numpy())
"""


class MatchingModule(tf.Module):
    """What is exported: the network, the sentence encoder, and decoding, in one graph.

    module = MatchingModule(model, encoder, image_size=112)
    """

    def __init__(self, model: keras.Model, encoder: SentenceEncoder, image_size: int):
        super().__init__(name="itm")
        # Attributes of the module, so that the SavedModel keeps their weights and tables.
        self.model, self.encoder, self.image_size = model, encoder, image_size
        strings = tf.TensorSpec([None], tf.string)
        pixels = tf.TensorSpec([None, image_size, image_size, 3], tf.uint8)
        embedding = tf.TensorSpec([None, encoder.width], tf.float32)
        self.photo_and_caption = tf.function(self._photo_and_caption, [strings, strings])
        self.pixels_and_embedding = tf.function(self._pixels_and_embedding, [pixels, embedding])

    def _photo_and_caption(self, photo, caption):
        """Bytes [n] and sentences [n] -> probabilities [n, 2]."""
        size = (self.image_size, self.image_size)
        pixels = tf.map_fn(lambda data: decode(data, size), photo, fn_output_signature=tf.uint8)
        pixels = tf.ensure_shape(pixels, [None, *size, 3])
        return self._pixels_and_embedding(pixels, self.encoder.embed_in_graph(caption))

    def _pixels_and_embedding(self, pixels, embedding):
        """Pixels [n, h, w, 3] and embeddings [n, d] -> probabilities [n, 2]."""
        inputs = {"image": pixels, "texts": embedding[:, tf.newaxis]}
        return {"probabilities": self.model(inputs, training=False)[:, 0]}

    @property
    def signatures(self) -> dict:
        return {
            "photo_and_caption": self.photo_and_caption.get_concrete_function(),
            "pixels_and_embedding": self.pixels_and_embedding.get_concrete_function(),
        }


def export(run: Run | str | Path, folder: str | Path | None = None) -> Path:
    """Write `export/` into the run (or `folder`) and return the SavedModel's folder.

    An earlier export is replaced once the new one is complete; any other folder is refused.
    """
    run = open_run(run.folder if isinstance(run, Run) else run)
    target = Path(folder) if folder else run.export_folder
    there = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if target.is_file() or (there and not there >= OURS):
        raise UserError(f"{target}: exists and is no earlier export -- name a new or empty folder")
    matcher = Matcher.load(run)
    if matcher.config.data.encoder != MINILM:
        raise UserError(
            f"{run.folder}: {matcher.config.data.encoder} cannot be put into a SavedModel"
            f" -- train with embeddings by {MINILM}"
        )
    side = matcher.config.data.image_size
    module = MatchingModule(matcher.model, matcher.encoder, side)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as temporary:
            built = Path(temporary) / "new"
            tf.saved_model.save(module, str(built / "saved_model"), module.signatures)
            shutil.copyfile(run.model_file, built / "model.keras")
            (built / "README.txt").write_text(README.format(side=side, width=module.encoder.width))
            if target.exists():
                target.rename(Path(temporary) / "old")
            built.rename(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target / "saved_model"
