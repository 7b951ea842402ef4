"""Sentence encoders by name: all-MiniLM-L6-v2 in Keras, or any sentence-transformers model.

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
    """Load a sentence encoder.

    Args:
        name: all-MiniLM-L6-v2, or the name or folder of a sentence-transformers model, which needs
            that package and PyTorch.
        weights: The folder of the weights of all-MiniLM-L6-v2.

    Returns:
        A function that maps n texts to vectors of length 1, float32 [n, width].
    """
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
        message = str(error).splitlines()[0]
        where = " here, and IMAGETEXT_OFFLINE forbids the network" if offline() else ""
        raise UserError(f"{name}: no such sentence-transformers model{where}: {message}") from error

    def encode(texts: Sequence[str], verbose: bool = False) -> np.ndarray:
        vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=verbose)
        return np.asarray(vectors, np.float32)

    return encode
