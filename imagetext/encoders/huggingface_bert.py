"""Load BERTs from local folders in Hugging Face's format.

    tower = load(Path("bert-base-uncased"))
    tower = load(Path("all-MiniLM-L12-v2"))     # a sentence encoder

The folder contains config.json, model.safetensors (or pytorch_model.bin, which is read without
running code), and vocab.txt (or tokenizer.json). keras-hub can load such folders, too, but uses an
approximate GELU, unlike in training.
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from imagetext.encoders import minilm
from imagetext.encoders.clip import require_divisible
from imagetext.encoders.minilm import BertShape
from imagetext.encoders.tensors import read_tensors
from imagetext.encoders.text_presets import read_settings
from imagetext.encoders.text_tower import (
    CASED,
    TextTower,
    add_sentence_vector,
    require_matching_vocabulary,
)
from imagetext.encoders.weights import loading
from imagetext.encoders.wordpiece import WordPieceTokenizer, read_vocabulary
from imagetext.errors import UserError

#: Supported values of settings, by file; the first one is the default.
SUPPORTED = {
    "config.json": {
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
    },
    "tokenizer_config.json": {"strip_accents": (None, True), "tokenize_chinese_chars": (True,)},
}
#: Supported steps of a sentence encoder; "Normalize" is always done.
STEPS = ("Transformer", "Pooling", "Normalize")
#: Supported poolings of a sentence encoder, in the new and the old notation.
POOLING = {"mean": "mean", "mean_tokens": "mean", "cls": "first", "cls_token": "first"}


def load(folder: Path, random: bool = False) -> TextTower:
    """Load the tower of a folder.

    Sentence vectors are the mean of the tokens, or the first token if the folder is that of a
    sentence encoder trained this way. BERT's pooler is not used: it was trained for next-sentence
    prediction and is bad at comparing sentences.

    Args:
        folder: The folder.
        random: Whether to keep the weights random.
    """
    shape, tokenizer = _read(folder)
    pooling = _pooling(folder)
    model = minilm.build(shape, token_states=True, name="bert")
    if not random:
        path = _weight_file(folder)
        with loading(path, "this BERT"):
            minilm.assign(model, encoder_tensors(read_tensors(path)), origin=str(path))
    if pooling != "mean":
        model = add_sentence_vector(
            keras.Model(model.input, model.output["tokens"], name="bert"), pooling
        )
    return TextTower(model, tokenizer)


def load_tokenizer(folder: Path) -> WordPieceTokenizer:
    """Load the tokenizer of a folder."""
    return _read(folder)[1]


def _read(folder: Path) -> tuple[BertShape, WordPieceTokenizer]:
    """Read and check everything but the weights and the pooling."""
    for name, supported in SUPPORTED.items():
        settings = read_settings(folder, name)
        for key, values in supported.items():
            if settings.get(key, values[0]) not in values:
                raise UserError(
                    f"{folder / name}: unsupported {key}: expected {values[-1]!r}, got"
                    f" {settings[key]!r}"
                )
    shape = _shape(folder)
    tokenizer = _tokenizer(folder, shape.positions)
    require_matching_vocabulary(folder, len(tokenizer.vocabulary), shape.vocabulary)
    return shape, tokenizer


def encoder_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of the encoder without its heads, with old names replaced."""
    with_heads = any(name.startswith("bert.") for name in tensors)
    return {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        ): tensor
        for name, tensor in tensors.items()
        if name.startswith("bert.") or not with_heads
    }


def _shape(folder: Path) -> BertShape:
    path, config = folder / "config.json", read_settings(folder, "config.json")
    try:
        shape = BertShape(
            vocabulary=int(config["vocab_size"]),
            width=int(config["hidden_size"]),
            depth=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            feed_forward=int(config["intermediate_size"]),
            positions=int(config["max_position_embeddings"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
        )
    except KeyError as error:
        raise UserError(f"{path}: not a valid BERT configuration: {error} is missing") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a valid BERT configuration: {error}") from error
    require_divisible(path, shape.width, shape.heads)
    return shape


def _weight_file(folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder}: model.safetensors is missing; on a machine with a network, `hf download NAME "
        '--local-dir FOLDER` downloads a complete model; or use "random" weights'
    )


def _tokenizer(folder: Path, positions: int) -> WordPieceTokenizer:
    """The tokenizer of an uncased BERT; cased ones are refused."""
    if not read_settings(folder, "tokenizer_config.json").get("do_lower_case", True):
        raise UserError(f"{folder / 'tokenizer_config.json'}: {CASED}")
    # Sentence encoders may have been trained on shorter texts than they have positions for.
    settings = read_settings(folder, "sentence_bert_config.json")
    max_length = settings.get("max_seq_length") or positions
    path = folder / "vocab.txt"
    if path.is_file():
        tokens = read_vocabulary(path)
    else:
        path = folder / "tokenizer.json"
        tokens = _read_tokens(path)
    if any(token != token.lower() for token in tokens if not token.startswith("[")):
        raise UserError(f"{path}: {CASED}")
    return WordPieceTokenizer(tokens, min(max_length, positions))


def _read_tokens(path: Path) -> list[str]:
    """The tokens in a tokenizer.json, in the order of their ids."""
    if not path.is_file():
        raise UserError(f"{path.parent}: contains neither vocab.txt nor tokenizer.json")
    model = read_settings(path.parent, path.name).get("model", {})
    try:
        ids = {number: token for token, number in model["vocab"].items()}
        return [ids[number] for number in range(len(ids))]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: contains no vocabulary of word pieces") from error


def _pooling(folder: Path) -> str:
    """How sentence vectors are made, for `add_sentence_vector`."""
    for step in read_settings(folder, "modules.json", []):
        if step["type"].split(".")[-1] not in STEPS:
            raise UserError(
                f"{folder / 'modules.json'}: unsupported step {step['type']}: expected"
                f" {', '.join(STEPS)}"
            )
    config = read_settings(folder, "1_Pooling/config.json")
    if not config:
        return "mean"
    prefix = "pooling_mode_"
    modes = [
        key.removeprefix(prefix) for key, on in config.items() if key.startswith(prefix) and on
    ]
    modes = modes or [config.get("pooling_mode")]
    if len(modes) > 1 or modes[0] not in POOLING:
        raise UserError(
            f"{folder / '1_Pooling/config.json'}: unsupported pooling"
            f" {' and '.join(map(str, modes))}: expected the mean or the first token"
        )
    return POOLING[modes[0]]
