"""What a run finds in a split: how alike each photo is to each caption, all encoded once.

found = search_split(run, "dev")
found.similarities["model"]             # float32 [n, m]
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from imagetext.errors import UserError
from imagetext.pipelines.captioned import SAMPLE_NOTICE, refuse_held_back
from imagetext.pipelines.pixels import naming_bad_photos
from imagetext.reports.retrieval.report import Searched
from imagetext.reports.tables import MODEL
from imagetext.retrieval import models
from imagetext.retrieval.config import RetrievalConfig
from imagetext.retrieval.data import RetrievalData, load, open_data
from imagetext.retrieval.predict import RetrievalModel
from imagetext.retrieval.towers import PHOTOS_TOGETHER, Towers, cosines
from imagetext.training.run import Run

#: The similarity that an index can hold, of a model that also has words look at cells.
ALONE = "vectors alone"
#: That of a pretrained CLIP before it was tuned.
ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class SplitSearches:
    """A run's similarities [n, m] by the name of who finds: its own as "model"."""

    run: Run
    encoder: RetrievalModel
    data: RetrievalData
    searched: Searched
    similarities: dict[str, np.ndarray]
    notices: list[str]
    speeds: dict[str, float]


def search_split(
    run: Run,
    split: str,
    data: RetrievalData | None = None,
    overrides: Mapping | None = None,
) -> SplitSearches:
    """`overrides` are dotted keys of the run's configuration; `data` may be loaded already."""
    encoder = RetrievalModel.load(run, overrides)
    config = encoder.config
    if data is None or split not in data.pairs:
        refuse_held_back(open_data(config.data), split, run.folder)
        data = load(config, (split,), encoder.pieces)
    numbers, captions, owner = data.columns(split)
    start = time.perf_counter()
    with naming_bad_photos(data.photos):
        photos = encoder.encode_dataset_photos(data, numbers)
    seen = time.perf_counter()
    texts = encoder.towers.encode_ids(data.ids[captions], data.pieces.pad)
    read = time.perf_counter()
    similarities = {MODEL: encoder.towers.similarities(photos, texts)}
    if encoder.towers.late:
        similarities[ALONE] = cosines(photos, texts)
    notices = [SAMPLE_NOTICE] if data.source.kind == "sample" else []
    if config.model.own_vectors:
        try:
            similarities[ZERO_SHOT] = zero_shot(config, data, encoder, numbers, captions)
        except UserError as error:
            told = str(error).splitlines()[0]
            notices.append(f"Without the figures of the pretrained CLIP: {told}")
    speeds = {
        "photos per second, from what the model is given": round(len(numbers) / (seen - start), 1),
        "captions per second": round(len(captions) / (read - seen), 1),
        "seconds to compare all": round(time.perf_counter() - read, 2),
    }
    searched = Searched(
        tuple(str(data.photos.paths[number]) for number in numbers),
        tuple(data.captions[number] for number in captions),
        owner,
    )
    return SplitSearches(run, encoder, data, searched, similarities, notices, speeds)


def zero_shot(
    config: RetrievalConfig,
    data: RetrievalData,
    encoder: RetrievalModel,
    numbers: np.ndarray,
    captions: np.ndarray,
) -> np.ndarray:
    """How alike the pretrained CLIP, before any training, finds photos and captions, [n, m]."""
    towers = Towers(models.build(config, data.photos.shape, encoder.pieces))
    photos = towers.encode_images(
        image for image, _ in data.photo_batches(numbers, PHOTOS_TOGETHER)
    )
    return cosines(photos, towers.encode_ids(data.ids[captions], data.pieces.pad))
