"""What the reports of all tasks share: their place, their files, and how they are read again.

write_values(report_folder("runs/cnn-1", "test"), values)
read_report("runs/cnn-1")["scores"]["model"]
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.errors import UserError
from imagetext.files import write_bytes, write_text
from imagetext.metrics.bootstrap import SEED

REPORT = "report.json"
#: Raised when the meaning of a key of report.json changes.
FORMAT = 1


@dataclass(frozen=True)
class Report:
    """A written report."""

    summary: str  # for the terminal
    values: dict  # what report.json holds
    folder: Path
    html_path: Path


def report_folder(run: str | Path, split: str) -> Path:
    """Where the report of a split lies: of test in the run's folder, else in `report-<split>`."""
    return Path(run) if split == "test" else Path(run) / f"report-{split}"


def read_report(folder: str | Path) -> dict:
    """The values of a report written earlier: read_report("runs/cnn")["scores"]["model"]."""
    path = Path(folder) / REPORT
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no report here; evaluate the run first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate the run again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path}: written by another version; evaluate the run again")
    return values


def write_pictures(folder: Path, pictures: Mapping[str, bytes | None]) -> list[str]:
    """Write plots/*.png and return the names of those there are."""
    for name, picture in pictures.items():
        if picture is None:
            (folder / "plots" / f"{name}.png").unlink(missing_ok=True)  # an earlier report's
        else:
            write_bytes(folder / "plots" / f"{name}.png", picture)
    return [name for name, picture in pictures.items() if picture is not None]


def write_values(folder: Path, values: Mapping) -> None:
    """To be written last: whoever finds the numbers finds the whole report."""
    write_text(folder / REPORT, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False))


def interval_told(resamples: int) -> dict:
    """How the intervals came about, for report.json."""
    method = "percentile bootstrap over images"
    return {"level": 0.95, "method": method, "resamples": resamples, "seed": SEED}


def jsonable(value):
    """Plain JSON types: arrays to lists, paths to text, numbers that are none to null."""
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
