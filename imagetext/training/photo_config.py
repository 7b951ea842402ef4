"""The keys about photos and image encoders that the `data` section of every task starts with.

    @dataclass(frozen=True)
    class DataConfig(PhotoDataConfig):
        '''...

        Args:
            batch_size: Photos in a batch.
        '''

        batch_size: int = 32

The docstring of a subclass describes only the keys that it adds or changes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from imagetext.encoders.registry import RANDOM, image_encoder
from imagetext.errors import UserError
from imagetext.training.config import absolute_paths, require_at_least


@dataclass(frozen=True)
class PhotoDataConfig:
    """The photos of a run.

    Args:
        root: Folder of the data, or its image folder; null for the built-in sample.
        kind: Layout of the folder. auto detects it, and prefers captions if the folder has both
            captions and labelled lists.
        images: The image folder, if it is not in one of the usual places.
        cache: Where decoded photos are kept; auto chooses memory, disk or streaming by size.
        image_encoders: Pretrained encoders, used side by side (`imagetext encoders` lists them;
            NAME@SIDE for another input size, a multiple of 32). Empty for the model's own CNN on
            raw pixels.
        image_size: Side to which photos are resized for the model's own CNN.
        image_output: What to take from encoders: pooled, one vector per photo; or grid, the cells.
        image_cells: Side to which stored grids are resized, in cells; null for that of the finest.
        image_weights: File or folder of the encoder's weights; random for untrained weights.
        fine_tune: Read pixels and train the (single) encoder, instead of reading stored features.
        features: Folder of the feature store; null for the one in the cache.
        skip_bad: Leave out bad rows and files, which the report counts, instead of stopping.
    """

    root: str | None = None
    kind: Literal["auto", "course", "flickr8k", "folder", "sample"] = "auto"
    images: str | None = None
    cache: Literal["auto", "memory", "disk", "stream"] = "auto"
    image_encoders: list[str] = field(default_factory=list)
    image_size: int = 112
    image_output: Literal["pooled", "grid"] = "pooled"
    image_cells: int | None = None
    image_weights: str | None = None
    fine_tune: bool = False
    features: str | None = None
    skip_bad: bool = False

    def absolute(self) -> Self:
        """A copy with absolute paths, so that a run can be used from any folder."""
        names = ["root", "images", "features"]
        names += ["image_weights"] if self.image_weights != RANDOM else []
        return absolute_paths(self, names)

    def __post_init__(self) -> None:
        require_at_least("data", self, image_size=8)
        # Unknown names are refused here, with a suggestion.
        names = [image_encoder(name).name for name in self.image_encoders]
        count = len(names)
        if len(set(names)) < count:
            raise UserError(
                f"data.image_encoders: {', '.join(self.image_encoders)}: an encoder is given twice"
            )
        if count > 1 and self.image_weights and Path(self.image_weights).expanduser().is_file():
            raise UserError(
                f"data.image_weights: {self.image_weights} is a single file, but there are {count}"
                " encoders; give a folder with the files of all of them"
            )
        if count != 1 and self.fine_tune:
            raise UserError(
                f"data.fine_tune: needs exactly one image encoder, got {count}; set"
                " data.image_encoders"
            )
        if self.image_cells is not None and (
            self.image_cells < 1 or self.image_output != "grid" or self.from_pixels
        ):
            raise UserError(
                f"data.image_cells: must be at least 1 and needs stored grids, got"
                f" {self.image_cells}; set data.image_output grid, or leave it null"
            )
        if self.features and self.from_pixels:
            raise UserError(
                "data.features: cannot be used, as the model reads pixels; leave it out, or set"
                " data.image_encoders to encoders that are not trained"
            )

    @property
    def from_pixels(self) -> bool:
        """Whether the model reads pixels instead of stored features."""
        return self.fine_tune or not self.image_encoders

    @property
    def pixels_side(self) -> int:
        """The side of the images that the model reads."""
        if self.image_encoders:
            return image_encoder(self.image_encoders[0]).size
        return self.image_size
