"""An app around stand-ins, and a client of it that runs no server."""

import importlib.util

import pytest

# Without the extras web and browser their tests are no concern of pytest's.
collect_ignore_glob = [] if importlib.util.find_spec("fastapi") else ["test_*.py"]
if importlib.util.find_spec("playwright") is None:
    collect_ignore_glob.append("test_browser.py")


@pytest.fixture
def make_client():
    """make_client(matcher=..., token="s3cret") -> a client; settings and services by keyword."""
    from starlette.testclient import TestClient

    from imagetext.serving.app import create_app
    from imagetext.serving.settings import Settings

    opened = []

    def make(base_url="http://localhost", **given):
        names = ("captioner", "matcher", "searcher", "examples")
        services = {name: given.pop(name) for name in names if name in given}
        app = create_app(**services, settings=Settings(**given))
        client = TestClient(app, base_url=base_url, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client):
    from .stand_ins import StandInCaptioner, StandInMatcher, StandInSearcher

    return make_client(
        captioner=StandInCaptioner(), matcher=StandInMatcher(), searcher=StandInSearcher()
    )
