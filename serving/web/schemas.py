"""The JSON that is answered, and what may be asked: the source of /openapi.json.

CaptionAnswer(captions=[CaptionOut(text="a dog", score=-0.4, log_probability=-1.2)])
"""

from pydantic import BaseModel, Field


class Word(BaseModel):
    word: str
    map: list[list[float]] | None = Field(
        None, description="How much the model looked at each cell of the photo, row by row"
    )


class CaptionOut(BaseModel):
    text: str
    score: float = Field(description="Log probability after length normalisation")
    log_probability: float
    words: list[Word] = []


class CaptionAnswer(BaseModel):
    captions: list[CaptionOut] = Field(description="Best first")


class RegionsOut(BaseModel):
    rows: int
    columns: int
    effect: list[list[float]] = Field(
        description="By how much the log odds of a match fall when that part is covered"
    )
    covered: float = Field(description="The lowest probability with any one part covered")


class MatchAnswer(BaseModel):
    probability: float = Field(description="That the sentence describes the photo")
    regions: RegionsOut | None = None


class HitOut(BaseModel):
    id: str
    score: float
    captions: list[str] = []


class SearchAnswer(BaseModel):
    hits: list[HitOut] = Field(description="Best first")
    photos: int = Field(description="How many were searched")


class PartOut(BaseModel):
    name: str
    state: str = Field(description="waiting, loading, ready or failed")
    done: float
    told: str


class Ready(BaseModel):
    ready: bool
    parts: list[PartOut]


class Limits(BaseModel):
    bytes: int
    text: int
    top: int


class About(Ready):
    token: bool = Field(description="Whether a token is asked for")
    limits: Limits


class ExamplesOut(BaseModel):
    photos: list[str] = Field(description="Ids for /v1/photo/{id}")
    sentences: list[str]


class Told(BaseModel):
    code: str
    message: str


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
