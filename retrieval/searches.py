"""The searches of a run on a split: the similarity of every photo with every caption.

result = search_split(run, "dev")
result.similarities["model"]             # float32 [n, m]
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.pipelines.batches import photo_batches
from imagetext.pipelines.captioned import require_captions
from imagetext.pipelines.pixels import report_bad_photos
from imagetext.pipelines.sample import sample_notices
from imagetext.reports.kit.tables import MODEL
from imagetext.reports.retrieval.search_set import SearchSet
from imagetext.retrieval import models
from imagetext.retrieval.data import RetrievalData, load, open_data
from imagetext.retrieval.predict import RetrievalModel
from imagetext.retrieval.towers import PHOTOS_PER_BATCH, Towers, cosines
from imagetext.training.run import Run

#: The similarity of the vectors, which an index can hold, for a model with late interaction.
ALONE = "vectors alone"
#: The similarity of a pretrained CLIP before it was tuned.
ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class SplitSearches:
    """The similarities of a run on a split.

    Args:
        run: The run.
        model: Its model.
        data: Its data, with the split.
        searched: The photos and captions.
        similarities: float32 [n, m] by name: that of the run as "model", others beside it.
        notices: Sentences for the top of the report.
        speeds: Measured speeds, by name.
    """

    run: Run
    model: RetrievalModel
    data: RetrievalData
    searched: SearchSet
    similarities: dict[str, np.ndarray]
    notices: list[str]
    speeds: dict[str, float]


def search_split(
    run: Run,
    split: str,
    data: RetrievalData | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> SplitSearches:
    """Encode the photos and captions of a split and compare them all.

    Args:
        run: A trained run.
        split: "train", "dev" or "test".
        data: The data, if it has been loaded already.
        overrides: Configuration keys by dotted name, such as another `data.root`.
    """
    model = RetrievalModel.load(run, overrides)
    config = model.config
    if data is None or split not in data.pairs:
        require_captions(open_data(config.data), split, run.folder)
        data = load(config, (split,), model.tokenizer)
    numbers, captions, owner = data.columns(split)
    start = time.perf_counter()
    with report_bad_photos(data.photos):
        photos = model.encode_dataset_photos(data, numbers)
    photos_done = time.perf_counter()
    texts = model.towers.encode_ids(data.ids[captions], data.tokenizer.pad)
    texts_done = time.perf_counter()
    similarities = {MODEL: model.towers.similarities(photos, texts)}
    if model.towers.late:
        similarities[ALONE] = cosines(photos, texts)
    notices = sample_notices(data.source)
    if config.model.own_vectors:
        try:
            similarities[ZERO_SHOT] = zero_shot(model, data, numbers, captions)
        except UserError as error:
            reason = str(error).splitlines()[0]
            notices.append(f"The scores of the pretrained CLIP are missing: {reason}")
    speeds = {
        "photos per second, from model inputs": len(numbers) / (photos_done - start),
        "captions per second": len(captions) / (texts_done - photos_done),
    }
    speeds = {name: round(speed, 1) for name, speed in speeds.items()}
    speeds["seconds to compare all"] = round(time.perf_counter() - texts_done, 2)
    searched = SearchSet(
        tuple(str(data.photos.paths[number]) for number in numbers),
        tuple(data.captions[number] for number in captions),
        owner,
    )
    return SplitSearches(run, model, data, searched, similarities, notices, speeds)


def zero_shot(
    model: RetrievalModel, data: RetrievalData, numbers: np.ndarray, captions: np.ndarray
) -> np.ndarray:
    """The similarities of the pretrained CLIP before any training, [n, m]."""
    towers = Towers(models.build(model.config, data.photos.shape, model.tokenizer))
    batches = photo_batches(data.photos, numbers, PHOTOS_PER_BATCH)
    photos = towers.encode_images(image for image, _ in batches)
    return cosines(photos, towers.encode_ids(data.ids[captions], data.tokenizer.pad))
