"""Everything a retrieval run can be told, with its default.

config = load_config(RetrievalConfig, "configs/retrieval/best.yaml", {"train.epochs": 3})
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from imagetext.encoders.images import RANDOM, image_encoder
from imagetext.encoders.texts import local as local_encoder
from imagetext.encoders.texts import text_encoder
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM
from imagetext.training.config import RunConfig, TrainConfig, require_blocks_fit
from imagetext.training.limits import at_least, below_one, require
from imagetext.training.photo_config import PhotoDataConfig

#: Validation figures by which the best epoch can be chosen.
MONITORED = ("val_loss", "val_recall")
#: The text tower of our own.
SCRATCH = "scratch"


@dataclass(frozen=True)
class DataConfig(PhotoDataConfig):
    """Which data, and how it reaches the model.

    Args:
        batch_size: Photos a step, each with one of its captions; all others' are what it is not.
        captions_per_epoch: Passes over the photos in an epoch, each with another caption of every
            photo.
        image_weights: File or folder of the encoder's weights; random for untrained ones. With
            model.own_vectors they are those of the captions, too.
        flips: Train on mirrored photos as well, or on their features. A photo whose captions tell
            left from right is not mirrored.
    """

    image_encoders: list[str] = field(default_factory=lambda: ["efficientnet_lite2"])
    batch_size: int = 256
    captions_per_epoch: int = 5
    flips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("data", self, batch_size=2, captions_per_epoch=1)


@dataclass(frozen=True)
class TextConfig:
    """Who reads the captions.

    Args:
        encoder: A pretrained text encoder by name, or a local folder of one, that is trained along;
            or scratch, a small transformer on the words of the training captions.
        weights: Folder of its weights (of a CLIP also a file), where they are not at one of the
            usual places; random for untrained ones.
        fine_tune: Train a pretrained encoder along; false leaves it as it was.
        longest: Captions with more pieces (or words, of scratch) are cut.
        minimum_count: Of scratch: words rarer than this among the training captions are unknown.
        width: Of scratch, and the next two: of its states.
        layers: Its blocks.
        heads: Its attention heads.
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
        given = {"encoder": self.encoder, "weights": self.weights}
        there = {
            k: Path(v).expanduser() for k, v in given.items() if v not in (None, RANDOM, SCRATCH)
        }
        found: dict[str, Any] = {
            k: str(path.absolute()) for k, path in there.items() if path.exists()
        }
        return replace(self, **found)

    def __post_init__(self) -> None:
        at_least("text", self, longest=3, minimum_count=1, width=1, layers=1, heads=1)
        if self.width % self.heads:
            told = f"text.heads: {self.heads} heads do not share {self.width} numbers evenly"
            raise UserError(f"{told} -- choose a divisor of text.width")


