"""Models that load while the page is already up and says how far they are.

parts = Parts({"caption": Opens(lambda tell: open_captioner("runs/best-1", tell))})
parts.start()
parts["caption"].state                           # waiting, loading, ready or failed
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imagetext.errors import UserError

log = logging.getLogger("imagetext.web")
#: How far loading is, from 0 to 1, and what is being done, in words for the page.
Tell = Callable[[float, str], None]
FAILED = "could not be loaded; the server's log says why"


class Stopped(Exception):
    """Raised by `tell` in whoever still loads when nobody will ask any more."""


@dataclass(frozen=True)
class Opens:
    """A service that is yet to be opened, by a function that tells how far it is."""

    open: Callable[[Tell], Any]


class Part:
    """One service, or the place where it will be."""

    def __init__(self, name: str, service: Any):
        self.name = name
        self._open = service.open if isinstance(service, Opens) else None
        self.service = None if self._open else service
        self.state, self.stopped = "waiting" if self._open else "ready", False
        self.done, self.told = (0.0, "waits for its turn") if self._open else (1.0, note(service))

    def tell(self, done: float, told: str) -> None:
        if self.stopped:
            raise Stopped
        self.done, self.told = min(max(done, 0.0), 1.0), told

    def load(self) -> None:
        if self.state != "waiting" or self.stopped:
            return
        self.state = "loading"
        try:
            self.service = self._open(self.tell)
            self.done, self.told = 1.0, note(self.service)
            self.state = "ready"
        except Stopped:
            self.state = "waiting"
        except Exception as error:
            # A path or a trace is for the owner, at the console; strangers learn that it failed.
            if isinstance(error, UserError):
                log.error("%s: %s", self.name, error)
            else:
                log.exception("%s could not be loaded", self.name)
            self.state, self.told = "failed", FAILED

    @property
    def about(self) -> dict:
        return {
            "name": self.name,
            "state": self.state,
            "done": round(self.done, 3),
            "told": self.told,
        }


def note(service: Any) -> str:
    """What a service says of itself, where it says anything."""
    return getattr(service, "note", "")


class Parts:
    """All services by name; loaded one after another by one thread."""

    def __init__(self, services: Mapping[str, Any]):
        self._parts = {
            name: Part(name, service) for name, service in services.items() if service is not None
        }
        self._thread: threading.Thread | None = None

    def __iter__(self):
        return iter(self._parts.values())

    def get(self, name: str) -> Part | None:
        return self._parts.get(name)

    def __getitem__(self, name: str) -> Part:
        return self._parts[name]

    @property
    def ready(self) -> bool:
        return all(part.state == "ready" for part in self)

    def start(self) -> None:
        if self._thread is None and not self.ready:
            self._thread = threading.Thread(target=self._load, name="loading", daemon=True)
            self._thread.start()

    def _load(self) -> None:
        for part in self:
            part.load()

    def stop(self) -> None:
        """Whatever still loads ends the next time it tells how far it is."""
        for part in self:
            part.stopped = True
