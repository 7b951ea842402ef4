"""The configuration keys that every task shares: `train` and `run`."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from imagetext.errors import UserError
from imagetext.training.limits import above_zero, at_least, below_one, require

Config = TypeVar("Config")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained, in every task.

    Args:
        epochs: Passes over the training data; 0 if an earlier stage does all the training.
        learning_rate: The highest rate, reached at the end of the warm-up.
        warmup: Fraction of all steps during which the rate rises from zero; it then decays to zero.
        weight_decay: AdamW's weight decay; never applied to biases and norms.
        clip_norm: Gradients with a larger global norm are scaled down to it; null to disable.
        averaging: Evaluate and save an exponential moving average of the weights with this decay,
            such as 0.999; 0 to disable.
        patience: Stop after this many epochs without a better `monitor`; null to disable.
        monitor: The validation figure that chooses the best epoch, such as val_loss or val_auc.
        precision: Precision of the hidden layers; auto uses the 16-bit type that suits the GPU,
            and float32 without one.
        xla: Compile the training step with XLA; auto does so on a GPU where it helps, never on a
            CPU.
        strategy: TensorFlow's distribution strategy: none, mirrored, multi_worker or tpu.
        seed: Seed of weights, data order and dropout.
        deterministic: Make results reproducible bit for bit on the same machine. Null means true on
            a CPU and false on a GPU, where it is slower and excludes XLA.
        checkpoint_seconds: How often, within an epoch, the state is saved for --resume.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    averaging: float = 0.0
    patience: int | None = None
    monitor: str = "val_loss"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    xla: Literal["auto", "on", "off"] = "auto"
    strategy: Literal["none", "mirrored", "multi_worker", "tpu"] = "none"
    seed: int = 0
    deterministic: bool | None = None
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        at_least("train", self, epochs=0, weight_decay=0, checkpoint_seconds=0)
        above_zero("train", self, "learning_rate")
        below_one("train", self, "warmup", "averaging")
        for key, holds, wanted in (
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "above 0, or null"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 4294967295"),
            ("patience", self.patience is None or self.patience >= 1, "at least 1, or null"),
        ):
            require("train", self, key, holds, wanted)

    def require_monitor(self, figures: Iterable[str]) -> None:
        """Refuse to choose by a figure that the task does not compute."""
        if self.monitor not in figures:
            names = ", ".join(figures)
            raise UserError(f"train.monitor: expected one of {names}, got {self.monitor!r}")


@dataclass(frozen=True)
class RunConfig:
    """Where the run is stored.

    Args:
        name: Name of its folder; null for the name of the configuration and a number.
        folder: Folder of all runs.
    """

    name: str | None = None
    folder: str = "runs"


def absolute_paths(config: Config, names: Iterable[str]) -> Config:
    """The same with the paths under these names absolute, so that a run can be used anywhere."""
    given = {name: getattr(config, name) for name in names if getattr(config, name)}
    found = {name: str(Path(path).expanduser().absolute()) for name, path in given.items()}
    return dataclasses.replace(cast(Any, config), **found)


def require_blocks_fit(blocks: int, side: int) -> None:
    """Refuse a model's own Conv + MaxPool blocks where they leave nothing of a photo."""
    if side >> blocks < 1:
        raise UserError(
            f"model.filters: {blocks} blocks, each of which halves the image, are too many for"
            f" {side} pixels; use fewer, or a larger data.image_size"
        )
