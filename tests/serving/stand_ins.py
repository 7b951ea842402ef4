"""Services that answer at once, and small photos: the web app is tested without any model."""

import hashlib
import io
import random
import threading
import time

import numpy as np
from PIL import Image

from imagetext.pipelines.sample import all_scenes, draw
from imagetext.serving.answers import Caption, Hit, Regions
from imagetext.serving.refusals import Unanswerable

CELLS = 7


def mean_colour(photo: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(photo)) as image:
        assert image.format == "BMP" and image.mode == "RGB", "models see cleaned photos only"
        return np.asarray(image, float).mean(axis=(0, 1))


def colour_name(photo: bytes) -> str:
    return ("red", "green", "blue")[int(mean_colour(photo).argmax())]


class StandInCaptioner:
    """Names the strongest colour; `seconds` is what a forward pass takes, whatever its size."""

    def __init__(self, seconds: float = 0.0):
        self.seconds, self.batches = seconds, []

    def captions_of_bytes(self, photos, beams, top, maps):
        self.batches.append((len(photos), beams, top, maps))
        time.sleep(self.seconds)
        return [self._captions(photo, top, maps) for photo in photos]

    def _captions(self, photo, top, maps):
        words = ("a", colour_name(photo), "shape", "on", "light", "paper")
        rows, columns = np.mgrid[:CELLS, :CELLS]
        looked = [
            np.exp(-((rows - 1 - n) ** 2 + (columns - n) ** 2) / 3.0) for n in range(len(words))
        ]
        looked = np.stack([each / each.sum() for each in looked]) if maps else None
        return [
            Caption(" ".join(words[: 6 - n]), -2.0 - n, -0.4 - 0.3 * n, words[: 6 - n], cut)
            for n in range(top)
            for cut in [None if looked is None else looked[: 6 - n]]
        ]


class StandInMatcher:
    """A sentence fits if it names the strongest colour. It does not know the word unknown."""

    def __init__(self, seconds: float = 0.0):
        self.seconds, self.batches = seconds, []

    def probabilities(self, pairs):
        self.batches.append(len(pairs))
        time.sleep(self.seconds)
        if any("unknown" in text for _, text in pairs):
            raise Unanswerable("The model does not know this word.")
        if any("crash" in text for _, text in pairs):
            raise RuntimeError("secret: /home/someone/model.keras")
        return [0.93 if colour_name(photo) in text else 0.04 for photo, text in pairs]

    def regions(self, photo, text):
        effect = np.zeros((8, 8))
        effect[2:5, 3:6], effect[6:, :2] = 0.5, -0.2
        return Regions(self.probabilities([(photo, text)])[0], effect, 0.41)


class StandInSearcher:
    """Scenes by the words of their captions."""

    def __init__(self, count: int = 30):
        rng = random.Random(3)
        self.photos, self.captions = {}, {}
        for scene in rng.sample(all_scenes(), count):
            written = io.BytesIO()
            draw(scene, rng).resize((240, 240), Image.Resampling.BICUBIC).save(written, "PNG")
            id = hashlib.sha256(written.getvalue()).hexdigest()[:16]
            self.photos[id], self.captions[id] = written.getvalue(), scene.captions
        self.asked = []

    def __contains__(self, id):
        return id in self.captions

    def __len__(self):
        return len(self.captions)

    def search(self, queries, top):
        self.asked += queries
        return [self._hits(query, top) for query in queries]

    def _hits(self, query, top):
        words = (query.text or "").split()
        not_words = (query.without or "").split()
        found = []
        for number, (id, captions) in enumerate(self.captions.items()):
            said = captions[0].split()
            score = sum(word in said for word in words) - sum(word in said for word in not_words)
            if id != query.photo_id:
                found.append(Hit(id, score / 4 - number / 1000, captions))
        return sorted(found, key=lambda hit: -hit.score)[:top]

    def some(self, count):
        return [Hit(id, 0.0, captions) for id, captions in list(self.captions.items())[:count]]

    def photo(self, id):
        return self.photos.get(id)


class Blocked:
    """Answers nothing before it is let."""

    def __init__(self):
        self.let, self.entered, self.seen = threading.Event(), threading.Event(), []

    def probabilities(self, pairs):
        self.seen.append(len(pairs))
        self.entered.set()
        assert self.let.wait(20)
        return [0.5] * len(pairs)

    def regions(self, photo, text):
        raise AssertionError


def photo(kind: str = "JPEG", size: tuple[int, int] = (64, 48), colour=(200, 30, 30)) -> bytes:
    """A photo of one colour with a little noise."""
    noise = np.random.default_rng(0).integers(0, 30, (size[1], size[0], 3))
    pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind)
    return written.getvalue()
