"""Requests share forward passes within limits, and each gets its own result."""

import threading
import time

import pytest

from imagetext.serving.batching import Full, MicroBatcher


@pytest.fixture
def make():
    batchers = []

    def make(forward, **options):
        batchers.append(MicroBatcher("test", forward, **options))
        return batchers[-1]

    yield make
    for batcher in batchers:
        batcher.close()


class Slow:
    """Doubles numbers; waits for `release` before each batch."""

    def __init__(self):
        self.release, self.entered, self.batches = threading.Semaphore(0), threading.Event(), []

    def __call__(self, items, key):
        self.batches.append((list(items), key))
        self.entered.set()
        assert self.release.acquire(timeout=10)
        return [2 * item for item in items]


def busy(batcher, slow):
    """Keep the thread of the batcher busy with a first request."""
    first = batcher.submit(0)
    assert slow.entered.wait(10)
    return first


def test_waiting_items_share_a_pass_and_keep_their_order(make):
    slow = Slow()
    batcher = make(slow)
    first = busy(batcher, slow)
    others = [batcher.submit(number) for number in range(1, 20)]
    slow.release.release(2)
    assert first.result(10) == 0
    assert [other.result(10) for other in others] == [2 * n for n in range(1, 20)]
    assert [len(items) for items, _ in slow.batches] == [1, 19]


def test_a_batch_holds_no_more_than_allowed(make):
    slow = Slow()
    batcher = make(slow, max_batch=8)
    busy(batcher, slow)
    others = [batcher.submit(number) for number in range(20)]
    slow.release.release(4)
    assert [other.result(10) for other in others] == [2 * n for n in range(20)]
    assert [len(items) for items, _ in slow.batches] == [1, 8, 8, 4]


def test_each_key_has_its_own_batch(make):
    slow = Slow()
    batcher = make(slow)
    busy(batcher, slow)
    others = [batcher.submit(number, key=number % 2) for number in range(6)]
    slow.release.release(3)
    assert [other.result(10) for other in others] == [0, 2, 4, 6, 8, 10]
    assert slow.batches[1:] == [([0, 2, 4], 0), ([1, 3, 5], 1)]


def test_a_single_client_does_not_wait(make):
    batcher = make(lambda items, key: items, wait=5.0)
    start = time.monotonic()
    for number in range(3):
        assert batcher.submit(number).result(4) == number
    assert time.monotonic() - start < 4


def test_a_full_queue_refuses_items_until_there_is_room(make):
    slow = Slow()
    batcher = make(slow, max_queue=3)
    busy(batcher, slow)
    waiting = [batcher.submit(number) for number in range(3)]
    assert batcher.full
    with pytest.raises(Full):
        batcher.submit(9)
    slow.release.release(2)
    assert [each.result(10) for each in waiting] == [0, 2, 4]
    slow.release.release()
    assert batcher.submit(9).result(10) == 18


def test_cancelled_items_are_not_computed(make):
    slow = Slow()
    batcher = make(slow)
    busy(batcher, slow)
    cancelled, kept = batcher.submit(1), batcher.submit(2)
    assert cancelled.cancel()
    slow.release.release(2)
    assert kept.result(10) == 4
    assert slow.batches[1] == ([2], None)


def test_one_bad_item_does_not_fail_the_others(make):
    slow = Slow()

    def fails_on_13(items, key):
        answers = slow(items, key)
        if 13 in items:
            raise ValueError("unlucky")
        return answers

    batcher = make(fails_on_13)
    busy(batcher, slow)
    bad, good = batcher.submit(13), batcher.submit(14)
    slow.release.release(4)
    assert good.result(10) == 28
    with pytest.raises(ValueError, match="unlucky"):
        bad.result(10)
    slow.release.release()
    assert batcher.submit(1).result(10) == 2


def test_too_few_results_are_an_error(make):
    batcher = make(lambda items, key: [])
    with pytest.raises(RuntimeError, match="expected 1 results, got 0"):
        batcher.submit(1).result(10)


def test_closing_cancels_what_is_waiting(make):
    slow = Slow()
    batcher = make(slow)
    first = busy(batcher, slow)
    waiting = batcher.submit(1)
    slow.release.release()
    batcher.close()
    assert first.result(10) == 0
    assert waiting.cancelled() or waiting.result(1) == 2
    with pytest.raises(Full):
        batcher.submit(2)
