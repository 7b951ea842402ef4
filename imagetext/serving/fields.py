"""Fields of a request, checked one by one: what is not understood is refused, not guessed at.

fields = Fields(given.fields, {"text", "top"}, settings)
fields.text("text"), fields.number("top", 1, 60, default=12)
"""

import re

from imagetext.serving.refusals import Refused, unprocessable
from imagetext.serving.settings import Settings

ID = re.compile(r"[0-9a-f]{4,64}")
YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class Fields:
    """`known` are the names that may occur."""

    def __init__(self, fields: dict, known: set[str], settings: Settings):
        unknown = sorted(set(fields) - known)
        if unknown:
            raise unprocessable(f"There is no such field. There are: {', '.join(sorted(known))}.")
        self.fields, self.settings = fields, settings

    def text(self, name: str) -> str | None:
        """A sentence on one line, of letters that can be written down; None if it is not there."""
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise unprocessable(f"{name}: is a text.")
        if len(value) > self.settings.longest_text:
            most = self.settings.longest_text
            raise Refused(413, "long-text", f"{name}: has more than {most} characters.")
        value = " ".join("".join(c if c.isprintable() else " " for c in value).split())
        return value or None

    def number(self, name: str, least: int, most: int, default: int | None) -> int | None:
        value = self.fields.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise unprocessable(f"{name}: is a number from {least} to {most}.")
        return value

    def yes(self, name: str) -> bool:
        value = self.fields.get(name)
        if isinstance(value, str) and value.lower() in YES + NO:
            return value.lower() in YES
        if value is not None and not isinstance(value, bool):
            raise unprocessable(f"{name}: is true or false.")
        return bool(value)

    def id(self, name: str) -> str | None:
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not ID.fullmatch(value):
            raise unprocessable(f"{name}: is no id of a photo.")
        return value
