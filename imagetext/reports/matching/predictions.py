"""The predictions of a matching model, and `predictions.csv`.

write_predictions("runs/cnn", predictions)
read_predictions("runs/cnn").probability
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.errors import DataError, Problem, UserError
from imagetext.pipelines.records import LABELS, MATCH, NO_MATCH
from imagetext.reports.kit.report import write_csv

PREDICTIONS = "predictions.csv"
COLUMNS = ["photo", "caption", "label", "match_probability"]


@dataclass(frozen=True)
class MatchPredictions:
    """What a model predicts for n pairs, and their labels.

    Args:
        probability: P(match), float [n].
        is_match: The labels, bool [n].
        image: Paths of the photos [n].
        caption: The captions [n].
    """

    probability: np.ndarray
    is_match: np.ndarray
    image: tuple[str, ...]
    caption: tuple[str, ...]

    def __post_init__(self):
        object.__setattr__(self, "probability", np.asarray(self.probability, np.float64))
        object.__setattr__(self, "is_match", np.asarray(self.is_match, bool))
        lengths = [len(column) for column in vars(self).values()]
        if len(set(lengths)) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    def select(self, rows: np.ndarray) -> "MatchPredictions":
        """Only some rows, in this order.

        Args:
            rows: Their indices, int [k].
        """
        images, captions = ([column[row] for row in rows] for column in (self.image, self.caption))
        return MatchPredictions(
            self.probability[rows], self.is_match[rows], tuple(images), tuple(captions)
        )

    def same_rows(self, other: "MatchPredictions") -> bool:
        """Whether both are about the same pairs in the same order."""
        return (
            self.image == other.image
            and self.caption == other.caption
            and np.array_equal(self.is_match, other.is_match)
        )


def write_predictions(folder: str | Path, predictions: MatchPredictions) -> None:
    """Write `predictions.csv`, with all digits of the probabilities."""
    labels = [MATCH if is_match else NO_MATCH for is_match in predictions.is_match]
    probability = predictions.probability.tolist()
    columns = (predictions.image, predictions.caption, labels, probability)
    write_csv(Path(folder) / PREDICTIONS, COLUMNS, zip(*columns, strict=True))


def read_predictions(folder: str | Path) -> MatchPredictions:
    """Read the `predictions.csv` of a report."""
    path = Path(folder) / PREDICTIONS
    rows = []
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file)
            if next(reader, None) != COLUMNS:
                raise _bad_row(path, 1, f"expected the columns {', '.join(COLUMNS)}")
            for row in reader:
                rows.append(_parse(row, path, reader.line_num))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; evaluate the run again") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate the run again") from error
    photos, captions, is_match, probability = zip(*rows, strict=True) if rows else ((),) * 4
    return MatchPredictions(np.array(probability), np.array(is_match), photos, captions)


def _parse(row: list[str], path: Path, line: int) -> tuple[str, str, bool, float]:
    if len(row) != len(COLUMNS):
        raise _bad_row(path, line, f"expected {len(COLUMNS)} cells, got {len(row)}")
    photo, caption, label, text = row
    if label not in LABELS:
        raise _bad_row(path, line, f"unknown label {label!r}: expected {' or '.join(LABELS)}")
    try:
        probability = float(text)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        raise _bad_row(path, line, f"expected a probability, got {text!r}")
    return photo, caption, label == MATCH, probability


def _bad_row(path: Path, line: int, message: str) -> DataError:
    return DataError([Problem(path, line, message, "evaluate the run again")])
