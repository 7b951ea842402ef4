"""The configuration sections `train` and `run` that all tasks share, and checks of values."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from imagetext.errors import UserError

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
        require_at_least("train", self, epochs=0, weight_decay=0, checkpoint_seconds=0)
        require_above_zero("train", self, "learning_rate")
        require_below_one("train", self, "warmup", "averaging")
        for key, is_valid, expected in (
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "above 0, or null"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 4294967295"),
            ("patience", self.patience is None or self.patience >= 1, "at least 1, or null"),
        ):
            require("train", self, key, is_valid, expected)

    def require_monitor(self, metrics: Iterable[str]) -> None:
        """Refuse a `monitor` that is not among the validation metrics of the task."""
        if self.monitor not in metrics:
            names = ", ".join(metrics)
            raise UserError(f"train.monitor: expected one of {names}, got {self.monitor!r}")


@dataclass(frozen=True)
class RunConfig:
    """Where a run is stored.

    Args:
        name: Name of its folder; null for the name of the configuration and a number.
        folder: Folder of all runs.
    """

    name: str | None = None
    folder: str = "runs"


def absolute_paths(config: Config, keys: Iterable[str]) -> Config:
    """Make the paths under some keys absolute, so that a run can be used from any folder.

    Args:
        config: A section of a configuration.
        keys: The keys that hold paths; unset ones are skipped.

    Returns:
        The section with absolute paths.
    """
    paths = {key: getattr(config, key) for key in keys if getattr(config, key)}
    absolute = {key: str(Path(path).expanduser().absolute()) for key, path in paths.items()}
    return dataclasses.replace(cast(Any, config), **absolute)


def require_at_least(section: str, config: object, **least: float) -> None:
    """Refuse values below a minimum: require_at_least("data", self, batch_size=1)."""
    for key, minimum in least.items():
        require(section, config, key, getattr(config, key) >= minimum, f"at least {minimum}")


def require_above_zero(section: str, config: object, *keys: str) -> None:
    """Refuse values that are not positive: require_above_zero("train", self, "learning_rate")."""
    for key in keys:
        require(section, config, key, getattr(config, key) > 0, "above 0")


def require_below_one(section: str, config: object, *keys: str) -> None:
    """Refuse values outside [0, 1): require_below_one("model", self, "dropout")."""
    for key in keys:
        is_valid = 0 <= getattr(config, key) < 1
        require(section, config, key, is_valid, "from 0 up to (not including) 1")


def require(section: str, config: object, key: str, is_valid: bool, expected: str) -> None:
    """Refuse the value of a key unless it is valid; the message says what is expected."""
    if not is_valid:
        raise UserError(f"{section}.{key}: must be {expected}, got {getattr(config, key)}")


def require_blocks_fit(blocks: int, side: int) -> None:
    """Refuse a CNN with more Conv + MaxPool blocks than an image of this side can be halved."""
    if side >> blocks < 1:
        raise UserError(
            f"model.filters: {blocks} blocks, each of which halves the image, are too many for"
            f" {side} pixels; use fewer, or a larger data.image_size"
        )
