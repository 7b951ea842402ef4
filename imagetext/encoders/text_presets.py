"""Find and download keras-hub presets of text encoders, with their tokenizers.

    folder = fetch("clip_vit_base_patch16")

The folder contains config.json, model.weights.h5, tokenizer.json and, in assets/tokenizer, the
vocabulary; or it is a Hugging Face checkpoint. It is searched for as in `presets`.
"""

import json
from pathlib import Path

from imagetext.encoders.presets import WEIGHTS, Preset, candidate_folders, download, weight_file
from imagetext.errors import UserError

TEXT_PRESETS = {
    "bert_base_en_uncased": Preset("keras/bert/keras/bert_base_en_uncased/3", 438, "Apache-2.0"),
    "clip_vit_base_patch16": Preset("keras/clip/keras/clip_vit_base_patch16/3", 598, "MIT"),
    "clip_vit_base_patch32": Preset("keras/clip/keras/clip_vit_base_patch32/3", 605, "MIT"),
    "clip_vit_large_patch14": Preset("keras/clip/keras/clip_vit_large_patch14/3", 1710, "MIT"),
}
ASSETS = "assets/tokenizer"
#: Weight file -> the files, one of which has to be there: keras-hub's and Hugging Face's.
VOCABULARIES = {
    WEIGHTS[0]: (f"{ASSETS}/vocabulary.txt", f"{ASSETS}/vocabulary.json"),
    WEIGHTS[1]: ("vocab.txt", "vocab.json", "tokenizer.json"),
}


def locate(preset: str) -> Path | None:
    """The folder of a preset on this machine, or None."""
    return next(
        (
            folder
            for folder in candidate_folders(preset, TEXT_PRESETS[preset])
            if is_complete(folder)
        ),
        None,
    )


def fetch(preset: str, folder: str | Path | None = None) -> Path:
    """Find the folder of a preset, or download it.

    Args:
        preset: A key of `TEXT_PRESETS`.
        folder: If set, the folder of the preset, or a folder that contains it.
    """
    if folder is None:
        return locate(preset) or _download(preset)
    local = Path(folder).expanduser()
    return local / preset if is_complete(local / preset) else local


def fetch_vocabulary(preset: str) -> Path:
    """Find or download a folder with at least the vocabulary of a preset, in `ASSETS`."""
    for folder in candidate_folders(preset, TEXT_PRESETS[preset]):
        if any((folder / name).is_file() for name in VOCABULARIES[WEIGHTS[0]]):
            return folder
    return _download(preset, only_vocabulary=True)


def is_complete(folder: Path) -> bool:
    """Whether a folder contains weights and their vocabulary."""
    file = weight_file(folder)
    return bool(file) and any((folder / name).is_file() for name in VOCABULARIES[file.name])


def read_settings(folder: Path, name: str, default=None):
    """Read a JSON file in a folder; `default` (an empty dictionary) if there is no such file."""
    path = folder / name
    default = {} if default is None else default
    if not path.is_file():
        return default
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(settings, type(default)):
        kind = "an object" if isinstance(default, dict) else "an array"
        raise UserError(f"{path}: expected {kind} with settings; the file may be damaged")
    return settings


def _download(preset: str, only_vocabulary: bool = False) -> Path:
    # The vocabulary last: a folder that contains it is complete.
    files = [f"{ASSETS}/merges.txt", f"{ASSETS}/vocabulary.json"]
    files = files if _is_clip(preset) else [f"{ASSETS}/vocabulary.txt"]
    if not only_vocabulary:
        files = [WEIGHTS[0], "config.json", "tokenizer.json", *files]
    what = "vocabulary" if only_vocabulary else "weights"
    remedies = _describe_remedies(preset)
    return download(preset, TEXT_PRESETS[preset], files, remedies, what).parents[2]


def _is_clip(preset: str) -> bool:
    return preset.startswith("clip")


def _describe_remedies(preset: str) -> str:
    alternative = "a BERT from Hugging Face (config.json, model.safetensors, vocab.txt)"
    if _is_clip(preset):
        alternative = "a CLIP from Hugging Face or OpenAI (with its vocabulary)"
    return (
        '  - on a machine with a network: `python -c "from keras_hub.models import *; '
        f"p='{preset}'; Backbone.from_preset(p).save_to_preset(p); "
        'Tokenizer.from_preset(p).save_to_preset(p)"`,\n'
        "    then set IMAGETEXT_WEIGHTS to the folder that contains the result,\n"
        f"  - or give a local folder: the result, or {alternative},\n"
        f"  - or allow the download (about {TEXT_PRESETS[preset].megabytes} MB): connect to the "
        "network and leave IMAGETEXT_OFFLINE unset"
    )
