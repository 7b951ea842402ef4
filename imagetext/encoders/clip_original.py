"""CLIPs in the original format: OpenAI's TorchScript archives, and the files of open_clip.

    tensors = read_torch_file("ViT-B-32.pt")
    shape = infer_shape(Path("ViT-B-32.pt"), tensors)
    tensors = rename_tensors(Path("ViT-B-32.pt"), tensors, shape)       # Hugging Face's names

A folder contains the .pt file published by OpenAI, or open_clip_model.safetensors (or
open_clip_pytorch_model.bin) with open_clip_config.json.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from imagetext.encoders.clip import (
    ACTIVATIONS,
    DEVIATION,
    MEAN,
    PHOTOS,
    TEXTS,
    Blocks,
    ClipShape,
    check_shape,
)
from imagetext.encoders.tensors import require_all_placed
from imagetext.encoders.text_presets import read_settings
from imagetext.encoders.torch_file import is_torchscript
from imagetext.errors import UserError

CONFIG = "open_clip_config.json"
#: Supported keys of a transformer in open_clip's configuration.
SUPPORTED_KEYS = {
    *("image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "patch_dropout"),
    *("context_length", "vocab_size", "heads"),
}
HEAD_WIDTH = 64
#: Entries of OpenAI's files that are not weights.
UNUSED = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
#: Stored as [in, out], unlike all others.
TRANSPOSED = ("visual.proj", "text_projection")


def infer_shape(file: Path, tensors: Mapping[str, np.ndarray]) -> ClipShape:
    """Infer the shape of a CLIP from its tensors, and the activation from its configuration."""
    if "visual.layer1.0.conv1.weight" in tensors:
        raise UserError(f"{file}: CLIPs with a ResNet are not supported; use one with a ViT")
    model, scaling = _read_config(file)
    names = (
        *("visual.conv1.weight", "visual.positional_embedding", "visual.proj"),
        *("positional_embedding", "token_embedding.weight", "text_projection"),
        *(f"{side}transformer.resblocks.0.mlp.c_fc.weight" for side in ("visual.", "")),
    )
    require_all_placed(str(file), "a CLIP", [name for name in names if name not in tensors])
    patches, photo_positions, _, text_positions, words, projection, expand, text_expand = (
        tensors[name] for name in names
    )

    def blocks(prefix: str, width: int, feed_forward: int, config: Mapping) -> Blocks:
        pattern = re.compile(rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.")
        depth = 1 + max(int(match[1]) for match in map(pattern.match, tensors) if match)
        heads = config.get("heads") or width // (config.get("head_width") or HEAD_WIDTH)
        activation = ACTIVATIONS[0 if model.get("quick_gelu") else 1]
        return Blocks(width, depth, heads, feed_forward, activation)

    return check_shape(
        file,
        ClipShape(
            blocks("visual.", patches.shape[0], expand.shape[0], model.get("vision_cfg", {})),
            blocks("", words.shape[1], text_expand.shape[0], model.get("text_cfg", {})),
            patch=patches.shape[-1],
            vector=projection.shape[1],
            size=patches.shape[-1] * math.isqrt(photo_positions.shape[0] - 1),
            vocabulary=words.shape[0],
            positions=text_positions.shape[0],
            mean=tuple(scaling.get("mean") or MEAN),
            deviation=tuple(scaling.get("std") or DEVIATION),
        ),
    )


def _read_config(file: Path) -> tuple[dict, dict]:
    """Read the settings of the network and those of the scaling of pixels."""
    if is_torchscript(file):  # published by OpenAI, which used the same settings for all
        return {"quick_gelu": True}, {}
    path = file.parent / CONFIG
    config = read_settings(file.parent, path.name)
    if not isinstance(config.get("model_cfg"), dict):
        raise UserError(
            f"{file}: the activation of this CLIP is unknown; put its {CONFIG} next to it"
            ' (for OpenAI\'s weights: {"model_cfg": {"quick_gelu": true}})'
        )
    for tower in ("vision_cfg", "text_cfg"):
        for key, value in config["model_cfg"].get(tower, {}).items():
            if value and key not in SUPPORTED_KEYS:
                raise UserError(f"{path}: model_cfg.{tower}.{key} is not supported")
    return config["model_cfg"], config.get("preprocess_cfg") or {}


def rename_tensors(
    file: Path, tensors: Mapping[str, np.ndarray], shape: ClipShape
) -> dict[str, np.ndarray]:
    """Rename tensors of the original format to Hugging Face's names."""
    left_over, missing, result = set(tensors) - UNUSED, [], {}
    for original, names in _names(shape):
        if original not in tensors:
            missing.append(original)
            continue
        left_over.discard(original)
        tensor = tensors[original].T if original in TRANSPOSED else tensors[original]
        # Query, key and value of attention are stacked.
        parts = np.split(tensor, 3) if len(names) == 3 else [tensor]
        result.update(zip(names, parts, strict=True))
    require_all_placed(str(file), "this CLIP", missing, sorted(left_over))
    return result


def _names(shape: ClipShape) -> Iterator[tuple[str, list[str]]]:
    """Names of tensors in the original format, with Hugging Face's names."""

    def both(original: str, name: str):
        return ((f"{original}.{part}", [f"{name}.{part}"]) for part in ("weight", "bias"))

    yield "logit_scale", ["logit_scale"]
    yield "visual.class_embedding", [f"{PHOTOS}.embeddings.class_embedding"]
    yield "visual.positional_embedding", [f"{PHOTOS}.embeddings.position_embedding.weight"]
    yield "visual.conv1.weight", [f"{PHOTOS}.embeddings.patch_embedding.weight"]
    yield from both("visual.ln_pre", f"{PHOTOS}.pre_layrnorm")
    yield from both("visual.ln_post", f"{PHOTOS}.post_layernorm")
    yield "visual.proj", ["visual_projection.weight"]
    yield "token_embedding.weight", [f"{TEXTS}.embeddings.token_embedding.weight"]
    yield "positional_embedding", [f"{TEXTS}.embeddings.position_embedding.weight"]
    yield from both("ln_final", f"{TEXTS}.final_layer_norm")
    yield "text_projection", ["text_projection.weight"]
    for prefix, tower, depth in (
        ("visual.", PHOTOS, shape.photos.depth),
        ("", TEXTS, shape.texts.depth),
    ):
        for index in range(depth):
            original = f"{prefix}transformer.resblocks.{index}"
            name = f"{tower}.encoder.layers.{index}"
            for part in ("weight", "bias"):
                parts = [f"{name}.self_attn.{letter}_proj.{part}" for letter in "qkv"]
                yield f"{original}.attn.in_proj_{part}", parts
            yield from both(f"{original}.attn.out_proj", f"{name}.self_attn.out_proj")
            yield from both(f"{original}.ln_1", f"{name}.layer_norm1")
            yield from both(f"{original}.ln_2", f"{name}.layer_norm2")
            yield from both(f"{original}.mlp.c_fc", f"{name}.mlp.fc1")
            yield from both(f"{original}.mlp.c_proj", f"{name}.mlp.fc2")
