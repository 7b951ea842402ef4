"""Trained runs and an index as the web app asks them: many photos at once, from memory.

app = create_app(captioner=Opens(lambda tell: CaptioningRun.open("runs/best-1", tell)))
"""

import contextlib
import functools
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from imagetext.encoders.names import plain
from imagetext.encoders.weight_files import KNOWN
from imagetext.encoders.weights import located
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM
from imagetext.pipelines.pixels import decode
from imagetext.retrieval.index.query import Query, query_vectors
from imagetext.serving.answers import Caption, Hit, Regions
from imagetext.serving.loading import Tell
from imagetext.serving.photos import cleaned
from imagetext.serving.refusals import Unanswerable
from imagetext.serving.settings import Settings

if TYPE_CHECKING:
    from imagetext.captioning.predict import Captioner
    from imagetext.itm.config import TextConfig
    from imagetext.itm.predict import MatchingModel
    from imagetext.retrieval.index.reader import Index
    from imagetext.retrieval.predict import RetrievalModel

log = logging.getLogger("imagetext.web")
#: Seconds between looks for a newer version of an index.
LOOKS = 5.0
#: A photo is covered by windows of 2 x 2 of its COVERED x COVERED parts, one after another.
COVERED = 8
BLANK = np.full((64, 64, 3), 127, np.uint8)


def blank_photo() -> bytes:
    """A grey photo, for a first pass that leaves a service quick."""
    return tf.io.encode_png(BLANK).numpy()


class CaptioningRun:
    """A captioning run, or several that answer together.

    service = CaptioningRun.open("runs/gru_attention-1")
    service.captions_of_bytes([jpeg], beams=None, top=3, maps=True)
    """

    def __init__(self, captioner: "Captioner"):
        self.captioner = captioner

    @classmethod
    def open(cls, runs: str, tell: Tell = lambda done, told: None) -> "CaptioningRun":
        from imagetext.captioning.describe import open_captioner

        tell(0.1, "reads the captioning model")
        service = cls(open_captioner(runs))
        tell(0.5, "describes a first photo")
        service.captioner.photo_tower.freeze()
        service.captions_of_bytes([blank_photo()], None, 3, service.captioner.decoder.attends)
        return service

    def captions_of_bytes(self, photos, beams, top, maps) -> list[list[Caption]]:
        from imagetext.captioning.describe import decoding

        own = self.captioner.config.decoding
        config = decoding(own, beams or max(own.beams, top), top, sample=False)
        images = self.captioner.photo_tower.of_bytes(photos)
        found = [each[:top] for each in self.captioner.captions(images, config)]
        looked = self._looked(images, found) if maps and self.captioner.decoder.attends else None
        return [
            [
                self._told(caption, None if looked is None else looked[photo, rank])
                for rank, caption in enumerate(captions)
            ]
            for photo, captions in enumerate(found)
        ]

    def _looked(self, images: tf.Tensor, found: list[list]) -> np.ndarray:
        """Where the model looked at each word: float32 [photos, captions, words, rows, columns]."""
        captions = max(map(len, found), default=0)
        words = max((len(c.ids) for each in found for c in each), default=0)
        texts = np.zeros((len(found), captions, words), np.int32)
        for photo, each in enumerate(found):
            for rank, caption in enumerate(each):
                said = [self.captioner.vocabulary.start, *caption.ids[:-1]]
                texts[photo, rank, : len(said)] = said
        looked = self._look(images, texts).numpy()
        return looked.reshape(*texts.shape, *self.captioner.grid)

    @functools.cached_property
    def _look(self):
        image = self.captioner.model.input["image"]
        return tf.function(
            self.captioner.looks,
            [tf.TensorSpec(image.shape, image.dtype), tf.TensorSpec([None, None, None], tf.int32)],
        )

    def _told(self, caption, looked: np.ndarray | None) -> Caption:
        vocabulary = self.captioner.vocabulary
        spoken = [n for n, number in enumerate(caption.ids) if number != vocabulary.end]
        words = tuple(vocabulary.tokens[caption.ids[n]] for n in spoken)
        maps = None if looked is None else looked[spoken]
        return Caption(caption.text, caption.log_probability, caption.score, words, maps)


