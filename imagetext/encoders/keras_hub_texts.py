"""BERTs of keras-hub as text towers.

tower = load(Path("bert_base_en_uncased"))      # a folder saved by keras-hub
tower = untrained_bert()                        # random weights, but the real vocabulary
"""

from pathlib import Path

import keras
from keras import ops

from imagetext.encoders import weights
from imagetext.encoders.minilm import VOCABULARY_FILE
from imagetext.encoders.presets import WEIGHTS
from imagetext.encoders.text_presets import ASSETS, read_settings
from imagetext.encoders.text_tower import (
    CASED,
    TextTower,
    add_sentence_vector,
    require_matching_vocabulary,
)
from imagetext.encoders.wordpiece import WordPieceTokenizer
from imagetext.errors import UserError

BERT_BASE = {
    "vocabulary_size": 30522,
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "intermediate_dim": 3072,
    "max_sequence_length": 512,
}


def load(folder: Path, random: bool = False) -> TextTower:
    """Load the text tower of a preset.

    Args:
        folder: Folder of the preset.
        random: Whether to keep the weights random.
    """
    tokenizer = load_tokenizer(folder)
    pooling = _pooling(folder)
    # Imported here because it takes a second.
    from keras_hub.models import BertBackbone

    with weights.loading(
        folder / ("config.json" if random else WEIGHTS[0]), "this preset's network"
    ):
        backbone = BertBackbone.from_preset(str(folder), load_weights=not random, dropout=0.0)
    return TextTower(tower_model(backbone, pooling), tokenizer)


def load_tokenizer(folder: Path) -> WordPieceTokenizer:
    """Load the tokenizer of a preset."""
    path, config = folder / "config.json", read_settings(folder, "config.json")
    kind = config.get("class_name")
    if kind != "BertBackbone":
        raise UserError(
            f"{folder}: unsupported keras-hub preset: expected a BERT or CLIP, got {kind}"
        )
    vocabulary = _asset(folder, "vocabulary.txt")
    _require_lower_case(folder)
    try:
        sizes = config["config"]
        max_length, rows = int(sizes["max_sequence_length"]), int(sizes["vocabulary_size"])
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a valid BERT configuration: {error}") from error
    tokenizer = WordPieceTokenizer(vocabulary, max_length)
    require_matching_vocabulary(folder, len(tokenizer.vocabulary), rows)
    return tokenizer


def untrained_bert() -> TextTower:
    """BERT-base with random weights and its vocabulary."""
    return TextTower(untrained_network(), bert_base_tokenizer())


def bert_base_tokenizer() -> WordPieceTokenizer:
    """The tokenizer of BERT-base."""
    # MiniLM has the same vocabulary, which is easier to get.
    return WordPieceTokenizer(weights.fetch(VOCABULARY_FILE), BERT_BASE["max_sequence_length"])


def untrained_network() -> keras.Model:
    """BERT-base with random weights, without its tokenizer."""
    from keras_hub.models import BertBackbone

    return tower_model(BertBackbone(**BERT_BASE, dropout=0.0))


def tower_model(backbone: keras.Model, pooling: str = "mean") -> keras.Model:
    """The model of a text tower from a BertBackbone.

    The backbone's pooler is not used: it was trained for next-sentence prediction.
    """
    token_ids, mask = (
        keras.Input([None], dtype="int32", name=name) for name in ("token_ids", "mask")
    )
    states = keras.Model(backbone.input, backbone.output["sequence_output"], name="bert_backbone")(
        {"token_ids": token_ids, "segment_ids": ops.zeros_like(token_ids), "padding_mask": mask}
    )
    network = keras.Model({"token_ids": token_ids, "mask": mask}, states, name="bert")
    return add_sentence_vector(network, pooling)


def _asset(folder: Path, name: str) -> Path:
    path = folder / ASSETS / name
    if not path.is_file():
        raise UserError(
            f"{folder}: {ASSETS}/{name} is missing; save the tokenizer of the preset there: "
            f"keras_hub.models.Tokenizer.from_preset(...).save_to_preset({str(folder)!r})"
        )
    return path


def _require_lower_case(folder: Path) -> None:
    if not read_settings(folder, "tokenizer.json").get("config", {}).get("lowercase"):
        raise UserError(f"{folder / 'tokenizer.json'}: {CASED}")


def _pooling(folder: Path) -> str:
    """How sentence vectors are made, for `add_sentence_vector`."""
    mode = read_settings(folder, "task.json").get("config", {}).get("pooling_mode", "mean")
    if mode not in ("mean", "cls"):
        raise UserError(
            f"{folder / 'task.json'}: unsupported pooling_mode {mode!r}: expected 'mean' or 'cls'"
        )
    return "first" if mode == "cls" else "mean"
