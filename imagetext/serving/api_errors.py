"""Errors as clients see them: a status, a code for programs, and a message for people.

raise ApiError(413, "too-large", "The photo is larger than 16 MB.")
"""

import json
from collections.abc import Mapping


class ApiError(Exception):
    """A request that is not served. `message` is shown to people as it is."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()


def bad_request(message: str, code: str = "bad-request") -> ApiError:
    return ApiError(400, code, message)


def unprocessable(message: str, code: str = "invalid") -> ApiError:
    return ApiError(422, code, message)


def busy(seconds: int = 1) -> ApiError:
    message = "The server is busy. Please try again in a moment."
    return ApiError(503, "busy", message, {"Retry-After": str(seconds)})


def too_large(limit: int) -> ApiError:
    size = f"{limit / 2**20:.0f} MB" if limit >= 2**20 else f"{limit / 2**10:.0f} KB"
    return ApiError(413, "too-large", f"The request is larger than {size}.")
