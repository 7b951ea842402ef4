"""The text tower of keras-hub that is a BERT.

tower = from_preset(Path("bert_base_en_uncased"))       # a folder that keras-hub saved
tower = untrained_bert()                                # random, but with its vocabulary
"""

from pathlib import Path

import keras
from keras import ops

from imagetext.encoders import weights
from imagetext.encoders.minilm import VOCABULARY_FILE
from imagetext.encoders.presets import WEIGHTS
from imagetext.encoders.text_presets import ASSETS, settings
from imagetext.encoders.text_tower import CASED, TextTower, add_sentence_vector, require_fit
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


def from_preset(folder: Path, random: bool = False) -> TextTower:
    """The text tower of a preset's folder, with its weights or with `random` ones."""
    kind = settings(folder, "config.json").get("class_name")
    if kind != "BertBackbone":
        raise UserError(f"{folder}: a {kind}; of keras-hub's, BERT and CLIP are read here")
    # Takes a second; nothing else in here needs it.
    from keras_hub.models import BertBackbone

    vocabulary = _asset(folder, "vocabulary.txt")
    _require_lower_case(folder)
    pooling = _pooling(folder)
    with weights.loading(
        folder / ("config.json" if random else WEIGHTS[0]), "this preset's network"
    ):
        backbone = BertBackbone.from_preset(str(folder), load_weights=not random, dropout=0.0)
    pieces = WordPieceTokenizer(vocabulary, backbone.max_sequence_length)
    require_fit(folder, len(pieces.vocabulary), backbone.vocabulary_size)
    return TextTower(bert(backbone, pooling), pieces)


def untrained_bert() -> TextTower:
    """BERT-base with random weights and its vocabulary."""
    # MiniLM took its vocabulary from BERT, and the same file is easier to come by.
    pieces = WordPieceTokenizer(weights.fetch(VOCABULARY_FILE), BERT_BASE["max_sequence_length"])
    return TextTower(untrained_network(), pieces)


def untrained_network() -> keras.Model:
    """The same without its vocabulary."""
    from keras_hub.models import BertBackbone

    return bert(BertBackbone(**BERT_BASE, dropout=0.0))


def bert(backbone: keras.Model, pooling: str = "mean") -> keras.Model:
    """A BertBackbone as a tower; its own pooler, trained to tell which sentence is next, is cut."""
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
            f"{folder}: {ASSETS}/{name} is missing; save the tokenizer of the preset there too: "
            f"keras_hub.models.Tokenizer.from_preset(...).save_to_preset({str(folder)!r})"
        )
    return path


def _require_lower_case(folder: Path) -> None:
    if not settings(folder, "tokenizer.json").get("config", {}).get("lowercase"):
        raise UserError(f"{folder / 'tokenizer.json'}: {CASED}")


def _pooling(folder: Path) -> str:
    """The first token where a sentence encoder was trained so, else the mean of all."""
    told = settings(folder, "task.json").get("config", {}).get("pooling_mode", "mean")
    if told not in ("mean", "cls"):
        raise UserError(f"{folder / 'task.json'}: pools by {told}; known are mean and cls")
    return "first" if told == "cls" else "mean"
