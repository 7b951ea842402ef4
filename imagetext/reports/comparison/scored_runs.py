"""Runs and what `evaluate` wrote into them, ready to be set side by side.

runs, left_out = read_runs(["runs/cnn-seed0", "runs/cnn-seed1"], "test", require_complete)
refuse_other_rows(runs)
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagetext.errors import UserError
from imagetext.reports.kit.report import REPORT, read_report, report_folder
from imagetext.task import all_tasks, resolve
from imagetext.training.config_files import read_yaml
from imagetext.training.ensemble import is_ensemble, members, short_names
from imagetext.training.run import Run, open_run, require_trained

OTHERS_REMEDY = "compare them separately, or evaluate all on the same data (--data.root)"


@dataclass(frozen=True)
class ScoredRun:
    """A run, or an ensemble of `together` runs, with the report of one split, and its answers where
    they were kept. Of an ensemble the configuration is what its runs agree on, and their names."""

    folder: str  # as the user named it
    config: dict
    report: dict
    answers: Any
    split: str
    seeds: tuple[int | None, ...]
    together: int = 1

    @property
    def name(self) -> str:
        return Path(self.folder).absolute().name

    @property
    def holder(self) -> Path:
        """The folder of this run and its neighbours."""
        return Path(self.folder).absolute().parent

    @property
    def task(self) -> str:
        return self.config.get("task", "itm")


def read_runs(
    runs: Sequence[str | Path],
    split: str,
    require_complete: Callable[[ScoredRun], None],
    ignored: Collection[str] = (),
) -> tuple[list[ScoredRun], list[str]]:
    """The runs with a report of the split, and a sentence about each thing that is left out.

    `require_complete` refuses an incomplete report. A pattern such as runs/* matches other files
    too; those named in `ignored` are skipped silently.
    """
    folders, others = {}, []
    for given in map(Path, runs):
        if Run(given).config_file.is_file() or is_ensemble(given):
            folders.setdefault(given.resolve(), given)
        elif not given.exists():
            raise UserError(f"{given}: no such run")
        elif given.name not in ignored:
            others.append(given)
    if not folders:
        for other in others:
            if any(other.glob("*/config.yaml")):
                raise UserError(
                    f"{other}: contains runs but is not a run itself; give the runs: {other}/*"
                )
        open_run(others[0] if others else runs[0])  # says what is no run, and which there are
    left_out = [f"Skipped, not a run: {', '.join(map(str, others))}"] if others else []
    scored = []
    for folder in folders.values():
        try:
            run = _read_run(folder, split)
            require_complete(run)
            scored.append(run)
        except UserError as error:
            left_out.append(f"Left out: {error}")
    if not scored:
        raise UserError("\n".join([f"there is nothing to compare on {split}", *left_out]))
    return scored, left_out


def _read_run(folder: Path, split: str) -> ScoredRun:
    kept = report_folder(folder, split)
    runs = members(folder) if is_ensemble(folder) else [str(folder)]
    if not (kept / REPORT).is_file():
        for run in runs:
            require_trained(open_run(run))
        remedy = evaluate_command(",".join(runs), split)
        remedy += f" --to {folder}" if len(runs) > 1 else ""
        raise UserError(f"{folder}: no report on {split}; run: {remedy}")
    configs = [read_yaml(open_run(run).config_file) for run in runs]
    config = configs[0]
    if len(runs) > 1:
        config = agreed(configs) | {"ensemble": ", ".join(short_names(runs))}
    return ScoredRun(
        str(folder),
        config,
        read_report(kept),
        _read_answers(config, kept),
        split,
        tuple((config.get("train") or {}).get("seed") for config in configs),
        len(runs),
    )


def _read_answers(config: Mapping, folder: Path) -> Any:
    """The answers of a run, if its task keeps them."""
    reference = task.comparison if (task := all_tasks().get(config.get("task", "itm"))) else None
    read = resolve(reference).read_answers if reference else None
    return read(folder) if read else None


def agreed(configs: Sequence[Mapping]) -> dict:
    """The keys, of parts as well, that say the same in all: agreed([{"a": 1, "b": 2}, {"a": 1}]) ==
    {"a": 1}"""
    found = {}
    for key, value in configs[0].items():
        each = [config.get(key) for config in configs]
        if all(isinstance(one, Mapping) for one in each):
            found[key] = agreed(each)
        elif all(key in config and config[key] == value for config in configs):
            found[key] = value
    return found


def evaluate_command(run: str | Path, split: str) -> str:
    return f"imagetext evaluate {run} --split {split}"


def refuse_other_photos(runs: Sequence[ScoredRun]) -> None:
    """Captions compare only where the photos and their references were the same."""
    kinds: dict[tuple, list[str]] = {}
    for run in runs:
        report = run.report
        told = f"{report['photos']:,} photos with {report['references']:,} references"
        kinds.setdefault((report.get("scored_on"), told), []).append(run.folder)
    if len(kinds) > 1:
        lines = [f"  {told} ({digest}): {', '.join(f)}" for (digest, told), f in kinds.items()]
        raise UserError(
            "\n".join([f"these runs were scored on different photos; {OTHERS_REMEDY}", *lines])
        )
