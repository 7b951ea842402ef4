"""Every configuration key of an image-text matching run, with its default.

config = load_config(ITMConfig, "itm/cnn", {"data.root": "flickr8k"})
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from imagetext.encoders.registry import RANDOM, text_encoder
from imagetext.encoders.texts import local_encoder
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM
from imagetext.training.config import (
    RunConfig,
    TrainConfig,
    absolute_paths,
    require_above_zero,
    require_at_least,
    require_below_one,
    require_blocks_fit,
)
from imagetext.training.photo_config import PhotoDataConfig

#: Validation metrics that can choose the best epoch.
MONITORED = ("val_loss", "val_binary_accuracy", "val_auc")


@dataclass(frozen=True)
class DataConfig(PhotoDataConfig):
    """Which data to use, and how it reaches the model.

    Args:
        kind: Layout of the folder; auto detects it.
        batch_size: Photos per step, each with all its captions; rows per step if group_by_image is
            false.
        group_by_image: Encode a photo once for all its captions, rather than once per caption.
        image_output: What to take from image encoders: pooled, one vector per photo; or grid, the
            cells (those of several encoders are resized to one grid).
        matches: Matching captions per photo, when pairs are made from captioned data.
        negatives: Non-matching captions per photo, likewise.
    """

    batch_size: int = 16
    group_by_image: bool = True
    matches: int = 3
    negatives: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("data", self, batch_size=1, matches=1, negatives=1)
        if not self.image_encoders and self.image_output == "grid":
            raise UserError(
                "data.image_output: grid needs an image encoder; set data.image_encoders"
            )


@dataclass(frozen=True)
class TextConfig:
    """How captions are read.

    Args:
        input: embeddings, one vector per sentence, computed once; or tokens, the raw caption, read
            by a text encoder that is part of the model and trained with it.
        encoder: For embeddings, the encoder that computed them and computes missing ones:
            all-MiniLM-L6-v2 or another sentence-transformers model (needs that extra; cannot be
            exported). For tokens, a text encoder by name, or a local folder with a BERT or CLIP
            model.
        weights: Folder of the encoder's weights (for CLIP also a file), if they are not in one of
            the usual places; for tokens also random, for untrained weights.
        embeddings: File of caption embeddings (.npz, or the course's .pkl), if not in data.root.
    """

    input: Literal["embeddings", "tokens"] = "embeddings"
    encoder: str = MINILM
    weights: str | None = None
    embeddings: str | None = None

    def absolute(self) -> "TextConfig":
        """A copy with absolute paths, so that a run can be used from any folder."""
        names = ["embeddings"] + (["weights"] if self.weights != RANDOM else [])
        names += ["encoder"] if self.input == "tokens" and local_encoder(self.encoder) else []
        return absolute_paths(self, names)

    def __post_init__(self) -> None:
        if self.input != "tokens":
            return
        if not local_encoder(self.encoder):
            try:
                text_encoder(self.encoder)
            except UserError as error:
                raise UserError(f"text.encoder: {error}") from error
        elif self.weights not in (None, RANDOM):
            raise UserError(
                f"text.weights: {self.encoder} is a folder with its own weights; leave text.weights"
                f" out, or set text.encoder to {self.weights}"
            )


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Args:
        head: How image and text are combined: concat (concatenation, dense layers), additive
            (concatenation straight into the softmax, the course's stock head), joint (concat with
            product and difference), cosine (of both projections, and late interaction), attention
            (joint, and words and cells attend to each other; needs data.image_output grid and
            text.input tokens).
        filters: Filters of the Conv + MaxPool blocks on raw pixels.
        projection: Width of both sides after the residual projection.
        hidden: Widths of the dense layers after the concatenation.
        dropout: Dropout rate.
        input_dropout: Dropout rate of pretrained features and sentence embeddings.
        heads: Attention heads, for head attention.
        late: Weight of late interaction in head cosine, which compares each word with its most
            similar cell of the photo (needs data.image_output grid and text.input tokens).
        late_width: Width of words and cells in late interaction.
        encoder_rate: Learning rate of pretrained encoders, relative to the rest.
        calibrate: After training, fit scale and shift of the log odds on dev.
        inputs: Both sides or only one, as in the controls of the report.
    """

    head: Literal["concat", "additive", "joint", "cosine", "attention"] = "concat"
    filters: list[int] = field(default_factory=lambda: [16, 32, 64])
    projection: int = 128
    hidden: list[int] = field(default_factory=lambda: [256, 128])
    dropout: float = 0.1
    input_dropout: float = 0.0
    heads: int = 8
    late: float = 0.0
    late_width: int = 256
    encoder_rate: float = 0.05
    calibrate: bool = False
    inputs: Literal["both", "text", "image"] = "both"

    def __post_init__(self) -> None:
        if not self.filters or min(self.filters + self.hidden + [self.projection]) < 1:
            raise UserError("model: filters, hidden and projection must be at least 1")
        require_below_one("model", self, "dropout", "input_dropout", "late")
        require_at_least("model", self, encoder_rate=0, late_width=1)
        if self.late and self.head != "cosine":
            raise UserError(f"model.late: needs model.head cosine, got {self.head}")
        if self.head == "attention" and (self.heads < 1 or self.projection % self.heads):
            raise UserError(
                f"model.projection ({self.projection}) must be divisible by model.heads"
                f" ({self.heads})"
            )


@dataclass(frozen=True)
class AlignConfig:
    """A contrastive stage before the training, which uses true pairs only.

    Each photo of a batch has to be matched with its caption in the batch, and each caption with its
    photo.

    Args:
        epochs: Passes over the photos, each with one of its captions; 0 to skip this stage.
        learning_rate: Peak learning rate, as in train.learning_rate.
        batch_size: Photos per step; each is compared with all captions of the batch.
        temperature: Initial divisor of the similarities; it is learned.
        hardness: Above 0, mismatches count more the more similar they are.
        flips: Also use features of mirrored photos. A photo whose captions mention left or right is
            never mirrored.
        extra_captions: Data with more captions (a folder of official Flickr8k), used in addition to
            the matches of the training rows; photos and captions of dev and test are left out.
    """

    epochs: int = 0
    learning_rate: float = 1e-3
    batch_size: int = 256
    temperature: float = 0.05
    hardness: float = 0.0
    flips: bool = False
    extra_captions: str | None = None

    def absolute(self) -> "AlignConfig":
        """A copy with absolute paths, so that a run can be used from any folder."""
        return absolute_paths(self, ["extra_captions"])

    def __post_init__(self) -> None:
        require_at_least("align", self, epochs=0, batch_size=2, hardness=0)
        require_above_zero("align", self, "learning_rate", "temperature")


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows.

    Args:
        controls: Also train a text-only and an image-only control with the same settings.
        resamples: Bootstrap resamples behind each interval.
    """

    controls: bool = True
    resamples: int = 1000

    def __post_init__(self) -> None:
        require_at_least("report", self, resamples=1)


#: Keys that can be overridden for a trained run: where data and weights are, and the report.
CHANGEABLE = (
    "data.root",
    "data.kind",
    "data.images",
    "data.cache",
    "data.features",
    "data.image_weights",
    "data.skip_bad",
    "text.embeddings",
    "text.weights",
    "align.extra_captions",
    "report.resamples",
)


@dataclass(frozen=True)
class ITMConfig:
    """An image-text matching run.

    Args:
        task: Always itm.
        data: Which data to use, and how it reaches the model.
        text: How captions are read.
        model: The network.
        align: A contrastive stage before the training.
        train: How the model is trained.
        report: What the report shows.
        run: Where the run is stored.
    """

    task: Literal["itm"] = "itm"
    #: Keys and values of earlier versions.
    RENAMED: ClassVar[dict[str, str]] = {
        "data.text": "text.input",
        "data.encoder": "text.encoder",
        "data.weights": "text.weights",
        "data.embeddings": "text.embeddings",
        "align.captions": "align.extra_captions",
    }
    RENAMED_VALUES: ClassVar[dict[str, dict[str, str]]] = {"model.head": {"cnn": "concat"}}

    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(monitor="val_auc"))
    report: ReportConfig = field(default_factory=ReportConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        self.train.require_monitor(MONITORED)
        if not self.train.epochs and not self.aligns:
            raise UserError(
                "train.epochs: must be at least 1 unless align.epochs is, got 0 for both"
            )
        words_and_cells = self.data.image_output == "grid" and self.text.input == "tokens"
        if (self.model.head == "attention" or self.model.late) and not words_and_cells:
            key = "late" if self.model.late else "head attention"
            raise UserError(
                f"model.{key}: needs the cells of an image encoder and the words of a caption;"
                " set data.image_output grid and text.input tokens"
            )
        if self.align.flips and self.data.from_pixels:
            raise UserError("align.flips: applies to stored features only; set data.image_encoders")
        if not self.data.image_encoders:
            require_blocks_fit(len(self.model.filters), self.data.image_size)

    @property
    def aligns(self) -> bool:
        """Whether the run has an alignment stage, which needs both sides."""
        return self.align.epochs > 0 and self.model.inputs == "both"
