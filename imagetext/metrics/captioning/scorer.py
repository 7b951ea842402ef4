"""Captions against what people said of the same photos: every metric, with its 95 % interval.

    measured = score(["a dog runs ."], [["A dog runs.", "The dog is running."]])["cider_d"]
    measured.value, measured.low, measured.high

The numbers are those of the COCO caption evaluation (pycocoevalcap): 0 to 1, CIDEr-D 0 to 10. BLEU
and METEOR are of the corpus, from summed counts; the others are means over images. The bootstrap
draws images with replacement; how rare CIDEr-D holds an n-gram stays as all images say.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from imagetext.errors import UserError
from imagetext.metrics.bootstrap import RESAMPLES, Estimate, estimate_from_draws, resample_weights
from imagetext.metrics.captioning import spice
from imagetext.metrics.captioning.bleu import Bleu, bleu_of
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.meteor import Meteor, score_of
from imagetext.metrics.captioning.paraphrases import Paraphrases
from imagetext.metrics.captioning.rouge import rouge_l
from imagetext.metrics.captioning.tokens import tokenize

METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor", "cider_d", "spice")
_BLEU = METRICS[:4]


def score(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    metrics: Collection[str] = METRICS,
    paraphrases: Paraphrases | None = None,
) -> dict[str, Estimate]:
    """Each of `metrics` for one caption an image; what cannot be measured here says why.

    With `paraphrases` METEOR has its fourth stage; see `meteor.py`.
    """
    scorer = CaptionScorer(references, metrics, paraphrases)
    return scorer.score(candidates, resamples=resamples, seed=seed)


@dataclass(frozen=True)
class _Counted:
    """What a metric needs of each image [n, c], and the metric [b] of such rows [b, c] summed."""

    rows: np.ndarray
    metric: Callable[[np.ndarray], np.ndarray]


class CaptionScorer:
    """Scores against the same `references` again and again: they are prepared once."""

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        metrics: Collection[str] = METRICS,
        paraphrases: Paraphrases | None = None,
    ):
        if unknown := set(metrics) - set(METRICS):
            raise UserError(
                f"unknown metric {', '.join(sorted(unknown))}: expected {', '.join(METRICS)}"
            )
        if bare := [number for number, image in enumerate(references) if not image]:
            raise UserError(
                f"{len(bare)} of {len(references)} images have no reference caption, first number"
                f" {bare[0]}; score only images with references"
            )
        self.metrics = [name for name in METRICS if name in metrics]
        self.references = [[tokenize(caption) for caption in image] for image in references]
        self.cider = Cider(self.references)
        self.bleu = Bleu(self.cider.index)
        self.meteor = Meteor(self.references, paraphrases=paraphrases)

    @property
    def labels(self) -> dict[str, str]:
        """How a report should call each metric; METEOR by the stages that it had."""
        names = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L")
        meteor = f"METEOR ({', '.join(self.meteor.stages)})"
        labels = dict(zip(METRICS, (*names, meteor, "CIDEr-D", "SPICE"), strict=True))
        return {name: labels[name] for name in self.metrics}

    def score(
        self, candidates: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> dict[str, Estimate]:
        """Each metric of the corpus, with its interval over images."""
        counted = self._counted(candidates)
        weights = list(resample_weights(range(len(candidates)), resamples, seed))
        measured = {}
        for name in self.metrics:
            counts = counted[name]
            if isinstance(counts, str):
                measured[name] = Estimate(None, reason=counts)
                continue
            rows, metric = counts.rows, counts.metric
            drawn = [metric(drawn @ rows) for drawn in weights]
            value = float(metric(rows.sum(0, keepdims=True))[0])
            draws = np.concatenate(drawn) if drawn else None
            measured[name] = estimate_from_draws(value, draws, "no caption has a score")
        return measured

    def of_each(self, candidates: Sequence[str]) -> dict[str, np.ndarray]:
        """[n] of each metric that is at hand: one number an image, to find the best and worst."""
        counted = self._counted(candidates)
        return {name: c.metric(c.rows) for name, c in counted.items() if not isinstance(c, str)}

    def _counted(self, candidates: Sequence[str]) -> dict[str, _Counted | str]:
        if len(candidates) != len(self.references):
            raise ValueError(f"{len(candidates)} captions for {len(self.references)} images")
        if not len(candidates):
            return dict.fromkeys(self.metrics, "no images")
        tokens = [tokenize(caption) for caption in candidates]
        counted: dict[str, _Counted | str] = {}
        if not set(_BLEU).isdisjoint(self.metrics):
            counts = self.bleu.counts(tokens)
            for column, name in enumerate(_BLEU):
                counted[name] = _Counted(counts, functools.partial(_bleu_column, column))
        if "rouge_l" in self.metrics:
            counted["rouge_l"] = _mean_of(rouge_l(tokens, self.references))
        if "meteor" in self.metrics:
            counted["meteor"] = _Counted(self.meteor.statistics(tokens), score_of)
        if "cider_d" in self.metrics:
            counted["cider_d"] = _mean_of(self.cider.scores(tokens))
        if "spice" in self.metrics:
            scores = spice.spice(tokens, self.references)
            counted["spice"] = scores if isinstance(scores, str) else _mean_of(scores)
        return {name: counted[name] for name in self.metrics}


@dataclass(frozen=True)
class CaptionStatistics:
    """What captions are like, whatever the photos show."""

    captions: int
    distinct: float  # Share of captions that are not said before, of all.
    in_training: float | None  # Share that is a training caption, word for word.
    vocabulary: int  # Different words in all of them.
    mean_words: float

    def as_dict(self) -> dict:
        return asdict(self)


def statistics(
    candidates: Sequence[str], training: Collection[str] | None = None
) -> CaptionStatistics:
    """Of `candidates`, tokenized like the references; `training` are the captions learned from.

    statistics(["a dog .", "A dog", "a cat"]).distinct == 2 / 3
    """
    said = [tuple(tokenize(caption)) for caption in candidates]
    many = max(len(said), 1)
    known = None if training is None else {tuple(tokenize(caption)) for caption in training}
    return CaptionStatistics(
        captions=len(said),
        distinct=len(set(said)) / many,
        in_training=None if known is None else sum(caption in known for caption in said) / many,
        vocabulary=len({word for caption in said for word in caption}),
        mean_words=sum(map(len, said)) / many,
    )


def _mean_of(scores: np.ndarray) -> _Counted:
    """Scores that are averaged over those images that have one."""
    has = np.isfinite(scores)
    rows = np.stack([np.where(has, scores, 0), has], axis=1)

    def mean(summed: np.ndarray) -> np.ndarray:
        total, many = summed.T
        return np.divide(total, many, out=np.full(len(summed), np.nan), where=many > 0)

    return _Counted(rows, mean)


def _bleu_column(column: int, rows: np.ndarray) -> np.ndarray:
    return bleu_of(rows)[:, column]
