"""What `compare` shows of captioning runs."""

from imagetext.reports.captioning.figures import CAPTIONING
from imagetext.reports.captioning.markdown import size
from imagetext.reports.comparison.spec import ComparisonSpec

BASELINE = "one for all"

COMPARISON = ComparisonSpec(
    shown={name: CAPTIONING[name].label for name in ("bleu_4", "meteor", "rouge_l", "cider_d")},
    costs=("distinct", "parameters", "trainable", "minutes", "captioned/s"),
    sorted_by="cider_d",
    baseline=BASELINE,
    explain=lambda values: [
        f"{BASELINE}: the most frequent training caption for every photo.",
        "distinct: share of captions that occur only once; minutes: training time.",
    ],
    size=("photos", "references"),
    describe_size=size,
)
