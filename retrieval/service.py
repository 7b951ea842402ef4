"""An index of photos as the web app uses it: many queries at once.

service = RetrievalService.open("flickr8k.index")
service.search([Query(text="a dog in snow", without="a person")], top=12)
"""

import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagetext.errors import UnanswerableError, UserError
from imagetext.files import cache_folder
from imagetext.pipelines.sample import VERSION, write_sample
from imagetext.retrieval.index.query import Query, query_vectors
from imagetext.retrieval.index.reader import SearchResult
from imagetext.retrieval.index.runs import build_index, open_search, recorded_run
from imagetext.task import Progress, require_task
from imagetext.training.run import open_run, require_trained

if TYPE_CHECKING:
    from imagetext.retrieval.index.reader import Index
    from imagetext.retrieval.predict import RetrievalModel

log = logging.getLogger(__name__)
#: Seconds between checks for a newer version of the index.
CHECK_EVERY = 5.0


def check(index: str, run: str | None = None) -> None:
    """Raise `UserError` if the index cannot be served."""
    run = run or recorded_run(index, "--retrieval")
    require_task(run, "retrieval")
    require_trained(open_run(run))


def sample_source(run: Path, progress: Progress) -> dict[str, str]:
    """Index the photos of the built-in sample, and return what `RetrievalService.open` takes."""
    index = run.with_suffix(".index")
    if not (index / "index.json").is_file():
        progress(0.0, "indexing the photos of the sample")
        build_index(run, write_sample(cache_folder() / f"sample-{VERSION}"), index)
    return {"index": str(index), "run": str(run)}


class RetrievalService:
    """Search in an index of photos, with the model that computed its vectors."""

    def __init__(self, index: "Index", encoder: "RetrievalModel"):
        self.index, self.encoder = index, encoder
        self._next_check = time.monotonic() + CHECK_EVERY

    @classmethod
    def open(
        cls,
        index: str,
        run: str | None = None,
        progress: Progress = lambda done, message: None,
    ) -> "RetrievalService":
        """Open an index and search once, so that the first request is answered quickly.

        Args:
            index: The folder of the index.
            run: The retrieval run that built the index, if it has been moved or the one that the
                index names is not trusted.
            progress: Called as loading proceeds.
        """
        from imagetext.pipelines.pixels import blank_photo

        progress(0.1, "loading the index and its model")
        photo_search = open_search(index, run)
        service = cls(photo_search.index, photo_search.encoder)
        progress(0.6, "searching with a test photo")
        service.encoder.photo_tower.freeze()
        for query in (Query(text="a photo"), Query(photo=blank_photo())):
            with contextlib.suppress(UserError):  # the model may not know these words
                service.search([query], top=1)
        return service

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, id: str) -> bool:
        try:
            return bool(len(self.index.vector(id)))
        except KeyError:
            return False

    def search(self, queries: Sequence[Query], top: int) -> list[list[SearchResult]]:
        """The `top` photos for each query, best first, without the photo of the query itself."""
        self._reopen_if_changed()
        for query in queries:
            self._require_known_words(query)
        try:
            vectors = query_vectors(self.encoder, queries, self._vectors_of)
        except UnanswerableError:
            raise
        except UserError as error:
            raise UnanswerableError("The parts of the query cancel each other out.") from error
        results = self.index.search(vectors, top=top + 1)
        return [
            [result for result in each if query.accepts(result.id)][:top]
            for query, each in zip(queries, results, strict=True)
        ]

    def examples(self, count: int) -> list[SearchResult]:
        """Photos to start with, the same each time."""
        return list(self.index.some(count))

    def photo(self, id: str) -> bytes | None:
        """The file of a photo; None if it is gone or has changed since it was indexed."""
        try:
            return self.index.photo_bytes(id)
        except (KeyError, UserError):
            return None

    def _reopen_if_changed(self) -> None:
        """Another process may have added or removed photos. The old version is closed once nobody
        reads it any more."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_EVERY
        try:
            if not self.index.is_current:
                newer = type(self.index).open(self.index.folder)
                newer.require_encoder(self.encoder.digest)
                self.index = newer
        except UserError as error:
            log.warning("search: keeping the current version of the index: %s", error)

    def _require_known_words(self, query: Query) -> None:
        """All unknown words are alike to a model, so any photo would seem to fit."""
        tokenizer = getattr(self.encoder, "tokenizer", None)
        unknown = getattr(tokenizer, "unknown", None)
        if tokenizer is None or unknown is None:
            return
        import tensorflow as tf

        for text in filter(None, (query.text, query.without)):
            ids = tokenizer.split(tf.constant([text])).flat_values.numpy()
            if (ids == unknown).all():
                raise UnanswerableError(f"The model knows none of these words: {text}")

    def _vectors_of(self, ids: Sequence[str]) -> np.ndarray:
        try:
            return np.stack([self.index.vector(id) for id in ids])
        except KeyError as error:
            raise UnanswerableError("There is no such photo.") from error