@dataclass(frozen=True)
class ModelConfig:
    """The two towers, up to the vectors that are compared.

    Args:
        width: Of the vectors.
        filters: Filters of the model's own Conv + MaxPool blocks on raw pixels.
        late: Share of the late interaction in the similarity, where each word finds its cell of the
            photo; 0 for vectors alone.
        late_width: Of words and cells in it.
        dropout: Share of values dropped in training.
        input_dropout: The same, of what the encoders give.
        encoder_rate: The learning rate of pretrained encoders, as a share of the others'.
        layer_decay: The rate of each block of theirs, as a share of that of the block above; 1 for
            all alike.
        unfreeze: So many of their last blocks are trained, and what follows those; null for all.
        own_vectors: Compare the vectors of both halves of a CLIP as they are, with no layers of our
            own, so that before training the model finds what the pretrained CLIP finds.
        tuned_shares: With own_vectors: how far the weights go from the pretrained to the tuned
            ones, of which 1 are the latter; of several, the one that finds best on dev.
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
        at_least("model", self, width=1, late_width=1, encoder_rate=0)
        below_one("model", self, "dropout", "input_dropout", "late")
        if not self.filters or min(self.filters) < 1:
            raise UserError("model.filters: must be at least 1 each")
        for key, holds, wanted in (
            ("layer_decay", 0 < self.layer_decay <= 1, "above 0, and at most 1"),
            ("unfreeze", self.unfreeze is None or self.unfreeze >= 0, "at least 0, or null"),
        ):
            require("model", self, key, holds, wanted)
        if not self.tuned_shares or not all(0 <= share <= 1 for share in self.tuned_shares):
            raise UserError(f"model.tuned_shares: {self.tuned_shares} -- must be from 0 to 1 each")
        if not self.own_vectors and set(self.tuned_shares) != {1.0}:
            told = "between pretrained weights and tuned ones there is nothing where layers are new"
            raise UserError(f"model.tuned_shares: {told} -- set model.own_vectors true")
        if self.own_vectors and self.late:
            raise UserError("model.late: is for new layers -- with model.own_vectors, set it to 0")


@dataclass(frozen=True)
class LossConfig:
    """What the training minimises.

    Args:
        kind: contrastive, each photo finds its caption among all of the batch and conversely; or
            sigmoid, each pair by itself (SigLIP).
        temperature: By which similarities are divided, to begin with; it is learned. With
            model.own_vectors null for the pretrained CLIP's.
        bias: Of sigmoid, to begin with; it is learned. (With one nearer to 0, towers were seen to
            give one vector for everything, and to stay there.)
        hardness: Of contrastive: wrong ones count the more the more they resemble the right one, by
            exp(hardness * similarity); 0 for all alike.
        same: Further captions of a photo in a batch, and those of its copies: ignored, or matches.
        micro_batch: So many photos go through the towers at once, whatever the batch, by gradient
            caching: less memory, a third more time; 0 for all at once.
    """

    kind: Literal["contrastive", "sigmoid"] = "contrastive"
    temperature: float | None = 0.05
    bias: float = -10.0
    hardness: float = 0.0
    same: Literal["ignored", "matches"] = "ignored"
    micro_batch: int = 0

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0.01 <= self.temperature <= 10:
            told = f"loss.temperature: {self.temperature}"
            raise UserError(f"{told} -- must be from 0.01, which is as low as it may go, to 10")
        at_least("loss", self, hardness=0, micro_batch=0)
        if self.hardness and self.kind == "sigmoid":
            raise UserError("loss.hardness: is for the contrastive loss -- set it to 0")


@dataclass(frozen=True)
class ReportConfig:
    """What the report shows.

    Args:
        resamples: Bootstrap resamples behind each interval.
        gallery: Searches shown, of either direction: found at once, found late, and not found.
    """

    resamples: int = 1000
    gallery: int = 12

    def __post_init__(self) -> None:
        at_least("report", self, resamples=1, gallery=0)


#: What may be changed when a trained run is used: where the data lie, and what the report shows.
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
    """A retrieval run.

    Args:
        task: Always retrieval.
        data: Which data, and how it reaches the model.
        text: Who reads the captions.
        model: The two towers.
        loss: What the training minimises.
        train: How it is trained.
        report: What the report shows.
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
            raise UserError("train.epochs: 0 -- nothing is trained")
        if not self.data.image_encoders:
            require_blocks_fit(len(self.model.filters), self.data.image_size)
        cells = self.data.image_output == "grid" or not self.data.image_encoders
        if self.model.late and not cells:
            told = "words need cells to look at -- set data.image_output grid"
            raise UserError(f"model.late: {self.model.late}: {told}")
        self._check_own_vectors()
        if self.loss.micro_batch and self.data.batch_size % self.loss.micro_batch:
            told = f"{self.loss.micro_batch} does not divide data.batch_size {self.data.batch_size}"
            raise UserError(f"loss.micro_batch: {told} -- choose a divisor")

    def _check_own_vectors(self) -> None:
        if not self.model.own_vectors:
            if self.loss.temperature is None:
                told = "only a pretrained CLIP has one of its own"
                raise UserError(f"loss.temperature: null: {told} -- set a number")
            return
        names = self.data.image_encoders
        if len(names) != 1 or not image_encoder(names[0]).is_clip:
            told = "compares both halves of one CLIP -- set data.image_encoders [clip_vit_b32]"
            raise UserError(f"model.own_vectors: {told} or the like, and text.encoder to the same")
        seen, local = image_encoder(names[0]).name, local_encoder(self.text.encoder)
        if not local and (
            self.text.encoder == SCRATCH or text_encoder(self.text.encoder).name != seen
        ):
            told = f"{self.text.encoder} reads, but {seen} sees"
            raise UserError(f"model.own_vectors: {told} -- set text.encoder {seen}")
        if self.data.image_output != "pooled":
            told = "a grid is no vector to compare -- set data.image_output pooled"
            raise UserError(f"model.own_vectors: {told}")

    @property
    def reader(self) -> TextConfig:
        """Who reads the captions: of a CLIP, what is given for its photos serves both sides."""
        shared = self.model.own_vectors and not local_encoder(self.text.encoder)
        if shared and self.text.weights is None:
            return replace(self.text, weights=self.data.image_weights)
        return self.text
