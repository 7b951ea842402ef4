"""The configuration of a captioning run: all keys with their defaults.

config = load_config(CaptioningConfig, "captioning/gru_attention", {"train.epochs": 3})
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from imagetext.encoders.registry import RANDOM
from imagetext.errors import UserError
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
MONITORED = ("val_loss", "val_token_accuracy", "val_cider")


@dataclass(frozen=True)
class DataConfig(PhotoDataConfig):
    """Which data to use, and how it reaches the model.

    Args:
        batch_size: Photos per step, each with all its captions.
        max_captions: Most captions used per photo.
        image_output: What to take from encoders: pooled, one vector per photo; flat, all cells as
            one long vector; or grid, the cells (those of several encoders are resized to one grid).
        augment: Read pixels, and mirror, rotate, crop and recolour them in training. A photo whose
            captions mention left or right is never mirrored.
        flips: Also train on features of mirrored photos, with the same exception.
    """

    image_encoders: list[str] = field(default_factory=lambda: ["efficientnet_lite2"])
    image_output: Literal["pooled", "flat", "grid"] = "grid"  # type: ignore[assignment]
    batch_size: int = 32
    max_captions: int = 5
    augment: bool = False
    flips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("data", self, batch_size=1, max_captions=1)
        if self.augment and len(self.image_encoders) > 1:
            raise UserError(
                "data.augment: needs exactly one image encoder, got"
                f" {len(self.image_encoders)}; set data.image_encoders"
            )
        if self.flips and self.from_pixels:
            raise UserError(
                "data.flips: applies to stored features only; to train on pixels, set data.augment"
            )

    @property
    def from_pixels(self) -> bool:
        return super().from_pixels or self.augment


@dataclass(frozen=True)
class TextConfig:
    """How captions become tokens.

    Args:
        pieces: words, a vocabulary built from the training captions; or wordpiece, the vocabulary
            in `wordpieces`.
        wordpieces: File or folder of a WordPiece vocabulary (vocab.txt); null for that of MiniLM,
            which is BERT's.
        lower: Convert to lower case. (This key and the next two do not affect word pieces.)
        punctuation: removed, everywhere (t-shirt becomes tshirt); inside, kept only within words;
            or kept, where each mark between words becomes a token.
        alphabetic: Drop words that contain other characters than letters, such as 3 and 4th.
        minimum_count: Words that occur less often in the training captions are unknown.
        longest: Captions with more tokens are truncated in training and never generated.
    """

    pieces: Literal["words", "wordpiece"] = "words"
    wordpieces: str | None = None
    lower: bool = True
    punctuation: Literal["removed", "inside", "kept"] = "removed"
    alphabetic: bool = True
    minimum_count: int = 4
    longest: int = 24

    def absolute(self) -> "TextConfig":
        return absolute_paths(self, ["wordpieces"])

    def __post_init__(self) -> None:
        require_at_least("text", self, minimum_count=1, longest=1)


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Args:
        kind: gru_merge (one vector of the photo is added to the GRU's state before the softmax),
            gru_attention (a GRU that attends to the cells before each word), transformer, or
            vit_bert (a BERT with cross-attention).
        width: Width of word embeddings, states and all other hidden layers.
        layers: Blocks of the transformer.
        heads: Attention heads of transformer and vit_bert.
        filters: Filters of the Conv + MaxPool blocks for raw pixels.
        score: Attention score of gru_attention: dot, or bahdanau (additive).
        dropout: Dropout rate.
        input_dropout: Dropout rate of the image features.
        tied: Share weights between word embeddings and softmax (transformer and vit_bert).
        decoder_weights: The BERT of vit_bert: a local Hugging Face folder, a preset, minilm, or
            random for an untrained BERT with the sizes above.
        encoder_rate: Learning rate of pretrained parts, relative to the rest.
    """

    kind: Literal["gru_merge", "gru_attention", "transformer", "vit_bert"] = "gru_attention"
    width: int = 512
    layers: int = 2
    heads: int = 8
    filters: list[int] = field(default_factory=lambda: [32, 64, 128])
    score: Literal["dot", "bahdanau"] = "dot"
    dropout: float = 0.3
    input_dropout: float = 0.1
    tied: bool = True
    decoder_weights: str = "minilm"
    encoder_rate: float = 0.1

    def absolute(self) -> "ModelConfig":
        path = Path(self.decoder_weights).expanduser()
        return replace(self, decoder_weights=str(path.absolute())) if path.exists() else self

    def __post_init__(self) -> None:
        require_at_least("model", self, width=1, layers=1, heads=1, encoder_rate=0)
        require_below_one("model", self, "dropout", "input_dropout")
        if not self.filters or min(self.filters) < 1:
            raise UserError(
                "model.filters: must be a list of numbers of at least 1, such as [32, 64], got"
                f" {self.filters}"
            )
        if self.kind in ("transformer", "vit_bert") and self.width % self.heads:
            raise UserError(
                f"model.width ({self.width}) must be divisible by model.heads ({self.heads})"
            )