class MatchingRun:
    """A matching run.

    service = MatchingRun.open("runs/itm-best-1")
    service.probabilities([(jpeg, "a dog runs")])
    """

    #: What the page says of it.
    note = ""

    def __init__(self, matcher: "MatchingModel"):
        self.matcher = matcher
        specs = {
            name: tf.TensorSpec(tensor.shape, tensor.dtype)
            for name, tensor in matcher.model.input.items()
        }
        self._model = tf.function(lambda inputs: matcher.model(inputs, training=False), [specs])

    @classmethod
    def open(cls, run: str, tell: Tell = lambda done, told: None) -> "MatchingRun":
        from imagetext.itm.predict import MatchingModel

        tell(0.1, "reads the matching model")
        service = cls(MatchingModel.load(run))
        tell(0.5, "looks at a first photo")
        service.matcher.photo_tower.freeze()
        image = service.matcher.photo_tower.of_bytes([blank_photo()])
        tell(0.8, reads(service.matcher.config.text))
        try:
            service._chances(image, service.matcher.texts(["a photo"])[:, None])
        except UserError as error:
            log.warning("match: without its sentence encoder: %s", error)
            service.note = "Knows only the sentences of its own data: its encoder is not at hand."
        return service

    def _chances(self, images, texts) -> np.ndarray:
        """Inputs [n, ...] and texts [n, 1, ...] -> P(match) and P(no match), float32 [n, 2]."""
        return self._model({"image": images, "texts": tf.constant(texts)}).numpy()[:, 0]

    def _texts(self, texts: Sequence[str]) -> np.ndarray:
        try:
            return self.matcher.texts(texts)
        except UserError as error:
            told = "The model here does not know this sentence: it has no sentence encoder, and"
            raise Unanswerable(f"{told} knows those of its own data only.") from error

    def probabilities(self, pairs) -> list[float]:
        photos, texts = zip(*pairs, strict=True)
        images = self.matcher.photo_tower.of_bytes(photos)
        return self._chances(images, self._texts(texts)[:, None])[:, 0].tolist()

    def regions(self, photo: bytes, text: str) -> Regions:
        """What covering parts with the photo's mean colour costs: asks nothing of the model but its
        answers, so it serves every kind. In log odds, as sure models hardly move from 1."""
        tower = self.matcher.photo_tower
        whole = [decode(tf.constant(photo), (side, side)).numpy() for side in tower.sides]
        covered = [np.stack([pixels, *coverings(pixels)]) for pixels in whole]
        vector, found = self._texts([text])[:, None], []
        for start in range(0, len(covered[0]), 32):
            seen = tower.see([tf.constant(p[start : start + 32]) for p in covered])
            found.append(self._chances(seen, np.repeat(vector, len(seen), axis=0)))
        chances = np.concatenate(found)
        odds = log_odds(chances)
        effect = spread((odds[0] - odds[1:]).reshape(COVERED - 1, COVERED - 1))
        return Regions(float(chances[0, 0]), effect, float(chances[1:, 0].min()))


def log_odds(chances: np.ndarray) -> np.ndarray:
    """P(match) and P(no match) [n, 2] -> [n]. Of both, as a float32 that is nearly 1 has forgotten
    by how much; finite even where one of them is 0."""
    logs = np.log(np.maximum(np.asarray(chances, np.float64), np.finfo(np.float32).tiny))
    return logs[:, 0] - logs[:, 1]


def reads(text: "TextConfig") -> str:
    """What is told while a first sentence is read."""
    file = f"{MINILM}/model.safetensors"
    if (
        text.input == "tokens"
        or plain(text.encoder) != plain(MINILM)
        or located(file, text.weights)
    ):
        return "reads a first sentence"
    return f"fetches the sentence encoder, about {KNOWN[file].megabytes} MB (once)"


