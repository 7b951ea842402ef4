"""Several runs that answer together: how they are named, and the folder of their report.

    names = run_names("runs/best-1,runs/best-2")        # or, once scored, "runs/best-1+best-2"
    folder = ensemble_folder(names)                     # runs/best-1+best-2
    write_members(folder, names)
    members(folder)                                     # their folders again

An ensemble is no run: there is nothing to train or to export. Its folder holds `ensemble.yaml`,
which names the runs, and their report.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.training.config_files import read_yaml

FILE = "ensemble.yaml"


def run_names(runs: str | Path) -> list[str]:
    """A run's folder, or several with commas between, or an ensemble's folder: one by one."""
    text = str(runs)
    if is_ensemble(Path(text)):
        return members(Path(text))
    names = [] if Path(text).exists() else [name for name in text.split(",") if name]
    return names or [text]


def short_names(folders: Sequence[str | Path]) -> list[str]:
    """The names of runs without the folder that they lie in, where that tells them apart."""
    names = [Path(folder).absolute().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))


def ensemble_folder(folders: Sequence[str | Path], to: str | Path | None = None) -> Path:
    """Where the report of several runs lies: `to`, or by all their names beside the first."""
    places = [Path(folder).resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{folder}: given twice; an ensemble needs different runs")
    names = sorted(Path(folder).absolute().name for folder in folders)
    chosen = Path(to) if to else Path(folders[0]).parent / "+".join(names)
    taken = None
    if (chosen / "config.yaml").exists():
        taken = "is a run, with a report of its own"
    elif is_ensemble(chosen) and set(members(chosen)) != set(_absolute(folders)):
        taken = f"holds the report of other runs ({', '.join(members(chosen))})"
    if taken:
        raise UserError(f"{chosen}: {taken}; choose another folder with --to")
    return chosen


def write_members(folder: Path, folders: Sequence[str | Path]) -> None:
    """Write which runs an ensemble's folder is of."""
    write_text(folder / FILE, yaml.safe_dump({"runs": _absolute(folders)}))


def is_ensemble(folder: Path) -> bool:
    return (folder / FILE).is_file()


def members(folder: Path) -> list[str]:
    """The folders of an ensemble's runs."""
    runs = read_yaml(folder / FILE).get("runs")
    if not isinstance(runs, list) or not runs:
        raise UserError(f"{folder / FILE}: lists no runs; evaluate them together again")
    return list(map(str, runs))


def _absolute(folders: Sequence[str | Path]) -> list[str]:
    return [str(Path(folder).absolute()) for folder in folders]
