"""SPICE through pycocoevalcap and its Java, where all it needs is on this machine already.

    spice(candidates, references)      # tokens; [n] of 0 to 1, or a sentence why there is none

There is no SPICE of our own: it parses sentences with Stanford CoreNLP, whose models weigh 400 MB.
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


def missing() -> str:
    """Why there can be no SPICE here, and what to do about it; empty where it can run."""
    package = importlib.util.find_spec("pycocoevalcap")
    if package is None:
        return "SPICE is absent: pip install -e '.[coco]', and have Java"
    if shutil.which("java") is None:
        return "SPICE is absent: there is no java on this machine"
    folder = Path(next(iter(package.submodule_search_locations or []))) / "spice"
    if not (folder / "lib" / _MODELS).exists():
        return (
            "SPICE is absent: pycocoevalcap lacks Stanford CoreNLP 3.6.0 (400 MB); "
            "python -c 'from pycocoevalcap.spice.spice import Spice; Spice()' fetches it"
        )
    return ""


def spice(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> np.ndarray | str:
    """[n]: SPICE of each candidate, NaN where it has none."""
    if why := missing():
        return why
    from pycocoevalcap.spice.spice import Spice

    said = {number: [" ".join(tokens)] for number, tokens in enumerate(candidates)}
    against = {
        number: [" ".join(tokens) for tokens in image] for number, image in enumerate(references)
    }
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _, scores = Spice().compute_score(against, said)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"SPICE failed: {error}; it was written for Java 8 and wants 8 GB of memory"
    return np.array([score["All"]["f"] for score in scores], np.float64)
