"""Read CLIPs saved by keras-hub, with their tensors in Hugging Face's format.

    shape, tensors = read(Path("clip_vit_base_patch16"))

The folder contains config.json, model.weights.h5 and, in assets/tokenizer, the vocabulary.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagetext.encoders.clip import PHOTOS, TEXTS, Blocks, ClipShape, check_shape
from imagetext.encoders.presets import WEIGHTS
from imagetext.encoders.text_presets import read_settings
from imagetext.encoders.weights import loading
from imagetext.errors import UserError


def read(folder: Path, weights: bool = True) -> tuple[ClipShape, dict[str, np.ndarray]]:
    """Read the sizes and tensors of a CLIP; no tensors without `weights`."""
    kind = read_settings(folder, "config.json").get("class_name")
    if kind != "CLIPBackbone":
        raise UserError(f"{folder}: unsupported preset: expected CLIPBackbone, got {kind}")
    # Imported here because it takes a second.
    from keras_hub.models import CLIPBackbone

    with loading(folder / (WEIGHTS[0] if weights else "config.json"), "this preset's network"):
        backbone = CLIPBackbone.from_preset(str(folder), load_weights=weights)
    photos, texts = backbone.vision_encoder, backbone.text_encoder
    shape = ClipShape(
        _blocks(photos),
        _blocks(texts),
        patch=photos.patch_size,
        vector=backbone.projection_dim,
        size=photos.image_shape[0],
        vocabulary=texts.vocabulary_size,
        positions=texts.max_sequence_length,
    )
    return check_shape(folder, shape), dict(_tensors(backbone)) if weights else {}


def _blocks(encoder) -> Blocks:
    return Blocks(
        encoder.hidden_dim,
        encoder.num_layers,
        encoder.num_heads,
        encoder.intermediate_dim,
        encoder.intermediate_activation,
    )


def _tensors(backbone) -> Iterator[tuple[str, np.ndarray]]:
    def norm(layer, name: str):
        yield f"{name}.weight", layer.gamma.numpy()
        yield f"{name}.bias", layer.beta.numpy()

    def dense(layer, name: str, width: int):
        # In attention the heads are a separate axis: the first one in the kernel of the output.
        kernel = layer.kernel.numpy()
        yield f"{name}.weight", kernel.reshape(-1, width).T
        yield f"{name}.bias", layer.bias.numpy().reshape(-1)

    def blocks(encoder, half: str):
        width = encoder.hidden_dim
        for index, block in enumerate(encoder.encoder_layers):
            name = f"{half}.encoder.layers.{index}"
            for part in ("query", "key", "value", "output"):
                projection = "out_proj" if part == "output" else f"{part[0]}_proj"
                layer = getattr(block.attention, f"{part}_dense")
                yield from dense(layer, f"{name}.self_attn.{projection}", width)
            yield from norm(block.layer_norm_1, f"{name}.layer_norm1")
            yield from norm(block.layer_norm_2, f"{name}.layer_norm2")
            yield from dense(block.dense_1, f"{name}.mlp.fc1", encoder.intermediate_dim)
            yield from dense(block.dense_2, f"{name}.mlp.fc2", width)

    photos, texts = backbone.vision_encoder, backbone.text_encoder
    prefix = f"{PHOTOS}.embeddings"
    yield f"{prefix}.class_embedding", photos.embedding.class_embedding.numpy()
    patches = photos.embedding.patch_embedding.kernel.numpy()
    yield f"{prefix}.patch_embedding.weight", patches.transpose(3, 2, 0, 1)
    positions = photos.embedding.position_embedding.embeddings
    yield f"{prefix}.position_embedding.weight", positions.numpy()
    yield from norm(photos.pre_layer_norm, f"{PHOTOS}.pre_layrnorm")
    yield from blocks(photos, PHOTOS)
    yield from norm(photos.layer_norm, f"{PHOTOS}.post_layernorm")
    yield "visual_projection.weight", backbone.vision_projection.kernel.numpy().T

    prefix = f"{TEXTS}.embeddings"
    words = texts.embedding.token_embedding.embeddings
    yield f"{prefix}.token_embedding.weight", words.numpy()
    positions = texts.embedding.position_embedding.position_embeddings
    yield f"{prefix}.position_embedding.weight", positions.numpy()
    yield from blocks(texts, TEXTS)
    yield from norm(texts.layer_norm, f"{TEXTS}.final_layer_norm")
    yield "text_projection.weight", backbone.text_projection.kernel.numpy().T
    yield "logit_scale", backbone.clip_head.logit_scale.numpy()
