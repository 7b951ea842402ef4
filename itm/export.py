"""Export a run as a SavedModel that takes photo bytes and raw sentences.

folder = export("runs/itm-cnn-1")            # -> runs/itm-cnn-1/export/saved_model

import tensorflow as tf, tensorflow_text     # tensorflow_text brings the tokenizer's operations
module = tf.saved_model.load(folder)         # keep this reference as long as you use its functions
module.signatures["photo_and_caption"](photo=tf.constant([jpeg]), caption=tf.constant(["A dog"]))
"""

from pathlib import Path

import tensorflow as tf

from imagetext.errors import UserError
from imagetext.itm.predict import MatchingModel
from imagetext.pipelines.embeddings import MINILM
from imagetext.training.export_folder import describe_shape, export_target, write_export
from imagetext.training.run import Run, open_run

README = """\
saved_model/   a TensorFlow SavedModel with two signatures:
               photo_and_caption         photo: string [n] (the bytes of JPEG or PNG files),
                                         caption: string [n]
               {second}
               n is at least 1; both return probabilities: float32 [n, 2], of match and no-match
model.keras    the network alone, for keras.saving.load_model

    import tensorflow as tf
    import tensorflow_text  # noqa: F401, the tokenizer's operations

    module = tf.saved_model.load("saved_model")  # keep this reference while you use its functions
    outputs = module.signatures["photo_and_caption"](
        photo=tf.constant([open("photo.jpg", "rb").read()]),
        caption=tf.constant(["A dog runs through snow"]),
    )
    print(outputs["probabilities"].numpy())
"""


class MatchingModule(tf.Module):
    """What is exported: photo decoding, image encoders, the text encoder or tokenizer, the network.

    Examples:
        >>> module = MatchingModule(MatchingModel.load("runs/itm-cnn-1"))
        >>> module.signatures["photo_and_caption"](photo=photos, caption=captions)["probabilities"]
    """

    def __init__(self, matching: MatchingModel):
        super().__init__(name="itm")
        # Attributes of the module, so that the SavedModel keeps their weights and tables.
        self.model, self.photo_tower = matching.model, matching.photo_tower
        self.reads_tokens = matching.config.text.input == "tokens"
        self.text_tower = matching.tokenizer if self.reads_tokens else matching.encoder
        image, texts = self.model.input["image"], self.model.input["texts"]
        strings = tf.TensorSpec([None], tf.string)
        self.image_spec = tf.TensorSpec(image.shape, image.dtype)
        self.text_spec = tf.TensorSpec([None, texts.shape[-1]], texts.dtype)
        self.photo_and_caption = tf.function(self._photo_and_caption, [strings, strings])
        self.inputs = tf.function(self._inputs, list(self._specs.values()))

    @property
    def input_name(self) -> str:
        """The name of the second signature, which takes the inputs of the network."""
        photo = "pixels" if self.image_spec.dtype == tf.uint8 else "features"
        return f"{photo}_and_{'word_pieces' if self.reads_tokens else 'embedding'}"

    @property
    def _specs(self) -> dict[str, tf.TensorSpec]:
        photo, text = self.input_name.split("_and_")
        specs = {photo: self.image_spec, text: self.text_spec}
        return {name: tf.TensorSpec(s.shape, s.dtype, name) for name, s in specs.items()}

    def _photo_and_caption(self, photo, caption):
        """Bytes [n] and sentences [n] -> probabilities [n, 2]."""
        if self.reads_tokens:
            texts, _ = self.text_tower.tokenize(caption)
        else:
            texts = self.text_tower.embed_in_graph(caption)
        return self._inputs(self.photo_tower.encode_in_graph(photo), texts)

    def _inputs(self, photo, text):
        """Inputs of the network [n, ...] -> probabilities [n, 2]."""
        message = "expected as many captions as photos"
        check = tf.debugging.assert_equal(tf.shape(photo)[0], tf.shape(text)[0], message)
        with tf.control_dependencies([check]):  # fails before a layer does, with a clear message
            inputs = {"image": tf.identity(photo), "texts": tf.identity(text)[:, tf.newaxis]}
        return {"probabilities": self.model(inputs, training=False)[:, 0]}

    @property
    def signatures(self) -> dict:
        return {
            "photo_and_caption": self.photo_and_caption.get_concrete_function(),
            self.input_name: self.inputs.get_concrete_function(),
        }

    def readme(self) -> str:
        inputs = [f"{name}: {s.dtype.name} {describe_shape(s)}" for name, s in self._specs.items()]
        return README.format(second=f"{self.input_name:25} " + f",\n{'':41}".join(inputs))


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
    model = MatchingModel.load(run)
    text = model.config.text
    if text.input == "embeddings" and text.encoder != MINILM:
        raise UserError(
            f"{run.folder}: {text.encoder} cannot be exported to a SavedModel; train with"
            f" text.encoder {MINILM}"
        )
    module = MatchingModule(model)
    return write_export(target, module, module.signatures, run.model_file, module.readme())
