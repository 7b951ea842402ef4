"""The JSON API: /v1/caption, /v1/match, /v1/search, and photos by id.

app.include_router(routes(desk))
"""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from imagetext.retrieval.index.query import compute_photo_id
from imagetext.serving.answers import Query, Regions
from imagetext.serving.bodies import Given, read
from imagetext.serving.desk import Desk
from imagetext.serving.fields import ID, Fields
from imagetext.serving.refusals import Refused, unprocessable
from imagetext.serving.schemas import (
    About,
    CaptionAnswer,
    CaptionOut,
    ErrorOut,
    ExamplesOut,
    HitOut,
    Limits,
    MatchAnswer,
    RegionsOut,
    SearchAnswer,
    Word,
    asked,
)

#: Sides of thumbnails: these and no others, so that what is kept of them stays small.
SIDES = {"small": 360, "large": 1280}
REFUSALS = {
    status: {"model": ErrorOut, "description": meaning}
    for status, meaning in {
        400: "The request cannot be read",
        401: "Without the server's token",
        403: "From another web site",
        404: "No such photo, or not served here",
        408: "The body took too long to arrive",
        413: "Too large: bytes, pixels or characters",
        415: "No photo, or a damaged one",
        421: "The server does not go by that name",
        422: "A field is wrong",
        503: "Still loading, or busy; see Retry-After",
        504: "Took too long",
    }.items()
}


def routes(desk: Desk) -> APIRouter:
    """Every route under /v1."""
    router = APIRouter(prefix="/v1", responses=REFUSALS)
    settings = desk.settings

    @router.get("/about", summary="What is served, and how far it is loaded")
    async def about() -> About:
        limits = Limits(
            bytes=settings.most_bytes, text=settings.longest_text, top=settings.most_top
        )
        parts = [part.about for part in desk.parts]
        token = settings.token is not None
        return About(ready=desk.parts.ready, parts=parts, token=token, limits=limits)

    @router.get("/examples", summary="Photos and sentences to begin with")
    async def examples() -> ExamplesOut:
        photos, sentences = desk.offered()
        return ExamplesOut(photos=photos, sentences=sentences)

    @router.get(
        "/photo/{id}",
        summary="A photo of the index, small or large, as JPEG",
        responses={200: {"content": {"image/jpeg": {}}}},
        response_class=Response,
    )
    async def photo(id: str, size: str = "small") -> Response:
        if size not in SIDES or not ID.fullmatch(id):
            raise Refused(404, "no-photo", "There is no such photo.")
        data = await desk.thumbnail(id, SIDES[size])
        kept = {"cache-control": "private, max-age=3600"}
        return Response(data, media_type="image/jpeg", headers=kept)

    @router.post(
        "/caption",
        summary="Describe a photo",
        openapi_extra=asked("photo", "photo_id", "top", "beams", "maps"),
    )
    async def caption(request: Request) -> CaptionAnswer:
        desk.part("caption")

        async def ask(given: Given):
            fields = Fields(given.fields, {"photo_id", "top", "beams", "maps"}, settings)
            top = fields.number("top", 1, settings.most_beams, default=3)
            beams = fields.number("beams", 1, settings.most_beams, default=None)
            if beams is not None and beams < top:
                raise unprocessable(f"beams: {top} captions need at least as many beams.")
            photo = await desk.photo(given.photo, fields.id("photo_id"))
            return "caption", photo, (beams, top, fields.yes("maps"))

        found = await _answered(desk, request, ask)
        return CaptionAnswer(captions=[_caption(each) for each in found])

    @router.post(
        "/match",
        summary="Say how likely a sentence describes a photo",
        openapi_extra=asked("photo", "photo_id", "text", "regions"),
    )
    async def match(request: Request) -> MatchAnswer:
        desk.part("match")

        async def ask(given: Given):
            fields = Fields(given.fields, {"photo_id", "text", "regions"}, settings)
            text, regions = fields.text("text"), fields.yes("regions")
            if text is None:
                raise unprocessable("text: a sentence is needed.", "no-text")
            photo = await desk.photo(given.photo, fields.id("photo_id"))
            return ("regions" if regions else "match"), (photo, text), None

        found = await _answered(desk, request, ask)
        if not isinstance(found, Regions):
            return MatchAnswer(probability=found)
        rows, columns = found.effect.shape
        effect = np.round(found.effect.astype(float), 4).tolist()
        covered = float(found.covered)
        regions = RegionsOut(rows=rows, columns=columns, effect=effect, covered=covered)
        return MatchAnswer(probability=float(found.probability), regions=regions)

    @router.post(
        "/search",
        summary="Find photos by words, by a photo, or by both",
        openapi_extra=asked("text", "without", "photo", "photo_id", "top"),
    )
    async def search(request: Request) -> SearchAnswer:
        desk.part("search")

        async def ask(given: Given):
            fields = Fields(given.fields, {"photo_id", "text", "without", "top"}, settings)
            text, without, id = fields.text("text"), fields.text("without"), fields.id("photo_id")
            top = fields.number("top", 1, settings.most_top, default=12)
            if given.photo is not None and id is not None:
                raise unprocessable("photo: give a photo or photo_id, not both.", "two-photos")
            if text is None and id is None and given.photo is None:
                raise unprocessable("Please give words, a photo, or both.", "no-query")
            photo, own = None, id if id in desk.examples.photos else None
            if own is None and id is not None and id not in desk.part("search").service:
                raise Refused(404, "no-photo", "There is no such photo.")
            if given.photo is not None or own is not None:
                photo = await desk.photo(given.photo, own)
            itself = compute_photo_id(given.photo) if given.photo else None
            return "search", Query(text, photo, None if own else id, without, itself), top

        hits = await _answered(desk, request, ask)
        found = [
            HitOut(id=hit.id, score=float(hit.score), captions=list(hit.captions)) for hit in hits
        ]
        return SearchAnswer(hits=found, photos=len(desk.part("search").service))

    return router


async def _answered(desk: Desk, request: Request, ask: Callable) -> Any:
    """Read the body, let `ask` make (queue, item, key) of it, and have that answered; while it
    waits only the cleaned photo is kept."""
    with desk.held.room() as room:
        try:
            async with asyncio.timeout(desk.settings.body_seconds + desk.settings.answer_seconds):
                whom, item, key = await ask(await read(request, desk.settings, room))
        except TimeoutError:
            raise Refused(504, "timeout", "That took too long. Please try again.") from None
        room.keep(_size(item))
        return await desk.answer(whom, item, key, request)


def _size(item: Any) -> int:
    """Bytes of the photo in what a model is asked."""
    found = item.photo if isinstance(item, Query) else item[0] if isinstance(item, tuple) else item
    return len(found or b"")


def _caption(found) -> CaptionOut:
    maps = (
        [None] * len(found.words)
        if found.maps is None
        else np.round(found.maps.astype(float), 4).tolist()
    )
    words = [Word(word=word, map=map) for word, map in zip(found.words, maps, strict=True)]
    return CaptionOut(
        text=found.text,
        score=float(found.score),
        log_probability=float(found.log_probability),
        words=words,
    )
