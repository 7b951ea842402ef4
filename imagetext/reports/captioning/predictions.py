"""The captions of a model with their references, and `captions.csv`."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.reports.kit.report import write_csv

CAPTIONS = "captions.csv"


@dataclass(frozen=True)
class CaptionPredictions:
    """What a model says about n photos, and what people wrote about them.

    Args:
        photo: Paths [n].
        caption: The model's captions [n].
        log_probability: Of these captions, float [n].
        references: Captions by people [n], any number for each photo.
    """

    photo: tuple[str, ...]
    caption: tuple[str, ...]
    log_probability: np.ndarray
    references: tuple[tuple[str, ...], ...]

    def __post_init__(self):
        object.__setattr__(self, "log_probability", np.asarray(self.log_probability, np.float64))
        lengths = [len(column) for column in vars(self).values()]
        if len(set(lengths)) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    @property
    def digest(self) -> str:
        """Identifies photos and references, regardless of folder and order."""
        rows = sorted(
            [Path(photo).name, *sorted(texts)]
            for photo, texts in zip(self.photo, self.references, strict=True)
        )
        # JSON is ASCII, even if a file name is not UTF-8.
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:8]


def write_captions(
    folder: Path,
    predictions: CaptionPredictions,
    cider: np.ndarray,
    caption_scores: np.ndarray | None = None,
) -> None:
    """Write `captions.csv`, with a row for each photo and a column for each reference.

    Args:
        folder: The folder of the report.
        predictions: Captions and references.
        cider: CIDEr-D of each photo, float [n].
        caption_scores: Reference-free scores, float [n], if there are any.
    """
    count = max(map(len, predictions.references), default=0)
    columns = {
        "photo": predictions.photo,
        "caption": predictions.caption,
        "log_probability": predictions.log_probability.tolist(),
        "cider": cider.tolist(),
    }
    if caption_scores is not None:
        columns["caption_score"] = caption_scores.tolist()
    heading = [*columns, *(f"reference_{number}" for number in range(1, count + 1))]
    rows = zip(*columns.values(), predictions.references, strict=True)
    write_csv(folder / CAPTIONS, heading, ([*row, *texts] for *row, texts in rows))
