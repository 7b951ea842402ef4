"""What a comparison shows of the runs of a task.

Each task has a `ComparisonSpec` beside its report, which its `Task` record names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagetext.errors import UserError
from imagetext.reports.comparison.scored_runs import ScoredRun, refuse_other_photos
from imagetext.reports.kit.tables import MODEL
from imagetext.task import all_tasks, get_task, resolve

DEFAULT_COSTS = ("parameters", "trainable", "minutes")


@dataclass(frozen=True)
class ComparisonSpec:
    """What a comparison shows of the runs of a task.

    Args:
        shown: Figures in the table, by name, with their headings; registered in `kit.figures`.
        sorted_by: The figure that orders the rows, best first.
        baseline: The name of the scorer that stands below the models.
        size: Keys of the report that say how much was scored.
        describe_size: The same in words.
        costs: The other columns.
        explain: Sentences about the rows and columns of this task.
        refuse_others: Raises a `UserError` if runs were not scored on the same data.
        read_answers: Reads the answers of a run from the folder of its report, if they are kept.
        ensemble: Scores all runs together from their answers; deprecated.
    """

    shown: Mapping[str, str]
    sorted_by: str
    baseline: str
    size: Sequence[str]
    describe_size: Callable[[Mapping], str]
    costs: Sequence[str] = DEFAULT_COSTS
    explain: Callable[[Mapping], list[str]] = lambda values: []
    refuse_others: Callable[[Sequence[ScoredRun]], None] = refuse_other_photos
    read_answers: Callable[[Path], Any] | None = None
    ensemble: Callable[[Sequence[ScoredRun]], Mapping[str, Any]] | None = None


def spec_of(task: str) -> ComparisonSpec:
    """The specification of a task, by name."""
    reference = get_task(task).comparison
    if reference is None:
        raise UserError(f"{task}: runs of this task cannot be compared")
    return resolve(reference)


def require_complete(run: ScoredRun) -> None:
    """Refuse a report that lacks what is compared: an early version's, or an edited one."""
    if run.task not in all_tasks():
        return  # `common_spec` says so
    spec = spec_of(run.task)
    places = [("about",), ("notices",), *((key,) for key in spec.size)]
    places += [("scores", who, name) for who in (MODEL, spec.baseline) for name in spec.shown]
    for place in places:
        value: Any = run.report
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            raise UserError(
                f"{run.folder}: its report has no {'.'.join(place)}; evaluate the run again"
            )


def common_spec(runs: Sequence[ScoredRun]) -> ComparisonSpec:
    """The specification of the one task of all runs."""
    tasks: dict[str, list[str]] = {}
    for run in runs:
        tasks.setdefault(run.task, []).append(run.folder)
    if len(tasks) > 1:
        lines = [f"  {task}: {', '.join(folders)}" for task, folders in tasks.items()]
        raise UserError(
            "\n".join(["these runs belong to different tasks; compare them separately", *lines])
        )
    (name,) = tasks
    return spec_of(name)
