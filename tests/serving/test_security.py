"""Nothing that a stranger sends is trusted; each promise with its test."""

import contextlib
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagetext.serving.guard import HEADERS
from imagetext.serving.settings import Settings

from .served import Served
from .stand_ins import Blocked, StandInCaptioner, StandInMatcher, StandInSearcher, photo

#: How a form begins to be sent, up to how long it is.
HEAD = (
    "POST /v1/caption HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: multipart/form-data; boundary=x\r\n"
)


def sent(data: bytes, name: str = "dog.jpg"):
    return {"photo": (name, data, "image/jpeg")}


def code(answer) -> str:
    return answer.json()["error"]["code"]


# ------------------------------------------------------------------------------ sizes


def test_a_body_that_declares_too_much_is_refused_unread():
    settings = Settings(most_bytes=50_000)
    with Served(captioner=StandInCaptioner(), settings=settings) as served:
        with served.connect() as line:
            line.sendall(f"{HEAD}Content-Length: 50001\r\n\r\n".encode())
            answer = line.recv(65536)  # not one byte of the body was sent
        assert answer.startswith(b"HTTP/1.1 413")


def test_a_chunked_body_is_counted_as_it_comes():
    settings = Settings(most_bytes=50_000)
    with Served(captioner=StandInCaptioner(), settings=settings) as served:
        with served.connect() as line:
            line.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
            answer, chunks = b"", 0
            line.settimeout(0.05)
            while not answer and chunks < 1000:
                line.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")
                chunks += 1
                try:
                    answer = line.recv(65536)
                except TimeoutError:
                    continue
        assert answer.startswith(b"HTTP/1.1 413") and chunks < 60
        assert served.app.state.desk.held.now == 0


@pytest.mark.parametrize("path", ["/v1/caption", "/v1/nowhere"])
def test_after_a_refusal_no_more_of_the_body_is_taken(path):
    head = HEAD.replace("/v1/caption", path)
    with Served(captioner=StandInCaptioner(), settings=Settings(most_bytes=50_000)) as served:
        with served.connect() as line:
            line.sendall(f"{head}Content-Length: 2000000000\r\n\r\n".encode())
            answer = line.recv(65536)
            assert answer.startswith(b"HTTP/1.1 413") and b"connection: close" in answer
            taken = 0
            with pytest.raises(OSError):
                while taken < 500 * 2**20:
                    taken += line.send(bytes(2**20))
        assert taken < 30 * 2**20  # what fits into the system's own buffers


def test_a_client_that_still_sends_reads_why_it_was_refused():
    settings = Settings(most_bytes=2_000_000)
    served = Served(captioner=StandInCaptioner(), settings=settings)
    with served, served.connect() as line:
        line.sendall(f"{HEAD}Content-Length: 2500000\r\n\r\n".encode() + bytes(2_500_000))
        assert line.recv(65536).startswith(b"HTTP/1.1 413")


def test_bodies_of_all_clients_together_are_limited(make_client):
    client = make_client(captioner=StandInCaptioner(), most_held=500)
    answer = client.post("/v1/caption", files=sent(photo(size=(200, 200))))
    assert answer.status_code == 503 and answer.headers["retry-after"]


