"""The JSON API: /v1/caption, /v1/match, /v1/search, and photos by id.

app.include_router(api_router(dispatcher))
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from imagetext.retrieval.index.query import Query, compute_photo_id
from imagetext.serving.api_errors import unprocessable
from imagetext.serving.dispatcher import Dispatcher, no_such_photo, timed_out
from imagetext.serving.loading import ServiceSlot
from imagetext.serving.request_body import RequestBody, read_body
from imagetext.serving.requests import PHOTO_ID, request_models
from imagetext.serving.responses import (
    About,
    CaptionItem,
    CaptionResponse,
    ErrorResponse,
    ExamplesResponse,
    HitItem,
    Limits,
    MatchResponse,
    RegionsItem,
    SearchResponse,
    ServiceStatus,
    WordItem,
)

#: Sides of thumbnails. There are only these, which keeps the cache small.
SIDES = {"small": 360, "large": 1280}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": meaning}
    for status, meaning in {
        400: "The request is malformed",
        401: "The token is missing or wrong",
        403: "The request comes from another web site",
        404: "No such photo, or not offered by this server",
        408: "The body took too long to arrive",
        413: "Too many bytes, pixels or characters",
        415: "Not a photo, or a damaged one",
        421: "Unknown host name",
        422: "A field is missing or invalid",
        503: "Still loading, or busy; see Retry-After",
        504: "The request took too long",
    }.items()
}
#: What a request asks of a model: the queue, the item, and the key of items that share a batch.
Job = tuple[str, Any, Any]


def api_router(dispatcher: Dispatcher) -> APIRouter:
    """All routes under /v1."""
    router = APIRouter(prefix="/v1", responses=ERRORS)
    settings = dispatcher.settings
    CaptionFields, MatchFields, SearchFields = request_models(settings)

    @router.get("/about", summary="What this server offers, and the progress of loading")
    async def about() -> About:
        services = dispatcher.services
        return About(
            ready=services.ready,
            parts=[service_status(slot) for slot in services],
            token=settings.token is not None,
            limits=Limits(bytes=settings.max_bytes, text=settings.max_text, top=settings.max_top),
        )

    @router.get("/examples", summary="Photos and sentences to start with")
    async def examples() -> ExamplesResponse:
        photos, sentences = dispatcher.example_ids_and_sentences()
        return ExamplesResponse(photos=photos, sentences=sentences)

    @router.get(
        "/photo/{id}",
        summary="A photo as JPEG, small or large",
        responses={200: {"content": {"image/jpeg": {}}}},
        response_class=Response,
    )
    async def photo(id: str, size: str = "small") -> Response:
        if size not in SIDES or not PHOTO_ID.fullmatch(id):
            raise no_such_photo()
        data = await dispatcher.thumbnail(id, SIDES[size])
        headers = {"cache-control": "private, max-age=3600"}
        return Response(data, media_type="image/jpeg", headers=headers)

    @router.post("/caption", summary="Describe a photo", openapi_extra=CaptionFields.openapi())
    async def caption(request: Request) -> CaptionResponse:
        dispatcher.require_ready("caption")

        async def prepare(body: RequestBody) -> Job:
            fields = CaptionFields.parse(body.fields)
            if fields.beams is not None and fields.beams < fields.top:
                raise unprocessable(
                    f"beams: must be at least {fields.top}, the number of captions."
                )
            photo = await dispatcher.photo(body.photo, fields.photo_id)
            return "caption", photo, (fields.beams, fields.top, fields.maps)

        captions = await _answer(dispatcher, request, prepare)
        return CaptionResponse(captions=[_caption_item(caption) for caption in captions])

    @router.post(
        "/match",
        summary="Compute the probability that a sentence describes a photo",
        openapi_extra=MatchFields.openapi(),
    )
    async def match(request: Request) -> MatchResponse:
        dispatcher.require_ready("match")

        async def prepare(body: RequestBody) -> Job:
            fields = MatchFields.parse(body.fields)
            if fields.text is None:
                raise unprocessable("text: a sentence is required.", "no-text")
            photo = await dispatcher.photo(body.photo, fields.photo_id)
            return ("regions" if fields.regions else "match"), (photo, fields.text), None

        answer = await _answer(dispatcher, request, prepare)
        if isinstance(answer, float):
            return MatchResponse(probability=answer)
        rows, columns = answer.effect.shape
        regions = RegionsItem(
            rows=rows,
            columns=columns,
            effect=_rounded(answer.effect),
            covered=float(answer.covered),
        )
        return MatchResponse(probability=float(answer.probability), regions=regions)

    @router.post(
        "/search",
        summary="Find photos by text, by a photo, or by both",
        openapi_extra=SearchFields.openapi(),
    )
    async def search(request: Request) -> SearchResponse:
        index = dispatcher.require_ready("search")

        async def prepare(body: RequestBody) -> Job:
            fields = SearchFields.parse(body.fields)
            id, photo = fields.photo_id, None
            if body.photo is not None and id is not None:
                raise unprocessable("photo: give either photo or photo_id, not both.", "two-photos")
            if fields.text is None and id is None and body.photo is None:
                raise unprocessable("Please enter some text, add a photo, or both.", "no-query")
            example = id if id in dispatcher.examples.photos else None
            if id is not None and example is None and id not in index.service:
                raise no_such_photo()
            if body.photo is not None or example is not None:
                photo = await dispatcher.photo(body.photo, example)
            uploaded = compute_photo_id(body.photo) if body.photo else None
            indexed = None if example else id
            query = Query(fields.text, photo, indexed, fields.without, uploaded)
            return "search", query, fields.top

        results = await _answer(dispatcher, request, prepare)
        hits = [
            HitItem(id=result.id, score=float(result.score), captions=list(result.captions))
            for result in results
        ]
        return SearchResponse(hits=hits, photos=len(index.service))

    return router


def service_status(slot: ServiceSlot) -> ServiceStatus:
    return ServiceStatus(
        name=slot.name, state=slot.state, done=round(slot.done, 3), message=slot.message
    )


async def _answer(
    dispatcher: Dispatcher, request: Request, prepare: Callable[[RequestBody], Awaitable[Job]]
) -> Any:
    """Read the body, let `prepare` turn it into a job, and await the answer. While the job is in
    the queue, only the sanitized photo is kept in memory."""
    settings = dispatcher.settings
    with dispatcher.memory.reserve() as reservation:
        try:
            async with asyncio.timeout(settings.body_seconds + settings.answer_seconds):
                queue, item, key = await prepare(await read_body(request, settings, reservation))
        except TimeoutError:
            raise timed_out() from None
        reservation.resize(_photo_size(item))
        return await dispatcher.answer(queue, item, key, request)


def _photo_size(item: Any) -> int:
    """The size of the photo in an item of any queue."""
    if isinstance(item, Query):
        return len(item.photo or b"")
    return len(item[0] if isinstance(item, tuple) else item)


def _caption_item(caption: Any) -> CaptionItem:
    maps = [None] * len(caption.words) if caption.maps is None else _rounded(caption.maps)
    words = [WordItem(word=word, map=map) for word, map in zip(caption.words, maps, strict=True)]
    return CaptionItem(
        text=caption.text,
        score=float(caption.score),
        log_probability=float(caption.log_probability),
        words=words,
    )


def _rounded(values: np.ndarray) -> list:
    return np.round(values.astype(float), 4).tolist()
