"""Where the numbers of a run come from, for its report: training, machine and versions.

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
    """The command that started the run; empty if it is not known."""
    return run.command_file.read_text().strip() if run.command_file.is_file() else ""


def left_out_of_training(run: Run) -> dict:
    """How many rows and photos were left out of training."""
    path = run.left_out_file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def machine() -> str:
    """Processors, operating system and Python version of this machine."""
    return f"{device.describe()}, {platform.system()}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """The versions of the packages that decide the numbers."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
