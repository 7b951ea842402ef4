"""Every option of a retrieval run, with its default.

config = load_config(RetrievalConfig, "retrieval/best", {"train.epochs": 3})
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from imagetext.encoders.registry import RANDOM, image_encoder, text_encoder
from imagetext.encoders.texts import local_encoder
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM
from imagetext.training.config import (
    RunConfig,
    TrainConfig,
    require,
    require_at_least,
    require_below_one,
    require_blocks_fit,
)
from imagetext.training.photo_config import PhotoDataConfig

#: Validation metrics that can choose the best epoch.
MONITORED = ("val_loss", "val_recall")
#: The text encoder that is trained from scratch.
SCRATCH = "scratch"


@dataclass(frozen=True)
class DataConfig(PhotoDataConfig):
    """Which data to use, and how it reaches the model.

    Args:
        batch_size: Photos per step, each with one of its captions; the captions of the others are
            its negatives.
        captions_per_epoch: Passes over the photos in an epoch, each with another caption of every
            photo.
        image_weights: File or folder of the encoder's weights; random for untrained ones. With
            model.own_vectors they are used for captions as well.
        flips: Also train on mirrored photos or their features, except for photos whose captions
            mention left or right.
    """

    image_encoders: list[str] = field(default_factory=lambda: ["efficientnet_lite2"])
    batch_size: int = 256
    captions_per_epoch: int = 5
    flips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("data", self, batch_size=2, captions_per_epoch=1)


@dataclass(frozen=True)
class TextConfig:
    """How captions are read.

    Args:
        encoder: A pretrained text encoder, by name or as a local folder; or scratch, a small
            transformer on the words of the training captions.
        weights: Folder of its weights (for a CLIP also a file), if they are not in one of the usual
            places; random for untrained ones.
        fine_tune: Train a pretrained encoder with the rest; false keeps its weights.
        longest: Captions are cut to this many tokens (for scratch, words).
        minimum_count: For scratch: words that are rarer in the training captions are unknown.
        width: For scratch: width of the hidden states.
        layers: For scratch: number of blocks.
        heads: For scratch: number of attention heads.
    """

    encoder: str = MINILM
    weights: str | None = None
    fine_tune: bool = True
    longest: int = 64
    minimum_count: int = 2
    width: int = 256
    layers: int = 3
    heads: int = 4

    def absolute(self) -> "TextConfig":
        """The same with absolute paths, so that a run can be used from any folder."""
        names = {"encoder": self.encoder, "weights": self.weights}
        paths = {
            key: Path(name).expanduser()
            for key, name in names.items()
            if name not in (None, RANDOM, SCRATCH)
        }
        existing: dict[str, Any] = {
            key: str(path.absolute()) for key, path in paths.items() if path.exists()
        }
        return replace(self, **existing)

    def __post_init__(self) -> None:
        require_at_least("text", self, longest=3, minimum_count=1, width=1, layers=1, heads=1)
        if self.width % self.heads:
            raise UserError(
                f"text.width ({self.width}) must be divisible by text.heads ({self.heads})"
            )


@dataclass(frozen=True)
class ModelConfig:
    """The two towers.

    Args:
        width: Width of the vectors.
        filters: Filters of the Conv + MaxPool blocks on raw pixels.
        late: Share of late interaction in the similarity, in which each word is compared with the
            cells of the photo; 0 compares the vectors alone.
        late_width: Width of words and cells in late interaction.
        dropout: Share of values dropped in training.
        input_dropout: Share of the encoders' outputs dropped in training.
        encoder_rate: Learning rate of pretrained encoders, relative to train.learning_rate.
        layer_decay: Learning rate of each block of theirs, relative to the block above it.
        unfreeze: Number of their last blocks to train, with the layers after them; null for all.
        own_vectors: Compare the vectors of both halves of a CLIP without new layers, so that
            training starts from the pretrained CLIP.
        tuned_shares: With own_vectors: interpolate between the pretrained weights (0) and the tuned
            ones (1); if several are listed, the best on dev is kept.
    """

    width: int = 512
    filters: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    late: float = 0.0
    late_width: int = 256
    dropout: float = 0.3
    input_dropout: float = 0.5
    encoder_rate: float = 0.1
    layer_decay: float = 1.0
    unfreeze: int | None = None
    own_vectors: bool = False
    tuned_shares: list[float] = field(default_factory=lambda: [1.0])

    def __post_init__(self) -> None:
        require_at_least("model", self, width=1, late_width=1, encoder_rate=0)
        require_below_one("model", self, "dropout", "input_dropout", "late")
        if not self.filters or min(self.filters) < 1:
            raise UserError(f"model.filters: each must be at least 1, got {self.filters}")
        for key, holds, wanted in (
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0, and at most 1"),
            ("unfreeze", self.unfreeze is None or self.unfreeze >= 0, "at least 0, or null"),
        ):
            require("model", self, key, holds, wanted)
        if not self.tuned_shares or not all(0 <= share <= 1 for share in self.tuned_shares):
            raise UserError(
                f"model.tuned_shares: each must be from 0 to 1, got {self.tuned_shares}"
            )
        if not self.own_vectors and set(self.tuned_shares) != {1.0}:
            raise UserError(
                "model.tuned_shares: needs a model without new layers; set model.own_vectors true,"
                " or leave it at [1.0]"
            )
        if self.own_vectors and self.late:
            raise UserError(f"model.late: must be 0 with model.own_vectors, got {self.late}")


@dataclass(frozen=True)
class LossConfig:
    """The loss.

    Args:
        kind: contrastive, where each photo is to find its caption among all in the batch and vice
            versa; or sigmoid, where each pair is classified by itself (SigLIP).
        temperature: Initial divisor of the similarities; it is learned. null takes that of the
            pretrained CLIP, with model.own_vectors.
        bias: For sigmoid: initial bias; it is learned. (Closer to 0, towers have collapsed to one
            vector for everything.)
        hardness: For contrastive: weigh negatives by exp(hardness * similarity); 0 weighs all
            alike.
        same: How to treat other captions of a photo, or of its copies, in a batch: ignored, or
            matches.
        micro_batch: Photos that go through the towers at a time, by gradient caching, whatever the
            batch size: less memory, a third more time; 0 for the whole batch.
    """

    kind: Literal["contrastive", "sigmoid"] = "contrastive"
    temperature: float | None = 0.05
    bias: float = -10.0
    hardness: float = 0.0
    same: Literal["ignored", "matches"] = "ignored"
    micro_batch: int = 0

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0.01 <= self.temperature <= 10:
            raise UserError(f"loss.temperature: must be from 0.01 to 10, got {self.temperature}")
        require_at_least("loss", self, hardness=0, micro_batch=0)
        if self.hardness and self.kind == "sigmoid":
            raise UserError(
                f"loss.hardness: applies to the contrastive loss only, got {self.hardness}; set it"
                " to 0, or loss.kind to contrastive"
            )


@dataclass(frozen=True)
class ReportConfig:
    """The contents of the report.

    Args:
        resamples: Number of bootstrap resamples for confidence intervals.
        gallery: Number of example searches in each direction: found first, found late, not found.
    """

    resamples: int = 1000
    gallery: int = 12

    def __post_init__(self) -> None:
        require_at_least("report", self, resamples=1, gallery=0)


#: Keys that can be set for a trained run: where data and weights are, and the report.
CHANGEABLE = (
    "data.root",
    "data.kind",
    "data.images",
    "data.cache",
    "data.features",
    "data.image_weights",
    "data.skip_bad",
    "text.weights",
    "report.resamples",
    "report.gallery",
)


@dataclass(frozen=True)
class RetrievalConfig:
    """The configuration of a retrieval run.

    Args:
        task: Always retrieval.
        data: Which data to use, and how it reaches the model.
        text: How captions are read.
        model: The two towers.
        loss: The loss.
        train: How the model is trained.
        report: The contents of the report.
        run: Where the run is kept.
    """

    #: Former names of keys, still read in the configurations of older runs.
    RENAMED: ClassVar[dict[str, str]] = {"data.captions": "data.captions_per_epoch"}

    task: Literal["retrieval"] = "retrieval"
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        self.train.require_monitor(MONITORED)
        if not self.train.epochs:
            raise UserError("train.epochs: must be at least 1, got 0")
        if not self.data.image_encoders:
            require_blocks_fit(len(self.model.filters), self.data.image_size)
        cells = self.data.image_output == "grid" or not self.data.image_encoders
        if self.model.late and not cells:
            raise UserError(
                f"model.late: {self.model.late} needs the cells of photos; set data.image_output"
                " grid, or model.late 0"
            )
        self._check_own_vectors()
        if self.loss.micro_batch and self.data.batch_size % self.loss.micro_batch:
            raise UserError(
                f"data.batch_size ({self.data.batch_size}) must be divisible by loss.micro_batch"
                f" ({self.loss.micro_batch})"
            )

    def _check_own_vectors(self) -> None:
        if not self.model.own_vectors:
            if self.loss.temperature is None:
                raise UserError(
                    "loss.temperature: null needs model.own_vectors, as only a pretrained CLIP has"
                    " a temperature; set a number"
                )
            return
        names = self.data.image_encoders
        if len(names) != 1 or not image_encoder(names[0]).is_clip:
            raise UserError(
                f"model.own_vectors: needs one CLIP for both towers, got data.image_encoders"
                f" {names}; set it to [clip_vit_b32], for example, and text.encoder to the same"
            )
        clip, local = image_encoder(names[0]).name, local_encoder(self.text.encoder)
        if not local and (
            self.text.encoder == SCRATCH or text_encoder(self.text.encoder).name != clip
        ):
            raise UserError(
                f"model.own_vectors: needs one CLIP for both towers, got {clip} for photos and"
                f" {self.text.encoder} for captions; set text.encoder {clip}"
            )
        if self.data.image_output != "pooled":
            raise UserError(
                "model.own_vectors: needs one vector per photo, got data.image_output grid; set it"
                " to pooled"
            )

    @property
    def reader(self) -> TextConfig:
        """The text section; with one CLIP for both towers, the image weights serve both."""
        shared = self.model.own_vectors and not local_encoder(self.text.encoder)
        if shared and self.text.weights is None:
            return replace(self.text, weights=self.data.image_weights)
        return self.text
