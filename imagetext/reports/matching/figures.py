"""The figures of a matching report."""

from imagetext.metrics.matching import METRICS
from imagetext.reports.kit.figures import Figure, percentage

FIGURES = {
    name: percentage(metric.label)
    if metric.percent
    else Figure(metric.label, higher_is_better=metric.higher_is_better)
    for name, metric in METRICS.items()
}
