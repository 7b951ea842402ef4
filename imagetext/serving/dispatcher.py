"""Between requests and models: prepares photos, queues queries and awaits the answers.

dispatcher = Dispatcher(Services({"match": service}), ServerSettings(), ServerMetrics())
probability = await dispatcher.answer("match", (photo, "a dog"), None, request)
"""

import asyncio
import collections
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request

from imagetext.errors import UnanswerableError
from imagetext.serving.api_errors import ApiError, busy, unprocessable
from imagetext.serving.batching import Full, MicroBatcher
from imagetext.serving.decoders import Decoders
from imagetext.serving.loading import Services, ServiceSlot
from imagetext.serving.protocols import Examples
from imagetext.serving.request_body import MemoryBudget
from imagetext.serving.server_metrics import ServerMetrics
from imagetext.serving.settings import ServerSettings

#: Photos of an index that the page offers to start with.
EXAMPLES = 8


class Dispatcher:
    """Everything that requests share."""

    def __init__(
        self,
        services: Services,
        settings: ServerSettings,
        metrics: ServerMetrics,
        examples: Examples | None = None,
    ):
        self.services, self.settings, self.metrics = services, settings, metrics
        self.examples = examples or Examples({})
        self.memory = MemoryBudget(settings.max_held_bytes)
        self.thumbnails = ByteCache(settings.thumbnail_bytes)
        self.decoders = Decoders(settings)
        self._decoder_threads = ThreadPoolExecutor(settings.decoders, "decode")
        self._decoding = 0
        self.batchers: dict[str, MicroBatcher] = {}

    def open(self) -> None:
        """Start the threads and begin to load the models."""
        for slot in self.services:
            self.metrics.watch_ready(slot.name, lambda slot=slot: slot.state == "ready")
        for name, (role, forward) in QUEUES.items():
            slot = self.services.get(role)
            if slot is not None:
                self._open_queue(name, functools.partial(forward, slot))
        self.services.start()

    def _open_queue(self, name: str, forward: Callable) -> None:
        settings = self.settings
        self.batchers[name] = MicroBatcher(
            name,
            forward,
            max_batch=settings.max_batch,
            wait=settings.batch_wait_ms / 1000,
            max_queue=settings.max_queue,
            on_batch=functools.partial(self.metrics.count_batch, name),
        )
        self.metrics.watch_queue(name, self.batchers[name].__len__)

    def close(self) -> None:
        self.services.stop()
        for batcher in self.batchers.values():
            batcher.close()
        self._decoder_threads.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()

    def require_ready(self, role: str) -> ServiceSlot:
        """A service that is loaded; else an `ApiError`."""
        slot = self.services.get(role)
        if slot is None:
            raise ApiError(404, "not-served", f"This server was started without {role}.")
        if slot.state == "failed":
            raise ApiError(503, "not-loaded", "The model could not be loaded.")
        if slot.state != "ready":
            message = "The model is still loading. Please try again in a moment."
            raise ApiError(503, "loading", message, {"Retry-After": "2"})
        return slot

    def example_ids_and_sentences(self) -> tuple[list[str], list[str]]:
        """Ids of photos and sentences to start with: the app's examples, or some of the index."""
        slot = self.services.get("search")
        if self.examples.photos or slot is None or slot.state != "ready":
            return list(self.examples.photos), list(self.examples.sentences)
        results = slot.service.examples(EXAMPLES)
        sentences = [result.captions[0] for result in results if result.captions]
        return [result.id for result in results], sentences

    async def photo(self, data: bytes | None, id: str | None) -> bytes:
        """A photo for a model: one that a client sent, or one of the server by its id."""
        if (data is None) == (id is None):
            raise unprocessable("photo: exactly one photo is required.", "no-photo")
        if data is not None and not data:
            raise unprocessable("photo: the file is empty.", "no-photo")
        return await self._decode("bitmap", lambda: self._file(id) if data is None else data)

    async def thumbnail(self, id: str, side: int) -> bytes:
        if (cached := self.thumbnails.get((id, side))) is not None:
            return cached
        thumbnail = await self._decode("thumbnail", lambda: self._file(id), side)
        self.thumbnails.put((id, side), thumbnail)
        return thumbnail

    def _file(self, id: str) -> bytes:
        """The file of a photo of the examples or of the index."""
        if id in self.examples.photos:
            return self.examples.photos[id]
        slot = self.services.get("search")
        if slot is not None and slot.state == "ready":
            data = slot.service.photo(id)
            if data is not None:
                return data
        raise no_such_photo()

    async def _decode(
        self, output: str, read: Callable[[], bytes], side: int | None = None
    ) -> bytes:
        """Read and decode a photo when it is its turn, as each may take much memory."""
        if self._decoding >= self.settings.max_queue:
            raise busy()
        self._decoding += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._decoder_threads, lambda: self.decoders.decode(output, read(), side)
            )
        finally:
            self._decoding -= 1

    async def answer(self, queue: str, item: Any, key: Any, request: Request) -> Any:
        """A model's answer; `ApiError` if the queue is full, time is up or the client left."""
        try:
            future = asyncio.wrap_future(self.batchers[queue].submit(item, key))
        except Full:
            raise busy() from None
        gone = asyncio.ensure_future(_disconnect(request))
        try:
            await asyncio.wait(
                {future, gone},
                timeout=self.settings.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if future.done():
                return future.result()
            if gone.done():
                raise ApiError(499, "gone", "The client has disconnected.")
            raise timed_out()
        except UnanswerableError as error:
            raise unprocessable(str(error), "unanswerable") from error
        except asyncio.CancelledError:
            if not future.cancelled():
                raise
            raise busy() from None  # the server is being stopped
        finally:
            future.cancel()
            gone.cancel()


def no_such_photo() -> ApiError:
    return ApiError(404, "no-photo", "There is no such photo.")


def timed_out() -> ApiError:
    return ApiError(504, "timeout", "The request took too long. Please try again.")


async def _disconnect(request: Request) -> None:
    """Return when the client disconnects. The body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class ByteCache:
    """The most recently used values, up to a total size in bytes."""

    def __init__(self, limit: int):
        self.limit, self.size = limit, 0
        self._values: collections.OrderedDict[tuple, bytes] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple) -> bytes | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: tuple, data: bytes) -> None:
        with self._lock:
            self.size += len(data) - len(self._values.pop(key, b""))
            self._values[key] = data
            while self.size > self.limit:
                self.size -= len(self._values.popitem(last=False)[1])


def _caption(slot: ServiceSlot, photos: Sequence[bytes], key: tuple) -> Sequence:
    beams, top, maps = key
    return slot.service.captions(photos, beams, top, maps)


def _match(slot: ServiceSlot, pairs: Sequence[tuple[bytes, str]], key: None) -> Sequence:
    return [float(value) for value in slot.service.probabilities(pairs)]


def _regions(slot: ServiceSlot, pairs: Sequence[tuple[bytes, str]], key: None) -> Sequence:
    return [slot.service.regions(*pair) for pair in pairs]  # each is a batch in itself


def _search(slot: ServiceSlot, queries: Sequence, top: int) -> Sequence:
    return slot.service.search(queries, top)


#: Queues, each with a thread of its own: the role of the service and how it is called with a batch.
#: Regions take long, so plain matches do not wait behind them.
QUEUES: dict[str, tuple[str, Callable]] = {
    "caption": ("caption", _caption),
    "match": ("match", _match),
    "regions": ("match", _regions),
    "search": ("search", _search),
}
