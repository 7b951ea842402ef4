"""What all tests share: a cache of their own, no network, and a tiny course-format folder."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["IMAGETEXT_OFFLINE"] = "1"
# Tests run one per core, on tensors too small to be worth a second thread.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"

import gc
import io
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Tracing makes millions of objects, most of which stay for as long as their test: garbage is
# collected after each file instead of again and again meanwhile.
gc.set_threshold(100_000, 50, 1000)

#: Photos of each split, and how often each occurs with each label.
COURSE_PHOTOS = {"Train": 6, "Dev": 3, "Test": 3}
COURSE_ROWS = 3
COURSE_SIDE = 32
TEXT_WIDTH = 384


#: Files that take longest. They come first, so that no worker is left alone with one in the end.
SLOW_FILES = (
    "tests/test_imagetext.py",
    "tests/retrieval/test_train.py",
    "tests/itm/test_align.py",
    "tests/itm/test_align_extra.py",
    "tests/training/test_fit.py",
    "tests/itm/test_train.py",
    "tests/retrieval/test_clip_finetune.py",
    "tests/captioning/test_train.py",
    "tests/captioning/test_evaluate.py",
    "tests/itm/test_export.py",
    "tests/test_itm_classifier.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW_FILES))


def pytest_collection_finish():
    if "tensorflow" in sys.modules:
        make_tracing_quick()
    gc.collect()
    gc.freeze()  # what has been imported is never garbage


def make_tracing_quick() -> None:
    """Do without TensorFlow's graph optimizer and shortened tracebacks.

    Almost all functions are traced once and run a few times, so both cost a quarter of the time.
    Programs that tests start as users would have them.
    """
    import keras
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.debugging.disable_traceback_filtering()
    keras.config.disable_traceback_filtering()


@pytest.fixture(scope="module", autouse=True)
def without_garbage():
    """Models and graphs of a file go with it: their cycles would fill gigabytes.

    TensorFlow's registry keeps each custom gradient, and with it the graph, for ever.
    """
    yield
    if ops := sys.modules.get("tensorflow.python.framework.ops"):
        gradients = ops.gradient_registry._registry
        for name in [name for name in gradients if name.startswith("CustomGradient-")]:
            del gradients[name]
    gc.collect()


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


@pytest.fixture(scope="session", autouse=True)
def plots_without_rendering():
    """Plots are blank: rendering those of a report takes as long as training its model.

    The tests of reports take `rendered_plots`.
    """
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), "white").save(buffer, "PNG")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda _, file, **__: file.write(buffer.getvalue()))
        yield patch


@pytest.fixture(scope="module")
def rendered_plots(plots_without_rendering):
    """Plots as users see them."""
    from matplotlib.figure import Figure

    blank = Figure.savefig
    plots_without_rendering.undo()
    yield
    plots_without_rendering.setattr(Figure, "savefig", blank)


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
