"""Forms and JSON, sound and malformed."""

import json

import pytest

from imagetext.serving.api_errors import ApiError
from imagetext.serving.request_body import MemoryBudget, nesting_depth, parse_form, parse_json
from imagetext.serving.settings import ServerSettings

SETTINGS = ServerSettings()


def form(*parts: tuple[str, bytes], boundary: bytes = b"xyz", end: bytes = b"--xyz--\r\n") -> bytes:
    body = b""
    for disposition, data in parts:
        head = f"Content-Disposition: form-data; {disposition}".encode()
        body += b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    return body + end


def test_a_form_is_parsed_and_file_names_are_ignored():
    body = form(
        ('name="text"', "ein Hündchen".encode()), ('name="photo"; filename="../../x"', b"\xff\x00")
    )
    parsed = parse_form(body, b"xyz", SETTINGS)
    assert parsed.fields == {"text": "ein Hündchen"} and parsed.photo == b"\xff\x00"


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
def test_malformed_forms_are_refused(body):
    with pytest.raises(ApiError) as error:
        parse_form(body, b"xyz", SETTINGS)
    assert 400 <= error.value.status < 500


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[]", 1), ('{"a": [[1]]}', 3), (r'"[[[["', 0), (r'["\"[["]', 1), (r'["\\", [1]]', 2)],
)
def test_nesting_depth_counts_brackets_outside_of_strings(text, expected):
    json.loads(text)
    assert nesting_depth(text.encode()) == expected


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
def test_malformed_json_is_refused(body):
    with pytest.raises(ApiError) as error:
        parse_json(body, SETTINGS)
    assert error.value.status == 400


def test_memory_for_bodies_is_shared_and_released():
    budget = MemoryBudget(100)
    with budget.reserve() as first, budget.reserve() as second:
        first.grow(60)
        second.grow(30)
        with pytest.raises(ApiError) as error:
            second.grow(20)
        assert error.value.status == 503 and "Retry-After" in error.value.headers
    assert budget.used == 0
