"""Where a run's figures come from: what its report says of its training, machine and versions.

history(run)                             # one row for each epoch
{"command": command(run), "machine": machine(), "versions": versions()}
"""

import csv
import importlib.metadata
import json
import platform

from imagetext.training import device
from imagetext.training.run import Run

PACKAGES = ("tensorflow", "keras", "numpy", "imagetext")


def history(run: Run) -> list[dict[str, float]]:
    """The rows of history.csv, one for each epoch; none if the file does not exist."""
    if not run.history_file.is_file():
        return []
    with run.history_file.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def command(run: Run) -> str:
    """The command that began the run."""
    return run.command_file.read_text().strip() if run.command_file.is_file() else ""


def left_out_of_training(run: Run) -> dict:
    path = run.left_out_file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def machine() -> str:
    return f"{device.describe()}, {platform.system()}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
