"""Extract features of photos into a store, each photo once.

    result = extract(photos, "efficientnet_lite2", output="grid")
    print(result.images_per_second, result.bad)
    features = result.features

Only photos without features are encoded, so an interrupted extraction continues where it stopped.
Photos are decoded ahead and features are written in other threads, so that the encoder never waits.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from imagetext.encoders import images, registry
from imagetext.encoders.forward import Forward, Probe, compile_encoder, has_gpu, probe
from imagetext.errors import DataError, Problem, UserError
from imagetext.pipelines.feature_meta import DTYPES, FORMAT, require_same, require_store_or_empty
from imagetext.pipelines.feature_store import FLIPPED, PLAIN, FeatureStore
from imagetext.pipelines.features import Features, store_folder
from imagetext.pipelines.photo_stream import MissingPhoto, PhotoHashes, PhotoStream
from imagetext.terminal import interactive, show_progress

#: Increase it when `imagetext.pipelines.pixels.decode` or the scaling in an encoder changes, which
#: makes stored features invalid. (Changed weights are detected by their hash.)
PREPROCESSING = 1
BATCH_ON_CPU, BATCH_ON_GPU = 16, 64
#: Seconds between two lines of progress in a log file.
LOG_INTERVAL = 60.0
#: Photos with which precisions are compared on a CPU; more would not change the ranking.
PROBE_PHOTOS = 8


@dataclass(frozen=True)
class Extraction:
    """The result of `extract`.

    Args:
        store: The store, open for reading.
        stream: The photos.
        new: Number of new rows.
        seconds: Total time, including loading the encoder and comparing precisions.
        images_per_second: Speed of hashing, decoding, encoding and writing.
        probe_summary: Result of comparing precisions; empty if they were not compared.
        dropped: Digest and view of stored features that were damaged.
    """

    store: FeatureStore
    stream: PhotoStream
    new: int
    seconds: float
    images_per_second: float
    probe_summary: str
    dropped: Sequence[tuple[bytes, int]] = ()

    @property
    def photos(self) -> int:
        return len(self.stream.paths)

    @property
    def bad(self) -> list[Problem]:
        return self.stream.bad()

    @property
    def damaged(self) -> list[str]:
        """The photos whose stored features were damaged."""
        paths = dict(zip(self.stream.digests, self.stream.paths, strict=True))
        return [
            str(paths.get(digest, "another photo")) + (", mirrored" if view == FLIPPED else "")
            for digest, view in self.dropped
        ]

    @property
    def features(self) -> Features:
        """The features of the photos, in their order."""
        stream = self.stream
        return Features.lookup(stream.paths, self.store, stream.digests, stream.views)

    @property
    def summary(self) -> str:
        """The result in three lines of text."""
        store = self.store
        speed = f" at {self.images_per_second:.1f} images/s" if self.new else ""
        probe_summary = f" ({self.probe_summary})" if self.probe_summary else ""
        return (
            f"{self.photos:,} photos, {len(self.bad):,} of them bad: {self.new:,} new features"
            f"{speed}, {len(store):,} features in total\n"
            f"{store.meta['encoder']}, {store.meta['output']}"
            f" {' x '.join(map(str, store.shape))} as {store.meta['dtype']},"
            f" computed in {store.meta['precision']}{probe_summary}\n"
            f"{self.seconds:,.0f} s, {store.size_on_disk / 1e6:,.1f} MB: {store.folder}"
        )


def identity(
    encoder: str = "efficientnet_lite2", output: str = "grid", weights: str | Path | None = None
) -> dict:
    """What the values of features depend on; downloads the weights if necessary."""
    entry = registry.image_encoder(encoder)
    shape = entry.shape(output)
    return {
        "format": FORMAT,
        "encoder": entry.name,
        "weights": images.weights_digest(encoder, weights),
        "size": entry.size,
        "preprocessing": PREPROCESSING,
        "output": output,
        "shape": shape,
    }


def build_encoder(
    encoder: str, output: str = "grid", weights: str | Path | None = None
) -> keras.Model:
    """Build an encoder for extraction: with "random" weights, they are the same every time."""
    if weights != registry.RANDOM:
        return images.build(encoder, output, weights)
    keras.utils.set_random_seed(0)
    tower = images.build(encoder, output, weights)
    for layer in tower.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            # Keras initializes depthwise kernels as if each used all channels: their values are so
            # small that the features vanish after a few layers.
            *area, _, _ = layer.kernel.shape
            stddev = math.prod(area) ** -0.5
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, stddev=2**0.5 * stddev))
    return tower


def extract(
    photos: Sequence[Path],
    encoder: str = "efficientnet_lite2",
    output: str = "grid",
    weights: str | Path | None = None,
    folder: str | Path | None = None,
    flips: bool = False,
    dtype: str | None = None,
    precision: str = "auto",
    batch_size: int | None = None,
    verbose: bool = True,
    hashed: PhotoHashes | None = None,
    check: bool = False,
) -> Extraction:
    """Extract features of all photos that have none in the store.

    Photos that cannot be read are collected in the result's `bad`.

    Args:
        photos: Files. Files with the same contents share a row.
        encoder: A name in `registry.IMAGE_ENCODERS`.
        output: One of `registry.OUTPUTS`.
        weights: As in `images.build`; "random" weights are the same every time.
        folder: Folder of the store; chosen by `store_folder` by default.
        flips: Whether to extract features of the mirrored photos as well.
        dtype: Type in the store, float16 or bfloat16; by default that of an existing store, or
            float16.
        precision: Precision of the computation, one of `forward.ON_GPU`; "auto" is that of an
            existing store, or the fastest one on this machine.
        batch_size: Photos per batch; by default that of an existing store, or what suits the
            machine.
        verbose: Whether to show a progress bar, or lines of progress if there is no terminal.
        hashed: `hash_files(photos)`, if already computed.
        check: Whether to verify the checksums of all stored features first, and drop damaged ones.
    """
    build = functools.partial(build_encoder, encoder, output, weights)
    meta = identity(encoder, output, weights)
    return extract_with(
        build,
        meta,
        photos,
        folder,
        flips,
        dtype=dtype,
        precision=precision,
        batch_size=batch_size,
        verbose=verbose,
        hashed=hashed,
        check=check,
    )


def extract_with(
    build: Callable[[], keras.Model],
    meta: dict,
    photos: Sequence[Path],
    folder: str | Path | None = None,
    flips: bool = False,
    dtype: str | None = None,
    precision: str = "auto",
    batch_size: int | None = None,
    verbose: bool = True,
    hashed: PhotoHashes | None = None,
    check: bool = False,
) -> Extraction:
    """`extract` with any model.

    Args:
        build: Builds the model, uint8 [b, size, size, 3] -> float32. It is called only if there are
            photos to encode, under the Keras policy of the precision.
        meta: The `identity` of its features.

    The other arguments are those of `extract`.

    Example:
        extract_with(lambda: model, meta, photos)
    """
    start = time.perf_counter()
    folder = Path(folder) if folder else store_folder(meta)
    requested = {"dtype": dtype, "precision": precision, "batch_size": batch_size}
    requested = {key: value for key, value in requested.items() if value not in (None, "auto")}
    if not photos:
        raise UserError("no photos to extract features of")
    require_store_or_empty(folder)
    stream = PhotoStream(photos, meta["size"], (PLAIN, FLIPPED) if flips else (PLAIN,), hashed)
    hashing, result, dropped = time.perf_counter() - start, None, []
    if (folder / "meta.json").exists():
        if check:
            with FeatureStore.create(folder, meta, check=True) as store:
                dropped = store.dropped
        store = FeatureStore.open(folder)
        require_same(folder, store.meta, meta)
        _require_settings(store, requested)
        if not stream.missing(store):
            seconds = time.perf_counter() - start
            return Extraction(store, stream, 0, seconds, 0.0, "", dropped)
        settings = store.meta
    else:
        settings, result = _choose_settings(build, requested, stream)

    with FeatureStore.create(folder, meta | settings) as store:
        rows_before, encoding_start, loading = len(store), time.perf_counter(), 0.0

        @functools.cache
        def forward() -> Forward:  # called when the first photo has been decoded
            nonlocal loading
            if result and result.precision == store.meta["precision"]:
                return result.forward
            loading_start = time.perf_counter()
            precision, _, xla = store.meta["precision"].partition("+")
            if xla and has_gpu():  # on a CPU the same precision is faster without XLA
                precision = store.meta["precision"]
            compiled = compile_encoder(build, precision, store.meta["dtype"])
            loading = time.perf_counter() - loading_start
            return compiled

        encode_missing(store, stream, forward, verbose)
    new = len(store) - rows_before
    seconds = hashing + time.perf_counter() - encoding_start - loading
    return Extraction(
        FeatureStore.open(folder),
        stream,
        new,
        time.perf_counter() - start,
        new / seconds,
        result.summary if result else "",
        dropped,
    )


def _require_settings(store: FeatureStore, requested: dict) -> None:
    for key, value in requested.items():
        if store.meta[key] != value:
            raise UserError(
                f"{store.folder}: was created with {key} {store.meta[key]}, got {value}; use"
                f" {store.meta[key]}, or another folder"
            )


def _choose_settings(
    build: Callable, requested: dict, stream: PhotoStream
) -> tuple[dict, Probe | None]:
    """The settings of a new store, and the probe that chose the precision."""
    dtype = requested.get("dtype", "float16")
    if dtype not in DTYPES:
        raise UserError(f"--dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    batch_size = requested.get("batch_size", BATCH_ON_GPU if has_gpu() else BATCH_ON_CPU)
    sample = stream.sample(batch_size if has_gpu() else min(batch_size, PROBE_PHOTOS))
    if not len(sample):
        raise DataError(stream.bad(), "none of the photos can be read")
    result = None if "precision" in requested else probe(build, sample, dtype)
    precision = result.precision if result else requested["precision"]
    return {"dtype": dtype, "precision": precision, "batch_size": batch_size}, result


def encode_missing(
    store: FeatureStore, stream: PhotoStream, forward: Callable[[], Forward], verbose: bool = False
) -> None:
    """Encode all photos and views that are not in the store and can be decoded.

    Args:
        store: The store, open for writing.
        stream: The photos.
        forward: Returns the encoder. It is called for the first batch.
        verbose: Whether to show progress.

    Example:
        encode_missing(store, PhotoStream(paths, size, (PLAIN,)), lambda: compile_encoder(...))
    """

    def write(keys: list[tuple[bytes, int]], features: tf.Tensor, first: int) -> None:
        digests, views = zip(*keys, strict=True)
        store.append(digests, views, features.numpy()[first : first + len(keys)])

    missing = stream.missing(store)
    total, done = sum(len(photo.views) for photo in missing), 0
    show_bar, last_line = verbose and interactive(), time.perf_counter()
    bar = keras.utils.Progbar(total, unit_name="image", stateful_metrics=["images/s"])
    start = time.perf_counter()
    batches = _batches(stream.decode(missing), store)
    with contextlib.closing(batches), ThreadPoolExecutor(1) as writer:
        writing = None
        for keys, pixels, first in batches:
            features = forward()(tf.constant(pixels))
            if writing:
                writing.result()
            writing = writer.submit(write, keys, features, first)
            done += len(keys)
            speed = done / (time.perf_counter() - start)
            if show_bar:
                bar.update(done, [("images/s", speed)], finalize=False)
            elif verbose and time.perf_counter() - last_line > LOG_INTERVAL:
                last_line = time.perf_counter()
                left = (total - done) / speed
                left = f"{left / 60:.0f} minutes" if left >= 90 else f"{left:.0f} seconds"
                show_progress(f"{done:,} of {total:,} features, {speed:.1f} images/s, {left} left")
        if writing:
            writing.result()
    if show_bar and done:
        bar.update(done, finalize=True)


def _batches(
    decoded: Iterable[tuple[MissingPhoto, np.ndarray]], store: FeatureStore
) -> Iterator[tuple[list[tuple[bytes, int]], np.ndarray, int]]:
    """Yield keys, pixels uint8 [batch, size, size, 3], and the index of the first key's photo.

    All batches have the same size, and the index of a photo in its batch depends only on its row:
    so the features are the same to the last bit, wherever an earlier run was interrupted.
    """
    size, batch_size = store.meta["size"], store.meta["batch_size"]
    pixels = np.zeros((batch_size, size, size, 3), np.uint8)
    first, keys = len(store) % batch_size, []
    for photo, array in decoded:
        for view in photo.views:
            pixels[first + len(keys)] = array[:, ::-1] if view == FLIPPED else array
            keys.append((photo.digest, view))
            if first + len(keys) == batch_size:
                yield keys, pixels, first
                first, keys = 0, []
    if keys:
        yield keys, pixels, first
