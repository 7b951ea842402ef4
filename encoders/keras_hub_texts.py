"""Text towers of keras-hub: BERT, and the half of CLIP that reads.

tower = from_preset(Path("clip_vit_base_patch16"))              # a folder that keras-hub saved
tower = untrained("bert_base", "bert_base_en_uncased")          # random, but with its vocabulary
"""

from pathlib import Path

import keras
from keras import layers, ops

from encoders import weights
from encoders.byte_pairs import BytePairs
from encoders.minilm import VOCABULARY_FILE
from encoders.presets import WEIGHTS
from encoders.text_presets import ASSETS, fetch_vocabulary, settings
from encoders.text_tower import CASED, TextTower, require_fit, with_sentence
from encoders.wordpiece import WordPiece
from pipelines.errors import UserError

BERT_BASE = {
    "vocabulary_size": 30522,
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "intermediate_dim": 3072,
    "max_sequence_length": 512,
}


def _clip(width: int, heads: int) -> dict[str, int]:
    return {
        "vocabulary_size": 49408,
        "embedding_dim": width,
        "hidden_dim": width,
        "num_layers": 12,
        "num_heads": heads,
        "intermediate_dim": 4 * width,
        "max_sequence_length": 77,
    }


#: The projection of each is as wide as its states.
CLIP = {
    "clip_vit_b16": _clip(512, heads=8),
    "clip_vit_b32": _clip(512, heads=8),
    "clip_vit_l14": _clip(768, heads=12),
}


def from_preset(folder: Path, random: bool = False) -> TextTower:
    """The text tower of a preset's folder, with its weights or with `random` ones."""
    # Takes a second; nothing else in here needs it.
    from keras_hub.models import BertBackbone, CLIPBackbone

    kind = settings(folder, "config.json").get("class_name")
    if kind == "BertBackbone":
        vocabulary = _asset(folder, "vocabulary.txt")
        _require_lower_case(folder)
        pooling = _pooling(folder)
        backbone = _loaded(BertBackbone, folder, random, dropout=0.0)
        pieces = WordPiece(vocabulary, backbone.max_sequence_length)
        require_fit(folder, len(pieces.vocabulary), backbone.vocabulary_size)
        return TextTower(bert(backbone, pooling), pieces)
    if kind == "CLIPBackbone":
        files = _asset(folder, "vocabulary.json"), _asset(folder, "merges.txt")
        backbone = _loaded(CLIPBackbone, folder, random)
        model = clip(backbone.text_encoder.get_config(), backbone.projection_dim)
        model.set_weights(
            backbone.text_encoder.get_weights() + backbone.text_projection.get_weights()
        )
        pieces = BytePairs(*files, backbone.text_encoder.max_sequence_length)
        require_fit(folder, pieces.size, backbone.text_encoder.vocabulary_size)
        return TextTower(model, pieces)
    raise UserError(f"{folder}: a {kind}; of keras-hub's, BERT and CLIP are read here")


def untrained(network: str, preset: str) -> TextTower:
    """The tower of a name of this module, with random weights and the vocabulary of its preset."""
    from keras_hub.models import BertBackbone

    if network == "bert_base":
        # MiniLM took its vocabulary from BERT, and the same file is easier to come by.
        pieces = WordPiece(weights.fetch(VOCABULARY_FILE), BERT_BASE["max_sequence_length"])
        return TextTower(bert(BertBackbone(**BERT_BASE, dropout=0.0)), pieces)
    shape, folder = CLIP[network], fetch_vocabulary(preset)
    files = _asset(folder, "vocabulary.json"), _asset(folder, "merges.txt")
    pieces = BytePairs(*files, shape["max_sequence_length"])
    return TextTower(clip(shape, shape["hidden_dim"]), pieces)


def bert(backbone: keras.Model, pooling: str = "mean") -> keras.Model:
    """A BertBackbone as a tower; its own pooler, trained to tell which sentence is next, is cut."""
    token_ids, mask = _inputs()
    states = keras.Model(backbone.input, backbone.output["sequence_output"], name="bert_backbone")(
        {"token_ids": token_ids, "segment_ids": ops.zeros_like(token_ids), "padding_mask": mask}
    )
    network = keras.Model({"token_ids": token_ids, "mask": mask}, states, name="bert")
    return with_sentence(network, pooling)


def clip(shape: dict, width: int) -> keras.Model:
    """CLIP's text encoder as a tower: the last token has seen all others, none those behind it.

    Made anew, since those of a preset keep the precision that they were saved in.
    """
    from keras_hub.models import CLIPTextEncoder

    reader = CLIPTextEncoder.from_config(shape | {"dtype": None, "name": "clip_reader"})
    token_ids, mask = _inputs()
    network = keras.Model(
        {"token_ids": token_ids, "mask": mask}, reader({"token_ids": token_ids}), name="clip"
    )
    return with_sentence(network, "last", layers.Dense(width, use_bias=False, name="projection"))


def _inputs():
    return (keras.Input([None], dtype="int32", name=name) for name in ("token_ids", "mask"))


def _loaded(made, folder: Path, random: bool, **settings):
    with weights.loading(
        folder / ("config.json" if random else WEIGHTS[0]), "this preset's network"
    ):
        return made.from_preset(str(folder), load_weights=not random, **settings)


def _asset(folder: Path, name: str) -> Path:
    path = folder / ASSETS / name
    if not path.is_file():
        raise UserError(
            f"{folder}: no {ASSETS}/{name} in it -- save the preset's tokenizer there too: "
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
