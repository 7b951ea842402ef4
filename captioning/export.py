"""Export a captioning run as a SavedModel: photo bytes in, captions out, the search in its graph.

folder = export("runs/gru_attention-1")      # -> runs/gru_attention-1/export/saved_model

import tensorflow as tf
module = tf.saved_model.load(folder)         # keep this reference for as long as you call it
module.signatures["photo"](photo=tf.constant([jpeg]))["captions"]
"""

from pathlib import Path

import tensorflow as tf

from imagetext.captioning.describe import in_words
from imagetext.captioning.predict import CaptioningModel
from imagetext.training.export_folder import describe_shape, export_target, write_export
from imagetext.training.run import Run, open_run

README = """\
saved_model/   a TensorFlow SavedModel with two signatures:
               photo     photo: string [n] (the bytes of JPEG or PNG files)
               {second}
               n is at least 1; both give, best first ({how}),
               captions: string [n, {beams}],
               log_probabilities: float32 [n, {beams}] (of all words together; -inf and an empty
               caption where fewer were found)
model.keras    the network alone, for keras.saving.load_model

    import tensorflow as tf
    import tensorflow_text  # noqa: F401, for models with operations of its own

    module = tf.saved_model.load("saved_model")  # keep this reference while you use its functions
    answer = module.signatures["photo"](photo=tf.constant([open("photo.jpg", "rb").read()]))
    print(answer["captions"].numpy()[0, 0].decode())
"""


class CaptioningModule(tf.Module):
    """What is exported: decoding of photos, encoder, network, search and words, in one graph.

    module = CaptioningModule(CaptioningModel.load("runs/gru_attention-1"))
    """

    def __init__(self, captioner: CaptioningModel):
        super().__init__(name="captioning")
        # Attributes of the module, so that the SavedModel keeps their weights.
        self.model, self.photo_tower = captioner.model, captioner.photo_tower
        self.captioner = captioner
        image = self.model.input["image"]
        self.second = "pixels" if image.dtype == "uint8" else "features"
        self.image_spec = tf.TensorSpec(image.shape, image.dtype, self.second)
        strings = tf.TensorSpec([None], tf.string, "photo")
        self.photo = tf.function(
            lambda photo: self._of(self.photo_tower.encode_in_graph(photo)), [strings]
        )
        self.inputs = tf.function(self._of, [self.image_spec])

    def _of(self, image):
        """What the network takes [n, ...] -> captions and log probabilities [n, beams]."""
        captioner = self.captioner
        decoded = captioner.decode(image, captioner.config.decoding)
        there = decoded.length > 0
        captions = tf.where(there, captioner.vocabulary.texts(decoded.tokens), "")
        log_probability = tf.where(there, decoded.log_probability, -float("inf"))
        return {"captions": captions, "log_probabilities": log_probability}

    @property
    def signatures(self) -> dict:
        return {
            "photo": self.photo.get_concrete_function(),
            self.second: self.inputs.get_concrete_function(),
        }

    def readme(self) -> str:
        spec, decoding = self.image_spec, self.captioner.config.decoding
        second = f"{self.second:9} {self.second}: {spec.dtype.name} {describe_shape(spec)}"
        return README.format(second=second, how=in_words(decoding), beams=decoding.beams)


def export(run: Run | str | Path, folder: str | Path | None = None) -> Path:
    """Write `export/` into the run (or `folder`) and return the SavedModel's folder."""
    run = open_run(run.folder if isinstance(run, Run) else run)
    target = export_target(run, folder)
    module = CaptioningModule(CaptioningModel.load(run))
    return write_export(target, module, module.signatures, run.model_file, module.readme())
