"""A task is a record: a toy task, written in this file alone, is trained, scored and compared."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

import imagetext
from imagetext import task as tasks
from imagetext.commands import describe_keys, main
from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.reports.comparison.spec import ComparisonSpec
from imagetext.reports.kit.figures import percentage
from imagetext.reports.kit.report import (
    FORMAT,
    Report,
    jsonable,
    report_folder,
    write_values,
)
from imagetext.task import Task
from imagetext.training.config import RunConfig, TrainConfig
from imagetext.training.config_files import load_run_config
from imagetext.training.lifecycle import start_run
from imagetext.training.run import Run, open_run

HERE = __name__


@dataclass(frozen=True)
class ModelConfig:
    """The coin.

    Args:
        bias: How often heads come up.
    """

    bias: float = 0.5


@dataclass(frozen=True)
class CoinConfig:
    """A run that tosses coins.

    Args:
        task: Always coin.
        model: The coin.
        train: How it is trained.
        run: Where the run is kept.
    """

    task: Literal["coin"] = "coin"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    run: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class CoinModel:
    bias: float

    @classmethod
    def load(cls, run, overrides=None) -> "CoinModel":
        return cls(json.loads(open_run(run).model_file.read_text())["bias"])

    def predict(self) -> str:
        return "heads" if self.bias > 0.5 else "tails"


def train(config: CoinConfig, resume: bool = False, name: str = "coin") -> Run:
    run, config = start_run(config, name)
    write_text(run.model_file, json.dumps({"bias": config.model.bias}))
    return run


def resume_run(folder) -> Run:
    return open_run(folder)


def evaluate(run, split="test", overrides=None, to=None) -> Report:
    run = open_run(run)
    config = load_run_config(CoinConfig, run, overrides)
    scores = {"model": config.model.bias, "chance": 0.5}
    values = {
        "format": FORMAT,
        "title": f"{run.folder.name} on {split}",
        "tosses": 10,
        "notices": [],
        "about": {"model": {"parameters": 1}},
        "scores": {
            name: {"luck": {"value": value, "low": value - 0.1, "high": value + 0.1}}
            for name, value in scores.items()
        },
    }
    folder = report_folder(run.folder, split)
    write_values(folder, jsonable(values))
    return Report(f"luck {config.model.bias:.1%}", values, folder, folder / "report.html")


COMPARISON = ComparisonSpec(
    figures={"luck": percentage("Luck")},
    sort_by="luck",
    baseline="chance",
    size=("tosses",),
)
COIN = Task(
    name="coin",
    label="coin",
    title="Tossing coins",
    config=f"{HERE}:CoinConfig",
    trainer=f"{HERE}:train",
    resumer=f"{HERE}:resume_run",
    evaluator=f"{HERE}:evaluate",
    loader=f"{HERE}:CoinModel.load",
    comparison=f"{HERE}:COMPARISON",
    verbs={"toss": "toss {run}"},
)


@pytest.fixture
def coin(monkeypatch, tmp_path):
    """The registration, and a configuration."""
    monkeypatch.setattr(tasks, "REGISTERED", [*tasks.REGISTERED, f"{HERE}:COIN"])
    monkeypatch.chdir(tmp_path)
    Path("coin.yaml").write_text("task: coin\nmodel: {bias: 0.7}\n")


def test_a_toy_task_is_trained_evaluated_compared_and_listed(coin, capsys):
    assert main(["train", "coin.yaml"]) == 0
    assert main(["train", "coin.yaml", "--model.bias", "0.4", "--run.name", "unlucky"]) == 0
    assert main(["evaluate", "runs/coin-1"]) == 0
    assert "luck 70.0%" in capsys.readouterr().out
    assert main(["evaluate", "runs/unlucky"]) == 0
    assert main(["compare", "runs/coin-1", "runs/unlucky"]) == 0
    table = capsys.readouterr().out
    assert "10 tosses" in table and "70.0 %" in table and "40.0 %" in table
    assert table.index("coin ") < table.index("unlucky ") < table.index("chance ")
    assert imagetext.load("runs/coin-1").predict() == "heads"
    assert "--model.bias 0.5\n      How often heads come up." in describe_keys()


def test_other_commands_say_what_its_runs_are_for(coin, capsys):
    run = imagetext.train("coin.yaml").folder
    assert main(["predict", str(run), "photo.jpg", "A dog"]) == 1
    assert (
        f"this is a coin run, which `imagetext predict` cannot use; try: imagetext toss {run}"
        in (capsys.readouterr().err)
    )
    assert main(["export", str(run)]) == 1
    assert "a coin run cannot be exported" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--scorer", str(run)]) == 1
    assert "--scorer does not apply to coin runs" in capsys.readouterr().err


def test_an_unknown_task_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("task: juggling\n")
    with pytest.raises(UserError, match=r"unknown task 'juggling': expected .*captioning"):
        imagetext.train(tmp_path / "mine.yaml")


def test_references_of_every_record_resolve():
    """And no record costs an import of TensorFlow."""
    for record in tasks.all_tasks().values():
        for name in ("config", "trainer", "resumer", "evaluator", "loader", "comparison"):
            assert callable(value := tasks.resolve(getattr(record, name))) or value
        for companion in record.companions.values():
            assert companion.task in tasks.all_tasks()
            assert callable(tasks.resolve(companion.open))
        assert record.exporter and callable(tasks.resolve(record.exporter))
