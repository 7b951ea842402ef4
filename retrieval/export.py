"""Export a retrieval run as a SavedModel: photo bytes or sentences in, comparable vectors out.

folder = export("runs/best-1")               # -> runs/best-1/export/saved_model

import tensorflow as tf, tensorflow_text     # tensorflow_text brings the tokenizer's operations
module = tf.saved_model.load(folder)         # keep this reference as long as you use its functions
module.signatures["text"](text=tf.constant(["a dog in snow"]))["vectors"]
"""

from pathlib import Path

import tensorflow as tf

from imagetext.retrieval.predict import RetrievalModel
from imagetext.training.export_folder import describe_shape, export_target, write_export
from imagetext.training.run import Run, open_run

README = """\
saved_model/   a TensorFlow SavedModel with three signatures:
               photo     photo: string [n] (the bytes of JPEG or PNG files)
               text      text: string [n]
               {third}
               n is at least 1; all return vectors: float32 [n, {width}] of length 1
model.keras    the network alone, for keras.saving.load_model

The dot product of two vectors is the similarity of photo and text. Only vectors of the same model
can be compared; the digest of this one is {digest}.

    import tensorflow as tf
    import tensorflow_text  # noqa: F401, the tokenizer's operations

    module = tf.saved_model.load("saved_model")  # keep this reference while you use its functions
    photo = tf.constant([open("photo.jpg", "rb").read()])
    photos = module.signatures["photo"](photo=photo)["vectors"]
    texts = module.signatures["text"](text=tf.constant(["a dog in snow", "a cat"]))["vectors"]
    print((photos @ tf.transpose(texts)).numpy())
"""


class RetrievalModule(tf.Module):
    """What is exported: photo decoding, image encoders, both towers and the tokenizer.

    Examples:
        >>> module = RetrievalModule(RetrievalModel.load("runs/best-1"))
        >>> module.signatures["text"](text=tf.constant(["a dog"]))["vectors"]
    """

    def __init__(self, model: RetrievalModel):
        super().__init__(name="retrieval")
        # Attributes of the module, so that the SavedModel keeps their weights and tables.
        self.towers, self.photo_tower = model.towers, model.photo_tower
        self.tokenizer, self.model = model.tokenizer, model
        spec = model.towers.image_spec
        self.input_name = "pixels" if spec.dtype == tf.uint8 else "features"
        self.image_spec = tf.TensorSpec(spec.shape, spec.dtype, self.input_name)
        self.photo = tf.function(self._photo, [tf.TensorSpec([None], tf.string, "photo")])
        self.text = tf.function(self._text, [tf.TensorSpec([None], tf.string, "text")])
        self.inputs = tf.function(self._image, [self.image_spec])

    def _photo(self, photo):
        """Bytes [n] -> vectors [n, d]."""
        return self._image(self.photo_tower.encode_in_graph(photo))

    def _image(self, image):
        """Model inputs [n, ...] -> vectors [n, d]."""
        return {"vectors": self.towers.photo(image, training=False)["photo"]}

    def _text(self, text):
        """Sentences [n] -> vectors [n, d]."""
        ids, _ = self.tokenizer.tokenize(text)
        return {"vectors": self.towers.text(ids, training=False)["text"]}

    @property
    def signatures(self) -> dict:
        return {
            "photo": self.photo.get_concrete_function(),
            "text": self.text.get_concrete_function(),
            self.input_name: self.inputs.get_concrete_function(),
        }

    def readme(self) -> str:
        spec, name = self.image_spec, self.input_name
        third = f"{name:9} {name}: {spec.dtype.name} {describe_shape(spec)}"
        return README.format(third=third, width=self.model.width, digest=self.model.digest)


def export(run: Run | str | Path, folder: str | Path | None = None) -> Path:
    """Export a run as a SavedModel.

    Args:
        run: The folder of a trained run.
        folder: Folder to write; the run's own `export/` by default.

    Returns:
        The folder of the SavedModel.
    """
    run = open_run(run.folder if isinstance(run, Run) else run)
    target = export_target(run, folder)
    module = RetrievalModule(RetrievalModel.load(run))
    return write_export(target, module, module.signatures, run.model_file, module.readme())
