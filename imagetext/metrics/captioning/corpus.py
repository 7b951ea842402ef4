"""Score captions against reference captions: every metric, with its 95 % confidence interval.

    cider = score_captions(["a dog runs ."], [["A dog runs.", "The dog is running."]])["cider_d"]
    cider.value, cider.low, cider.high

The numbers equal those of the COCO caption evaluation (pycocoevalcap), from 0 to 1, CIDEr-D from 0
to 10. BLEU and METEOR are computed for the corpus from summed counts; the others are means over
images. The bootstrap resamples images; the document frequencies of CIDEr-D remain those of all
images.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from imagetext.errors import UserError
from imagetext.metrics.bootstrap import RESAMPLES, Estimate, estimate_from_draws, resample_weights
from imagetext.metrics.captioning import spice
from imagetext.metrics.captioning.bleu import Bleu, bleu_scores
from imagetext.metrics.captioning.cider import Cider
from imagetext.metrics.captioning.meteor import Meteor, meteor_scores
from imagetext.metrics.captioning.paraphrases import Paraphrases
from imagetext.metrics.captioning.rouge import rouge_l
from imagetext.metrics.captioning.tokens import tokenize

METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "meteor", "cider_d", "spice")
_BLEU = METRICS[:4]


def score_captions(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    metrics: Collection[str] = METRICS,
    paraphrases: Paraphrases | None = None,
) -> dict[str, Estimate]:
    """Score one caption for each image.

    Args:
        candidates: The captions [n], as written.
        references: The reference captions of each image.
        resamples: Bootstrap resamples behind each interval.
        seed: Seed of the bootstrap.
        metrics: Names of metrics, from `METRICS`.
        paraphrases: The table for METEOR's fourth stage (see meteor.py).

    Returns:
        An estimate for each metric; one without a value has a `reason`.

    Examples:
        >>> score_captions(["a dog"], [["A dog."]], metrics=["bleu_1"])["bleu_1"].value
        0.99...
    """
    scorer = CaptionScorer(references, metrics, paraphrases)
    return scorer.score(candidates, resamples=resamples, seed=seed)


@dataclass(frozen=True)
class _Summable:
    """A metric of summed rows.

    Args:
        rows: Counts of each image [n, c].
        metric: Turns sums of rows [b, c] into scores [b].
    """

    rows: np.ndarray
    metric: Callable[[np.ndarray], np.ndarray]


class CaptionScorer:
    """Scores several sets of captions against the same references, which are prepared once.

    Args:
        references: The reference captions of each image.
        metrics: Names of metrics, from `METRICS`.
        paraphrases: The table for METEOR's fourth stage (see meteor.py).
    """

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
        if missing := [number for number, image in enumerate(references) if not image]:
            raise UserError(
                f"{len(missing)} of {len(references)} images have no reference caption, first"
                f" number {missing[0]}; score only images with references"
            )
        self.metrics = [name for name in METRICS if name in metrics]
        self.references = [[tokenize(caption) for caption in image] for image in references]
        self.cider = Cider(self.references)
        self.bleu = Bleu(self.cider.index)
        self.meteor = Meteor(self.references, paraphrases=paraphrases)

    @property
    def labels(self) -> dict[str, str]:
        """The name of each metric in a report; that of METEOR includes its stages."""
        names = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L")
        meteor = f"METEOR ({', '.join(self.meteor.stages)})"
        labels = dict(zip(METRICS, (*names, meteor, "CIDEr-D", "SPICE"), strict=True))
        return {name: labels[name] for name in self.metrics}

    def score(
        self, candidates: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> dict[str, Estimate]:
        """Compute each metric for the corpus, with its interval over images."""
        counts = self._count(candidates)
        weights = list(resample_weights(range(len(candidates)), resamples, seed))
        estimates = {}
        for name in self.metrics:
            summable = counts[name]
            if isinstance(summable, str):
                estimates[name] = Estimate(None, reason=summable)
                continue
            rows, metric = summable.rows, summable.metric
            resampled = [metric(part @ rows) for part in weights]
            value = float(metric(rows.sum(0, keepdims=True))[0])
            draws = np.concatenate(resampled) if resampled else None
            estimates[name] = estimate_from_draws(value, draws, "no caption has a score")
        return estimates

    def score_images(self, candidates: Sequence[str]) -> dict[str, np.ndarray]:
        """Compute each available metric for every image [n], to find the best and the worst."""
        counts = self._count(candidates)
        return {name: c.metric(c.rows) for name, c in counts.items() if not isinstance(c, str)}

    def _count(self, candidates: Sequence[str]) -> dict[str, _Summable | str]:
        """Each metric in summable form, or the reason why it is unavailable."""
        if len(candidates) != len(self.references):
            raise ValueError(f"{len(candidates)} captions for {len(self.references)} images")
        if not len(candidates):
            return dict.fromkeys(self.metrics, "no images")
        tokens = [tokenize(caption) for caption in candidates]
        counts: dict[str, _Summable | str] = {}
        if not set(_BLEU).isdisjoint(self.metrics):
            rows = self.bleu.counts(tokens)
            for column, name in enumerate(_BLEU):
                counts[name] = _Summable(rows, functools.partial(_bleu_column, column))
        if "rouge_l" in self.metrics:
            counts["rouge_l"] = _mean_of(rouge_l(tokens, self.references))
        if "meteor" in self.metrics:
            counts["meteor"] = _Summable(self.meteor.statistics(tokens), meteor_scores)
        if "cider_d" in self.metrics:
            counts["cider_d"] = _mean_of(self.cider.scores(tokens))
        if "spice" in self.metrics:
            scores = spice.spice(tokens, self.references)
            counts["spice"] = scores if isinstance(scores, str) else _mean_of(scores)
        return {name: counts[name] for name in self.metrics}


@dataclass(frozen=True)
class CaptionStatistics:
    """What a set of captions is like, whatever the photos show.

    Args:
        captions: Number of captions.
        distinct: Fraction of the captions that differ from all earlier ones.
        in_training: Fraction that is identical to a training caption; None if those are unknown.
        vocabulary: Number of different words.
        mean_words: Mean length in words.
    """

    captions: int
    distinct: float
    in_training: float | None
    vocabulary: int
    mean_words: float

    def as_dict(self) -> dict[str, Any]:
        """The statistics by name, as in report.json."""
        return asdict(self)


def caption_statistics(
    candidates: Sequence[str], training: Collection[str] | None = None
) -> CaptionStatistics:
    """Compute statistics of captions, tokenized as for the metrics.

    Args:
        candidates: The captions, as written.
        training: The captions that the model was trained on.

    Returns:
        The statistics.

    Examples:
        >>> caption_statistics(["a dog .", "A dog", "a cat"]).vocabulary
        3
    """
    captions = [tuple(tokenize(caption)) for caption in candidates]
    count = max(len(captions), 1)
    trained = None if training is None else {tuple(tokenize(caption)) for caption in training}
    return CaptionStatistics(
        captions=len(captions),
        distinct=len(set(captions)) / count,
        in_training=None if trained is None else sum(c in trained for c in captions) / count,
        vocabulary=len({word for caption in captions for word in caption}),
        mean_words=sum(map(len, captions)) / count,
    )


def _mean_of(scores: np.ndarray) -> _Summable:
    """The mean over those images that have a score; NaN marks the others."""
    valid = np.isfinite(scores)
    rows = np.stack([np.where(valid, scores, 0), valid], axis=1)

    def mean(sums: np.ndarray) -> np.ndarray:
        total, count = sums.T
        return np.divide(total, count, out=np.full(len(sums), np.nan), where=count > 0)

    return _Summable(rows, mean)


def _bleu_column(column: int, rows: np.ndarray) -> np.ndarray:
    return bleu_scores(rows)[:, column]
