"""Many requests, one forward pass: what waits for a model is answered together.

batcher = MicroBatcher("match", lambda pairs, key: matcher.probabilities(pairs))
future = batcher.ask((photo, "a dog"))           # raises Full when too many wait already
future.result()

One thread per model takes what waits, up to `together`. While it computes, the next batch gathers
by itself; so the more clients, the larger the batches, and nobody tunes anything.
"""

import collections
import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

Full = queue.Full


@dataclass
class _Asked:
    item: Any
    key: Hashable
    future: Future = field(default_factory=Future)


class MicroBatcher:
    """`forward(items, key)` is given items of one key and returns an answer for each.

    Args:
        together: Most items of a batch.
        wait: Seconds for which a batch waits for company; somebody alone is not made to wait.
        room: Most items that may wait; `ask` raises Full beyond.
        watch: Called with the size of every batch.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[[Sequence, Hashable], Sequence],
        together: int = 32,
        wait: float = 0.004,
        room: int = 256,
        watch: Callable[[int], None] = lambda size: None,
    ):
        self.forward, self.together, self.wait, self.room = forward, together, wait, room
        self.watch = watch
        self._waiting: collections.deque[_Asked] = collections.deque()
        self._changed = threading.Condition()
        self._closed = self._company = False
        self._thread = threading.Thread(target=self._work, name=f"batch-{name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self.room

    def ask(self, item: Any, key: Hashable = None) -> Future:
        """The answer to come. A future that is cancelled before its turn costs nothing."""
        asked = _Asked(item, key)
        with self._changed:
            if self._closed or self.full:
                raise Full
            self._waiting.append(asked)
            self._changed.notify()
        return asked.future

    def close(self) -> None:
        """Answer nobody any more."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, collections.deque()
            self._changed.notify()
        for asked in left:
            asked.future.cancel()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while batch := self._gathered():
            batch = [asked for asked in batch if asked.future.set_running_or_notify_cancel()]
            if batch:
                self.watch(len(batch))
                self._answer(batch)

    def _gathered(self) -> list[_Asked]:
        """The next batch: the oldest request and those of the same key; empty once closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            until = time.monotonic() + self.wait
            while self._company and not self._closed and len(self._waiting) < self.together:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if self._closed:
                return []
            key, batch, others = self._waiting[0].key, [], collections.deque()
            while self._waiting and len(batch) < self.together:
                asked = self._waiting.popleft()
                (batch if asked.key == key else others).append(asked)
            self._waiting.extendleft(reversed(others))
            self._company = len(batch) > 1 or bool(self._waiting)
            return batch

    def _answer(self, batch: list[_Asked]) -> None:
        try:
            answers = list(self.forward([asked.item for asked in batch], batch[0].key))
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} requests")
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for asked in batch:  # one bad request must not spoil its neighbours'
                self._answer([asked])
            return
        for asked, answer in zip(batch, answers, strict=True):
            asked.future.set_result(answer)
