"""Indexes together with the runs whose models built them: what the command line calls.

build_index("runs/best-1", "flickr8k", "flickr8k.index")
photo_search = open_search("flickr8k.index")               # the index names its run
print(as_text(photo_search.search("a dog in snow", top=3)))
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagetext.errors import DataError, Problem, UserError
from imagetext.retrieval.index import build as building
from imagetext.retrieval.index.approximate import IndexSettings
from imagetext.retrieval.index.build import IndexChange, OnProgress
from imagetext.retrieval.index.encoding import MAX_FILE_BYTES, open_feature_cache
from imagetext.retrieval.index.listing import absolute, list_photos
from imagetext.retrieval.index.manifest import BUILDING, FILE, read_manifest, require_encoder
from imagetext.retrieval.index.query import NOTHING, PhotoSearch
from imagetext.retrieval.index.reader import Index, SearchResult
from imagetext.task import require_task
from imagetext.terminal import quiet_tensorflow
from imagetext.training.run import open_run, require_trained

if TYPE_CHECKING:
    from imagetext.retrieval.predict import RetrievalModel

log = logging.getLogger(__name__)


def build_index(
    run: str | Path,
    folder: str | Path,
    to: str | Path,
    settings: IndexSettings | None = None,
    progress: OnProgress | None = None,
) -> IndexChange:
    """Index all photos in a folder.

    Args:
        run: A trained retrieval run.
        folder: A folder of photos, or of data, whose captions are then kept with the photos.
        to: The folder of the index.
        settings: How the index is searched.
        progress: Called with the number of files done and in all.
    """
    # Mistakes are reported before a model is loaded.
    if not Path(folder).expanduser().exists():
        raise UserError(f"{folder}: no such folder; expected a folder of photos or of data")
    if Path(to).is_file():
        raise UserError(f"{to}: is a file, but an index is a folder; choose another with --to")
    if Path(to).is_dir() and not is_index(to) and any(Path(to).iterdir()):
        raise UserError(f"{to}: contains other files; choose an index or a new folder with --to")
    photos = list_photos(folder)
    model = _load_model(run)
    cache = open_feature_cache(model.config.data)
    return building.build(model, photos, to, absolute(run), cache, settings, progress)


def is_index(folder: str | Path) -> bool:
    """Whether a folder contains an index, finished or not."""
    return any((Path(folder) / name).exists() for name in (FILE, BUILDING))


def add_to_index(
    index: str | Path,
    photos: Sequence[str | Path],
    run: str | Path | None = None,
    progress: OnProgress | None = None,
) -> IndexChange:
    """Add photos to an index.

    Args:
        index: The folder of the index.
        photos: Image files and folders of image files.
        run: The run that built the index, if it has been moved.
        progress: Called with the number of files done and in all.
    """
    manifest = read_manifest(index)
    paths = list_photos(photos)
    model = _load_model(run or recorded_run(index))
    require_encoder(index, manifest, model.digest)
    return building.add(model, paths, index, open_feature_cache(model.config.data), progress)


def open_search(
    index: str | Path, run: str | Path | None = None, compiled: bool = True
) -> PhotoSearch:
    """Open an index together with its model.

    Args:
        index: The folder of the index.
        run: The run that built the index, if it has been moved. A run is a model, and a model is a
            program: for an index from an untrusted source, use your own copy.
        compiled: Trace the model into graphs. False answers a single query sooner.
    """
    opened = Index.open(index)
    return PhotoSearch(opened, _load_model(run or recorded_run(index), compiled))


def search_index(
    index: str | Path,
    text: str | None = None,
    photo: str | Path | None = None,
    without: str | None = None,
    top: int = 12,
    run: str | Path | None = None,
) -> list[SearchResult]:
    """Search once; the arguments are those of `imagetext.search`."""
    # Mistakes are reported before TensorFlow is imported.
    if top < 1:
        raise UserError(f"--top: must be at least 1, got {top}")
    if not photo and not (text or "").strip():
        raise UserError(NOTHING)
    read_manifest(index)
    if run:
        require_task(str(run), "retrieval")
    example = read_photo(photo) if photo else None
    photo_search = open_search(index, run, compiled=False)
    if photo_search.index.note:
        log.warning(photo_search.index.note)
    return photo_search.search(text, example, without, top)


def read_photo(path: str | Path) -> bytes:
    """Read an image file to search with; checked before a model is loaded."""
    path = Path(path).expanduser()
    try:
        if not path.is_file() and path.exists():
            raise UserError(f"{path}: is not a file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path}: too large for a photo")
        data = path.read_bytes()
        quiet_tensorflow()
        from imagetext.pipelines.pixels import bytes_reader

        bytes_reader((8, 8))(data)
        return data
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise DataError([Problem(path, None, what, "name a photo")]) from error


def as_text(results: Sequence[SearchResult]) -> str:
    """A line for each photo: rank, score and file; other files and a caption below."""
    if not results:
        return "Nothing found: the index contains no photos."
    lines = []
    for rank, result in enumerate(results, start=1):
        lines.append(f"{rank:3}  {result.score:6.3f}  {_printable(result.path)}")
        lines += [f"{'':13}= {_printable(path)}" for path in result.paths[1:]]
        lines += [f'{"":13}"{caption}"' for caption in result.captions[:1]]
    return "\n".join(lines)


def _printable(path: str) -> str:
    return path.encode(errors="replace").decode()


def recorded_run(index: str | Path, option: str = "--run") -> str:
    """The run that an index was built with.

    Args:
        index: The folder of the index.
        option: The option that names the run if it has been moved, for the error.
    """
    run = read_manifest(index).run
    if not run or not Path(run).is_dir():
        raise UserError(
            f"{index}: cannot find the run it was built with ({run or 'not recorded'}); name it"
            f" with {option}"
        )
    return run


def _load_model(run: str | Path, compiled: bool = True) -> "RetrievalModel":
    require_trained(open_run(run))  # a wrong path is reported before TensorFlow is imported
    quiet_tensorflow()
    from imagetext.retrieval.predict import RetrievalModel

    return RetrievalModel.load(run, compiled=compiled)
