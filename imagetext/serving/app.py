"""The web app in FastAPI: the page, the API and the middleware.

app = create_app(caption=service, match=LazyService(open_matching))
uvicorn.run(app)                                 # or `imagetext serve`, which also sets limits
"""

import contextlib
import hashlib
from importlib import resources

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from imagetext.serving.api import api_router, service_status
from imagetext.serving.api_errors import ApiError
from imagetext.serving.dispatcher import Dispatcher
from imagetext.serving.guard import Guard
from imagetext.serving.loading import LazyService, Services
from imagetext.serving.protocols import CaptionService, Examples, MatchService, SearchService
from imagetext.serving.responses import Readiness
from imagetext.serving.server_metrics import CONTENT_TYPE, ServerMetrics
from imagetext.serving.settings import ServerSettings

DESCRIPTION = "Describe photos, find them by text, and check whether a sentence matches a photo."
#: Content types by suffix; the system's own table differs from machine to machine.
CONTENT_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
GET = ["GET", "HEAD"]
MESSAGES = {404: "Not found.", 405: "Method not allowed."}


def create_app(
    caption: CaptionService | LazyService | None = None,
    match: MatchService | LazyService | None = None,
    search: SearchService | LazyService | None = None,
    settings: ServerSettings | None = None,
    examples: Examples | None = None,
) -> FastAPI:
    """The app around some services. Lazy ones are loaded once the app starts."""
    settings, metrics = settings or ServerSettings(), ServerMetrics()
    services = Services({"caption": caption, "search": search, "match": match})
    dispatcher = Dispatcher(services, settings, metrics, examples)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        dispatcher.open()
        yield
        dispatcher.close()

    app = FastAPI(
        title="imagetext",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.dispatcher = dispatcher
    app.add_middleware(Guard, settings=settings, metrics=metrics)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.include_router(api_router(dispatcher))
    _add_monitoring(app, dispatcher)
    _add_page(app)
    return app


def _add_monitoring(app: FastAPI, dispatcher: Dispatcher) -> None:
    @app.get("/healthz", summary="Whether the server is running")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether all models are loaded; 503 with the progress if not")
    async def readyz(response: Response) -> Readiness:
        services = dispatcher.services
        ready = services.ready
        response.status_code = 200 if ready else 503
        if not ready:
            response.headers["retry-after"] = "2"
        return Readiness(ready=ready, parts=[service_status(slot) for slot in services])

    @app.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(dispatcher.metrics.text(), media_type=CONTENT_TYPE)


def _add_page(app: FastAPI) -> None:
    """Serve the files of the page from memory: no path of a client is ever opened."""
    folder = resources.files("imagetext.serving") / "page"
    files = {
        entry.name: (entry.read_bytes(), CONTENT_TYPES[entry.name.rpartition(".")[2]])
        for entry in folder.iterdir()
        if entry.is_file() and entry.name.rpartition(".")[2] in CONTENT_TYPES
    }
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:20]}"' for name, (data, _) in files.items()}

    def send(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        data, content_type = files[name]
        headers = {"etag": tags[name], "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=content_type, headers=headers)

    @app.api_route("/", methods=GET, include_in_schema=False)
    async def index(request: Request) -> Response:
        return send("index.html", request)

    @app.api_route("/docs", methods=GET, include_in_schema=False)
    async def docs(request: Request) -> Response:
        return send("docs.html", request)

    @app.api_route("/favicon.ico", methods=GET, include_in_schema=False)
    async def icon(request: Request) -> Response:
        return send("icon.svg", request)

    @app.api_route("/page/{name}", methods=GET, include_in_schema=False)
    async def page(name: str, request: Request) -> Response:
        return send(name, request)


async def _api_error(request: Request, error: ApiError) -> Response:
    return Response(
        error.body,
        status_code=error.status,
        headers=error.headers,
        media_type="application/json",
    )


async def _http_error(request: Request, error: HTTPException) -> Response:
    message = MESSAGES.get(error.status_code, "The request could not be processed.")
    headers = dict(error.headers or {})
    return await _api_error(request, ApiError(error.status_code, "http", message, headers))


async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
    return await _api_error(request, ApiError(422, "invalid", "The address is not valid."))
