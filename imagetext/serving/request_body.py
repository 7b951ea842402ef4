"""Reading request bodies: no more than allowed, and never to disk.

    body = await read_body(request, settings, reservation)
    body.fields, body.photo                          # {"text": "a dog"}, b"..."

A body is a form (multipart/form-data, with the file in its part `photo`) or a flat JSON object.
File names are ignored.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from imagetext.serving.api_errors import ApiError, bad_request, busy, too_large, unprocessable
from imagetext.serving.settings import ServerSettings

PHOTO = "photo"
#: Most bytes of the headers of a form's part.
MAX_HEADER = 4096
MAX_FIELD_NAME = 40
# The parser warns about every malformed form, so clients could fill the log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True)
class RequestBody:
    """The fields as the client sent them (strings of a form, or JSON values), and the photo."""

    fields: dict[str, Any] = field(default_factory=dict)
    photo: bytes | None = None


class MemoryBudget:
    """A limit on the memory that the bodies of all requests take together."""

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0

    @contextlib.contextmanager
    def reserve(self) -> Iterator["Reservation"]:
        """A reservation that is released at the end of the block."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self.used -= reservation.size


class Reservation:
    """The part of a budget that one request uses."""

    def __init__(self, budget: MemoryBudget):
        self.budget, self.size = budget, 0

    def grow(self, count: int) -> None:
        if self.budget.used + count > self.budget.limit:
            raise busy(2)
        self.budget.used += count
        self.size += count

    def resize(self, count: int) -> None:
        """Release everything except `count` bytes."""
        self.budget.used -= self.size
        self.size = 0
        self.grow(count)


async def read_body(
    request: Request, settings: ServerSettings, reservation: Reservation
) -> RequestBody:
    """Read a body according to its Content-Type. (The guard has checked its Content-Length.)"""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "encoded", "Compressed requests are not supported.")
    if kind == b"application/json":
        data = await _receive(request, settings.max_json_bytes, settings, reservation)
        return parse_json(data, settings)
    if kind != b"multipart/form-data":
        message = "The request must be multipart/form-data (with a photo) or application/json."
        raise ApiError(415, "content-type", message)
    data = await _receive(request, settings.max_bytes, settings, reservation)
    return parse_form(data, options.get(b"boundary", b""), settings)


async def _receive(
    request: Request, limit: int, settings: ServerSettings, reservation: Reservation
) -> bytes:
    """Count bytes as they arrive: without a Content-Length nobody knows how many there will be."""
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise too_large(limit)
                reservation.grow(len(chunk))
                body += chunk
    except TimeoutError:
        raise ApiError(408, "slow", "The request took too long to arrive.") from None
    except ClientDisconnect:
        raise ApiError(400, "gone", "The request is incomplete.") from None
    return bytes(body)


def parse_json(data: bytes, settings: ServerSettings) -> RequestBody:
    """Parse a flat JSON object. Its depth is checked first: the parser is recursive."""
    if nesting_depth(data) > settings.max_json_depth:
        raise bad_request("The JSON is nested too deeply.")
    try:
        fields = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise bad_request("The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise bad_request('The body must be a JSON object, such as {"text": "a dog"}.')
    return RequestBody(fields)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def nesting_depth(data: bytes) -> int:
    """The depth of nested brackets outside of strings."""
    deepest = depth = 0
    quoted = escaped = False
    for byte in data:
        if quoted:
            quoted = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            quoted = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def parse_form(data: bytes, boundary: bytes, settings: ServerSettings) -> RequestBody:
    """Parse a form in memory, whatever its size."""
    form = _Form(settings)
    try:
        if not boundary:
            raise ValueError("no boundary")
        parser = MultipartParser(boundary, form.callbacks(), max_header_size=MAX_HEADER)
        parser.write(data)
        parser.finalize()
    except ValueError:  # the base class of the parser's own errors
        raise bad_request("The form is malformed.", "bad-form") from None
    if not form.ended:
        raise bad_request("The form is incomplete.", "bad-form")
    photo = form.parts.pop(PHOTO, None)
    return RequestBody({name: _decode(part) for name, part in form.parts.items()}, photo)


def _decode(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise bad_request("The text of the form is not UTF-8.", "bad-form") from None


class _Form:
    """Collects the parts that the parser reports."""

    def __init__(self, settings: ServerSettings):
        self.settings, self.ended = settings, False
        self.parts: dict[str, bytes] = {}
        self._header_name, self._header_value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name, self._data = "", bytearray()

    def callbacks(self) -> dict[str, Callable]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._extend,
            "on_part_end": self._end_part,
            "on_end": self._end_form,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self.settings.max_fields:
            raise unprocessable(f"The form has more than {self.settings.max_fields} fields.")
        self._headers, self._data = {}, bytearray()

    def _end_header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")
        if kind != b"form-data" or not name or len(name) > MAX_FIELD_NAME:
            raise ValueError("a part without a name")
        self._name = name.decode("ascii", "replace")
        if self._name in self.parts:
            raise unprocessable("The form contains a field twice.")

    def _extend(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if self._name != PHOTO and len(self._data) > self.settings.max_json_bytes:
            raise too_large(self.settings.max_json_bytes)

    def _end_part(self) -> None:
        self.parts[self._name] = bytes(self._data)

    def _end_form(self) -> None:
        self.ended = True
