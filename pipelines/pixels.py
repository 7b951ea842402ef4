"""Photos as uint8 pixels, decoded once and cached, or streamed.

    pixels = open_pixels(paths, size=(112, 112))     # in memory, on disk or streamed, by size
    pixels.fetch([0, 7, 7])                          # uint8 [3, 112, 112, 3], bool [3]

A photo occurs six times in the course's lists. Decoding it once for all its sentences and all
epochs, and storing bytes rather than floats, is most of what makes training fast.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from imagetext.errors import DataError, Problem, UserError
from imagetext.files import cache_folder, replacing
from imagetext.pipelines.headers import declared_pixels
from imagetext.pipelines.memory import free_memory
from imagetext.pipelines.upright import MOST_PIXELS
from imagetext.terminal import show_progress

CACHES = ("auto", "memory", "disk", "stream")
#: Shares of free memory and disk space that the cache may use with `auto`.
MEMORY_SHARE, DISK_SHARE = 0.35, 0.5
TOO_LARGE = "a photo too large to decode"
_WORKERS = max(2, os.cpu_count() or 2)


def decode(data: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Decode and resize a photo, in a graph; exported models use this as well.

    Args:
        data: The bytes of a JPEG (also CMYK), PNG, GIF, BMP or WebP file, a scalar string.
        size: Height and width of the result.

    Returns:
        The pixels, uint8 [height, width, 3]. A photo with more than `MOST_PIXELS` according to its
        header is refused before it is decoded.
    """
    count = declared_pixels(data)
    refuse = tf.debugging.Assert(count <= MOST_PIXELS, [TOO_LARGE, count])
    with tf.control_dependencies([refuse]):
        data = tf.identity(data)
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    # Enlarging needs no antialiasing, and the plain operation takes half the time.
    resized = tf.cond(
        tf.reduce_all(tf.shape(image)[:2] <= size),
        lambda: tf.image.resize(image, size),
        lambda: tf.image.resize(image, size, antialias=True),
    )
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def blank_photo() -> bytes:
    """The bytes of a small grey PNG file, for a first call that traces the graphs of a model."""
    return tf.io.encode_png(np.full((64, 64, 3), 127, np.uint8)).numpy()


def photo_reader(size: tuple[int, int]) -> Callable[[Path], np.ndarray]:
    """A function that reads a file as uint8 [height, width, 3], or raises a ValueError."""
    decode_bytes = bytes_reader(size)

    def read(path: Path) -> np.ndarray:
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from error
        return decode_bytes(data)

    return read


def bytes_reader(size: tuple[int, int]) -> Callable[[bytes], np.ndarray]:
    """Like `photo_reader`, but for the bytes of a file."""
    decode_data = _decoder(tuple(size))

    def read(data: bytes) -> np.ndarray:
        if not data:
            raise ValueError("the file is empty")
        try:
            with tf.device("CPU"):
                return decode_data(tf.constant(data)).numpy()
        except tf.errors.OpError as error:
            raise ValueError(_what_is_wrong(data, error)) from error

    return read


