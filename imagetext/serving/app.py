"""The web app as FastAPI sees it: the page, the API, and what watches over both.

app = create_app(captioner=captioner, matcher=Opens(open_matcher))
uvicorn.run(app)                                 # better: `imagetext serve`, which sets limits too
"""

import contextlib
import hashlib
from importlib import resources

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from imagetext.serving.answers import Captioner, Examples, Matcher, Searcher
from imagetext.serving.api import routes
from imagetext.serving.desk import Desk
from imagetext.serving.guard import Guard
from imagetext.serving.loading import Opens, Parts
from imagetext.serving.measures import CONTENT_TYPE, Measures
from imagetext.serving.refusals import Refused
from imagetext.serving.schemas import Ready
from imagetext.serving.settings import Settings

ABOUT = "Captions for photos, photos for sentences, and how well the two agree."
#: By ending; the system's own table differs from machine to machine.
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
READ = ["GET", "HEAD"]
WORDS = {404: "There is nothing here.", 405: "That is not done here."}


def create_app(
    captioner: Captioner | Opens | None = None,
    matcher: Matcher | Opens | None = None,
    searcher: Searcher | Opens | None = None,
    settings: Settings | None = None,
    examples: Examples | None = None,
) -> FastAPI:
    """An app around what is given; what is still to be opened loads once the app starts."""
    settings, measures = settings or Settings(), Measures()
    parts = Parts({"caption": captioner, "search": searcher, "match": matcher})
    desk = Desk(parts, settings, measures, examples)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        desk.open()
        yield
        desk.close()

    app = FastAPI(
        title="imagetext", description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.desk = desk
    app.add_middleware(Guard, settings=settings, measures=measures)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.include_router(routes(desk))
    _watching(app, desk)
    _page(app)
    return app


def _watching(app: FastAPI, desk: Desk) -> None:
    @app.get("/healthz", summary="Whether the server runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether all models are loaded; 503 and how far, if not")
    async def readyz(response: Response) -> Ready:
        ready = desk.parts.ready
        response.status_code = 200 if ready else 503
        if not ready:
            response.headers["retry-after"] = "2"
        return Ready(ready=ready, parts=[part.about for part in desk.parts])

    @app.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(desk.measures.text(), media_type=CONTENT_TYPE)


def _page(app: FastAPI) -> None:
    """The page's files, read once: what a client asks for is looked up, never opened."""
    folder = resources.files("imagetext.serving") / "page"
    files = {
        entry.name: (entry.read_bytes(), KINDS[entry.name.rpartition(".")[2]])
        for entry in folder.iterdir()
        if entry.is_file() and entry.name.rpartition(".")[2] in KINDS
    }
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:20]}"' for name, (data, _) in files.items()}

    def sent(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        data, kind = files[name]
        headers = {"etag": tags[name], "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    @app.api_route("/", methods=READ, include_in_schema=False)
    async def index(request: Request) -> Response:
        return sent("index.html", request)

    @app.api_route("/docs", methods=READ, include_in_schema=False)
    async def docs(request: Request) -> Response:
        return sent("docs.html", request)

    @app.api_route("/favicon.ico", methods=READ, include_in_schema=False)
    async def icon(request: Request) -> Response:
        return sent("icon.svg", request)

    @app.api_route("/page/{name}", methods=READ, include_in_schema=False)
    async def page(name: str, request: Request) -> Response:
        return sent(name, request)


def _json(refused: Refused) -> Response:
    return Response(
        refused.body,
        status_code=refused.status,
        headers=refused.headers,
        media_type="application/json",
    )


async def _refused(request: Request, refused: Refused) -> Response:
    return _json(refused)


async def _http(request: Request, error: HTTPException) -> Response:
    told = WORDS.get(error.status_code, "That was not understood.")
    return _json(Refused(error.status_code, "http", told, dict(error.headers or {})))


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    return _json(Refused(422, "invalid", "A part of the address is wrong."))
