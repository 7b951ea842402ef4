"""The whole state of a training run in one file, written so that it is never half there.

    save(path, model, progress)          # may be interrupted at any instant
    progress = restore(path, model)      # the model goes on from exactly there

One `.npz` holds every variable of model, optimizer (with its step) and running metrics, and the
progress as JSON; it is renamed into place when complete. No pickle is written or read.
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
    """Where a run stands: `step` batches of `epoch` are done (both count from 0)."""

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = -1
    seconds: float = 0.0
    finished: bool = False
    #: Names the data and schedule, so that a run is not resumed with others.
    signature: str = ""


def save(path: Path, model: keras.Model, progress: Progress) -> None:
    """Save variables of model, optimizer and metrics, and the progress."""
    arrays = {name: _as_array(variable) for name, variable in _variables(model).items()}
    told = np.frombuffer(json.dumps(dataclasses.asdict(progress)).encode(), np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, progress=told, **arrays)


def read_progress(path: Path) -> Progress:
    """The progress alone, without touching a model."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Progress(**json.loads(stored["progress"].tobytes()))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: not a valid checkpoint ({error}); start a new run under another name"
        ) from error


def restore(path: Path, model: keras.Model, only_model: bool = False) -> Progress:
    """Put a saved state back; `only_model` leaves optimizer and metrics alone."""
    progress = read_progress(path)
    variables = _variables(model)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        wanted = [name for name in variables if not only_model or name.startswith("model")]
        for name in wanted:
            if name not in stored.files or stored[name].shape != tuple(variables[name].shape):
                message = f"{path}: does not belong to this model ({variables[name].path})"
                raise UserError(
                    f"{message}; resume with the configuration that it was trained with"
                )
        for name in wanted:
            value = stored[name]
            if variables[name].dtype == "bfloat16":
                value = value.view(_bfloat16())
            variables[name].assign(value)
    return progress


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Numbered names: layer names may differ from process to process, the order does not."""
    named = {f"model_{n}": v for n, v in enumerate(model.variables)}
    if model.optimizer is not None:
        named |= {f"optimizer_{n}": v for n, v in enumerate(model.optimizer.variables)}
        named |= {f"metric_{n}": v for n, v in enumerate(model.metrics_variables)}
    return named


def _as_array(variable: keras.Variable) -> np.ndarray:
    array = np.asarray(variable)
    return array.view(np.uint16) if variable.dtype == "bfloat16" else array  # npz knows no bfloat16


def _bfloat16():
    import ml_dtypes

    return ml_dtypes.bfloat16
