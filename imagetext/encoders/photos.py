"""Photos as a model is given them: pixels, or features of one encoder or of several.

    photos = open_photos(paths, config.data, problems)
    photos.fetch([0, 7])          # -> float32 [2, 1280], bool [2]

What has no features yet is encoded first, once; see `imagetext data features`. `PhotoTower` makes
the same of a single photo's bytes, for who asks a trained model.
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
    """What the `data` keys of every task say of its photos."""

    image_encoders: list[str]
    image_output: str
    image_cells: int | None
    image_weights: str | None
    fine_tune: bool
    features: str | None
    cache: str
    skip_bad: bool
    #: Whether the model is given pixels, and of photos of which side.
    from_pixels: bool
    pixels_side: int


def describe_image_encoders(config: PhotoConfig) -> str:
    """Who sees the photos, in words: "efficientnet_lite2, grid, frozen"."""
    encoders = ", ".join(config.image_encoders)
    if not encoders:
        return "own blocks on raw pixels"
    how = "fine-tuned" if config.fine_tune else "frozen"
    return f"{encoders}, {config.image_output}, {how}"


class Photos(Protocol):
    """Photos by number."""

    paths: list[Path]
    shape: tuple[int, ...]
    dtype: np.dtype
    #: What, besides their shape, sets these from others of the same photos.
    identity: Sequence[str]

    def fetch(self, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [n] -> [n, *shape], and whether each could be read, bool [n]."""


class StoredFeatures:
    """Features of several encoders side by side, along their last axis."""

    kind = "features"

    def __init__(self, parts: Sequence[Features], cells: int | None = None):
        self.parts, self.paths = list(parts), parts[0].paths
        self.beside = CombinedGrids([part.shape for part in parts], cells)
        self.shape, self.dtype = self.beside.shape, np.dtype(np.float32)

    @property
    def identity(self) -> list[str]:
        return _told_apart(part.store.meta for part in self.parts)

    def fetch(self, numbers, view=PLAIN):
        """Numbers [n] -> float32 [n, *shape], and which are there for every encoder, bool [n];
        `view`, FLIPPED for mirrored photos, may be one for all or int [n]."""
        found = [part.fetch(numbers, view) for part in self.parts]
        good = np.logical_and.reduce([good for _, good in found])
        return self.beside.combine([array for array, _ in found]), good


def photo_identity(config: PhotoConfig) -> list[str]:
    """The `identity` of the features that are asked for; empty for pixels. Opens no photo."""
    if config.from_pixels:
        return []
    how = (config.image_output, config.image_weights)
    return _told_apart(identity(encoder, *how) for encoder in config.image_encoders)


def _told_apart(metas: Iterable[dict]) -> list[str]:
    return [meta[key] for meta in metas for key in ("encoder", "output", "weights")]


def open_photos(
    paths: Sequence[Path],
    config: PhotoConfig,
    problems: list[Problem],
    flips: bool = False,
) -> Photos:
    """What the configuration asks for, with `flips` features of the mirrored photos as well; every
    photo that cannot be read is noted in `problems`."""
    if config.from_pixels:
        size = (config.pixels_side, config.pixels_side)
        return open_pixels(paths, size, config.cache, config.skip_bad, problems)
    parts, bad, hashed = [], {}, hash_files(paths)
    for encoder in config.image_encoders:
        what = (encoder, config.image_output, config.image_weights)
        folder = Path(config.features) if config.features else None
        if folder and len(config.image_encoders) > 1:
            folder /= encoder
        if folder and not (folder / "meta.json").is_file():
            # Named by mistake, all photos would be encoded into it.
            words = f"--encoder {encoder} --output {config.image_output}"
            words += f" --weights {config.image_weights}" if config.image_weights else ""
            words += " --flips" if flips else ""
            raise UserError(
                f"data.features: {folder}: no features found; extract them: "
                f"imagetext data features ROOT {words} --to {folder}"
            )
        done = extract(paths, *what, folder=folder, flips=flips, hashed=hashed)
        if done.new:
            show_progress(done.summary)
        bad |= {problem.file: problem for problem in done.bad}
        parts.append(done.features)
    problems.extend(bad.values())
    return StoredFeatures(parts, config.image_cells)


class PhotoTower(tf.Module):
    """From a photo's bytes to what the model is given: pixels, or the features of its encoders.

    tower = PhotoTower(config.data)
    tower.encode_file("photo.jpg")                      # -> float32 [1280]

    Without `compiled` a single photo is seen sooner, and many take several times as long.
    """

    def __init__(self, config: PhotoConfig, compiled: bool = True):
        super().__init__(name="photo_tower")
        self.side, self.compiled = config.pixels_side, compiled
        self.towers = []
        if not config.from_pixels:
            how = (config.image_output, config.image_weights)
            self.towers = [build_encoder(name, *how) for name in config.image_encoders]
            shapes = [tower.output_shape[1:] for tower in self.towers]
            self.beside = CombinedGrids(shapes, config.image_cells)
        self.sides = [tower.input_shape[1] for tower in self.towers] or [self.side]
        self._read = [photo_reader((side, side)) for side in self.sides]

    def encode_file(self, photo: Path) -> np.ndarray:
        """A file -> what the model is given, without the batch; ValueError says what is wrong."""
        pixels = [tf.constant(read(photo)[None]) for read in self._read]
        return np.asarray(self.encode_pixels(pixels))[0]

    def encode_bytes(self, photos: Sequence[bytes]) -> tf.Tensor:
        """The contents of files that are photos -> what the model is given, [n, ...]."""
        return self.encode_pixels(self._decoded(tf.constant(list(photos))))

    def encode_pixels(self, pixels: Sequence[tf.Tensor]) -> tf.Tensor:
        """Pixels uint8 [n, s, s, 3] at each of `sides` -> what the model is given."""
        return self._seen(*pixels) if self.towers else pixels[0]

    def freeze(self) -> None:
        """Make `see` a sixth quicker, for a second of work an encoder: for who sees many photos."""
        if self.towers:
            self._seen = freeze(self._seen)

    @functools.cached_property
    def _seen(self) -> Callable[..., tf.Tensor]:
        if not self.compiled:
            return lambda *pixels: self._see_in_graph(pixels)
        specs = [tf.TensorSpec([None, side, side, 3], tf.uint8) for side in self.sides]
        return tf.function(lambda *pixels: self._see_in_graph(pixels), input_signature=specs)

    @functools.cached_property
    def _decoded(self):
        return tf.function(self._decoded_in_graph, [tf.TensorSpec([None], tf.string)])

    def encode_in_graph(self, photos: tf.Tensor) -> tf.Tensor:
        """Bytes of files, strings [n] -> what the model is given, inside a `tf.function`."""
        return self._see_in_graph(self._decoded_in_graph(photos))

    def _see_in_graph(self, pixels: Sequence[tf.Tensor]) -> tf.Tensor:
        if not self.towers:
            return pixels[0]
        found = [tower(x, training=False) for tower, x in zip(self.towers, pixels, strict=True)]
        return self.beside.combine_in_graph(found)

    def _decoded_in_graph(self, photos: tf.Tensor) -> list[tf.Tensor]:
        def decoded(side: int) -> tf.Tensor:
            pixels = tf.map_fn(
                lambda data: decode(data, (side, side)), photos, fn_output_signature=tf.uint8
            )
            return tf.ensure_shape(pixels, [None, side, side, 3])

        return [decoded(side) for side in self.sides]
