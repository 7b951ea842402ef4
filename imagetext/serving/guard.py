"""Middleware around every request: who may send one, and the headers of the response.

    app.add_middleware(Guard, settings=ServerSettings(token="s3cret"), metrics=ServerMetrics())

Exceptions are logged under a number; clients see the number and no traceback. This is plain ASGI,
so handlers still notice when a client disconnects.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagetext.serving.api_errors import ApiError, busy, too_large
from imagetext.serving.server_metrics import ServerMetrics
from imagetext.serving.settings import ServerSettings

log = logging.getLogger("imagetext.web")

#: The page may load its own files and talk to its own server, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
NOT_CACHED = {"cache-control": "no-store"}
#: Paths that need the token, if there is one. (The page itself contains no secrets.)
GUARDED = ("/v1/", "/metrics")
OPEN = ("/v1/about",)
BODY_HEADERS = (b"content-length", b"transfer-encoding")
#: Seconds for which the rest of a refused body is still read.
DRAIN_SECONDS = 1.0


class Guard:
    """Checks every request before the app sees it, and counts it afterwards."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: ServerMetrics):
        self.app, self.settings, self.metrics = app, settings, metrics
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        unread = any(name in BODY_HEADERS and value != b"0" for name, value in scope["headers"])
        self.active += 1

        async def receive_and_note() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                unread = False
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                extra = HEADERS | ({} if b"cache-control" in names else NOT_CACHED)
                message["headers"] = headers + [
                    (name.encode(), value.encode()) for name, value in extra.items()
                ]
                if unread:  # nobody will read the body, so the server must not keep receiving it
                    message["headers"].append((b"connection", b"close"))
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                await self._drain(receive_and_note)
                message = {"type": "http.response.body"}
            await send(message)

        try:
            try:
                if self.active > self.settings.max_requests:
                    raise busy()
                self._check(scope)
                await self.app(scope, receive_and_note, send_with_headers)
            except ApiError:
                raise
            except Exception as error:
                number = uuid.uuid4().hex[:8]
                log.exception("request %s failed", number)
                message = f"Something went wrong. It is in the server's log as {number}."
                raise ApiError(500, "failed", message) from error
        except ApiError as error:
            if not status:
                await _respond(error, send_with_headers)
        finally:
            self.active -= 1
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.count_request(route, status, time.perf_counter() - start)

    async def _drain(self, receive: Receive) -> None:
        """Read a little more of an unwanted body: a client that is cut off while it is still
        sending does not read the response."""
        left = self.settings.max_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while left > 0 and (message := await receive()).get("more_body"):
                    left -= len(message["body"])

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._is_allowed_host(host):
            raise ApiError(
                421, "host", "Unknown host name. (The server's owner can allow it: --hosts NAME.)"
            )
        origin = headers.get(b"origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or (headers.get(b"sec-fetch-site") == "cross-site" and not _is_visit(scope)):
            raise ApiError(403, "cross-site", "Requests from other web sites are not allowed.")
        self._check_token(scope["path"], headers.get(b"authorization", ""))
        declared = headers.get(b"content-length", "0")
        if not declared.isascii() or not declared.isdigit():
            raise ApiError(400, "bad-request", "The Content-Length is not a number.")
        if len(declared) > 15 or int(declared) > self.settings.max_bytes:
            raise too_large(self.settings.max_bytes)

    def _is_allowed_host(self, host: str) -> bool:
        """DNS rebinding lets a page of another site reach this server under that site's name, but
        not under an IP address."""
        name = re.sub(r":\d{1,5}$", "", host).lower()
        if name in ("localhost", *(allowed.lower() for allowed in self.settings.hosts)):
            return True
        try:
            ipaddress.ip_address(name[1:-1] if name.startswith("[") else name)
        except ValueError:
            return False
        return True

    def _check_token(self, path: str, authorization: str) -> None:
        if self.settings.token is None or path in OPEN or not path.startswith(GUARDED):
            return
        kind, _, token = authorization.partition(" ")
        expected = self.settings.token.encode()
        valid = hmac.compare_digest(token.strip().encode("latin-1", "replace"), expected)
        if kind.lower() != "bearer" or not valid:
            message = "This server requires a token."
            raise ApiError(401, "token", message, {"WWW-Authenticate": "Bearer"})


def _is_visit(scope: Scope) -> bool:
    """Whether somebody may have followed a link to the page."""
    return scope["method"] == "GET" and not scope["path"].startswith("/v1/")


async def _respond(error: ApiError, send: Send) -> None:
    body = error.body
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in error.headers.items()},
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
