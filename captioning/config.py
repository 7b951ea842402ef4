"""Everything a captioning run can be told, with its default.

config = load_config(CaptioningConfig, "configs/captioning/gru_attention.yaml", {"train.epochs": 3})
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from imagetext.encoders.registry import RANDOM
from imagetext.errors import UserError
from imagetext.training.config import RunConfig, TrainConfig, absolute_paths, require_blocks_fit
from imagetext.training.limits import above_zero, at_least, below_one
from imagetext.training.photo_config import PhotoDataConfig

#: Validation figures by which the best epoch can be chosen.
MONITORED = ("val_loss", "val_token_accuracy", "val_cider")


@dataclass(frozen=True)
class DataConfig(PhotoDataConfig):
    """Which data, and how it reaches the model.

    Args:
        batch_size: Photos a step, each with all its captions.
        max_captions: Most captions used per photo.
        image_output: What is taken of encoders: pooled, a vector a photo; flat, all cells as one
            long vector; or grid, the cells, those of several brought to one grid.
        augment: Read pixels, and flip, turn, crop and recolour them while training. A photo whose
            captions tell left from right is not flipped.
        flips: Train on the features of the mirrored photos as well, likewise.
    """

    image_encoders: list[str] = field(default_factory=lambda: ["efficientnet_lite2"])
    image_output: Literal["pooled", "flat", "grid"] = "grid"  # type: ignore[assignment]
    batch_size: int = 32
    max_captions: int = 5
    augment: bool = False
    flips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("data", self, batch_size=1, max_captions=1)
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
    """How captions become words.

    Args:
        pieces: words, a vocabulary made from the training captions; or wordpiece, the one of
            `wordpieces`.
        wordpieces: File or folder of a WordPiece vocabulary (vocab.txt); null for MiniLM's, which
            is BERT's.
        lower: Lower case. (Wordpieces follow their own rules: these three do not touch them.)
        punctuation: removed from everywhere (t-shirt becomes tshirt); inside, kept where it is part
            of a word; kept, each mark between words as a word of its own.
        alphabetic: Drop words with anything but letters in them, such as 3 and 4th.
        minimum_count: Words rarer than this among the training captions are unknown.
        longest: Captions with more words are cut in training; none longer is said.
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
        at_least("text", self, minimum_count=1, longest=1)


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Args:
        kind: gru_merge (one vector a photo meets the GRU's state at the softmax), gru_attention (a
            GRU that looks at the cells before each word), transformer, or vit_bert (a BERT that is
            given cross-attention).
        width: Of the words, states and everything else between image and softmax.
        layers: Blocks of the transformer.
        filters: Filters of the model's own Conv + MaxPool blocks on raw pixels.
        heads: Attention heads of transformer and BERT.
        score: How gru_attention finds where to look: dot, or bahdanau (additive).
        dropout: Share of values dropped in training.
        input_dropout: The same, of the image's features as they come in.
        tied: The softmax's weights are the word vectors (transformer and vit_bert).
        decoder_weights: vit_bert's BERT: a local Hugging Face folder, a preset, minilm, or random
            for an untrained one of the sizes above.
        encoder_rate: The learning rate of pretrained parts, as a share of the others'.
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
        at_least("model", self, width=1, layers=1, heads=1, encoder_rate=0)
        below_one("model", self, "dropout", "input_dropout")
        if not self.filters or min(self.filters) < 1:
            raise UserError("model.filters: must be at least 1 each")
        if self.kind in ("transformer", "vit_bert") and self.width % self.heads:
            raise UserError(
                f"model.width ({self.width}) must be divisible by model.heads ({self.heads})"
            )


@dataclass(frozen=True)
class DecodingConfig:
    """How captions are found, for the reports and wherever nothing else is asked for.

    Args:
        method: beam, diverse (groups of beams that avoid each other's words), or sample; greedy is
            a beam of 1.
        beams: Candidates kept at each word; samples drawn, where the method is sample.
        groups: Of diverse beams.
        diversity: How much a word counts less for each group before that has said it.
        length_penalty: A caption's log probability is divided by its length to this power.
        no_repeat: No run of so many words is said twice; 0 allows all.
        temperature: Of samples; below 1 keeps closer to the likeliest.
        top_k: Samples take one of so many likeliest words; 0 for all.
        top_p: Samples take one of the likeliest words that together have this probability.
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
        at_least(
            "decoding", self, beams=1, groups=1, no_repeat=0, top_k=0, length_penalty=0, diversity=0
        )
        if self.method == "diverse" and self.beams % self.groups:
            raise UserError(
                f"decoding.beams ({self.beams}) must be divisible by decoding.groups"
                f" ({self.groups})"
            )
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise UserError("decoding: temperature must be above 0, top_p above 0 and at most 1")


@dataclass(frozen=True)
class LossConfig:
    """What the training minimises.

    Args:
        label_smoothing: Share of probability that the truth gives to all words alike.
        dropout_until: Dropout rises from zero to its full rate within this share of the epochs.
    """

    label_smoothing: float = 0.1
    dropout_until: float = 0.0

    def __post_init__(self) -> None:
        below_one("loss", self, "label_smoothing", "dropout_until")


@dataclass(frozen=True)
class CriticConfig:
    """Self-critical training after the cross-entropy: sampled captions that have a higher CIDEr-D
    than the others of the photo become likelier (Rennie et al. 2017).

    Args:
        epochs: Passes over the training photos; 0 for no such stage.
        learning_rate: Its highest rate.
        samples: Captions drawn a photo; each is held against the mean of the others.
        temperature: Of what they are drawn from, and made likelier in: well below 1, since a model
            that was trained with smoothed labels says a word at random in nearly every caption.
        batch_size: Photos a step.
        dropout: Keep dropout on in what is seen of a photo: it is learned by heart more slowly.
    """

    epochs: int = 0
    learning_rate: float = 2e-5
    samples: int = 5
    temperature: float = 0.5
    batch_size: int = 32
    dropout: bool = False

    def __post_init__(self) -> None:
        at_least("critic", self, epochs=0, samples=2, batch_size=1)
        above_zero("critic", self, "learning_rate", "temperature")


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows.

    Args:
        resamples: Bootstrap resamples behind each interval.
        gallery: Photos shown: the best, the middle and the worst by CIDEr-D, in equal parts.
    """

    resamples: int = 1000
    gallery: int = 12

    def __post_init__(self) -> None:
        at_least("report", self, resamples=1, gallery=0)


#: What may be changed when a trained run is scored: where the data lie and how captions are found.
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
        data: Which data, and how it reaches the model.
        text: How captions become words.
        model: The network.
        loss: What the training minimises.
        train: How it is trained.
        critic: A stage after the training.
        decoding: How captions are found.
        report: What the report shows.
        run: Where the run is kept.
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
        cells = self.data.image_output == "grid"
        if cells == (self.model.kind == "gru_merge"):
            wanted = "pooled or flat" if cells else "grid"
            raise UserError(
                f"data.image_output: {self.model.kind} expects {wanted}, got"
                f" {self.data.image_output}"
            )
        pretrained = self.model.kind == "vit_bert" and self.model.decoder_weights != RANDOM
        if pretrained and self.text.pieces == "words":
            raise UserError("text.pieces: a pretrained BERT needs wordpiece, got words")