@functools.cache
def _decoder(size: tuple[int, int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph, traced here once rather than by the first of several threads."""
    signature = [tf.TensorSpec([], tf.string)]
    with tf.device("CPU"):
        graph = tf.function(lambda data: decode(data, size), input_signature=signature)
        return graph.get_concrete_function()


def _what_is_wrong(data: bytes, error: tf.errors.OpError) -> str:
    if TOO_LARGE in str(error):
        return f"{TOO_LARGE} (more than {MOST_PIXELS // 1_000_000} million pixels)"
    pictures = {
        b"\xff\xd8\xff": "JPEG",
        b"\x89PNG": "PNG",
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"RIFF": "WebP",
    }
    for start, name in pictures.items():
        if data.startswith(start) and (name != "WebP" or data[8:12] == b"WEBP"):
            return f"a damaged or truncated {name}"
    return "not a photo (JPEG, PNG, GIF, BMP or WebP)"


def bad_photo(path: Path, what: str) -> Problem:
    """The problem of a photo that cannot be decoded."""
    remedy = "replace the file, or leave it out with --data.skip_bad true"
    return Problem(str(path), None, what, remedy)


class Pixels:
    """Photos by number; `fetch` is thread-safe.

    Args:
        paths: The photos.
        size: Height and width to which they are resized.
    """

    kind = ""
    #: What distinguishes these from other inputs of the same photos, besides the shape.
    identity = ()

    def __init__(self, paths: Sequence[Path], size: tuple[int, int]):
        self.paths, self.size = list(paths), tuple(size)
        self.shape, self.dtype = (*self.size, 3), np.dtype(np.uint8)

    def fetch(self, numbers: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of photos by number [n], uint8 [n, height, width, 3], and which are valid."""
        raise NotImplementedError


class StoredPixels(Pixels):
    """Photos decoded in advance, in memory or in a memory-mapped file."""

    def __init__(self, paths, size, array: np.ndarray, good: np.ndarray, kind: str):
        super().__init__(paths, size)
        self._array, self._good, self.kind = array, good, kind

    def fetch(self, numbers):
        return self._array[numbers], self._good[numbers]


class StreamedPixels(Pixels):
    """Photos decoded on demand, so that memory does not grow with their number.

    A file that became unreadable since the check is reported once, and stops the run or is skipped.
    """

    kind = "stream"

    def __init__(self, paths, size, skip_bad: bool = False):
        super().__init__(paths, size)
        self.skip_bad = skip_bad
        self.failures: dict[Path, str] = {}
        self._read = photo_reader(size)
        self._pool = ThreadPoolExecutor(_WORKERS)

    def fetch(self, numbers):
        photos = list(self._pool.map(self._read_one, numbers))
        blank = np.zeros((*self.size, 3), np.uint8)
        pixels = np.stack([blank if photo is None else photo for photo in photos])
        return pixels, np.array([photo is not None for photo in photos])

    def _read_one(self, number: int) -> np.ndarray | None:
        path = self.paths[number]
        try:
            return self._read(path)
        except ValueError as error:
            if path not in self.failures:
                self.failures[path] = str(error)
                if self.skip_bad:
                    show_progress(f"\nskipped: {bad_photo(path, str(error))}", sys.stderr)
            if self.skip_bad:
                return None
            raise DataError([bad_photo(path, str(error))]) from error


@contextlib.contextmanager
def report_bad_photos(pixels: Pixels) -> Iterator[None]:
    """A context in which a photo that becomes unreadable raises a `DataError` with its name,
    instead of an error from inside a graph."""
    try:
        yield
    except tf.errors.OpError as error:
        failures = getattr(pixels, "failures", {})
        if not failures:
            raise
        raise DataError([bad_photo(path, what) for path, what in failures.items()]) from error


def open_pixels(
    paths: Sequence[Path],
    size: tuple[int, int],
    cache: str = "auto",
    skip_bad: bool = False,
    problems: list[Problem] | None = None,
) -> Pixels:
    """Decode photos into a cache.

    Args:
        paths: The photos.
        size: Height and width to resize them to.
        cache: "memory", "disk" or "stream"; "auto" chooses by size.
        skip_bad: Skip photos that become unreadable later, instead of raising.
        problems: A list to add unreadable photos to; None to raise them together.

    Returns:
        The photos.
    """
    if cache not in CACHES:
        raise UserError(f"data.cache: expected one of {', '.join(CACHES)}, got {cache!r}")
    paths, noted = list(paths), [] if problems is None else problems
    kind = _choose_cache(len(paths) * size[0] * size[1] * 3) if cache == "auto" else cache
    before = len(noted)
    if kind == "stream":
        noted.extend(check_photos(paths))
        pixels: Pixels = StreamedPixels(paths, size, skip_bad)
    elif kind == "disk":
        pixels = _on_disk(paths, size, noted)
    else:
        array = np.zeros((len(paths), *size, 3), np.uint8)
        pixels = StoredPixels(paths, size, array, _fill(array, paths, size, noted), "memory")
    if problems is None and len(noted) > before:
        raise DataError(noted)
    return pixels


def _choose_cache(size_in_bytes: int) -> str:
    if size_in_bytes <= MEMORY_SHARE * free_memory():
        return "memory"
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    return "disk" if size_in_bytes <= DISK_SHARE * shutil.disk_usage(folder).free else "stream"


def _fill(array: np.ndarray, paths: list[Path], size, problems: list[Problem]) -> np.ndarray:
    """Decode every photo into the array; returns which are valid, bool [n]."""
    read = photo_reader(size)

    def decode_into(number: int) -> str | None:
        try:
            array[number] = read(paths[number])
        except ValueError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_WORKERS) as pool:
        messages = list(pool.map(decode_into, range(len(paths))))
    problems.extend(
        bad_photo(path, what) for path, what in zip(paths, messages, strict=True) if what
    )
    return np.array([what is None for what in messages], bool)


def _on_disk(paths: list[Path], size, problems: list[Problem]) -> StoredPixels:
    """Decode into a memory-mapped file, named by paths, sizes and times so as never to be stale."""
    digest = hashlib.sha256(json.dumps(list(size)).encode())
    for path in paths:
        status = path.stat() if path.exists() else None
        stamp = (status.st_size, status.st_mtime_ns) if status else None
        digest.update(f"{path.absolute()}|{stamp}\n".encode())
    file = cache_folder() / "pixels" / f"{digest.hexdigest()[:32]}.npy"
    wrong_file = file.with_suffix(".json")
    if not (file.is_file() and wrong_file.is_file()):
        bad: list[Problem] = []
        with replacing(file) as temporary:
            array = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(len(paths), *size, 3)
            )
            _reserve(temporary)
            good = _fill(array, paths, size, bad)
            array.flush()
            del array
        what = dict(
            zip(np.flatnonzero(~good).tolist(), [problem.what for problem in bad], strict=True)
        )
        with replacing(wrong_file) as temporary:
            temporary.write_text(json.dumps(what))
    wrong = json.loads(wrong_file.read_text())
    problems.extend(bad_photo(paths[int(number)], what) for number, what in wrong.items())
    good = np.ones(len(paths), bool)
    good[[int(number) for number in wrong]] = False
    return StoredPixels(paths, size, np.load(file, mmap_mode="r"), good, "disk")


def _reserve(file: Path) -> None:
    """Allocate disk space now: running out of it under a memory map kills the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with file.open("rb+") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # else not supported here
            raise


def check_photos(paths: Sequence[Path]) -> list[Problem]:
    """Decode every photo once, and return the problems."""
    read = photo_reader((8, 8))

    def check(path: Path) -> Problem | None:
        try:
            read(path)
        except ValueError as error:
            return bad_photo(path, str(error))
        return None

    with ThreadPoolExecutor(_WORKERS) as pool:
        return [problem for problem in pool.map(check, paths) if problem]
