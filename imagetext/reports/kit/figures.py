"""The figures of reports: what each is called, and how its number is written.

register({"accuracy": share("Accuracy")})
FIGURES["accuracy"].written(0.7554) == "75.5 %"
"""

from collections.abc import Mapping
from dataclasses import dataclass


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


#: Every figure by name; the report of each task registers its own.
FIGURES: dict[str, Figure] = {}


def register(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Add the figures of a task; returns them."""
    FIGURES.update(figures)
    return dict(figures)
