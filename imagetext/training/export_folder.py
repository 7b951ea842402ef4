"""The folder of an export: written whole or not at all, and no other folder is ever replaced.

target = checked_target(run, folder)
write_export(target, module, module.signatures, run.model_file, readme)
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from imagetext.errors import UserError
from imagetext.files import cannot_write
from imagetext.training.run import Run

#: What lies in an export's folder, by which an earlier one is known and replaced.
OURS = {"saved_model", "model.keras", "README.txt"}


def checked_target(run: Run, folder: str | Path | None) -> Path:
    """Where to write: `folder`, or the run's own; refused if something else lies there."""
    target = Path(folder) if folder else run.export_folder
    there = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if target.is_file() or (there and not there >= OURS):
        raise UserError(f"{target}: exists and is no earlier export -- name a new or empty folder")
    return target


def write_export(
    target: Path, module: tf.Module, signatures: Mapping, model_file: Path, readme: str
) -> Path:
    """Write it and return the SavedModel's folder; an earlier export is replaced once the new one
    is complete."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as temporary:
            built = Path(temporary) / "new"
            tf.saved_model.save(module, str(built / "saved_model"), signatures)
            shutil.copyfile(model_file, built / "model.keras")
            (built / "README.txt").write_text(readme)
            if target.exists():
                target.rename(Path(temporary) / "old")
            built.rename(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target / "saved_model"


def shape_told(spec: tf.TensorSpec, open_size: str = "pieces") -> str:
    """Of a batch of n: "[n, 9, 9, 1280]"."""
    others = spec.shape.as_list()[1:]
    return f"[{', '.join(['n', *(str(size or open_size) for size in others)])}]"
