"""Find and download the folders of keras-hub presets.

    folder = fetch("resnet_18_imagenet")        # contains config.json and model.weights.h5

A preset is searched for in IMAGETEXT_WEIGHTS, the cache (IMAGETEXT_CACHE, or ~/.cache/imagetext)
and the cache of Kaggle, which hosts the presets. Only `fetch` then downloads it. A folder may also
contain a Hugging Face checkpoint (config.json and model.safetensors). There are no published hashes
of these files, so they are not verified, but must fit the network.
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
    """A keras-hub preset.

    Args:
        handle: Its name on Kaggle.
        megabytes: Size of the download.
        licence: Licence of the weights.
    """

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
#: Names of the weight file: keras-hub's and Hugging Face's.
WEIGHTS = ("model.weights.h5", "model.safetensors")


def locate(preset: str) -> Path | None:
    """The folder of a preset on this machine, or None."""
    folders = candidate_folders(preset, PRESETS[preset])
    return next((folder for folder in folders if weight_file(folder)), None)


def fetch(preset: str, folder: str | Path | None = None) -> Path:
    """Find the folder of a preset, or download it.

    Args:
        preset: A key of `PRESETS`.
        folder: If set, the folder of the preset, or a folder that contains it.
    """
    if folder is not None:
        local = Path(folder).expanduser()
        for candidate in (local, local / preset):
            if weight_file(candidate):
                return candidate
        raise UserError(
            f"{folder}: neither a keras-hub preset nor a Hugging Face checkpoint; expected "
            f"config.json and {' or '.join(WEIGHTS)}"
        )
    if path := locate(preset):
        return path
    # The small file last: a folder that contains it is complete.
    files = (WEIGHTS[0], "config.json")
    return download(preset, PRESETS[preset], files, _describe_remedies(preset)).parent


def weight_file(folder: Path) -> Path | None:
    """The weight file in a preset's folder; None if the folder is not a preset."""
    paths = (folder / name for name in WEIGHTS if (folder / "config.json").is_file())
    return next((path for path in paths if path.is_file()), None)


def candidate_folders(name: str, preset: Preset) -> Iterator[Path]:
    """Where the folder of a preset may be on this machine, by priority."""
    local = os.environ.get("IMAGETEXT_WEIGHTS")
    if local:
        yield Path(local).expanduser() / name
    yield cache_folder() / "weights" / name
    kaggle = Path(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub").expanduser()
    yield kaggle / "models" / preset.handle


def download(
    name: str, preset: Preset, files: Sequence[str], remedy: str, what: str = "weights"
) -> Path:
    """Download files of a preset.

    Args:
        name: Name of the preset.
        preset: The preset.
        files: Paths of the files in the preset, in the order in which they are downloaded.
        remedy: What the user can do if this fails.
        what: What is downloaded, for messages: "weights" or "vocabulary".

    Returns:
        Path of the last file.
    """
    if weights.offline():
        raise UserError(
            f"{what} not found, and IMAGETEXT_OFFLINE forbids the network: {name}\n{remedy}"
        )
    if what == "weights":
        show_progress(f"Downloading {name}, about {preset.megabytes} MB ...", sys.stderr)
    try:
        from kagglehub import model_download

        weights.require_answer("https://api.kaggle.com")
        for file in files:
            path = Path(model_download(preset.handle, file))
    except Exception as error:  # kagglehub raises many kinds
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{what} could not be downloaded: {name}\n  Kaggle: {message}\n{remedy}"
        ) from error
    return path


def _describe_remedies(preset: str) -> str:
    return (
        '  - on a machine with a network: `python -c "import keras_hub; keras_hub.models.Backbone.'
        f"from_preset('{preset}').save_to_preset('{preset}')\"`,\n"
        "    then set IMAGETEXT_WEIGHTS to the folder that contains the result,\n"
        "  - or give a local folder: the result, or a Hugging Face checkpoint (config.json and "
        "model.safetensors),\n"
        f"  - or allow the download (about {PRESETS[preset].megabytes} MB): connect to the "
        "network and leave IMAGETEXT_OFFLINE unset"
    )
