"""A BERT from a local folder of Hugging Face's: its shape and vocabulary as the folder tells.

    tower = read(Path("bert-base-uncased"))
    tower = read(Path("all-MiniLM-L12-v2"))     # a sentence encoder

The folder holds config.json, model.safetensors (or pytorch_model.bin, nothing in which is run),
and vocab.txt (or tokenizer.json). keras-hub reads such folders too, but with a rougher GELU than
these networks were trained with.
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from imagetext.encoders import minilm
from imagetext.encoders.minilm import BertShape
from imagetext.encoders.text_presets import settings
from imagetext.encoders.text_tower import CASED, TextTower, add_sentence_vector, require_fit
from imagetext.encoders.torch_file import read_torch_file
from imagetext.encoders.weights import loading
from imagetext.encoders.wordpiece import WordPieceTokenizer, read_vocabulary
from imagetext.errors import UserError

#: File -> setting -> the values that mean what is computed here; what is not set means it.
COMPUTED = {
    "config.json": {
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
    },
    "tokenizer_config.json": {"strip_accents": (None, True), "tokenize_chinese_chars": (True,)},
}
#: The steps of a sentence encoder that are known here: the last is done in any case.
STEPS = ("Transformer", "Pooling", "Normalize")
#: How a sentence encoder may pool, by its two ways of saying so.
POOLING = {"mean": "mean", "mean_tokens": "mean", "cls": "first", "cls_token": "first"}


def read(folder: Path, random: bool = False) -> TextTower:
    """The tower of a folder, with its weights or with `random` ones.

    The vector of a sentence is the mean of its tokens' states, unless the folder is that of a
    sentence encoder and says that the first token's is: BERT's own pooler was trained to tell
    which sentence comes next, and compares sentences badly.
    """
    for name, computed in COMPUTED.items():
        told = settings(folder, name)
        for key, values in computed.items():
            if told.get(key, values[0]) not in values:
                raise UserError(
                    f"{folder / name}: {key} is {told[key]!r}; only {values[-1]!r} is read here"
                )
    shape, pooling = _shape(folder), _pooling(folder)
    pieces = _pieces(folder, shape.positions)
    require_fit(folder, len(pieces.vocabulary), shape.vocabulary)
    model = minilm.build(shape, token_states=True, name="bert")
    if not random:
        path = _weights(folder)
        with loading(path, "this BERT"):
            minilm.assign(model, encoder_tensors(_tensors(path)), origin=str(path))
    if pooling != "mean":
        model = add_sentence_vector(
            keras.Model(model.input, model.output["tokens"], name="bert"), pooling
        )
    return TextTower(model, pieces)


def encoder_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the encoder without the heads on it, under the names of today."""
    with_heads = any(name.startswith("bert.") for name in tensors)
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        ): tensor
        for name, tensor in tensors.items()
        if name.startswith("bert.") or not with_heads
    }


def _shape(folder: Path) -> BertShape:
    path, told = folder / "config.json", settings(folder, "config.json")
    try:
        shape = BertShape(
            vocabulary=int(told["vocab_size"]),
            width=int(told["hidden_size"]),
            depth=int(told["num_hidden_layers"]),
            heads=int(told["num_attention_heads"]),
            feed_forward=int(told["intermediate_size"]),
            positions=int(told["max_position_embeddings"]),
            epsilon=float(told.get("layer_norm_eps", 1e-12)),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not the shape of a BERT: {error} is amiss") from error
    if shape.heads < 1 or shape.width % shape.heads:
        raise UserError(f"{path}: {shape.heads} heads do not share a width of {shape.width}")
    return shape


def _weights(folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder}: model.safetensors is missing; on a machine with a network, `hf download NAME "
        '--local-dir FOLDER` downloads a complete model; or use "random" weights'
    )


def _tensors(path: Path) -> Mapping[str, np.ndarray]:
    if path.suffix == ".bin":
        return read_torch_file(path)
    from safetensors.numpy import load_file

    return load_file(path)


def _pieces(folder: Path, positions: int) -> WordPieceTokenizer:
    """The tokenizer of an uncased BERT; what does not lower-case is refused."""
    if not settings(folder, "tokenizer_config.json").get("do_lower_case", True):
        raise UserError(f"{folder / 'tokenizer_config.json'}: {CASED}")
    # A sentence encoder may have been trained on less than it has positions for.
    longest = settings(folder, "sentence_bert_config.json").get("max_seq_length") or positions
    path = folder / "vocab.txt"
    if path.is_file():
        tokens = read_vocabulary(path)
    else:
        path = folder / "tokenizer.json"
        tokens = _tokens(path)
    if any(token != token.lower() for token in tokens if not token.startswith("[")):
        raise UserError(f"{path}: {CASED}")
    return WordPieceTokenizer(tokens, min(longest, positions))


def _tokens(path: Path) -> list[str]:
    """The tokens of a tokenizer.json, each at the place that is its id."""
    if not path.is_file():
        raise UserError(f"{path.parent}: neither vocab.txt nor tokenizer.json in it")
    model = settings(path.parent, path.name).get("model", {})
    try:
        ids = {number: token for token, number in model["vocab"].items()}
        return [ids[number] for number in range(len(ids))]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no vocabulary of word pieces in it") from error


def _pooling(folder: Path) -> str:
    steps = settings(folder, "modules.json", [])
    unknown = [step["type"] for step in steps if step["type"].split(".")[-1] not in STEPS]
    if unknown:
        raise UserError(f"{folder / 'modules.json'}: {unknown[0]} is a step not known here")
    told = settings(folder, "1_Pooling/config.json")
    if not told:
        return "mean"
    start = "pooling_mode_"
    modes = [key.removeprefix(start) for key, on in told.items() if key.startswith(start) and on]
    modes = modes or [told.get("pooling_mode")]
    if len(modes) > 1 or modes[0] not in POOLING:
        raise UserError(
            f"{folder / '1_Pooling/config.json'}: pools by {' and '.join(map(str, modes))}; known "
            "here are the mean and the first token"
        )
    return POOLING[modes[0]]
