"""What `compare` shows of retrieval runs."""

from imagetext.metrics.retrieval.scores import CHANCE, MEAN
from imagetext.reports.comparison.spec import ComparisonSpec
from imagetext.reports.retrieval.figures import FIGURES
from imagetext.reports.retrieval.markdown import describe_size

COMPARISON = ComparisonSpec(
    figures={
        name: FIGURES[name] for name in ("text_r1", "text_r10", "photo_r1", "photo_r10", MEAN)
    },
    headings={
        "text_r1": "text → photo R@1",
        "text_r10": "text → photo R@10",
        "photo_r1": "photo → text R@1",
        "photo_r10": "photo → text R@10",
        MEAN: "mean recall",
    },
    sort_by=MEAN,
    baseline=CHANCE,
    size=("photos", "references"),
    describe_size=describe_size,
    explain=lambda values: [
        f"{CHANCE}: random order; mean recall: the mean of R@1, R@5 and R@10 in both directions; "
        "minutes: training time."
    ],
)
