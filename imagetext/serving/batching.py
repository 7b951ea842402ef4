"""Dynamic batching: requests that wait for a model share a forward pass.

    batcher = MicroBatcher("match", lambda pairs, key: service.probabilities(pairs))
    future = batcher.submit((photo, "a dog"))        # raises Full if too many are waiting
    future.result()

One thread per model takes whatever is waiting, up to `max_batch` items. While it computes, the next
batch accumulates; so batches grow with the number of clients, without any tuning.
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
class _Entry:
    item: Any
    key: Hashable
    future: Future = field(default_factory=Future)


class MicroBatcher:
    """Calls `forward(items, key)` with waiting items of one key, and expects a result for each.

    Args:
        name: Name of the thread.
        forward: Computes the results of a batch.
        max_batch: Most items of a batch.
        wait: Seconds for which a batch waits for more items. A single client never waits.
        max_queue: Most items that may wait; `submit` raises Full beyond.
        on_batch: Called with the size of every batch.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[[Sequence, Hashable], Sequence],
        max_batch: int = 32,
        wait: float = 0.004,
        max_queue: int = 256,
        on_batch: Callable[[int], None] = lambda size: None,
    ):
        self.forward, self.max_batch, self.wait, self.max_queue = (
            forward,
            max_batch,
            wait,
            max_queue,
        )
        self.on_batch = on_batch
        self._waiting: collections.deque[_Entry] = collections.deque()
        self._changed = threading.Condition()
        self._closed = self._concurrent = False
        self._thread = threading.Thread(target=self._work, name=f"batch-{name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """The number of waiting items."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self.max_queue

    def submit(self, item: Any, key: Hashable = None) -> Future:
        """Queue an item. A future that is cancelled before its turn costs nothing."""
        entry = _Entry(item, key)
        with self._changed:
            if self._closed or self.full:
                raise Full
            self._waiting.append(entry)
            self._changed.notify()
        return entry.future

    def close(self) -> None:
        """Cancel whatever is waiting and end the thread."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, collections.deque()
            self._changed.notify()
        for entry in left:
            entry.future.cancel()
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while batch := self._next_batch():
            batch = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
            if batch:
                self.on_batch(len(batch))
                self._compute(batch)

    def _next_batch(self) -> list[_Entry]:
        """The oldest entry with others of its key; empty once the batcher is closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            until = time.monotonic() + self.wait
            while self._concurrent and not self._closed and len(self._waiting) < self.max_batch:
                left = until - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if self._closed:
                return []
            key, batch, others = self._waiting[0].key, [], collections.deque()
            while self._waiting and len(batch) < self.max_batch:
                entry = self._waiting.popleft()
                (batch if entry.key == key else others).append(entry)
            self._waiting.extendleft(reversed(others))
            self._concurrent = len(batch) > 1 or bool(self._waiting)
            return batch

    def _compute(self, batch: list[_Entry]) -> None:
        try:
            results = list(self.forward([entry.item for entry in batch], batch[0].key))
            if len(results) != len(batch):
                raise RuntimeError(f"expected {len(batch)} results, got {len(results)}")
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for entry in batch:  # one bad request must not fail the others
                self._compute([entry])
            return
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result(result)
