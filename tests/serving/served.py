"""The app on a real port, for what only a real connection shows.

with Served(captioner=StandInCaptioner()) as running:
    running.url
"""

import socket
import threading
import time

import uvicorn

from imagetext.serving.app import create_app
from imagetext.serving.serve import server_config


class Served:
    """An app on a port of its own, in a thread."""

    def __init__(self, **given):
        self.app = create_app(**given)
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(server_config(self.app))
        self.thread = threading.Thread(target=self.server.run, args=([listening],), daemon=True)

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
