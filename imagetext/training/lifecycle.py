"""How a run begins, goes on and ends: the same for every task.

run = to_resume(config, resume)              # None where a new one begins
run, config = begin(config, name="cnn")      # runs/cnn-1, with the configuration in it
with recorded(run, photos, {"rows": data.left_out}):
    ...                                      # the training
"""

import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imagetext.errors import UserError
from imagetext.files import write_text
from imagetext.terminal import show_progress
from imagetext.training.config_files import write_config
from imagetext.training.run import Run, new_run


def to_resume(config: Any, resume: bool) -> Run | None:
    """The run that a configuration names, where it is to go on and has begun."""
    if not resume:
        return None
    if not config.run.name:
        raise UserError("--resume: give the folder of the run: imagetext train runs/NAME --resume")
    run = Run(Path(config.run.folder) / config.run.name)
    return run if run.config_file.is_file() else None


def begin(config: Any, name: str) -> tuple[Run, Any]:
    """Make the run's folder, called `name` and a number where the configuration names none, and
    write into it the configuration, its paths absolute, and the command."""
    run = new_run(config.run.folder, config.run.name, name)
    parts = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    found = {key: part.absolute() for key, part in parts.items() if hasattr(part, "absolute")}
    named = dataclasses.replace(config.run, name=run.folder.name)
    config = dataclasses.replace(config, **found, run=named)
    write_config(run.config_file, config)
    write_text(run.command_file, shlex.join(["python", *sys.argv]) + "\n")
    return run, config


@contextlib.contextmanager
def recorded(run: Run, photos: Any, left_out: Mapping[str, Any]) -> Iterator[None]:
    """Around a training: says how an interrupted one goes on, and notes at the end of a whole one
    what it had to do without."""
    try:
        yield
    except KeyboardInterrupt:
        show_progress(f"\nInterrupted. It goes on with: imagetext train {run.folder} --resume")
        raise
    unread = len(getattr(photos, "failures", ()))
    told = {**left_out, "photos that turned bad while training": unread}
    write_text(run.left_out_file, json.dumps(told))
