"""Indexes by the run that makes their vectors: what the command line calls.

build_index("runs/best-1", "flickr8k", "flickr8k.index")
searcher = open_search("flickr8k.index")               # the index names its run
print(as_text(searcher.search("a dog in snow", top=3)))
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from imagetext.errors import DataError, Problem, UserError
from imagetext.retrieval.index import build as building
from imagetext.retrieval.index.approximate import IndexSettings
from imagetext.retrieval.index.build import Done
from imagetext.retrieval.index.growing import MOST_BYTES, stored_features
from imagetext.retrieval.index.listing import absolute, list_photos
from imagetext.retrieval.index.manifest import BUILDING, FILE, read_manifest, require_encoder
from imagetext.retrieval.index.query import PhotoSearch
from imagetext.retrieval.index.reader import Index, SearchResult
from imagetext.terminal import counted, interactive, quiet_tensorflow


def build_index(
    run: str | Path, folder: str | Path, to: str | Path, settings: IndexSettings | None = None
) -> Done:
    """Index all photos in a folder, or of a data folder with their captions."""
    if not Path(folder).expanduser().exists():  # said before a model is loaded, as the next one
        raise UserError(f"{folder}: no such folder -- name one of photos, or of data")
    if Path(to).is_file():
        raise UserError(f"{to}: is a file, and an index is a folder -- name another with --to")
    if Path(to).is_dir() and not is_index(to) and any(Path(to).iterdir()):
        raise UserError(f"{to}: holds other files -- name an index, or a new folder, with --to")
    photos = list_photos(folder)
    encoder = _encoder(run)
    stored = stored_features(encoder.config.data)
    return building.build(encoder, photos, to, absolute(run), stored, settings, progress())


def is_index(folder: str | Path) -> bool:
    """Whether an index lies there, or one that is still being built."""
    return any((Path(folder) / name).exists() for name in (FILE, BUILDING))


def add_to_index(
    index: str | Path, photos: Sequence[str | Path], run: str | Path | None = None
) -> Done:
    """Index more photos, files or folders."""
    manifest = read_manifest(index)
    found = list_photos(photos)
    encoder = _encoder(run or recorded_run(index))
    require_encoder(index, manifest, encoder.digest)
    return building.add(encoder, found, index, stored_features(encoder.config.data), progress())


def open_search(index: str | Path, run: str | Path | None = None) -> PhotoSearch:
    """An index with its encoder. One's own `run` in place of the one that a stranger's index
    names: a run is a model, and a model is a program."""
    opened = Index.open(index)
    return PhotoSearch(opened, _encoder(run or recorded_run(index)))


def read_photo(path: str | Path) -> bytes:
    """The file of a photo to search with, if it can be decoded: said before a model is loaded."""
    path = Path(path).expanduser()
    try:
        if not path.is_file() and path.exists():
            raise UserError(f"{path}: is not a file")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: too large for a photo")
        data = path.read_bytes()
        quiet_tensorflow()
        from imagetext.pipelines.pixels import bytes_reader

        bytes_reader((8, 8))(data)
        return data
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise DataError([Problem(path, None, what, "name a photo")]) from error


def as_text(hits: Sequence[SearchResult]) -> str:
    """A line a photo: rank, score, file; its other files, and a caption, below."""
    if not hits:
        return "Nothing found: the index holds no photos."
    lines = []
    for rank, hit in enumerate(hits, start=1):
        lines.append(f"{rank:3}  {hit.score:6.3f}  {_shown(hit.path)}")
        lines += [f"{'':13}= {_shown(path)}" for path in hit.paths[1:]]
        lines += [f'{"":13}"{caption}"' for caption in hit.captions[:1]]
    return "\n".join(lines)


def _shown(path: str) -> str:
    return path.encode(errors="replace").decode()


def recorded_run(index: str | Path, option: str = "--run") -> str:
    """The run that an index was built with; `option` is where one can be named that has moved."""
    run = read_manifest(index).run
    if not run or not Path(run).is_dir():
        raise UserError(
            f"{index}: was built with the run {run or '(not recorded)'}, which is not there -- "
            f"name where it is now with {option}"
        )
    return run


def _encoder(run: str | Path):
    quiet_tensorflow()
    from imagetext.retrieval.predict import RetrievalModel

    return RetrievalModel.load(run)


def progress():
    """A line that counts, on a terminal."""
    if not interactive():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        told = f"\r{done:,} of {counted(total, 'file')}"
        print(told, end=end, file=sys.stderr, flush=True)

    return show
