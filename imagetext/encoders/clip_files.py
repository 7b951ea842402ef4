"""CLIPs on disk: Hugging Face's, OpenAI's and open_clip's, and the presets of keras-hub.

    clip = read(Path("clip-vit-base-patch32"))      # .shape, .tensors, .scale
    read(Path("ViT-B-32.pt")).shape.patch           # 32

A folder of Hugging Face's holds config.json, model.safetensors (or pytorch_model.bin), vocab.json
and merges.txt (or tokenizer.json); for the others see `clip_original` and `clip_keras_hub`.
Nothing in these files is run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.encoders import clip_keras_hub, clip_original, text_presets
from imagetext.encoders.clip import DEVIATION, MEAN, Blocks, ClipShape, checked
from imagetext.encoders.presets import WEIGHTS
from imagetext.encoders.text_presets import settings
from imagetext.encoders.torch_file import read_torch_file
from imagetext.encoders.weights import loading
from imagetext.errors import UserError

HUGGING_FACE = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
#: What their configurations mean where they say nothing.
PHOTOS_UNTOLD = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    **{"patch_size": 32, "image_size": 224, "num_channels": 3},
}
TEXTS_UNTOLD = {
    **{"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8},
    **{"intermediate_size": 2048, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    **{"vocab_size": 49408, "max_position_embeddings": 77},
}
EXPECTED = (
    "expected a CLIP: of Hugging Face's (config.json, model.safetensors, vocab.json, merges.txt), "
    "of OpenAI's or open_clip's (ViT-B-32.pt or the like), or a preset of keras-hub's"
)


@dataclass(frozen=True)
class Clip:
    """What a file holds: `tensors` by Hugging Face's names, as PyTorch keeps them; `scale` is that
    by which it learned to multiply its cosines. Without weights there are neither."""

    origin: Path
    shape: ClipShape
    tensors: Mapping[str, np.ndarray]

    @property
    def scale(self) -> float:
        if "logit_scale" not in self.tensors:
            raise UserError(f"{self.origin}: not a whole CLIP: missing logit_scale")
        return math.exp(float(np.asarray(self.tensors["logit_scale"]).reshape(-1)[0]))


def place(preset: str, given: str | Path | None) -> Path:
    """Where the weights lie: the file or folder that is given, or the folder of a preset, found or
    fetched."""
    if given is None:
        return text_presets.fetch(preset)
    path = Path(given).expanduser()
    if not path.exists():
        raise UserError(f"{given}: no such file or folder of weights for {preset}")
    return path / preset if not is_clip(path) and is_clip(path / preset) else path


def is_clip(path: Path) -> bool:
    """Whether this may be a CLIP, by what it is called and what it says of itself."""
    if path.is_file():
        return True
    told = settings(path, "config.json")
    if "model_type" in told or "class_name" in told:
        return str(told.get("model_type", told.get("class_name"))).lower().startswith("clip")
    return any((path / name).is_file() for name in OPEN_CLIP) or any(path.glob("*.pt"))


def weight_file(path: Path) -> Path:
    """The file that holds the weights of a folder."""
    if path.is_file():
        return path
    kerass = "class_name" in settings(path, "config.json")
    found = [path / name for name in ((WEIGHTS[0],) if kerass else (*HUGGING_FACE, *OPEN_CLIP))]
    found = [file for file in found if file.is_file()] or sorted(path.glob("*.pt"))
    if len(found) > 1 and found[0].suffix == ".pt":
        raise UserError(f"{path}: contains {len(found)} .pt files; give the one to read")
    if not found:
        raise UserError(f"{path}: no weights here; {EXPECTED}")
    return found[0]


def read(path: Path, weights: bool = True) -> Clip:
    """The CLIP in a file or folder; without `weights` its shape alone, wherever that is cheaper."""
    if path.is_dir() and not is_clip(path):
        raise UserError(f"{path}: no CLIP here; {EXPECTED}")
    told = settings(path, "config.json") if path.is_dir() else {}
    if "class_name" in told:
        return Clip(path, *clip_keras_hub.read(path, weights))
    if not weights and "model_type" in told:
        return Clip(path, _told_by_hugging_face(path), {})
    file = weight_file(path)
    if file.name == WEIGHTS[0]:
        return Clip(file, *clip_keras_hub.read(file.parent, weights))
    with loading(file, "a CLIP"):
        tensors = {name.removeprefix("module."): row for name, row in _tensors(file).items()}
        if not any(name.startswith("visual.") for name in tensors):
            return Clip(file, _told_by_hugging_face(file.parent), tensors)
        shape = clip_original.shape_of(file, tensors)
        return Clip(file, shape, clip_original.renamed(file, tensors, shape))


def _tensors(file: Path) -> Mapping[str, np.ndarray]:
    if file.suffix != ".safetensors":
        return read_torch_file(file)
    from safetensors.numpy import load_file

    return load_file(file)


# ------------------------------------------------------------------------------ Hugging Face's


def _told_by_hugging_face(folder: Path) -> ClipShape:
    path, told = folder / "config.json", settings(folder, "config.json")
    if told.get("model_type") != "clip":
        kind = told.get("model_type", "folder without its config.json")
        raise UserError(f"{folder}: a {kind}; a whole CLIP (model_type clip) is read here")
    photos, texts = (
        untold | (told.get(f"{half}_config") or {}) | (told.get(f"{half}_config_dict") or {})
        for half, untold in (("vision", PHOTOS_UNTOLD), ("text", TEXTS_UNTOLD))
    )
    if photos["num_channels"] != 3:
        raise UserError(f"{path}: {photos['num_channels']} channels; photos have 3")
    looks = settings(folder, "preprocessor_config.json")
    looks = looks or settings(folder, "processor_config.json").get("image_processor", {})
    try:
        shape = ClipShape(
            _blocks(photos),
            _blocks(texts),
            patch=int(photos["patch_size"]),
            vector=int(told.get("projection_dim", 512)),
            size=int(photos["image_size"]),
            vocabulary=int(texts["vocab_size"]),
            positions=int(texts["max_position_embeddings"]),
            mean=tuple(map(float, looks.get("image_mean") or MEAN)),
            deviation=tuple(map(float, looks.get("image_std") or DEVIATION)),
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not the shape of a CLIP: {error} is amiss") from error
    return checked(path, shape)


def _blocks(told: Mapping) -> Blocks:
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    numbers = [int(told[name]) for name in sizes]
    return Blocks(*numbers, str(told["hidden_act"]), float(told["layer_norm_eps"]))
