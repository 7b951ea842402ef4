"""Tables that only the report of a matching model has."""

from collections.abc import Mapping

from imagetext.reports.kit.figures import FIGURES
from imagetext.reports.kit.tables import MODEL, number, with_interval

#: The scorer that answers the more frequent class for every row.
MAJORITY = "majority"


def subset_rows(values: Mapping) -> list[list[str]]:
    """A heading, the score of all rows, and that of each of the `subsets`."""
    shown = ("accuracy", "balanced_accuracy", "roc_auc")
    heading = ["rows", "how many", *(f"{FIGURES[name].label} (95 % CI)" for name in shown)]
    rows = [[*heading, f"{MAJORITY}: accuracy"]]
    for told, subset in {"all": values, **values["subsets"]}.items():
        scores = subset["scores"]
        cells = [with_interval(name, scores[MODEL][name]) for name in shown]
        majority = number("accuracy", scores[MAJORITY]["accuracy"]["value"])
        rows.append([told, f"{subset['rows']:,}", *cells, majority])
    return rows
