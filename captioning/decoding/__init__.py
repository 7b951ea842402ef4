"""Captions, found word by word: greedy, beams, diverse beams and samples, all in one graph.

    words = DecodingVocabulary(start=1, end=2, forbidden=(3,))  # 3: unknown; 0: padding
    config = DecodingConfig(beams=5)

    @tf.function
    def caption(image):
        return decode(decoder, decoder.see(image), config, words, longest=24)

    found = caption(images)
    found.tokens[:, 0]                                  # [b, 25] the best: w1 ... wn end 0 0 0

A decoder is anything with `begin` and `step` (see `rules.Stepwise`). Its state is carried from word
to word, and what it keeps of the photo stands once, however many beams look at it. Once traced
nothing of it is in Python: it works for any batch size and inside a SavedModel.
"""

from typing import Any

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding.beam import search
from imagetext.captioning.decoding.rules import (
    DecodedCaptions,
    DecodingVocabulary,
    Ensemble,
    Stepwise,
)
from imagetext.captioning.decoding.sampling import sample

__all__ = ["DecodedCaptions", "Ensemble", "Words", "decode", "sample", "search"]


def decode(
    decoder: Stepwise,
    memory: Any,
    config: DecodingConfig,
    words: DecodingVocabulary,
    longest: int,
    seed: Any = None,
) -> DecodedCaptions:
    """`config.beams` captions a photo, found by `config.method`, best first.

    `memory` is a nest of tensors [b, ...], what the decoder sees of b photos; `longest` the most
    words a caption has, end not counted; `seed` two integers, of samples only.
    """
    if config.method == "sample":
        return sample(decoder, memory, config, words, longest, (0, 0) if seed is None else seed)
    return search(decoder, memory, config, words, longest)
