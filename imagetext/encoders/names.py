"""Names as people spell them: "EfficientNet-B0" and "EfficientNetB0" are efficientnet_b0.

look_up("ViT-B/16", {"vit_b16": "vit_b16"}, "image encoder is called 'ViT-B/16'")   # "vit_b16"
"""

import difflib
from collections.abc import Mapping

from imagetext.errors import UserError


def plain(name: str) -> str:
    """Its letters and digits, in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def look_up(name: str, known: Mapping[str, str], what: str) -> str:
    """What `known` has under this name, however it is spelled; else the nearest ones are told, in a
    sentence that begins "no " and `what`."""
    spelled = {plain(alias): meant for alias, meant in known.items()}
    if plain(name) in spelled:
        return spelled[plain(name)]
    within = [alias for alias in spelled if plain(name) and plain(name) in alias]
    near = difflib.get_close_matches(plain(name), spelled, 3) or within
    near = [spelled[alias] for alias in near]
    meant = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    raise UserError(f"no {what}{meant} (`imagetext encoders` lists them all)")
