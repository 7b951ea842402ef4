"""Photos as inputs of a model: pixels, or features of one or several encoders.

    photos = open_photos(paths, config.data, problems)
    photos.fetch([0, 7])          # -> float32 [2, 1280], bool [2]

Missing features are extracted first, as by `imagetext data features`. `PhotoTower` computes the
same inputs from files, for predictions.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from imagetext.encoders.extraction import build_encoder, extract, identity
from imagetext.encoders.forward import freeze
from imagetext.encoders.grids import CombinedGrids
from imagetext.errors import Problem, UserError
from imagetext.pipelines.feature_store import PLAIN
from imagetext.pipelines.features import Features
from imagetext.pipelines.photo_stream import hash_files
from imagetext.pipelines.pixels import decode, open_pixels, photo_reader
from imagetext.terminal import show_progress


class PhotoConfig(Protocol):
    """The `data` keys about photos in the configurations of all tasks."""

    image_encoders: list[str]
    image_output: str
    image_cells: int | None
    image_weights: str | None
    fine_tune: bool
    features: str | None
    cache: str
    skip_bad: bool
    #: Whether the inputs are pixels, and the side of the photos.
    from_pixels: bool
    pixels_side: int


def describe_image_encoders(config: PhotoConfig) -> str:
    """The image encoders of a configuration as text, such as "efficientnet_lite2, grid, frozen"."""
    encoders = ", ".join(config.image_encoders)
    if not encoders:
        return "a CNN on raw pixels"
    how = "fine-tuned" if config.fine_tune else "frozen"
    return f"{encoders}, {config.image_output}, {how}"


class Photos(Protocol):
    """Photos by number."""

    paths: list[Path]
    shape: tuple[int, ...]
    dtype: np.dtype
    #: What the values depend on, apart from the photos.
    identity: Sequence[str]

    def fetch(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [n] -> [n, *shape], and whether each photo could be read, bool [n]."""


class StoredFeatures:
    """Features of several encoders, concatenated along the last axis.

    Args:
        parts: The features of each encoder.
        cells: Cells per side to which grids are resized; see `CombinedGrids`.
    """

    kind = "features"

    def __init__(self, parts: Sequence[Features], cells: int | None = None):
        self.parts, self.paths = list(parts), parts[0].paths
        self.grids = CombinedGrids([part.shape for part in parts], cells)
        self.shape, self.dtype = self.grids.shape, np.dtype(np.float32)

    @property
    def identity(self) -> list[str]:
        return _identity(part.store.meta for part in self.parts)

    def fetch(self, numbers, view=PLAIN):
        """Fetch features.

        Args:
            numbers: Numbers of photos, int [n].
            view: PLAIN or FLIPPED (mirrored photos), for all photos or int [n].

        Returns:
            Features float32 [n, *shape], and whether each photo has features of all encoders,
            bool [n].
        """
        results = [part.fetch(numbers, view) for part in self.parts]
        good = np.logical_and.reduce([good for _, good in results])
        return self.grids.combine([features for features, _ in results]), good


def photo_identity(config: PhotoConfig) -> list[str]:
    """The `identity` of the photos of a configuration, without opening them; empty for pixels."""
    if config.from_pixels:
        return []
    return _identity(
        identity(encoder, config.image_output, config.image_weights)
        for encoder in config.image_encoders
    )


def _identity(metas: Iterable[dict]) -> list[str]:
    return [meta[key] for meta in metas for key in ("encoder", "output", "weights")]


