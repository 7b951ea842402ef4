"""What `compare` shows of retrieval runs."""

from imagetext.metrics.retrieval.scores import CHANCE
from imagetext.reports.comparison.spec import ComparisonSpec
from imagetext.reports.retrieval.markdown import size

COMPARISON = ComparisonSpec(
    shown={
        "text_r1": "text → photo R@1",
        "text_r10": "R@10",
        "photo_r1": "photo → text R@1",
        "photo_r10": "R@10 ",
        "mean_recall": "mean of six",
    },
    sorted_by="mean_recall",
    baseline=CHANCE,
    explain=lambda values: [
        f"{CHANCE}: random order; mean of six: of R@1, 5 and 10 in both directions."
    ],
    size=("photos", "references"),
    describe_size=size,
)
