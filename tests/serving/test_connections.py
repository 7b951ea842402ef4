"""Limits on connections, and requests that are not valid HTTP."""

import contextlib
import logging
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagetext.serving.settings import ServerSettings

from .served import Served, match, raw_match_request, wait_until
from .stand_ins import BlockedMatches, StandInCaptions

HEALTH_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def is_closed(connection: socket.socket) -> bool:
    """Whether the server closes the connection within ten seconds."""
    try:
        while connection.recv(65536):
            pass  # the answer to an earlier request
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: loc", HEALTH_REQUEST + b"GET /"])
def test_a_header_that_never_ends_times_out(data):
    served = Served(caption=StandInCaptions(), settings=ServerSettings(header_seconds=0.4))
    with served, served.connect() as connection:
        connection.sendall(data)
        if data.startswith(HEALTH_REQUEST):
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert is_closed(connection)


def test_a_client_that_does_not_read_its_answer_is_disconnected():
    blocked = BlockedMatches()
    settings = ServerSettings(request_seconds=0.4)
    with Served(match=blocked, settings=settings) as served, served.connect() as connection:
        connection.sendall(raw_match_request())
        assert is_closed(connection)
        blocked.release.set()


@pytest.mark.parametrize("limit", ["max_waiting_connections", "max_connections_per_address"])
def test_silent_connections_do_not_block_others(limit):
    """Many connections with half a header each."""
    with Served(caption=StandInCaptions(), settings=ServerSettings(**{limit: 20})) as served:
        silent = [served.connect() for _ in range(60)]
        for connection in silent:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        with served.connect() as connection:
            for _ in range(2):
                connection.sendall(HEALTH_REQUEST)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += connection.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200")
        response = silent[0].recv(65536)  # it has not been answered yet
        assert response.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in response
        assert is_closed(silent[0])
        wait_until(lambda: len(served.server.server_state.connections) <= 20)
        for connection in silent:
            connection.close()
        wait_until(lambda: not served.server.server_state.connections)


def test_too_many_requests_are_answered_with_503_and_headers():
    blocked = BlockedMatches()
    served = Served(match=blocked, settings=ServerSettings(max_requests=1))
    with served, ThreadPoolExecutor(1) as pool:
        first = pool.submit(match, served)
        assert blocked.entered.wait(20)
        with served.connect() as connection:
            connection.sendall(HEALTH_REQUEST)
            refused = connection.recv(65536)
        assert refused.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in refused
        assert b"content-security-policy" in refused
        blocked.release.set()
        assert first.result(20).startswith(b"HTTP/1.1 200")


def test_malformed_requests_do_not_stop_the_server(caplog):
    caplog.set_level(logging.CRITICAL, logger="uvicorn.error")
    with Served(caption=StandInCaptions()) as served:
        for raw in (
            b"\x16\x03\x01\x02\x00",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n",
        ):
            with served.connect() as connection:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(4096)
        with served.connect() as connection:
            connection.sendall(
                b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
