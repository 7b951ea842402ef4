"""Names as people spell them: "EfficientNet-B0" and "EfficientNetB0" are efficientnet_b0.

look_up("ViT-B/16", {"vit_b16": "vit_b16"}, "image encoder is called 'ViT-B/16'")   # "vit_b16"
"""

import difflib
from collections.abc import Mapping

from imagetext.errors import UserError


def normalize_name(name: str) -> str:
    """Its letters and digits, in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def look_up(name: str, known: Mapping[str, str], what: str) -> str:
    """What `known` has under this name, however it is spelled; else the nearest ones are told, in a
    sentence that begins "no " and `what`."""
    spelled = {normalize_name(alias): meant for alias, meant in known.items()}
    if normalize_name(name) in spelled:
        return spelled[normalize_name(name)]
    within = [alias for alias in spelled if normalize_name(name) and normalize_name(name) in alias]
    near = difflib.get_close_matches(normalize_name(name), spelled, 3) or within
    near = [spelled[alias] for alias in near]
    meant = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    raise UserError(f"no {what}{meant} (`imagetext encoders` lists them all)")
