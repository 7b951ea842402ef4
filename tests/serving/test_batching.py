"""Requests share forward passes: never more than allowed, each its own answer, none waits alone."""

import threading
import time

import pytest

from imagetext.serving.batching import Full, MicroBatcher


@pytest.fixture
def make():
    made = []

    def one(forward, **options):
        made.append(MicroBatcher("test", forward, **options))
        return made[-1]

    yield one
    for batcher in made:
        batcher.close()


class Slow:
    """Doubles numbers; waits for `let` before each batch."""

    def __init__(self):
        self.let, self.entered, self.batches = threading.Semaphore(0), threading.Event(), []

    def __call__(self, items, key):
        self.batches.append((list(items), key))
        self.entered.set()
        assert self.let.acquire(timeout=10)
        return [2 * item for item in items]


def busy(batcher, slow):
    """The batcher's thread, held up by a first request."""
    first = batcher.ask(0)
    assert slow.entered.wait(10)
    return first


def test_what_waits_is_answered_in_one_pass_and_in_its_own_place(make):
    slow = Slow()
    batcher = make(slow)
    first = busy(batcher, slow)
    others = [batcher.ask(number) for number in range(1, 20)]
    slow.let.release(2)
    assert first.result(10) == 0
    assert [other.result(10) for other in others] == [2 * n for n in range(1, 20)]
    assert [len(items) for items, _ in slow.batches] == [1, 19]


def test_a_batch_holds_no_more_than_allowed(make):
    slow = Slow()
    batcher = make(slow, together=8)
    busy(batcher, slow)
    others = [batcher.ask(number) for number in range(20)]
    slow.let.release(4)
    assert [other.result(10) for other in others] == [2 * n for n in range(20)]
    assert [len(items) for items, _ in slow.batches] == [1, 8, 8, 4]


def test_other_options_are_another_batch_and_nobody_is_forgotten(make):
    slow = Slow()
    batcher = make(slow)
    busy(batcher, slow)
    others = [batcher.ask(number, key=number % 2) for number in range(6)]
    slow.let.release(3)
    assert [other.result(10) for other in others] == [0, 2, 4, 6, 8, 10]
    assert slow.batches[1:] == [([0, 2, 4], 0), ([1, 3, 5], 1)]


def test_somebody_alone_is_not_made_to_wait(make):
    batcher = make(lambda items, key: items, wait=5.0)
    began = time.monotonic()
    for number in range(3):
        assert batcher.ask(number).result(4) == number
    assert time.monotonic() - began < 4


def test_a_full_queue_takes_no_more_until_there_is_room(make):
    slow = Slow()
    batcher = make(slow, room=3)
    busy(batcher, slow)
    waiting = [batcher.ask(number) for number in range(3)]
    assert batcher.full
    with pytest.raises(Full):
        batcher.ask(9)
    slow.let.release(2)
    assert [each.result(10) for each in waiting] == [0, 2, 4]
    slow.let.release()
    assert batcher.ask(9).result(10) == 18


def test_who_has_gone_costs_nothing(make):
    slow = Slow()
    batcher = make(slow)
    busy(batcher, slow)
    gone, stays = batcher.ask(1), batcher.ask(2)
    assert gone.cancel()
    slow.let.release(2)
    assert stays.result(10) == 4
    assert slow.batches[1] == ([2], None)


def test_one_bad_request_does_not_spoil_its_neighbours(make):
    slow = Slow()

    def picky(items, key):
        answers = slow(items, key)
        if 13 in items:
            raise ValueError("unlucky")
        return answers

    batcher = make(picky)
    busy(batcher, slow)
    bad, good = batcher.ask(13), batcher.ask(14)
    slow.let.release(4)
    assert good.result(10) == 28
    with pytest.raises(ValueError, match="unlucky"):
        bad.result(10)
    slow.let.release()
    assert batcher.ask(1).result(10) == 2


def test_too_few_answers_are_an_error_and_not_somebody_elses(make):
    batcher = make(lambda items, key: [])
    with pytest.raises(RuntimeError, match="0 answers to 1"):
        batcher.ask(1).result(10)


def test_closing_answers_nobody_any_more(make):
    slow = Slow()
    batcher = make(slow)
    first = busy(batcher, slow)
    waiting = batcher.ask(1)
    slow.let.release()
    batcher.close()
    assert first.result(10) == 0
    assert waiting.cancelled() or waiting.result(1) == 2
    with pytest.raises(Full):
        batcher.ask(2)
