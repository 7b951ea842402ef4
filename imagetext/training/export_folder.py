"""The folder of an export, written atomically.

target = export_target(run, folder)
write_export(target, module, module.signatures, run.model_file, readme)
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from imagetext.errors import UserError
from imagetext.files import cannot_write
from imagetext.training.run import Run

#: What an export contains; a folder with these is an export and may be replaced.
CONTENTS = {"saved_model", "model.keras", "README.txt"}


def export_target(run: Run, folder: str | Path | None) -> Path:
    """The folder to export to.

    Args:
        run: The run to export.
        folder: The folder to write; None for the run's own.

    Returns:
        The folder. A `UserError` is raised if it contains anything but an earlier export.
    """
    target = Path(folder) if folder else run.export_folder
    names = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if target.is_file() or (names and not names >= CONTENTS):
        raise UserError(f"{target}: exists and is not an export; choose a new or empty folder")
    return target


def write_export(
    target: Path, module: tf.Module, signatures: Mapping[str, Any], model_file: Path, readme: str
) -> Path:
    """Write an export. An earlier one is only replaced once the new one is complete.

    Args:
        target: The folder, from `export_target`.
        module: The module to save as a SavedModel.
        signatures: The signatures of the SavedModel.
        model_file: The run's `.keras` file, which is copied.
        readme: The text of README.txt.

    Returns:
        The folder of the SavedModel.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as temporary:
            new = Path(temporary) / "new"
            tf.saved_model.save(module, str(new / "saved_model"), signatures)
            shutil.copyfile(model_file, new / "model.keras")
            (new / "README.txt").write_text(readme)
            if target.exists():
                target.rename(Path(temporary) / "old")
            new.rename(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target / "saved_model"


def describe_shape(spec: tf.TensorSpec, open_size: str = "pieces") -> str:
    """The shape of a batch of n in words, such as "[n, 9, 9, 1280]"."""
    sizes = spec.shape.as_list()[1:]
    return f"[{', '.join(['n', *(str(size or open_size) for size in sizes)])}]"
