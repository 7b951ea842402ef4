"""The Task record: everything the rest of imagetext needs to know about a task.

    task = get_task("itm")
    run = task.train(config, name="cnn")
    task_of_run("runs/cnn-1").label                     # "matching"

Each task keeps its record in its own folder (itm/task.py, captioning/task.py, ...). The command
line, comparison, export, serving and the generated documentation read these records; none of them
knows a task by name. A new task is a folder and one more entry in `REGISTERED`.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagetext.errors import UserError
from imagetext.training.config_files import read_yaml, with_current_keys
from imagetext.training.run import Run, open_run

#: Where the record of each task is, as "module:name".
REGISTERED = [
    "imagetext.itm.task:TASK",
    "imagetext.captioning.task:TASK",
    "imagetext.retrieval.task:TASK",
]

#: Reports how far something has come, from 0 to 1, and what is being done: progress(0.5, "...").
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Companion:
    """An option of `evaluate` that brings in a run of another task.

    Args:
        task: Name of the task that run must belong to.
        open: Reference to a function that turns the run's folder into what is needed.
        argument: The parameter of this task's `evaluate` that takes the result.
        purpose: What the option is for, as in "--scorer scores captions".
    """

    task: str
    open: str
    argument: str
    purpose: str


@dataclass(frozen=True)
class Service:
    """How the web app serves the runs of a task.

    Args:
        role: What the service does: "caption", "match" or "search". It names a tab of the page, a
            path of the API and the protocol (see imagetext/serving/protocols.py).
        open: Reference to `open(progress=..., **source)`, which loads the service. `source` says
            what to load, such as run="runs/a".
        check: Reference to `check(**source)`, which raises `UserError` before anything is loaded.
            By default source["run"] must be a trained run of the task.
        ensembles: Whether source["run"] may name several runs, separated by commas.
        sample_overrides: Values by dotted key for training the sample's run.
        sample_source: Reference to `prepare(run, progress)`, which returns the `source` of the
            sample's service; {"run": run} by default.
    """

    role: str
    open: str
    check: str | None = None
    ensembles: bool = False
    sample_overrides: Mapping[str, Any] = field(default_factory=dict)
    sample_source: str | None = None


@dataclass(frozen=True)
class Task:
    """The names of a task, and where its functions are.

    A reference is "module:name", such as "imagetext.itm.train:train"; it is imported when it is
    first used, so that a record costs nothing to read.

    Args:
        name: The value of `task:` in a configuration, such as "itm".
        label: What its runs are called in messages: a "matching" run.
        title: A heading, such as "Image-text matching".
        config: Reference to the configuration dataclass.
        trainer: Reference to `train(config, resume=False, name=...) -> Run`.
        resumer: Reference to `resume_run(folder) -> Run`.
        evaluator: Reference to `evaluate(run, split, overrides=..., to=...) -> Report`.
        loader: Reference to `load(run, overrides) -> model` with a `predict` method.
        comparison: Reference to what `compare` shows of its runs.
        predictor: Reference to the function behind `imagetext predict`, if there is one.
        exporter: Reference to `export(run, folder) -> Path`, if its runs can be exported.
        service: How the web app serves its runs, if they can be served.
        verbs: Commands for trained runs of this task, each with an example of its use, in which
            {run} stands for the run's folder and {photo} for a photo.
        companions: Options of `evaluate`, by name.
    """

    name: str
    label: str
    title: str
    config: str
    trainer: str
    resumer: str
    evaluator: str
    loader: str
    comparison: str | None = None
    predictor: str | None = None
    exporter: str | None = None
    service: Service | None = None
    verbs: Mapping[str, str] = field(default_factory=dict)
    companions: Mapping[str, Companion] = field(default_factory=dict)

    @property
    def config_class(self) -> type:
        """The dataclass of its configurations."""
        return resolve(self.config)

    def train(self, config: Any, resume: bool = False, name: str | None = None) -> Run:
        """Train a model in a new run, or continue an interrupted run."""
        return resolve(self.trainer)(config, resume, name=name or self.name)

    def resume(self, folder: str | Path) -> Run:
        """Continue an interrupted run."""
        return resolve(self.resumer)(folder)

    def evaluate(self, run: str, split: str, **options: Any) -> Any:
        """Score a run, or several separated by commas, and write the report."""
        return resolve(self.evaluator)(run, split, **options)

    def load(self, run: str, overrides: Mapping[str, Any] | None = None) -> Any:
        """Load the trained model of a run."""
        return resolve(self.loader)(run, overrides)

    def export(self, run: str, folder: str | None = None) -> Path:
        """Export a run as a SavedModel."""
        if self.exporter is None:
            raise UserError(f"{run}: a {self.label} run cannot be exported")
        return resolve(self.exporter)(run, folder)

    def usage(self, run: str, photo: str = "photo.jpg") -> str:
        """The first command for a trained run of this task: "imagetext caption runs/a ..."."""
        for example in self.verbs.values():
            return "imagetext " + example.format(run=run, photo=photo)
        return f"imagetext evaluate {run}"


def resolve(reference: str) -> Any:
    """Import what "module:name" or "module:Class.method" refers to."""
    module, _, path = reference.partition(":")
    value: Any = importlib.import_module(module)
    for name in path.split("."):
        value = getattr(value, name)
    return value


def all_tasks() -> dict[str, Task]:
    """Every registered task by name."""
    records: list[Task] = [resolve(reference) for reference in REGISTERED]
    return {record.name: record for record in records}


def get_task(name: str, origin: str = "task") -> Task:
    """The record of a task; `origin` is what an error names, such as a configuration file."""
    tasks = all_tasks()
    if name not in tasks:
        known = ", ".join(tasks)
        raise UserError(f"{origin}: unknown task {name!r}: expected one of {known}")
    return tasks[name]


def served_tasks() -> dict[str, Task]:
    """The tasks that the web app can serve, by the role of their service."""
    return {task.service.role: task for task in all_tasks().values() if task.service is not None}


def task_of_config(path: str | Path) -> Task:
    """The task of a configuration file."""
    return get_task(read_yaml(path).get("task", "itm"), str(path))


def task_of_run(run: str | Path) -> Task:
    """The task of a run, trained or not."""
    return task_of_config(open_run(run).config_file)


def read_run_config(run: Run) -> dict[str, Any]:
    """The configuration of a run as a dictionary, with keys renamed since under their new names."""
    kind = task_of_config(run.config_file).config_class
    return with_current_keys(kind, read_yaml(run.config_file))


def require_task(run: str, name: str, photo: str = "photo.jpg") -> Task:
    """Refuse a run of another task, and say which command suits it."""
    task, wanted = task_of_run(run), get_task(name)
    if task.name != name:
        raise UserError(
            f"{run}: expected a {wanted.label} run, but this is a {task.label} run;"
            f" try: {task.usage(run, photo)}"
        )
    return task


def task_with_verb(run: str, verb: str, photo: str = "photo.jpg") -> Task:
    """The task of a run, which must have this verb; else say which command suits the run."""
    task = task_of_run(run)
    if verb not in task.verbs:
        raise UserError(
            f"{run}: this is a {task.label} run, which `imagetext {verb}` cannot use;"
            f" try: {task.usage(run, photo)}"
        )
    return task
