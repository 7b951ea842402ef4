"""Raw captions: their word pieces, and the text encoder inside the model that reads them.

    text = TextConfig(input="tokens", encoder="clip_vit_b32")
    pieces_of(text).padded(["A dog runs"])              # int32 [1, 5]
    found, is_piece = through_encoder(token_ids, text, trained=True)

Captions come as a table of ids with zeros behind the last of each. Not every zero is padding: in
CLIP's vocabulary it is an exclamation mark as well.
"""

import numpy as np
from keras import layers, ops

from imagetext.encoders import minilm, registry, texts
from imagetext.encoders.pieces import Pieces
from imagetext.encoders.registry import RANDOM
from imagetext.encoders.text_tower import up_to_end
from imagetext.encoders.tuning import hold_words
from imagetext.itm.config import TextConfig
from imagetext.layers.folding import fold, unfold


def pieces_of(config: TextConfig) -> Pieces:
    """The tokenizer of the encoder that reads the captions."""
    return texts.pieces(config.encoder, config.weights)


def lengths(pieces: np.ndarray) -> np.ndarray:
    """Word pieces [n, t] -> how many each text has, those within it that are 0 as well: [n]."""
    return (np.cumsum(pieces[:, ::-1], axis=1) > 0).sum(axis=1)


def reader_identity(config: TextConfig) -> list[str]:
    """What sets an encoder inside the model from others with the same pieces. Nothing for MiniLM:
    it was once the only one, and runs of that time can still be resumed."""
    random = [RANDOM] if config.weights == RANDOM else []
    if config.input != "tokens" or (texts.is_minilm(config.encoder) and not random):
        return []
    folder = texts.local(config.encoder)
    return [folder.name if folder else registry.text_encoder(config.encoder).name, *random]


def through_encoder(token_ids, config: TextConfig, trained: bool) -> tuple:
    """Word pieces [b, k, t] -> {"sentence": [b, k, n], "tokens": [b, k, t, n']}, in float32, and
    which pieces belong to a text, bool [b, k, t]."""
    if texts.is_minilm(config.encoder):
        tower = _minilm(config)
        is_piece = ops.not_equal(token_ids, 0)
    else:
        encoder = texts.build(config.encoder, config.weights)
        tower = encoder.model
        is_piece = ops.cast(up_to_end(token_ids, encoder.pieces.end), "bool")
    tower.trainable = trained
    hold_words(tower)
    mask = ops.cast(is_piece, "int32")
    if len(tower.input["token_ids"].shape) == 3:
        return tower({"token_ids": token_ids, "mask": mask}), is_piece
    found = tower({"token_ids": _fold(token_ids), "mask": _fold(mask)})
    sentence = unfold(ops.expand_dims(found["sentence"], 1), token_ids[..., :1])
    tokens = unfold(found["tokens"], token_ids)
    return {"sentence": sentence[:, :, 0], "tokens": tokens}, is_piece


def _minilm(config: TextConfig):
    """It takes several texts a photo by itself."""
    if config.weights == RANDOM:
        return minilm.build(token_states=True, several=True)
    return minilm.load(config.weights, token_states=True, several=True)


def _fold(token_ids):
    """[b, k, t] -> [b k, t]"""
    return fold(token_ids, layers.Reshape([-1]))
