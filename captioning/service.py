"""The captioning service of the web app: captions many photos at once, from memory.

service = CaptioningService.open("runs/gru_attention-1")
service.captions([jpeg], beams=None, top=3, maps=True)
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imagetext.task import Progress

if TYPE_CHECKING:
    import tensorflow as tf

    from imagetext.captioning.predict import Caption, CaptioningModel


@dataclass(frozen=True)
class MappedCaption:
    """A caption with the model's attention to the photo.

    Args:
        text: The sentence.
        log_probability: The log probability of the whole sentence.
        score: The log probability after length normalisation.
        words: The words of the sentence.
        maps: The attention at each word, float [words, rows, columns]; None if it was not requested
            or the model has no attention.
    """

    text: str
    log_probability: float
    score: float
    words: tuple[str, ...] = ()
    maps: np.ndarray | None = None


class CaptioningService:
    """Captions photos with a captioning run, or with an ensemble of several."""

    def __init__(self, captioner: "CaptioningModel"):
        self.captioner = captioner

    @classmethod
    def open(cls, run: str, progress: Progress = lambda done, message: None) -> "CaptioningService":
        """Load a run and caption a blank photo, so that the first request is answered quickly.

        Args:
            run: The folder of a run, or several separated by commas.
            progress: Called with the fraction of the work done and a message.
        """
        from imagetext.captioning.describe import open_model
        from imagetext.pipelines.pixels import blank_photo

        progress(0.1, "loading the captioning model")
        service = cls(open_model(run))
        progress(0.5, "captioning a test photo")
        service.captioner.photo_tower.freeze()
        service.captions([blank_photo()], None, 3, service.captioner.decoder.attends)
        return service

    def captions(
        self, photos: Sequence[bytes], beams: int | None, top: int, maps: bool
    ) -> list[list[MappedCaption]]:
        """Caption photos.

        Args:
            photos: The bytes of image files.
            beams: Width of the beam search; None for that of the run, or `top` if that is wider.
            top: Number of captions for each photo.
            maps: Whether to return the attention at each word.

        Returns:
            The captions of each photo, best first.
        """
        from imagetext.captioning.describe import override_decoding

        config = self.captioner.config.decoding
        config = override_decoding(config, beams or max(config.beams, top), top, sample=False)
        images = self.captioner.photo_tower.encode_bytes(photos)
        decoded = [captions[:top] for captions in self.captioner.captions(images, config)]
        attention = None
        if maps and self.captioner.decoder.attends:
            attention = self._attention(images, decoded)
        return [
            [
                self._add_map(caption, None if attention is None else attention[photo, rank])
                for rank, caption in enumerate(captions)
            ]
            for photo, captions in enumerate(decoded)
        ]

    def _attention(self, images: "tf.Tensor", decoded: list[list["Caption"]]) -> np.ndarray:
        """The attention at each token: float32 [photos, captions, words, rows, columns]."""
        width = max(map(len, decoded), default=0)
        words = max((len(caption.ids) for captions in decoded for caption in captions), default=0)
        texts = np.zeros((len(decoded), width, words), np.int32)
        for photo, captions in enumerate(decoded):
            for rank, caption in enumerate(captions):
                inputs = [self.captioner.vocabulary.start, *caption.ids[:-1]]
                texts[photo, rank, : len(inputs)] = inputs
        attention = self._attend(images, texts).numpy()
        return attention.reshape(*texts.shape, *self.captioner.grid)

    @functools.cached_property
    def _attend(self) -> Callable[..., Any]:
        import tensorflow as tf

        image = self.captioner.model.input["image"]
        return tf.function(
            self.captioner.attention_weights,
            [tf.TensorSpec(image.shape, image.dtype), tf.TensorSpec([None, None, None], tf.int32)],
        )

    def _add_map(self, caption: "Caption", attention: np.ndarray | None) -> MappedCaption:
        words = self.captioner.words(caption)
        maps = None if attention is None else attention[: len(words)]
        return MappedCaption(caption.text, caption.log_probability, caption.score, words, maps)
