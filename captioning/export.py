"""Export a captioning run as a SavedModel: photo bytes in, captions out, decoding in the graph.

folder = export("runs/gru_attention-1")      # -> runs/gru_attention-1/export/saved_model

import tensorflow as tf
module = tf.saved_model.load(folder)         # keep this reference while you use its functions
module.signatures["photo"](photo=tf.constant([jpeg]))["captions"]
"""

from pathlib import Path

import tensorflow as tf

from imagetext.captioning.describe import describe_decoding
from imagetext.captioning.predict import CaptioningModel
from imagetext.training.export_folder import describe_shape, export_target, write_export
from imagetext.training.run import Run, open_run

README = """\
saved_model/   a TensorFlow SavedModel with two signatures:
               photo     photo: string [n] (the bytes of JPEG or PNG files)
               {second}
               n is at least 1; both return, best first ({how}),
               captions: string [n, {beams}],
               log_probabilities: float32 [n, {beams}] (of the whole caption; -inf and an empty
               caption if fewer were found)
model.keras    the network alone, for keras.saving.load_model

    import tensorflow as tf
    import tensorflow_text  # noqa: F401, registers operations that some models contain

    module = tf.saved_model.load("saved_model")  # keep this reference while you use its functions
    outputs = module.signatures["photo"](photo=tf.constant([open("photo.jpg", "rb").read()]))
    print(outputs["captions"].numpy()[0, 0].decode())
"""


class CaptioningModule(tf.Module):
    """The exported module: reading photos, encoder, network, search and vocabulary in one graph.

    module = CaptioningModule(CaptioningModel.load("runs/gru_attention-1"))
    """

    def __init__(self, captioner: CaptioningModel):
        super().__init__(name="captioning")
        # Attributes of the module, so that the SavedModel contains their weights.
        self.model, self.photo_tower = captioner.model, captioner.photo_tower
        self.captioner = captioner
        image = self.model.input["image"]
        self.input_name = "pixels" if image.dtype == "uint8" else "features"
        self.image_spec = tf.TensorSpec(image.shape, image.dtype, self.input_name)
        strings = tf.TensorSpec([None], tf.string, "photo")
        self.photo = tf.function(
            lambda photo: self._caption(self.photo_tower.encode_in_graph(photo)), [strings]
        )
        self.inputs = tf.function(self._caption, [self.image_spec])

    def _caption(self, image):
        """Model inputs [n, ...] -> captions and log probabilities [n, beams]."""
        captioner = self.captioner
        decoded = captioner.decode(image, captioner.config.decoding)
        is_found = decoded.length > 0
        captions = tf.where(is_found, captioner.vocabulary.decode(decoded.tokens), "")
        log_probability = tf.where(is_found, decoded.log_probability, -float("inf"))
        return {"captions": captions, "log_probabilities": log_probability}

    @property
    def signatures(self) -> dict:
        return {
            "photo": self.photo.get_concrete_function(),
            self.input_name: self.inputs.get_concrete_function(),
        }

    def readme(self) -> str:
        spec, decoding = self.image_spec, self.captioner.config.decoding
        second = f"{self.input_name:9} {self.input_name}: {spec.dtype.name} {describe_shape(spec)}"
        return README.format(second=second, how=describe_decoding(decoding), beams=decoding.beams)


def export(run: Run | str | Path, folder: str | Path | None = None) -> Path:
    """Export a run.

    Args:
        run: The run or its folder.
        folder: Where to write; `export/` in the run by default.

    Returns:
        The folder of the SavedModel.
    """
    run = open_run(run.folder if isinstance(run, Run) else run)
    target = export_target(run, folder)
    module = CaptioningModule(CaptioningModel.load(run))
    return write_export(target, module, module.signatures, run.model_file, module.readme())
