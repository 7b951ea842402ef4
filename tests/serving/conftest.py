"""A client of an app around stand-ins, without a server."""

import importlib.util

import pytest

# Without the extra `web` its tests are skipped.
collect_ignore_glob = [] if importlib.util.find_spec("fastapi") else ["test_*.py", "browser/*"]


@pytest.fixture
def make_client():
    """make_client(match=..., token="s3cret") -> a client; services and settings by keyword."""
    from starlette.testclient import TestClient

    from imagetext.serving.app import create_app
    from imagetext.serving.settings import ServerSettings

    clients = []

    def make(base_url="http://localhost", **options):
        names = ("caption", "match", "search", "examples")
        services = {name: options.pop(name) for name in names if name in options}
        app = create_app(**services, settings=ServerSettings(**options))
        client = TestClient(app, base_url=base_url, raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client):
    from .stand_ins import StandInCaptions, StandInMatches, StandInSearch

    return make_client(caption=StandInCaptions(), match=StandInMatches(), search=StandInSearch())
