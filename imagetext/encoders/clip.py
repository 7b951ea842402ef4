"""CLIP (Radford et al. 2021): a transformer that sees, one that reads, and vectors of both.

    image, cells, vector = sees(SHAPES["clip_vit_b32"])    # symbolic, for encoders.images
    model = reads(SHAPES["clip_vit_b32"])                  # for encoders.text_tower
    assign(model, tensors, origin="model.safetensors")      # under Hugging Face's names

Built-in layers only, so that what is saved opens with Keras alone. keras-hub has the same network,
but ends its text half with a norm of another epsilon than the one it was trained with.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from imagetext.encoders.text_tower import add_sentence_vector
from imagetext.encoders.weights import require_all_placed
from imagetext.errors import UserError

#: Of numbers from 0 to 1, red, green and blue, in training.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
ACTIVATIONS = ("quick_gelu", "gelu")
#: The start of the names of each half's tensors.
PHOTOS, TEXTS = "vision_model", "text_model"


@dataclass(frozen=True, slots=True)
class Blocks:
    """One of the two transformers; `activation` is one of `ACTIVATIONS`."""

    width: int
    depth: int
    heads: int
    feed_forward: int
    activation: str = "quick_gelu"
    epsilon: float = 1e-5


@dataclass(frozen=True, slots=True)
class ClipShape:
    """The sizes of a CLIP: photos of `size` pixels a side in patches of `patch`, texts of up to
    `positions` pieces, and the width of the `vector` of either."""

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
        """Patches a side."""
        return self.size // self.patch


def checked(path: Path, shape: ClipShape) -> ClipShape:
    """The shape, if there can be such a CLIP; `path` is who says so."""
    for blocks in (shape.photos, shape.texts):
        if blocks.activation not in ACTIVATIONS:
            known = " and ".join(ACTIVATIONS)
            raise UserError(f"{path}: activates by {blocks.activation}; known are {known}")
        if blocks.heads < 1 or blocks.width % blocks.heads:
            raise UserError(f"{path}: {blocks.heads} heads do not share a width of {blocks.width}")
    if not 0 < shape.patch <= shape.size:
        raise UserError(f"{path}: no patches of {shape.patch} in photos of {shape.size}")
    return shape


_BASE = (Blocks(768, 12, 12, 3072), Blocks(512, 12, 8, 2048))
SHAPES = {
    "clip_vit_b16": ClipShape(*_BASE, patch=16, vector=512),
    "clip_vit_b32": ClipShape(*_BASE, patch=32, vector=512),
    "clip_vit_l14": ClipShape(
        Blocks(1024, 24, 16, 4096), Blocks(768, 12, 12, 3072), patch=14, vector=768
    ),
}


def sees(shape: ClipShape):
    """Symbolic photos uint8 [b, size, size, 3], the states of their patches [b, cells, cells,
    width] behind the last norm, and their vectors [b, vector]."""
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
    # Before the patches stands the class token: nothing, to which its place is added.
    x = ops.pad(x, [[0, 0], [1, 0], [0, 0]])
    places = ops.cumsum(ops.ones_like(x[:, :, 0], dtype="int32"), axis=1) - 1
    x = x + layers.Embedding(cells**2 + 1, blocks.width, name="places")(places)
    x = _norm(x, blocks, "norm_before")
    for index in range(blocks.depth):
        x = _block(x, blocks, index, causal=False)
    x = _norm(x, blocks, "norm_after")
    vector = layers.Dense(shape.vector, use_bias=False, name="projection")(x[:, 0])
    return image, layers.Reshape([cells, cells, blocks.width], name="cells")(x[:, 1:]), vector


def reads(shape: ClipShape) -> keras.Model:
    """{"token_ids": int32 [b, t], "mask": int32 [b, t]} -> {"sentence": [b, vector], "tokens":
    [b, t, width]}: a token has seen those before it, the last one all."""
    blocks = shape.texts
    token_ids = keras.Input([None], dtype="int32", name="token_ids")
    mask = keras.Input([None], dtype="int32", name="mask")
    places = ops.cumsum(ops.ones_like(token_ids), axis=1) - 1
    x = layers.Embedding(shape.vocabulary, blocks.width, name="words")(token_ids)
    x = x + layers.Embedding(shape.positions, blocks.width, name="places")(places)
    for index in range(blocks.depth):
        x = _block(x, blocks, index, causal=True)
    x = _norm(x, blocks, "norm_after")
    network = keras.Model({"token_ids": token_ids, "mask": mask}, x, name="clip")
    return add_sentence_vector(
        network, "last", layers.Dense(shape.vector, use_bias=False, name="projection")
    )


def _block(x, blocks: Blocks, index: int, causal: bool):
    """Normalised before each part: [b, t, width] -> [b, t, width]."""
    name = f"block_{index}"
    known = _norm(x, blocks, f"{name}_attention_norm")
    attention = layers.MultiHeadAttention(
        blocks.heads, blocks.width // blocks.heads, name=f"{name}_attention"
    )
    x = x + attention(known, known, use_causal_mask=causal)
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
    """Copy one half's tensors into a model of `sees` or `reads`; each of that half must have its
    place, and each place its tensor.

        assign(model, safetensors.numpy.load_file("model.safetensors"), "model.safetensors")
    """
    half = PHOTOS if "patches" in {layer.name for layer in model.layers} else TEXTS
    starts = (f"{half}.", "visual_projection." if half == PHOTOS else "text_projection.")
    # Ids that merely count from 0 were once saved as well.
    left_over = {name for name in tensors if name.startswith(starts)}
    left_over.discard(f"{half}.embeddings.position_ids")
    absent, wrong, found = [], [], []
    for variable, names in _places(model, half):
        left_over.difference_update(names)
        if lacking := [name for name in names if name not in tensors]:
            absent += lacking
            continue
        given = [np.asarray(tensors[name], np.float32) for name in names]
        expected = _as_torch(variable)
        if given[0].shape != expected or any(row.shape != expected[-1:] for row in given[1:]):
            wrong.append(f"{names[0]} has {given[0].shape} where {expected} belongs")
        else:
            found.append((variable, _as_keras(given, variable)))
    require_all_placed(origin, "this CLIP", absent, sorted(left_over), wrong)
    for variable, value in found:
        variable.assign(value)


def _as_torch(variable: keras.Variable) -> tuple[int, ...]:
    """The shape in which PyTorch keeps what this variable holds."""
    shape = tuple(variable.shape)
    if variable.path.endswith("embeddings"):
        return shape
    if len(shape) == 4:
        return (shape[3], shape[2], shape[0], shape[1])
    if len(shape) == 3:  # of attention; the heads lie on an axis of their own
        return (math.isqrt(math.prod(shape)),) * 2
    # Biases of attention are of two axes, too.
    return (math.prod(shape),) if variable.path.endswith("bias") else shape[::-1]


def _as_keras(given: list[np.ndarray], variable: keras.Variable) -> np.ndarray:
    first, *rest = given
    if variable.path.endswith("embeddings"):
        first = first.copy()
        for class_token in rest:  # whose place is the first of the table
            first[0] += class_token
        return first
    if first.ndim == 4:
        return first.transpose(2, 3, 1, 0)
    return first.T.reshape(variable.shape)


def _places(model: keras.Model, half: str) -> Iterator[tuple[keras.Variable, list[str]]]:
    """Every variable of the model, with the names of its tensors."""

    def norm(layer: str, source: str):
        yield model.get_layer(layer).gamma, [f"{source}.weight"]
        yield model.get_layer(layer).beta, [f"{source}.bias"]

    def dense(layer, source: str):
        yield layer.kernel, [f"{source}.weight"]
        yield layer.bias, [f"{source}.bias"]

    table, places = f"{half}.embeddings", model.get_layer("places").embeddings
    positions = f"{table}.position_embedding.weight"
    if half == PHOTOS:
        yield model.get_layer("patches").kernel, [f"{table}.patch_embedding.weight"]
        yield places, [positions, f"{table}.class_embedding"]
        yield from norm("norm_before", f"{half}.pre_layrnorm")  # their spelling
        yield from norm("norm_after", f"{half}.post_layernorm")
        yield model.get_layer("projection").kernel, ["visual_projection.weight"]
    else:
        yield model.get_layer("words").embeddings, [f"{table}.token_embedding.weight"]
        yield places, [positions]
        yield from norm("norm_after", f"{half}.final_layer_norm")
        yield model.get_layer("projection").kernel, ["text_projection.weight"]
    depth = sum(layer.name.endswith("_attention") for layer in model.layers)
    for index in range(depth):
        block, source = f"block_{index}", f"{half}.encoder.layers.{index}"
        attention = model.get_layer(f"{block}_attention")
        yield from dense(attention.query_dense, f"{source}.self_attn.q_proj")
        yield from dense(attention.key_dense, f"{source}.self_attn.k_proj")
        yield from dense(attention.value_dense, f"{source}.self_attn.v_proj")
        yield from dense(attention.output_dense, f"{source}.self_attn.out_proj")
        yield from norm(f"{block}_attention_norm", f"{source}.layer_norm1")
        yield from norm(f"{block}_output_norm", f"{source}.layer_norm2")
        yield from dense(model.get_layer(f"{block}_expand"), f"{source}.mlp.fc1")
        yield from dense(model.get_layer(f"{block}_contract"), f"{source}.mlp.fc2")
