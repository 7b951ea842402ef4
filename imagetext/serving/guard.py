"""What stands around every request: who may ask, what the answer's headers are, and no traces.

app.add_middleware(Guard, settings=Settings(token="s3cret"), measures=Measures())

Plain ASGI, so that a client's leaving is still noticed by whoever answers.
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

from imagetext.serving.bodies import too_large
from imagetext.serving.measures import Measures
from imagetext.serving.refusals import Refused, busy
from imagetext.serving.settings import Settings

log = logging.getLogger("imagetext.web")

#: What a page of ours may do: show itself, and talk to where it came from.
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
#: What is shown to those who know the token only. (The page itself holds no secrets.)
GUARDED = ("/v1/", "/metrics")
OPEN = ("/v1/about",)
SENT_WITH_A_BODY = (b"content-length", b"transfer-encoding")
#: Seconds for which the rest of a refused body is read.
SWALLOWING = 1.0


class Guard:
    def __init__(self, app: ASGIApp, settings: Settings, measures: Measures):
        self.app, self.settings, self.measures = app, settings, measures
        self.now = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there are none here
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        unread = any(name in SENT_WITH_A_BODY and value != b"0" for name, value in scope["headers"])
        self.now += 1

        async def receiving() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                unread = False
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                there = {name.lower() for name, _ in headers}
                every = HEADERS | ({} if b"cache-control" in there else NOT_KEPT)
                message["headers"] = headers + [
                    (name.encode(), value.encode()) for name, value in every.items()
                ]
                if unread:  # nobody will: the server shall not go on taking it
                    message["headers"].append((b"connection", b"close"))
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                await self._swallow(receiving)
                message = {"type": "http.response.body"}
            await send(message)

        try:
            try:
                if self.now > self.settings.most_requests:
                    raise busy()
                self._check(scope)
                await self.app(scope, receiving, sending)
            except Refused:
                raise
            except Exception as error:
                number = uuid.uuid4().hex[:8]
                log.exception("request %s failed", number)
                told = f"Something went wrong here; the server's log has it as {number}."
                raise Refused(500, "failed", told) from error
        except Refused as refused:
            if not status:
                await respond(refused, sending)
        finally:
            self.now -= 1
            route = getattr(scope.get("route"), "path", "other")
            self.measures.request(route, status, time.perf_counter() - began)

    async def _swallow(self, receive: Receive) -> None:
        """A little more of a body that is not wanted: a client that is cut off while it still sends
        does not read why."""
        left = self.settings.most_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SWALLOWING):
                while left > 0 and (message := await receive()).get("more_body"):
                    left -= len(message["body"])

    def _check(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if not self._known(host):
            told = "This server does not go by that name. (Its owner can add it: --hosts NAME.)"
            raise Refused(421, "host", told)
        origin = headers.get(b"origin")
        elsewhere = origin is not None and origin.partition("://")[2] != host
        if elsewhere or (headers.get(b"sec-fetch-site") == "cross-site" and not _visit(scope)):
            raise Refused(403, "cross-site", "Requests from other web sites are not answered.")
        self._check_token(scope["path"], headers.get(b"authorization", ""))
        declared = headers.get(b"content-length", "0")
        if not declared.isascii() or not declared.isdigit():
            raise Refused(400, "bad-request", "The request's length is no number.")
        if len(declared) > 15 or int(declared) > self.settings.most_bytes:
            raise too_large(self.settings.most_bytes)

    def _known(self, host: str) -> bool:
        """A page of another site can make a browser call us by its own name, by changing what the
        name stands for; but not by an address."""
        name = re.sub(r":\d{1,5}$", "", host).lower()
        if name in ("localhost", *(known.lower() for known in self.settings.hosts)):
            return True
        try:
            ipaddress.ip_address(name[1:-1] if name.startswith("[") else name)
        except ValueError:
            return False
        return True

    def _check_token(self, path: str, authorization: str) -> None:
        if self.settings.token is None or path in OPEN or not path.startswith(GUARDED):
            return
        kind, _, given = authorization.partition(" ")
        expected = self.settings.token.encode()
        right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), expected)
        if kind.lower() != "bearer" or not right:
            told = "This server asks for its token."
            raise Refused(401, "token", told, {"WWW-Authenticate": "Bearer"})


NOT_KEPT = {"cache-control": "no-store"}


def _visit(scope: Scope) -> bool:
    """Whether somebody follows a link to the page."""
    return scope["method"] == "GET" and not scope["path"].startswith("/v1/")


async def respond(refused: Refused, send: Send) -> None:
    body = refused.body
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in refused.headers.items()},
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
