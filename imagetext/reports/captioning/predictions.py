"""What a captioning report is about."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CaptionPredictions:
    """What one model says of n photos, and what people wrote of them."""

    photo: tuple[str, ...]  # [n] paths
    caption: tuple[str, ...]  # [n]
    log_probability: np.ndarray  # [n]
    references: tuple[tuple[str, ...], ...]  # [n], any number each

    def __post_init__(self):
        object.__setattr__(self, "log_probability", np.asarray(self.log_probability, np.float64))
        lengths = [len(column) for column in vars(self).values()]
        if len(set(lengths)) > 1:
            raise ValueError(f"columns of different lengths: {lengths}")
