"""Limits on the size of requests, and behaviour under load."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagetext.serving.settings import ServerSettings

from .served import Served, match, raw_match_request, upload, wait_until
from .stand_ins import BlockedMatches, StandInCaptions, StandInMatches, photo

#: The head of a form, without its length.
HEAD = (
    "POST /v1/caption HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: multipart/form-data; boundary=x\r\n"
)


def error_code(response) -> str:
    return response.json()["error"]["code"]


def test_a_body_that_is_declared_too_large_is_refused_unread():
    settings = ServerSettings(max_bytes=50_000)
    with Served(caption=StandInCaptions(), settings=settings) as served:
        with served.connect() as connection:
            connection.sendall(f"{HEAD}Content-Length: 50001\r\n\r\n".encode())
            answer = connection.recv(65536)  # before a byte of the body has been sent
        assert answer.startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_counted_as_it_arrives():
    settings = ServerSettings(max_bytes=50_000)
    with Served(caption=StandInCaptions(), settings=settings) as served:
        with served.connect() as connection:
            connection.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
            answer, chunks = b"", 0
            connection.settimeout(0.05)
            while not answer and chunks < 1000:
                connection.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")
                chunks += 1
                try:
                    answer = connection.recv(65536)
                except TimeoutError:
                    continue
        assert answer.startswith(b"HTTP/1.1 413") and chunks < 60
        assert served.app.state.dispatcher.memory.used == 0


@pytest.mark.parametrize("path", ["/v1/caption", "/v1/nowhere"])
def test_the_rest_of_a_refused_body_is_not_received(path):
    head = HEAD.replace("/v1/caption", path)
    with Served(caption=StandInCaptions(), settings=ServerSettings(max_bytes=50_000)) as served:
        with served.connect() as connection:
            connection.sendall(f"{head}Content-Length: 2000000000\r\n\r\n".encode())
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 413") and b"connection: close" in answer
            taken = 0
            with pytest.raises(OSError):
                while taken < 500 * 2**20:
                    taken += connection.send(bytes(2**20))
        assert taken < 30 * 2**20  # the size of the system's own buffers


def test_a_client_that_is_still_sending_gets_the_response():
    settings = ServerSettings(max_bytes=2_000_000)
    served = Served(caption=StandInCaptions(), settings=settings)
    with served, served.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 2500000\r\n\r\n".encode() + bytes(2_500_000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


def test_bodies_of_all_clients_together_are_limited(make_client):
    client = make_client(caption=StandInCaptions(), max_held_bytes=500)
    answer = client.post("/v1/caption", files=upload(photo(size=(200, 200))))
    assert answer.status_code == 503 and answer.headers["retry-after"]


def test_a_body_that_never_ends_times_out():
    settings = ServerSettings(body_seconds=0.3)
    served = Served(caption=StandInCaptions(), settings=settings)
    with served, served.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 500\r\n\r\nab".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_many_pixels_are_refused(make_client):
    client = make_client(caption=StandInCaptions(), max_pixels=10_000)
    answer = client.post("/v1/caption", files=upload(photo(size=(101, 100))))
    assert answer.status_code == 413 and error_code(answer) == "too-many-pixels"
    assert client.post("/v1/caption", files=upload(photo(size=(100, 100)))).status_code == 200


def test_long_texts_and_deep_or_long_json_are_refused(client):
    long = client.post("/v1/search", json={"text": "a" * 501})
    assert long.status_code == 413 and error_code(long) == "long-text"
    assert client.post("/v1/search", json={"text": "a" * 500}).status_code == 200
    json_type = {"content-type": "application/json"}
    deep = client.post("/v1/search", content=b"[" * 9_000, headers=json_type)
    assert deep.status_code == 400 and "deeply" in deep.json()["error"]["message"]
    large = client.post("/v1/search", content=b" " * 20_000, headers=json_type)
    assert large.status_code == 413


def test_a_full_queue_answers_503():
    blocked = BlockedMatches()
    settings = ServerSettings(max_queue=2, max_batch=1)
    with Served(match=blocked, settings=settings) as served, ThreadPoolExecutor(8) as pool:
        first = pool.submit(match, served)
        assert blocked.entered.wait(10)
        waiting = [pool.submit(match, served) for _ in range(2)]
        batcher = served.app.state.dispatcher.batchers["match"]
        wait_until(lambda: len(batcher) == 2)
        refused = match(served)
        assert refused.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in refused
        blocked.release.set()
        answers = [future.result(10) for future in (first, *waiting)]
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


def test_a_slow_answer_times_out():
    blocked = BlockedMatches()
    with Served(match=blocked, settings=ServerSettings(answer_seconds=0.3)) as served:
        assert match(served).startswith(b"HTTP/1.1 504")
        blocked.release.set()
        assert match(served).startswith(b"HTTP/1.1 200")


def test_requests_of_disconnected_clients_are_cancelled():
    blocked = BlockedMatches()
    with Served(match=blocked, settings=ServerSettings(max_batch=1)) as served:
        batcher = served.app.state.dispatcher.batchers["match"]
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(match, served)
            assert blocked.entered.wait(10)
            leaving = served.connect()
            leaving.sendall(raw_match_request())
            wait_until(lambda: len(batcher) == 1)
            entry = batcher._waiting[0]
            leaving.close()
            wait_until(lambda: entry.future.cancelled())
            blocked.release.set()
            assert first.result(10).startswith(b"HTTP/1.1 200")
        assert blocked.batches == [1]


def test_a_match_does_not_wait_behind_regions(make_client):
    class Slow(StandInMatches):
        release, entered = threading.Event(), threading.Event()

        def regions(self, photo, text):
            self.entered.set()
            assert self.release.wait(20)
            return super().regions(photo, text)

    service = Slow()
    client = make_client(match=service)
    with ThreadPoolExecutor(1) as pool:
        fields = {"text": "a red shape", "regions": "true"}
        regions = pool.submit(client.post, "/v1/match", files=upload(photo()), data=fields)
        assert service.entered.wait(10)
        plain = client.post("/v1/match", files=upload(photo()), data={"text": "a red shape"})
        assert plain.json()["probability"] == 0.93 and not regions.done()
        service.release.set()
        assert regions.result(10).json()["regions"]["rows"] == 8


def test_concurrent_requests_share_forward_passes(make_client):
    service = StandInMatches(seconds=0.05)
    with Served(match=service) as served, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: match(served), range(24)))
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert sum(service.batches) == 24 and len(service.batches) < 12