@dataclass(frozen=True)
class DecodingConfig:
    """How captions are decoded by default.

    Args:
        method: beam, diverse (groups of beams that avoid each other's words) or sample; greedy
            search is a single beam.
        beams: Number of beams; for sample, number of samples.
        groups: Groups of diverse beam search.
        diversity: Penalty of a word for each beam of an earlier group that has chosen it.
        length_penalty: The log probability of a caption is divided by its length to this power.
        no_repeat: Size of n-grams that must not occur twice in a caption; 0 to disable.
        temperature: Temperature of sampling; below 1 favours likely words.
        top_k: Sample from this many of the likeliest words; 0 for all.
        top_p: Sample from the likeliest words that together have this probability.
    """

    method: Literal["beam", "diverse", "sample"] = "beam"
    beams: int = 5
    groups: int = 1
    diversity: float = 0.5
    length_penalty: float = 0.7
    no_repeat: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        require_at_least(
            "decoding", self, beams=1, groups=1, no_repeat=0, top_k=0, length_penalty=0, diversity=0
        )
        if self.method == "diverse" and self.beams % self.groups:
            raise UserError(
                f"decoding.beams ({self.beams}) must be divisible by decoding.groups"
                f" ({self.groups})"
            )
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise UserError(
                "decoding: temperature must be above 0, and top_p above 0 and at most 1, got"
                f" {self.temperature} and {self.top_p}"
            )


@dataclass(frozen=True)
class LossConfig:
    """The training loss.

    Args:
        label_smoothing: Probability that the target spreads evenly over all words.
        dropout_until: Dropout rises from zero to its full rate within this fraction of the epochs.
    """

    label_smoothing: float = 0.1
    dropout_until: float = 0.0

    def __post_init__(self) -> None:
        require_below_one("loss", self, "label_smoothing", "dropout_until")


@dataclass(frozen=True)
class CriticConfig:
    """Self-critical training after the cross-entropy (Rennie et al. 2017): sampled captions with a
    higher CIDEr-D than the other samples of the photo become more likely.

    Args:
        epochs: Passes over the training photos; 0 to skip this stage.
        learning_rate: The highest rate of this stage.
        samples: Captions sampled per photo; the baseline of each is the mean of the others.
        temperature: Temperature of the samples. Well below 1, because a model trained with smoothed
            labels otherwise samples a random word in nearly every caption.
        batch_size: Photos per step.
        dropout: Keep dropout on for the image features, which slows down overfitting.
    """

    epochs: int = 0
    learning_rate: float = 2e-5
    samples: int = 5
    temperature: float = 0.5
    batch_size: int = 32
    dropout: bool = False

    def __post_init__(self) -> None:
        require_at_least("critic", self, epochs=0, samples=2, batch_size=1)
        require_above_zero("critic", self, "learning_rate", "temperature")


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows.

    Args:
        resamples: Bootstrap resamples behind each interval.
        gallery: Photos in the gallery: best, middle and worst by CIDEr-D, in equal parts.
    """

    resamples: int = 1000
    gallery: int = 12

    def __post_init__(self) -> None:
        require_at_least("report", self, resamples=1, gallery=0)


#: Keys that can be changed for a trained run: where the data is, and how captions are decoded.
CHANGEABLE = (
    "data.root",
    "data.kind",
    "data.images",
    "data.cache",
    "data.features",
    "data.image_weights",
    "data.skip_bad",
    "text.wordpieces",
    *(f"decoding.{key}" for key in DecodingConfig.__dataclass_fields__),
    "report.resamples",
    "report.gallery",
)


@dataclass(frozen=True)
class CaptioningConfig:
    """A captioning run.

    Args:
        task: Always captioning.
        data: Which data to use, and how it reaches the model.
        text: How captions become tokens.
        model: The network.
        loss: The training loss.
        train: How the model is trained.
        critic: A stage after the training.
        decoding: How captions are decoded.
        report: What the report shows.
        run: Where the run is stored.
    """

    #: Keys of earlier versions.
    RENAMED: ClassVar[dict[str, str]] = {"data.captions": "data.max_captions"}

    task: Literal["captioning"] = "captioning"
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        self.train.require_monitor(MONITORED)
        if not self.train.epochs:
            raise UserError("train.epochs: must be at least 1, got 0")
        if not self.data.image_encoders:
            require_blocks_fit(len(self.model.filters), self.data.image_size)
        is_grid = self.data.image_output == "grid"
        if is_grid == (self.model.kind == "gru_merge"):
            expected = "pooled or flat" if is_grid else "grid"
            raise UserError(
                f"data.image_output: {self.model.kind} expects {expected}, got"
                f" {self.data.image_output}"
            )
        is_pretrained = self.model.kind == "vit_bert" and self.model.decoder_weights != RANDOM
        if is_pretrained and self.text.pieces == "words":
            raise UserError(
                "text.pieces: a pretrained BERT needs wordpiece, got words; set text.pieces or"
                " model.decoder_weights: random"
            )
