"""What a client is told when it does not get what it asked for: a status, a code, and words.

raise Refused(413, "too-large", "The photo is larger than 16 MB.")
"""

import json


class Refused(Exception):
    """An answer that is no. `message` is shown to people as it is."""

    def __init__(self, status: int, code: str, message: str, headers: dict | None = None):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()


class Unanswerable(Exception):
    """Raised by a service for a question that it cannot answer, in words fit for the client."""


def bad(message: str, code: str = "bad-request") -> Refused:
    return Refused(400, code, message)


def unprocessable(message: str, code: str = "invalid") -> Refused:
    return Refused(422, code, message)


def busy(seconds: int = 1) -> Refused:
    told = "Many requests are waiting just now. Please try again in a moment."
    return Refused(503, "busy", told, {"Retry-After": str(seconds)})
