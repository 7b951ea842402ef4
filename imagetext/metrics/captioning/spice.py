"""SPICE through pycocoevalcap and Java, if both are installed.

    spice(candidates, references)      # tokens; scores [n] from 0 to 1, or the reason for none

There is no implementation in Python: SPICE parses sentences with Stanford CoreNLP, whose models
have 400 MB.
"""

import contextlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_MODELS = "stanford-corenlp-3.6.0-models.jar"


def why_unavailable() -> str:
    """Why SPICE cannot run here and what to do about it; empty if it can."""
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None:
        return "SPICE is unavailable: it needs Java and `pip install 'imagetext[coco]'`"
    if shutil.which("java") is None:
        return "SPICE is unavailable: no java on the PATH; install Java"
    folder = Path(next(iter(package.submodule_search_locations or []))) / "spice"
    if not (folder / "lib" / _MODELS).exists():
        return (
            "SPICE is unavailable: pycocoevalcap needs Stanford CoreNLP 3.6.0 (400 MB); download"
            " it with python -c 'from pycocoevalcap.spice.spice import Spice; Spice()'"
        )
    return ""


def spice(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> np.ndarray | str:
    """Compute SPICE.

    Args:
        candidates: The tokens of a caption for each image.
        references: The tokens of the reference captions of each image.

    Returns:
        The score of each image [n], NaN where the tool returns none; or a message that says why
        SPICE cannot run.
    """
    if reason := why_unavailable():
        return reason
    from pycocoevalcap.spice.spice import Spice

    results = {number: [" ".join(tokens)] for number, tokens in enumerate(candidates)}
    truth = {
        number: [" ".join(tokens) for tokens in image] for number, image in enumerate(references)
    }
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _, scores = Spice().compute_score(truth, results)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"SPICE failed: {error}; it was written for Java 8 and needs 8 GB of memory"
    return np.array([score["All"]["f"] for score in scores], np.float64)
