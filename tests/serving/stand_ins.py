"""Services that need no model, and small photos."""

import hashlib
import io
import random
import threading
import time

import numpy as np
from PIL import Image

from imagetext.captioning.service import MappedCaption
from imagetext.errors import UnanswerableError
from imagetext.itm.regions import Regions
from imagetext.pipelines.sample import all_scenes, draw
from imagetext.retrieval.index.reader import SearchResult

CELLS = 7


def mean_colour(photo: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(photo)) as image:
        assert image.format == "BMP" and image.mode == "RGB", "models get sanitized photos only"
        return np.asarray(image, float).mean(axis=(0, 1))


def colour_name(photo: bytes) -> str:
    return ("red", "green", "blue")[int(mean_colour(photo).argmax())]


class StandInCaptions:
    """Names the dominant colour; a forward pass takes `seconds`, whatever its size."""

    def __init__(self, seconds: float = 0.0):
        self.seconds, self.batches = seconds, []

    def captions(self, photos, beams, top, maps):
        self.batches.append((len(photos), beams, top, maps))
        time.sleep(self.seconds)
        return [self._captions(photo, top, maps) for photo in photos]

    def _captions(self, photo, top, maps):
        words = ("a", colour_name(photo), "shape", "on", "light", "paper")
        rows, columns = np.mgrid[:CELLS, :CELLS]
        attention = [
            np.exp(-((rows - 1 - n) ** 2 + (columns - n) ** 2) / 3.0) for n in range(len(words))
        ]
        attention = np.stack([each / each.sum() for each in attention])
        return [
            MappedCaption(
                text=" ".join(words[: 6 - n]),
                log_probability=-2.0 - n,
                score=-0.4 - 0.3 * n,
                words=words[: 6 - n],
                maps=attention[: 6 - n] if maps else None,
            )
            for n in range(top)
        ]


class StandInMatches:
    """A sentence matches if it names the dominant colour. The word "unknown" is unknown."""

    def __init__(self, seconds: float = 0.0):
        self.seconds, self.batches = seconds, []

    def probabilities(self, pairs):
        self.batches.append(len(pairs))
        time.sleep(self.seconds)
        if any("unknown" in text for _, text in pairs):
            raise UnanswerableError("The model does not know this word.")
        if any("crash" in text for _, text in pairs):
            raise RuntimeError("secret: /home/someone/model.keras")
        return [0.93 if colour_name(photo) in text else 0.04 for photo, text in pairs]

    def regions(self, photo, text):
        effect = np.zeros((8, 8))
        effect[2:5, 3:6], effect[6:, :2] = 0.5, -0.2
        return Regions(self.probabilities([(photo, text)])[0], effect, 0.41)


class StandInSearch:
    """Finds scenes by the words of their captions."""

    def __init__(self, count: int = 30):
        rng = random.Random(3)
        self.photos, self.captions = {}, {}
        for scene in rng.sample(all_scenes(), count):
            buffer = io.BytesIO()
            draw(scene, rng).resize((240, 240), Image.Resampling.BICUBIC).save(buffer, "PNG")
            id = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
            self.photos[id], self.captions[id] = buffer.getvalue(), scene.captions
        self.queries = []

    def __contains__(self, id):
        return id in self.captions

    def __len__(self):
        return len(self.captions)

    def search(self, queries, top):
        self.queries += queries
        return [self._results(query, top) for query in queries]

    def _results(self, query, top):
        wanted = (query.text or "").split()
        unwanted = (query.without or "").split()
        results = []
        for number, (id, captions) in enumerate(self.captions.items()):
            words = captions[0].split()
            score = sum(word in words for word in wanted) - sum(word in words for word in unwanted)
            if id != query.photo_id:
                results.append(self._result(id, score / 4 - number / 1000))
        return sorted(results, key=lambda result: -result.score)[:top]

    def _result(self, id, score):
        return SearchResult(id, "secret/path.png", score, self.captions[id], ("secret/path.png",))

    def examples(self, count):
        return [self._result(id, 0.0) for id in list(self.captions)[:count]]

    def photo(self, id):
        return self.photos.get(id)


class BlockedMatches:
    """Answers nothing until `release` is set."""

    def __init__(self):
        self.release, self.entered, self.batches = threading.Event(), threading.Event(), []

    def probabilities(self, pairs):
        self.batches.append(len(pairs))
        self.entered.set()
        assert self.release.wait(20)
        return [0.5] * len(pairs)

    def regions(self, photo, text):
        raise AssertionError


def photo(kind: str = "JPEG", size: tuple[int, int] = (64, 48), colour=(200, 30, 30)) -> bytes:
    """A photo of a single colour with a little noise."""
    noise = np.random.default_rng(0).integers(0, 30, (size[1], size[0], 3))
    pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
