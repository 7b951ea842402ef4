"""Run an image encoder over photos, each once, into a store that others read.

    done = extract(photos, "efficientnet_lite2", output="grid")
    print(done.images_per_second, done.bad)
    features = done.features

Only what the store lacks is decoded and encoded, so a run that was stopped or killed goes on where
it was. Decoding runs ahead in threads, writing behind in another: the encoder does not wait.
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

#: Raise it when `imagetext.pipelines.pixels.decode` or the scaling inside an encoder changes: the
#: features of before are then others. (A change of the weights shows by itself.)
PREPROCESSING = 1
BATCH_ON_CPU, BATCH_ON_GPU = 16, 64
#: Seconds between two words of progress into a log file.
A_WORD_EVERY = 60.0
#: Photos that a precision is tried on: more would rank precisions no better.
PROBED = 8


@dataclass(frozen=True)
class Extraction:
    """What `extract` did with the photos of `stream`. `store` is open for reading, with the `new`
    rows and those there before.

    The speed is that of hashing, decoding, encoding and writing; `seconds` also include loading
    the encoder and trying precisions. `probed` is what the trial found, empty where there was none.
    `dropped` are digest and view of stored features that a check has found damaged.
    """

    store: FeatureStore
    stream: PhotoStream
    new: int
    seconds: float
    images_per_second: float
    probed: str
    dropped: Sequence[tuple[bytes, int]] = ()

    @property
    def photos(self) -> int:
        return len(self.stream.paths)

    @property
    def bad(self) -> list[Problem]:
        return self.stream.bad()

    @property
    def damaged(self) -> list[str]:
        """The photos whose stored features a check has found damaged."""
        paths = dict(zip(self.stream.digests, self.stream.paths, strict=True))
        return [
            str(paths.get(digest, "a photo that is not among these"))
            + (", mirrored" if view == FLIPPED else "")
            for digest, view in self.dropped
        ]

    @property
    def features(self) -> Features:
        """Those of the photos, by their numbers."""
        stream = self.stream
        return Features.lookup(stream.paths, self.store, stream.digests, stream.views)

    @property
    def summary(self) -> str:
        store = self.store
        speed = f" at {self.images_per_second:.1f} images/s" if self.new else ""
        probed = f" ({self.probed})" if self.probed else ""
        return (
            f"{self.photos:,} photos, {len(self.bad):,} of them bad: {self.new:,} new features"
            f"{speed}, {len(store):,} features in all\n"
            f"{store.meta['encoder']}, {store.meta['output']}"
            f" {' x '.join(map(str, store.shape))} as {store.meta['dtype']},"
            f" computed in {store.meta['precision']}{probed}\n"
            f"{self.seconds:,.0f} s, {store.size_on_disk / 1e6:,.1f} MB: {store.folder}"
        )


def identity(
    encoder: str = "efficientnet_lite2", output: str = "grid", weights: str | Path | None = None
) -> dict:
    """What sets these features apart from all others; fetches the weights if need be."""
    known = registry.image_encoder(encoder)
    shape = known.shape(output)
    return {
        "format": FORMAT,
        "encoder": known.name,
        "weights": images.weights_digest(encoder, weights),
        "size": known.size,
        "preprocessing": PREPROCESSING,
        "output": output,
        "shape": shape,
    }


def build_encoder(
    encoder: str, output: str = "grid", weights: str | Path | None = None
) -> keras.Model:
    """The encoder that stored features are of: random weights are the same every time."""
    if weights != registry.RANDOM:
        return images.build(encoder, output, weights)
    keras.utils.set_random_seed(0)
    tower = images.build(encoder, output, weights)
    for layer in tower.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            # Keras draws them as if each saw all channels: behind some, nothing is left of a photo.
            *area, _, _ = layer.kernel.shape
            spread = math.prod(area) ** -0.5
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, stddev=2**0.5 * spread))
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
    """Store the features of all photos that have none yet; bad photos are listed, not fatal.

    Args:
        photos: Files. Those with the same bytes share a row.
        encoder: A name of `registry.IMAGE_ENCODERS`.
        output: pooled, grid or flat.
        weights: As `images.build` takes them; "random" ones are the same every time.
        folder: Where to; `store_folder` chooses it otherwise.
        flips: Features of the mirrored photos as well.
        dtype: float16 or bfloat16 on disk; else as the store was begun, or float16.
        precision: Computed in, a name of `forward.ON_GPU`; auto is as begun, or the quickest here.
        batch_size: Photos encoded at once; else as begun, or what suits the machine.
        verbose: Show a progress bar; a line now and then, where there is no terminal.
        hashed: `hash_files(photos)`, where it is known already.
        check: Compare all that is stored with its checksums first, and drop what is damaged.
    """
    build = functools.partial(build_encoder, encoder, output, weights)
    meta = identity(encoder, output, weights)
    asked = {"dtype": dtype, "precision": precision, "batch_size": batch_size}
    words = {"verbose": verbose, "hashed": hashed, "check": check}
    return extract_with(build, meta, photos, folder, flips, **asked, **words)


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
    """`extract` with any model, uint8 [b, size, size, 3] -> float32, whose identity is `meta`.

        extract_with(lambda: model, meta, photos)

    `build` is called only if there is work to do, under the precision's Keras policy.
    """
    began = time.perf_counter()
    folder = Path(folder) if folder else store_folder(meta)
    asked = {"dtype": dtype, "precision": precision, "batch_size": batch_size}
    asked = {key: value for key, value in asked.items() if value not in (None, "auto")}
    if not photos:
        raise UserError("no photos to extract features of")
    require_store_or_empty(folder)
    work = PhotoStream(photos, meta["size"], (PLAIN, FLIPPED) if flips else (PLAIN,), hashed)
    hashing, trial, dropped = time.perf_counter() - began, None, []
    if (folder / "meta.json").exists():
        if check:
            with FeatureStore.create(folder, meta, check=True) as store:
                dropped = store.dropped
        store = FeatureStore.open(folder)
        require_same(folder, store.meta, meta)
        _require_as_begun(store, asked)
        if not work.missing(store):
            seconds = time.perf_counter() - began
            return Extraction(store, work, 0, seconds, 0.0, "", dropped)
        settings = store.meta
    else:
        settings, trial = _settle(build, asked, work)

    with FeatureStore.create(folder, meta | settings) as store:
        there, started, loading = len(store), time.perf_counter(), 0.0

        @functools.cache
        def forward() -> Forward:  # not before a good photo needs it
            nonlocal loading
            if trial and trial.precision == store.meta["precision"]:
                return trial.forward
            before = time.perf_counter()
            precision, _, xla = store.meta["precision"].partition("+")
            if xla and has_gpu():  # on a CPU the same precision is the quicker without it
                precision = store.meta["precision"]
            made = compile_encoder(build, precision, store.meta["dtype"])
            loading = time.perf_counter() - before
            return made

        encode_lacking(store, work, forward, verbose)
    new, seconds = len(store) - there, hashing + time.perf_counter() - started - loading
    return Extraction(
        FeatureStore.open(folder),
        work,
        new,
        time.perf_counter() - began,
        new / seconds,
        trial.told if trial else "",
        dropped,
    )


def _require_as_begun(store: FeatureStore, asked: dict) -> None:
    for key, value in asked.items():
        if store.meta[key] != value:
            raise UserError(
                f"{store.folder}: was created with {key} {store.meta[key]}, got {value}; use"
                " that, or another folder"
            )


def _settle(build: Callable, asked: dict, work: PhotoStream) -> tuple[dict, Probe | None]:
    """What stays the same for all rows of a new store, and the trial that chose the precision."""
    dtype = asked.get("dtype", "float16")
    if dtype not in DTYPES:
        raise UserError(f"--dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    batch_size = asked.get("batch_size", BATCH_ON_GPU if has_gpu() else BATCH_ON_CPU)
    sample = work.sample(batch_size if has_gpu() else min(batch_size, PROBED))
    if not len(sample):
        raise DataError(work.bad(), "none of the photos can be read")
    trial = None if "precision" in asked else probe(build, sample, dtype)
    precision = trial.precision if trial else asked["precision"]
    return {"dtype": dtype, "precision": precision, "batch_size": batch_size}, trial


def encode_lacking(
    store: FeatureStore, work: PhotoStream, forward: Callable[[], Forward], verbose: bool = False
) -> None:
    """Give a row to every photo and view that lacks one and can be decoded.

    encode_lacking(store, PhotoStream(paths, size, (PLAIN,)), lambda: compile_encoder(...))
    """

    def write(keys: list[tuple[bytes, int]], features: tf.Tensor, first: int) -> None:
        digests, views = zip(*keys, strict=True)
        store.append(digests, views, features.numpy()[first : first + len(keys)])

    wanted = work.missing(store)
    total, done = sum(len(photo.views) for photo in wanted), 0
    watched, silent_since = verbose and interactive(), time.perf_counter()
    bar = keras.utils.Progbar(total, unit_name="image", stateful_metrics=["images/s"])
    started = time.perf_counter()
    batches = _batches(work.decode(wanted), store)
    with contextlib.closing(batches), ThreadPoolExecutor(1) as writer:
        writing = None
        for keys, pixels, first in batches:
            features = forward()(tf.constant(pixels))
            if writing:
                writing.result()
            writing = writer.submit(write, keys, features, first)
            done += len(keys)
            speed = done / (time.perf_counter() - started)
            if watched:
                bar.update(done, [("images/s", speed)], finalize=False)
            elif verbose and time.perf_counter() - silent_since > A_WORD_EVERY:
                silent_since = time.perf_counter()
                left = (total - done) / speed
                left = f"{left / 60:.0f} minutes" if left >= 90 else f"{left:.0f} seconds"
                told = f"{done:,} of {total:,} features, {speed:.1f} images/s"
                show_progress(f"{told}, {left} left")
        if writing:
            writing.result()
    if watched and done:
        bar.update(done, finalize=True)


def _batches(
    decoded: Iterable[tuple[MissingPhoto, np.ndarray]], store: FeatureStore
) -> Iterator[tuple[list[tuple[bytes, int]], np.ndarray, int]]:
    """Yield keys, pixels uint8 [batch, size, size, 3] and where in there the keys' photos begin.

    Batches are all of one size, and a photo's place in its batch follows from its row alone: so
    its features do not depend, to the last bit, on where a run before this one was interrupted.
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
