"""What is fit to be printed: no redrawn bars into a log file, no chatter of TensorFlow's."""

import importlib
import os
import shutil
import sys


def interactive() -> bool:
    """Whether output goes to a terminal or a notebook."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


def width(at_most: int = 110) -> int:
    """Columns that can be written to; 80 where nobody knows."""
    return min(at_most, shutil.get_terminal_size((80, 24)).columns)


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up chatter about missing CUDA and CPU features.

    It prints that before it obeys TF_CPP_MIN_LOG_LEVEL (tensorflow issue 100442), so the process's
    standard error is turned away for the length of the import. Whoever sets the variable sees all.
    """
    if "tensorflow" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    error, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(error, 2)
        os.close(error)
        os.close(nowhere)


def counted(number: int, thing: str) -> str:
    """counted(1, "photo") == "1 photo"; counted(2000, "photo") == "2,000 photos"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
