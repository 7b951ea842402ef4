"""`imagetext index ...`: build, change and check an index of photos."""

from pathlib import Path

from imagetext import api
from imagetext.errors import DataError, UserError
from imagetext.task import require_task
from imagetext.terminal import count_progress


def index_build(run: str, folder: str, to: str = "photos.index", kind: str = "auto"):
    """Index photos with a retrieval run, so that they can be found by text and by photo.

    Small collections are searched exactly; large ones with FAISS (pip install 'imagetext[search]'),
    tuned during the build to a recall@10 of at least 95 %. A build that was stopped or killed
    continues where it was; until it is done, searches use the old index.

    Example:
        imagetext index build runs/best-1 flickr8k --to flickr8k.index

    Args:
        run: The folder of a trained retrieval run.
        folder: A folder of photos, or of data (its captions are then kept with the photos).
        to: The folder of the index.
        kind: auto, exact, ivfpq or hnsw.
    """
    return _report(api.build_index(run, folder, to, kind, count_progress("file")))


def index_add(index: str, photos: list[str], run: str | None = None):
    """Add photos to an index without rebuilding it; photos that have changed are replaced.

    Example:
        imagetext index add flickr8k.index holiday/ dog.jpg

    Args:
        index: The folder of the index.
        photos: Image files and folders of image files.
        run: The retrieval run that built the index, if it has been moved.
    """
    from imagetext.retrieval.index.manifest import read_manifest
    from imagetext.retrieval.index.runs import add_to_index

    read_manifest(index)  # a wrong path is reported before TensorFlow is imported
    for path in photos:
        if not Path(path).expanduser().exists():
            raise UserError(f"{path}: no such file or folder; nothing was added")
    if run:
        require_task(run, "retrieval")
    return _report(add_to_index(index, photos, run, count_progress("file")))


def index_remove(index: str, photos: list[str]):
    """Remove photos from an index; the files stay.

    Example:
        imagetext index remove flickr8k.index holiday/ dog.jpg

    Args:
        index: The folder of the index.
        photos: Image files and folders of image files, as they were indexed.
    """
    from imagetext.retrieval.index.build import remove

    return _report(remove(index, photos))


def index_check(index: str):
    """Look for photos that are missing, changed or corrupt, and for damage to the index itself.

    Example:
        imagetext index check flickr8k.index

    Args:
        index: The folder of the index.
    """
    from imagetext.retrieval.index.check import check

    result = check(index, count_progress("file"))
    if result.problems:
        raise DataError(result.problems, result.summary, shown=None)
    print(result.summary)
    return result


def _report(done):
    """Print what a change to an index did, and which photos were left out."""
    for problem in done.bad:
        print(f"bad: {problem}")
    print(done.summary)
    return done
