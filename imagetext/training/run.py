"""A run is a folder and nothing else: runs/<name>/ with config, checkpoints, model and report.

run = new_run("runs", None, default_name="itm-cnn")    # runs/itm-cnn-1
run = open_run("runs/itm-cnn-1")
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

from imagetext.errors import UserError
from imagetext.files import cannot_write


@dataclass(frozen=True)
class Run:
    """Where everything of a run lies."""

    folder: Path

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model_file(self) -> Path:
        return self.folder / "model.keras"

    @property
    def command_file(self) -> Path:
        return self.folder / "command.txt"

    @property
    def left_out_file(self) -> Path:
        return self.folder / "left_out.json"

    @property
    def export_folder(self) -> Path:
        return self.folder / "export"

    @property
    def rerank_file(self) -> Path:
        """How much a matching run counts when it re-ranks this retrieval run's searches."""
        return self.folder / "rerank.json"

    @property
    def words_file(self) -> Path:
        """The vocabulary of a text tower trained from scratch."""
        return self.folder / "words.json"

    @property
    def temperature_file(self) -> Path:
        """The learned scale and bias of a retrieval run's similarities."""
        return self.folder / "temperature.json"

    @property
    def tuned_shares_file(self) -> Path:
        """How far a retrieval run's weights went from pretrained to tuned, and the recalls."""
        return self.folder / "shares.json"

    def part(self, name: str) -> "Run":
        """A run within this one, such as a control."""
        return Run(self.folder / name)


def new_run(folder: str | Path, name: str | None, default_name: str) -> Run:
    """Make a run's folder: of the name given, which must be free, or the next free number."""
    folder = Path(folder)
    names = [name] if name else (f"{default_name}-{number}" for number in itertools.count(1))
    for candidate in names:
        run = Run(folder / candidate)
        try:
            run.folder.mkdir(parents=True)
            return run
        except FileExistsError:
            if name and any(run.folder.iterdir()):
                raise UserError(
                    f"{run.folder}: already exists; continue it with --resume, or"
                    " choose another --run.name"
                ) from None
            if name:
                return run
        except OSError as error:
            raise cannot_write(run.folder, error) from error
    raise AssertionError("numbers do not end")


def open_run(folder: str | Path) -> Run:
    """A run that exists."""
    run = Run(Path(folder))
    if not run.config_file.is_file():
        near = sorted(path.parent for path in run.folder.parent.glob("*/config.yaml"))
        hint = f"; runs beside it: {', '.join(map(str, near))}" if near else ""
        raise UserError(f"{run.folder}: not a run (no config.yaml in it){hint}")
    return run


def trained(run: Run) -> Run:
    """The run, if its training has ended."""
    if not run.model_file.is_file():
        raise UserError(
            f"{run.folder}: its training has not finished; continue it with:"
            f" imagetext train {run.folder} --resume"
        )
    return run
