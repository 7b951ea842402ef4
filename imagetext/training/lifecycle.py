"""How a run starts, resumes and ends, in every task.

run = run_to_resume(config, resume)                # None to start a new run
run, config = start_run(config, name="cnn")        # runs/cnn-1, with its configuration
run, config = reopen_run("runs/cnn-1", ITMConfig)  # or an interrupted run, with its own
with record_training(run, photos, {"rows": data.left_out}):
    ...                                            # the training
"""

import contextlib
import dataclasses
import hashlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.terminal import show_progress
from imagetext.training.config_files import load_run_config, write_config
from imagetext.training.run import Run, new_run, open_run

Config = TypeVar("Config")


def run_to_resume(config: Any, resume: bool) -> Run | None:
    """The interrupted run that a configuration names.

    Args:
        config: The configuration of a task.
        resume: Whether to resume at all.

    Returns:
        The run; None if there is nothing to resume.
    """
    if not resume:
        return None
    if not config.run.name:
        raise UserError("--resume: name the run: imagetext train runs/NAME --resume")
    run = Run(Path(config.run.folder) / config.run.name)
    return run if run.config_file.is_file() else None


def start_run(config: Any, name: str) -> tuple[Run, Any]:
    """Make the folder of a new run, and write its configuration and command into it.

    Args:
        config: The configuration of a task.
        name: Name of the folder if the configuration has none; a number is appended.

    Returns:
        The run, and the configuration with absolute paths and the name of the run.
    """
    run = new_run(config.run.folder, config.run.name, name)
    sections = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    absolute = {
        key: section.absolute() for key, section in sections.items() if hasattr(section, "absolute")
    }
    run_section = dataclasses.replace(config.run, name=run.folder.name)
    config = dataclasses.replace(config, **absolute, run=run_section)
    write_config(run.config_file, config)
    write_text(run.command_file, shlex.join(["python", *sys.argv]) + "\n")
    return run, config


def reopen_run(folder: str | Path, kind: type[Config]) -> tuple[Run, Config]:
    """Open an interrupted run to continue it.

    Args:
        folder: The folder of the run.
        kind: The configuration class of its task.

    Returns:
        The run, and its own configuration.
    """
    run = open_run(folder)
    return run, load_run_config(kind, run)


@contextlib.contextmanager
def record_training(run: Run, photos: Any, left_out: Mapping[str, Any]) -> Iterator[None]:
    """A context for training: shows how to resume when interrupted, and records in the run what was
    left out.

    Args:
        run: The run.
        photos: The training photos; those that became unreadable meanwhile are counted.
        left_out: What was left out when the data was read, for the report.
    """
    try:
        yield
    except KeyboardInterrupt:
        show_progress(f"\nInterrupted. To continue: imagetext train {run.folder} --resume")
        raise
    unreadable = len(getattr(photos, "failures", ()))
    counts = {**left_out, "photos that became unreadable during training": unreadable}
    write_text(run.left_out_file, json.dumps(counts))


def run_signature(recipe: Mapping[str, Any], data_signature: str) -> str:
    """A digest of everything that decides the weights; a resumed run must have the same.

    Args:
        recipe: The parts of the configuration that matter.
        data_signature: The digest of the training data.
    """
    content = json.dumps(recipe, sort_keys=True) + data_signature
    return hashlib.sha256(content.encode()).hexdigest()[:16]
