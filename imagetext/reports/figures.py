"""The figures that reports show, by name: what each is called and how its number is written.

FIGURES["accuracy"].written(0.7554) == "75.5 %"
"""

from dataclasses import dataclass

from imagetext.metrics.matching import METRICS


@dataclass(frozen=True)
class Figure:
    """A row of a report's table."""

    label: str
    scale: int = 1
    digits: int = 3
    unit: str = ""
    higher_is_better: bool = True

    def written(self, value: float | None) -> str:
        return "n/a" if value is None else f"{self.bare(value)}{self.unit}"

    def bare(self, value: float) -> str:
        """Without the unit."""
        return f"{self.scale * value:.{self.digits}f}"


def share(label: str) -> Figure:
    return Figure(label, 100, 1, " %")


def points(label: str) -> Figure:
    """As papers write the scores of captions: 0.253 is 25.3."""
    return Figure(label, 100, 1)


MATCHING = {
    name: share(metric.label)
    if metric.percent
    else Figure(metric.label, higher_is_better=metric.higher_is_better)
    for name, metric in METRICS.items()
}
CAPTIONING = {
    **{f"bleu_{n}": points(f"BLEU-{n}") for n in range(1, 5)},
    "meteor": points("METEOR"),
    "rouge_l": points("ROUGE-L"),
    "cider_d": points("CIDEr-D"),
    "spice": points("SPICE"),
    "similarity": Figure("MiniLM similarity to the references, mean"),
    "similarity_best": Figure("MiniLM similarity to the nearest reference"),
    "caption_score": Figure("Caption score, without references"),
    "cross_entropy": Figure("Cross-entropy a word", higher_is_better=False),
    "perplexity": Figure("Perplexity", digits=2, higher_is_better=False),
    "token_accuracy": share("Token accuracy"),
}
RETRIEVAL = {
    "text_r1": share("Photo for a text: R@1"),
    "text_r5": share("Photo for a text: R@5"),
    "text_r10": share("Photo for a text: R@10"),
    "text_median": Figure("Photo for a text: median place", digits=1, higher_is_better=False),
    "text_mrr": Figure("Photo for a text: mean reciprocal place"),
    "photo_r1": share("Text for a photo: R@1"),
    "photo_r5": share("Text for a photo: R@5"),
    "photo_r10": share("Text for a photo: R@10"),
    "photo_median": Figure("Text for a photo: median place", digits=1, higher_is_better=False),
    "photo_mrr": Figure("Text for a photo: mean reciprocal place"),
    "mean_recall": share("Mean of the six recalls"),
}
FIGURES = MATCHING | CAPTIONING | RETRIEVAL
