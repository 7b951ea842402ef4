"""The desk between requests and models: photos are prepared, questions queued, answers awaited.

desk = Desk(Parts({"match": matcher}), Settings(), Measures())
probability = await desk.answer("match", (photo, "a dog"), False, request)
"""

import asyncio
import collections
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request

from imagetext.serving.answers import Examples
from imagetext.serving.batching import Full, MicroBatcher
from imagetext.serving.bodies import Held
from imagetext.serving.decoding import Decoders
from imagetext.serving.loading import Part, Parts
from imagetext.serving.measures import Measures
from imagetext.serving.refusals import Refused, Unanswerable, busy, unprocessable
from imagetext.serving.settings import Settings

#: Photos of an index that the page begins with.
OFFERED = 8


class Desk:
    """Everything that requests share."""

    def __init__(
        self, parts: Parts, settings: Settings, measures: Measures, examples: Examples | None = None
    ):
        self.parts, self.settings, self.measures = parts, settings, measures
        self.examples = examples or Examples({})
        self.held = Held(settings.most_held)
        self.thumbnails = Kept(settings.thumbnails)
        self.decoders = Decoders(settings)
        self._decoder_threads = ThreadPoolExecutor(settings.decoders, "decode")
        self._decoding = 0
        self.batchers: dict[str, MicroBatcher] = {}

    def open(self) -> None:
        """Start the threads; models that are not loaded yet begin to load."""
        for part in self.parts:
            self.measures.ready(part.name, lambda part=part: part.state == "ready")
        for name, (served, forward) in FORWARD.items():
            part = self.parts.get(served)
            if part is not None:
                self._open(name, functools.partial(forward, part))
        self.parts.start()

    def _open(self, name: str, forward: Callable) -> None:
        settings = self.settings
        self.batchers[name] = MicroBatcher(
            name,
            forward,
            together=settings.together,
            wait=settings.wait_ms / 1000,
            room=settings.queue,
            watch=functools.partial(self.measures.batch, name),
        )
        self.measures.watch(name, self.batchers[name].__len__)

    def close(self) -> None:
        self.parts.stop()
        for batcher in self.batchers.values():
            batcher.close()
        self._decoder_threads.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()

    def part(self, name: str) -> Part:
        """A part that can be asked now."""
        part = self.parts.get(name)
        if part is None:
            raise Refused(404, "not-served", f"This server was started without {name}.")
        if part.state == "failed":
            raise Refused(503, "not-loaded", "The model could not be loaded.")
        if part.state != "ready":
            told = "The model is still loading. Please try again in a moment."
            raise Refused(503, "loading", told, {"Retry-After": "2"})
        return part

    def offered(self) -> tuple[list[str], list[str]]:
        """Ids and sentences to begin with: of the examples given, else of some of the index."""
        part = self.parts.get("search")
        if self.examples.photos or part is None or part.state != "ready":
            return list(self.examples.photos), list(self.examples.sentences)
        found = part.service.some(OFFERED)
        return [hit.id for hit in found], [hit.captions[0] for hit in found if hit.captions]

    async def photo(self, data: bytes | None, id: str | None) -> bytes:
        """A photo sent, or one of ours by its id, as the models are given it."""
        if (data is None) == (id is None):
            raise unprocessable("photo: exactly one photo is needed.", "no-photo")
        if data is not None and not data:
            raise unprocessable("The photo is empty.", "no-photo")
        return await self._decoded("cleaned", lambda: self._stored(id) if data is None else data)

    async def thumbnail(self, id: str, side: int) -> bytes:
        if (kept := self.thumbnails.get((id, side))) is not None:
            return kept
        made = await self._decoded("thumbnail", lambda: self._stored(id), side)
        self.thumbnails.keep((id, side), made)
        return made

    def _stored(self, id: str) -> bytes:
        """The file of a photo of the examples or of the index."""
        if id in self.examples.photos:
            return self.examples.photos[id]
        part = self.parts.get("search")
        if part is not None and part.state == "ready":
            data = part.service.photo(id)
            if data is not None:
                return data
        raise Refused(404, "no-photo", "There is no such photo.")

    async def _decoded(
        self, what: str, read: Callable[[], bytes], side: int | None = None
    ) -> bytes:
        """Read a photo and decode it, when it is its turn: each may take much memory."""
        if self._decoding >= self.settings.queue:
            raise busy()
        self._decoding += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._decoder_threads, lambda: self.decoders.made(what, read(), side)
            )
        finally:
            self._decoding -= 1

    async def answer(self, name: str, item: Any, key: Any, request: Request) -> Any:
        """The model's answer; or Refused, when there is no room, no time, or nobody left."""
        try:
            future = asyncio.wrap_future(self.batchers[name].ask(item, key))
        except Full:
            raise busy() from None
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait(
                {future, gone},
                timeout=self.settings.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if future.done():
                return future.result()
            if gone.done():
                raise Refused(499, "gone", "The client has left.")
            raise Refused(504, "timeout", "That took too long. Please try again.")
        except Unanswerable as error:
            raise unprocessable(str(error), "unanswerable") from error
        except asyncio.CancelledError:
            if not future.cancelled():
                raise
            raise busy() from None  # the server is being stopped
        finally:
            future.cancel()
            gone.cancel()


async def _gone(request: Request) -> None:
    """Ends when the client leaves; its body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Kept:
    """What was asked for lately, up to so many bytes."""

    def __init__(self, most: int):
        self.most, self.size = most, 0
        self._kept: collections.OrderedDict[tuple, bytes] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: tuple, data: bytes) -> None:
        with self._lock:
            self.size += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self.size > self.most:
                self.size -= len(self._kept.popitem(last=False)[1])


def _caption(part: Part, photos: Sequence[bytes], key) -> Sequence:
    beams, top, maps = key
    return part.service.captions_of_bytes(photos, beams, top, maps)


def _match(part: Part, pairs: Sequence[tuple[bytes, str]], key) -> Sequence:
    return [float(value) for value in part.service.probabilities(pairs)]


def _regions(part: Part, pairs: Sequence[tuple[bytes, str]], key) -> Sequence:
    """Covering a photo part by part is a batch of its own."""
    return [part.service.regions(*pair) for pair in pairs]


def _search(part: Part, queries: Sequence, top: int) -> Sequence:
    return part.service.search(queries, top)


#: Queues, each with its thread: the part that is asked, and how, with many questions at once.
#: Regions take long, so that plain matches do not wait behind them.
FORWARD = {
    "caption": ("caption", _caption),
    "match": ("match", _match),
    "regions": ("match", _regions),
    "search": ("search", _search),
}
