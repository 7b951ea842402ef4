"""Use a trained run: the probability that a caption describes a photo.

predict("runs/itm-cnn-1", "photo.jpg", ["A dog runs", "A cat sleeps"])   # [0.83, 0.02]
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from imagetext.encoders.photos import PhotoTower
from imagetext.errors import DataError, Problem, UserError
from imagetext.itm.caption_embeddings import read_table
from imagetext.itm.config import CHANGEABLE, ITMConfig
from imagetext.itm.data import open_data
from imagetext.itm.record import require_same_encoders
from imagetext.itm.texts import open_tokenizer
from imagetext.pipelines.embeddings import EmbeddingTable
from imagetext.training.config_files import load_run_config
from imagetext.training.run import Run, open_run, require_trained


class MatchingModel:
    """A trained matching model with its encoders and tokenizer.

    Args:
        model: The network.
        config: The configuration of the run.
        run: The run.

    Examples:
        >>> model = MatchingModel.load("runs/itm-cnn-1")
        >>> model.predict("photo.jpg", ["A dog runs"])
        [0.83]
    """

    def __init__(self, model: keras.Model, config: ITMConfig, run: Run):
        self.model, self.config, self.run = model, config, run

    @classmethod
    def load(cls, run: Run | str | Path, overrides: Mapping | None = None) -> "MatchingModel":
        """Load the model of a run.

        Args:
            run: The folder of a trained run.
            overrides: Where weights and data are now, by dotted key.
        """
        run = require_trained(open_run(run.folder if isinstance(run, Run) else run))
        config = load_run_config(ITMConfig, run, overrides, CHANGEABLE)
        return cls(keras.saving.load_model(run.model_file), config, run)

    def __repr__(self) -> str:
        photos = ", ".join(self.config.data.image_encoders) or "raw pixels"
        return f"MatchingModel({self.run.folder}: head {self.config.model.head} on {photos})"

    def predict(self, photo: str | Path, captions: str | Sequence[str]) -> list[float]:
        """The probability that each caption describes the photo.

        Args:
            photo: An image file.
            captions: One or more sentences.

        Returns:
            The probability of a match for each caption.
        """
        sentences = [captions] if isinstance(captions, str) else list(captions)
        if not sentences or not all(sentence.strip() for sentence in sentences):
            raise UserError("captions: expected at least one sentence, none of them empty")
        if not Path(photo).is_file():
            raise UserError(f"{photo}: no such file")
        return [float(value) for value in self(photo, sentences)]

    @functools.cached_property
    def photo_tower(self) -> PhotoTower:
        """From the bytes of a photo to what the network takes; built on first use."""
        require_same_encoders(self.run, self.config.data)
        return PhotoTower(self.config.data)

    @functools.cached_property
    def encoder(self):
        """The sentence encoder of a model that reads embeddings; loaded on first use."""
        from imagetext.encoders.sentences import sentence_encoder

        return sentence_encoder(self.config.text.encoder, self.config.text.weights)

    @functools.cached_property
    def tokenizer(self):
        """The tokenizer of a model that reads raw captions; loaded on first use."""
        return open_tokenizer(self.config.text)

    def prepare_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Turn sentences into inputs of the network.

        Args:
            texts: The sentences.

        Returns:
            Token ids int32 [n, t], or embeddings float32 [n, 384]. If the sentence encoder is not
            available, embeddings are looked up in the table of the data.
        """
        if self.config.text.input == "tokens":
            return self.tokenizer.to_ids(texts)
        try:
            return self.encoder(texts)
        except UserError:
            table = self._table()
            if table is None or table.missing(texts):
                raise
            return table.lookup(texts)

    def _table(self) -> EmbeddingTable | None:
        try:
            return read_table(self.config.text, open_data(self.config.data))
        except UserError:
            return None

    def __call__(self, photo: str | Path, texts: Sequence[str]) -> np.ndarray:
        """P(match) of an image file and each of some sentences, float32 [n]."""
        try:
            image = self.photo_tower.encode_file(Path(photo))
        except ValueError as error:
            remedy = "use a JPEG, PNG, GIF, BMP or WebP file"
            raise DataError([Problem(photo, None, str(error), remedy)]) from error
        inputs = {"image": image[None], "texts": self.prepare_texts(texts)[None]}
        return np.asarray(self.model(inputs, training=False))[0, :, 0]


def predict(run: Run | str | Path, photo: str | Path, captions: str | Sequence[str]) -> list[float]:
    """The probability that each caption describes the photo, according to a run."""
    return MatchingModel.load(run).predict(photo, captions)