def test_a_body_that_never_ends_is_given_up():
    settings = Settings(body_seconds=0.3)
    served = Served(captioner=StandInCaptioner(), settings=settings)
    with served, served.connect() as line:
        line.sendall(f"{HEAD}Content-Length: 500\r\n\r\nab".encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 408")


def test_many_pixels_are_refused(make_client):
    client = make_client(captioner=StandInCaptioner(), most_pixels=10_000)
    answer = client.post("/v1/caption", files=sent(photo(size=(101, 100))))
    assert answer.status_code == 413 and code(answer) == "too-many-pixels"
    assert client.post("/v1/caption", files=sent(photo(size=(100, 100)))).status_code == 200


def test_long_texts_and_deep_or_long_json_are_refused(client):
    long = client.post("/v1/search", json={"text": "a" * 501})
    assert long.status_code == 413 and code(long) == "long-text"
    assert client.post("/v1/search", json={"text": "a" * 500}).status_code == 200
    json_type = {"content-type": "application/json"}
    deep = client.post("/v1/search", content=b"[" * 9_000, headers=json_type)
    assert deep.status_code == 400 and "deeply" in deep.json()["error"]["message"]
    large = client.post("/v1/search", content=b" " * 20_000, headers=json_type)
    assert large.status_code == 413


# ------------------------------------------------------------------------------ content


def test_types_are_told_by_content_not_by_name(client):
    wrong = client.post("/v1/caption", files={"photo": ("x.jpg", b"<html>", "image/jpeg")})
    assert wrong.status_code == 415 and code(wrong) == "no-photo"
    files = {"photo": ("x.html", photo(), "text/html")}
    assert client.post("/v1/caption", files=files).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"top": 0},
        {"top": 61},
        {"top": "3; drop"},
        {"top": 2.5},
        {"top": True},
        {"top": [3]},
        {"text": ["a"]},
        {"text": {"a": 1}},
        {"text": 7},
        {"text": "   "},
        {"photo_id": "../../etc/passwd"},
        {"photo_id": "%2e%2e"},
        {"regions": True},
        {},
    ],
)
def test_fields_that_are_wrong_are_refused_in_words(client, fields):
    given = fields if "text" in fields or not fields else {"text": "a dog", **fields}
    answer = client.post("/v1/search", json=given)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].endswith(".")


@pytest.mark.parametrize("text", ["a\u0000dog", "a \ud83d dog", "a\u202edog", "\U0001f415" * 400])
def test_odd_letters_are_harmless(make_client, text):
    searcher = StandInSearcher()
    body = json.dumps({"text": text}).encode()
    answer = make_client(searcher=searcher).post(
        "/v1/search", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    assert searcher.asked[-1].text.encode() and searcher.asked[-1].text.isprintable()


def test_compressed_bodies_and_other_types_are_refused(client):
    for headers in (
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {},
    ):
        answer = client.post("/v1/search", content=b"{}", headers=headers)
        assert answer.status_code == 415, headers


# ------------------------------------------------------------------------------ files


def test_uploads_never_touch_the_disk(client, monkeypatch):
    import tempfile

    def forbidden(*args, **options):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    large = photo("PNG", (1200, 1000))  # more than frameworks keep in memory
    assert len(large) > 2**20
    assert client.post("/v1/caption", files=sent(large)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/app.py",
        "/page//etc/passwd",
        "/page/..%5c..%5capp.py",
        "/page/__init__.py",
        "/v1/photo/..%2f..%2fetc%2fpasswd",
        "/v1/photo/%00",
        "/v1/photo/abc",
        "/v1/photo/ABCDEF0123456789",
        "/v1/photo/0123456789abcdef",
        "/v1/photo/" + "a" * 5000,
    ],
)
def test_no_path_of_a_client_reaches_a_file(make_client, path):
    searcher = StandInSearcher()
    known = set(searcher.photos)
    asked = []
    searcher.photo = lambda id: asked.append(id) or searcher.photos.get(id)
    answer = make_client(searcher=searcher).get(path)
    assert answer.status_code in (404, 405)
    assert all(len(id) <= 64 and id.isalnum() and id not in known for id in asked)


def test_an_unknown_size_of_thumbnail_is_not_made(make_client):
    searcher = StandInSearcher()
    id = next(iter(searcher.photos))
    client = make_client(searcher=searcher)
    assert client.get(f"/v1/photo/{id}?size=100000").status_code == 404


# ------------------------------------------------------------------------------ who asks


@pytest.mark.parametrize("path", ["/", "/v1/about", "/nowhere", "/v1/caption", "/page/app.js"])
def test_every_answer_has_strict_headers(client, path):
    answer = client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers
    assert answer.headers["cache-control"]


