"""A matching run as the one who puts a search's first candidates into order.

matcher = pair_matcher("runs/itm-best-1")
matcher.log_odds(["dog.jpg"], ["A dog runs", "A cat sleeps"], np.array([[0, 0], [0, 1]]))
matcher.training_photos(["dog.jpg"])           # {"train": {"dog.jpg"}, "dev": set()}
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imagetext.encoders.photos import open_photos
from imagetext.errors import DataError, Problem, UserError
from imagetext.itm.data import open_data
from imagetext.itm.pair_scores import PairScores
from imagetext.itm.predict import MatchingModel
from imagetext.itm.record import extra_records, require_same_encoders
from imagetext.metrics.retrieval.reranking import PairMatcher
from imagetext.pipelines.held_out import find_copies
from imagetext.training.run import Run


def pair_matcher(run: Run | str | Path) -> PairMatcher:
    matcher = MatchingModel.load(run)
    require_same_encoders(matcher.run, matcher.config.data)
    scores, digest = PairScores(matcher.model), hashlib.sha256()
    for variable in matcher.model.weights:
        digest.update(variable.numpy().tobytes())
    told = digest.hexdigest()[:16]

    def log_odds(photos: Sequence[str], captions: Sequence[str], pairs: np.ndarray) -> np.ndarray:
        problems: list[Problem] = []
        seen = open_photos(list(map(Path, photos)), matcher.config.data, problems)
        if problems:
            raise DataError(problems)
        # What several photos have word for word is read once.
        number = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
        alike = np.array([number[caption] for caption in captions])
        asked = np.stack([pairs[:, 0], alike[pairs[:, 1]]], axis=1)
        return scores.log_odds(seen.fetch, matcher.texts(list(number)), asked)

    return PairMatcher(
        f"the matcher {matcher.run.folder.resolve().name} ({told})",
        told,
        log_odds,
        lambda photos: training_photos(matcher, photos),
    )


def training_photos(matcher: MatchingModel, photos: Sequence[str]) -> dict[str, set[str]]:
    """Which of the photos, under any name and saved again too, the run was trained on, further
    captions included, and by which its best epoch was chosen."""
    run, config = matcher.run, matcher.config
    try:
        source = open_data(config.data)
        rows = {split: list(source.records(split, [])) for split in ("train", "dev")}
        if config.aligns and config.align.extra_captions:
            rows["train"] += extra_records(run, config, source)[0]
    except UserError as error:
        raise UserError(
            f"{run.folder}: its training photos must be known, but its data cannot be read:"
            f" {str(error).splitlines()[0]}; set data.root in {run.config_file} to where the data"
            " is now"
        ) from error
    asked, found = list(map(Path, photos)), {}
    for split, records in rows.items():
        same, near = find_copies(asked, [record.image for record in records])
        found[split] = {str(path) for path in same | near}
    return found
