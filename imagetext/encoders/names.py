"""Encoder names, however they are spelled: "EfficientNet-B0" and "EfficientNetB0" are the same.

look_up("ViT-B/16", {"vit_b16": "vit_b16"}, "image encoder")        # "vit_b16"
"""

import difflib
from collections.abc import Mapping

from imagetext.errors import UserError


def normalize_name(name: str) -> str:
    """Only the letters and digits of a name, in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def look_up(name: str, names: Mapping[str, str], what: str, hint: str = "") -> str:
    """Look a name up, however it is spelled.

    Args:
        name: The name to look up.
        names: Names and aliases, with the value of each.
        what: What kind of thing it names, for the message if there is no such name.
        hint: What else the name may be, for the same message.
    """
    wanted = normalize_name(name)
    values = {normalize_name(alias): value for alias, value in names.items()}
    if wanted in values:
        return values[wanted]
    containing = [alias for alias in values if wanted and wanted in alias]
    similar = difflib.get_close_matches(wanted, values, 3) or containing
    suggestions = " or ".join(dict.fromkeys(values[alias] for alias in similar))
    suggestions = f": did you mean {suggestions}?" if suggestions else ";"
    raise UserError(
        f"unknown {what} {name!r}{hint}{suggestions} `imagetext encoders` lists all encoders"
    )
