"""The JSON that is answered, and what may be asked: the source of /openapi.json.

CaptionAnswer(captions=[CaptionOut(text="a dog", score=-0.4, log_probability=-1.2)])
"""

from pydantic import BaseModel, Field


class Word(BaseModel):
    word: str = Field(description="As the caption has it")
    map: list[list[float]] | None = Field(
        None, description="How much the model looked at each cell of the photo, row by row"
    )


class CaptionOut(BaseModel):
    text: str = Field(description="The sentence")
    score: float = Field(description="Log probability after length normalisation")
    log_probability: float = Field(description="Of the whole sentence")
    words: list[Word] = Field([], description="Its words one by one")


class CaptionAnswer(BaseModel):
    captions: list[CaptionOut] = Field(description="Best first")


class RegionsOut(BaseModel):
    rows: int = Field(description="Parts from top to bottom")
    columns: int = Field(description="Parts from left to right")
    effect: list[list[float]] = Field(
        description="By how much the log odds of a match fall when that part is covered"
    )
    covered: float = Field(description="The lowest probability with any one part covered")


class MatchAnswer(BaseModel):
    probability: float = Field(description="That the sentence describes the photo")
    regions: RegionsOut | None = Field(None, description="Where they were asked for")


class HitOut(BaseModel):
    id: str = Field(
        description="For /v1/photo/{id}, and to ask about this photo; files' names are not told"
    )
    score: float = Field(description="Cosine with what was looked for")
    captions: list[str] = Field([], description="What the index knows of it")


class SearchAnswer(BaseModel):
    hits: list[HitOut] = Field(description="Best first")
    photos: int = Field(description="How many were searched")


class PartOut(BaseModel):
    name: str = Field(description="caption, search or match")
    state: str = Field(description="waiting, loading, ready or failed")
    done: float = Field(description="How far it is loaded, from 0 to 1")
    told: str = Field(description="What it does just now, or cannot do, in words")


class Ready(BaseModel):
    ready: bool = Field(description="Whether all of them are")
    parts: list[PartOut] = Field(description="What is served")


class Limits(BaseModel):
    bytes: int = Field(description="Of a request")
    text: int = Field(description="Characters of a sentence")
    top: int = Field(description="Photos that may be asked for")


class About(Ready):
    token: bool = Field(description="Whether a token is asked for")
    limits: Limits = Field(description="What is refused beyond")


class ExamplesOut(BaseModel):
    photos: list[str] = Field(description="Ids for /v1/photo/{id}")
    sentences: list[str] = Field(description="To match, or to search with")


class Told(BaseModel):
    code: str = Field(description="For programs")
    message: str = Field(description="For people")


class ErrorOut(BaseModel):
    error: Told


_FIELDS = {
    "photo": {"type": "string", "format": "binary", "description": "JPEG, PNG, GIF, BMP or WebP"},
    "photo_id": {"type": "string", "description": "Instead of a photo: one of the index, by id"},
    "text": {"type": "string", "description": "A sentence"},
    "without": {"type": "string", "description": "What the photos shall not show"},
    "top": {"type": "integer", "description": "How many, best first"},
    "beams": {
        "type": "integer",
        "description": "How wide to search; the model's own if not given",
    },
    "maps": {"type": "boolean", "description": "Also where the model looked at each word"},
    "regions": {"type": "boolean", "description": "Also which parts spoke for the sentence"},
}


def asked(*names: str) -> dict:
    """The part of the OpenAPI description that says which fields a request may have."""
    fields = {name: _FIELDS[name] for name in names}
    flat = {name: field for name, field in fields.items() if name != "photo"}
    form = {"type": "object", "properties": fields}
    plain = {"type": "object", "properties": flat}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": plain}}
    return {"requestBody": {"required": True, "content": content}}
