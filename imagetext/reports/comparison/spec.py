"""What a comparison shows of the runs of a task.

Each task has a `ComparisonSpec` beside its report, which its `Task` record names:

    COMPARISON = ComparisonSpec(
        figures={"accuracy": percentage("Accuracy")},
        sort_by="accuracy",
        baseline="majority",
        size=("rows",),
    )
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from imagetext.errors import UserError
from imagetext.reports.kit.figures import Figures
from imagetext.reports.kit.tables import MODEL
from imagetext.task import get_task, resolve

#: What stands in a cell without a value.
UNKNOWN = "-"
SAME_DATA = "compare them separately, or evaluate all on the same data (--data.root)"


@dataclass(frozen=True)
class ScoredRun:
    """A run, or an ensemble of runs, with its report on one split.

    Args:
        folder: As the user wrote it.
        config: The configuration; of an ensemble, what its runs have in common, and their names.
        report: The values of the report.
        predictions: The predictions, if the task reads them and they were kept.
        split: The split of the report.
        seeds: The seed of each run.
    """

    folder: str
    config: dict[str, Any]
    report: dict[str, Any]
    predictions: Any
    split: str
    seeds: tuple[int | None, ...]

    @property
    def name(self) -> str:
        return Path(self.folder).absolute().name

    @property
    def parent(self) -> Path:
        """The folder of this run and its neighbours."""
        return Path(self.folder).absolute().parent

    @property
    def task(self) -> str:
        return self.config.get("task", "itm")

    @property
    def members(self) -> int:
        """How many runs this is."""
        return len(self.seeds)


def format_amount(value: float) -> str:
    """A large number: 1,234."""
    return f"{value:,.0f}"


@dataclass(frozen=True)
class Cost:
    """A column about what a run takes, beside its scores.

    Args:
        title: The heading.
        key: Its key in comparison.json.
        path: Where report.json has it, as a sequence of keys.
        format: How a value is written.
        total: The value of several runs used together; None if there is none.
        always_shown: Whether to show the column even if no run has a value.
    """

    title: str
    key: str
    path: tuple[str, ...]
    format: Callable[[Any], str] = format_amount
    total: Callable[[list[Any]], Any] | None = None
    always_shown: bool = True

    def read(self, reports: Sequence[Mapping[str, Any]]) -> Any:
        """The value of runs that differ only in their seed: the median, if it is a number."""
        values = [value for report in reports if (value := get_path(report, self.path)) is not None]
        if not values:
            return None
        all_equal = all(value == values[0] for value in values)
        return values[0] if all_equal or isinstance(values[0], Mapping) else median(values)

    def combine(self, reports: Sequence[Mapping[str, Any]]) -> Any:
        """The value of all runs together."""
        if self.total is None:
            return None
        return self.total([self.read([report]) for report in reports])

    def write(self, value: Any) -> str:
        return UNKNOWN if value is None else self.format(value)


def sum_known(values: Sequence[Any]) -> Any:
    """The sum; None if one of the values is."""
    return None if None in values else sum(values)


PARAMETERS = Cost("parameters", "parameters", ("about", "model", "parameters"), total=sum_known)
TRAINABLE = Cost(
    "trainable",
    "trainable_parameters",
    ("about", "model", "trainable parameters"),
    total=sum_known,
    always_shown=False,
)
MINUTES = Cost(
    "minutes", "minutes", ("about", "training", "minutes"), "{:,.1f}".format, total=sum_known
)


@dataclass(frozen=True)
class ComparisonSpec:
    """What a comparison shows of the runs of a task.

    Args:
        figures: The figures in the table, by name.
        sort_by: Name of the figure that orders the rows, best first.
        baseline: Key of the scorer that stands below the models.
        size: Keys of the report that say how much was scored.
        headings: Headings that differ from the labels of the figures.
        baseline_name: What the baseline is called; its key by default.
        describe_size: Takes the values of a report or comparison, and says how much was scored.
        costs: The other columns.
        explain: Takes the values of a comparison; returns sentences about its rows and columns.
        read_predictions: Reads predictions from the folder of a report, if they were kept.
        check: Raises a `UserError` if runs cannot be compared although their reports have the same
            size.
        average: Scores runs together from their predictions, for --ensemble. Deprecated.
    """

    figures: Figures
    sort_by: str
    baseline: str
    size: Sequence[str]
    headings: Mapping[str, str] | None = None
    baseline_name: str | None = None
    describe_size: Callable[[Mapping[str, Any]], str] | None = None
    costs: Sequence[Cost] = (PARAMETERS, TRAINABLE, MINUTES)
    explain: Callable[[Mapping[str, Any]], list[str]] = lambda values: []
    read_predictions: Callable[[Path], Any] | None = None
    check: Callable[[Sequence[ScoredRun]], None] = lambda runs: None
    average: Callable[[Sequence[ScoredRun]], Mapping[str, Any]] | None = None

    def heading(self, name: str) -> str:
        """The heading of a figure."""
        return (self.headings or {}).get(name, self.figures[name].label)

    def size_text(self, values: Mapping[str, Any]) -> str:
        """How much was scored, such as "10 photos, 50 captions"."""
        if self.describe_size:
            return self.describe_size(values)
        return ", ".join(f"{values[key]:,} {key.replace('_', ' ')}" for key in self.size)


def get_spec(task: str) -> ComparisonSpec:
    """The specification of a task, by name."""
    reference = get_task(task).comparison
    if reference is None:
        raise UserError(f"{task}: runs of this task cannot be compared")
    return resolve(reference)


def common_spec(runs: Sequence[ScoredRun]) -> ComparisonSpec:
    """The specification of the task that all runs have in common."""
    tasks: dict[str, list[str]] = {}
    for run in runs:
        tasks.setdefault(run.task, []).append(run.folder)
    if len(tasks) > 1:
        lines = [f"  {task}: {', '.join(folders)}" for task, folders in tasks.items()]
        raise UserError(
            "\n".join(["these runs belong to different tasks; compare them separately:", *lines])
        )
    (name,) = tasks
    return get_spec(name)


def check_complete(run: ScoredRun, spec: ComparisonSpec) -> None:
    """Refuse a report that lacks something, written by an early version or edited since."""
    paths: list[tuple[str, ...]] = [("about",), ("notices",), *((key,) for key in spec.size)]
    paths += [("scores", who, name) for who in (MODEL, spec.baseline) for name in spec.figures]
    for path in paths:
        if get_path(run.report, path) is None:
            raise UserError(
                f"{run.folder}: its report has no {'.'.join(path)}; evaluate the run again"
            )


def check_same_data(runs: Sequence[ScoredRun], spec: ComparisonSpec) -> None:
    """Refuse runs that were not scored on the same data."""
    sizes: dict[str, list[str]] = {}
    for run in runs:
        text = spec.size_text(run.report)
        if digest := run.report.get("scored_on"):
            text += f" ({digest})"
        sizes.setdefault(text, []).append(run.folder)
    if len(sizes) > 1:
        lines = [f"  {text}: {', '.join(folders)}" for text, folders in sizes.items()]
        raise UserError(
            "\n".join([f"these runs were scored on different data; {SAME_DATA}:", *lines])
        )
    spec.check(runs)


def get_path(values: Any, path: Sequence[str]) -> Any:
    """The value at a sequence of keys; None if it is missing."""
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
