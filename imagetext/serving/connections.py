"""Connections that send nothing are closed, so that those who ask something find room.

uvicorn.Config(app, http=of(Settings()))

A connection waits while no request of its own is being answered: it has just been opened, its
header is still coming, or it is kept for another request. It may wait `header_seconds`, and a
request may take `request_seconds` in all, which also ends clients that do not read their answer.
Of the waiting only so many are kept; beyond, the one that has waited longest makes room. So it
does, of its own, for an address that has many connections. Whoever was not answered yet is told 503
and when to come again.
"""

import asyncio
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from imagetext.serving.guard import HEADERS
from imagetext.serving.refusals import busy
from imagetext.serving.settings import Settings


def _as_it_is_sent() -> bytes:
    """A whole answer, for where nobody has read a request yet."""
    refused = busy()
    headers = {
        **HEADERS,
        **refused.headers,
        "Content-Type": "application/json",
        "Content-Length": len(refused.body),
        "Connection": "close",
    }
    lines = [f"{name.lower()}: {value}" for name, value in headers.items()]
    return "\r\n".join(["HTTP/1.1 503 ", *lines, "", ""]).encode() + refused.body


BUSY = _as_it_is_sent()


def of(settings: Settings) -> type[H11Protocol]:
    """A protocol for uvicorn; all connections made with it are counted together."""

    class Connection(H11Protocol):
        waiting: ClassVar[dict["Connection", None]] = {}  # the longest waiting first
        addresses: ClassVar[Counter[str]] = Counter()
        _deadline: asyncio.TimerHandle | None = None

        @property
        def address(self) -> str:
            return self.client[0] if self.client else ""

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.addresses[self.address] += 1
            if self.addresses[self.address] > settings.most_connections_each:
                self._room([each for each in self.waiting if each.address == self.address])
            elif len(self.waiting) >= settings.most_waiting:
                self._room(list(self.waiting))
            self._waits()

        def _room(self, waiting: list["Connection"]) -> None:
            """Close the one that has waited longest; if all are being answered, this one."""
            oldest = (waiting or [self])[0]
            self.waiting.pop(oldest, None)
            if oldest.cycle is None:
                oldest.transport.write(BUSY)
            if oldest.transport.get_write_buffer_size():  # it does not even read
                oldest.transport.abort()
            else:
                oldest.transport.close()

        def _waits(self) -> None:
            self.waiting.pop(self, None)
            self.waiting[self] = None
            self._until(settings.header_seconds)

        def _until(self, seconds: float) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self in self.waiting and self.cycle and not self.cycle.response_complete:
                del self.waiting[self]
                self._until(settings.request_seconds)

        def on_response_complete(self) -> None:
            self._waits()
            if self.transport.get_write_buffer_size():  # the client is still reading
                self._until(settings.request_seconds)
            super().on_response_complete()
            if not self.cycle.response_complete:  # its next request had come already
                self.waiting.pop(self, None)
                self._until(settings.request_seconds)

        def connection_lost(self, error: Exception | None) -> None:
            self.waiting.pop(self, None)
            self.addresses[self.address] -= 1
            if not self.addresses[self.address]:
                del self.addresses[self.address]
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_lost(error)

    return Connection
