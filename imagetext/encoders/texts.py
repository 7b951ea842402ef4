"""Build text encoders by name or from a local folder.

    tower = build("all-MiniLM-L6-v2")
    tower = build("clip_vit_b16", weights="clip_vit_base_patch16")  # a folder from keras-hub
    tower = build("bert-base-uncased/")                             # any BERT from Hugging Face
    tower = build("ViT-B-32.pt")                                    # OpenAI's CLIP
    ids, mask = tower.tokenize(tf.constant(["A dog runs"]))
    tower.model({"token_ids": ids, "mask": mask})       # "sentence" [1, 384], "tokens" [1, 5, 384]

`registry` describes them without importing TensorFlow.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imagetext.encoders import text_presets
from imagetext.encoders.names import normalize_name
from imagetext.encoders.registry import RANDOM, TEXT_ENCODERS, TextEncoder, text_encoder
from imagetext.errors import UserError
from imagetext.pipelines.embeddings import MINILM

if TYPE_CHECKING:
    import keras

    from imagetext.encoders.text_tower import TextTower
    from imagetext.encoders.tokenizer import Tokenizer


def build(name: str, weights: str | Path | None = None) -> "TextTower":
    """Build a text tower.

    Sentence vectors have length 1: the projection of a CLIP, and the mean of the tokens of MiniLM
    (as in training) and BERT (whose pooler was trained for next-sentence prediction).

    Args:
        name: A name in `registry.TEXT_ENCODERS`; the folder of a BERT, saved by Hugging Face or
            keras-hub; or the file or folder of a CLIP.
        weights: None for the pretrained weights, downloaded if necessary; a folder that contains
            them, or the file of a CLIP; or "random".

    Example:
        tower = build("all-MiniLM-L6-v2")
    """
    if path := local_encoder(name):
        _require_no_weights(name, weights)
        load, _ = _loaders(path)
        return load(path, random=weights == RANDOM)
    encoder = text_encoder(name)
    _require_source(encoder, weights)
    if not encoder.is_preset:
        return _minilm(weights)
    if encoder.is_clip:
        return _clip(encoder, weights)
    if weights == RANDOM:
        from imagetext.encoders import keras_hub_texts

        return keras_hub_texts.untrained_bert()
    folder = text_presets.fetch(encoder.weights, weights)
    load, _ = _loaders(folder)
    tower = load(folder)
    if (tower.model.name, tower.width) != ("bert", encoder.width):
        raise UserError(
            f"{folder}: expected {encoder.name} of width {encoder.width}, got a {tower.model.name}"
            f" of width {tower.width}; to use it, give the folder as text.encoder"
        )
    return tower


def untrained_network(name: str) -> "keras.Model":
    """The model of a text tower with random weights; needs no files."""
    encoder = text_encoder(name)
    if encoder.is_clip:
        from imagetext.encoders import clip

        return clip.text_network(clip.SHAPES[encoder.name])
    if encoder.is_preset:
        from imagetext.encoders import keras_hub_texts

        return keras_hub_texts.untrained_network()
    from imagetext.encoders import minilm

    return minilm.build(token_states=True)


def build_tokenizer(name: str, weights: str | Path | None = None) -> "Tokenizer":
    """Load the tokenizer of a text tower, without building the tower."""
    if path := local_encoder(name):
        _require_no_weights(name, weights)
        _, load_tokenizer = _loaders(path)
        return load_tokenizer(path)
    encoder = text_encoder(name)
    _require_source(encoder, weights)
    if not encoder.is_preset:
        from imagetext.encoders import minilm

        return minilm.load_tokenizer(None if weights == RANDOM else weights)
    if encoder.is_clip:
        from imagetext.encoders import clip_files, clip_towers, clip_vocabulary

        if weights == RANDOM:
            return clip_towers.preset_tokenizer(encoder.name, encoder.weights)
        source = clip_files.resolve_source(encoder.weights, weights)
        return clip_vocabulary.load_tokenizer(source, encoder.tokens)
    if weights == RANDOM:
        from imagetext.encoders import keras_hub_texts

        return keras_hub_texts.bert_base_tokenizer()
    folder = text_presets.fetch(encoder.weights, weights)
    _, load_tokenizer = _loaders(folder)
    return load_tokenizer(folder)


def is_minilm(name: str) -> bool:
    """Whether this is a spelling of all-MiniLM-L6-v2."""
    return normalize_name(name) == normalize_name(MINILM)


def local_encoder(name: str) -> Path | None:
    """The local folder or file that this is the path of; None if it is the name of an encoder."""
    path = Path(name).expanduser()
    is_name = normalize_name(name) in map(normalize_name, TEXT_ENCODERS)
    return path if not is_name and path.exists() else None


def _require_no_weights(name: str, weights: str | Path | None) -> None:
    if weights not in (None, RANDOM):
        raise UserError(
            f"{name}: a local encoder contains its weights: expected no weights or"
            f" 'random', got {weights}"
        )


def _require_source(encoder: TextEncoder, weights: str | Path | None) -> None:
    if weights in (None, RANDOM):
        return
    path = Path(weights).expanduser()
    if not (path.is_dir() or (encoder.is_clip and path.is_file())):
        raise UserError(f"{weights}: no such folder of weights for {encoder.name}")


def _clip(encoder: TextEncoder, weights: str | Path | None) -> "TextTower":
    from imagetext.encoders import clip_files, clip_towers

    if weights == RANDOM:
        return clip_towers.untrained_text_tower(encoder.name, encoder.weights)
    source = clip_files.resolve_source(encoder.weights, weights)
    return clip_towers.load_text_tower(source, encoder.name)


def _minilm(weights: str | Path | None) -> "TextTower":
    from imagetext.encoders import minilm
    from imagetext.encoders.text_tower import TextTower

    folder = None if weights == RANDOM else weights
    tokenizer = minilm.load_tokenizer(folder)
    if weights == RANDOM:
        return TextTower(minilm.build(token_states=True), tokenizer)
    return TextTower(minilm.load(folder, token_states=True), tokenizer)


def _loaders(path: Path) -> tuple[Callable[..., "TextTower"], Callable[[Path], "Tokenizer"]]:
    """The functions that load the tower and the tokenizer from a folder or file."""
    config = text_presets.read_settings(path, "config.json") if path.is_dir() else {}
    if config.get("model_type") == "bert":
        from imagetext.encoders import huggingface_bert

        return huggingface_bert.load, huggingface_bert.load_tokenizer
    if "class_name" in config and config["class_name"] != "CLIPBackbone":
        from imagetext.encoders import keras_hub_texts

        return keras_hub_texts.load, keras_hub_texts.load_tokenizer
    from imagetext.encoders import clip_files

    if clip_files.is_clip(path):
        from imagetext.encoders import clip_towers

        return clip_towers.load_text_tower, clip_towers.load_tokenizer
    if "model_type" in config:
        raise UserError(
            f"{path}: unsupported Hugging Face model: expected a BERT or CLIP, got"
            f" {config['model_type']}"
        )
    raise UserError(
        f"{path}: expected a BERT from Hugging Face (config.json, model.safetensors, vocab.txt), a "
        "keras-hub preset (config.json, model.weights.h5, assets/tokenizer), or a CLIP"
    )
