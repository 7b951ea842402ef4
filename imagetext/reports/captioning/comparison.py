"""What `compare` shows of captioning runs."""

from imagetext.reports.captioning.figures import BASELINE, BASELINE_NAME, FIGURES
from imagetext.reports.captioning.markdown import describe_size
from imagetext.reports.comparison.spec import (
    MINUTES,
    PARAMETERS,
    TRAINABLE,
    ComparisonSpec,
    Cost,
)
from imagetext.reports.kit.tables import MODEL

COMPARISON = ComparisonSpec(
    figures={name: FIGURES[name] for name in ("bleu_4", "meteor", "rouge_l", "cider_d")},
    sort_by="cider_d",
    baseline=BASELINE,
    baseline_name=BASELINE_NAME,
    size=("photos", "references"),
    describe_size=describe_size,
    costs=(
        Cost(
            "distinct",
            "distinct",
            ("captions", MODEL, "distinct"),
            format=lambda share: f"{100 * share:.1f} %",
        ),
        PARAMETERS,
        TRAINABLE,
        MINUTES,
        Cost("captions/s", "captioned_per_second", ("about", "decoding", "photos per second")),
    ),
    explain=lambda values: [
        f"{BASELINE_NAME}: the most frequent training caption, for every photo.",
        "distinct: share of distinct captions; minutes: training time; captions/s: photos "
        "captioned per second.",
    ],
)