def open_photos(
    paths: Sequence[Path],
    config: PhotoConfig,
    problems: list[Problem],
    flips: bool = False,
) -> Photos:
    """Open the photos as a configuration describes.

    Args:
        paths: Files.
        config: The configuration.
        problems: List to which photos that cannot be read are added.
        flips: Whether features of the mirrored photos are needed, too.
    """
    if config.from_pixels:
        size = (config.pixels_side, config.pixels_side)
        return open_pixels(paths, size, config.cache, config.skip_bad, problems)
    parts, bad, hashed = [], {}, hash_files(paths)
    for encoder in config.image_encoders:
        spec = (encoder, config.image_output, config.image_weights)
        folder = Path(config.features) if config.features else None
        if folder and len(config.image_encoders) > 1:
            folder /= encoder
        if folder and not (folder / "meta.json").is_file():
            # It may be a typing error, so do not encode all photos into it.
            options = f"--encoder {encoder} --output {config.image_output}"
            options += f" --weights {config.image_weights}" if config.image_weights else ""
            options += " --flips" if flips else ""
            raise UserError(
                f"data.features: {folder}: no features found; extract them: "
                f"imagetext data features ROOT {options} --to {folder}"
            )
        extraction = extract(paths, *spec, folder=folder, flips=flips, hashed=hashed)
        if extraction.new:
            show_progress(extraction.summary)
        bad |= {problem.file: problem for problem in extraction.bad}
        parts.append(extraction.features)
    problems.extend(bad.values())
    return StoredFeatures(parts, config.image_cells)


class PhotoTower(tf.Module):
    """Computes the inputs of a model from photos: pixels, or the features of its encoders.

    Args:
        config: The configuration of the model.
        compiled: Whether to compile the encoders. If not, the first photo takes less time, but all
            others take several times as long.

    Example:
        tower = PhotoTower(config.data)
        tower.encode_file("photo.jpg")                      # -> float32 [1280]
    """

    def __init__(self, config: PhotoConfig, compiled: bool = True):
        super().__init__(name="photo_tower")
        self.side, self.compiled = config.pixels_side, compiled
        self.towers = []
        if not config.from_pixels:
            self.towers = [
                build_encoder(name, config.image_output, config.image_weights)
                for name in config.image_encoders
            ]
            shapes = [tower.output_shape[1:] for tower in self.towers]
            self.grids = CombinedGrids(shapes, config.image_cells)
        self.sides = [tower.input_shape[1] for tower in self.towers] or [self.side]
        self._readers = [photo_reader((side, side)) for side in self.sides]

    def encode_file(self, photo: Path) -> np.ndarray:
        """A file -> the input of a model, without a batch axis; ValueError if it cannot be read."""
        pixels = [tf.constant(read(photo)[None]) for read in self._readers]
        return np.asarray(self.encode_pixels(pixels))[0]

    def encode_bytes(self, photos: Sequence[bytes]) -> tf.Tensor:
        """The contents of n files -> the inputs of a model [n, ...]."""
        return self.encode_pixels(self._decode(tf.constant(list(photos))))

    def encode_pixels(self, pixels: Sequence[tf.Tensor]) -> tf.Tensor:
        """Pixels uint8 [n, s, s, 3] for each of `sides` -> the inputs of a model [n, ...]."""
        return self._encode(*pixels) if self.towers else pixels[0]

    def freeze(self) -> None:
        """Make encoding a sixth faster; takes a second per encoder."""
        if self.towers:
            self._encode = freeze(self._encode)

    @functools.cached_property
    def _encode(self) -> Callable[..., tf.Tensor]:
        if not self.compiled:
            return lambda *pixels: self._encode_in_graph(pixels)
        specs = [tf.TensorSpec([None, side, side, 3], tf.uint8) for side in self.sides]
        return tf.function(lambda *pixels: self._encode_in_graph(pixels), input_signature=specs)

    @functools.cached_property
    def _decode(self):
        return tf.function(self._decode_in_graph, [tf.TensorSpec([None], tf.string)])

    def encode_in_graph(self, photos: tf.Tensor) -> tf.Tensor:
        """The contents of files, strings [n] -> inputs [n, ...], inside a `tf.function`."""
        return self._encode_in_graph(self._decode_in_graph(photos))

    def _encode_in_graph(self, pixels: Sequence[tf.Tensor]) -> tf.Tensor:
        if not self.towers:
            return pixels[0]
        features = [tower(x, training=False) for tower, x in zip(self.towers, pixels, strict=True)]
        return self.grids.combine_in_graph(features)

    def _decode_in_graph(self, photos: tf.Tensor) -> list[tf.Tensor]:
        def decode_all(side: int) -> tf.Tensor:
            pixels = tf.map_fn(
                lambda data: decode(data, (side, side)), photos, fn_output_signature=tf.uint8
            )
            return tf.ensure_shape(pixels, [None, side, side, 3])

        return [decode_all(side) for side in self.sides]
