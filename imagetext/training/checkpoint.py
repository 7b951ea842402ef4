"""Checkpoints: the complete state of training in one file, written atomically.

    save(path, model, progress)          # may be killed at any time
    progress = restore(path, model)      # training continues from exactly this state

An `.npz` file holds every variable of the model, the optimizer and the running metrics, and the
progress as JSON. No pickle is written or read.
"""

import dataclasses
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from imagetext.errors import UserError
from imagetext.files import replacing


@dataclass
class Progress:
    """How far training is.

    Args:
        epoch: The current epoch, counted from 0.
        step: Number of batches of it that are done.
        history: Metrics of each finished epoch.
        best: Best value of the monitored metric.
        best_epoch: The epoch with that value; -1 if the initial weights are the best.
        seconds: Time spent in training.
        finished: Whether training has ended.
        signature: Identifies data and settings, so that a run is not resumed with others.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = -1
    seconds: float = 0.0
    finished: bool = False
    signature: str = ""


def save(path: Path, model: keras.Model, progress: Progress) -> None:
    """Save the variables of model, optimizer and metrics, and the progress."""
    arrays = {name: _as_array(variable) for name, variable in _variables(model).items()}
    content = np.frombuffer(json.dumps(dataclasses.asdict(progress)).encode(), np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, progress=content, **arrays)


def read_progress(path: Path) -> Progress:
    """Read only the progress, without a model."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Progress(**json.loads(stored["progress"].tobytes()))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: not a valid checkpoint ({error}); start a new run under another name"
        ) from error


def restore(path: Path, model: keras.Model, only_model: bool = False) -> Progress:
    """Restore a saved state.

    Args:
        path: The checkpoint.
        model: The compiled model; it must have been built by the same configuration.
        only_model: Restore only the weights of the model, not optimizer and metrics.

    Returns:
        The progress at that state.
    """
    progress = read_progress(path)
    variables = _variables(model)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        names = [name for name in variables if not only_model or name.startswith("model")]
        for name in names:
            if name not in stored.files or stored[name].shape != tuple(variables[name].shape):
                raise UserError(
                    f"{path}: does not belong to this model ({variables[name].path} differs);"
                    " resume with the configuration that it was trained with"
                )
        for name in names:
            value = stored[name]
            if variables[name].dtype == "bfloat16":
                value = value.view(_bfloat16())
            variables[name].assign(value)
    return progress


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Variables by number: layer names may differ between processes, their order does not."""
    named = {f"model_{n}": v for n, v in enumerate(model.variables)}
    if model.optimizer is not None:
        named |= {f"optimizer_{n}": v for n, v in enumerate(model.optimizer.variables)}
        named |= {f"metric_{n}": v for n, v in enumerate(model.metrics_variables)}
    return named


def _as_array(variable: keras.Variable) -> np.ndarray:
    array = np.asarray(variable)
    return array.view(np.uint16) if variable.dtype == "bfloat16" else array  # npz has no bfloat16


def _bfloat16():
    import ml_dtypes

    return ml_dtypes.bfloat16
