"""`imagetext encoders` and `imagetext configs`: what there is to choose from."""

import itertools
import re

from imagetext import api
from imagetext.commands.program import Word
from imagetext.terminal import quiet_tensorflow


def encoders(measure: str | None = None):
    """List all encoders: size, licence, speed on this machine, and whether weights are present.

    Sizes are those of the published weight files (of a CLIP, of both halves); those of Kaggle
    presets are computed at 4 bytes a parameter.

    Example:
        imagetext encoders
        imagetext encoders --measure efficientnet_lite0,resnet50

    Args:
        measure: Encoders whose speed is measured on this machine and remembered (up to half a
            minute each), by name and separated by commas, or all. Speed is in photos a second, or
            in texts of 16 word pieces a second.
    """
    from imagetext.encoders.listing import EVERY, as_text, encodes, named
    from imagetext.encoders.listing import measure as measure_speed

    names = [name.strip() for name in (measure or "").split(",") if name.strip()]
    chosen = EVERY if measure == "all" else [each for name in names for each in named(name)]
    if chosen:
        quiet_tensorflow()
    for encoder in chosen:
        speed = measure_speed(encoder)
        print(f"{encoder.name}: {speed:,.1f} {encodes(encoder)}/s", flush=True)
    rows = api.list_encoders()
    print(as_text(rows))
    if any(row["per second"] == "-" for row in rows):
        print("per second: measure it on this machine with --measure NAME, or --measure all")
    return rows


def configs(name: Word = None):
    """List the configurations that come with imagetext, or print one of them.

    Example:
        imagetext configs
        imagetext configs itm/cnn > mine.yaml

    Args:
        name: Name of a configuration to print, such as itm/cnn.
    """
    from imagetext.training.config_files import find_config

    if name:
        print(find_config(name).read_text(encoding="utf-8"), end="")
        return find_config(name)
    shipped = api.list_configs()
    width = max(map(len, shipped))
    for each, file in shipped.items():
        print(f"{each:{width}}  {_summary(file.read_text(encoding='utf-8'))}".rstrip())
    return shipped


def _summary(text: str) -> str:
    """The first sentence of a configuration's opening comment."""
    comment = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    words = " ".join(line.lstrip("# ") for line in comment)
    return re.split(r"[.:;](?:\s|$)", words)[0]
