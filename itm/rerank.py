"""A matching run as the re-ranker of a search.

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
from imagetext.itm.pair_scorer import PairScorer
from imagetext.itm.predict import MatchingModel
from imagetext.itm.record import extra_records, require_same_encoders
from imagetext.metrics.retrieval.reranking import PairMatcher
from imagetext.pipelines.held_out import find_copies
from imagetext.training.run import Run


def pair_matcher(run: Run | str | Path) -> PairMatcher:
    """Open a matching run to score pairs.

    Args:
        run: The folder of a trained run.

    Returns:
        The `matcher` argument of `retrieval.evaluate`.
    """
    model = MatchingModel.load(run)
    require_same_encoders(model.run, model.config.data)
    scorer, hasher = PairScorer(model.model), hashlib.sha256()
    for variable in model.model.weights:
        hasher.update(variable.numpy().tobytes())
    digest = hasher.hexdigest()[:16]

    def log_odds(photos: Sequence[str], captions: Sequence[str], pairs: np.ndarray) -> np.ndarray:
        problems: list[Problem] = []
        features = open_photos(list(map(Path, photos)), model.config.data, problems)
        if problems:
            raise DataError(problems)
        # A caption that several photos share is encoded once.
        number = {caption: index for index, caption in enumerate(dict.fromkeys(captions))}
        numbers = np.array([number[caption] for caption in captions])
        pairs = np.stack([pairs[:, 0], numbers[pairs[:, 1]]], axis=1)
        return scorer.log_odds(features.fetch, model.prepare_texts(list(number)), pairs)

    return PairMatcher(
        f"the matcher {model.run.folder.resolve().name} ({digest})",
        digest,
        log_odds,
        lambda photos: find_training_photos(model, photos),
    )


def find_training_photos(model: MatchingModel, photos: Sequence[str]) -> dict[str, set[str]]:
    """Find photos that a run was trained on.

    Args:
        model: The model of the run.
        photos: Image files; renamed or re-encoded copies count as the same photo.

    Returns:
        Those used for training, including extra captions ("train"), and those used to choose the
        best epoch ("dev").
    """
    run, config = model.run, model.config
    try:
        source = open_data(config.data)
        rows = {split: list(source.records(split, [])) for split in ("train", "dev")}
        if config.aligns and config.align.extra_captions:
            rows["train"] += extra_records(run, config, source)[0]
    except UserError as error:
        raise UserError(
            f"{run.folder}: cannot tell which photos it was trained on, as its data cannot be read:"
            f" {str(error).splitlines()[0]}; set data.root in {run.config_file} to the new location"
        ) from error
    paths, results = list(map(Path, photos)), {}
    for split, records in rows.items():
        same, near = find_copies(paths, [record.image for record in records])
        results[split] = {str(path) for path in same | near}
    return results
