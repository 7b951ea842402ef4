"""A matching run as the web app uses it: photos as bytes, many pairs at once.

service = MatchingService.open("runs/best-1")
service.probabilities([(jpeg, "a dog runs")])    # [0.97]
service.regions(jpeg, "a dog runs").effect       # [8, 8]
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from imagetext.encoders.names import normalize_name
from imagetext.encoders.weight_files import WEIGHT_FILES
from imagetext.encoders.weights import locate
from imagetext.errors import UnanswerableError, UserError
from imagetext.itm.regions import WINDOWS, Regions, average_over_cells, cover_windows, log_odds
from imagetext.pipelines.embeddings import MINILM
from imagetext.pipelines.pixels import blank_photo, decode
from imagetext.task import Progress

if TYPE_CHECKING:
    from imagetext.itm.config import TextConfig
    from imagetext.itm.predict import MatchingModel

log = logging.getLogger(__name__)
#: Covered copies of a photo that share a forward pass.
BATCH = 32
#: The note without the sentence encoder.
NOTE = "Only captions from the model's own data can be matched: there is no sentence encoder."


class MatchingService:
    """The probability that a sentence describes a photo, and the regions that support it."""

    #: A limitation that the page shows.
    note = ""

    def __init__(self, model: "MatchingModel"):
        self.model = model
        specs = {
            name: tf.TensorSpec(tensor.shape, tensor.dtype)
            for name, tensor in model.model.input.items()
        }
        self._forward = tf.function(lambda inputs: model.model(inputs, training=False), [specs])

    @classmethod
    def open(cls, run: str, progress: Progress = lambda done, message: None) -> "MatchingService":
        """Load a run and match a blank photo, so that the first request is answered quickly."""
        from imagetext.itm.predict import MatchingModel

        progress(0.1, "loading the matching model")
        service = cls(MatchingModel.load(run))
        progress(0.5, "processing a test photo")
        service.model.photo_tower.freeze()
        image = service.model.photo_tower.encode_bytes([blank_photo()])
        progress(0.8, _text_progress(service.model.config.text))
        try:
            service._probabilities(image, service.model.prepare_texts(["a photo"])[:, None])
        except UserError as error:
            log.warning("match: running without the sentence encoder: %s", error)
            service.note = NOTE
        return service

    def probabilities(self, pairs: Sequence[tuple[bytes, str]]) -> list[float]:
        """P(match) of each photo (the bytes of a file) with its sentence."""
        photos, texts = zip(*pairs, strict=True)
        images = self.model.photo_tower.encode_bytes(photos)
        return self._probabilities(images, self._texts(texts)[:, None])[:, 0].tolist()

    def regions(self, photo: bytes, text: str) -> Regions:
        """How much each part of a photo contributes to a match, by occlusion.

        One part after another is painted in the photo's mean colour; its effect is the decrease of
        the log odds. This works for every model, as only its outputs are used. The probabilities of
        a confident model would hardly change.

        Args:
            photo: The bytes of a file.
            text: The sentence.
        """
        tower = self.model.photo_tower
        whole = [decode(tf.constant(photo), (side, side)).numpy() for side in tower.sides]
        copies = [np.stack([pixels, *cover_windows(pixels)]) for pixels in whole]
        inputs, batches = self._texts([text])[:, None], []
        for start in range(0, len(copies[0]), BATCH):
            batch = [tf.constant(pixels[start : start + BATCH]) for pixels in copies]
            images = tower.encode_pixels(batch)
            batches.append(self._probabilities(images, np.repeat(inputs, len(images), axis=0)))
        probabilities = np.concatenate(batches)
        odds = log_odds(probabilities)
        effect = average_over_cells((odds[0] - odds[1:]).reshape(WINDOWS, WINDOWS))
        return Regions(float(probabilities[0, 0]), effect, float(probabilities[1:, 0].min()))

    def _probabilities(self, images: tf.Tensor, texts: np.ndarray) -> np.ndarray:
        """Inputs [n, ...] and texts [n, 1, ...] -> P(match) and P(no match), float32 [n, 2]."""
        return self._forward({"image": images, "texts": tf.constant(texts)}).numpy()[:, 0]

    def _texts(self, texts: Sequence[str]) -> np.ndarray:
        try:
            return self.model.prepare_texts(texts)
        except UserError as error:
            raise UnanswerableError(
                "This sentence cannot be matched: the server has no sentence encoder,"
                " so it accepts only captions from the model's own data."
            ) from error


def _text_progress(text: "TextConfig") -> str:
    """What the page shows while the first sentence is encoded."""
    file = f"{MINILM}/model.safetensors"
    uses_minilm = text.input != "tokens" and normalize_name(text.encoder) == normalize_name(MINILM)
    if not uses_minilm or locate(file, text.weights):
        return "processing a test sentence"
    return f"downloading the sentence encoder (about {WEIGHT_FILES[file].megabytes} MB, once)"
