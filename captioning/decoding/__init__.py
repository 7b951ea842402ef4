"""Word-by-word decoding of captions: greedy, beam, diverse beam search and sampling, in one graph.

    vocabulary = DecodingVocabulary(start=1, end=2, forbidden=(3,))     # 3: unknown; 0: padding
    config = DecodingConfig(beams=5)

    @tf.function
    def caption(image):
        memory = decoder.encode_image(image)
        return decode(decoder, memory, config, vocabulary, max_words=24)

    captions = caption(images)
    captions.tokens[:, 0]                               # [b, 25], the best: w1 ... wn end 0 0 0

A decoder is any object with `initial_state` and `step` (see `rules.StepDecoder`). Its state is
carried from word to word, and its memory of the photo is kept once, however many beams attend to
it. After tracing, nothing runs in Python: the graph accepts any batch size and can be exported in a
SavedModel.
"""

from typing import Any

from imagetext.captioning.config import DecodingConfig
from imagetext.captioning.decoding.beam import search
from imagetext.captioning.decoding.rules import (
    DecodedCaptions,
    DecodingVocabulary,
    Ensemble,
    StepDecoder,
)
from imagetext.captioning.decoding.sampling import sample

__all__ = ["DecodedCaptions", "DecodingVocabulary", "Ensemble", "decode", "sample", "search"]


def decode(
    decoder: StepDecoder,
    memory: Any,
    config: DecodingConfig,
    vocabulary: DecodingVocabulary,
    max_words: int,
    seed: Any = None,
) -> DecodedCaptions:
    """Find `config.beams` captions per photo by `config.method`, best first.

    Args:
        decoder: The model.
        memory: The encoded photos, a nest of tensors [b, ...].
        config: How to decode.
        vocabulary: The ids with a special meaning.
        max_words: Largest number of words of a caption, without the end.
        seed: Two integers, for samples only.
    """
    if config.method == "sample":
        seed = (0, 0) if seed is None else seed
        return sample(decoder, memory, config, vocabulary, max_words, seed)
    return search(decoder, memory, config, vocabulary, max_words)
