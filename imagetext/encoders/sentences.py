"""Sentence encoders by name: our own all-MiniLM-L6-v2, or any sentence-transformers model.

encode = sentence_encoder("all-MiniLM-L6-v2")
encode(["A dog runs"])      # -> float32 [1, 384]
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from imagetext.encoders.weights import offline
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM


def sentence_encoder(
    name: str = MINILM, weights: str | Path | None = None
) -> Callable[..., np.ndarray]:
    """A function of texts; other names than MiniLM's need the extra, which brings PyTorch. They may
    also be folders, and so take no `weights`."""
    if name == MINILM:
        from imagetext.encoders.minilm import SentenceEncoder

        return SentenceEncoder.load(weights)
    if weights is not None:
        raise UserError(
            f"{name}: does not take weights ({weights}); give the folder of the model instead"
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"{name}: needs the package sentence-transformers and PyTorch (several gigabytes):"
            f" pip install 'imagetext[sentence-transformers]'; {MINILM} needs neither"
        ) from error
    try:
        model = SentenceTransformer(name, local_files_only=offline())
    except (OSError, ValueError) as error:
        told = str(error).splitlines()[0]
        where = " here, and IMAGETEXT_OFFLINE forbids the network" if offline() else ""
        raise UserError(f"{name}: no such sentence-transformers model{where}: {told}") from error

    def encode(texts: Sequence[str], verbose: bool = False) -> np.ndarray:
        vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=verbose)
        return np.asarray(vectors, np.float32)

    return encode
