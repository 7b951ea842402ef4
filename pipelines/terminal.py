"""Whether somebody watches: progress bars redraw themselves, which fills a log file with noise."""

import shutil
import sys


def interactive() -> bool:
    """Whether output goes to a terminal or a notebook."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


def width(at_most: int = 110) -> int:
    """Columns that can be written to; 80 where nobody knows."""
    return min(at_most, shutil.get_terminal_size((80, 24)).columns)
