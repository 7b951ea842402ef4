"""The app on a real port, for what only a real connection shows.

with Served(caption=StandInCaptions()) as served:
    served.url
"""

import contextlib
import socket
import threading
import time

import uvicorn

from imagetext.serving.app import create_app
from imagetext.serving.serve import server_config

from .stand_ins import photo


class Served:
    """An app on a free port, in a thread."""

    def __init__(self, **options):
        self.app = create_app(**options)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(server_config(self.app))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(10)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


def upload(data: bytes, name: str = "dog.jpg") -> dict:
    """The `files` of a client's request with a photo."""
    return {"photo": (name, data, "image/jpeg")}


def raw_match_request() -> bytes:
    """A complete request to /v1/match."""
    parts = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\na red shape\r\n'
    parts += b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    body = parts + photo() + b"\r\n--x--\r\n"
    head = "POST /v1/match HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def match(served: Served) -> bytes:
    """The complete response to a request to /v1/match."""
    with served.connect() as connection:
        connection.sendall(raw_match_request())
        return receive_all(connection)


def receive_all(connection: socket.socket) -> bytes:
    response = b""
    while chunk := connection.recv(65536):
        response += chunk
    return response


def wait_until(condition, seconds: float = 60.0) -> None:
    """Wait for `condition()` to be true."""
    for _ in range(int(seconds / 0.01)):
        with contextlib.suppress(FileNotFoundError):
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError("the condition never became true")