def test_other_names_of_the_server_are_refused(make_client):
    client = make_client(captioner=StandInCaptioner(), hosts=("photos.example",))
    for host in ("localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "photos.example"):
        assert client.get("/v1/about", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example", "[::1"):
        assert client.get("/v1/about", headers={"host": host}).status_code == 421, host


def test_pages_of_other_sites_may_not_ask(client):
    for origin in ("http://evil.example", "null", "http://localhost:9"):
        answer = client.post("/v1/search", json={"text": "red"}, headers={"origin": origin})
        assert answer.status_code == 403 and code(answer) == "cross-site"
    own = client.post("/v1/search", json={"text": "red"}, headers={"origin": "http://localhost"})
    assert own.status_code == 200
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert client.post("/v1/search", json={"text": "red"}, headers=elsewhere).status_code == 403
    assert client.get("/", headers=elsewhere).status_code == 200  # a link to the page
    assert client.options("/v1/search").status_code == 405


def test_a_token_is_asked_for(make_client):
    client = make_client(searcher=StandInSearcher(), token="s3cret")
    ask = {"json": {"text": "red"}}
    for given in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "Basic s3cret"}):
        for answer in (
            client.post("/v1/search", headers=given, **ask),
            client.get("/metrics", headers=given),
            client.get("/v1/photo/0123456789abcdef", headers=given),
        ):
            assert answer.status_code == 401 and code(answer) == "token"
            assert answer.headers["www-authenticate"] == "Bearer"
    odd = {"authorization": b"Bearer s\xe9cret"}
    assert client.post("/v1/search", headers=odd, **ask).status_code == 401
    right = {"authorization": "Bearer s3cret"}
    assert client.post("/v1/search", headers=right, **ask).status_code == 200
    for path in ("/", "/healthz", "/readyz", "/v1/about"):
        assert client.get(path).status_code == 200


# ------------------------------------------------------------------------------ load


def test_a_full_queue_asks_to_come_back():
    blocked = Blocked()
    settings = Settings(queue=2, together=1)
    with Served(matcher=blocked, settings=settings) as served, ThreadPoolExecutor(8) as pool:
        first = pool.submit(_match, served)
        assert blocked.entered.wait(10)
        waiting = [pool.submit(_match, served) for _ in range(2)]
        batcher = served.app.state.desk.batchers["match"]
        _until(lambda: len(batcher) == 2)
        refused = _match(served)
        assert refused.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in refused
        blocked.let.set()
        answers = [future.result(10) for future in (first, *waiting)]
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


def test_what_takes_too_long_is_given_up():
    blocked = Blocked()
    with Served(matcher=blocked, settings=Settings(answer_seconds=0.3)) as served:
        assert _match(served).startswith(b"HTTP/1.1 504")
        blocked.let.set()
        assert _match(served).startswith(b"HTTP/1.1 200")


def test_a_client_that_left_is_not_worked_for():
    blocked = Blocked()
    with Served(matcher=blocked, settings=Settings(together=1)) as served:
        batcher = served.app.state.desk.batchers["match"]
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(_match, served)
            assert blocked.entered.wait(10)
            leaving = served.connect()
            leaving.sendall(_request())
            _until(lambda: len(batcher) == 1)
            asked = batcher._waiting[0]
            leaving.close()
            _until(lambda: asked.future.cancelled())
            blocked.let.set()
            assert first.result(10).startswith(b"HTTP/1.1 200")
        assert blocked.seen == [1]


def test_a_match_does_not_wait_behind_regions(make_client):
    class Slow(StandInMatcher):
        let, entered = threading.Event(), threading.Event()

        def regions(self, photo, text):
            self.entered.set()
            assert self.let.wait(20)
            return super().regions(photo, text)

    matcher = Slow()
    client = make_client(matcher=matcher)
    with ThreadPoolExecutor(1) as pool:
        given = {"text": "a red shape", "regions": "true"}
        regions = pool.submit(client.post, "/v1/match", files=sent(photo()), data=given)
        assert matcher.entered.wait(10)
        plain = client.post("/v1/match", files=sent(photo()), data={"text": "a red shape"})
        assert plain.json()["probability"] == 0.93 and not regions.done()
        matcher.let.set()
        assert regions.result(10).json()["regions"]["rows"] == 8


def test_many_at_once_share_forward_passes(make_client):
    matcher = StandInMatcher(seconds=0.05)
    with Served(matcher=matcher) as served, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: _match(served), range(24)))
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert sum(matcher.batches) == 24 and len(matcher.batches) < 12


# ------------------------------------------------------------------------------ connections

