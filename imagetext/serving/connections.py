"""Limits on idle connections, so that clients that send nothing do not lock out the others.

    uvicorn.Config(app, http=limited_protocol(ServerSettings()))

A connection is waiting while no request of it is being answered: it has just been opened, its
header is still arriving, or it is kept open for another request. It may wait for `header_seconds`;
a request may take `request_seconds` in all, which also ends clients that do not read their answer.
Only so many connections may wait. When there are more, the one that has waited longest is closed;
the same applies to the connections of each address. A client that has not been answered yet gets a
503 with a Retry-After header.
"""

import asyncio
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from imagetext.serving.api_errors import busy
from imagetext.serving.guard import HEADERS
from imagetext.serving.settings import ServerSettings


def _raw_response() -> bytes:
    """A complete response, for connections whose request has not been read."""
    error = busy()
    headers = {
        **HEADERS,
        **error.headers,
        "Content-Type": "application/json",
        "Content-Length": len(error.body),
        "Connection": "close",
    }
    lines = [f"{name.lower()}: {value}" for name, value in headers.items()]
    return "\r\n".join(["HTTP/1.1 503 ", *lines, "", ""]).encode() + error.body


BUSY = _raw_response()


def limited_protocol(settings: ServerSettings) -> type[H11Protocol]:
    """A protocol class for uvicorn; the limits apply to all its connections together."""

    class Connection(H11Protocol):
        waiting: ClassVar[dict["Connection", None]] = {}  # in the order in which they began to wait
        addresses: ClassVar[Counter[str]] = Counter()
        _deadline: asyncio.TimerHandle | None = None

        @property
        def address(self) -> str:
            return self.client[0] if self.client else ""

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.addresses[self.address] += 1
            if self.addresses[self.address] > settings.max_connections_per_address:
                self._close_oldest([each for each in self.waiting if each.address == self.address])
            elif len(self.waiting) >= settings.max_waiting_connections:
                self._close_oldest(list(self.waiting))
            self._start_waiting()

        def _close_oldest(self, waiting: list["Connection"]) -> None:
            """Close the connection that has waited longest; if none is waiting, this one."""
            oldest = (waiting or [self])[0]
            self.waiting.pop(oldest, None)
            if oldest.cycle is None:
                oldest.transport.write(BUSY)
            if oldest.transport.get_write_buffer_size():  # the client is not even reading
                oldest.transport.abort()
            else:
                oldest.transport.close()

        def _start_waiting(self) -> None:
            self.waiting.pop(self, None)
            self.waiting[self] = None
            self._abort_after(settings.header_seconds)

        def _abort_after(self, seconds: float) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self in self.waiting and self.cycle and not self.cycle.response_complete:
                del self.waiting[self]
                self._abort_after(settings.request_seconds)

        def on_response_complete(self) -> None:
            self._start_waiting()
            if self.transport.get_write_buffer_size():  # the client is still reading
                self._abort_after(settings.request_seconds)
            super().on_response_complete()
            if not self.cycle.response_complete:  # its next request has already arrived
                self.waiting.pop(self, None)
                self._abort_after(settings.request_seconds)

        def connection_lost(self, error: Exception | None) -> None:
            self.waiting.pop(self, None)
            self.addresses[self.address] -= 1
            if not self.addresses[self.address]:
                del self.addresses[self.address]
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_lost(error)

    return Connection
