"""Folders of keras-hub presets: looked for nearby, downloaded if allowed.

    folder = fetch("resnet_18_imagenet")        # holds config.json and model.weights.h5

In this order: IMAGETEXT_WEIGHTS, the cache (IMAGETEXT_CACHE, else ~/.cache/imagetext), the cache
of Kaggle, from where keras-hub downloads; then, in `fetch` only, a download. A folder may also be
a checkpoint of Hugging Face's (config.json and model.safetensors). Nobody publishes hashes of
these files, so that only what does not fit the network is refused.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagetext.encoders import weights
from imagetext.errors import UserError
from imagetext.files import cache_folder
from imagetext.terminal import show_progress


@dataclass(frozen=True, slots=True)
class Preset:
    """Where Kaggle keeps a preset (as keras-hub knows), and how much there is to download."""

    handle: str
    megabytes: int
    licence: str


PRESETS = {
    "resnet_18_imagenet": Preset(
        "keras/resnetv1/keras/resnet_18_imagenet/3", 45, licence="Apache-2.0"
    ),
    "vit_base_patch16_224_imagenet": Preset(
        "keras/vit/keras/vit_base_patch16_224_imagenet/4", 343, licence="Apache-2.0"
    ),
}
#: The weights in a folder: keras-hub's, or Hugging Face's.
WEIGHTS = ("model.weights.h5", "model.safetensors")


def locate(preset: str) -> Path | None:
    """The folder of a preset on this machine, if there is one; this takes no time."""
    found = places(preset, PRESETS[preset])
    return next((folder for folder in found if weight_file(folder)), None)


def fetch(preset: str, folder: str | Path | None = None) -> Path:
    """The folder of a preset; a `folder` that is given is it, or holds it."""
    if folder is not None:
        for place in (own := Path(folder).expanduser(), own / preset):
            if weight_file(place):
                return place
        raise UserError(
            f"{folder}: neither a keras-hub preset nor a Hugging Face checkpoint; expected "
            f"config.json and {' or '.join(WEIGHTS)}"
        )
    # The small file last: a folder that has it is whole.
    files = (WEIGHTS[0], "config.json")
    known = PRESETS[preset]
    return locate(preset) or download(preset, known, files, _what_to_do(preset)).parent


def weight_file(folder: Path) -> Path | None:
    """The file of weights in a preset's folder; none where the folder is no preset."""
    found = (folder / name for name in WEIGHTS if (folder / "config.json").is_file())
    return next((path for path in found if path.is_file()), None)


def places(preset: str, known: Preset) -> Iterator[Path]:
    """Where the folder of a preset may lie on this machine, best place first."""
    own = os.environ.get("IMAGETEXT_WEIGHTS")
    if own:
        yield Path(own).expanduser() / preset
    yield cache_folder() / "weights" / preset
    kaggle = Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser()
    yield kaggle / "models" / known.handle


def download(
    preset: str, known: Preset, names: Sequence[str], remedy: str, what: str = "weights"
) -> Path:
    """Download these files of a preset, in this order; returns where the last of them lies."""
    if weights.offline():
        raise UserError(
            f"{what} not at hand, and IMAGETEXT_OFFLINE forbids the network: {preset}\n{remedy}"
        )
    if what == "weights":
        show_progress(f"Downloading {preset}, about {known.megabytes} MB ...", sys.stderr)
    try:
        from kagglehub import model_download

        weights.require_answer("https://api.kaggle.com")
        for name in names:
            path = Path(model_download(known.handle, name))
    except Exception as error:  # kagglehub raises many kinds; all mean "not from here"
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{what} could not be downloaded: {preset}\n  Kaggle: {told}\n{remedy}"
        ) from error
    return path


def _what_to_do(preset: str) -> str:
    return (
        '  - on a machine with a network: `python -c "import keras_hub; keras_hub.models.Backbone.'
        f"from_preset('{preset}').save_to_preset('{preset}')\"`,\n"
        "    then set IMAGETEXT_WEIGHTS to the folder that contains the result,\n"
        "  - or give a local folder: that one, or a Hugging Face checkpoint (config.json and "
        "model.safetensors),\n"
        f"  - or allow the download (about {PRESETS[preset].megabytes} MB): connect to the "
        "network and leave IMAGETEXT_OFFLINE unset"
    )
