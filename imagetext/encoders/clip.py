"""The networks of CLIP (Radford et al. 2021): transformers for photos and texts.

    image, cells, vector = image_network(SHAPES["clip_vit_b32"])    # symbolic, for encoders.images
    model = text_network(SHAPES["clip_vit_b32"])                    # for encoders.text_tower
    assign(model, tensors, origin="model.safetensors")      # tensors by Hugging Face's names

Only built-in layers are used, so that saved models can be loaded with Keras alone. (In keras-hub's
CLIP, the last norm of the text transformer has a different epsilon than in training.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from imagetext.encoders.tensors import (
    Target,
    as_is,
    assign_tensors,
    bias,
    conv_kernel,
    dense_kernel,
)
from imagetext.encoders.text_tower import add_sentence_vector
from imagetext.errors import UserError

#: Mean and standard deviation (red, green, blue; pixels from 0 to 1).
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
ACTIVATIONS = ("quick_gelu", "gelu")
#: Prefixes of the names of the tensors of either tower.
PHOTOS, TEXTS = "vision_model", "text_model"


@dataclass(frozen=True, slots=True)
class Blocks:
    """The sizes of one of the two transformers; `activation` is one of `ACTIVATIONS`."""

    width: int
    depth: int
    heads: int
    feed_forward: int
    activation: str = "quick_gelu"
    epsilon: float = 1e-5


@dataclass(frozen=True, slots=True)
class ClipShape:
    """The sizes of a CLIP.

    Args:
        photos: The transformer for photos.
        texts: The transformer for texts.
        patch: Side of a patch in pixels.
        vector: Width of the vectors of photos and texts.
        size: Side of a photo in pixels.
        vocabulary: Number of pieces.
        positions: Longest text in tokens.
        mean: Mean of red, green and blue.
        deviation: Standard deviation of red, green and blue.
    """

    photos: Blocks
    texts: Blocks
    patch: int
    vector: int
    size: int = 224
    vocabulary: int = 49408
    positions: int = 77
    mean: tuple[float, ...] = field(default=MEAN, compare=False)
    deviation: tuple[float, ...] = field(default=DEVIATION, compare=False)

    @property
    def cells(self) -> int:
        """Patches per side."""
        return self.size // self.patch


def check_shape(path: Path, shape: ClipShape) -> ClipShape:
    """Return the shape if it is possible; `path` is where it was read from."""
    for blocks in (shape.photos, shape.texts):
        if blocks.activation not in ACTIVATIONS:
            expected = " or ".join(map(repr, ACTIVATIONS))
            raise UserError(
                f"{path}: unsupported activation {blocks.activation!r}: expected {expected}"
            )
        require_divisible(path, blocks.width, blocks.heads)
    if not 0 < shape.patch <= shape.size:
        raise UserError(
            f"{path}: the side of a patch must be from 1 to {shape.size}, that of a photo, got"
            f" {shape.patch}"
        )
    return shape


def require_divisible(path: Path, width: int, heads: int) -> None:
    """Refuse a transformer whose width is not a multiple of the number of heads."""
    if heads < 1 or width % heads:
        raise UserError(f"{path}: the width ({width}) must be divisible by the heads ({heads})")


_BASE = (Blocks(768, 12, 12, 3072), Blocks(512, 12, 8, 2048))
SHAPES = {
    "clip_vit_b16": ClipShape(*_BASE, patch=16, vector=512),
    "clip_vit_b32": ClipShape(*_BASE, patch=32, vector=512),
    "clip_vit_l14": ClipShape(
        Blocks(1024, 24, 16, 4096), Blocks(768, 12, 12, 3072), patch=14, vector=768
    ),
}


def image_network(shape: ClipShape):
    """Build the transformer for photos.

    Returns:
        The symbolic input uint8 [b, size, size, 3], the states of the patches after the last norm
        [b, cells, cells, width], and the vectors [b, vector].
    """
    blocks, cells = shape.photos, shape.cells
    image = keras.Input([shape.size, shape.size, 3], dtype="uint8", name="image")
    x = layers.Rescaling(
        [1 / (255 * d) for d in shape.deviation],
        [-m / d for m, d in zip(shape.mean, shape.deviation, strict=True)],
        dtype="float32",
        name="scale",
    )(image)
    x = layers.Conv2D(
        blocks.width, shape.patch, strides=shape.patch, use_bias=False, name="patches"
    )(x)
    x = layers.Reshape([cells**2, blocks.width], name="patches_in_a_row")(x)
    # The class token is zeros; its embedding is part of the first position's.
    x = ops.pad(x, [[0, 0], [1, 0], [0, 0]])
    positions = ops.cumsum(ops.ones_like(x[:, :, 0], dtype="int32"), axis=1) - 1
    x = x + layers.Embedding(cells**2 + 1, blocks.width, name="places")(positions)
    x = _norm(x, blocks, "norm_before")
    for index in range(blocks.depth):
        x = _block(x, blocks, index, causal=False)
    x = _norm(x, blocks, "norm_after")
    vector = layers.Dense(shape.vector, use_bias=False, name="projection")(x[:, 0])
    return image, layers.Reshape([cells, cells, blocks.width], name="cells")(x[:, 1:]), vector


def text_network(shape: ClipShape) -> keras.Model:
    """Build the transformer for texts, in which tokens attend only to the tokens before them.

    Returns:
        A model: {"token_ids": int32 [b, t], "mask": int32 [b, t]} -> {"sentence": [b, vector],
        "tokens": [b, t, width]}.
    """
    blocks = shape.texts
    token_ids = keras.Input([None], dtype="int32", name="token_ids")
    mask = keras.Input([None], dtype="int32", name="mask")
    positions = ops.cumsum(ops.ones_like(token_ids), axis=1) - 1
    x = layers.Embedding(shape.vocabulary, blocks.width, name="words")(token_ids)
    x = x + layers.Embedding(shape.positions, blocks.width, name="places")(positions)
    for index in range(blocks.depth):
        x = _block(x, blocks, index, causal=True)
    x = _norm(x, blocks, "norm_after")
    network = keras.Model({"token_ids": token_ids, "mask": mask}, x, name="clip")
    return add_sentence_vector(
        network, "last", layers.Dense(shape.vector, use_bias=False, name="projection")
    )


def _block(x, blocks: Blocks, index: int, causal: bool):
    """A pre-norm transformer layer: [b, t, width] -> [b, t, width]."""
    name = f"block_{index}"
    hidden = _norm(x, blocks, f"{name}_attention_norm")
    attention = layers.MultiHeadAttention(
        blocks.heads, blocks.width // blocks.heads, name=f"{name}_attention"
    )
    x = x + attention(hidden, hidden, use_causal_mask=causal)
    hidden = _norm(x, blocks, f"{name}_output_norm")
    hidden = layers.Dense(blocks.feed_forward, name=f"{name}_expand")(hidden)
    if blocks.activation == "quick_gelu":
        hidden = hidden * ops.sigmoid(1.702 * hidden)
    else:
        hidden = layers.Activation("gelu", name=f"{name}_gelu")(hidden)
    return x + layers.Dense(blocks.width, name=f"{name}_contract")(hidden)


def _norm(x, blocks: Blocks, name: str):
    return layers.LayerNormalization(epsilon=blocks.epsilon, name=name)(x)


# ------------------------------------------------------------------------------------- weights


def assign(model: keras.Model, tensors: Mapping[str, np.ndarray], origin: str) -> None:
    """Copy the tensors of a CLIP into one of its towers.

    Args:
        model: A model of `image_network` or `text_network`.
        tensors: Exactly the tensors of this tower, and any of the other one.
        origin: Where the tensors come from, for messages.

    Example:
        assign(model, safetensors.numpy.load_file("model.safetensors"), "model.safetensors")
    """
    tower = PHOTOS if "patches" in {layer.name for layer in model.layers} else TEXTS
    prefixes = (f"{tower}.", "visual_projection." if tower == PHOTOS else "text_projection.")
    tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}
    # Some files contain ids that only count from 0.
    unused = (f"{tower}.embeddings.position_ids",)
    assign_tensors(_targets(model, tower), tensors, origin, "this CLIP", unused)


def _with_class_token(positions, class_token, shape):
    table = as_is(positions, shape).copy()
    table[0] += as_is(class_token, shape[1:])
    return table


def _targets(model: keras.Model, tower: str) -> Iterator[Target]:
    def norm(layer: str, source: str):
        yield model.get_layer(layer).gamma, [f"{source}.weight"], as_is
        yield model.get_layer(layer).beta, [f"{source}.bias"], as_is

    def dense(layer, source: str):
        yield layer.kernel, [f"{source}.weight"], dense_kernel
        yield layer.bias, [f"{source}.bias"], bias

    prefix, table = f"{tower}.embeddings", model.get_layer("places").embeddings
    positions = f"{prefix}.position_embedding.weight"
    projection = model.get_layer("projection").kernel
    if tower == PHOTOS:
        patches = model.get_layer("patches").kernel
        yield patches, [f"{prefix}.patch_embedding.weight"], conv_kernel
        yield table, [positions, f"{prefix}.class_embedding"], _with_class_token
        yield from norm("norm_before", f"{tower}.pre_layrnorm")  # the misspelling is theirs
        yield from norm("norm_after", f"{tower}.post_layernorm")
        yield projection, ["visual_projection.weight"], dense_kernel
    else:
        words = model.get_layer("words").embeddings
        yield words, [f"{prefix}.token_embedding.weight"], as_is
        yield table, [positions], as_is
        yield from norm("norm_after", f"{tower}.final_layer_norm")
        yield projection, ["text_projection.weight"], dense_kernel
    depth = sum(layer.name.endswith("_attention") for layer in model.layers)
    for index in range(depth):
        block, source = f"block_{index}", f"{tower}.encoder.layers.{index}"
        attention = model.get_layer(f"{block}_attention")
        yield from dense(attention.query_dense, f"{source}.self_attn.q_proj")
        yield from dense(attention.key_dense, f"{source}.self_attn.k_proj")
        yield from dense(attention.value_dense, f"{source}.self_attn.v_proj")
        yield from dense(attention.output_dense, f"{source}.self_attn.out_proj")
        yield from norm(f"{block}_attention_norm", f"{source}.layer_norm1")
        yield from norm(f"{block}_output_norm", f"{source}.layer_norm2")
        yield from dense(model.get_layer(f"{block}_expand"), f"{source}.mlp.fc1")
        yield from dense(model.get_layer(f"{block}_contract"), f"{source}.mlp.fc2")
