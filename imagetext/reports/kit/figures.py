"""The figures of a report: what each is called, and how its numbers are written.

    figure = percentage("Accuracy")
    figure.format(0.7554)                                                # "75.5 %"
    figure.format_estimate({"value": 0.7554, "low": 0.73, "high": 0.78}) # "75.5 % (73.0–78.0)"

Estimates are those of report.json: dictionaries with `value`, `low` and `high`, each possibly None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A row of a report's table.

    Args:
        label: What the figure is called.
        scale: Factor between the stored and the written number.
        digits: Decimal places.
        unit: Follows a single number.
        higher_is_better: Whether a larger value is a better one.
    """

    label: str
    scale: int = 1
    digits: int = 3
    unit: str = ""
    higher_is_better: bool = True

    def format(self, value: float | None) -> str:
        """A number with its unit; "n/a" for None."""
        return "n/a" if value is None else f"{self.format_number(value)}{self.unit}"

    def format_number(self, value: float) -> str:
        """A number without its unit."""
        return f"{self.scale * value:.{self.digits}f}"

    def format_interval(self, estimate: Mapping[str, Any]) -> str:
        """The interval as "73.0–78.0"; empty if there is none.

        An interval of no width is not shown: all resamples agree where a score is constant or
        perfect, and that is not certainty.
        """
        low, high = estimate["low"], estimate["high"]
        if low is None or low == high:
            return ""
        return f"{self.format_number(low)}–{self.format_number(high)}"

    def format_estimate(self, estimate: Mapping[str, Any]) -> str:
        """The value, followed by the interval in parentheses."""
        interval = self.format_interval(estimate)
        return self.format(estimate["value"]) + (f" ({interval})" if interval else "")


def percentage(label: str) -> Figure:
    """A share, written as "75.5 %"."""
    return Figure(label, 100, 1, " %")


def points(label: str) -> Figure:
    """A caption score, written as in papers: 0.253 as "25.3"."""
    return Figure(label, 100, 1)


#: The figures of a report by name.
Figures = Mapping[str, Figure]
