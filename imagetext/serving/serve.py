"""From runs and an index to a server: what `imagetext serve` does.

app = build({"caption": {"run": "runs/best-1"}, "search": {"index": "photos.index"}})
serve(app, port=8000)
"""

import contextlib
import functools
import logging
import os
import resource
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI

from imagetext.errors import UserError
from imagetext.serving import connections
from imagetext.serving.app import create_app
from imagetext.serving.loading import LazyService
from imagetext.serving.settings import ServerSettings
from imagetext.task import Progress, Task, require_task, resolve, served_tasks
from imagetext.terminal import quiet_tensorflow, show_progress
from imagetext.training.ensemble import run_names
from imagetext.training.run import open_run, require_trained

#: An environment variable for the token: every user of the machine can read command lines.
TOKEN = "IMAGETEXT_TOKEN"
OPEN_FILES = 8192
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def build(
    sources: Mapping[str, Mapping[str, str | None]] | None = None,
    sample: bool = False,
    settings: ServerSettings | None = None,
) -> FastAPI:
    """The app for trained runs. Mistakes are reported at once; models are loaded later.

    Args:
        sources: What each service is loaded from, by its role: {"caption": {"run": "runs/a"},
            "match": {"run": "runs/b"}, "search": {"index": "photos.index", "run": None}}.
        sample: Whether to serve small models of the built-in sample for the other roles.
        settings: Limits of the server.
    """
    services: dict[str, LazyService] = {}
    examples = None
    if sample:
        from imagetext.serving.sample import sample_examples, sample_notice, sample_services

        if notice := sample_notice():
            show_progress(notice)
        services, examples = sample_services(), sample_examples()
    tasks = served_tasks()
    for role, source in (sources or {}).items():
        check_source(tasks[role], source)
        services[role] = LazyService(functools.partial(_open, tasks[role], source))
    if not services:
        raise UserError(
            "nothing to serve: give --caption RUN, --match RUN or --index INDEX, or --sample"
        )
    return create_app(**services, settings=settings, examples=examples)


def check_source(task: Task, source: Mapping[str, str | None]) -> None:
    """Raise `UserError` if the service of a task cannot be loaded from `source`."""
    if task.service.check:
        resolve(task.service.check)(**source)
        return
    run = source["run"]
    for name in run_names(run) if task.service.ensembles else [run]:
        require_task(name, task.name)
        require_trained(open_run(name))


def _open(task: Task, source: Mapping[str, str | None], progress: Progress) -> Any:
    progress(0.02, "starting TensorFlow")
    quiet_tensorflow()
    return resolve(task.service.open)(**source, progress=progress)


def serve(app: FastAPI, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve an app until interrupted."""
    settings = app.state.dispatcher.settings
    _require_free(host, port)
    logging.basicConfig(format="%(asctime)s %(message)s")
    if host not in LOCAL_HOSTS and settings.token is None:
        show_progress(
            f"Anyone who can reach {host}:{port} can use it; set a password with --token."
        )
    shown = "localhost" if host in LOCAL_HOSTS else host
    show_progress(f"imagetext: http://{shown}:{port}/   (API: /docs, stop: Ctrl-C)")
    _raise_file_limit()
    server = uvicorn.Server(server_config(app, host=host, port=port))
    try:
        server.run()
    except SystemExit as error:  # how uvicorn reports that it cannot listen
        raise _in_use(host, port) from error


def _raise_file_limit() -> None:
    """Every connection is an open file, and some systems allow no more than 256 by default."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _require_free(host: str, port: int) -> None:
    """Check the address before it is printed and before any model is loaded."""
    if not 0 < port < 2**16:
        raise UserError(f"--port: must be from 1 to 65535, got {port}")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except socket.gaierror as error:
        raise UserError(f"--host: {host}: no such address ({error.strerror})") from error
    except OSError as error:
        raise _in_use(host, port) from error


def _in_use(host: str, port: int) -> UserError:
    return UserError(
        f"{host}:{port}: cannot listen on this address; the port may be in use:"
        f" try --port {port % 65535 + 1}"
    )


def server_config(app: FastAPI, **address: Any) -> uvicorn.Config:
    """The configuration of uvicorn for the app."""
    return uvicorn.Config(
        app,
        **address,
        http=connections.limited_protocol(app.state.dispatcher.settings),
        ws="none",
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=512,
        timeout_keep_alive=8,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 * 2**10,
    )


def read_token(token: str | None) -> str | None:
    """The token of the command line or, without one, of the environment."""
    token = token or os.environ.get(TOKEN) or None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError("--token: must consist of printable ASCII characters without spaces")
    return token
