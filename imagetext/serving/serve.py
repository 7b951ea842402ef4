"""From runs and an index to a server: what `imagetext serve` does.

serve(caption="runs/best-1", match="runs/itm-best-1", port=8000)
"""

import contextlib
import logging
import os
import resource
import socket

import uvicorn
from fastapi import FastAPI

from imagetext.errors import UserError
from imagetext.retrieval.index.runs import recorded_run
from imagetext.serving import connections
from imagetext.serving.app import create_app
from imagetext.serving.loading import Opens
from imagetext.serving.settings import Settings
from imagetext.terminal import quiet_tensorflow
from imagetext.training.ensemble import run_names
from imagetext.training.run import open_run, trained

#: Where a token may also come from: what stands in a command, every user of the machine can read.
TOKEN = "IMAGETEXT_TOKEN"
OPEN_FILES = 8192
HOME = ("127.0.0.1", "localhost", "::1")


def build(
    caption: str | None = None,
    match: str | None = None,
    index: str | None = None,
    retrieval: str | None = None,
    sample: bool = False,
    settings: Settings | None = None,
) -> FastAPI:
    """The app of what is given; mistakes in it are told at once, models load later."""
    settings = settings or Settings()
    services, examples = {}, None
    if sample:
        from imagetext.serving.sample import needs, sample_examples, sample_services

        if told := needs():
            print(told)
        services, examples = sample_services(), sample_examples()
    if caption:
        for run in run_names(caption):
            trained(open_run(run))
        services["captioner"] = Opens(lambda tell: _captioner(caption, tell))
    if match:
        trained(open_run(match))
        services["matcher"] = Opens(lambda tell: _matcher(match, tell))
    if index:
        trained(open_run(retrieval or recorded_run(index, "--retrieval")))
        services["searcher"] = Opens(lambda tell: _searcher(index, retrieval, tell))
    if not services:
        told = "nothing to serve -- give --caption RUN, --match RUN or --index INDEX, or --sample"
        raise UserError(told)
    return create_app(**services, settings=settings, examples=examples)


def serve(app: FastAPI, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until interrupted."""
    settings = app.state.desk.settings
    _require_free(host, port)
    logging.basicConfig(format="%(asctime)s %(message)s")
    if host not in HOME and settings.token is None:
        print(f"Anyone who reaches {host}:{port} may use it; --token asks for a password.")
    shown = "localhost" if host in HOME else host
    print(f"imagetext: http://{shown}:{port}/   (API: /docs, stop: Ctrl-C)", flush=True)
    _allow_files()
    server = uvicorn.Server(server_config(app, host=host, port=port))
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not listen
        raise _taken(host, port) from error


def _allow_files() -> None:
    """Every connection is an open file, of which some systems allow 256 unless asked."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _require_free(host: str, port: int) -> None:
    """Told before any address is shown or model is loaded."""
    if not 0 < port < 2**16:
        raise UserError(f"--port: {port} -- must be from 1 to 65535")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except socket.gaierror as error:
        raise UserError(f"--host: {host} -- no such address ({error.strerror})") from error
    except OSError as error:
        raise _taken(host, port) from error


def _taken(host: str, port: int) -> UserError:
    told = f"{host}:{port}: cannot listen there -- is it taken? Try --port {port % 65535 + 1}"
    return UserError(told)


def server_config(app: FastAPI, **where) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        app,
        **where,
        http=connections.of(app.state.desk.settings),
        ws="none",
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=512,
        timeout_keep_alive=8,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 * 2**10,
    )


def token_given(token: str | None) -> str | None:
    """The token of the command line, or of the environment."""
    token = token or os.environ.get(TOKEN) or None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError("--token: letters, digits and signs without blanks, please")
    return token


def _captioner(runs: str, tell):
    tell(0.02, "starts TensorFlow")
    quiet_tensorflow()
    from imagetext.serving.services import CaptioningRun

    return CaptioningRun.open(runs, tell)


def _matcher(run: str, tell):
    tell(0.02, "starts TensorFlow")
    quiet_tensorflow()
    from imagetext.serving.services import MatchingRun

    return MatchingRun.open(run, tell)


def _searcher(index: str, run: str | None, tell):
    tell(0.02, "starts TensorFlow")
    quiet_tensorflow()
    from imagetext.serving.services import PhotoIndex

    return PhotoIndex.open(index, run, tell)
