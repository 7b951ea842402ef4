"""What a comparison shows of the runs of each task, and when they cannot be compared.

task = task_of(runs)                          # refuses a mixture
task.shown["roc_auc"] == "ROC AUC"
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from imagetext.errors import UserError
from imagetext.metrics.retrieval.scores import CHANCE
from imagetext.reports.captioning import markdown as captioning_markdown
from imagetext.reports.comparison.scored_runs import (
    ScoredRun,
    refuse_other_photos,
    refuse_other_rows,
)
from imagetext.reports.matching import markdown
from imagetext.reports.retrieval import markdown as retrieval_markdown
from imagetext.reports.tables import MAJORITY, MODEL

ONE_FOR_ALL = "one for all"


@dataclass(frozen=True)
class ComparedTask:
    """`shown` are the figures in the table, by name, and `costs` its other columns; the best by
    `sorted_by` comes first. `size` are the keys of a report that say how much was scored, in words
    by `size_told`; `explained` says what the rows and columns of this task are."""

    shown: Mapping[str, str]
    costs: Sequence[str]
    sorted_by: str
    baseline: str
    explained: Callable[[Mapping], list[str]]
    size: Sequence[str]
    size_told: Callable[[Mapping], str]
    refuse_others: Callable[[Sequence[ScoredRun]], None]
    #: Whether answers can be averaged afterwards.
    has_ensembles: bool


TASKS = {
    "itm": ComparedTask(
        shown={
            "accuracy": "accuracy",
            "balanced_accuracy": "balanced accuracy",
            "roc_auc": "ROC AUC",
        },
        costs=(
            "parameters",
            "trainable",
            "with frozen encoders",
            "minutes",
            "images/s",
            "extra captions",
        ),
        sorted_by="roc_auc",
        baseline=MAJORITY,
        explained=lambda values: [
            f'majority: always "{values["majority_label"]}".',
            "parameters: of the model that was trained; with frozen encoders: and of those that "
            "photos and captions go through before it; minutes: of training, once their features "
            "are there; images/s: photos seen in training a second.",
        ],
        size=("rows", "images", "matches", "majority_label"),
        size_told=markdown.size,
        refuse_others=refuse_other_rows,
        has_ensembles=True,
    ),
    "captioning": ComparedTask(
        shown={
            "bleu_4": "BLEU-4",
            "meteor": "METEOR",
            "rouge_l": "ROUGE-L",
            "cider_d": "CIDEr-D",
        },
        costs=("distinct", "parameters", "trainable", "minutes", "captioned/s"),
        sorted_by="cider_d",
        baseline=ONE_FOR_ALL,
        explained=lambda values: [
            f"{ONE_FOR_ALL}: the most frequent training caption, said of every photo.",
            "distinct: share of captions that are not said twice; minutes: of training.",
        ],
        size=("photos", "references"),
        size_told=captioning_markdown.size,
        refuse_others=refuse_other_photos,
        has_ensembles=False,
    ),
    "retrieval": ComparedTask(
        shown={
            "text_r1": "text → photo R@1",
            "text_r10": "R@10",
            "photo_r1": "photo → text R@1",
            "photo_r10": "R@10 ",
            "mean_recall": "mean of six",
        },
        costs=("parameters", "trainable", "minutes"),
        sorted_by="mean_recall",
        baseline=CHANCE,
        explained=lambda values: [
            f"{CHANCE}: one who knows nothing; mean of six: of R@1, 5 and 10 in both directions."
        ],
        size=("photos", "references"),
        size_told=retrieval_markdown.size,
        refuse_others=refuse_other_photos,
        has_ensembles=False,
    ),
}


def require_whole(run: ScoredRun) -> None:
    """Refuse a report without all that is compared: an early version's, or one edited by hand."""
    task = TASKS.get(run.task)
    if task is None:
        return
    places = [("about",), ("notices",), *((key,) for key in task.size)]
    places += [("scores", who, name) for who in (MODEL, task.baseline) for name in task.shown]
    for place in places:
        found = run.report
        for key in place:
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None:
            told = ".".join(place)
            raise UserError(f"{run.folder}: its report says nothing of {told} -- evaluate it again")


def task_of(runs: Sequence[ScoredRun]) -> ComparedTask:
    """The one task of all runs."""
    kinds: dict[str, list[str]] = {}
    for run in runs:
        kinds.setdefault(run.task, []).append(run.folder)
    if len(kinds) > 1:
        lines = [f"  {task}: {', '.join(folders)}" for task, folders in kinds.items()]
        raise UserError(
            "\n".join(["these runs are of several tasks -- compare them apart", *lines])
        )
    (name,) = kinds
    if name not in TASKS:
        raise UserError(f"{runs[0].folder}: unknown task {name!r} -- one of {', '.join(TASKS)}")
    return TASKS[name]
