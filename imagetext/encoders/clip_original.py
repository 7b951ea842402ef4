"""CLIPs in the original format: OpenAI's archives of TorchScript, and what open_clip saves.

    tensors = read_torch_file("ViT-B-32.pt")
    shape = shape_of(Path("ViT-B-32.pt"), tensors)
    tensors = renamed(Path("ViT-B-32.pt"), tensors, shape)      # as Hugging Face calls them

A folder holds the one file .pt that OpenAI published, or open_clip_model.safetensors (or
open_clip_pytorch_model.bin) with its open_clip_config.json.
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
    checked,
)
from imagetext.encoders.text_presets import settings
from imagetext.encoders.torch_file import is_torchscript
from imagetext.errors import UserError

CONFIG = "open_clip_config.json"
#: What open_clip may say of a transformer that is computed here.
KNOWN = {
    *("image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "patch_dropout"),
    *("context_length", "vocab_size", "heads"),
}
HEAD_WIDTH = 64
#: Numbers that OpenAI keeps among the weights, and what is the same for all.
OF_NO_USE = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
#: Kept as [in, out], unlike all others.
ACROSS = ("visual.proj", "text_projection")


def shape_of(file: Path, tensors: Mapping[str, np.ndarray]) -> ClipShape:
    """As OpenAI's own code: all but the activation follows from the sizes of the tensors."""
    if "visual.layer1.0.conv1.weight" in tensors:
        raise UserError(f"{file}: a CLIP with a ResNet; those with a ViT are read here")
    model, looks = _told(file)
    names = (
        *("visual.conv1.weight", "visual.positional_embedding", "visual.proj"),
        *("positional_embedding", "token_embedding.weight", "text_projection"),
        *(f"{side}transformer.resblocks.0.mlp.c_fc.weight" for side in ("visual.", "")),
    )
    if absent := [name for name in names if name not in tensors]:
        raise UserError(f"{file}: not the weights of a CLIP: missing {', '.join(absent)}")
    patches, seen, _, read, words, vectors, wide, wide_text = (tensors[name] for name in names)

    def blocks(side: str, width: int, feed_forward: int, told: Mapping) -> Blocks:
        found = (re.match(rf"{re.escape(side)}transformer\.resblocks\.(\d+)\.", n) for n in tensors)
        heads = told.get("heads") or width // (told.get("head_width") or HEAD_WIDTH)
        kind = ACTIVATIONS[0 if model.get("quick_gelu") else 1]
        return Blocks(width, 1 + max(int(n[1]) for n in found if n), heads, feed_forward, kind)

    return checked(
        file,
        ClipShape(
            blocks("visual.", patches.shape[0], wide.shape[0], model.get("vision_cfg", {})),
            blocks("", words.shape[1], wide_text.shape[0], model.get("text_cfg", {})),
            patch=patches.shape[-1],
            vector=vectors.shape[1],
            size=patches.shape[-1] * math.isqrt(seen.shape[0] - 1),
            vocabulary=words.shape[0],
            positions=read.shape[0],
            mean=tuple(looks.get("mean") or MEAN),
            deviation=tuple(looks.get("std") or DEVIATION),
        ),
    )


def _told(file: Path) -> tuple[dict, dict]:
    """What is said of the network, and of how it is given photos."""
    if is_torchscript(file):  # as OpenAI published them, which were all trained alike
        return {"quick_gelu": True}, {}
    path = file.parent / CONFIG
    told = settings(file.parent, path.name)
    if not isinstance(told.get("model_cfg"), dict):
        raise UserError(
            f"{file}: the activation of this CLIP is unknown; put its {CONFIG} beside it"
            ' (for OpenAI\'s weights: {"model_cfg": {"quick_gelu": true}})'
        )
    for half in ("vision_cfg", "text_cfg"):
        for key, value in told["model_cfg"].get(half, {}).items():
            if value and key not in KNOWN:
                raise UserError(f"{path}: {half} has {key}, which is not known here")
    return told["model_cfg"], told.get("preprocess_cfg") or {}


def renamed(
    file: Path, tensors: Mapping[str, np.ndarray], shape: ClipShape
) -> dict[str, np.ndarray]:
    """The same under Hugging Face's names; what lacks or is too much is told by its own."""
    left_over, absent, made = set(tensors) - OF_NO_USE, [], {}
    for theirs, ours in _names(shape):
        if theirs not in tensors:
            absent.append(theirs)
            continue
        left_over.discard(theirs)
        tensor = tensors[theirs].T if theirs in ACROSS else tensors[theirs]
        # Of attention query, key and value lie below each other.
        parts = np.split(tensor, 3) if len(ours) == 3 else [tensor]
        made.update(zip(ours, parts, strict=True))
    told = [f"missing {', '.join(absent[:3])}"] if absent else []
    told += [f"unexpected {', '.join(sorted(left_over)[:3])}"] if left_over else []
    if told:
        raise UserError(f"{file}: not the weights of this CLIP: {'; '.join(told)}")
    return made


def _names(shape: ClipShape) -> Iterator[tuple[str, list[str]]]:
    """Names in the original, and what Hugging Face calls the same."""

    def both(theirs: str, ours: str):
        return ((f"{theirs}.{part}", [f"{ours}.{part}"]) for part in ("weight", "bias"))

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
    for side, half, depth in (
        ("visual.", PHOTOS, shape.photos.depth),
        ("", TEXTS, shape.texts.depth),
    ):
        for index in range(depth):
            theirs = f"{side}transformer.resblocks.{index}"
            ours = f"{half}.encoder.layers.{index}"
            for part in ("weight", "bias"):
                three = [f"{ours}.self_attn.{name}_proj.{part}" for name in "qkv"]
                yield f"{theirs}.attn.in_proj_{part}", three
            yield from both(f"{theirs}.attn.out_proj", f"{ours}.self_attn.out_proj")
            yield from both(f"{theirs}.ln_1", f"{ours}.layer_norm1")
            yield from both(f"{theirs}.ln_2", f"{ours}.layer_norm2")
            yield from both(f"{theirs}.mlp.c_fc", f"{ours}.mlp.fc1")
            yield from both(f"{theirs}.mlp.c_proj", f"{ours}.mlp.fc2")
