"""The JSON of responses; FastAPI describes it in /openapi.json.

CaptionResponse(captions=[CaptionItem(text="a dog", score=-0.4, log_probability=-1.2)])
"""

from pydantic import BaseModel, Field


class WordItem(BaseModel):
    word: str = Field(description="The word as it appears in the caption")
    map: list[list[float]] | None = Field(
        None, description="Attention to each cell of the photo, row by row"
    )


class CaptionItem(BaseModel):
    text: str = Field(description="The sentence")
    score: float = Field(description="Log probability after length normalisation")
    log_probability: float = Field(description="Log probability of the whole sentence")
    words: list[WordItem] = Field([], description="The words of the sentence")


class CaptionResponse(BaseModel):
    captions: list[CaptionItem] = Field(description="Best first")


class RegionsItem(BaseModel):
    rows: int = Field(description="Number of cells from top to bottom")
    columns: int = Field(description="Number of cells from left to right")
    effect: list[list[float]] = Field(
        description="How much the log odds of a match fall when a cell is covered, row by row"
    )
    covered: float = Field(description="Lowest probability with any one part covered")


class MatchResponse(BaseModel):
    probability: float = Field(description="Probability that the sentence describes the photo")
    regions: RegionsItem | None = Field(None, description="If requested")


class HitItem(BaseModel):
    id: str = Field(description="Id for /v1/photo/{id} and for photo_id; file names stay private")
    score: float = Field(description="Cosine similarity with the query")
    captions: list[str] = Field([], description="Captions stored in the index")


class SearchResponse(BaseModel):
    hits: list[HitItem] = Field(description="Best first")
    photos: int = Field(description="Number of photos searched")


class ServiceStatus(BaseModel):
    name: str = Field(description="caption, search or match")
    state: str = Field(description="waiting, loading, ready or failed")
    done: float = Field(description="Progress of loading, from 0 to 1")
    message: str = Field(description="What it is doing, or a limitation, in words")


class Readiness(BaseModel):
    ready: bool = Field(description="Whether everything is loaded")
    parts: list[ServiceStatus] = Field(description="What this server offers")


class Limits(BaseModel):
    bytes: int = Field(description="Largest request")
    text: int = Field(description="Longest sentence, in characters")
    top: int = Field(description="Most photos per search")


class About(Readiness):
    token: bool = Field(description="Whether a token is required")
    limits: Limits = Field(description="Requests beyond these are refused")


class ExamplesResponse(BaseModel):
    photos: list[str] = Field(description="Ids for /v1/photo/{id} and for photo_id")
    sentences: list[str] = Field(description="Sentences to match or to search for")


class ErrorDetail(BaseModel):
    code: str = Field(description="For programs")
    message: str = Field(description="For people")


class ErrorResponse(BaseModel):
    error: ErrorDetail
