"""Requests are never trusted: their content, file paths, hosts, origins and tokens."""

import json

import pytest

from imagetext.serving.guard import HEADERS

from .served import upload
from .stand_ins import StandInCaptions, StandInSearch, photo


def error_code(response) -> str:
    return response.json()["error"]["code"]


def test_the_type_of_a_file_is_recognised_by_its_content(client):
    wrong = client.post("/v1/caption", files={"photo": ("x.jpg", b"<html>", "image/jpeg")})
    assert wrong.status_code == 415 and error_code(wrong) == "no-photo"
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
def test_invalid_fields_are_refused(client, fields):
    values = fields if "text" in fields or not fields else {"text": "a dog", **fields}
    answer = client.post("/v1/search", json=values)
    assert answer.status_code == 422
    message = answer.json()["error"]["message"]
    assert message.endswith(".") and "None" not in message


@pytest.mark.parametrize("text", ["a\u0000dog", "a \ud83d dog", "a\u202edog", "\U0001f415" * 400])
def test_unusual_characters_are_harmless(make_client, text):
    search = StandInSearch()
    body = json.dumps({"text": text}).encode()
    answer = make_client(search=search).post(
        "/v1/search", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    assert search.queries[-1].text.encode() and search.queries[-1].text.isprintable()


def test_compressed_bodies_and_other_types_are_refused(client):
    for headers in (
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {},
    ):
        answer = client.post("/v1/search", content=b"{}", headers=headers)
        assert answer.status_code == 415, headers


def test_uploads_never_touch_the_disk(client, monkeypatch):
    import tempfile

    def forbidden(*args, **options):
        raise AssertionError("uses a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    large = photo("PNG", (1200, 1000))  # more than web frameworks keep in memory
    assert len(large) > 2**20
    assert client.post("/v1/caption", files=upload(large)).status_code == 200


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
    search = StandInSearch()
    known = set(search.photos)
    ids = []
    search.photo = lambda id: ids.append(id) or search.photos.get(id)
    answer = make_client(search=search).get(path)
    assert answer.status_code in (404, 405)
    assert all(len(id) <= 64 and id.isalnum() and id not in known for id in ids)


def test_thumbnails_of_other_sizes_are_refused(make_client):
    search = StandInSearch()
    id = next(iter(search.photos))
    client = make_client(search=search)
    assert client.get(f"/v1/photo/{id}?size=100000").status_code == 404


@pytest.mark.parametrize("path", ["/", "/v1/about", "/nowhere", "/v1/caption", "/page/app.js"])
def test_every_response_has_strict_headers(client, path):
    answer = client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers
    assert answer.headers["cache-control"]


def test_other_host_names_are_refused(make_client):
    client = make_client(caption=StandInCaptions(), hosts=("photos.example",))
    for host in ("localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000", "photos.example"):
        assert client.get("/v1/about", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example", "[::1"):
        assert client.get("/v1/about", headers={"host": host}).status_code == 421, host


def test_requests_from_other_sites_are_refused(client):
    for origin in ("http://evil.example", "null", "http://localhost:9"):
        answer = client.post("/v1/search", json={"text": "red"}, headers={"origin": origin})
        assert answer.status_code == 403 and error_code(answer) == "cross-site"
    own = client.post("/v1/search", json={"text": "red"}, headers={"origin": "http://localhost"})
    assert own.status_code == 200
    foreign = {"sec-fetch-site": "cross-site"}
    assert client.post("/v1/search", json={"text": "red"}, headers=foreign).status_code == 403
    assert client.get("/", headers=foreign).status_code == 200  # a link to the page
    assert client.options("/v1/search").status_code == 405


def test_the_token_is_required(make_client):
    client = make_client(search=StandInSearch(), token="s3cret")
    query = {"json": {"text": "red"}}
    for headers in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "Basic s3cret"}):
        for answer in (
            client.post("/v1/search", headers=headers, **query),
            client.get("/metrics", headers=headers),
            client.get("/v1/photo/0123456789abcdef", headers=headers),
        ):
            assert answer.status_code == 401 and error_code(answer) == "token"
            assert answer.headers["www-authenticate"] == "Bearer"
    not_ascii = {"authorization": b"Bearer s\xe9cret"}
    assert client.post("/v1/search", headers=not_ascii, **query).status_code == 401
    right = {"authorization": "Bearer s3cret"}
    assert client.post("/v1/search", headers=right, **query).status_code == 200
    for path in ("/", "/healthz", "/readyz", "/v1/about"):
        assert client.get(path).status_code == 200


def test_tracebacks_are_logged_and_not_sent(client, caplog):
    answer = client.post("/v1/match", files=upload(photo()), data={"text": "crash"})
    assert answer.status_code == 500
    for secret in ("secret", "/home", "Traceback", "RuntimeError", ".py"):
        assert secret not in answer.text
    number = answer.json()["error"]["message"].split()[-1].strip(".")
    logged = "\n".join(caplog.messages)
    assert number in logged and "RuntimeError: secret" in caplog.text
    assert answer.headers["content-security-policy"]


def test_the_message_of_an_unanswerable_query_is_sent(client):
    answer = client.post("/v1/match", files=upload(photo()), data={"text": "unknown"})
    assert answer.status_code == 422 and "does not know this word" in answer.text


def test_errors_do_not_echo_the_request(client):
    for method, path in (("GET", "/<script>"), ("DELETE", "/v1/search"), ("PUT", "/")):
        answer = client.request(method, path)
        assert answer.status_code in (404, 405)
        assert answer.headers["content-type"] == "application/json" and "script" not in answer.text
