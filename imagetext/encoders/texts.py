"""Text encoders by name, or from a local folder: strings in, a vector a sentence and one a token.

    tower = build("all-MiniLM-L6-v2")
    tower = build("clip_vit_b16", weights="clip_vit_base_patch16")  # a folder of keras-hub's
    tower = build("bert-base-uncased/")                             # of Hugging Face's: any BERT
    tower = build("ViT-B-32.pt")                                    # OpenAI's CLIP
    ids, mask = tower.tokenize(tf.constant(["A dog runs"]))
    tower.model({"token_ids": ids, "mask": mask})       # "sentence" [1, 384], "tokens" [1, 5, 384]

`registry` describes them without importing TensorFlow.
"""

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
    """The tower of an encoder, ready to tokenize, to be tuned or frozen, and to be exported.

        tower = build("all-MiniLM-L6-v2")

    `name` may also be a folder: a BERT that Hugging Face or keras-hub saved, or a CLIP in a format
    of `clip_files`, and then a file as well. `weights` are the pretrained ones, found or fetched;
    those of a folder, or of a CLIP's file; or "random".

    All sentences have length 1. CLIP's is the projection it was trained with; MiniLM's is the mean
    of its tokens, as trained; so is BERT's, whose own pooler knows only which sentence comes next.
    """
    if folder := local_encoder(name):
        if weights not in (None, RANDOM):
            raise UserError(f"{name}: a folder is named by itself, not with {weights} as weights")
        return _from_folder(folder, weights == RANDOM)
    encoder = text_encoder(name)
    given = None if weights in (None, RANDOM) else Path(weights).expanduser()
    if given and not (given.is_dir() or (encoder.is_clip and given.is_file())):
        raise UserError(f"{weights}: no such folder of weights for {name}")
    if not encoder.is_preset:
        return _minilm(weights)
    if encoder.is_clip:
        return _clip(encoder, weights)
    if weights == RANDOM:
        from imagetext.encoders import keras_hub_texts

        return keras_hub_texts.untrained_bert()
    folder = text_presets.fetch(encoder.weights, weights)
    tower = _from_folder(folder)
    if (tower.model.name, tower.width) != ("bert", encoder.width):
        raise UserError(
            f"{folder}: expected {encoder.name} of width {encoder.width}, got a {tower.model.name}"
            f" of width {tower.width}; to use it, give the folder as text.encoder"
        )
    return tower


def untrained_network(name: str) -> "keras.Model":
    """The model of an encoder's tower, with random weights: nothing has to be at hand for it."""
    encoder = text_encoder(name)
    if encoder.is_clip:
        from imagetext.encoders import clip

        return clip.reads(clip.SHAPES[encoder.name])
    if encoder.is_preset:
        from imagetext.encoders import keras_hub_texts

        return keras_hub_texts.untrained_network()
    from imagetext.encoders import minilm

    return minilm.build(token_states=True)


def build_tokenizer(name: str, weights: str | Path | None = None) -> "Tokenizer":
    """The tokenizer alone; of a name of MiniLM's or a CLIP's, weights are not read for it."""
    if is_minilm(name):
        from imagetext.encoders import minilm

        return minilm.load_tokenizer(None if weights == RANDOM else weights)
    encoder = None if local_encoder(name) else text_encoder(name)
    if encoder is None or not encoder.is_clip or weights == RANDOM:
        return build(name, weights).tokenizer
    from imagetext.encoders import clip_files
    from imagetext.encoders.clip_vocabulary import pieces_beside

    return pieces_beside(clip_files.place(encoder.weights, weights), encoder.tokens)


def is_minilm(name: str) -> bool:
    """Whether this names all-MiniLM-L6-v2, however it is spelled."""
    return normalize_name(name) == normalize_name(MINILM)


def local_encoder(name: str) -> Path | None:
    """The folder or file that is meant where this is no name of an encoder."""
    path = Path(name).expanduser()
    is_name = normalize_name(name) in map(normalize_name, TEXT_ENCODERS)
    return path if not is_name and path.exists() else None


def _clip(encoder: TextEncoder, weights: str | Path | None) -> "TextTower":
    from imagetext.encoders import clip_files, clip_towers

    if weights == RANDOM:
        return clip_towers.untrained_text_tower(encoder.name, encoder.weights)
    return clip_towers.text_tower(clip_files.place(encoder.weights, weights), encoder.name)


def _minilm(weights: str | Path | None) -> "TextTower":
    from imagetext.encoders import minilm
    from imagetext.encoders.text_tower import TextTower

    folder = None if weights == RANDOM else weights
    pieces = minilm.load_tokenizer(folder)
    if weights == RANDOM:
        return TextTower(minilm.build(token_states=True), pieces)
    return TextTower(minilm.load(folder, token_states=True), pieces)


def _from_folder(folder: Path, random: bool = False) -> "TextTower":
    config = text_presets.settings(folder, "config.json") if folder.is_dir() else {}
    if config.get("model_type") == "bert":
        from imagetext.encoders import huggingface_bert

        return huggingface_bert.read(folder, random)
    if "class_name" in config and config["class_name"] != "CLIPBackbone":
        from imagetext.encoders import keras_hub_texts

        return keras_hub_texts.from_preset(folder, random)
    from imagetext.encoders import clip_files

    if clip_files.is_clip(folder):
        from imagetext.encoders import clip_towers

        return clip_towers.text_tower(folder, random=random)
    if "model_type" in config:
        raise UserError(
            f"{folder}: a {config['model_type']}; of Hugging Face's, BERT and CLIP are read here"
        )
    raise UserError(
        f"{folder}: neither a BERT of Hugging Face's (config.json, model.safetensors, vocab.txt) "
        "nor a preset of keras-hub's (config.json, model.weights.h5, assets/tokenizer), nor a CLIP"
    )
