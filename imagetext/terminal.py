"""Terminal output: progress lines, and a quick and quiet import of TensorFlow."""

import contextlib
import gc
import importlib
import os
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, TextIO


def interactive() -> bool:
    """Whether output goes to a terminal or a notebook."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


def width(at_most: int = 110) -> int:
    """Width of the terminal in columns, at most `at_most`; 80 if it is unknown."""
    return min(at_most, shutil.get_terminal_size((80, 24)).columns)


def quiet_tensorflow() -> None:
    """Import TensorFlow quickly, and without its start-up messages about CUDA and CPU features.

    Some are printed before TF_CPP_MIN_LOG_LEVEL takes effect (tensorflow issue 100442), so standard
    error is redirected during the import. Set that variable to see everything.
    """
    if "tensorflow" in sys.modules:
        return
    with _later("matplotlib", "matplotlib.pyplot", "matplotlib.patches"), _without_collections():
        if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
            importlib.import_module("tensorflow")
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


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Disable garbage collection during an import, and exempt the imported objects from it.

    TensorFlow creates a million objects that live until the process ends. Collecting them takes a
    third of the import, and another second at exit.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _later(*names: str) -> Iterator[None]:
    """Import these modules on first use. Keras imports pyplot for its galleries, which takes a
    fifth of the time of importing TensorFlow, and few processes draw anything."""
    if names[0] in sys.modules:
        yield
        return
    placeholders = {name: _Later(name) for name in names}
    for name, module in placeholders.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(placeholders[parent], child, module)
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        for name, module in placeholders.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _Later(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or sys.modules.get(self.__name__) is self:
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def show_progress(line: str, stream: TextIO | None = None) -> None:
    """Print a line about the progress of a long operation, such as training or encoding.

    All progress of the library is printed by this function; everything else is returned or logged.
    """
    print(line, file=stream, flush=True)


def count_progress(thing: str) -> Callable[[int, int], None] | None:
    """A progress callback for a terminal.

    Args:
        thing: What is counted, in the singular.

    Returns:
        A function of the number done and the total that shows "12 of 3,000 files" on standard
        error; None without a terminal.
    """
    if not interactive():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        line = f"\r{done:,} of {plural(total, thing)}"
        print(line, end=end, file=sys.stderr, flush=True)

    return show


def plural(number: int, thing: str) -> str:
    """plural(1, "photo") == "1 photo"; plural(2000, "photo") == "2,000 photos"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
