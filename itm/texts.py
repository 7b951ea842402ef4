"""Raw captions: their token ids, and the text encoder inside the model that reads them.

    text = TextConfig(input="tokens", encoder="clip_vit_b32")
    ids = open_tokenizer(text).to_ids(["A dog runs"])                  # int32 [1, 5]
    outputs, is_token = apply_text_encoder(ids[None], text, trainable=True)

Shorter captions are padded with zeros. A zero is not always padding: in CLIP's vocabulary it is
also the exclamation mark.
"""

import numpy as np
from keras import layers, ops

from imagetext.encoders import minilm, registry, texts
from imagetext.encoders.registry import RANDOM
from imagetext.encoders.text_tower import token_mask
from imagetext.encoders.tokenizer import Tokenizer
from imagetext.encoders.tuning import freeze_embeddings
from imagetext.itm.config import TextConfig
from imagetext.layers.folding import fold, unfold


def open_tokenizer(config: TextConfig) -> Tokenizer:
    """The tokenizer of the encoder that reads the captions."""
    return texts.build_tokenizer(config.encoder, config.weights)


def count_tokens(ids: np.ndarray) -> np.ndarray:
    """Number of tokens of each text, up to the last that is not 0: int [n, t] -> int [n]."""
    return (np.cumsum(ids[:, ::-1], axis=1) > 0).sum(axis=1)


def text_encoder_identity(config: TextConfig) -> list[str]:
    """The part of a run's signature that identifies the text encoder inside the model.

    Empty for MiniLM, so that runs from when it was the only encoder can still be resumed.
    """
    random = [RANDOM] if config.weights == RANDOM else []
    if config.input != "tokens" or (texts.is_minilm(config.encoder) and not random):
        return []
    folder = texts.local_encoder(config.encoder)
    return [folder.name if folder else registry.text_encoder(config.encoder).name, *random]


def apply_text_encoder(token_ids, config: TextConfig, trainable: bool) -> tuple:
    """Add a text encoder to a functional model.

    Args:
        token_ids: int32 [b, k, t].
        config: Which encoder to build.
        trainable: Whether it is trained with the model. Its embedding tables stay frozen.

    Returns:
        {"sentence": [b, k, n], "tokens": [b, k, t, n']} in float32, and which ids are tokens of the
        text, bool [b, k, t].
    """
    if texts.is_minilm(config.encoder):
        tower = _build_minilm(config)
        is_token = ops.not_equal(token_ids, 0)
    else:
        encoder = texts.build(config.encoder, config.weights)
        tower = encoder.model
        is_token = ops.cast(token_mask(token_ids, encoder.tokenizer.end), "bool")
    tower.trainable = trainable
    freeze_embeddings(tower)
    mask = ops.cast(is_token, "int32")
    if len(tower.input["token_ids"].shape) == 3:
        return tower({"token_ids": token_ids, "mask": mask}), is_token
    outputs = tower({"token_ids": _fold(token_ids), "mask": _fold(mask)})
    sentence = unfold(ops.expand_dims(outputs["sentence"], 1), token_ids[..., :1])
    tokens = unfold(outputs["tokens"], token_ids)
    return {"sentence": sentence[:, :, 0], "tokens": tokens}, is_token


def _build_minilm(config: TextConfig):
    """MiniLM, which takes several texts per photo without folding."""
    if config.weights == RANDOM:
        return minilm.build(token_states=True, several=True)
    return minilm.load(config.weights, token_states=True, several=True)


def _fold(token_ids):
    """[b, k, t] -> [b k, t]"""
    return fold(token_ids, layers.Reshape([-1]))
