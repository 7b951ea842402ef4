"""Where the report of a run is, and how its files are written and read.

write_values(report_folder("runs/cnn-1", "test"), values)
read_report("runs/cnn-1")["scores"]["model"]
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.files import replacing, write_bytes, write_text
from imagetext.metrics.bootstrap import SEED

REPORT = "report.json"
#: Raised when the meaning of a key of report.json changes.
FORMAT = 1


@dataclass(frozen=True)
class Report:
    """A written report.

    Args:
        summary: The report in short, for the terminal.
        values: All numbers and sentences, as in report.json.
        folder: Where its files are.
        html_path: The page to open in a browser.
    """

    summary: str
    values: dict[str, Any]
    folder: Path
    html_path: Path


def report_folder(run: str | Path, split: str) -> Path:
    """The folder of a split's report: for test the run's folder, else its `report-<split>`."""
    return Path(run) if split == "test" else Path(run) / f"report-{split}"


def read_report(folder: str | Path) -> dict[str, Any]:
    """The values of a written report.

    Examples:
        >>> read_report("runs/cnn-1")["scores"]["model"]["accuracy"]["value"]
    """
    path = Path(folder) / REPORT
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such report; evaluate the run first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate the run again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path}: written by an incompatible version; evaluate the run again")
    return values


def write_pictures(folder: Path, pictures: Mapping[str, bytes | None]) -> list[str]:
    """Write plots/*.png, and return the names of the pictures that are not None."""
    for name, picture in pictures.items():
        if picture is None:
            (folder / "plots" / f"{name}.png").unlink(missing_ok=True)  # from an earlier report
        else:
            write_bytes(folder / "plots" / f"{name}.png", picture)
    return [name for name, picture in pictures.items() if picture is not None]


def write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV."""
    with (
        replacing(path) as temporary,
        # The name of a photo may contain bytes that are not UTF-8; they are kept as they are.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)


def write_values(folder: Path, values: Mapping[str, Any]) -> None:
    """Write report.json, after all other files: if it is there, the report is complete."""
    write_text(folder / REPORT, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))


def describe_interval(resamples: int) -> dict[str, Any]:
    """How the intervals were computed, for report.json."""
    method = "percentile bootstrap over images"
    return {"level": 0.95, "method": method, "resamples": resamples, "seed": SEED}


def jsonable(value: Any) -> Any:
    """Plain JSON types: arrays become lists, paths text, and numbers that are not finite null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
