"""What all tests share: a cache of their own, no network, and a tiny course-format folder."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["IMAGETEXT_OFFLINE"] = "1"

import gc
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Tracing makes millions of objects that stay: to look through them all again and again costs 7 %.
gc.set_threshold(100_000, 50, 100)

#: Photos of each split, and how often each occurs with each label.
COURSE_PHOTOS = {"Train": 6, "Dev": 3, "Test": 3}
COURSE_ROWS = 3
COURSE_SIDE = 32
TEXT_WIDTH = 384


@pytest.fixture(scope="session", autouse=True)
def one_import_name():
    """`import itm` from the root of the repository would be a second copy of imagetext.itm."""
    yield
    bare = {"pipelines", "itm", "captioning", "retrieval"} & set(sys.modules)
    assert not bare, f"imported without imagetext.: {', '.join(sorted(bare))}"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or fills the cache of whoever runs it."""
    before = os.environ.get("IMAGETEXT_CACHE")
    folder = tmp_path_factory.mktemp("cache")
    os.environ["IMAGETEXT_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["IMAGETEXT_CACHE"]
    else:
        os.environ["IMAGETEXT_CACHE"] = before


@pytest.fixture(scope="session")
def course_master(tmp_path_factory) -> Path:
    """Written once; tests take `course_folder`, a copy of their own to spoil."""
    return write_course(tmp_path_factory.mktemp("course") / "flickr8k")


@pytest.fixture
def course_folder(course_master, tmp_path) -> Path:
    """A folder laid out like the course's: 12 photos, three lists (3 match and 3 no-match rows a
    photo, tabs and CRLF), `flickr8k-resised/` and `embeddings.npz` with a vector a caption."""
    return Path(shutil.copytree(course_master, tmp_path / "flickr8k"))


def write_course(folder: Path) -> Path:
    """Write the tiny course folder; the same bytes every time."""
    rng = random.Random(0)
    images = folder / "flickr8k-resised"
    images.mkdir(parents=True)
    captions = []
    for split, count in COURSE_PHOTOS.items():
        names = [f"{split.lower()}_{number}.jpg" for number in range(count)]
        own = {
            name: [f"caption {n} of {split} photo {number} ." for n in range(COURSE_ROWS)]
            for number, name in enumerate(names)
        }
        rows = []
        for name in names:
            noise = np.random.default_rng(rng.randrange(1 << 32)).integers(0, 256, (4, 4, 3))
            photo = Image.fromarray(noise.astype(np.uint8))
            photo = photo.resize((COURSE_SIDE, COURSE_SIDE), Image.Resampling.BICUBIC)
            photo.save(images / name, quality=92)
            others = [text for other in names if other != name for text in own[other]]
            wrong = rng.sample(others, COURSE_ROWS)
            rows += [f"{name}\t{text}\tmatch\r\n" for text in own[name]]
            rows += [f"{name}\t{text}\tno-match\r\n" for text in wrong]
            captions += own[name]
        (folder / f"flickr8k.{split}Images.txt").write_bytes("".join(rows).encode())
    vectors = np.random.default_rng(0).standard_normal((len(captions), TEXT_WIDTH))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    _write_embeddings(folder / "embeddings.npz", captions, vectors)
    return folder


def _write_embeddings(path: Path, captions: list[str], vectors: np.ndarray) -> None:
    from imagetext.pipelines.embeddings import EmbeddingTable

    EmbeddingTable(captions, vectors).write(path)
