"""`imagetext encoders` and `imagetext configs`: what there is to choose from."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext import api
from imagetext.commands.program import Word
from imagetext.terminal import quiet_tensorflow

#: Columns of the table of encoders that are aligned to the right.
NUMBERS = ("parameters", "MB", "per second")


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
    from imagetext.encoders.listing import ENCODERS, find_encoders, measure_speed

    names = [name.strip() for name in (measure or "").split(",") if name.strip()]
    if measure == "all":
        selected = ENCODERS
    else:
        selected = [encoder for name in names for encoder in find_encoders(name)]
    if selected:
        quiet_tensorflow()
    for encoder in selected:
        speed = measure_speed(encoder)
        unit = "texts" if hasattr(encoder, "tokens") else "images"
        print(f"{encoder.name}: {speed:,.1f} {unit}/s", flush=True)
    records = api.list_encoders()
    print(format_table([_encoder_row(record) for record in records], right=NUMBERS))
    if any(record["speed"] is None for record in records):
        print("per second: measure it on this machine with --measure NAME, or --measure all")
    return records


def _encoder_row(record: Mapping[str, Any]) -> dict[str, str]:
    """A row of the table of encoders: column -> text."""
    if record["kind"] == "text":
        input, output = f"{record['tokens']} tokens", f"{record['width']}"
    else:
        _, cells, channels = record["grid"]
        of_channels = f" of {channels}" if channels != record["width"] else ""
        input = f"{record['size']} x {record['size']}"
        output = f"{record['width']}, grid {cells} x {cells}{of_channels}"
    speed = record["speed"]
    return {
        "name": record["name"],
        "kind": record["kind"],
        "input": input,
        "output": output,
        "parameters": f"{record['parameters']:,}",
        "MB": f"{record['megabytes']:,}",
        "licence": record["licence"],
        "per second": "-" if speed is None else f"{speed:,.1f} {record['device']}",
        "weights": _describe_weights(record),
    }


def _describe_weights(record: Mapping[str, Any]) -> str:
    if not record["path"]:
        return f"download: {record['weights_from']}"
    path = record["path"].replace(str(Path.home()), "~")
    if record["actual_megabytes"] is None:
        return path
    sizes = f"{record['actual_megabytes']:,.0f} MB instead of {record['megabytes']:,}"
    return f"damaged: {path} ({sizes})"


def format_table(rows: Sequence[Mapping[str, str]], right: Collection[str] = ()) -> str:
    """Rows of text in aligned columns below a line of headings.

    Args:
        rows: Column -> text of each row; all rows have the same columns.
        right: Columns that are aligned to the right.
    """
    lines = [dict(zip(rows[0], rows[0], strict=True)), *rows]
    widths = {column: max(len(line[column]) for line in lines) for column in rows[0]}
    return "\n".join(
        "  ".join(
            text.rjust(widths[column]) if column in right else text.ljust(widths[column])
            for column, text in line.items()
        ).rstrip()
        for line in lines
    )


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
