"""Reading runs, and what `evaluate` wrote into them.

runs, left_out = read_runs(["runs/cnn-seed0", "runs/cnn-seed1"], "test")
runs[0].report["scores"]["model"]
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from imagetext.errors import UserError
from imagetext.reports.comparison.spec import ScoredRun, check_complete, get_spec
from imagetext.reports.kit.report import REPORT, read_report, report_folder
from imagetext.task import all_tasks, read_run_config
from imagetext.training.config_files import read_yaml
from imagetext.training.ensemble import is_ensemble, members, short_names
from imagetext.training.run import Run, open_run, require_trained


def read_runs(
    runs: Sequence[str | Path], split: str, ignored: Collection[str] = ()
) -> tuple[list[ScoredRun], list[str]]:
    """Read the runs that have a report on a split.

    A pattern such as runs/* also matches other files and folders, and runs without a report; these
    are left out.

    Args:
        runs: Folders of runs or ensembles, and whatever else a pattern matches.
        split: The split.
        ignored: Names of files to leave out without a message.

    Returns:
        The runs, and a message about each thing that was left out.
    """
    folders: dict[Path, Path] = {}
    others = []
    for path in map(Path, runs):
        if Run(path).config_file.is_file() or is_ensemble(path):
            folders.setdefault(path.resolve(), path)
        elif not path.exists():
            raise UserError(f"{path}: no such run")
        elif path.name not in ignored:
            others.append(path)
    if not folders:
        for other in others:
            if any(other.glob("*/config.yaml")):
                raise UserError(
                    f"{other}: contains runs but is not a run itself; give the runs: {other}/*"
                )
        open_run(others[0] if others else runs[0])  # explains why this is not a run
    left_out = [f"Skipped, not a run: {', '.join(map(str, others))}"] if others else []
    scored = []
    for folder in folders.values():
        try:
            scored.append(_read_run(folder, split))
        except UserError as error:
            left_out.append(f"Left out: {error}")
    if not scored:
        raise UserError("\n".join([f"there is nothing to compare on {split}:", *left_out]))
    return scored, left_out


def _read_run(folder: Path, split: str) -> ScoredRun:
    runs = members(folder) if is_ensemble(folder) else [str(folder)]
    location = report_folder(folder, split)
    if not (location / REPORT).is_file():
        for run in runs:
            require_trained(open_run(run))
        command = evaluate_command(",".join(runs), split)
        command += f" --to {folder}" if len(runs) > 1 else ""
        raise UserError(f"{folder}: no report on {split}; run: {command}")
    configs = [_read_config(open_run(run)) for run in runs]
    config = configs[0]
    if len(runs) > 1:
        config = common_part(configs) | {"ensemble": ", ".join(short_names(runs))}
    is_known = config.get("task", "itm") in all_tasks()  # else `common_spec` reports it
    spec = get_spec(config.get("task", "itm")) if is_known else None
    read = spec.read_predictions if spec else None
    scored = ScoredRun(
        folder=str(folder),
        config=config,
        report=read_report(location),
        predictions=read(location) if read else None,
        split=split,
        seeds=tuple((config.get("train") or {}).get("seed") for config in configs),
    )
    if spec:
        check_complete(scored, spec)
    return scored


def _read_config(run: Run) -> dict[str, Any]:
    config = read_yaml(run.config_file)
    return read_run_config(run) if config.get("task", "itm") in all_tasks() else config


def common_part(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all configurations have in common: common_part([{"a": 1, "b": 2}, {"a": 1}])."""
    common: dict[str, Any] = {}
    for key, value in configs[0].items():
        values = [config.get(key) for config in configs]
        if all(isinstance(each, Mapping) for each in values):
            common[key] = common_part([each for each in values if isinstance(each, Mapping)])
        elif all(key in config and config[key] == value for config in configs):
            common[key] = value
    return common


def evaluate_command(run: str | Path, split: str) -> str:
    """The command that writes a report."""
    return f"imagetext evaluate {run} --split {split}"
