"""Read CLIP files in all formats: Hugging Face, OpenAI, open_clip and keras-hub.

    clip = read(Path("clip-vit-base-patch32"))      # .shape, .tensors, .scale
    read(Path("ViT-B-32.pt")).shape.patch           # 32

A folder from Hugging Face contains config.json, model.safetensors (or pytorch_model.bin),
vocab.json and merges.txt (or tokenizer.json); for the others see `clip_original` and
`clip_keras_hub`. No code in these files is run.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagetext.encoders import clip_keras_hub, clip_original, text_presets
from imagetext.encoders.clip import DEVIATION, MEAN, Blocks, ClipShape, check_shape
from imagetext.encoders.presets import WEIGHTS
from imagetext.encoders.tensors import read_tensors, require_all_placed
from imagetext.encoders.text_presets import read_settings
from imagetext.encoders.weights import loading
from imagetext.errors import UserError

HUGGING_FACE = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
#: Default values in Hugging Face's configurations.
PHOTO_DEFAULTS = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    **{"patch_size": 32, "image_size": 224, "num_channels": 3},
}
TEXT_DEFAULTS = {
    **{"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8},
    **{"intermediate_size": 2048, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    **{"vocab_size": 49408, "max_position_embeddings": 77},
}
EXPECTED = (
    "expected a CLIP from Hugging Face (config.json, model.safetensors, vocab.json, merges.txt), "
    "OpenAI or open_clip (such as ViT-B-32.pt), or a keras-hub preset"
)


@dataclass(frozen=True)
class Clip:
    """The contents of a CLIP file.

    Args:
        origin: The file or folder.
        shape: The sizes of the CLIP.
        tensors: Its tensors as in PyTorch, by Hugging Face's names; empty if not read.
    """

    origin: Path
    shape: ClipShape
    tensors: Mapping[str, np.ndarray]

    @property
    def scale(self) -> float:
        """The learned factor of cosine similarities."""
        if "logit_scale" not in self.tensors:
            require_all_placed(str(self.origin), "a complete CLIP", ["logit_scale"])
        return math.exp(float(np.asarray(self.tensors["logit_scale"]).reshape(-1)[0]))


def resolve_source(preset: str, weights: str | Path | None) -> Path:
    """The file or folder to read: `weights`, or the folder of a preset, downloaded if necessary."""
    if weights is None:
        return text_presets.fetch(preset)
    path = Path(weights).expanduser()
    if not path.exists():
        raise UserError(f"{weights}: no such file or folder of weights for {preset}")
    return path / preset if not is_clip(path) and is_clip(path / preset) else path


def is_clip(path: Path) -> bool:
    """Whether a file or folder may contain a CLIP, according to its names and config.json."""
    if path.is_file():
        return True
    config = read_settings(path, "config.json")
    if "model_type" in config or "class_name" in config:
        return str(config.get("model_type", config.get("class_name"))).lower().startswith("clip")
    return any((path / name).is_file() for name in OPEN_CLIP) or any(path.glob("*.pt"))


def weight_file(path: Path) -> Path:
    """The weight file in a folder, or the file itself."""
    if path.is_file():
        return path
    is_keras_hub = "class_name" in read_settings(path, "config.json")
    names = (WEIGHTS[0],) if is_keras_hub else (*HUGGING_FACE, *OPEN_CLIP)
    files = [path / name for name in names if (path / name).is_file()]
    files = files or sorted(path.glob("*.pt"))
    if len(files) > 1 and files[0].suffix == ".pt":
        raise UserError(f"{path}: contains {len(files)} .pt files; specify which one to read")
    if not files:
        raise UserError(f"{path}: no weights found; {EXPECTED}")
    return files[0]


def read(path: Path, weights: bool = True) -> Clip:
    """Read the CLIP in a file or folder.

    Without `weights`, only the shape is read if that is possible.
    """
    if path.is_dir() and not is_clip(path):
        raise UserError(f"{path}: no CLIP found; {EXPECTED}")
    config = read_settings(path, "config.json") if path.is_dir() else {}
    if "class_name" in config:
        return Clip(path, *clip_keras_hub.read(path, weights))
    if not weights and "model_type" in config:
        return Clip(path, _read_hugging_face_shape(path), {})
    file = weight_file(path)
    if file.name == WEIGHTS[0]:
        return Clip(file, *clip_keras_hub.read(file.parent, weights))
    with loading(file, "a CLIP"):
        tensors = read_tensors(file)
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
        if not any(name.startswith("visual.") for name in tensors):
            return Clip(file, _read_hugging_face_shape(file.parent), tensors)
        shape = clip_original.infer_shape(file, tensors)
        return Clip(file, shape, clip_original.rename_tensors(file, tensors, shape))


def _read_hugging_face_shape(folder: Path) -> ClipShape:
    path, config = folder / "config.json", read_settings(folder, "config.json")
    if config.get("model_type") != "clip":
        if "model_type" not in config:
            raise UserError(f"{folder}: config.json is missing or has no model_type")
        raise UserError(
            f"{folder}: expected a complete CLIP (model_type clip), got {config['model_type']}"
        )
    photos, texts = (
        defaults
        | (config.get(f"{tower}_config") or {})
        | (config.get(f"{tower}_config_dict") or {})
        for tower, defaults in (("vision", PHOTO_DEFAULTS), ("text", TEXT_DEFAULTS))
    )
    if photos["num_channels"] != 3:
        raise UserError(f"{path}: expected num_channels 3, got {photos['num_channels']}")
    scaling = read_settings(folder, "preprocessor_config.json")
    scaling = scaling or read_settings(folder, "processor_config.json").get("image_processor", {})
    try:
        shape = ClipShape(
            _blocks(photos),
            _blocks(texts),
            patch=int(photos["patch_size"]),
            vector=int(config.get("projection_dim", 512)),
            size=int(photos["image_size"]),
            vocabulary=int(texts["vocab_size"]),
            positions=int(texts["max_position_embeddings"]),
            mean=tuple(map(float, scaling.get("image_mean") or MEAN)),
            deviation=tuple(map(float, scaling.get("image_std") or DEVIATION)),
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not a valid CLIP configuration: {error}") from error
    return check_shape(path, shape)


def _blocks(config: Mapping) -> Blocks:
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    sizes = [int(config[key]) for key in keys]
    return Blocks(*sizes, str(config["hidden_act"]), float(config["layer_norm_eps"]))
