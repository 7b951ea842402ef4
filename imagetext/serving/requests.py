"""The fields of requests: validated by pydantic, and described in /openapi.json.

    _, _, SearchFields = request_models(ServerSettings())
    fields = SearchFields.parse({"text": "a dog", "top": "3"})
    fields.text, fields.top                          # "a dog", 3

Values are strings in forms and typed in JSON. Whatever is not understood is refused.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from imagetext.serving.api_errors import ApiError, unprocessable
from imagetext.serving.settings import ServerSettings

PHOTO_ID = re.compile(r"[0-9a-f]{4,64}")
BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def _integer(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value) else value


def _count_up_to(limit: int) -> Any:
    """The type of an integer from 1 to `limit`."""
    return Annotated[int, Field(strict=True, ge=1, le=limit), BeforeValidator(_integer)]


def _boolean(value: Any) -> Any:
    return BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value


Boolean = Annotated[bool, Field(strict=True), BeforeValidator(_boolean)]
PhotoId = Annotated[str, Field(pattern=f"^{PHOTO_ID.pattern}$")]
Missing = SkipJsonSchema[None]


class RequestFields(BaseModel):
    """The fields of one kind of request, except the photo itself."""

    photo_id: PhotoId | Missing = Field(
        None, description="Id of a photo on the server, instead of a photo"
    )

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Validate fields; an empty value counts as missing. Raises `ApiError`."""
        if fields.keys() - cls.model_fields.keys():
            names = ", ".join(cls.model_fields)
            raise unprocessable(f"Unknown field. The fields of this request are: {names}.")
        values = {name: _one_line(value) for name, value in fields.items()}
        try:
            return cls.model_validate({k: v for k, v in values.items() if v not in (None, "")})
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise cls._error(str(first["loc"][0]), first["type"]) from None

    @classmethod
    def _error(cls, name: str, kind: str) -> ApiError:
        schema = cls.model_json_schema()["properties"][name]
        if kind == "string_too_long":
            message = f"{name}: must be at most {schema['maxLength']} characters long."
            return ApiError(413, "long-text", message)
        if "pattern" in schema:
            return unprocessable(f"{name}: is not a valid photo id.")
        expected = {
            "string": "a string",
            "boolean": "true or false",
            "integer": f"an integer from {schema.get('minimum')} to {schema.get('maximum')}",
        }
        return unprocessable(f"{name}: must be {expected[schema['type']]}.")

    @classmethod
    def openapi(cls) -> dict[str, Any]:
        """The request body in terms of OpenAPI: a form that may contain a photo, or JSON."""
        fields = {
            name: {
                key: value for key, value in schema.items() if key != "title" and value is not None
            }
            for name, schema in cls.model_json_schema()["properties"].items()
        }
        photo = {
            "type": "string",
            "format": "binary",
            "description": "JPEG, PNG, GIF, BMP or WebP",
        }
        form = {"type": "object", "properties": {"photo": photo, **fields}}
        plain = {"type": "object", "properties": fields}
        content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": plain}}
        return {"requestBody": {"required": True, "content": content}}


def _one_line(value: Any) -> Any:
    """Text on a single line, without control characters and lone surrogates."""
    if not isinstance(value, str):
        return value
    return " ".join("".join(c if c.isprintable() else " " for c in value).split())


def request_models(
    settings: ServerSettings,
) -> tuple[type[RequestFields], type[RequestFields], type[RequestFields]]:
    """The fields of /v1/caption, /v1/match and /v1/search, with the server's limits."""
    sentence = Annotated[str, Field(max_length=settings.max_text)]
    captions = _count_up_to(settings.max_beams)
    photos = _count_up_to(settings.max_top)

    class CaptionFields(RequestFields):
        top: captions = Field(3, description="Number of captions")
        beams: captions | Missing = Field(
            None, description="Width of the beam search; by default the model's own"
        )
        maps: Boolean = Field(False, description="Whether to return the attention at each word")

    class MatchFields(RequestFields):
        text: sentence | Missing = Field(None, description="A sentence")
        regions: Boolean = Field(
            False, description="Whether to return which parts of the photo support the sentence"
        )

    class SearchFields(RequestFields):
        text: sentence | Missing = Field(None, description="What the photos should show")
        without: sentence | Missing = Field(None, description="What they should not show")
        top: photos = Field(12, description="Number of photos")

    return CaptionFields, MatchFields, SearchFields
