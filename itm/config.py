"""Everything an image-text matching run can be told, with its default.

config = load_config(ITMConfig, "configs/itm/cnn.yaml", {"data.root": "flickr8k"})
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pipelines.embeddings import MINILM
from pipelines.errors import UserError
from training.config import TrainConfig

#: Validation figures by which the best epoch can be chosen.
MONITORED = ("val_loss", "val_binary_accuracy", "val_auc")


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how it reaches the model.

    Args:
        root: Folder of the data; null for the built-in sample. May be the image folder itself.
        kind: What the folder holds; auto finds out.
        images: The image folder, where it is not at one of its usual places.
        embeddings: Caption embeddings (.npz, or the course's .pkl), where not in root.
        encoder: Who computed them, and computes what is missing: all-MiniLM-L6-v2, or the name of
            another sentence-transformers model (needs that extra; cannot be exported).
        weights: Folder with the sentence encoder's files, for captions absent from the table.
        image_size: Photos are resized to squares of this side.
        batch_size: Photos a step, each with all its captions; rows, with group_by_image false.
        group_by_image: Encode a photo once for all its captions, not once a caption.
        cache: Where decoded photos are kept; auto: memory, then disk, then streaming, by size.
        skip_bad: Leave out bad rows and files (the report counts them) instead of stopping.
        matches: Right captions a photo, where pairs are made from a captioned source.
        negatives: Wrong captions a photo, likewise.
    """

    root: str | None = None
    kind: Literal["auto", "course", "flickr8k", "folder", "sample"] = "auto"
    images: str | None = None
    embeddings: str | None = None
    encoder: str = MINILM
    weights: str | None = None
    image_size: int = 112
    batch_size: int = 16
    group_by_image: bool = True
    cache: Literal["auto", "memory", "disk", "stream"] = "auto"
    skip_bad: bool = False
    matches: int = 3
    negatives: int = 3

    def absolute(self) -> "DataConfig":
        """The same with absolute paths, so that a run can be used from any folder."""
        names = ("root", "images", "embeddings", "weights")
        given = {name: getattr(self, name) for name in names if getattr(self, name)}
        found = {name: str(Path(path).expanduser().absolute()) for name, path in given.items()}
        return replace(self, **found)

    def __post_init__(self) -> None:
        for key, least in (("image_size", 8), ("batch_size", 1), ("matches", 1), ("negatives", 1)):
            if getattr(self, key) < least:
                raise UserError(f"data.{key}: {getattr(self, key)} -- must be at least {least}")


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Args:
        head: How image and text meet: cnn (concatenate, dense layers), additive (concatenate
            straight into the softmax, the course's stock head), joint (adds product, difference).
        filters: Filters of the Conv + MaxPool blocks on raw pixels.
        projection: Width of both sides after the residual projection.
        hidden: Widths of the dense layers after the concatenation.
        dropout: Share of values dropped in training.
        inputs: Both sides, or one alone: the controls that a report sets beside the score.
    """

    head: Literal["cnn", "additive", "joint"] = "cnn"
    filters: list[int] = field(default_factory=lambda: [16, 32, 64])
    projection: int = 128
    hidden: list[int] = field(default_factory=lambda: [256, 128])
    dropout: float = 0.1
    inputs: Literal["both", "text", "image"] = "both"

    def __post_init__(self) -> None:
        if not self.filters or min(self.filters + self.hidden + [self.projection]) < 1:
            raise UserError("model: filters, hidden and projection must be at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(
                f"model.dropout: {self.dropout} -- must be from 0 up to (not including) 1"
            )


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows.

    Args:
        controls: Also train a text-only and an image-only control by the same recipe.
        resamples: Bootstrap resamples behind each interval.
    """

    controls: bool = True
    resamples: int = 1000

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise UserError(f"report.resamples: {self.resamples} -- must be at least 1")


#: What may be changed when a trained run is scored: where the data lie, not what was trained.
WHERE_DATA_LIE = (
    "data.root",
    "data.kind",
    "data.images",
    "data.embeddings",
    "data.weights",
    "data.cache",
    "data.skip_bad",
    "report.resamples",
)


@dataclass(frozen=True)
class RunConfig:
    """Where the run is kept.

    Args:
        name: Its folder's name; null for the configuration's name and a number.
        folder: The folder of all runs.
    """

    name: str | None = None
    folder: str = "runs"


@dataclass(frozen=True)
class ITMConfig:
    """An image-text matching run.

    Args:
        task: Always itm.
        data: Which data, and how it reaches the model.
        model: The network.
        train: How it is trained.
        report: What the report shows.
        run: Where the run is kept.
    """

    task: Literal["itm"] = "itm"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(monitor="val_auc"))
    report: ReportConfig = field(default_factory=ReportConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.train.monitor not in MONITORED:
            known = ", ".join(MONITORED)
            raise UserError(f"train.monitor: no figure {self.train.monitor!r} -- one of {known}")
        blocks, side = len(self.model.filters), self.data.image_size
        if side >> blocks < 1:
            raise UserError(
                f"model.filters: {blocks} blocks halve a photo of {side} pixels to nothing"
                " -- use fewer, or a larger data.image_size"
            )
