"""A run is a folder and nothing else: runs/<name>/ with config, checkpoints, model and report.

    run = new_run("runs", None, default_name="itm-cnn")    # runs/itm-cnn-1
    run = open_run("runs/itm-cnn-1")

The names of the files in it are defined here and nowhere else, including those that only some
tasks write.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

from imagetext.errors import UserError
from imagetext.files import cannot_write


@dataclass(frozen=True)
class Run:
    """The folder of a run and the files in it.

    Args:
        folder: The folder; it need not exist.

    Examples:
        >>> Run(Path("runs/cnn-1")).model_file
        PosixPath('runs/cnn-1/model.keras')
    """

    folder: Path

    @property
    def config_file(self) -> Path:
        """The complete configuration, from which the run can be repeated."""
        return self.folder / "config.yaml"

    @property
    def command_file(self) -> Path:
        """The command that started the run."""
        return self.folder / "command.txt"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The latest state, from which training resumes."""
        return self.checkpoints / "last.npz"

    @property
    def best_checkpoint(self) -> Path:
        """The state after the best epoch so far."""
        return self.checkpoints / "best.npz"

    @property
    def history_file(self) -> Path:
        """One row of metrics for each epoch."""
        return self.folder / "history.csv"

    @property
    def tensorboard_folder(self) -> Path:
        """The logs for TensorBoard."""
        return self.folder / "tensorboard"

    @property
    def model_file(self) -> Path:
        """The trained model; it exists once training has finished."""
        return self.folder / "model.keras"

    @property
    def left_out_file(self) -> Path:
        """How many rows and photos were left out of training."""
        return self.folder / "left_out.json"

    @property
    def extra_captions_file(self) -> Path:
        """The additional captions that were trained on, and digests of their photos."""
        return self.folder / "trained_with.json"

    @property
    def vocabulary_file(self) -> Path:
        """The words that the model can generate."""
        return self.folder / "vocabulary.json"

    @property
    def words_file(self) -> Path:
        """The vocabulary of a text tower trained from scratch."""
        return self.folder / "words.json"

    @property
    def temperature_file(self) -> Path:
        """The learned scale and bias of the similarities."""
        return self.folder / "temperature.json"

    @property
    def tuned_shares_file(self) -> Path:
        """The share of fine-tuned against pretrained weights, and the recall of every share."""
        return self.folder / "shares.json"

    @property
    def rerank_file(self) -> Path:
        """The weight of another run's scores when it re-ranks results."""
        return self.folder / "rerank.json"

    @property
    def export_folder(self) -> Path:
        """The folder that the model is exported to by default."""
        return self.folder / "export"

    @property
    def ensemble_file(self) -> Path:
        """The members of an ensemble.

        Its folder contains this file instead of a configuration and a model.
        """
        return self.folder / "ensemble.yaml"

    def part(self, name: str) -> "Run":
        """A stage or control of this run, in a folder inside it."""
        return Run(self.folder / name)


def new_run(folder: str | Path, name: str | None, default_name: str) -> Run:
    """Make the folder of a new run.

    Args:
        folder: The folder of all runs.
        name: Name of the run, which must not exist yet; None for `default_name` and a number.
        default_name: Name to append a number to.

    Returns:
        The run; its folder exists and is empty.

    Raises:
        UserError: If the folder exists already, or cannot be made.
    """
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
    """Open an existing run.

    Raises:
        UserError: If the folder is not a run; the message names the runs beside it.
    """
    run = Run(Path(folder))
    if not run.config_file.is_file():
        others = sorted(path.parent for path in run.folder.parent.glob("*/config.yaml"))
        hint = f"; runs beside it: {', '.join(map(str, others))}" if others else ""
        raise UserError(f"{run.folder}: not a run (no config.yaml in it){hint}")
    return run


def require_trained(run: Run) -> Run:
    """Refuse a run whose training has not finished."""
    if not run.model_file.is_file():
        raise UserError(
            f"{run.folder}: its training has not finished; continue it with:"
            f" imagetext train {run.folder} --resume"
        )
    return run