ASKING = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def closed(line: socket.socket) -> bool:
    """Whether the server has closed it, or does within ten seconds."""
    try:
        while line.recv(65536):
            pass  # of the answer to what was asked before
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("sent_before", [b"", b"GET / HTTP/1.1\r\nHost: loc", ASKING + b"GET /"])
def test_a_header_that_never_ends_is_given_up(sent_before):
    served = Served(captioner=StandInCaptioner(), settings=Settings(header_seconds=0.4))
    with served, served.connect() as line:
        line.sendall(sent_before)
        if sent_before.startswith(ASKING):
            assert line.recv(65536).startswith(b"HTTP/1.1 200")
        assert closed(line)


def test_a_client_that_reads_no_answer_is_given_up():
    blocked = Blocked()
    settings = Settings(request_seconds=0.4)
    with Served(matcher=blocked, settings=settings) as served, served.connect() as line:
        line.sendall(_request())
        assert closed(line)
        blocked.let.set()


@pytest.mark.parametrize("limit", ["most_waiting", "most_connections_each"])
def test_who_asks_is_answered_whoever_keeps_silent(limit):
    """As many connections as one likes, each with half a header."""
    with Served(captioner=StandInCaptioner(), settings=Settings(**{limit: 20})) as served:
        silent = [served.connect() for _ in range(60)]
        for line in silent:
            with contextlib.suppress(OSError):
                line.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        with served.connect() as line:
            for _ in range(2):
                line.sendall(ASKING)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += line.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200")
        told = silent[0].recv(65536)  # it was not answered: it is told why
        assert told.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in told
        assert closed(silent[0])
        _until(lambda: len(served.server.server_state.connections) <= 20)
        for line in silent:
            line.close()
        _until(lambda: not served.server.server_state.connections)


def test_too_many_requests_are_refused_as_all_else_is():
    blocked = Blocked()
    served = Served(matcher=blocked, settings=Settings(most_requests=1))
    with served, ThreadPoolExecutor(1) as pool:
        first = pool.submit(_match, served)
        assert blocked.entered.wait(20)
        with served.connect() as line:
            line.sendall(ASKING)
            refused = line.recv(65536)
        assert refused.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in refused
        assert b"content-security-policy" in refused
        blocked.let.set()
        assert first.result(20).startswith(b"HTTP/1.1 200")


# ------------------------------------------------------------------------------ failures


def test_no_trace_reaches_the_client_but_the_log_has_it(client, caplog):
    answer = client.post("/v1/match", files=sent(photo()), data={"text": "crash"})
    assert answer.status_code == 500
    for secret in ("secret", "/home", "Traceback", "RuntimeError", ".py"):
        assert secret not in answer.text
    number = answer.json()["error"]["message"].split()[-1].strip(".")
    logged = "\n".join(caplog.messages)
    assert number in logged and "RuntimeError: secret" in caplog.text
    assert answer.headers["content-security-policy"]


def test_what_a_model_cannot_answer_is_told_in_its_words(client):
    answer = client.post("/v1/match", files=sent(photo()), data={"text": "unknown"})
    assert answer.status_code == 422 and "does not know this word" in answer.text


def test_errors_of_addresses_and_methods_echo_nothing(client):
    for method, path in (("GET", "/<script>"), ("DELETE", "/v1/search"), ("PUT", "/")):
        answer = client.request(method, path)
        assert answer.status_code in (404, 405)
        assert answer.headers["content-type"] == "application/json" and "script" not in answer.text


def test_malformed_requests_do_not_stop_the_server(caplog):
    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")
    with Served(captioner=StandInCaptioner()) as served:
        for raw in (
            b"\x16\x03\x01\x02\x00",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n",
        ):
            with served.connect() as line:
                line.sendall(raw)
                line.shutdown(socket.SHUT_WR)
                line.recv(4096)
        with served.connect() as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert line.recv(4096).startswith(b"HTTP/1.1 200")


def _request() -> bytes:
    parts = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\na red shape\r\n'
    parts += b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    body = parts + photo() + b"\r\n--x--\r\n"
    head = "POST /v1/match HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _match(served) -> bytes:
    with served.connect() as line:
        line.sendall(_request())
        answer = b""
        while more := line.recv(65536):
            answer += more
        return answer


def _until(true) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("never came true")
