"""Ensembles: several runs whose predictions are combined, and the folder of their report.

    names = run_names("runs/best-1,runs/best-2")        # or "runs/best-1+best-2", once evaluated
    folder = ensemble_folder(names)                     # runs/best-1+best-2
    write_members(folder, names)
    members(folder)                                     # the folders of the runs

An ensemble has nothing to train or to export. Its folder holds the report and `ensemble.yaml`,
which lists the runs.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.pipelines.records import SPLITS
from imagetext.training.config_files import read_yaml
from imagetext.training.run import Run, open_run, require_trained


def run_names(runs: str | Path) -> list[str]:
    """The runs that are meant by a run's folder, several separated by commas, or an ensemble's
    folder."""
    text = str(runs)
    if is_ensemble(Path(text)):
        return members(Path(text))
    names = [] if Path(text).exists() else [name for name in text.split(",") if name]
    return names or [text]


def open_trained_runs(runs: str | Path) -> list[Run]:
    """Open one or several trained runs, named as for `run_names`."""
    return [require_trained(open_run(name)) for name in run_names(runs)]


def short_names(folders: Sequence[str | Path]) -> list[str]:
    """The names of the folders, or their full paths if two have the same name."""
    names = [Path(folder).absolute().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))


def ensemble_folder(folders: Sequence[str | Path], to: str | Path | None = None) -> Path:
    """The folder for the report of an ensemble.

    Args:
        folders: The folders of the runs.
        to: The folder to use; by default it is beside the first run and has the names of all.

    Returns:
        The folder, which may not exist yet.

    Raises:
        UserError: If a run is listed twice, or the folder is a run or another ensemble.
    """
    paths = [Path(folder).resolve() for folder in folders]
    for folder, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise UserError(f"{folder}: given twice; an ensemble needs different runs")
    names = sorted(Path(folder).absolute().name for folder in folders)
    target = Path(to) if to else Path(folders[0]).parent / "+".join(names)
    conflict = None
    if Run(target).config_file.exists():
        conflict = "is a run, which has its own report"
    elif is_ensemble(target) and set(members(target)) != set(_absolute(folders)):
        conflict = f"holds the report of other runs ({', '.join(members(target))})"
    if conflict:
        raise UserError(f"{target}: {conflict}; choose another folder with --to")
    return target


def open_for_evaluation(
    run: Run | str | Path, split: str, to: str | Path | None = None
) -> tuple[list[Run], Path]:
    """The trained runs to score on a split, one or an ensemble, and the folder of their reports."""
    if split not in SPLITS:
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    runs = open_trained_runs(run.folder if isinstance(run, Run) else run)
    folders = [each.folder for each in runs]
    return runs, ensemble_folder(folders, to) if len(runs) > 1 else folders[0]


def write_members(folder: Path, folders: Sequence[str | Path]) -> None:
    """Record which runs belong to an ensemble."""
    write_text(Run(folder).ensemble_file, yaml.safe_dump({"runs": _absolute(folders)}))


def is_ensemble(folder: Path) -> bool:
    """Whether a folder is that of an ensemble."""
    return Run(folder).ensemble_file.is_file()


def members(folder: Path) -> list[str]:
    """The folders of an ensemble's runs."""
    file = Run(folder).ensemble_file
    runs = read_yaml(file).get("runs")
    if not isinstance(runs, list) or not runs:
        raise UserError(f"{file}: lists no runs; evaluate the runs together again")
    return list(map(str, runs))


def _absolute(folders: Sequence[str | Path]) -> list[str]:
    return [str(Path(folder).absolute()) for folder in folders]
