"""Services that load while the page is already up and shows their progress.

services = Services({"caption": LazyService(open_captions)})
services.start()
services["caption"].state                        # waiting, loading, ready or failed
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imagetext.errors import UserError
from imagetext.task import Progress

log = logging.getLogger("imagetext.web")
FAILED = "could not be loaded; see the server's log"


class Stopped(Exception):
    """Raised by the progress callback to end the loading of a service when the server stops."""


@dataclass(frozen=True)
class LazyService:
    """A service that `open(progress)` loads later."""

    open: Callable[[Progress], Any]


class ServiceSlot:
    """The place of one service, loaded or not."""

    def __init__(self, name: str, service: Any):
        self.name, self.stopped = name, False
        self._open = service.open if isinstance(service, LazyService) else None
        if self._open:
            self.service, self.state, self.done, self.message = None, "waiting", 0.0, "waiting"
        else:
            self.service, self.state, self.done = service, "ready", 1.0
            self.message = _note(service)

    def progress(self, done: float, message: str) -> None:
        if self.stopped:
            raise Stopped
        self.done, self.message = min(max(done, 0.0), 1.0), message

    def load(self) -> None:
        if self.state != "waiting" or self.stopped:
            return
        self.state = "loading"
        try:
            self.service = self._open(self.progress)
            self.done, self.message = 1.0, _note(self.service)
            self.state = "ready"
        except Stopped:
            self.state = "waiting"
        except Exception as error:
            # Paths and tracebacks are for the log; clients only learn that loading failed.
            if isinstance(error, UserError):
                log.error("%s: %s", self.name, error)
            else:
                log.exception("%s could not be loaded", self.name)
            self.state, self.message = "failed", FAILED


def _note(service: Any) -> str:
    """A limitation that a service wants the page to show, if it has one."""
    return getattr(service, "note", "")


class Services:
    """All services by name, loaded one after another by one thread."""

    def __init__(self, services: Mapping[str, Any]):
        self._slots = {
            name: ServiceSlot(name, service)
            for name, service in services.items()
            if service is not None
        }
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[ServiceSlot]:
        return iter(self._slots.values())

    def get(self, name: str) -> ServiceSlot | None:
        return self._slots.get(name)

    def __getitem__(self, name: str) -> ServiceSlot:
        return self._slots[name]

    @property
    def ready(self) -> bool:
        return all(slot.state == "ready" for slot in self)

    def start(self) -> None:
        """Begin to load whatever is not loaded yet."""
        if self._thread is None and not self.ready:
            self._thread = threading.Thread(target=self._load, name="loading", daemon=True)
            self._thread.start()

    def _load(self) -> None:
        for slot in self:
            slot.load()

    def stop(self) -> None:
        """End loading at its next report of progress."""
        for slot in self:
            slot.stopped = True