def coverings(pixels: np.ndarray) -> np.ndarray:
    """uint8 [s, s, 3] -> copies with one window covered in each, [(COVERED - 1)^2, s, s, 3]."""
    edges = np.linspace(0, len(pixels), COVERED + 1).round().astype(int)
    mean, copies = pixels.mean(axis=(0, 1)).round(), []
    for row in range(COVERED - 1):
        for column in range(COVERED - 1):
            copy = pixels.copy()
            copy[edges[row] : edges[row + 2], edges[column] : edges[column + 2]] = mean
            copies.append(copy)
    return np.stack(copies)


def spread(drops: np.ndarray) -> np.ndarray:
    """Of windows of 2 x 2 parts [n - 1, n - 1] -> of parts [n, n], each the mean of its windows."""
    size = len(drops) + 1
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for down in (0, 1):
        for right in (0, 1):
            place = slice(down, down + size - 1), slice(right, right + size - 1)
            total[place] += drops
            count[place] += 1
    return (total / count).astype(np.float32)


class PhotoIndex:
    """An index of photos, and the dual encoder that its vectors are from.

    service = PhotoIndex.open("flickr8k.index")
    service.search([Query(text="a dog in snow", without="a person")], top=12)
    """

    def __init__(self, index: "Index", encoder: "RetrievalModel"):
        self.index, self.encoder = index, encoder
        self._look = time.monotonic() + LOOKS

    @classmethod
    def open(
        cls, folder: str, run: str | None = None, tell: Tell = lambda done, told: None
    ) -> "PhotoIndex":
        """`run` is the retrieval run, where the index's own has moved (or is not trusted)."""
        from imagetext.retrieval.index.runs import open_search

        tell(0.1, "reads the index and its dual encoder")
        photo_search = open_search(folder, run)
        service = cls(photo_search.index, photo_search.encoder)
        tell(0.6, "looks for a first photo")
        service.encoder.photo_tower.freeze()
        for query in (Query(text="a photo"), Query(photo=cleaned(blank_photo(), Settings()))):
            with contextlib.suppress(UserError):  # words that it never read say nothing
                service.search([query], top=1)
        return service

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, id: str) -> bool:
        try:
            return bool(len(self.index.vector(id)))
        except KeyError:
            return False

    def search(self, queries: Sequence[Query], top: int) -> list[list[Hit]]:
        """A photo that is looked for is not among its hits."""
        self._renew()
        for query in queries:
            self._require_words(query)
        try:
            vectors = query_vectors(self.encoder, queries, self._stored)
        except UserError as error:
            told = "What is looked for and what shall not be there cancel out."
            raise Unanswerable(told) from error
        found = self.index.search(vectors, top=top + 1)
        return [
            [
                Hit(hit.id, float(hit.score), tuple(hit.captions))
                for hit in hits
                if query.allows(hit.id)
            ][:top]
            for query, hits in zip(queries, found, strict=True)
        ]

    def _renew(self) -> None:
        """Another process may have added or removed photos: look now and then. The old version is
        closed once nobody reads in it any more."""
        if time.monotonic() < self._look:
            return
        self._look = time.monotonic() + LOOKS
        try:
            if not self.index.is_current:
                newer = type(self.index).open(self.index.folder)
                newer.require_encoder(self.encoder.digest)
                self.index = newer
        except UserError as error:
            log.warning("search: goes on with the index that it has: %s", error)

    def _require_words(self, query: Query) -> None:
        """Whatever it never read is the same to a model: all photos would seem to fit."""
        pieces = getattr(self.encoder, "pieces", None)
        unknown = getattr(pieces, "unknown", None)
        for text in (query.text, query.without):
            if text and unknown is not None:
                found = pieces.split(tf.constant([text])).flat_values.numpy()
                if (found == unknown).all():
                    raise Unanswerable(f"The model has never read any of these words: {text}")

    def _stored(self, ids: Sequence[str]) -> np.ndarray:
        try:
            return np.stack([self.index.vector(id) for id in ids])
        except KeyError as error:
            raise Unanswerable("There is no such photo.") from error

    def some(self, count: int) -> list[Hit]:
        return [Hit(hit.id, hit.score, tuple(hit.captions)) for hit in self.index.some(count)]

    def photo(self, id: str) -> bytes | None:
        """Only what is still the photo that was indexed: the index looks at its hash."""
        try:
            return self.index.photo_bytes(id)
        except (KeyError, UserError):
            return None
