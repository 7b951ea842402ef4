"""Reading what a client sends, no more of it than allowed, and never onto the disk.

given = await read(request, settings, held)      # -> Given(fields={"text": "a dog"}, photo=b"...")

A request is a form (multipart/form-data, its part `photo` a file) or a flat JSON object. Names of
files are not looked at.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from imagetext.serving.refusals import Refused, bad, busy, unprocessable
from imagetext.serving.settings import Settings

PHOTO = "photo"
#: The most bytes of a form around its photo and its fields.
LONGEST_HEADER = 4096
# It warns about every malformed form: strangers would fill the log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Given:
    """`fields` as the client wrote them: strings of a form, or scalars of JSON."""

    fields: dict = field(default_factory=dict)
    photo: bytes | None = None


class Held:
    """How many bytes of bodies lie in memory, all clients together."""

    def __init__(self, most: int):
        self.most, self.now = most, 0

    @contextlib.contextmanager
    def room(self) -> Iterator["Room"]:
        room = Room(self)
        try:
            yield room
        finally:
            self.now -= room.taken


class Room:
    def __init__(self, held: Held):
        self.held, self.taken = held, 0

    def take(self, count: int) -> None:
        if self.held.now + count > self.held.most:
            raise busy(2)
        self.held.now += count
        self.taken += count

    def keep(self, count: int) -> None:
        """Of all that was taken only this much is still needed."""
        self.held.now -= self.taken
        self.taken = 0
        self.take(count)


def too_large(most: int) -> Refused:
    told = f"{most / 2**20:.0f} MB" if most >= 2**20 else f"{most / 2**10:.0f} KB"
    return Refused(413, "too-large", f"That is more than {told}. Please send less.")


async def read(request: Request, settings: Settings, room: Room) -> Given:
    """The body, by its Content-Type; one that declares too much was refused by the guard."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "encoded", "Please send the body as it is, not compressed.")
    if kind == b"application/json":
        return from_json(await _whole(request, settings.most_json, settings, room), settings)
    if kind != b"multipart/form-data":
        told = "Please send multipart/form-data (with a photo) or application/json."
        raise Refused(415, "content-type", told)
    body = await _whole(request, settings.most_bytes, settings, room)
    return from_form(body, options.get(b"boundary", b""), settings)


async def _whole(request: Request, most: int, settings: Settings, room: Room) -> bytes:
    """Counted as it comes: without Content-Length nobody said how much there would be."""
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > most:
                    raise too_large(most)
                room.take(len(chunk))
                body += chunk
    except TimeoutError:
        raise Refused(408, "slow", "The request took too long to arrive.") from None
    except ClientDisconnect:
        raise Refused(400, "gone", "The request was cut short.") from None
    return bytes(body)


def from_json(body: bytes, settings: Settings) -> Given:
    """A flat object; how deep it is nested is counted before it is parsed."""
    if depth(body) > settings.deepest_json:
        raise bad("The JSON is nested too deeply.")
    try:
        fields = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise bad("The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise bad('Please send a JSON object, such as {"text": "a dog"}.')
    return Given(fields)


def _no_number(name: str):
    raise ValueError(name)


def depth(body: bytes) -> int:
    """How deeply brackets are nested outside of strings."""
    deepest = now = 0
    quoted = escaped = False
    for byte in body:
        if quoted:
            quoted = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            quoted = True
        elif byte in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif byte in b"]}":
            now -= 1
    return deepest


def from_form(body: bytes, boundary: bytes, settings: Settings) -> Given:
    """The parts of a form by name; parsed in memory, whatever their size."""
    form = _Form(settings)
    try:
        if not boundary:
            raise ValueError("no boundary")
        parser = MultipartParser(boundary, form.callbacks(), max_header_size=LONGEST_HEADER)
        parser.write(body)
        parser.finalize()
    except ValueError:  # the parser's own errors are of this kind
        raise bad("The form is damaged.", "bad-form") from None
    if not form.ended:
        raise bad("The form is cut short.", "bad-form")
    photo = form.parts.pop(PHOTO, None)
    return Given({name: _text(part) for name, part in form.parts.items()}, photo)


def _text(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise bad("The form's texts are not UTF-8.", "bad-form") from None


class _Form:
    """What the parser finds, part by part."""

    def __init__(self, settings: Settings):
        self.settings, self.parts, self.ended = settings, {}, False
        self._field, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name, self._data = "", bytearray()

    def callbacks(self) -> dict:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._more,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self.settings.most_fields:
            raise unprocessable(f"A form has at most {self.settings.most_fields} fields.")
        self._headers, self._data = {}, bytearray()

    def _header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")
        if kind != b"form-data" or not name or len(name) > 40:
            raise ValueError("a part without a name")
        self._name = name.decode("ascii", "replace")
        if self._name in self.parts:
            raise unprocessable("The form has a field twice.")

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if self._name != PHOTO and len(self._data) > self.settings.most_json:
            raise too_large(self.settings.most_json)

    def _end(self) -> None:
        self.parts[self._name] = bytes(self._data)

    def _finish(self) -> None:
        self.ended = True
