"""Tables of a matching report."""

from collections.abc import Mapping
from typing import Any

from imagetext.reports.kit.tables import MODEL
from imagetext.reports.matching.figures import FIGURES

#: The baseline that answers the more frequent label for every pair.
MAJORITY = "majority"


def subset_rows(values: Mapping[str, Any]) -> list[list[str]]:
    """A heading, the scores of all rows, and those of each of the `subsets`."""
    columns = ("accuracy", "balanced_accuracy", "roc_auc")
    heading = ["rows", "count", *(f"{FIGURES[name].label} (95 % CI)" for name in columns)]
    rows = [[*heading, f"{MAJORITY}: accuracy"]]
    for name, subset in {"all rows": values, **values["subsets"]}.items():
        scores = subset["scores"]
        cells = [FIGURES[column].format_estimate(scores[MODEL][column]) for column in columns]
        majority = FIGURES["accuracy"].format(scores[MAJORITY]["accuracy"]["value"])
        rows.append([name, f"{subset['rows']:,}", *cells, majority])
    return rows
