"""Folders of keras-hub presets that read text: network and tokenizer, looked for as `presets` are.

    folder = fetch("clip_vit_base_patch16")

It holds config.json, model.weights.h5, tokenizer.json and, in assets/tokenizer, the vocabulary;
it may also be a checkpoint of Hugging Face's.
"""

import json
from pathlib import Path

from imagetext.encoders.presets import WEIGHTS, Preset, download, places, weight_file
from imagetext.errors import UserError

TEXT_PRESETS = {
    "bert_base_en_uncased": Preset("keras/bert/keras/bert_base_en_uncased/3", 438, "Apache-2.0"),
    "clip_vit_base_patch16": Preset("keras/clip/keras/clip_vit_base_patch16/3", 598, "MIT"),
    "clip_vit_base_patch32": Preset("keras/clip/keras/clip_vit_base_patch32/3", 605, "MIT"),
    "clip_vit_large_patch14": Preset("keras/clip/keras/clip_vit_large_patch14/3", 1710, "MIT"),
}
ASSETS = "assets/tokenizer"
#: Beside these weights lies one of these vocabularies: keras-hub's, or Hugging Face's.
VOCABULARIES = {
    WEIGHTS[0]: (f"{ASSETS}/vocabulary.txt", f"{ASSETS}/vocabulary.json"),
    WEIGHTS[1]: ("vocab.txt", "vocab.json", "tokenizer.json"),
}


def locate(preset: str) -> Path | None:
    """The folder of a preset on this machine, if there is one; this takes no time."""
    return next(
        (folder for folder in places(preset, TEXT_PRESETS[preset]) if is_whole(folder)), None
    )


def fetch(preset: str, folder: str | Path | None = None) -> Path:
    """The folder of a preset; a `folder` that is given is it, or holds it."""
    if folder is None:
        return locate(preset) or _download(preset)
    own = Path(folder).expanduser()
    return own / preset if is_whole(own / preset) else own


def fetch_vocabulary(preset: str) -> Path:
    """A folder in which at least the vocabulary of a preset is, in `ASSETS`."""
    for folder in places(preset, TEXT_PRESETS[preset]):
        if any((folder / name).is_file() for name in VOCABULARIES[WEIGHTS[0]]):
            return folder
    return _download(preset, only_vocabulary=True)


def is_whole(folder: Path) -> bool:
    """Whether there are weights in a folder, and their vocabulary."""
    file = weight_file(folder)
    return bool(file) and any((folder / name).is_file() for name in VOCABULARIES[file.name])


def settings(folder: Path, name: str, default=None):
    """What a JSON file in a folder says; nothing where it is absent."""
    path = folder / name
    default = {} if default is None else default
    if not path.is_file():
        return default
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(told, type(default)):
        raise UserError(f"{path}: not the settings of a model; the file may be damaged")
    return told


def _download(preset: str, only_vocabulary: bool = False) -> Path:
    # The vocabulary last: a folder that has it is whole.
    names = [f"{ASSETS}/merges.txt", f"{ASSETS}/vocabulary.json"]
    names = names if _is_clip(preset) else [f"{ASSETS}/vocabulary.txt"]
    if not only_vocabulary:
        names = [WEIGHTS[0], "config.json", "tokenizer.json", *names]
    what = "vocabulary" if only_vocabulary else "weights"
    return download(preset, TEXT_PRESETS[preset], names, _what_to_do(preset), what).parents[2]


def _is_clip(preset: str) -> bool:
    return preset.startswith("clip")


def _what_to_do(preset: str) -> str:
    theirs = ", or a BERT of Hugging Face's (config.json, model.safetensors, vocab.txt)"
    if _is_clip(preset):
        theirs = ", or a CLIP from Hugging Face or OpenAI (with its vocabulary)"
    return (
        '  - on a machine with a network: `python -c "from keras_hub.models import *; '
        f"p='{preset}'; Backbone.from_preset(p).save_to_preset(p); "
        'Tokenizer.from_preset(p).save_to_preset(p)"`,\n'
        "    then set IMAGETEXT_WEIGHTS to the folder that contains the result,\n"
        f"  - or give a local folder: that one{theirs},\n"
        f"  - or allow the download (about {TEXT_PRESETS[preset].megabytes} MB): connect to the "
        "network and leave IMAGETEXT_OFFLINE unset"
    )
