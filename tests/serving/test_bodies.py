"""Forms and JSON as strangers may write them."""

import json

import pytest

from imagetext.serving.bodies import Held, depth, from_form, from_json
from imagetext.serving.refusals import Refused
from imagetext.serving.settings import Settings

SETTINGS = Settings()


def form(*parts: tuple[str, bytes], boundary: bytes = b"xyz", end: bytes = b"--xyz--\r\n") -> bytes:
    body = b""
    for disposition, data in parts:
        head = f"Content-Disposition: form-data; {disposition}".encode()
        body += b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    return body + end


def test_a_form_is_taken_apart_and_file_names_are_not_looked_at():
    body = form(
        ('name="text"', "ein Hündchen".encode()), ('name="photo"; filename="../../x"', b"\xff\x00")
    )
    given = from_form(body, b"xyz", SETTINGS)
    assert given.fields == {"text": "ein Hündchen"} and given.photo == b"\xff\x00"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        form(('name="text"', b"a dog"), end=b""),
        form(('nome="text"', b"a dog")),
        form(('name="text"', b"\xff\xfe")),
        form(('name="text"', b"a"), ('name="text"', b"b")),
        form(*((f'name="f{n}"', b"a") for n in range(40))),
        form(('name="text"', b"a" * 20_000)),
        form((f'name="{"n" * 5000}"', b"a")),
        form(('name="text"', b"a dog"), boundary=b"other"),
    ],
)
def test_damaged_forms_are_refused(body):
    with pytest.raises(Refused) as refused:
        from_form(body, b"xyz", SETTINGS)
    assert 400 <= refused.value.status < 500


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[]", 1), ('{"a": [[1]]}', 3), (r'"[[[["', 0), (r'["\"[["]', 1), (r'["\\", [1]]', 2)],
)
def test_depth_counts_brackets_outside_of_strings(text, expected):
    json.loads(text)
    assert depth(text.encode()) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000,
        b'{"a":' * 3_000,
        b'{"top": NaN}',
        b"[1]",
        b"",
        b"\xff",
        b'{"top": ' + b"9" * 5000 + b"}",
    ],
)
def test_damaged_json_is_refused(body):
    with pytest.raises(Refused) as refused:
        from_json(body, SETTINGS)
    assert refused.value.status == 400


def test_memory_for_bodies_is_shared_and_given_back():
    held = Held(100)
    with held.room() as one, held.room() as other:
        one.take(60)
        other.take(30)
        with pytest.raises(Refused) as refused:
            other.take(20)
        assert refused.value.status == 503 and "Retry-After" in refused.value.headers
    assert held.now == 0
