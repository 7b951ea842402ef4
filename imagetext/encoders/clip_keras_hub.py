"""CLIPs that keras-hub saved: their sizes, and their weights as Hugging Face calls and keeps them.

    shape, tensors = read(Path("clip_vit_base_patch16"))

The folder holds config.json, model.weights.h5 and, in assets/tokenizer, the vocabulary.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagetext.encoders.clip import PHOTOS, TEXTS, Blocks, ClipShape, checked
from imagetext.encoders.presets import WEIGHTS
from imagetext.encoders.text_presets import settings
from imagetext.encoders.weights import loading
from imagetext.errors import UserError


def read(folder: Path, weights: bool = True) -> tuple[ClipShape, dict[str, np.ndarray]]:
    """Without `weights` no tensors."""
    kind = settings(folder, "config.json").get("class_name")
    if kind != "CLIPBackbone":
        raise UserError(f"{folder}: a {kind}; of keras-hub's, a CLIPBackbone is read here")
    # Takes a second; nothing else in here needs it.
    from keras_hub.models import CLIPBackbone

    with loading(folder / (WEIGHTS[0] if weights else "config.json"), "this preset's network"):
        backbone = CLIPBackbone.from_preset(str(folder), load_weights=weights)
    seen, read = backbone.vision_encoder, backbone.text_encoder
    shape = ClipShape(
        _blocks(seen),
        _blocks(read),
        patch=seen.patch_size,
        vector=backbone.projection_dim,
        size=seen.image_shape[0],
        vocabulary=read.vocabulary_size,
        positions=read.max_sequence_length,
    )
    return checked(folder, shape), dict(_tensors(backbone)) if weights else {}


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
        # In attention the heads lie on an axis of their own: of the output's kernel on the first.
        kernel = layer.kernel.numpy()
        yield f"{name}.weight", kernel.reshape(-1, width).T
        yield f"{name}.bias", layer.bias.numpy().reshape(-1)

    def blocks(encoder, half: str):
        width = encoder.hidden_dim
        for index, block in enumerate(encoder.encoder_layers):
            name = f"{half}.encoder.layers.{index}"
            for part in ("query", "key", "value", "output"):
                theirs = "out_proj" if part == "output" else f"{part[0]}_proj"
                layer = getattr(block.attention, f"{part}_dense")
                yield from dense(layer, f"{name}.self_attn.{theirs}", width)
            yield from norm(block.layer_norm_1, f"{name}.layer_norm1")
            yield from norm(block.layer_norm_2, f"{name}.layer_norm2")
            yield from dense(block.dense_1, f"{name}.mlp.fc1", encoder.intermediate_dim)
            yield from dense(block.dense_2, f"{name}.mlp.fc2", width)

    seen, read = backbone.vision_encoder, backbone.text_encoder
    table = f"{PHOTOS}.embeddings"
    yield f"{table}.class_embedding", seen.embedding.class_embedding.numpy()
    patches = seen.embedding.patch_embedding.kernel.numpy()
    yield f"{table}.patch_embedding.weight", patches.transpose(3, 2, 0, 1)
    places = seen.embedding.position_embedding.embeddings
    yield f"{table}.position_embedding.weight", places.numpy()
    yield from norm(seen.pre_layer_norm, f"{PHOTOS}.pre_layrnorm")
    yield from blocks(seen, PHOTOS)
    yield from norm(seen.layer_norm, f"{PHOTOS}.post_layernorm")
    yield "visual_projection.weight", backbone.vision_projection.kernel.numpy().T

    table = f"{TEXTS}.embeddings"
    words = read.embedding.token_embedding.embeddings
    yield f"{table}.token_embedding.weight", words.numpy()
    places = read.embedding.position_embedding.position_embeddings
    yield f"{table}.position_embedding.weight", places.numpy()
    yield from blocks(read, TEXTS)
    yield from norm(read.layer_norm, f"{TEXTS}.final_layer_norm")
    yield "text_projection.weight", backbone.text_projection.kernel.numpy().T
    yield "logit_scale", backbone.clip_head.logit_scale.numpy()
